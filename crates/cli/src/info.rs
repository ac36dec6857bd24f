//! `distune info`: what a model is, and what training it would take on this machine.

use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;
use distune::Result;
use distune::data::{Batch, LabelMap};
use distune::engine::{Cpu, Engine, Inference, InferencePrecision, StepPart, Targets};
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Table};
use distune::model::{Architecture, CheckpointSummary, Config, Model, ModelFiles};
use distune::train::{Recipe, TrainingMemory, Unfreeze};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::length::LengthArgs;
use crate::output::{line, note, thousands};
use crate::{Common, memory, sources};

/// Rows of a step, and tokens of a row where the model has as many positions.
const ROWS: usize = 32;
const LENGTH: usize = 128;
/// Rank of the adapters whose memory is told.
const RANK: usize = 8;
/// Rows that are computed at once while the time is taken; the first ones, which make all buffers, do not count.
const ROWS_AT_ONCE: usize = 16;
/// Steps are measured until so much time has passed; a slow model takes one step.
const MEASURE_FOR: Duration = Duration::from_millis(1000);
/// Class names that are printed.
const LABELS_SHOWN: usize = 10;

/// Show what a model is, its size and labels, and the memory and time that training it takes here
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// "bundled", the directory of a model, or its name on the Hugging Face hub
    #[arg(default_value = sources::BUNDLED)]
    model: String,
}

pub(crate) fn run(args: &InfoArgs, common: &Common) -> anyhow::Result<()> {
    let files = sources::model(&args.model, common)?;
    let config = files.config()?;
    let checkpoint = CheckpointSummary::read(&files)?;
    let tokenizer = tokenizer(&files, &config)?;
    let head = config.architecture == Architecture::DistilBert && Model::has_head(&files)?;
    if config.is_quantized() {
        // makes sure that it is whole
        Inference::load(&files, InferencePrecision::Int8)?;
        let info = Info { args, files: &files, config: &config, checkpoint, tokenizer, head, length: 0, seconds: None };
        return if common.json { Ok(line(info.json()?)?) } else { info.print() };
    }
    // also makes sure that the encoder is whole
    let model = Model::load_with_new_head(&files, &LabelMap::of_model(&config), 0)?;
    let length = LENGTH.min(config.max_position_embeddings);
    let all = Thawed::from(model.weights.table(), Group::Embeddings);
    let options = Recipe::recommended().step_options();
    let needed = TrainingMemory::estimate(&config, &all, &options, ROWS_AT_ONCE, length).total() as u64;
    let seconds = if needed < memory::available() {
        note(common, "Measuring training steps ...");
        Some(seconds_of_1000_rows(model, length, common)?)
    } else {
        None
    };
    let info = Info { args, files: &files, config: &config, checkpoint, tokenizer, head, length, seconds };
    if common.json {
        line(info.json()?)?
    } else {
        info.print()?
    }
    Ok(())
}

/// How texts become tokens: a description, and whether letters keep their case.
fn tokenizer(files: &ModelFiles, config: &Config) -> anyhow::Result<(String, Option<bool>)> {
    LengthArgs::default().tokenizer(files, config)?;
    let (name, contents) = &files.tokenizer[0];
    let json: Value = serde_json::from_slice(contents)?;
    let kind = json["model"]["type"].as_str().unwrap_or("unknown").to_owned();
    let cased = json["normalizer"]["lowercase"].as_bool().map(|lowercase| !lowercase);
    let made = files.tokenizer.iter().any(|(name, _)| name == "vocab.txt") && !files.file(name).exists();
    let from = if made && files.path.is_dir() { "vocab.txt" } else { "tokenizer.json" };
    Ok((format!("{kind}, from {from}"), cased))
}

