//! Training: recipe, freezing, schedule, and the loop over epochs. Called by [`crate::FineTuning`] and by sweeps.

mod cache;
mod checkpoint;
mod class_weights;
pub mod ending;
mod estimate;
mod freeze;
mod lora;
mod metric;
mod origin;
mod parts;
mod plateau;
mod progress;
mod recipe;
mod recipe_file;
mod schedule;
pub mod start;
mod time_limit;

use std::fmt::{Display, Formatter};
use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use cache::{CacheLimits, CacheReport, SharedCache};
pub use checkpoint::{Checkpoints, SavedCheckpoint, checkpoint_steps, remove_checkpoints};
pub use class_weights::ClassWeights;
pub use estimate::TrainingMemory;
pub use freeze::{Unfreeze, frozen_hash, stages};
pub use lora::LoraTargets;
pub use origin::Origin;
pub use parts::{PartOfModel, parts, parts_table};
pub use plateau::Plateau;
pub use recipe::{Optimizer, Recipe};
pub use recipe_file::RecipeFile;
pub(crate) use recipe_file::SWEEP;
pub use schedule::{Schedule, Scheduler};
pub use time_limit::{FittedSteps, TimeLimit, fit_to_time};

pub(crate) use checkpoint::flush_directory;
pub(crate) use origin::{checksum, cpu};

pub use crate::eval::Metric;

use cache::FrozenCache;
use metric::EarlyStopping;
use progress::{LastSave, Progress};

use crate::data::{Examples, Lengths};
use crate::engine::{Engine, StepOptions, StepOutcome, StepPart};
use crate::eval::{Evaluation, evaluate};
use crate::model::thawed::Thawed;
use crate::{Error, Result};

/// What an optimizer step did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// "epoch 2: training loss 0.2345, validation loss 0.3456, accuracy 89.50 %", or micro F1 with several labels a row.
impl Display for EvaluationRecord {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let Self { epoch, train_loss, validation, .. } = self;
        let epoch = (100.0 * epoch).round() / 100.0;
        let metrics = &validation.metrics;
        let name = if metrics.several_labels() { "micro F1" } else { "accuracy" };
        let (loss, score) = (validation.loss, 100.0 * metrics.micro_f1);
        write!(f, "epoch {epoch}: training loss {train_loss:.4}, validation loss {loss:.4}, {name} {score:.2} %")
    }
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
    /// Before the first step, when the training goes on from a checkpoint: rows of the whole training done, of how many.
    fn resumed(&mut self, _checkpoint: &Path, _step: usize, _rows: usize, _total_rows: usize) {}
    /// After each checkpoint.
    fn saved(&mut self, _checkpoint: &SavedCheckpoint) {}
    /// How many steps fit into the time, before the first one of a training with a limit.
    fn fitted(&mut self, _fitted: &FittedSteps) {}
    /// Something the user may want to know.
    fn note(&mut self, _text: &str) {}
    /// Something is wrong that does not end the training.
    fn warning(&mut self, _text: &str) {}
    /// Asked before each step and each batch of validation rows.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Says nothing and never stops.
impl Observer for () {}

/// What a training keeps outside the engine.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Where temporary files are made: the best weights, and what the cache has no memory for. They have no names
    /// and go with the process.
    pub directory: PathBuf,
    /// Room for what frozen blocks put out, when the recipe wants it kept.
    pub cache: CacheLimits,
    /// Where checkpoints are kept, if they are. The training goes on from the newest one that is there.
    pub checkpoints: Option<Checkpoints>,
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

