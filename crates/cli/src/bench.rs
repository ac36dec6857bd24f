//! `distune bench`: where the time of a training step goes, against what the machine can do at this moment.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use distune::Error;
use distune::data::LabelMap;
use distune::engine::{Cpu, Engine, OperationProfile, StepPart, Targets, isa, peak, start_profile, stop_profile};
use distune::model::{Config, Model};
use distune::sources::Reading;
use distune::train::{Recipe, Unfreeze};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::columns::ColumnArgs;
use crate::output::{line, note, thousands};
use crate::progress::Progress;
use crate::train::lora::LoraArgs;
use crate::{Common, bench_predict, memory, sources, stop};

/// Steps before the first that counts.
const WARM_UP: usize = 2;
/// The name of random weights in the shape of DistilBERT-base.
pub(crate) const BASE: &str = "distilbert-base";
pub(crate) const BASE_CONFIG: &str = r#"{
    "model_type": "distilbert", "dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6,
    "max_position_embeddings": 512, "vocab_size": 30522
}"#;

/// Measure the speed of training on real text, operation by operation
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// "bundled", "distilbert-base" (random weights of that shape, the bundled tokenizer), a directory or a name of the hub
    #[arg(long, short, default_value = sources::BUNDLED)]
    pub(crate) model: String,
    /// "reviews", a directory with splits, a .tsv or .csv file, or a name of the Hugging Face hub
    #[arg(long, short, default_value = sources::REVIEWS)]
    pub(crate) data: String,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
    /// What trains, as `distune train` takes it [default: all blocks, embeddings frozen]
    #[arg(long, value_name = "PART")]
    unfreeze: Option<Unfreeze>,
    #[command(flatten)]
    lora: LoraArgs,
    /// Rows of a step
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_1)]
    batch_size: usize,
    /// Longest text in tokens [default: 128, or the model's limit if lower]
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
    /// Join texts so that every row has exactly so many tokens
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Measure predicting instead: texts a second in batches, sorted by length and in their order, and one text at a time; of the test rows,
    /// or of a file
    #[arg(long, conflicts_with_all = ["unfreeze", "batch_size", "length", "steps", "lora_rank"])]
    pub(crate) predict: bool,
    /// Steps that count
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = at_least_1)]
    steps: usize,
}

fn at_least_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

/// What was measured over all steps that count.
struct Measured {
    /// Seconds of each step.
    steps: Vec<f64>,
    /// Rows and tokens of all of them.
    rows: usize,
    tokens: usize,
    /// The machine's peak beside each step, in floating-point operations a second.
    peaks: Vec<f64>,
    operations: Vec<OperationProfile>,
}