/// Seconds to train on 1,000 rows of `length` random tokens, everything thawed.
fn seconds_of_1000_rows(model: Model, length: usize, common: &Common) -> anyhow::Result<f64> {
    let (vocabulary, classes) = (model.config.vocab_size as u64, model.config.labels.len() as u32);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let sequences: Vec<Vec<u32>> =
        (0..ROWS).map(|_| (0..length).map(|_| (random.next_u64() % vocabulary) as u32).collect()).collect();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let parts = Batch::parts(&sequences, ROWS_AT_ONCE, usize::MAX);
    let labels: Vec<u32> = (0..ROWS as u32).map(|row| row % classes).collect();
    let all = Thawed::from(model.weights.table(), Group::Embeddings);
    let mut engine = Cpu::for_training(model, all, common.precision());
    let recipe = Recipe::recommended();
    let options = recipe.step_options();
    let mut step = |number: u64, parts: &[Batch]| {
        for part in parts {
            let targets = Targets::Classes(&labels[..part.sequences()]);
            engine.accumulate(
                StepPart { batch: part, frozen: None, targets, total_weight: ROWS as f64 },
                number,
                &options,
            );
        }
        engine.update(number, 0.0, &options);
    };
    step(1, &parts[..1]);
    let (start, mut steps) = (Instant::now(), 0_u32);
    while steps == 0 || start.elapsed() < MEASURE_FOR {
        if crate::stop::requested() {
            let kept = "a measurement writes nothing".into();
            return Err(distune::Error::Interrupted { when: "while measuring".into(), kept }.into());
        }
        steps += 1;
        step(u64::from(steps) + 1, &parts);
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(steps) * 1000.0 / ROWS as f64)
}

struct Info<'a> {
    args: &'a InfoArgs,
    files: &'a ModelFiles,
    config: &'a Config,
    checkpoint: CheckpointSummary,
    tokenizer: (String, Option<bool>),
    head: bool,
    /// Tokens of a row.
    length: usize,
    /// Of training on 1,000 rows; nothing where the memory is too small to measure it.
    seconds: Option<f64>,
}

