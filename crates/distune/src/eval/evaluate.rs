//! Labelled rows judged by a model. Called after each training epoch and by the program's `eval`.

use serde::Serialize;

use crate::data::Examples;
use crate::engine::Engine;
use crate::eval::Metrics;
use crate::predict::logits;
use crate::train::Observer;
use crate::{Error, Result};

/// A model's figures on a data set.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Mean cross-entropy, without class weights and smoothing.
    pub loss: f64,
    /// Everything that counts predictions.
    pub metrics: Metrics,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Predicts every row and compares with its label.
///
/// # Errors
/// [`Error::Interrupted`] when the observer asks to stop.
pub fn evaluate(engine: &mut dyn Engine, examples: &Examples, observer: &mut dyn Observer) -> Result<Evaluation> {
    let start = std::time::Instant::now();
    let (mut predicted, mut loss) = (Vec::with_capacity(examples.len()), 0.0);
    logits(engine, &examples.sequences()?, |rows| {
        for row in rows {
            let probabilities = distune_kernels::softmax(row);
            let truth = examples.labels()[predicted.len()] as usize;
            let p = probabilities.get(truth).copied().unwrap_or(0.0);
            // `max` would hide that a probability is not a number
            loss -= if p.is_nan() { p } else { p.max(f64::MIN_POSITIVE).ln() };
            predicted.push(most_probable(&probabilities));
        }
        observer.evaluating(predicted.len(), examples.len());
        if observer.stop_requested() {
            let when = format!("after {} of {} evaluated rows", predicted.len(), examples.len());
            return Err(Error::Interrupted { when, kept: "nothing was written".into() });
        }
        Ok(())
    })?;
    let metrics = Metrics::new(examples.labels(), &predicted, &engine.config().labels)?;
    Ok(Evaluation { loss: loss / examples.len() as f64, metrics, seconds: start.elapsed().as_secs_f64() })
}

/// The class with the highest probability; of equals, the first.
pub fn most_probable(probabilities: &[f64]) -> u32 {
    let mut best = 0;
    for (class, p) in probabilities.iter().enumerate() {
        if *p > probabilities[best] {
            best = class;
        }
    }
    best as u32
}
