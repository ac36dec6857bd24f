//! Training: recipe, freezing, schedule, and the loop over epochs. Called by the program's `train`.

mod cache;
mod class_weights;
mod estimate;
mod freeze;
mod lora;
mod metric;
mod plateau;
mod recipe;
mod recipe_file;
mod schedule;

use std::fs::File;
use std::io::Seek;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use cache::{CacheLimits, CacheReport, SharedCache};
pub use class_weights::ClassWeights;
pub use estimate::TrainingMemory;
pub use freeze::{PartOfModel, Unfreeze, frozen_hash, parts, stages};
pub use lora::LoraTargets;
pub use metric::Metric;
pub use plateau::Plateau;
pub use recipe::{Optimizer, Recipe};
pub use recipe_file::RecipeFile;
pub(crate) use recipe_file::SWEEP;
pub use schedule::{Schedule, Scheduler};

use cache::FrozenCache;
use metric::EarlyStopping;

use crate::data::{Examples, Lengths};
use crate::engine::{Engine, StepOptions, StepOutcome, StepPart};
use crate::eval::{Evaluation, evaluate};
use crate::model::thawed::Thawed;
use crate::{Error, Result};

/// What an optimizer step did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Counted from 1 over the whole training.
    pub step: usize,
    /// Epochs done, with the fraction of the one under way.
    pub epoch: f64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Gradient norm before clipping.
    pub grad_norm: f64,
    /// The step's learning rate; with layer-wise decay, that of the last block.
    pub learning_rate: f64,
}

/// How the model stood when it was judged: after an epoch, or after some steps.
#[derive(Clone, Debug, Serialize)]
pub struct EvaluationRecord {
    /// Epochs done, with the fraction of the one under way.
    pub epoch: f64,
    /// Steps done.
    pub step: usize,
    /// Mean training loss over the rows since the evaluation before.
    pub train_loss: f64,
    /// Seconds of the steps since then.
    pub seconds: f64,
    /// The validation rows, judged.
    pub validation: Evaluation,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Follows a training, and may stop it.
pub trait Observer {
    /// After each step: how many rows of the whole training are done, of how many.
    fn step(&mut self, _record: &StepRecord, _rows: usize, _total_rows: usize) {}
    /// When the last training row has been tokenized.
    fn tokenized(&mut self, _lengths: &Lengths) {}
    /// While validation rows are judged: how many are done, of how many.
    fn evaluating(&mut self, _rows: usize, _total_rows: usize) {}
    /// After each evaluation of the validation rows.
    fn evaluated(&mut self, _record: &EvaluationRecord) {}
    /// Asked before each step and each batch of validation rows.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// What a training keeps outside the engine.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Where temporary files are made: the best weights, and what the cache has no memory for. They have no names
    /// and go with the process.
    pub directory: PathBuf,
    /// Room for what frozen blocks put out, when the recipe wants it kept.
    pub cache: CacheLimits,
}

impl Outcome {
    /// The evaluation whose weights the engine holds.
    pub fn best(&self) -> Option<&EvaluationRecord> {
        self.evaluations.iter().rev().find(|e| e.best)
    }

    /// Epochs done.
    pub fn epochs(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.epoch)
    }
}

impl Storage {
    fn error(&self, doing: &str, error: &std::io::Error) -> Error {
        Error::io(&self.directory, doing, error)
    }
}

/// A finished training. The engine holds the weights of the best evaluation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Every evaluation.
    pub evaluations: Vec<EvaluationRecord>,
    /// Whether it ended before its time, because the metric no longer rose.
    pub stopped_early: bool,
    /// Seconds in training steps alone.
    pub train_seconds: f64,
    /// What keeping the frozen part's outputs did, where that was done.
    pub cache: Option<CacheReport>,
}

/// Trains on `train`, judges on `validation` after each epoch (or some steps), and leaves the weights that were best in the engine.
///
/// # Errors
/// [`Error::NotFinite`] at the first step whose loss or gradient is not a number, or after an epoch that leaves no usable
/// weights; [`Error::Interrupted`] when the observer asks to stop; a row that cannot be tokenized.
pub fn train(
    engine: &mut dyn Engine,
    train: &Examples,
    validation: &Examples,
    recipe: &Recipe,
    storage: &Storage,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    train_sharing(engine, train, validation, recipe, storage, observer, None)
}

