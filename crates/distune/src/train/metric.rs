//! Which of two evaluations is better, and when a training stops for want of progress.

use crate::eval::{Evaluation, Metric};

impl Metric {
    /// Its value, turned so that higher is better; where it is not defined, the lowest.
    fn score(self, evaluation: &Evaluation) -> f64 {
        let sign = if self.greater_is_better() { 1.0 } else { -1.0 };
        self.of(evaluation).map_or(f64::NEG_INFINITY, |value| sign * value)
    }

    /// Whether `a` is better than `b`: by the metric, and where that is equal, by the loss.
    pub fn is_better(self, a: &Evaluation, b: &Evaluation) -> bool {
        (self.score(a), -a.loss) > (self.score(b), -b.loss)
    }

    /// Whether `a` is better than `b` by more than `threshold`.
    fn is_better_by(self, a: &Evaluation, b: &Evaluation, threshold: f64) -> bool {
        self.score(a) - self.score(b) > threshold
    }
}

/// Stops a training whose metric has not risen by more than `threshold` above its best for `patience` evaluations, as Transformers'
/// `EarlyStoppingCallback`.
#[derive(Clone, Debug)]
pub(super) struct EarlyStopping {
    metric: Metric,
    patience: usize,
    threshold: f64,
    best: Option<Evaluation>,
    waited: usize,
}

impl EarlyStopping {
    /// Never stops with a patience of 0.
    pub(super) fn new(metric: Metric, patience: usize, threshold: f64) -> Self {
        Self { metric, patience, threshold, best: None, waited: 0 }
    }

    /// Looks at an evaluation; returns whether the training should stop.
    pub(super) fn stops(&mut self, evaluation: &Evaluation) -> bool {
        let progress = self.best.as_ref().is_none_or(|best| self.metric.is_better_by(evaluation, best, self.threshold));
        self.waited = if progress { 0 } else { self.waited + 1 };
        if self.best.as_ref().is_none_or(|best| self.metric.is_better(evaluation, best)) {
            self.best = Some(evaluation.clone());
        }
        self.patience > 0 && self.waited >= self.patience
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Answers;
    use crate::eval::Predictions;
    use crate::model::ProblemType;

    /// Of four rows, the first `correct` are right.
    fn evaluation(correct: usize, loss: f64) -> Evaluation {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        (0..4).for_each(|row| predictions.push(if row < correct { &[0.9, 0.1] } else { &[0.2, 0.8] }));
        let names = ["a".to_owned(), "b".to_owned()];
        let evaluation = Evaluation::new(&Answers::One(vec![0; 4]), &predictions, &names).unwrap();
        Evaluation { loss, ..evaluation }
    }

    #[test]
    fn the_better_one() {
        let (a, b) = (evaluation(3, 0.5), evaluation(2, 0.4));
        assert!(
            Metric::Accuracy.is_better(&a, &b) && Metric::MicroF1.is_better(&a, &b) && !Metric::Loss.is_better(&a, &b)
        );
        assert!(Metric::Accuracy.is_better(&evaluation(3, 0.4), &a), "the loss decides between equals");
        assert!(!Metric::Accuracy.is_better(&a, &a));
        assert_eq!((Metric::Accuracy.of(&a), Metric::Loss.of(&a)), (Some(0.75), Some(0.5)));
        assert!(Metric::BrierScoreLoss.is_better(&a, &b) && Metric::LogLoss.is_better(&a, &b));
        // all rows are of one class: the loss decides
        assert_eq!(Metric::RocAuc.of(&a), None);
        assert!(Metric::RocAuc.is_better(&b, &a));
    }

    #[test]
    fn patience_ends() {
        let stops = |metric, patience, threshold, corrects: &[usize]| -> Vec<bool> {
            let mut stopping = EarlyStopping::new(metric, patience, threshold);
            corrects.iter().map(|&correct| stopping.stops(&evaluation(correct, 1.0 - 0.1 * correct as f64))).collect()
        };
        assert_eq!(stops(Metric::Accuracy, 2, 0.0, &[2, 1, 3, 3, 2]), [false, false, false, false, true]);
        assert_eq!(stops(Metric::Accuracy, 0, 0.0, &[2, 1, 1, 1]), [false; 4]);
        // two rows more are enough, one is not
        assert_eq!(stops(Metric::Accuracy, 1, 0.3, &[1, 3, 4]), [false, false, true]);
        assert_eq!(stops(Metric::Loss, 1, 0.15, &[1, 3, 4]), [false, false, true]);
    }
}