pub(crate) fn run(args: &BenchArgs, common: &Common) -> anyhow::Result<()> {
    if args.predict {
        return bench_predict::run(args, common);
    }
    let (model, files) = if args.model == BASE {
        note(common, "Random weights in the shape of DistilBERT-base.");
        let config = Config::from_json(Path::new(BASE), BASE_CONFIG.as_bytes())?;
        (Model::random(config, 0), sources::model(sources::BUNDLED, common)?)
    } else {
        let files = sources::model(&args.model, common)?;
        let config = files.config()?;
        sources::notes(&files, &config).iter().for_each(|text| note(common, text));
        (Model::load_with_new_head(&files, &LabelMap::of_model(&config), 0)?, files)
    };
    let unfreeze = args.unfreeze.clone().unwrap_or(Unfreeze::blocks(model.config.n_layers));
    let recipe = args.lora.over(Recipe { unfreeze, ..Recipe::recommended() })?;
    let longest = args.length.or(args.max_length);
    let longest = longest.unwrap_or(recipe.max_seq_length.min(model.config.max_position_embeddings));
    let recipe = Recipe { max_seq_length: longest, per_device_train_batch_size: args.batch_size, ..recipe };
    recipe.check()?;
    let model = recipe.adapt(model)?;
    let thawed = recipe.thawed(model.weights.table())?;
    let length = Reading::of_recipe(&Recipe { max_seq_length: longest, ..Recipe::default() });
    let tokenizer = length.tokenizer(&files, &model.config)?;

    let texts = texts(args, common)?;
    let start = Instant::now();
    let encoded = tokenizer.encode(&texts)?;
    let tokenized = start.elapsed();
    let mut sequences: Vec<Vec<u32>> = encoded.into_iter().map(|e| e.ids).collect();
    let tokens: usize = sequences.iter().map(Vec::len).sum();
    let tokenization = [texts.len() as f64, tokens as f64].map(|n| n / tokenized.as_secs_f64());
    if let Some(length) = args.length {
        sequences = joined(&sequences, length);
        if sequences.is_empty() {
            let problem = format!("has fewer than {length} tokens in all its training texts");
            bail!(Error::file(Path::new(&args.data), problem, "Choose a smaller --length, or more texts"));
        }
    }

    let classes = model.config.labels.len() as u32;
    let mut engine = Cpu::for_training(model, thawed, common.precision());
    let measured = measure(&mut engine, &sequences, classes, args, &recipe, common)?;
    report(&measured, tokenization, args, &recipe, common)?;
    Ok(())
}

/// The texts to measure with: training rows in a random order, as many as the steps want and at least enough to time
/// the tokenizer.
fn texts(args: &BenchArgs, common: &Common) -> anyhow::Result<Vec<String>> {
    let splits = sources::splits(std::slice::from_ref(&args.data), &args.columns.resolve(), common)?;
    let mut texts = splits.train.map(|table| table.texts).unwrap_or_default();
    texts.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
    texts.truncate(((args.steps + WARM_UP) * args.batch_size).max(2000));
    Ok(texts)
}

/// Sequences of exactly `length` tokens: the texts' own, one after another, between the special tokens of the first.
fn joined(sequences: &[Vec<u32>], length: usize) -> Vec<Vec<u32>> {
    let Some([first, .., last]) = sequences.first().map(Vec::as_slice) else { return Vec::new() };
    let inner: Vec<u32> = sequences.iter().flat_map(|ids| &ids[1..ids.len() - 1]).copied().collect();
    let row = |inner: &[u32]| [&[*first], inner, &[*last]].concat();
    inner.chunks_exact(length - 2).map(row).collect()
}

