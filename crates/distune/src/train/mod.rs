//! Training: recipe, freezing, schedule, and the loop over epochs. Called by the program's `train`.

mod freeze;
mod recipe;
mod schedule;

use std::time::Instant;

use distune_kernels::Targets;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use freeze::{Part, Unfreeze, frozen_hash, parts};
pub use recipe::{Optimizer, Recipe};
pub use schedule::LinearSchedule;

use crate::data::{Batch, Examples};
use crate::engine::Engine;
use crate::eval::{Evaluation, evaluate};

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
    /// The step's learning rate.
    pub learning_rate: f64,
}

/// What an epoch ended with.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// The step it ended with.
    pub step: usize,
    /// Mean training loss over the epoch's rows.
    pub train_loss: f64,
    /// The validation rows, judged after the epoch.
    pub validation: Evaluation,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Follows a training, and may stop it.
pub trait Observer {
    /// After each step: how many rows of the whole training are done, of how many.
    fn step(&mut self, _record: &StepRecord, _rows: usize, _total_rows: usize) {}
    /// While validation rows are judged: how many are done, of how many.
    fn evaluating(&mut self, _rows: usize, _total_rows: usize) {}
    /// After each epoch.
    fn epoch(&mut self, _record: &EpochRecord) {}
    /// Asked before each step and each batch of validation rows.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// A finished training. The engine holds the weights of the best epoch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Every epoch.
    pub epochs: Vec<EpochRecord>,
    /// The epoch with the highest validation accuracy, of equals the one with the lowest loss; counted from 1.
    pub best_epoch: usize,
    /// Seconds in training steps alone.
    pub train_seconds: f64,
}

/// Trains on `train`, judges each epoch on `validation`, and leaves the best epoch's weights in the engine.
///
/// # Errors
/// [`Error::NotFinite`] at the first step whose loss or gradient is not a number, or after an epoch that leaves no usable
/// weights; [`Error::Interrupted`] when the
/// observer asks to stop.
pub fn train(
    engine: &mut dyn Engine,
    train: &Examples,
    validation: &Examples,
    recipe: &Recipe,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    recipe.check()?;
    recipe.unfreeze.check(engine.model().config.n_layers)?;
    let mut outcome = Outcome { steps: Vec::new(), epochs: Vec::new(), best_epoch: 0, train_seconds: 0.0 };
    let mut best = Vec::new();
    for epoch in 1..=recipe.num_train_epochs {
        let start = Instant::now();
        let train_loss = train_epoch(engine, train, recipe, epoch, &mut outcome.steps, observer)?;
        outcome.train_seconds += start.elapsed().as_secs_f64();
        let validation = evaluate(engine, validation, observer)?;
        check_finite(engine, recipe, &outcome.steps, &validation)?;
        let better = outcome.epochs.iter().all(|e| is_better(&validation, &e.validation));
        let record = EpochRecord { epoch, step: outcome.steps.len(), train_loss, validation, best: better };
        if better {
            outcome.best_epoch = epoch;
            best = engine.snapshot();
        }
        observer.epoch(&record);
        outcome.epochs.push(record);
    }
    engine.restore(&best);
    Ok(outcome)
}

/// Refuses what an epoch's last step has done, which no later loss of a batch would show.
fn check_finite(engine: &dyn Engine, recipe: &Recipe, steps: &[StepRecord], validation: &Evaluation) -> Result<()> {
    let model = engine.model();
    let trained = model.weights.from(recipe.unfreeze.lowest(model.config.n_layers));
    let weight = trained.iter().find(|x| !x.is_finite()).map(|&x| ("new value of a weight", f64::from(x)));
    let loss = Some(("validation loss", validation.loss)).filter(|(_, loss)| !loss.is_finite());
    match (weight.or(loss), steps.last()) {
        (Some((what, value)), Some(last)) => {
            Err(Error::NotFinite { step: last.step, what, value, learning_rate: last.learning_rate })
        }
        _ => Ok(()),
    }
}

fn is_better(a: &Evaluation, b: &Evaluation) -> bool {
    (a.metrics.correct, -a.loss) > (b.metrics.correct, -b.loss)
}

/// One pass over the rows in a new order; returns the mean loss.
fn train_epoch(
    engine: &mut dyn Engine,
    examples: &Examples,
    recipe: &Recipe,
    epoch: usize,
    steps: &mut Vec<StepRecord>,
    observer: &mut dyn Observer,
) -> Result<f64> {
    let rows = examples.len();
    let (schedule, options) = (recipe.schedule(rows), recipe.step_options());
    let mut loss_sum = 0.0;
    let order = shuffled(rows, recipe.seed, epoch);
    for (i, rows_of_batch) in order.chunks(recipe.per_device_train_batch_size).enumerate() {
        if observer.stop_requested() {
            let when = format!("after step {} of {}", steps.len(), schedule.total_steps);
            return Err(Error::Interrupted { when, kept: "nothing was written".into() });
        }
        let batch = Batch::new(rows_of_batch.iter().map(|&row| examples.sequences[row].as_slice()));
        let classes: Vec<u32> = rows_of_batch.iter().map(|&row| examples.labels[row]).collect();
        let (step, learning_rate) = (steps.len() + 1, schedule.learning_rate(steps.len()));
        let done = engine.train_step(&batch, Targets::Classes(&classes), step as u64, learning_rate, &options);
        for (what, value) in [("loss", done.loss), ("gradient norm", done.gradient_norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { step, what, value, learning_rate });
            }
        }
        loss_sum += done.loss * classes.len() as f64;
        let epochs = (epoch - 1) as f64 + (i + 1) as f64 / recipe.steps_per_epoch(rows) as f64;
        let record = StepRecord { step, epoch: epochs, loss: done.loss, grad_norm: done.gradient_norm, learning_rate };
        let rows_done = (epoch - 1) * rows + i * recipe.per_device_train_batch_size + classes.len();
        observer.step(&record, rows_done, recipe.num_train_epochs * rows);
        steps.push(record);
    }
    Ok(loss_sum / rows as f64)
}

/// The order of the rows in an epoch: a function of the seed and the epoch alone.
fn shuffled(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch as u64);
    let mut order: Vec<usize> = (0..rows).collect();
    order.shuffle(&mut random);
    order
}
