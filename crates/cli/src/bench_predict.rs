//! `distune bench --predict`: how fast texts are predicted, tokenization included. `bench/infer.py` compares it with others.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use distune::Error;
use distune::data::{Batch, LabelMap, Labels};
use distune::engine::{
    Inference, InferencePrecision, OperationProfile, Predict, int8_instructions, isa, start_profile, stop_profile,
};
use distune::model::{Config, Model};
use distune::predict::logits;
use distune::tokenize::Tokenizer;
use serde_json::json;

use crate::bench::{BASE, BASE_CONFIG, BenchArgs, median};
use crate::length::LengthArgs;
use crate::output::{line, note};
use crate::progress::Progress;
use crate::{Common, memory, sources, stop};

/// Texts that are tokenized together, as `predict` does.
const AT_ONCE: usize = 512;
/// Times that all texts are predicted in each order; the best counts.
const PASSES: usize = 3;
/// Texts that are predicted alone: before the first that counts, and those that count.
const WARM_UP: usize = 20;
const ALONE: usize = 200;

/// What was measured.
struct Measured {
    /// Texts a second, sorted by length and in file order.
    texts_per_s: [f64; 2],
    /// Seconds of each text that was predicted alone.
    alone: Vec<f64>,
    /// Of these texts together, and of a pass in file order.
    operations: [Vec<OperationProfile>; 2],
    /// Texts of a pass.
    texts: usize,
}

pub(crate) fn run(args: &BenchArgs, common: &Common) -> anyhow::Result<()> {
    let start = Instant::now();
    let (mut engine, tokenizer, precision) = load(args, common)?;
    let loaded = start.elapsed().as_secs_f64();
    let texts = texts(args, common)?;
    let Some(text) = texts.first() else {
        bail!(Error::file(Path::new(&args.data), "has no texts", "Name a file or a directory that has some"));
    };
    // weights that are read for the first time
    alone(&mut engine, &tokenizer, text)?;
    let measured = measure(&mut engine, &tokenizer, &texts, common)?;
    report(&measured, &engine, precision, loaded, args, common)
}

/// The engine, its tokenizer and its precision. A model without a head gets a random one: it does not matter for the speed.
fn load(args: &BenchArgs, common: &Common) -> anyhow::Result<(Inference, Tokenizer, InferencePrecision)> {
    let is_base = args.model == BASE;
    let files = sources::model(if is_base { sources::BUNDLED } else { &args.model }, common)?;
    let own = files.config()?;
    let precision = common.inference_precision(&files, &own)?;
    let engine = if is_base {
        note(common, "Random weights in the shape of DistilBERT-base.");
        Inference::new(&Model::random(Config::from_json(Path::new(BASE), BASE_CONFIG.as_bytes())?, 0), precision)
    } else if own.is_quantized() || Model::has_head(&files)? {
        Inference::load(&files, precision)?
    } else {
        Inference::new(&Model::load_with_new_head(&files, &LabelMap::of_model(&own), 0)?, precision)
    };
    let longest = args.max_length.unwrap_or(128).min(engine.config().max_position_embeddings);
    let tokenizer =
        LengthArgs { max_length: Some(longest), ..LengthArgs::default() }.tokenizer(&files, engine.config())?;
    Ok((engine, tokenizer, precision))
}

fn texts(args: &BenchArgs, common: &Common) -> anyhow::Result<Vec<String>> {
    Ok(sources::table(&args.data, None, &args.columns.resolve(), Labels::Ignored, common)?.texts)
}

