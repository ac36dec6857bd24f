//! One trial: what it starts from, which trials share where they can, its training and what it leaves.

use std::path::Path;
use std::time::Instant;

use distune::data::{Columns, Examples, Splits};
use distune::engine::{Cpu, Engine, Precision};
use distune::eval::{Evaluation, evaluate};
use distune::model::Model;
use distune::report::RunPage;
use distune::run::Run;
use distune::sweep::{End, Finished, Record, SweepDirectory, TestRows, Trial};
use distune::tensorboard::EventFile;
use distune::tokenize::{Combine, Long};
use distune::train::ending::{Before, Beside, Ending, Judged};
use distune::train::start::{Rows, Start, open_model};
use distune::train::{
    CacheLimits, Checkpoints, Origin, Outcome, PartOfModel, Recipe, RecipeFile, SharedCache, Storage, parts,
    save_finished, train_sharing,
};
use distune::{Error, Result};

use super::watch::{Watch, Watcher};
use crate::hub::watched;
use crate::{Common, memory};

/// What the trials of one model start from, until another model comes.
pub(super) struct Grounds {
    cache: CacheLimits,
    ground: Option<Ground>,
}

/// A model, the rows in its tokens, and what its frozen blocks put out for them.
pub(super) struct Ground {
    /// The settings that it depends on.
    of: Of,
    start: Start,
    /// The columns that were read.
    columns: Columns,
    precision: Precision,
    limits: CacheLimits,
    cache: SharedCache,
}

/// Model, new head or its own, precision, longest text, and how longer ones are read.
type Of = (Option<String>, bool, Option<String>, usize, (Long, Option<usize>, Combine));

impl Grounds {
    pub(super) fn new(cache: CacheLimits) -> Self {
        Self { cache, ground: None }
    }

    /// The ground for these settings: the one before, if it fits.
    pub(super) fn on(&mut self, settings: &RecipeFile, splits: &Splits, common: &Common) -> Result<&mut Ground> {
        let recipe = &settings.recipe;
        let windows = (recipe.long, recipe.window_overlap, recipe.window_combine);
        let of =
            (settings.model.clone(), settings.new_head, settings.precision.clone(), recipe.max_seq_length, windows);
        let ground = match self.ground.take() {
            Some(ground) if ground.of == of => ground,
            before => {
                // one model at a time
                drop(before);
                let mut settings = settings.clone();
                let start = watched(common, |observer| {
                    let (files, config) = open_model(&settings, observer)?;
                    Start::new(&mut settings, files, &config, splits.clone(), observer)
                })?;
                let precision = common.precision_over(settings.precision.as_deref());
                let (columns, limits, cache) = (settings.columns, self.cache, SharedCache::default());
                Ground { of, start, columns, precision, limits, cache }
            }
        };
        Ok(self.ground.insert(ground))
    }
}

impl Ground {
    /// Trains and judges, writes what stays of it, and records it.
    pub(super) fn run(
        &mut self,
        trial: &Trial,
        mut settings: RecipeFile,
        directory: &mut SweepDirectory,
        watch: &Watch,
    ) -> Result<Record> {
        let start = Instant::now();
        settings.columns = self.columns.clone();
        settings.precision = Some(self.precision.to_string());
        let place = directory.begin(trial, &settings)?;
        memory::reset_peak();
        let mut watcher = watch.watcher(EventFile::new(&place));
        let mut trained = self.train(&settings.recipe, &place, &mut watcher)?;
        let rows = self.start.rows.train.len();
        let Some(mut finished) = Finished::new(&trained.outcome, rows, self.start.rows.test_name, trained.parameters)
        else {
            return Err(Error::value("trial", "evaluations", "at least one", 0));
        };
        let best = directory.wants_run(&Record::new(trial, End::Done(Box::new(finished.clone()))))?;
        let judged = best.is_some() || directory.sweep().plan.test == TestRows::All;
        let rows_of = &self.start.rows;
        let ending = best.as_ref().map(|_| trained.end(rows_of, &settings.recipe, &mut watcher)).transpose()?;
        let alone = rows_of.test.as_ref().filter(|_| judged && ending.is_none());
        let alone = alone.map(|rows| trained.judge(rows, &settings.recipe, &mut watcher)).transpose()?;
        let test = ending.as_ref().map_or(alone.as_ref(), |ending| ending.test.as_ref());
        finished.test = test.map(Into::into);
        finished.peak_memory = memory::peak();
        let Trained { outcome, parts, adapters, .. } = &trained;
        let (outcome, parts, adapters) = (outcome.clone(), parts.clone(), adapters.clone());
        let checkpoints = trained.storage.checkpoints.clone();
        let model = trained.into_model();
        let run = Run {
            model: &model,
            tokenizer: &self.start.tokenizer,
            settings: &settings,
            train_rows: rows,
            outcome: &outcome,
            test,
            calibration: ending.as_ref().map(|ending| &ending.calibration),
            models: ending.as_ref().and_then(|ending| ending.models.as_ref()),
            report: None,
        };
        run.write_records(&place)?;
        if let (Some(best), Some(ending)) = (best, &ending) {
            let page = RunPage {
                run: directory.path(),
                began: start,
                settings: &settings,
                precision: self.precision,
                model: &model,
                rows: &self.start.rows,
                notes: &self.start.notes,
                problems: &self.start.problems,
                parts: &parts,
                adapters: adapters.as_deref(),
                frozen: None,
                outcome: &outcome,
                ending,
                origin: checkpoints.as_ref().map(|checkpoints| &checkpoints.origin),
            };
            page.with(&watcher, |report| Run { report: Some(report), ..run }.write(&best))?;
            watcher.copy_events(&best)?;
        }
        watcher.finish();
        finished.seconds = start.elapsed().as_secs_f64();
        let record = Record::new(trial, End::Done(Box::new(finished)));
        directory.end(record.clone())?;
        Ok(record)
    }

