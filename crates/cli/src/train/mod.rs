//! `distune train`: from named model and data to a run directory, with a report.

mod helped;
pub(crate) mod lora;
pub(crate) mod page;
mod recipe;
mod report;
mod start;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use distune::engine::{Cpu, Engine};
use distune::run::Run;
use distune::tensorboard::EventFile;
use distune::train::{
    CacheLimits, Checkpoints, Origin, RecipeFile, Storage, fit_to_time, frozen_hash, parts, save_finished,
};
use distune::unfinished::{UnfinishedRun, shell_quoted};
use distune::{Error, Result};

pub(crate) use self::helped::{Before, Beside, Ending, Judged};
use self::page::Page;
pub(crate) use self::recipe::named;
use self::report::{Report, Watcher, show_parts};
pub(crate) use self::report::{adapters, cache_line};
pub(crate) use self::start::{Rows, SettingArgs, Start, check_thawed, open_model, read_rows};
use crate::output::note;
use crate::{Common, memory};

/// Fine-tune a model on labelled texts; without arguments, the bundled encoder on the bundled movie reviews
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Directory to write [default: runs/DATA-1, or the next free number]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Replace the output directory if it exists, and an unfinished training of it
    #[arg(long)]
    overwrite: bool,
    /// Do not train the baselines (majority class, and TF-IDF with logistic regression) beside it
    #[arg(long)]
    no_baselines: bool,
    /// Go on with a training that was interrupted, with its own settings: DIR is its --output
    #[arg(long, value_name = "DIR", conflicts_with_all = SettingArgs::ids_and(&["output"]))]
    resume: Option<PathBuf>,
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    let (mut run, settings) = match &args.resume {
        Some(named) => resume(named, args, common)?,
        None => {
            let settings = args.settings.settings()?;
            let output = args.output.clone().map_or_else(|| next_free(&settings.data[0]), Ok)?;
            (UnfinishedRun::create(&output, args.overwrite)?, settings)
        }
    };
    let trained = train(args, common, &mut run, settings);
    let shown = trained.map_err(|error| how_to_go_on(error, &run, args, common))?;
    run.finish()?;
    shown.show(common)
}

/// The training that a directory is of, and its settings.
fn resume(named: &Path, args: &TrainArgs, common: &Common) -> Result<(UnfinishedRun, RecipeFile)> {
    let run = UnfinishedRun::resume(named, args.overwrite)?;
    let settings = run.settings()?;
    if let Some(found) = common.precision {
        let expected =
            format!("that of the training ({}), so leave it out", settings.precision.as_deref().unwrap_or("auto"));
        return Err(Error::value("--resume", "--precision", expected, format!("{found:?}").to_lowercase()));
    }
    if !run.has_checkpoint() {
        note(common, format!("{}: no checkpoint yet, starts from the beginning.", run.path().display()));
    }
    Ok((run, settings))
}

/// An error of a training, with how to go on where there is a checkpoint.
fn how_to_go_on(error: anyhow::Error, run: &UnfinishedRun, args: &TrainArgs, common: &Common) -> anyhow::Error {
    if !run.has_checkpoint() {
        return error;
    }
    let overwrite = if args.overwrite && run.target().exists() { " --overwrite" } else { "" };
    let no_baselines = if args.no_baselines { " --no-baselines" } else { "" };
    let standard_input = if run.settings().is_ok_and(|s| s.data.iter().any(|d| d == "-")) {
        ", with the same standard input"
    } else {
        ""
    };
    let command =
        format!("distune train --resume {}{overwrite}{no_baselines}{standard_input}", shell_quoted(run.target()));
    match error.downcast::<Error>() {
        Ok(Error::Interrupted { when, kept }) => {
            Error::Interrupted { when, kept: format!("{kept}. Go on with: {command}") }.into()
        }
        Ok(error) => {
            let kept = format!("The training so far is kept in {}", run.path().display());
            note(
                common,
                match error {
                    Error::NotFinite { .. } => format!("{kept}; it would end in the same way again."),
                    _ => format!("{kept}. To go on: {command}"),
                },
            );
            error.into()
        }
        Err(error) => error,
    }
}

