//! Labelled rows judged by a model. Called after each training epoch and by the program's `eval`.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::{Metrics, Predictions, ProbabilityMetrics, table};
use crate::data::{Answers, Examples};
use crate::engine::Predict;
use crate::model::ProblemType;
use crate::predict::{probabilities, text_logits};
use crate::train::Observer;
use crate::{Error, Result};

/// A model's figures on a data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Mean cross-entropy (binary, where a row may have several labels), without class weights and smoothing.
    pub loss: f64,
    /// Everything that counts predictions.
    pub metrics: Metrics,
    /// Everything that needs their probabilities.
    pub probabilities: ProbabilityMetrics,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The report: accuracy and loss in a line, then precision, recall, F1 and rows of each class.
impl Display for Evaluation {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        write!(f, "{}, loss {:.4}\n{}", self.metrics, self.loss, table(&self.metrics).trim_end())
    }
}

/// Predicts every row and compares with its label.
///
/// # Errors
/// [`Error::Interrupted`] when the observer asks to stop.
pub fn evaluate(engine: &mut dyn Predict, examples: &Examples, observer: &mut dyn Observer) -> Result<Evaluation> {
    Ok(evaluate_with(engine, examples, observer)?.0)
}

/// As [`evaluate`], and the predictions.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    engine: &mut dyn Predict,
    examples: &Examples,
    observer: &mut dyn Observer,
) -> Result<(Evaluation, Predictions)> {
    let start = std::time::Instant::now();
    let predictions = predict(engine, examples, observer)?;
    let evaluation = Evaluation::new(examples.answers(), &predictions, &engine.config().labels)?;
    Ok((Evaluation { seconds: start.elapsed().as_secs_f64(), ..evaluation }, predictions))
}

/// Predicts every row.
///
/// # Errors
/// As [`evaluate`].
pub fn predict(engine: &mut dyn Predict, examples: &Examples, observer: &mut dyn Observer) -> Result<Predictions> {
    let problem = engine.config().problem_type;
    let mut predictions = Predictions::none(problem);
    text_logits(engine, &examples.texts()?, examples.tokenizer().combine(), |rows| {
        for row in rows {
            predictions.push(&probabilities(row, problem));
        }
        observer.evaluating(predictions.answers.len(), examples.len());
        if observer.stop_requested() {
            let when = format!("after {} of {} evaluated rows", predictions.answers.len(), examples.len());
            return Err(Error::Interrupted { when, kept: "nothing was written".into() });
        }
        Ok(())
    })?;
    Ok(predictions)
}

impl Evaluation {
    /// Compares predictions that have probabilities with the truth; it takes no time.
    ///
    /// # Errors
    /// As [`Metrics::new`], and predictions without probabilities.
    pub fn new(truth: &Answers, predictions: &Predictions, names: &[String]) -> Result<Self> {
        let figures = ProbabilityMetrics::new(truth, predictions, names)?;
        let (Some(figures), Some(all)) = (figures, &predictions.probabilities) else {
            return Err(Error::value("evaluation", "predictions", "probabilities", "labels alone"));
        };
        let rows = all.chunks_exact(names.len()).enumerate();
        let loss: f64 = rows.map(|(row, p)| row_loss(p, truth.row(row), truth.problem())).sum();
        let metrics = Metrics::new(truth, &predictions.answers, names)?;
        Ok(Self { loss: loss / truth.len() as f64, metrics, probabilities: figures, seconds: 0.0 })
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::EvaluationRecord;

    /// Two rows, one right; its loss is the mean of -ln 0.5 and -ln 0.25.
    fn evaluation() -> Evaluation {
        let truth = Answers::One(vec![0, 1]);
        let predictions =
            Predictions { answers: Answers::One(vec![0, 0]), probabilities: Some(vec![0.5, 0.5, 0.75, 0.25]) };
        Evaluation::new(&truth, &predictions, &["a".into(), "b".into()]).unwrap()
    }

    #[test]
    fn the_report_has_a_line_for_each_class() {
        let expected = "accuracy 50.00 % (95 % interval 9.5 to 90.5, 1 of 2 rows), loss 1.0397\n\
                        class  precision  recall      f1    rows\n\
                        a         0.5000  1.0000  0.6667       1\n\
                        b         0.0000  0.0000  0.0000       1";
        assert_eq!(evaluation().to_string(), expected);
    }

    #[test]
    fn an_epoch_is_told_in_a_line() {
        let of = |epoch| EvaluationRecord {
            epoch,
            step: 3,
            train_loss: 0.25,
            seconds: 1.0,
            validation: evaluation(),
            best: true,
        };
        let rest = "training loss 0.2500, validation loss 1.0397, accuracy 50.00 %";
        assert_eq!(of(2.0).to_string(), format!("epoch 2: {rest}"));
        assert_eq!(of(1.0 / 3.0).to_string(), format!("epoch 0.33: {rest}"));
    }
}
