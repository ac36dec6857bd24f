//! `distune sweep`: many trainings of one recipe, a table, a picture and the best run.

mod trial;
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use distune::data::Splits;
use distune::model::Config;
use distune::sweep::{End, Record, Seeds, Sweep, SweepDirectory, Trial, budget};
use distune::train::start::{check_thawed, open_model, read_rows};
use distune::train::{CacheLimits, RecipeFile};
use distune::unfinished::shell_quoted;
use distune::{Error, Result};

use self::trial::Grounds;
use self::watch::{Clock, describe, report};
use crate::hub::watched;
use crate::output::note;
use crate::train::{SettingArgs, data_name};
use crate::{Common, memory, sources, stop};

/// Train with many settings, or with several seeds, and compare: a recipe's [sweep] table says what varies
///
/// A key of the table has a list of values, or for numbers a range such as { min = 1e-5, max = 1e-3, log = true }. method is grid
/// (all combinations of lists), random or tpe (near what was good), which try so many settings as trials says; seeds is a number
/// or a list. Trials are compared on the validation rows; docs/book/src/layers.md says what the figures are of.
#[derive(Args, Debug)]
#[command(mut_arg("recipe_file", |arg| arg.help("Recipe with a [sweep] table; options win over what is above the table")))]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    settings: SettingArgs,
    /// Compare what is thawed: the head, the last 1, 2, 3 and 6 blocks, everything; each is judged on the test rows too
    #[arg(long)]
    layers: bool,
    /// Train each setting with N seeds, from --seed on, at most 1000 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// End after so much time, such as 30m, with the trials that are done
    #[arg(long, value_name = "TIME", value_parser = budget)]
    budget: Option<Duration>,
    /// Directory to write [default: runs/sweep-DATA-1, or the next free number]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Go on with a sweep that was interrupted, or whose budget ended
    #[arg(long, value_name = "DIR", conflicts_with_all = SettingArgs::ids_and(&["layers", "seeds", "output"]))]
    resume: Option<PathBuf>,
}

pub(crate) fn run(args: &SweepArgs, common: &Common) -> anyhow::Result<()> {
    let (path, directory, splits) = match &args.resume {
        Some(path) => resume(path, common)?,
        None => create(args, common)?,
    };
    let memory = memory::available() / 4;
    let cache = CacheLimits { limit: args.settings.cache_limit.as_u64(), memory };
    let budget = args.budget.or(directory.sweep().plan.budget);
    let mut session = Session { directory, splits, grounds: Grounds::new(cache), clock: Clock::new(budget), common };
    let ended = session.run();
    end(session.directory, &path, ended, common)
}

/// Ends a sweep that is done, or that goes on another time.
fn end(directory: SweepDirectory, path: &Path, ended: Result<()>, common: &Common) -> anyhow::Result<()> {
    let (done, total) = (directory.records().len(), directory.sweep().trials());
    let go_on = format!("Go on with: distune sweep --resume {}", shell_quoted(path));
    let first_failure = directory.records().first().map(|record| record.end.clone());
    let none_is_good = directory.summary().best.is_none();
    let shown = report(&directory);
    let data = directory.sweep().base.data.clone();
    let best = directory.close();
    match ended {
        Ok(()) => shown.show(common, path, &data, best?.as_deref())?,
        Err(Error::Interrupted { .. }) if stop::requested() => {
            let when = format!("after {done} of {total} trials");
            return Err(Error::Interrupted { when, kept: format!("they are kept. {go_on}") }.into());
        }
        Err(Error::Interrupted { .. }) if done == 0 => {
            bail!("the budget ended before the first trial did: give more with --budget. {go_on}")
        }
        Err(Error::Interrupted { .. }) => {
            shown.show(common, path, &data, best?.as_deref())?;
            note(common, format!("The budget ended after {done} of {total} trials. {go_on}"));
        }
        Err(error) => {
            note(common, go_on);
            return Err(error.into());
        }
    }
    match first_failure {
        Some(End::Failed(message)) if none_is_good => {
            bail!("{}: no trial ended well; the first: {message}", path.display())
        }
        _ => Ok(()),
    }
}

/// Begins a sweep: settings and rows are checked before anything is written.
fn create(args: &SweepArgs, common: &Common) -> anyhow::Result<(PathBuf, SweepDirectory, Splits)> {
    let file = args.settings.recipe_file.as_deref();
    let mut sweep = file.map_or_else(|| Ok(Sweep::default()), Sweep::read)?;
    let of_file = sweep.base.clone();
    sweep.base = args.settings.over(sweep.base)?;
    if let Some(n) = args.seeds {
        sweep.plan.seeds = Seeds::Number(n);
    }
    if args.budget.is_some() {
        sweep.plan.budget = args.budget;
    }
    if args.layers {
        let config = watched(common, |observer| open_model(&sweep.base, observer))?.1;
        sweep.plan.over_layers(config.n_layers)?;
    }
    check_not_given(args, common, &of_file, &sweep)?;
    if !sweep.plan.keys.contains_key("precision") {
        sweep.base.precision = Some(common.precision_over(sweep.base.precision.as_deref()).to_string());
    }
    let output = args.output.clone().unwrap_or_else(|| next_free(&sweep.base.data[0]));
    SweepDirectory::check_free(&output)?;
    let sweep = fitted(args, sweep, common)?.resolve()?;
    let splits = watched(common, |observer| read_rows(&sweep.base, observer))?;
    note(common, format!("{} trials in {}.", sweep.trials(), output.display()));
    let directory = SweepDirectory::create(&output, sweep)?;
    Ok((output, directory, splits))
}