impl Info<'_> {
    /// The architecture as it was found.
    fn architecture(&self) -> &'static str {
        match self.config.architecture {
            Architecture::DistilBert => "distilbert",
            Architecture::Bert { .. } => "bert",
        }
    }

    /// Parameters of the embeddings, of a block and of the head, which may not be trained yet.
    fn parameters(&self) -> [usize; 3] {
        let table = Table::new(self.config);
        let of = |group| table.tensors().iter().filter(|t| t.group == group).map(|t| t.range.len()).sum();
        [of(Group::Embeddings), of(Group::Block(0)), of(Group::Head)]
    }

    /// The memory for some choices of what trains, and of the rank of adapters.
    fn memory(&self) -> Result<Vec<(Unfreeze, usize, TrainingMemory)>> {
        let last = Unfreeze::blocks(3.min(self.config.n_layers));
        let parts =
            [(Unfreeze::all(), 0), (last, 0), (Unfreeze::head(), 0), (Unfreeze::all(), RANK.min(self.config.dim))];
        let estimate = |(unfreeze, lora_rank): (Unfreeze, usize)| {
            let recipe = Recipe { unfreeze: unfreeze.clone(), lora_rank, ..Recipe::recommended() };
            let thawed = recipe.thawed(&recipe.table(self.config)?)?;
            let options = recipe.step_options();
            Ok((unfreeze, lora_rank, TrainingMemory::estimate(self.config, &thawed, &options, ROWS, self.length)))
        };
        parts.into_iter().map(estimate).collect()
    }

    fn problem_type(&self) -> Option<String> {
        let config: Value = serde_json::from_slice(&self.files.config).unwrap_or_default();
        config["problem_type"].as_str().map(str::to_owned)
    }

    fn json(&self) -> Result<Value> {
        let (c, [embeddings, block, head]) = (self.config, self.parameters());
        let head = if self.head { head } else { 0 };
        let training = if c.is_quantized() { Value::Null } else { self.training()? };
        Ok(json!({
            "event": "info", "model": self.args.model, "architecture": self.architecture(), "layers": c.n_layers, "width": c.dim,
            "feed_forward_width": c.hidden_dim, "heads": c.n_heads, "vocabulary": c.vocab_size,
            "positions": c.max_position_embeddings,
            "parameters": {"embeddings": embeddings, "block": block, "head": head,
                           "total": embeddings + c.n_layers * block + head},
            "head": self.head, "labels": self.head.then_some(&c.labels), "problem_type": self.problem_type(),
            "checkpoint": {"format": self.checkpoint.format, "files": self.checkpoint.files, "bytes": self.checkpoint.bytes,
                           "tensors": self.checkpoint.dtypes},
            "tokenizer": {"kind": self.tokenizer.0, "cased": self.tokenizer.1},
            "training": training,
        }))
    }

    /// What training takes.
    fn training(&self) -> Result<Value> {
        let memory = self.memory()?.into_iter().map(|(part, lora_rank, memory)| {
            json!({"unfreeze": part.to_string(), "lora_rank": lora_rank, "weights": memory.weights, "gradients": memory.gradients,
                   "moments": memory.moments, "activations": memory.activations, "total": memory.total()})
        });
        Ok(json!({"rows": ROWS, "tokens": self.length, "memory": memory.collect::<Vec<_>>(),
                  "seconds_of_1000_rows": self.seconds}))
    }

    fn print(&self) -> anyhow::Result<()> {
        let (c, [embeddings, block, head]) = (self.config, self.parameters());
        let size = |bytes: usize| ByteSize(bytes as u64).display().si();
        let kind = match c.architecture {
            Architecture::DistilBert => "DistilBERT",
            Architecture::Bert { .. } => {
                "BERT, which is computed exactly as a DistilBERT (its pooler and head are left out)"
            }
        };
        line(format!("model         {}", self.args.model))?;
        line(format!("architecture  {kind}"))?;
        line(format!(
            "shape         {} blocks, width {}, {} heads, feed-forward width {}",
            c.n_layers, c.dim, c.n_heads, c.hidden_dim
        ))?;
        line(format!(
            "vocabulary    {} tokens, texts of at most {}",
            thousands(c.vocab_size),
            c.max_position_embeddings
        ))?;
        let trained = if self.head { head } else { 0 };
        let total = embeddings + c.n_layers * block + trained;
        let parts = format!(
            "embeddings {}, each block {}, head {}",
            thousands(embeddings),
            thousands(block),
            thousands(trained)
        );
        line(format!("parameters    {} ({parts})", thousands(total)))?;
        line(format!("labels        {}", self.labels()))?;
        let CheckpointSummary { format, files, bytes, dtypes } = &self.checkpoint;
        let dtypes: Vec<String> = dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
        let files = if *files > 1 { format!(" of {files} files") } else { String::new() };
        line(format!("checkpoint    {format}{files}, {}; tensors: {}", size(*bytes), dtypes.join(", ")))?;
        let case = match self.tokenizer.1 {
            Some(true) => "cased",
            Some(false) => "uncased",
            None => "case unknown",
        };
        line(format!("tokenizer     {case} {}", self.tokenizer.0))?;
        if c.is_quantized() {
            return Ok(line(
                "\nan int8 model, which predicts and cannot be trained further: train the one that it was made of",
            )?);
        }
        line(format!(
            "\ntraining memory, batches of {ROWS} rows of {} tokens, beside about 100 MB for the program and the texts:",
            self.length
        ))?;
        line(format!(
            "{:<12} {:>9} {:>10} {:>9} {:>12} {:>9}",
            "unfreeze", "weights", "gradients", "moments", "activations", "in all"
        ))?;
        for (part, rank, m) in self.memory()? {
            let part = if rank > 0 { format!("{part}, LoRA {rank}") } else { part.to_string() };
            let [w, g, v, a, all] =
                [m.weights, m.gradients, m.moments, m.activations, m.total()].map(|n| size(n).to_string());
            line(format!("{part:<12} {w:>9} {g:>10} {v:>9} {a:>12} {all:>9}"))?;
        }
        let rows = format!("1,000 rows of {} tokens, once, everything thawed", self.length);
        Ok(line(match self.seconds {
            Some(seconds) => format!("\ntraining time on this machine: about {:.0} s for {rows}", seconds.max(1.0)),
            None => "\ntraining time on this machine: not measured, there is too little free memory".to_owned(),
        })?)
    }

    fn labels(&self) -> String {
        if !self.head {
            return "none: the model has no trained head".into();
        }
        let names = &self.config.labels;
        let shown = names.iter().take(LABELS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(LABELS_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let problem = self.problem_type().map(|problem| format!(" ({problem})")).unwrap_or_default();
        format!("{} classes{problem}: {shown}{more}", names.len())
    }
}