/// Trains and writes everything into the unfinished run.
fn train(
    args: &TrainArgs,
    common: &Common,
    run: &mut UnfinishedRun,
    mut settings: RecipeFile,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    // cheapest checks first
    let precision = common.precision_over(settings.precision.as_deref());
    settings.precision = Some(precision.to_string());
    let (files, config) = open_model(&settings, common)?;
    args.settings.fit(&mut settings, &config);
    check_thawed(&settings, &config)?;
    let splits = read_rows(&settings, common)?;
    let start = Start::new(&mut settings, files, &config, splits, common)?;
    let Start { model, new_head, tokenizer, max_length, rows, notes, problems } = start;
    let Rows { train, validation, test, test_name } = &rows;
    let recipe = &settings.recipe;
    let head_is_trained = !new_head && recipe.reinit_blocks == 0;

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
    let parts = parts(&table, &thawed, recipe.gradual_unfreezing);
    show_parts(common, &parts)?;
    let before = frozen_hash(&model.weights, &thawed);
    let mut engine = Cpu::for_training(model, thawed.clone(), precision);
    let cache = CacheLimits { limit: args.settings.cache_limit.as_u64(), memory: memory::available() / 4 };
    if recipe.cache_frozen && recipe.num_train_epochs > 1 && thawed.frozen_blocks() > 0 {
        let limit = args.settings.cache_limit.display().si();
        note(common, format!("Frozen blocks run once for each row; what they put out is kept, up to {limit}."));
    }
    // temporary files lie in the run that is being written
    let mut storage = Storage { directory: run.path().to_owned(), cache, checkpoints: None };
    let mut watcher = Watcher::new(common, max_length, EventFile::new(run.path()));
    run.write_settings(&settings)?;
    let judged = Judged { test: test.as_ref(), validation };
    let at_the_end = judged.rows(head_is_trained);
    let recipe = &mut settings.recipe;
    if let Some(fitted) = fit_to_time(&mut engine, train, validation, at_the_end, recipe, &storage, &mut watcher)? {
        watcher.fitted(&fitted);
        run.write_settings(&settings)?;
    }
    let recipe = &settings.recipe;
    let origin = Origin::new(engine.model(), precision, &tokenizer, &rows.parts(), recipe);
    storage.checkpoints = Some(Checkpoints { directory: run.path().to_owned(), origin });
    let judged_before = judged.before(head_is_trained, &mut engine, &mut watcher)?;
    let outcome = distune::train::train(&mut engine, train, validation, recipe, &storage, &mut watcher)?;
    let after = frozen_hash(&engine.model().weights, &thawed);
    if before != after {
        bail!("frozen tensors changed during training (SHA-256 {before} before, {after} after): please report this");
    }
    // test rows are judged by the weights that are saved
    let mut merged = table.lora().map(|_| Cpu::new(engine.model().merged(), precision));
    if merged.is_some() {
        watcher.progress.note("The adapters have become part of the weights.");
    }
    let saved = merged.as_mut().unwrap_or(&mut engine);
    let beside = Beside { train, test_name, seconds: outcome.train_seconds };
    let beside = (!args.no_baselines).then_some(beside);
    let ended = judged.after(&judged_before, beside, saved, &mut watcher);
    let ending = ended.map_err(|error| save_finished(error, &mut engine, &outcome, recipe, &storage))?;
    watcher.finish();

    let model = merged.unwrap_or(engine).into_model();
    let frozen = table.tensors().iter().any(|tensor| !thawed.trains(tensor)).then_some(before);
    let adapters = table.lora().map(adapters);
    let page = Page {
        run: run.target(),
        began,
        settings: &settings,
        precision,
        model: &model,
        rows: &rows,
        notes: &notes,
        problems: &problems,
        parts: &parts,
        adapters: adapters.as_deref(),
        frozen: frozen.as_deref(),
        outcome: &outcome,
        ending: &ending,
        origin: storage.checkpoints.as_ref().map(|checkpoints| &checkpoints.origin),
    };
    page.with(|report| {
        let run_of = Run {
            model: &model,
            tokenizer: &tokenizer,
            settings: &settings,
            train_rows: train.len(),
            outcome: &outcome,
            test: ending.test.as_ref(),
            calibration: Some(&ending.calibration),
            models: ending.models.as_ref(),
            report: Some(report),
        };
        run_of.write(run.path())
    })?;
    let next = match (&settings.columns.text, &settings.columns.pair) {
        (Some(text), Some(second)) => format!("--data FILE --text-column {text:?} --pair-column {second:?}"),
        _ => "\"your text\"".to_owned(),
    };
    let output = run.target().to_owned();
    Ok(Report { output, outcome, test_name, ending, frozen, next })
}

/// `runs/NAME-1`, or the first number that is free.
fn next_free(data: &str) -> Result<PathBuf> {
    let name = data_name(data);
    let mut number = 1;
    loop {
        let path = Path::new("runs").join(format!("{name}-{number}"));
        if !path.exists() && !UnfinishedRun::path_of(&path)?.exists() {
            return Ok(path);
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
