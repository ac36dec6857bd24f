//! `distune train`: from named model and data to a run directory, with a report.

pub(crate) mod lora;
mod recipe;
mod report;
mod start;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use distune::tensorboard::EventFile;
use distune::train::RecipeFile;
use distune::train::start::open_model;
use distune::unfinished::{UnfinishedRun, shell_quoted};
use distune::{Error, FineTuning, Result};

pub(crate) use self::recipe::named;
pub(crate) use self::report::cache_line;
use self::report::{Report, Watcher, show_parts};
pub(crate) use self::start::SettingArgs;
use crate::Common;
use crate::hub::watched;
use crate::output::note;

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
    settings.precision = Some(common.precision_over(settings.precision.as_deref()).to_string());
    let mut training = watched(common, |observer| -> Result<FineTuning> {
        let (files, config) = open_model(&settings, observer)?;
        args.settings.fit(&mut settings, &config);
        FineTuning::of(settings, files, &config, observer)
    })?;
    (training.began, training.baselines, training.cache.limit) =
        (began, !args.no_baselines, args.settings.cache_limit.as_u64());
    show_parts(common, training.parts())?;
    if training.keeps_frozen_outputs() {
        let limit = args.settings.cache_limit.display().si();
        note(common, format!("Frozen blocks run once for each row; what they put out is kept, up to {limit}."));
    }
    // temporary files lie in the run that is being written
    let mut watcher = Watcher::new(common, training.max_length(), EventFile::new(run.path()));
    let trained = training.run(Some(run), &mut watcher)?;
    watcher.finish();
    trained.write(run.path(), run.target(), &watcher)?;
    let columns = &trained.settings().columns;
    let next = match (&columns.text, &columns.pair) {
        (Some(text), Some(second)) => format!("--data FILE --text-column {text:?} --pair-column {second:?}"),
        _ => "\"your text\"".to_owned(),
    };
    Ok(Report { output: run.target().to_owned(), trained, next })
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
