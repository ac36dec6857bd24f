//! What is counted of predictions, and the metrics that need nothing else. Called by `metrics` and, with resampled counts, by
//! `resample`.

use super::Metric;
use crate::data::Answers;

/// Rows counted. They are numbers with fractions, so that a metric's slope can be taken.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// Whether a row may have several labels.
    several: bool,
    /// All rows, and those that are right as a whole.
    pub(super) rows: f64,
    pub(super) correct: f64,
    /// `[C]` rows of each class: in truth, as predicted, and both.
    truth: Vec<f64>,
    predicted: Vec<f64>,
    hits: Vec<f64>,
}

impl Counts {
    pub(super) fn none(several: bool, classes: usize) -> Self {
        let zeros = || vec![0.0; classes];
        Self { several, rows: 0.0, correct: 0.0, truth: zeros(), predicted: zeros(), hits: zeros() }
    }

    pub(super) fn new(truth: &Answers, predicted: &Answers, classes: usize) -> Self {
        let mut counts = Self::none(matches!(truth, Answers::Several(_)), classes);
        (0..truth.len()).for_each(|row| counts.add(truth.row(row), predicted.row(row), 1.0));
        counts
    }

    pub(super) fn clear(&mut self) {
        (self.rows, self.correct) = (0.0, 0.0);
        [&mut self.truth, &mut self.predicted, &mut self.hits].into_iter().for_each(|counts| counts.fill(0.0));
    }

    /// Counts so many rows of these labels and these predictions.
    pub(super) fn add(&mut self, truth: &[u32], predicted: &[u32], rows: f64) {
        self.rows += rows;
        if truth == predicted {
            self.correct += rows;
        }
        for &id in truth {
            self.truth[id as usize] += rows;
            if predicted.contains(&id) {
                self.hits[id as usize] += rows;
            }
        }
        predicted.iter().for_each(|&id| self.predicted[id as usize] += rows);
    }

    /// A metric's value; nothing where it is not defined, or not one of counts.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        use Metric as M;
        let two = (!self.several && self.truth.len() == 2).then_some(1);
        Some(match metric {
            M::Accuracy => ratio(self.correct, self.rows),
            M::Precision => self.precision(two?),
            M::Recall => self.recall(two?),
            M::F1 => self.f1(two?),
            M::MicroPrecision => ratio(sum(&self.hits), sum(&self.predicted)),
            M::MicroRecall => ratio(sum(&self.hits), sum(&self.truth)),
            M::MicroF1 => ratio(2.0 * sum(&self.hits), sum(&self.truth) + sum(&self.predicted)),
            M::MacroPrecision => self.mean(Self::precision),
            M::MacroRecall => self.mean(Self::recall),
            M::MacroF1 => self.mean(Self::f1),
            M::WeightedPrecision => self.weighted(Self::precision),
            M::WeightedRecall => self.weighted(Self::recall),
            M::WeightedF1 => self.weighted(Self::f1),
            M::BalancedAccuracy if !self.several => self.balanced_accuracy(),
            M::MatthewsCorrcoef if !self.several => self.matthews(),
            M::CohenKappa if !self.several => return self.kappa(),
            M::HammingLoss if self.several => {
                let wrong = sum(&self.truth) + sum(&self.predicted) - 2.0 * sum(&self.hits);
                ratio(wrong, self.rows * self.truth.len() as f64)
            }
            _ => return None,
        })
    }

    /// Of the rows predicted as a class, the part that is.
    pub(super) fn precision(&self, id: usize) -> f64 {
        ratio(self.hits[id], self.predicted[id])
    }

    /// Of the rows of a class, the part that is predicted so.
    pub(super) fn recall(&self, id: usize) -> f64 {
        ratio(self.hits[id], self.truth[id])
    }

    /// Harmonic mean of precision and recall.
    pub(super) fn f1(&self, id: usize) -> f64 {
        ratio(2.0 * self.hits[id], self.predicted[id] + self.truth[id])
    }

    /// Rows of a class.
    pub(super) fn support(&self, id: usize) -> usize {
        self.truth[id] as usize
    }

    /// The mean over the classes: with one label a row, those that occur in the truth or in the predictions, with several, all.
    fn mean(&self, of: fn(&Self, usize) -> f64) -> f64 {
        let counted = |id: &usize| self.several || self.truth[*id] + self.predicted[*id] > 0.0;
        let ids = || (0..self.truth.len()).filter(counted);
        ratio(ids().map(|id| of(self, id)).sum(), ids().count() as f64)
    }

    /// The mean over the classes by their rows.
    fn weighted(&self, of: fn(&Self, usize) -> f64) -> f64 {
        let total = (0..self.truth.len()).map(|id| self.truth[id] * of(self, id)).sum();
        ratio(total, sum(&self.truth))
    }

    /// The mean recall of the classes that have rows.
    fn balanced_accuracy(&self) -> f64 {
        let ids = || (0..self.truth.len()).filter(|&id| self.truth[id] > 0.0);
        ratio(ids().map(|id| self.recall(id)).sum(), ids().count() as f64)
    }

    /// The sum over the classes of rows in truth times rows predicted.
    fn chance(&self) -> f64 {
        dot(&self.truth, &self.predicted)
    }

    /// The correlation of two classifications of K classes (J. Gorodkin, Computational Biology and Chemistry 28, 2004); 0 where
    /// either has a single class.
    fn matthews(&self) -> f64 {
        let square = self.rows * self.rows;
        let spread = (square - dot(&self.truth, &self.truth)) * (square - dot(&self.predicted, &self.predicted));
        ratio(self.correct * self.rows - self.chance(), spread.sqrt())
    }

    /// `1 - (wrong rows) / (wrong rows by chance)`; not defined where both have the same single class.
    fn kappa(&self) -> Option<f64> {
        let by_chance = self.rows - self.chance() / self.rows;
        (by_chance > 0.0).then(|| 1.0 - (self.rows - self.correct) / by_chance)
    }
}

fn sum(counts: &[f64]) -> f64 {
    counts.iter().sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `part / whole`, or 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}
