//! `distune train`: from named model and data to a run directory, with a report.

use std::path::{Path, PathBuf};

use anyhow::bail;
use bytesize::ByteSize;
use clap::Args;
use distune::data::{Dataset, Examples, LabelMap, Lengths, Splits, Table};
use distune::engine::Cpu;
use distune::eval::{Evaluation, evaluate, table};
use distune::model::{Config, Model, ModelFiles};
use distune::run::{Run, RunDirectory, evaluation_results};
use distune::train::{
    CacheLimits, CacheReport, EpochRecord, Observer, Optimizer, Outcome, Part, Recipe, StepRecord, Storage, Unfreeze,
    frozen_hash, parts,
};
use distune::{Error, Result};
use serde_json::{Value, json};

use crate::columns::ColumnArgs;
use crate::output::{accuracy, line, note, thousands};
use crate::progress::Progress;
use crate::{Common, memory, sources, stop};

/// Fine-tune a model on labelled texts; without arguments, the bundled encoder on the bundled movie reviews
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// "bundled", a directory with config.json, tokenizer.json and model.safetensors, or a name of the Hugging Face hub,
    /// such as distilbert-base-uncased or ORG/NAME@REVISION
    #[arg(long, short, default_value = sources::BUNDLED)]
    model: String,
    /// "reviews", a directory with train, validation (or dev) and test .tsv or .csv files, one such file, which is split, or a
    /// name of the Hugging Face hub, such as stanfordnlp/sst2 or nyu-mll/glue:sst2
    #[arg(long, short, default_value = sources::REVIEWS)]
    data: Vec<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Directory to write [default: runs/DATA-1, or the next free number]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
    /// Start with a new head even if the model's own one fits the labels
    #[arg(long)]
    new_head: bool,
    /// Most memory and disk for what frozen blocks put out; a quarter of the free memory is used first, then a file
    #[arg(long, value_name = "SIZE", default_value = "8GB")]
    cache_limit: ByteSize,
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Changes to the recommended recipe.
#[derive(Args, Debug)]
#[command(next_help_heading = "Recipe")]
struct RecipeArgs {
    /// What trains: head, blocks:N (the head and the last N blocks) or all (embeddings too) [default: all]
    #[arg(long, value_name = "PART")]
    unfreeze: Option<Unfreeze>,
    /// Run frozen blocks in every epoch, with dropout, instead of keeping what they put out
    #[arg(long)]
    no_cache: bool,
    /// Passes over the training rows [default: 2]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Rows of a batch [default: 32]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Batches of a step: their gradients are averaged [default: 1]
    #[arg(long, value_name = "N")]
    gradient_accumulation_steps: Option<usize>,
    /// Tokens computed at once: larger batches are computed in parts, to bound the memory [default: 4096]
    #[arg(long, value_name = "N")]
    max_batch_tokens: Option<usize>,
    /// Peak learning rate [default: 1e-4]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Steps of linear warmup; below 1, a share of all steps [default: 0.06]
    #[arg(long, value_name = "X")]
    warmup_steps: Option<f64>,
    /// Weight decay [default: 0.01]
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// Optimizer: adamw or adam [default: adamw]
    #[arg(long, value_name = "NAME", value_parser = optimizer)]
    optimizer: Option<Optimizer>,
    /// Limit of the gradient norm; 0 for none [default: 1]
    #[arg(long, value_name = "X")]
    max_grad_norm: Option<f64>,
    /// Label smoothing [default: 0.1]
    #[arg(long, value_name = "X")]
    label_smoothing: Option<f64>,
    /// R-Drop: strength of the pull between two passes of each text with different dropout, at twice the cost of a step [default: 0]
    #[arg(long, value_name = "X")]
    r_drop: Option<f64>,
    /// What the learning rate is multiplied by from each block to the one below it, and to the embeddings [default: 1]
    #[arg(long, value_name = "X")]
    layer_decay: Option<f64>,
    /// Longest text in tokens [default: 128, or the model's limit if lower]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Seed of the new head, the shuffling, the dropout and a split of the rows [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn optimizer(name: &str) -> Result<Optimizer, String> {
    match name {
        "adamw" => Ok(Optimizer::AdamW),
        "adam" => Ok(Optimizer::Adam),
        _ => Err("expected adamw or adam".into()),
    }
}

