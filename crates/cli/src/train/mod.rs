//! `distune train`: from named model and data to a run directory, with a report.

pub(crate) mod lora;
mod recipe;
mod report;
mod start;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use distune::engine::Cpu;
use distune::eval::evaluate;
use distune::run::{Run, RunDirectory};
use distune::tensorboard::EventFile;
use distune::train::{CacheLimits, Storage, frozen_hash, parts};

pub(crate) use self::report::cache_line;
use self::report::{Watcher, adapters, report, show_parts};
pub(crate) use self::start::{SettingArgs, Start, check_thawed, open_model, read_rows};
use crate::output::note;
use crate::{Common, memory, stop};

/// Fine-tune a model on labelled texts; without arguments, the bundled encoder on the bundled movie reviews
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Directory to write [default: runs/DATA-1, or the next free number]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    // cheapest checks first
    let mut settings = args.settings.settings()?;
    let precision = common.precision_over(settings.precision.as_deref());
    settings.precision = Some(precision.to_string());
    let output = args.output.clone().unwrap_or_else(|| next_free(&settings.data[0]));
    let directory = RunDirectory::create(&output, args.overwrite)?;
    stop::unfinished(Some(directory.path().to_owned()));
    let (files, config) = open_model(&settings, common)?;
    args.settings.fit(&mut settings, &config);
    check_thawed(&settings, &config)?;
    let splits = read_rows(&settings, common)?;
    let start = Start::new(&mut settings, files, &config, splits, common)?;
    let Start { model, tokenizer, max_length, train, validation, test, test_name, .. } = start;
    let recipe = &settings.recipe;

    note(common, format!("Linear layers in {}, {} threads.", precision, rayon::current_num_threads()));
    let mut model = recipe.adapt(model)?;
    let table = model.weights.table().clone();
    let thawed = recipe.thawed(&table)?;
    if recipe.reinit_blocks > 0 {
        model.reinitialise_blocks(recipe.reinit_blocks, recipe.seed);
        note(common, format!("Blocks that start anew, with random weights: the last {}.", recipe.reinit_blocks));
    }
    if let Some(lora) = table.lora() {
        note(common, adapters(lora));
    }
    show_parts(common, &parts(&table, &thawed, recipe.gradual_unfreezing))?;
    let before = frozen_hash(&model.weights, &thawed);
    let mut engine = Cpu::for_training(model, thawed.clone(), precision);
    let cache = CacheLimits { limit: args.settings.cache_limit.as_u64(), memory: memory::available() / 4 };
    if recipe.cache_frozen && recipe.num_train_epochs > 1 && thawed.frozen_blocks() > 0 {
        let limit = args.settings.cache_limit.display().si();
        note(common, format!("Frozen blocks run once for each row; what they put out is kept, up to {limit}."));
    }
    // temporary files lie beside the run that is being written
    let storage = Storage { directory: directory.path().to_owned(), cache };
    let mut watcher = Watcher::new(common, max_length, EventFile::create(directory.path())?);
    let outcome = distune::train::train(&mut engine, &train, &validation, recipe, &storage, &mut watcher)?;
    let mut model = engine.into_model();
    let after = frozen_hash(&model.weights, &thawed);
    if before != after {
        bail!("frozen tensors changed during training (SHA-256 {before} before, {after} after): please report this");
    }
    if table.lora().is_some() {
        model = model.merged();
        watcher.progress.note("The adapters have become part of the weights.");
    }
    // of the weights that are saved
    let mut engine = Cpu::new(model, precision);
    let test = test.map(|test| evaluate(&mut engine, &test, &mut watcher)).transpose()?;
    watcher.finish();
    let model = engine.into_model();
    let run = Run {
        model: &model,
        tokenizer: &tokenizer,
        settings: &settings,
        train_rows: train.len(),
        outcome: &outcome,
        test: test.as_ref(),
    };
    run.write(directory.path())?;
    stop::unfinished(None);
    directory.finish()?;
    let frozen = table.tensors().iter().any(|tensor| !thawed.trains(tensor));
    let next = match (&settings.columns.text, &settings.columns.pair) {
        (Some(text), Some(second)) => format!("--data FILE --text-column {text:?} --pair-column {second:?}"),
        _ => "\"your text\"".to_owned(),
    };
    report(common, &output, &outcome, (test_name, test.as_ref()), frozen.then_some(&before), &next)?;
    Ok(())
}

/// `runs/NAME-1`, or the first number that is free.
fn next_free(data: &str) -> PathBuf {
    let name = data_name(data);
    let mut number = 1;
    loop {
        let path = Path::new("runs").join(format!("{name}-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

/// What a run is called by its data.
pub(crate) fn data_name(data: &str) -> String {
    match data {
        "-" => "stdin".to_owned(),
        data => Path::new(data).file_stem().and_then(|s| s.to_str()).unwrap_or("run").replace([':', '@'], "-"),
    }
}