fn measure(
    engine: &mut Cpu,
    sequences: &[Vec<u32>],
    classes: u32,
    args: &BenchArgs,
    recipe: &Recipe,
    common: &Common,
) -> anyhow::Result<Measured> {
    let mut measured = Measured { steps: Vec::new(), rows: 0, tokens: 0, peaks: Vec::new(), operations: Vec::new() };
    let mut progress = Progress::new(common, "steps");
    let (options, total) = (recipe.step_options(), args.steps + WARM_UP);
    let mut rows = sequences.iter().cycle();
    for step in 1..=total {
        if stop::requested() {
            let when = format!("after step {} of {total}", step - 1);
            return Err(Error::Interrupted { when, kept: "a measurement writes nothing".into() }.into());
        }
        let batch: Vec<&[u32]> = rows.by_ref().take(args.batch_size).map(Vec::as_slice).collect();
        // the labels do not matter for the speed
        let labels: Vec<u32> = (0..args.batch_size as u32).map(|row| row % classes).collect();
        if step == WARM_UP + 1 {
            start_profile();
        }
        let start = Instant::now();
        for part in recipe.parts(&batch) {
            let targets = Targets::Classes(&labels[part.sequences_before..][..part.sequences()]);
            let part = StepPart { batch: &part, frozen: None, targets, total_weight: labels.len() as f64 };
            engine.accumulate(part, step as u64, &options);
        }
        engine.update(step as u64, recipe.learning_rate, &options);
        let seconds = start.elapsed().as_secs_f64();
        if step > WARM_UP {
            measured.steps.push(seconds);
            measured.rows += batch.len();
            measured.tokens += batch.iter().map(|sequence| sequence.len()).sum::<usize>();
            measured.peaks.push(peak(common.precision(), 3));
        }
        progress.set(step, total, String::new);
    }
    measured.operations = stop_profile();
    progress.finish();
    Ok(measured)
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(
    measured: &Measured,
    [texts_per_second, tokenized_per_second]: [f64; 2],
    args: &BenchArgs,
    recipe: &Recipe,
    common: &Common,
) -> anyhow::Result<()> {
    let seconds: f64 = measured.steps.iter().sum();
    let (per_step, peak) = (1e3 / measured.steps.len() as f64, median(&measured.peaks));
    let flops: u64 = measured.operations.iter().map(|o| o.flops).sum();
    let reached = flops as f64 / seconds;
    let timed: f64 = measured.operations.iter().map(|o| o.time.as_secs_f64()).sum();
    let operations = measured.operations.iter().map(|o| (o.operation.name(), o.time.as_secs_f64(), o.flops as f64));
    let operations: Vec<(&str, f64, f64)> = operations.chain([("everything else", seconds - timed, 0.0)]).collect();
    if common.json {
        let operations = operations.iter().map(|(name, time, flops)| {
            json!({"operation": name, "ms_per_step": time * per_step, "share": time / seconds, "gflops": flops / time / 1e9,
                   "share_of_peak": flops / time / peak})
        });
        return Ok(line(json!({
            "event": "bench", "model": args.model, "data": args.data, "unfreeze": recipe.unfreeze,
            "lora_rank": recipe.lora_rank, "lora_targets": recipe.lora_targets.name(), "batch": args.batch_size,
            "precision": common.precision().to_string(), "isa": isa().name(), "threads": rayon::current_num_threads(),
            "step_s": median(&measured.steps), "samples_per_s": measured.rows as f64 / seconds,
            "tokens_per_s": measured.tokens as f64 / seconds, "gflops": reached / 1e9, "peak_gflops": peak / 1e9,
            "share_of_peak": reached / peak, "peak_mb": memory::peak().map(|bytes| bytes >> 20),
            "tokenization": {"texts_per_s": texts_per_second, "tokens_per_s": tokenized_per_second},
            "operations": operations.collect::<Vec<_>>(),
        }))?);
    }
    let (precision, isa, threads) = (common.precision(), isa().name(), rayon::current_num_threads());
    line(format!("{precision} products, instructions {isa}, {threads} threads"))?;
    line(format!(
        "tokenization  {} texts/s, {} tokens/s",
        thousands(texts_per_second as usize),
        thousands(tokenized_per_second as usize)
    ))?;
    line(format!("peak          {:.0} GFLOP/s, measured beside the steps", peak / 1e9))?;
    line(format!(
        "a step        {:.1} ms (median), {:.1} samples/s, {} tokens/s, {:.0} GFLOP/s, {:.0} % of the peak\n",
        median(&measured.steps) * 1e3,
        measured.rows as f64 / seconds,
        thousands((measured.tokens as f64 / seconds) as usize),
        reached / 1e9,
        100.0 * reached / peak,
    ))?;
    line(format!("{:<26} {:>8} {:>7} {:>9} {:>8}", "operation", "ms/step", "share", "GFLOP/s", "of peak"))?;
    for (name, time, flops) in operations {
        let rate = if flops > 0.0 {
            format!(" {:9.0} {:6.0} %", flops / time / 1e9, 100.0 * flops / time / peak)
        } else {
            String::new()
        };
        line(format!("{name:<26} {:8.2} {:5.1} %{rate}", time * per_step, 100.0 * time / seconds))?;
    }
    if let Some(bytes) = memory::peak() {
        line(format!("\npeak memory   {} MB", bytes >> 20))?;
    }
    Ok(())
}
