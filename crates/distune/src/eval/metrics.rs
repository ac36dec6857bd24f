//! Figures of what is predicted: accuracy with its interval, precision, recall, F1 and more, and the confusion matrix.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::Metric;
use super::counts::Counts;
use super::interval::{Interval, Z_95, wilson};
use crate::data::Answers;
use crate::data::audit::thousands;
use crate::{Error, Result};

/// How well one class is found. A division by zero gives 0, as in scikit-learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class's name.
    pub label: String,
    /// Of the rows predicted as this class, the part that is.
    pub precision: f64,
    /// Of the rows of this class, the part that is predicted so.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Rows of this class.
    pub support: usize,
}

/// Predictions compared with the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows compared.
    pub rows: usize,
    /// Rows predicted right; with several labels a row, all of them and no other.
    pub correct: usize,
    /// `correct / rows`.
    pub accuracy: f64,
    /// 95 % interval of the accuracy ([`wilson`]).
    pub interval: Interval,
    /// `[C]` one entry for each class, in the order of the ids.
    pub classes: Vec<ClassMetrics>,
    /// F1 of all decisions about a row and a class together; with one label a row, it is the accuracy.
    pub micro_f1: f64,
    /// Mean F1 of the classes, as scikit-learn's `f1_score`: with one label a row, of those that occur in the truth or in the
    /// predictions, with several, of all.
    pub macro_f1: f64,
    /// The other single numbers that are told for these rows and are defined.
    #[serde(flatten)]
    pub others: BTreeMap<Metric, f64>,
    /// `[C][C]` rows by true class, then by predicted class; empty where a row has several labels.
    pub confusion: Vec<Vec<usize>>,
}

/// "accuracy 89.50 % (95 % interval 87.4 to 91.3, 781 of 872 rows)"; with several labels a row F1, and the rows that are all right.
impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let name = match self.several_labels() {
            true => {
                write!(f, "micro F1 {:.2} %, macro F1 {:.2} %, ", 100.0 * self.micro_f1, 100.0 * self.macro_f1)?;
                "all labels of a row right"
            }
            false => "accuracy",
        };
        let [accuracy, low, high] = [self.accuracy, self.interval.low, self.interval.high].map(|x| 100.0 * x);
        let (correct, rows) = (thousands(self.correct), thousands(self.rows));
        write!(f, "{name} {accuracy:.2} % (95 % interval {low:.1} to {high:.1}, {correct} of {rows} rows)")
    }
}

impl Metrics {
    /// Compares the true classes of N rows with the predicted ones; `names[id]` is a class's name.
    ///
    /// # Errors
    /// No rows, two lengths, or an id without a name.
    pub fn new(truth: &Answers, predicted: &Answers, names: &[String]) -> Result<Self> {
        check(truth, predicted, names)?;
        let counts = Counts::new(truth, predicted, names.len());
        let class = |(id, name): (usize, &String)| ClassMetrics {
            label: name.clone(),
            precision: counts.precision(id),
            recall: counts.recall(id),
            f1: counts.f1(id),
            support: counts.support(id),
        };
        let told = Metric::all().filter(|metric| metric.is_told(truth.problem(), names.len()));
        let mut values: BTreeMap<_, _> = told.filter_map(|metric| Some((metric, counts.value(metric)?))).collect();
        let mut take = |metric| values.remove(&metric).unwrap_or_default();
        let (accuracy, micro_f1, macro_f1) = (take(Metric::Accuracy), take(Metric::MicroF1), take(Metric::MacroF1));
        let (rows, correct) = (truth.len(), counts.correct as usize);
        Ok(Self {
            rows,
            correct,
            accuracy,
            interval: wilson(correct, rows, Z_95),
            classes: names.iter().enumerate().map(class).collect(),
            micro_f1,
            macro_f1,
            others: values,
            confusion: confusion(truth, predicted, names.len()),
        })
    }

    /// A single number, where it is one of these and defined.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Accuracy => Some(self.accuracy),
            Metric::MicroF1 => Some(self.micro_f1),
            Metric::MacroF1 => Some(self.macro_f1),
            other => self.others.get(&other).copied(),
        }
    }

    /// Whether rows may have several labels.
    pub fn several_labels(&self) -> bool {
        self.confusion.is_empty()
    }
}

/// Checks that there is a prediction for each row, and a name for each id.
pub(super) fn check(truth: &Answers, predicted: &Answers, names: &[String]) -> Result<()> {
    let rows = truth.len();
    if predicted.len() != rows {
        let expected = format!("{rows}, one a row");
        return Err(Error::value("evaluation", "number of predictions", expected, predicted.len()));
    }
    if rows == 0 {
        return Err(Error::value("evaluation", "number of rows", "at least one", rows));
    }
    if names.is_empty() {
        return Err(Error::value("evaluation", "number of classes", "at least one", 0));
    }
    if truth.problem() != predicted.problem() {
        return Err(Error::value("evaluation", "predictions", "as many labels a row as the truth has", "other ones"));
    }
    let ids = (0..rows).flat_map(|row| truth.row(row).iter().chain(predicted.row(row)));
    match ids.copied().find(|&id| id as usize >= names.len()) {
        None => Ok(()),
        Some(id) => {
            let expected = format!("below {}, the number of classes", names.len());
            Err(Error::value("evaluation", "class id", expected, id))
        }
    }
}