impl RecipeArgs {
    fn resolve(&self, config: &Config) -> Result<Recipe> {
        let r = Recipe::recommended();
        let recipe = Recipe {
            unfreeze: self.unfreeze.unwrap_or(r.unfreeze),
            cache_frozen: r.cache_frozen && !self.no_cache,
            num_train_epochs: self.epochs.unwrap_or(r.num_train_epochs),
            per_device_train_batch_size: self.batch_size.unwrap_or(r.per_device_train_batch_size),
            gradient_accumulation_steps: self.gradient_accumulation_steps.unwrap_or(r.gradient_accumulation_steps),
            max_batch_tokens: self.max_batch_tokens.unwrap_or(r.max_batch_tokens),
            learning_rate: self.learning_rate.unwrap_or(r.learning_rate),
            warmup_steps: self.warmup_steps.unwrap_or(r.warmup_steps),
            weight_decay: self.weight_decay.unwrap_or(r.weight_decay),
            optim: self.optimizer.unwrap_or(r.optim),
            max_grad_norm: self.max_grad_norm.unwrap_or(r.max_grad_norm),
            label_smoothing_factor: self.label_smoothing.unwrap_or(r.label_smoothing_factor),
            r_drop: self.r_drop.unwrap_or(r.r_drop),
            layer_decay: self.layer_decay.unwrap_or(r.layer_decay),
            max_seq_length: self.max_length.unwrap_or(r.max_seq_length.min(config.max_position_embeddings)),
            seed: self.seed.unwrap_or(r.seed),
            ..r
        };
        recipe.check()?;
        recipe.unfreeze.check(config.n_layers)?;
        Ok(recipe)
    }
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    // cheapest checks first
    let output = args.output.clone().unwrap_or_else(|| next_free(&args.data[0]));
    let directory = RunDirectory::create(&output, args.overwrite)?;
    stop::unfinished(Some(directory.path().to_owned()));
    let mut files = sources::model(&args.model, common)?;
    let config = Config::from_json(&files.file("config.json"), &files.config)?;
    sources::notes(&files, &config).iter().for_each(|text| note(common, text));
    let recipe = args.recipe.resolve(&config)?;
    let splits = sources::splits(&args.data, &args.columns.resolve(), recipe.seed, common)?;
    splits.notes.iter().for_each(|text| note(common, text));
    distune::data::audit::quick_check(&splits).iter().for_each(|text| note(common, text));

    let (model, labels) = model_for(args, &files, &config, &splits, &recipe, common)?;
    files.forget_weights();
    if splits.validation.is_none() {
        bail!(no_validation(Path::new(&args.data[0])));
    }
    let tokenizer = sources::tokenizer(&files, &model.config, Some(recipe.max_seq_length))?;
    let examples = |table: Option<Table>| -> Result<Option<Examples>> {
        let dataset = table.map(|table| Dataset::new(table, &labels)).transpose()?;
        Ok(dataset.map(|dataset| Examples::new(dataset, &tokenizer, &model.config)))
    };
    let (train, validation, test) = (examples(splits.train)?, examples(splits.validation)?, examples(splits.test)?);
    let (Some(train), Some(validation)) = (train, validation) else {
        bail!(no_validation(Path::new(&args.data[0])));
    };
    for (name, examples) in [("train", Some(&train)), ("validation", Some(&validation)), ("test", test.as_ref())] {
        examples.into_iter().for_each(|rows| note(common, format!("{name:<10} {:>9} rows", thousands(rows.len()))));
    }

    note(common, format!("Linear layers in {}, {} threads.", common.precision(), rayon::current_num_threads()));
    let depth = model.config.n_layers;
    show_parts(common, &parts(&model.weights, recipe.unfreeze, depth))?;
    let before = frozen_hash(&model.weights, recipe.unfreeze, depth);
    let mut engine = Cpu::for_training(model, recipe.unfreeze, common.precision());
    let cache = CacheLimits { limit: args.cache_limit.as_u64(), memory: memory::available() / 4 };
    if recipe.cache_frozen && recipe.num_train_epochs > 1 && recipe.unfreeze.frozen_blocks(depth) > 0 {
        let limit = args.cache_limit.display().si();
        note(common, format!("Frozen blocks run once for each row; what they put out is kept, up to {limit}."));
    }
    // temporary files lie beside the run that is being written
    let storage = Storage { directory: directory.path().to_owned(), cache };
    let progress = Progress::new(common, "samples");
    let mut watcher = Watcher { progress, common, max_length: tokenizer.max_length(), loss: None, rows: (0, 0) };
    let outcome = distune::train::train(&mut engine, &train, &validation, &recipe, &storage, &mut watcher)?;
    let test = test.map(|test| evaluate(&mut engine, &test, &mut watcher)).transpose()?;
    watcher.progress.finish();