/// Goes on with a sweep.
fn resume(path: &Path, common: &Common) -> anyhow::Result<(PathBuf, SweepDirectory, Splits)> {
    if common.precision.is_some() {
        return Err(Error::value("--resume", "--precision", "none: that of the sweep stays", "one").into());
    }
    let directory = SweepDirectory::open(path)?;
    let splits = match directory.next() {
        Some(_) => watched(common, |observer| read_rows(&directory.sweep().base, observer))?,
        None => Splits::default(),
    };
    let (done, total) = (directory.records().len(), directory.sweep().trials());
    note(common, format!("{done} of {total} trials are done."));
    Ok((path.to_owned(), directory, splits))
}

/// Refuses an option for a key that varies.
fn check_not_given(args: &SweepArgs, common: &Common, of_file: &RecipeFile, sweep: &Sweep) -> Result<()> {
    let given = |key: &str| {
        let expected = "either values in the sweep or an option";
        Err(Error::value("sweep", key, expected, "both: leave out the option, or remove the key from [sweep]"))
    };
    if sweep.plan.keys.contains_key("precision") && common.precision.is_some() {
        return given("precision");
    }
    for (key, values) in &sweep.plan.keys {
        for value in values.some() {
            let settings = of_file.with(key, value)?;
            // what does not go together is refused with the settings that it is of
            let over = args.settings.over(settings.clone());
            if over.is_ok_and(|over| over.get(key) != settings.get(key)) {
                return given(key);
            }
        }
    }
    Ok(())
}

/// A sweep that fits its models: texts are no longer than their positions, and they have what is thawed.
fn fitted(args: &SweepArgs, mut sweep: Sweep, common: &Common) -> Result<Sweep> {
    let seed = sweep.base.recipe.seed;
    let mut configs: Vec<(Option<String>, Config)> = Vec::new();
    let mut settings = Vec::new();
    for values in sweep.known_settings() {
        let one = sweep.settings(&values, seed)?;
        if !configs.iter().any(|(model, _)| *model == one.model) {
            let files = sources::model(one.model.as_deref().unwrap_or_default(), common)?;
            configs.push((one.model.clone(), files.config()?));
        }
        settings.push(one);
    }
    for (_, config) in &configs {
        args.settings.fit(&mut sweep.base, config);
    }
    for one in &settings {
        let config = configs.iter().find(|(model, _)| *model == one.model).map(|(_, config)| config);
        config.map_or(Ok(()), |config| check_thawed(one, config))?;
    }
    Ok(sweep)
}

/// A sweep that is being run.
struct Session<'a> {
    directory: SweepDirectory,
    splits: Splits,
    grounds: Grounds,
    clock: Clock,
    common: &'a Common,
}

impl Session<'_> {
    /// Runs trial after trial. What is interrupted, by the user or by the end of the budget, is not recorded.
    fn run(&mut self) -> Result<()> {
        while let Some(trial) = self.directory.next() {
            let start = Instant::now();
            let record = match self.trial(&trial) {
                // of these settings alone
                Err(error @ (Error::NotFinite { .. } | Error::Value { .. })) => {
                    let record = Record::new(&trial, End::Failed(error.to_string()));
                    self.directory.end(record.clone())?;
                    record
                }
                record => record?,
            };
            self.clock.done(start.elapsed());
            // a reader who left is noticed at the end
            let _ = watch::ended(self.common, &self.name(&trial), &describe(&trial), &record);
        }
        Ok(())
    }

    fn trial(&mut self, trial: &Trial) -> Result<Record> {
        if self.clock.is_over() || stop::requested() {
            return Err(Error::Interrupted { when: String::new(), kept: String::new() });
        }
        let sweep = self.directory.sweep();
        let settings = sweep.settings(&trial.values, trial.seed)?;
        let left = sweep.trials() + 1 - trial.number;
        let watch = self.clock.watch(self.common, self.name(trial), describe(trial), left);
        let ground = self.grounds.on(&settings, &self.splits, self.common)?;
        ground.run(trial, settings, &mut self.directory, &watch)
    }

    /// "trial 3 of 12".
    fn name(&self, trial: &Trial) -> String {
        format!("trial {} of {}", trial.number, self.directory.sweep().trials())
    }
}

/// `runs/sweep-NAME-1`, or the first number that is free.
fn next_free(data: &str) -> PathBuf {
    let path = |number| Path::new("runs").join(format!("sweep-{}-{number}", data_name(data)));
    (1_u64..).map(path).find(|path| !path.exists()).unwrap_or_default()
}