/// See [`Metrics::confusion`].
fn confusion(truth: &Answers, predicted: &Answers, classes: usize) -> Vec<Vec<usize>> {
    let (Answers::One(truth), Answers::One(predicted)) = (truth, predicted) else { return Vec::new() };
    let mut confusion = vec![vec![0; classes]; classes];
    for (&truth, &predicted) in truth.iter().zip(predicted) {
        confusion[truth as usize][predicted as usize] += 1;
    }
    confusion
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Compares class ids, one a row.
    fn compare(truth: &[u32], predicted: &[u32], names: &[String]) -> Result<Metrics> {
        Metrics::new(&Answers::One(truth.to_vec()), &Answers::One(predicted.to_vec()), names)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Exact fractions, so only the rounding of a division or two is between them and the result.
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    /// Worked by hand: a has 3 rows (2 found, 1 taken for b), b has 2 (1 found, 1 taken for a), c is absent from both.
    #[test]
    fn counts_by_class() {
        let truth = [0, 0, 0, 1, 1];
        let metrics = compare(&truth, &[0, 0, 1, 1, 0], &names(&["a", "b", "c"])).unwrap();
        assert_eq!((metrics.rows, metrics.correct), (5, 3));
        assert_eq!(metrics.confusion, [[2, 1, 0], [1, 1, 0], [0, 0, 0]]);
        close(metrics.accuracy, 0.6);
        assert_eq!(metrics.micro_f1, metrics.accuracy);
        assert_eq!(metrics.interval, wilson(3, 5, Z_95));
        let found: Vec<_> = metrics.classes.iter().map(|c| (c.precision, c.recall, c.f1, c.support)).collect();
        let expected = [(2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 3), (0.5, 0.5, 0.5, 2), (0.0, 0.0, 0.0, 0)];
        assert_eq!(found, expected);
        close(metrics.macro_f1, 7.0 / 12.0);
    }

    /// scikit-learn 1.9.1: `f1_score([[1,1,0],[1,0,0],[0,0,0],[0,1,0]], [[1,0,0],[1,0,1],[0,0,0],[1,1,0]], average=...)` is
    /// 0.66667 (micro) and 0.48889 (macro); `accuracy_score` is 0.25.
    #[test]
    fn several_labels_a_row() {
        let truth = Answers::Several(vec![vec![0, 1], vec![0], vec![], vec![1]]);
        let predicted = Answers::Several(vec![vec![0], vec![0, 2], vec![], vec![0, 1]]);
        let metrics = Metrics::new(&truth, &predicted, &names(&["a", "b", "c"])).unwrap();
        assert_eq!((metrics.rows, metrics.correct, metrics.accuracy), (4, 1, 0.25));
        close(metrics.micro_f1, 2.0 * 3.0 / (4.0 + 5.0));
        close(metrics.macro_f1, (0.8 + 2.0 / 3.0 + 0.0) / 3.0);
        assert!(metrics.several_labels());
    }

    /// A class with rows that is never predicted, and one predicted without rows: 0, and both count in the mean.
    #[test]
    fn all_one_prediction() {
        let metrics = compare(&[0, 0, 0, 1], &[0; 4], &names(&["a", "b"])).unwrap();
        let [a, b] = &metrics.classes[..] else { unreachable!() };
        close(a.precision, 0.75);
        close(a.recall, 1.0);
        close(a.f1, 6.0 / 7.0);
        assert_eq!((b.precision, b.recall, b.f1, b.support), (0.0, 0.0, 0.0, 1));
        close(metrics.macro_f1, 3.0 / 7.0);

        let wrong = compare(&[0, 0], &[1, 1], &names(&["a", "b"])).unwrap();
        assert_eq!((wrong.accuracy, wrong.macro_f1), (0.0, 0.0));
        assert_eq!(wrong.interval.low, 0.0);
    }

    #[test]
    fn a_single_row() {
        let metrics = compare(&[1], &[1], &names(&["a", "b"])).unwrap();
        assert_eq!((metrics.accuracy, metrics.macro_f1, metrics.interval.high), (1.0, 1.0, 1.0));
        // 1 / (1 + z^2) for one success of one.
        close(metrics.interval.low, 1.0 / (1.0 + Z_95 * Z_95));
    }

    #[test]
    fn refuses_what_cannot_be_compared() {
        let message =
            |truth: &[u32], predicted: &[u32]| compare(truth, predicted, &names(&["a", "b"])).unwrap_err().to_string();
        assert_eq!(message(&[], &[]), "evaluation: number of rows: expected at least one, found 0");
        let lengths = message(&[0, 1], &[0]);
        assert_eq!(lengths, "evaluation: number of predictions: expected 2, one a row, found 1");
        let id = message(&[0], &[2]);
        assert_eq!(id, "evaluation: class id: expected below 2, the number of classes, found 2");
        assert!(message(&[7], &[0]).ends_with("found 7"));
    }

    #[test]
    fn serialises_under_its_field_names() {
        let metrics = compare(&[0, 1], &[0, 1], &names(&["a", "b"])).unwrap();
        let json = serde_json::to_value(&metrics).unwrap();
        assert_eq!(json["interval"]["high"], 1.0);
        assert_eq!(json["classes"][1]["label"], "b");
        assert_eq!(json["confusion"], serde_json::json!([[1, 0], [0, 1]]));
    }
}
