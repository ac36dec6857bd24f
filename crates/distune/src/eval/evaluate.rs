//! Labelled rows judged by a model. Called after each training epoch and by the program's `eval`.

use serde::{Deserialize, Serialize};

use crate::data::{Answers, Examples};
use crate::engine::Engine;
use crate::eval::Metrics;
use crate::model::ProblemType;
use crate::predict::{logits, predicted, probabilities};
use crate::train::Observer;
use crate::{Error, Result};

/// A model's figures on a data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy (binary, where a row may have several labels), without class weights and smoothing.
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
    let (problem, truth) = (engine.config().problem_type, examples.answers());
    let (mut answers, mut loss) = (Answers::none(problem), 0.0);
    logits(engine, &examples.sequences()?, |rows| {
        for row in rows {
            let probabilities = probabilities(row, problem);
            loss += row_loss(&probabilities, truth.row(answers.len()), problem);
            answers.push(predicted(&probabilities, problem));
        }
        observer.evaluating(answers.len(), examples.len());
        if observer.stop_requested() {
            let when = format!("after {} of {} evaluated rows", answers.len(), examples.len());
            return Err(Error::Interrupted { when, kept: "nothing was written".into() });
        }
        Ok(())
    })?;
    let metrics = Metrics::new(truth, &answers, &engine.config().labels)?;
    Ok(Evaluation { loss: loss / examples.len() as f64, metrics, seconds: start.elapsed().as_secs_f64() })
}

/// The loss of a row: cross-entropy, or the mean of the binary ones where a row may have several labels.
fn row_loss(probabilities: &[f64], truth: &[u32], problem: ProblemType) -> f64 {
    // `max` would hide that a probability is not a number
    let surprise = |p: f64| if p.is_nan() { p } else { -p.max(f64::MIN_POSITIVE).ln() };
    match problem {
        ProblemType::SingleLabel => truth.iter().map(|&id| surprise(probabilities[id as usize])).sum(),
        ProblemType::MultiLabel => {
            let of = |(id, &p): (usize, &f64)| surprise(if truth.contains(&(id as u32)) { p } else { 1.0 - p });
            probabilities.iter().enumerate().map(of).sum::<f64>() / probabilities.len() as f64
        }
    }
}