fn measure(
    engine: &mut Inference,
    tokenizer: &Tokenizer,
    texts: &[String],
    common: &Common,
) -> anyhow::Result<Measured> {
    let mut sorted = texts.to_vec();
    sorted.sort_by_key(String::len);
    let mut progress = Progress::new(common, "passes");
    let (mut texts_per_s, total) = ([0.0_f64; 2], 2 * PASSES + 1);
    for pass in 0..PASSES {
        for (order, texts) in [&sorted[..], texts].into_iter().enumerate() {
            let start = Instant::now();
            all(engine, tokenizer, texts)?;
            texts_per_s[order] = texts_per_s[order].max(texts.len() as f64 / start.elapsed().as_secs_f64());
            progress.set(2 * pass + order + 1, total, String::new);
        }
    }
    let mut seconds = Vec::new();
    for (i, text) in texts.iter().cycle().take(WARM_UP + ALONE).enumerate() {
        if i == WARM_UP {
            start_profile();
        }
        let start = Instant::now();
        alone(engine, tokenizer, text)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let of_alone = stop_profile();
    start_profile();
    all(engine, tokenizer, texts)?;
    let operations = [of_alone, stop_profile()];
    progress.set(total, total, String::new);
    progress.finish();
    Ok(Measured { texts_per_s, alone: seconds.split_off(WARM_UP), operations, texts: texts.len() })
}

/// Predicts all texts.
fn all(engine: &mut Inference, tokenizer: &Tokenizer, texts: &[String]) -> anyhow::Result<()> {
    for texts in texts.chunks(AT_ONCE) {
        let ids: Vec<Vec<u32>> = tokenizer.encode(texts)?.into_iter().map(|encoded| encoded.ids).collect();
        logits(engine, &ids, |_| {
            if stop::requested() {
                let kept = "a measurement writes nothing".into();
                return Err(Error::Interrupted { when: "while measuring".into(), kept });
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Predicts one text.
fn alone(engine: &mut Inference, tokenizer: &Tokenizer, text: &String) -> anyhow::Result<()> {
    let encoded = tokenizer.encode(std::slice::from_ref(text))?;
    engine.logits(&Batch::new(encoded.iter().map(|encoded| &encoded.ids[..])));
    Ok(())
}

fn report(
    measured: &Measured,
    engine: &Inference,
    precision: InferencePrecision,
    loaded: f64,
    args: &BenchArgs,
    common: &Common,
) -> anyhow::Result<()> {
    let mut alone = measured.alone.clone();
    alone.sort_by(f64::total_cmp);
    let (middle, slow) = (1e3 * median(&alone), 1e3 * alone[(alone.len() * 99 / 100).saturating_sub(1)]);
    let [sorted, in_order] = measured.texts_per_s;
    let (threads, megabytes) = (rayon::current_num_threads(), engine.weight_bytes() >> 20);
    if common.json {
        return Ok(line(json!({
            "event": "bench_predict", "model": args.model, "data": args.data, "precision": precision.to_string(),
            "isa": isa().name(), "threads": threads, "texts": measured.texts, "texts_per_s_sorted": sorted,
            "texts_per_s_file_order": in_order, "latency_ms_median": middle, "latency_ms_p99": slow, "load_s": loaded,
            "weights_mb": megabytes, "peak_mb": memory::peak().map(|bytes| bytes >> 20),
        }))?);
    }
    let int8 = int8_instructions().filter(|_| precision == InferencePrecision::Int8);
    let with = int8.map(|name| format!(" ({name})")).unwrap_or_default();
    line(format!(
        "{precision} products{with}, instructions {}, {threads} threads, weights of {megabytes} MB",
        isa().name()
    ))?;
    line(format!(
        "all texts       {sorted:.1} texts/s sorted by length, {in_order:.1} in their order (best of {PASSES})"
    ))?;
    line(format!("one at a time   {middle:.2} ms (median), {slow:.2} ms (99 of 100 are faster)\n"))?;
    line(format!("{:<16} {:>14} {:>20}", "operation", "ms alone", "ms/text in batches"))?;
    let [of_alone, of_all] = &measured.operations;
    for operation in of_alone {
        let time = |of: &[OperationProfile], texts: usize| {
            let found = of.iter().find(|other| other.operation == operation.operation);
            1e3 * found.map_or(0.0, |found| found.time.as_secs_f64()) / texts as f64
        };
        let (one, many) = (time(of_alone, ALONE), time(of_all, measured.texts));
        line(format!("{:<16} {one:14.3} {many:20.3}", operation.operation.name()))?;
    }
    if let Some(bytes) = memory::peak() {
        line(format!("\nloaded in {loaded:.2} s; peak memory {} MB", bytes >> 20))?;
    }
    Ok(())
}
