//! One trial: what it starts from, which trials share where they can, its training and what it leaves.

use std::path::Path;
use std::time::Instant;

use distune::data::{Columns, Splits};
use distune::engine::{Cpu, Precision};
use distune::eval::evaluate;
use distune::model::Model;
use distune::run::Run;
use distune::sweep::{End, Finished, Record, SweepDirectory, TestRows, Trial};
use distune::tensorboard::EventFile;
use distune::train::{CacheLimits, Outcome, Recipe, RecipeFile, SharedCache, Storage, train_sharing};
use distune::{Error, Result};

use super::watch::{Watch, Watcher};
use crate::train::{Start, open_model};
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

/// Model, new head or its own, precision, longest text.
type Of = (Option<String>, bool, Option<String>, usize);

impl Grounds {
    pub(super) fn new(cache: CacheLimits) -> Self {
        Self { cache, ground: None }
    }

    /// The ground for these settings: the one before, if it fits.
    pub(super) fn on(&mut self, settings: &RecipeFile, splits: &Splits, common: &Common) -> Result<&mut Ground> {
        let of =
            (settings.model.clone(), settings.new_head, settings.precision.clone(), settings.recipe.max_seq_length);
        let ground = match self.ground.take() {
            Some(ground) if ground.of == of => ground,
            before => {
                // one model at a time
                drop(before);
                let mut settings = settings.clone();
                let (files, config) = open_model(&settings, common)?;
                let start = Start::new(&mut settings, files, &config, splits.clone(), common)?;
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
        let (model, outcome, trained) = self.train(&settings.recipe, &place, &mut watcher)?;
        let test_name = self.start.test_name;
        let Some(mut finished) = Finished::new(&outcome, self.start.train.len(), test_name, trained) else {
            return Err(Error::value("trial", "evaluations", "at least one", 0));
        };
        let best = directory.wants_run(&Record::new(trial, End::Done(Box::new(finished.clone()))))?;
        let judged = best.is_some() || directory.sweep().plan.test == TestRows::All;
        let mut engine = Cpu::new(model, self.precision);
        let test = self.start.test.as_ref().filter(|_| judged);
        let test = test.map(|rows| evaluate(&mut engine, rows, &mut watcher)).transpose()?;
        finished.test = test.as_ref().map(Into::into);
        finished.peak_memory = memory::peak();
        let run = Run {
            model: &engine.into_model(),
            tokenizer: &self.start.tokenizer,
            settings: &settings,
            train_rows: self.start.train.len(),
            outcome: &outcome,
            test: test.as_ref(),
        };
        run.write_records(&place)?;
        if let Some(best) = best {
            run.write(&best)?;
            watcher.copy_events(&best)?;
        }
        watcher.finish();
        finished.seconds = start.elapsed().as_secs_f64();
        let record = Record::new(trial, End::Done(Box::new(finished)));
        directory.end(record.clone())?;
        Ok(record)
    }

    /// Trains a copy of the model; also returns how many parameters trained.
    fn train(&mut self, recipe: &Recipe, place: &Path, watcher: &mut Watcher) -> Result<(Model, Outcome, usize)> {
        let Start { model, new_head, train, validation, .. } = &self.start;
        let mut model = model.clone();
        if *new_head {
            model.start_head(recipe.seed);
        }
        let mut model = recipe.adapt(model)?;
        let thawed = recipe.thawed(model.weights.table())?;
        model.reinitialise_blocks(recipe.reinit_blocks, recipe.seed);
        let trained = thawed.tensors().map(|tensor| tensor.range.len()).sum();
        let mut engine = Cpu::for_training(model, thawed, self.precision);
        let storage = Storage { directory: place.to_owned(), cache: self.limits, checkpoints: None };
        let outcome = train_sharing(&mut engine, train, validation, recipe, &storage, watcher, Some(&mut self.cache))?;
        let model = engine.into_model();
        let model = if model.weights.table().lora().is_some() { model.merged() } else { model };
        Ok((model, outcome, trained))
    }
}