    let model = engine.into_model();
    let after = frozen_hash(&model.weights, recipe.unfreeze, depth);
    if before != after {
        bail!("frozen tensors changed during training (SHA-256 {before} before, {after} after): please report this");
    }
    let run = Run {
        model: &model,
        tokenizer: &files.tokenizer,
        recipe: &recipe,
        base_model: &args.model,
        data: &args.data.join(" "),
        precision: common.precision(),
        train_rows: train.len(),
        outcome: &outcome,
        test: test.as_ref(),
    };
    run.write(directory.path())?;
    stop::unfinished(None);
    directory.finish()?;
    let frozen = model.weights.table().tensors().iter().any(|t| !recipe.unfreeze.trains(t, depth));
    report(common, &output, &outcome, test.as_ref(), frozen.then_some(&before))?;
    Ok(())
}

/// The error for data without a second split.
fn no_validation(data: &Path) -> Error {
    let hint = if data.is_dir() {
        "Add validation.tsv (or dev.tsv) with rows that are not in train.tsv, or name one file alone, which is then split"
    } else {
        "It has too few rows to split off a tenth: add rows, or name a directory with a train and a validation file"
    };
    Error::file(data, "has no validation rows, by which the best epoch is chosen", hint)
}

/// `runs/NAME-1`, or the first number that is free.
fn next_free(data: &str) -> PathBuf {
    let name = Path::new(data).file_stem().and_then(|s| s.to_str()).unwrap_or("run").replace([':', '@'], "-");
    let mut number = 1;
    loop {
        let path = Path::new("runs").join(format!("{name}-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

/// The model to start from: with its own head if that has been trained for these labels, else with a new one.
fn model_for(
    args: &TrainArgs,
    files: &ModelFiles,
    config: &Config,
    splits: &Splits,
    recipe: &Recipe,
    common: &Common,
) -> Result<(Model, LabelMap)> {
    let tables: Vec<&Table> = splits.train.iter().collect();
    let fresh = sources::class_names(&args.data[0], &tables)?;
    if !args.new_head && Model::has_head(files)? {
        let own = LabelMap::from_names(config.labels.clone());
        if fresh.names().iter().all(|name| own.id(name).is_some()) {
            let pairs: Vec<String> = fresh.names().iter().map(|name| named_alike(name, &own)).collect();
            note(
                common,
                format!("Goes on from the model's trained head ({}); --new-head starts a new one.", pairs.join(", ")),
            );
            return Ok((Model::load(files)?, own));
        }
        note(
            common,
            format!("The model's labels ({}) are not those of the data: starts a new head.", own.names().join(", ")),
        );
    }
    note(common, format!("New head for the labels {}.", fresh.names().join(", ")));
    Ok((Model::load_with_new_head(files, fresh.names().to_vec(), recipe.seed)?, fresh))
}

/// A label of the data, with the model's name for it where that is another one.
fn named_alike(label: &str, own: &LabelMap) -> String {
    match own.id(label).map(|id| &own.names()[id as usize]) {
        Some(name) if name != label => format!("{label} = {name}"),
        _ => label.to_owned(),
    }
}

/// What trains and what is frozen.
fn show_parts(common: &Common, parts: &[Part]) -> std::io::Result<()> {
    if common.json {
        line(json!({"event": "start", "parts": parts}))?;
    }
    let sum = |trains: bool| parts.iter().filter(|p| p.trains == trains).map(|p| p.parameters).sum::<usize>();
    for part in parts {
        let state = if part.trains { "trains" } else { "frozen" };
        note(common, format!("{:<10} {:>12}  {state}", part.part, thousands(part.parameters)));
    }
    note(common, format!("{:<10} {:>12}  trains, {} frozen", "all", thousands(sum(true)), thousands(sum(false))));
    Ok(())
}

/// Shows a training's progress.
struct Watcher<'a> {
    progress: Progress,
    common: &'a Common,
    /// Where texts are cut, in tokens.
    max_length: usize,
    /// Moving average of the batch losses.
    loss: Option<f64>,
    /// Rows trained on so far, and in all.
    rows: (usize, usize),
}

impl Watcher<'_> {
    /// One line of JSON; a reader who left is noticed at the end.
    fn event(&self, event: &str, mut values: Value) {
        if self.common.json {
            values["event"] = json!(event);
            let _ = line(values);
        }
    }
}

impl Observer for Watcher<'_> {
    fn step(&mut self, record: &StepRecord, rows: usize, total_rows: usize) {
        let loss = self.loss.map_or(record.loss, |loss| 0.95 * loss + 0.05 * record.loss);
        self.loss = Some(loss);
        self.rows = (rows, total_rows);
        let message = || format!("epoch {:.2} loss {loss:.4} learning rate {:.1e}", record.epoch, record.learning_rate);
        self.progress.set(rows, total_rows, message);
        self.event("step", json!(record));
    }

    fn tokenized(&mut self, lengths: &Lengths) {
        let mean = lengths.tokens as f64 / lengths.rows.max(1) as f64;
        let cut = match lengths.truncated {
            0 => String::new(),
            n => format!(", {} texts cut at {} tokens", thousands(n), self.max_length),
        };
        self.progress.note(&format!("train: {mean:.1} tokens a row{cut}"));
    }

    fn evaluating(&mut self, rows: usize, total_rows: usize) {
        let (done, total) = self.rows;
        self.progress.set(done, total, || format!("evaluating: {rows} of {total_rows}"));
    }

    fn epoch(&mut self, record: &EpochRecord) {
        let best = if record.best { ", the best so far" } else { "" };
        let (validation, epoch) = (&record.validation, record.epoch);
        self.progress.note(&format!(
            "epoch {epoch}: training loss {:.4}, validation loss {:.4}, accuracy {:.2} %{best}",
            record.train_loss,
            validation.loss,
            100.0 * validation.metrics.accuracy,
        ));
        self.event("epoch", json!(record));
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}

/// What the cache saved.
fn cache_line(cache: &CacheReport) -> String {
    let size = |bytes| ByteSize(bytes).display().si();
    let kept = match (cache.memory, cache.file) {
        (memory, 0) => format!("{} in memory", size(memory)),
        (memory, file) => format!("{} in memory, {} in a file", size(memory), size(file)),
    };
    let problem = cache.problem.as_ref().map(|p| format!("; the file could not be written ({p})")).unwrap_or_default();
    format!(
        "The frozen blocks ran {} times and were spared {} times, which saved about {:.0} s ({kept}{problem}).",
        thousands(cache.rows_computed),
        thousands(cache.rows_reused),
        cache.seconds_saved(),
    )
}

fn report(
    common: &Common,
    output: &Path,
    outcome: &Outcome,
    test: Option<&Evaluation>,
    frozen: Option<&String>,
) -> std::io::Result<()> {
    let best = outcome.epochs.iter().find(|e| e.epoch == outcome.best_epoch).map(|e| &e.validation);
    let judged = [("eval", "validation", best), ("test", "test", test)];
    let judged = judged.into_iter().filter_map(|(key, name, evaluation)| Some((key, name, evaluation?)));
    if common.json {
        let mut result = json!({
            "event": "result",
            "output": output,
            "best_epoch": outcome.best_epoch,
            "train_seconds": outcome.train_seconds,
            "frozen_sha256": frozen,
            "cache": outcome.cache,
        });
        for (key, _, evaluation) in judged {
            for (name, value) in evaluation_results(key, evaluation) {
                result[name] = value;
            }
        }
        return line(result);
    }
    let rows = outcome.steps.len();
    line(format!("Trained {rows} steps in {:.1} s; epoch {} is the best.", outcome.train_seconds, outcome.best_epoch))?;
    if let Some(cache) = outcome.cache.as_ref().filter(|cache| cache.rows_reused > 0 || cache.problem.is_some()) {
        line(cache_line(cache))?;
    }
    if let Some(hash) = frozen {
        line(format!("Frozen tensors did not change (SHA-256 {hash:.16})."))?;
    }
    for (_, name, evaluation) in judged {
        line(format!("\n{name}: accuracy {}, loss {:.4}", accuracy(&evaluation.metrics), evaluation.loss))?;
        line(table(&evaluation.metrics).trim_end())?;
    }
    line(format!("\nSaved to {}. Next: distune predict --model {} \"your text\"", output.display(), output.display()))
}