/// Trains on `train`, judges on `validation` after each epoch (or some steps), and leaves the weights that were best in the engine. Goes
/// on from the newest checkpoint in [`Storage::checkpoints`] if there is one, to the same bits as without the interruption.
///
/// # Errors
/// [`Error::NotFinite`] at the first step whose loss or gradient is not a number, or after an epoch that leaves no usable
/// weights; [`Error::Interrupted`] when the observer asks to stop; a row that cannot be tokenized; checkpoints that are all
/// damaged or of another training; a `max_time`, which [`fit_to_time`] makes a number of steps.
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
    if let Some(limit) = recipe.max_time {
        return Err(Error::value("recipe", "max_time", "none in a training under way, but max_steps", limit));
    }
    let mut own = SharedCache::default();
    let (others_follow, shared) = (shared.is_some(), shared.unwrap_or(&mut own));
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut training = Training::new(engine, train, recipe, storage)?;
        let cache = FrozenCache::new(storage, train.len(), engine, recipe, &training.thawed, others_follow);
        training.cache = shared.serve(cache);
        training.go_on(engine, observer)?;
        // rows are tokenized on a thread of their own, ahead of the steps that want them
        let rows_to_come = training.rows_to_come();
        training.tokenizing = Some(scope.spawn(move || train.tokenize_ahead(&rows_to_come, stop)));
        let outcome = training.run(engine, validation, observer);
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Saves a finished training when what follows it, the evaluation of other rows, was interrupted; returns the error that says so. Other
/// errors are returned as they are.
pub fn save_finished(
    error: Error,
    engine: &mut dyn Engine,
    outcome: &Outcome,
    recipe: &Recipe,
    storage: &Storage,
) -> Error {
    let (Error::Interrupted { when, .. }, Some(checkpoints)) = (&error, &storage.checkpoints) else { return error };
    let Outcome { steps, evaluations, cache, .. } = outcome.clone();
    let progress = Progress { steps, evaluations, cache, ..Progress::default() };
    let mut save = || -> Result<()> {
        let mut best = keep_weights(engine, storage)?;
        let best = Some(&mut best).filter(|_| progress.best_is_of_an_earlier_step());
        checkpoints.save(engine, &progress, best, recipe.save_total_limit).map(drop)
    };
    let kept = match save() {
        Ok(()) => format!("saved in {}", checkpoints.path(progress.step()).display()),
        Err(error) => format!("it could not be saved: {error}"),
    };
    Error::Interrupted { when: when.clone(), kept }
}

/// Writes the weights that are the best so far to a file without a name: in memory they would be a fourth copy.
fn keep_weights(engine: &mut dyn Engine, storage: &Storage) -> Result<File> {
    let mut write = || {
        let mut file = tempfile::tempfile_in(&storage.directory)?;
        engine.write_trained(&mut file).map(|()| file)
    };
    write().map_err(|e| storage.error("write the best weights to a temporary file in", &e))
}

/// With a learning rate that falls on plateaus, what an evaluation means for it.
fn look_for_plateau(plateau: &mut Plateau, judged: &Evaluation, recipe: &Recipe) {
    let value = recipe.metric_for_best_model.of(judged);
    if let Some(value) = value.filter(|_| recipe.lr_scheduler_type == Scheduler::ReduceLrOnPlateau) {
        plateau.look(value, recipe);
    }
}

/// A training under way.
struct Training<'a, 'scope> {
    train: &'a Examples,
    recipe: &'a Recipe,
    storage: &'a Storage,
    schedule: Schedule,
    options: StepOptions,
    thawed: Thawed,
    cache: Option<&'a mut FrozenCache>,
    /// Until it has been seen to be done.
    tokenizing: Option<ScopedJoinHandle<'scope, ()>>,
    /// The order of the rows in the epoch under way.
    order: Vec<usize>,
    plateau: Plateau,
    done: Progress,
    /// The best weights, where they are not those that the engine has.
    best: Option<File>,
    saved: LastSave,
}