/// As [`train`], with what frozen blocks put out taken from trainings before and left to those that follow.
///
/// # Errors
/// Those of [`train`].
pub fn train_sharing(
    engine: &mut dyn Engine,
    train: &Examples,
    validation: &Examples,
    recipe: &Recipe,
    storage: &Storage,
    observer: &mut dyn Observer,
    shared: Option<&mut SharedCache>,
) -> Result<Outcome> {
    recipe.check()?;
    let thawed = recipe.thawed(engine.model().weights.table())?;
    let mut options = recipe.step_options();
    if recipe.gradual_unfreezing {
        options.stages = stages(&thawed, recipe.steps_per_epoch(train.len()));
    }
    options.loss.class_weights = recipe.class_weights.resolve(train.answers(), engine.config())?;
    let cache = FrozenCache::new(storage, train.len(), engine, recipe, &thawed, shared.is_some());
    let mut own = SharedCache::default();
    let cache = shared.unwrap_or(&mut own).serve(cache);
    let stop = AtomicBool::new(false);
    let first_order = shuffled(train.len(), recipe.seed, 1);
    std::thread::scope(|scope| {
        // rows are tokenized on a thread of their own, ahead of the steps that want them
        let tokenizing = scope.spawn(|| train.tokenize_ahead(&first_order, &stop));
        let training = Training {
            train,
            recipe,
            storage,
            options,
            thawed,
            cache,
            tokenizing: Some(tokenizing),
            order: Vec::new(),
            steps: Vec::new(),
            plateau: Plateau::default(),
        };
        let outcome = training.run(engine, validation, observer);
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// A training under way.
struct Training<'a, 'scope> {
    train: &'a Examples,
    recipe: &'a Recipe,
    storage: &'a Storage,
    options: StepOptions,
    thawed: Thawed,
    cache: Option<&'a mut FrozenCache>,
    /// Until it has been seen to be done.
    tokenizing: Option<ScopedJoinHandle<'scope, ()>>,
    /// The order of the rows in the epoch under way.
    order: Vec<usize>,
    steps: Vec<StepRecord>,
    plateau: Plateau,
}

impl Training<'_, '_> {
    fn run(mut self, engine: &mut dyn Engine, validation: &Examples, observer: &mut dyn Observer) -> Result<Outcome> {
        let recipe = self.recipe;
        let mut stopping = EarlyStopping::new(
            recipe.metric_for_best_model,
            recipe.early_stopping_patience,
            recipe.early_stopping_threshold,
        );
        let (mut evaluations, mut best): (Vec<EvaluationRecord>, Option<File>) = (Vec::new(), None);
        let total_steps = recipe.schedule(self.train.len()).total_steps;
        let mut stopped_early = false;
        while self.steps.len() < total_steps && !stopped_early {
            let start = Instant::now();
            let train_loss = self.steps_to_the_next_evaluation(engine, observer)?;
            let seconds = start.elapsed().as_secs_f64();
            let validation = evaluate(engine, validation, observer)?;
            check_finite(engine, &self.thawed, &self.steps, &validation)?;
            let metric = recipe.metric_for_best_model;
            let better = evaluations.iter().all(|e| metric.is_better(&validation, &e.validation));
            stopped_early = stopping.stops(&validation) && self.steps.len() < total_steps;
            if recipe.lr_scheduler_type == Scheduler::ReduceLrOnPlateau {
                self.plateau.look(metric.of(&validation), recipe);
            }
            let (step, epoch) = (self.steps.len(), self.steps.last().map_or(0.0, |step| step.epoch));
            let record = EvaluationRecord { epoch, step, train_loss, seconds, validation, best: better };
            if better && step < total_steps {
                best = Some(self.keep_weights(engine)?);
            }
            observer.evaluated(&record);
            evaluations.push(record);
        }
        if let Some(mut file) = best.filter(|_| evaluations.last().is_some_and(|e| !e.best)) {
            let read = file.rewind().and_then(|()| engine.read_trained(&mut file));
            read.map_err(|e| self.storage.error("read the best weights from a temporary file in", &e))?;
        }
        let train_seconds = evaluations.iter().map(|e| e.seconds).sum();
        let cache = self.cache.map(|cache| cache.report());
        Ok(Outcome { steps: self.steps, evaluations, stopped_early, train_seconds, cache })
    }

    /// Writes the weights that are the best so far to a file without a name: in memory they would be a fourth copy.
    fn keep_weights(&self, engine: &mut dyn Engine) -> Result<File> {
        let mut write = || {
            let mut file = tempfile::tempfile_in(&self.storage.directory)?;
            engine.write_trained(&mut file).map(|()| file)
        };
        write().map_err(|e| self.storage.error("write the best weights to a temporary file in", &e))
    }

    /// Steps up to the end of an epoch or, with `eval_steps`, until the next multiple of it; returns the mean loss of their rows.
    fn steps_to_the_next_evaluation(&mut self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<f64> {
        let (recipe, rows) = (self.recipe, self.train.len());
        let (schedule, steps_per_epoch) = (recipe.schedule(rows), recipe.steps_per_epoch(rows));
        let (mut loss_sum, mut rows_seen) = (0.0, 0);
        loop {
            if observer.stop_requested() {
                let when = format!("after step {} of {}", self.steps.len(), schedule.total_steps);
                return Err(Error::Interrupted { when, kept: "nothing was written".into() });
            }
            let step = self.steps.len() + 1;
            let learning_rate = schedule.learning_rate(self.steps.len()) * self.plateau.scale();
            let (epoch, step_of_epoch) = (self.steps.len() / steps_per_epoch, self.steps.len() % steps_per_epoch);
            if step_of_epoch == 0 {
                self.order = shuffled(rows, recipe.seed, epoch + 1);
            }
            let first = step_of_epoch * recipe.rows_per_step();
            let rows_of_step = self.order[first..rows.min(first + recipe.rows_per_step())].to_vec();
            let done = self.step(engine, &rows_of_step, step, learning_rate)?;
            loss_sum += done.loss * rows_of_step.len() as f64;
            rows_seen += rows_of_step.len();
            let epochs_done = epoch as f64 + (step_of_epoch + 1) as f64 / steps_per_epoch as f64;
            let record =
                StepRecord { step, epoch: epochs_done, loss: done.loss, grad_norm: done.gradient_norm, learning_rate };
            observer.step(&record, epoch * rows + first + rows_of_step.len(), recipe.total_rows(rows));
            self.steps.push(record);
            let end_of_epoch = step_of_epoch + 1 == steps_per_epoch;
            self.tell_lengths(observer, end_of_epoch);
            let judge = if recipe.eval_steps == 0 { end_of_epoch } else { step.is_multiple_of(recipe.eval_steps) };
            if judge || step == schedule.total_steps {
                return Ok(loss_sum / rows_seen as f64);
            }
        }
    }

    /// Tells the lengths of the rows as soon as all have been tokenized: at the latest when each has been asked for.
    fn tell_lengths(&mut self, observer: &mut dyn Observer, all_asked_for: bool) {
        if let Some(thread) = self.tokenizing.take_if(|thread| all_asked_for || thread.is_finished()) {
            drop(thread.join());
            observer.tokenized(&self.train.lengths());
        }
    }

    /// One optimizer step, whose batch is computed in parts of bounded size.
    fn step(
        &mut self,
        engine: &mut dyn Engine,
        rows: &[usize],
        step: usize,
        learning_rate: f64,
    ) -> Result<StepOutcome> {
        let sequences = rows.iter().map(|&row| self.train.sequence(row)).collect::<Result<Vec<_>>>()?;
        let rows: Vec<usize> = rows.iter().flat_map(|&row| std::iter::repeat_n(row, self.recipe.passes())).collect();
        let targets = self.train.answers().pick(&rows, engine.config().labels.len());
        let options = &self.options;
        let total_weight = options.loss.total_weight(targets.all());
        let mut loss = 0.0;
        for batch in self.recipe.parts(&sequences) {
            let range = batch.sequences_before..batch.sequences_before + batch.sequences();
            let frozen = match &mut self.cache {
                Some(cache) => Some(cache.output(engine, &rows[range.clone()], &batch)?),
                None => None,
            };
            let part = StepPart { batch: &batch, frozen, targets: targets.of(range), total_weight };
            loss += engine.accumulate(part, step as u64, options);
        }
        check_number(step, "loss", loss, learning_rate)?;
        let gradient_norm = engine.update(step as u64, learning_rate, options);
        check_number(step, "gradient norm", gradient_norm, learning_rate)?;
        Ok(StepOutcome { loss, gradient_norm })
    }
}

fn check_number(step: usize, what: &'static str, value: f64, learning_rate: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::NotFinite { step, what, value, learning_rate }) }
}

/// Refuses what an epoch's last step has done, which no later loss of a batch would show.
fn check_finite(engine: &mut dyn Engine, thawed: &Thawed, steps: &[StepRecord], validation: &Evaluation) -> Result<()> {
    let weights = &engine.model().weights;
    let mut trained = thawed.tensors().flat_map(|tensor| weights.tensor(tensor));
    let weight = trained.find(|x| !x.is_finite()).map(|&x| ("new value of a weight", f64::from(x)));
    let loss = Some(("validation loss", validation.loss)).filter(|(_, loss)| !loss.is_finite());
    match (weight.or(loss), steps.last()) {
        (Some((what, value)), Some(last)) => {
            Err(Error::NotFinite { step: last.step, what, value, learning_rate: last.learning_rate })
        }
        _ => Ok(()),
    }
}

/// The order of the rows in an epoch: a function of the seed and the epoch alone.
fn shuffled(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut random);
    order
}