    /// Trains a copy of the model, from a checkpoint on if there is one.
    fn train(&mut self, recipe: &Recipe, place: &Path, watcher: &mut Watcher) -> Result<Trained> {
        let mut model = self.start.model.clone();
        if self.start.new_head {
            model.start_head(recipe.seed);
        }
        let mut model = recipe.adapt(model)?;
        let table = model.weights.table().clone();
        let thawed = recipe.thawed(&table)?;
        model.reinitialise_blocks(recipe.reinit_blocks, recipe.seed);
        let parameters = thawed.tensors().map(|tensor| tensor.range.len()).sum();
        let parts = parts(&table, &thawed, recipe.gradual_unfreezing);
        let origin = Origin::new(&model, self.precision, &self.start.tokenizer, &self.start.rows.parts(), recipe);
        let checkpoints = Some(Checkpoints { directory: place.to_owned(), origin });
        let storage = Storage { directory: place.to_owned(), cache: self.limits, checkpoints };
        let mut engine = Cpu::for_training(model, thawed, self.precision);
        let (train, validation) = (&self.start.rows.train, &self.start.rows.validation);
        let outcome = train_sharing(&mut engine, train, validation, recipe, &storage, watcher, Some(&mut self.cache))?;
        let merged = table.lora().map(|_| Cpu::new(engine.model().merged(), self.precision));
        Ok(Trained {
            engine,
            merged,
            outcome,
            storage,
            parameters,
            parts,
            adapters: table.lora().map(ToString::to_string),
        })
    }
}

/// A trial after its training.
struct Trained {
    engine: Cpu,
    /// The model with its adapters in its weights, where it has some.
    merged: Option<Cpu>,
    outcome: Outcome,
    storage: Storage,
    /// How many parameters trained.
    parameters: usize,
    parts: Vec<PartOfModel>,
    /// Where adapters sat.
    adapters: Option<String>,
}

impl Trained {
    /// Ends as a training does, whose run stays.
    fn end(&mut self, rows: &Rows, recipe: &Recipe, watcher: &mut Watcher) -> Result<Ending> {
        let judged = Judged { test: rows.test.as_ref(), validation: &rows.validation };
        let beside = Beside { train: &rows.train, test_name: rows.test_name, seconds: self.outcome.train_seconds };
        let engine = self.merged.as_mut().unwrap_or(&mut self.engine);
        let ended = judged.after(&Before::default(), Some(beside), engine, watcher);
        ended.map_err(|error| save_finished(error, &mut self.engine, &self.outcome, recipe, &self.storage))
    }

    /// Judges other rows by the weights that are saved.
    fn judge(&mut self, rows: &Examples, recipe: &Recipe, watcher: &mut Watcher) -> Result<Evaluation> {
        let judged = evaluate(self.merged.as_mut().unwrap_or(&mut self.engine), rows, watcher);
        judged.map_err(|error| save_finished(error, &mut self.engine, &self.outcome, recipe, &self.storage))
    }

    fn into_model(self) -> Model {
        self.merged.unwrap_or(self.engine).into_model()
    }
}