impl<'a> Training<'a, '_> {
    /// Before its first step.
    fn new(engine: &mut dyn Engine, train: &'a Examples, recipe: &'a Recipe, storage: &'a Storage) -> Result<Self> {
        recipe.check()?;
        train.check_for_training()?;
        let thawed = recipe.thawed(engine.model().weights.table())?;
        recipe.metric_for_best_model.check(engine.config())?;
        let mut options = recipe.step_options();
        if recipe.gradual_unfreezing {
            options.stages = stages(&thawed, recipe.steps_per_epoch(train.len()));
        }
        options.loss.class_weights = recipe.class_weights.resolve(train.answers(), engine.config())?;
        Ok(Self {
            train,
            recipe,
            storage,
            schedule: recipe.schedule(train.len()),
            options,
            cache: None,
            thawed,
            tokenizing: None,
            order: Vec::new(),
            plateau: Plateau::default(),
            done: Progress::default(),
            best: None,
            saved: LastSave { at: Instant::now(), step: None, took: Duration::ZERO },
        })
    }

    /// Goes on from the newest checkpoint, if there is one.
    fn go_on(&mut self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<()> {
        let Some(checkpoints) = &self.storage.checkpoints else { return Ok(()) };
        let Some(found) = checkpoints.newest()? else { return Ok(()) };
        found.notes.iter().for_each(|note| observer.warning(note));
        self.best = found.restore(engine)?;
        self.done = found.progress;
        if let (Some(cache), Some(before)) = (&mut self.cache, &self.done.cache) {
            cache.goes_on(before);
        }
        if self.done.best().is_some_and(|e| e.step == self.done.step()) {
            self.best = Some(keep_weights(engine, self.storage)?);
        }
        let (step, rows) = (self.done.step(), self.train.len());
        self.saved.step = Some(step);
        observer.resumed(&found.path, step, self.recipe.rows_of(step, rows), self.recipe.total_rows(rows));
        Ok(())
    }

    /// The rows of an epoch, those that come next first.
    fn rows_to_come(&mut self) -> Vec<usize> {
        let rows = self.train.len();
        let (epoch, first) = self.place();
        self.order = shuffled(rows, self.recipe.seed, epoch + 1);
        let mut order = self.order.clone();
        order.rotate_left(first.min(rows));
        order
    }

    /// Epochs done, and rows of the one under way.
    fn place(&self) -> (usize, usize) {
        let steps_per_epoch = self.recipe.steps_per_epoch(self.train.len()).max(1);
        let step = self.done.step();
        (step / steps_per_epoch, step % steps_per_epoch * self.recipe.rows_per_step())
    }

    fn run(mut self, engine: &mut dyn Engine, validation: &Examples, observer: &mut dyn Observer) -> Result<Outcome> {
        let (recipe, total_steps) = (self.recipe, self.schedule.total_steps);
        let mut stopping = EarlyStopping::new(
            recipe.metric_for_best_model,
            recipe.early_stopping_patience,
            recipe.early_stopping_threshold,
        );
        let mut stops = false;
        for judged in self.done.evaluations.iter().map(|e| &e.validation) {
            stops = stopping.stops(judged);
            look_for_plateau(&mut self.plateau, judged, recipe);
        }
        while self.evaluation_is_due() || (self.done.step() < total_steps && !stops) {
            if observer.stop_requested() {
                return Err(self.interrupted(engine, observer));
            }
            let evaluation = self.evaluation_is_due();
            if evaluation {
                match self.evaluate(engine, validation, observer) {
                    Err(Error::Interrupted { .. }) => return Err(self.interrupted(engine, observer)),
                    judged => {
                        let judged = judged?;
                        stops = stopping.stops(&judged);
                        look_for_plateau(&mut self.plateau, &judged, recipe);
                    }
                }
            } else {
                self.next_step(engine, observer)?;
            }
            self.save_if_due(engine, evaluation, observer);
        }
        if let Some(file) = self.best.as_mut().filter(|_| self.done.best_is_of_an_earlier_step()) {
            let read = file.rewind().and_then(|()| engine.read_trained(file));
            read.map_err(|e| self.storage.error("read the best weights from a temporary file in", &e))?;
        }
        let Progress { steps, evaluations, .. } = self.done;
        let (stopped_early, train_seconds) = (steps.len() < total_steps, evaluations.iter().map(|e| e.seconds).sum());
        let cache = self.cache.as_ref().map(|cache| cache.report());
        Ok(Outcome { steps, evaluations, stopped_early, train_seconds, cache })
    }

    /// Whether the validation rows are to be judged before the next step.
    fn evaluation_is_due(&self) -> bool {
        let step = self.done.step();
        let every = match self.recipe.eval_steps {
            0 => self.recipe.steps_per_epoch(self.train.len()).max(1),
            steps => steps,
        };
        step > 0 && !self.done.evaluated() && (step.is_multiple_of(every) || step == self.schedule.total_steps)
    }

    /// Judges the validation rows, and keeps the weights that are the best so far.
    fn evaluate(
        &mut self,
        engine: &mut dyn Engine,
        validation: &Examples,
        observer: &mut dyn Observer,
    ) -> Result<Evaluation> {
        let validation = evaluate(engine, validation, observer)?;
        check_finite(engine, &self.thawed, &self.done.steps, &validation)?;
        let metric = self.recipe.metric_for_best_model;
        let best = self.done.evaluations.iter().all(|e| metric.is_better(&validation, &e.validation));
        if best && self.done.step() < self.schedule.total_steps {
            // makes room first
            self.best = None;
            self.best = Some(keep_weights(engine, self.storage)?);
        }
        let record = EvaluationRecord {
            epoch: self.done.epoch(),
            step: self.done.step(),
            train_loss: self.done.loss_sum / self.done.rows as f64,
            seconds: self.done.seconds,
            validation,
            best,
        };
        (self.done.loss_sum, self.done.rows, self.done.seconds) = (0.0, 0, 0.0);
        observer.evaluated(&record);
        let validation = record.validation.clone();
        self.done.evaluations.push(record);
        Ok(validation)
    }

    /// Saves, where the recipe wants a checkpoint now. One that cannot be written is no reason to stop.
    fn save_if_due(&mut self, engine: &mut dyn Engine, evaluated: bool, observer: &mut dyn Observer) {
        let due = self.saved.is_past(self.recipe.save_steps, self.done.step(), evaluated);
        if self.storage.checkpoints.is_some()
            && due
            && !self.evaluation_is_due()
            && let Err(error) = self.save(engine, observer)
        {
            observer.warning(&format!("{error}. The training goes on; the checkpoints before are whole."));
            self.saved.at = Instant::now();
        }
    }

    /// Writes a checkpoint, unless there is one of this step; returns where it is, if there are any.
    fn save(&mut self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<Option<PathBuf>> {
        let Some(checkpoints) = &self.storage.checkpoints else { return Ok(None) };
        let step = self.done.step();
        if self.saved.step != Some(step) {
            self.done.cache = self.cache.as_ref().map(|cache| cache.report());
            let best = self.best.as_mut().filter(|_| self.done.best_is_of_an_earlier_step());
            let saved = checkpoints.save(engine, &self.done, best, self.recipe.save_total_limit)?;
            observer.saved(&saved);
            self.saved =
                LastSave { at: Instant::now(), step: Some(step), took: Duration::from_secs_f64(saved.seconds) };
        }
        Ok(Some(checkpoints.path(step)))
    }

    /// Saves, because the user wants to stop; returns the error that says so.
    fn interrupted(&mut self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Error {
        let nothing = || "nothing was written".to_owned();
        let (when, kept) = match self.done.step() {
            0 => ("before the first step".to_owned(), nothing()),
            step => {
                let kept = match self.save(engine, observer) {
                    Ok(path) => path.map_or_else(nothing, |path| format!("saved in {}", path.display())),
                    Err(error) => format!("it could not be saved: {error}"),
                };
                (format!("after step {step} of {}", self.schedule.total_steps), kept)
            }
        };
        Error::Interrupted { when, kept }
    }

    /// The next step.
    fn next_step(&mut self, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<()> {
        let start = Instant::now();
        let (recipe, rows) = (self.recipe, self.train.len());
        let (epoch, first) = self.place();
        if first == 0 {
            self.order = shuffled(rows, recipe.seed, epoch + 1);
        }
        let step = self.done.step() + 1;
        let learning_rate = self.schedule.learning_rate(self.done.step()) * self.plateau.scale();
        let rows_of_step = self.order[first..rows.min(first + recipe.rows_per_step())].to_vec();
        let StepOutcome { loss, gradient_norm } = self.step(engine, &rows_of_step, step, learning_rate)?;
        self.done.loss_sum += loss * rows_of_step.len() as f64;
        self.done.rows += rows_of_step.len();
        let steps_per_epoch = recipe.steps_per_epoch(rows);
        let step_of_epoch = step - epoch * steps_per_epoch;
        let epochs_done = epoch as f64 + step_of_epoch as f64 / steps_per_epoch as f64;
        let record = StepRecord { step, epoch: epochs_done, loss, grad_norm: gradient_norm, learning_rate };
        observer.step(&record, recipe.rows_of(step, rows), recipe.total_rows(rows));
        self.done.steps.push(record);
        self.done.seconds += start.elapsed().as_secs_f64();
        self.tell_lengths(observer, step_of_epoch == steps_per_epoch);
        Ok(())
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
