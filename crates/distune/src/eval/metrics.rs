//! Accuracy with its interval, precision, recall, F1, and the confusion matrix.

use serde::Serialize;

use crate::{Error, Result};

/// The normal quantile of a two-sided 95 % interval.
pub const Z_95: f64 = 1.959963984540054;

/// A confidence interval of a proportion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end, at least 0.
    pub low: f64,
    /// Upper end, at most 1.
    pub high: f64,
}

/// The score interval of a proportion (E. B. Wilson, Probable inference, the law of succession, and statistical
/// inference, JASA 22, 1927): all p with `(successes/n - p)^2 <= z^2 p (1 - p) / n`.
///
/// With `p = successes/n` it is `(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)`. No rows: 0 to 1.
pub fn wilson(successes: usize, n: usize, z: f64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let rows = n as f64;
    let p = successes as f64 / rows;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * rows);
    let half = z * (p * (1.0 - p) / rows + z2 / (4.0 * rows * rows)).sqrt();
    let scale = 1.0 + z2 / rows;
    // At both ends the formula gives exactly 0 and 1, but not its rounded sums.
    let low = if successes == 0 { 0.0 } else { (centre - half) / scale };
    let high = if successes == n { 1.0 } else { (centre + half) / scale };
    Interval { low, high }
}

/// How well one class is found. A division by zero gives 0, as in scikit-learn.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Rows compared.
    pub rows: usize,
    /// Rows predicted right.
    pub correct: usize,
    /// `correct / rows`.
    pub accuracy: f64,
    /// 95 % interval of the accuracy ([`wilson`]).
    pub interval: Interval,
    /// `[C]` one entry for each class, in the order of the ids.
    pub classes: Vec<ClassMetrics>,
    /// Mean F1 of the classes that occur in the truth or in the predictions, as scikit-learn's `f1_score`.
    pub macro_f1: f64,
    /// `[C][C]` rows by true class, then by predicted class.
    pub confusion: Vec<Vec<usize>>,
}

impl Metrics {
    /// Compares class ids `[N]` with class ids `[N]`; `names[id]` is a class's name.
    ///
    /// # Errors
    /// No rows, two lengths, or an id without a name.
    pub fn new(truth: &[u32], predicted: &[u32], names: &[String]) -> Result<Self> {
        let rows = truth.len();
        if predicted.len() != rows {
            return Err(Error::value(
                "evaluation",
                "number of predictions",
                format!("{rows}, one a row"),
                predicted.len(),
            ));
        }
        if rows == 0 {
            return Err(Error::value("evaluation", "number of rows", "at least one", rows));
        }
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            let id = truth.max(predicted);
            let cell = confusion.get_mut(truth as usize).and_then(|row| row.get_mut(predicted as usize));
            let expected = || format!("below {}, the number of classes", names.len());
            *cell.ok_or_else(|| Error::value("evaluation", "class id", expected(), id))? += 1;
        }
        let correct = (0..names.len()).map(|class| confusion[class][class]).sum();
        let classes: Vec<ClassMetrics> =
            names.iter().enumerate().map(|(class, name)| class_metrics(class, name, &confusion)).collect();
        let occurring = (0..names.len()).filter(|&class| occurs(class, &confusion)).count();
        let macro_f1 = classes.iter().map(|class| class.f1).sum::<f64>() / occurring as f64;
        let (accuracy, interval) = (ratio(correct, rows), wilson(correct, rows, Z_95));
        Ok(Self { rows, correct, accuracy, interval, classes, macro_f1, confusion })
    }
}

/// Precision, recall and F1 of one class.
fn class_metrics(class: usize, name: &str, confusion: &[Vec<usize>]) -> ClassMetrics {
    let hits = confusion[class][class];
    let support: usize = confusion[class].iter().sum();
    let predicted: usize = confusion.iter().map(|row| row[class]).sum();
    ClassMetrics {
        label: name.to_owned(),
        precision: ratio(hits, predicted),
        recall: ratio(hits, support),
        f1: ratio(2 * hits, predicted + support),
        support,
    }
}

/// Whether any row is of this class or predicted so.
fn occurs(class: usize, confusion: &[Vec<usize>]) -> bool {
    confusion[class].iter().any(|&rows| rows > 0) || confusion.iter().any(|row| row[class] > 0)
}

/// `part / whole`, or 0 of nothing.
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The classes as a plain-text table: a line of headings, then name, precision, recall, F1 and rows of each class.
pub fn table(metrics: &Metrics) -> String {
    let width = metrics.classes.iter().map(|class| class.label.chars().count()).max().unwrap_or(0).max("class".len());
    let mut text = format!("{:width$}  precision  recall      f1    rows\n", "class");
    for class in &metrics.classes {
        let ClassMetrics { label, precision, recall, f1, support } = class;
        text += &format!("{label:width$}  {precision:9.4}  {recall:6.4}  {f1:6.4}  {support:6}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Exact fractions, so only the rounding of a division or two is between them and the result.
    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    /// (0, 10), (10, 10), (5, 10) are textbook values; the rest is table I, method 3, of Newcombe, Two-sided confidence
    /// intervals for the single proportion, Statistics in Medicine 17, 1998.
    #[test]
    fn wilson_gives_the_published_intervals() {
        let published = [
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (5, 10, 0.2366, 0.7634),
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (successes, n, low, high) in published {
            let interval = wilson(successes, n, Z_95);
            // Half a unit of the last digit printed.
            assert!((interval.low - low).abs() <= 5e-5, "{successes}/{n}: {interval:?}");
            assert!((interval.high - high).abs() <= 5e-5, "{successes}/{n}: {interval:?}");
        }
        assert_eq!(wilson(0, 10, Z_95).low, 0.0);
        assert_eq!(wilson(10, 10, Z_95).high, 1.0);
        assert_eq!(wilson(0, 0, Z_95), Interval { low: 0.0, high: 1.0 });
    }

    /// Worked by hand: a has 3 rows (2 found, 1 taken for b), b has 2 (1 found, 1 taken for a), c is absent from both.
    #[test]
    fn counts_by_class() {
        let truth = [0, 0, 0, 1, 1];
        let metrics = Metrics::new(&truth, &[0, 0, 1, 1, 0], &names(&["a", "b", "c"])).unwrap();
        assert_eq!((metrics.rows, metrics.correct), (5, 3));
        assert_eq!(metrics.confusion, [[2, 1, 0], [1, 1, 0], [0, 0, 0]]);
        close(metrics.accuracy, 0.6);
        assert_eq!(metrics.interval, wilson(3, 5, Z_95));
        let found: Vec<_> = metrics.classes.iter().map(|c| (c.precision, c.recall, c.f1, c.support)).collect();
        let expected = [(2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 3), (0.5, 0.5, 0.5, 2), (0.0, 0.0, 0.0, 0)];
        assert_eq!(found, expected);
        close(metrics.macro_f1, 7.0 / 12.0);
    }

    /// A class with rows that is never predicted, and one predicted without rows: 0, and both count in the mean.
    #[test]
    fn all_one_prediction() {
        let metrics = Metrics::new(&[0, 0, 0, 1], &[0; 4], &names(&["a", "b"])).unwrap();
        let [a, b] = &metrics.classes[..] else { unreachable!() };
        close(a.precision, 0.75);
        close(a.recall, 1.0);
        close(a.f1, 6.0 / 7.0);
        assert_eq!((b.precision, b.recall, b.f1, b.support), (0.0, 0.0, 0.0, 1));
        close(metrics.macro_f1, 3.0 / 7.0);

        let wrong = Metrics::new(&[0, 0], &[1, 1], &names(&["a", "b"])).unwrap();
        assert_eq!((wrong.accuracy, wrong.macro_f1), (0.0, 0.0));
        assert_eq!(wrong.interval.low, 0.0);
    }

    #[test]
    fn a_single_row() {
        let metrics = Metrics::new(&[1], &[1], &names(&["a", "b"])).unwrap();
        assert_eq!((metrics.accuracy, metrics.macro_f1, metrics.interval.high), (1.0, 1.0, 1.0));
        // 1 / (1 + z^2) for one success of one.
        close(metrics.interval.low, 1.0 / (1.0 + Z_95 * Z_95));
    }

    #[test]
    fn refuses_what_cannot_be_compared() {
        let message = |truth: &[u32], predicted: &[u32]| {
            Metrics::new(truth, predicted, &names(&["a", "b"])).unwrap_err().to_string()
        };
        assert_eq!(message(&[], &[]), "evaluation: number of rows: expected at least one, found 0");
        let lengths = message(&[0, 1], &[0]);
        assert_eq!(lengths, "evaluation: number of predictions: expected 2, one a row, found 1");
        let id = message(&[0], &[2]);
        assert_eq!(id, "evaluation: class id: expected below 2, the number of classes, found 2");
        assert!(message(&[7], &[0]).ends_with("found 7"));
    }

    #[test]
    fn the_table_is_aligned() {
        let metrics = Metrics::new(&[0, 0, 0, 1], &[0, 0, 0, 0], &names(&["négatif", "b"])).unwrap();
        let expected = "class    precision  recall      f1    rows\n\
                        négatif     0.7500  1.0000  0.8571       3\n\
                        b           0.0000  0.0000  0.0000       1\n";
        assert_eq!(table(&metrics), expected);
    }

    #[test]
    fn serialises_under_its_field_names() {
        let metrics = Metrics::new(&[0, 1], &[0, 1], &names(&["a", "b"])).unwrap();
        let json = serde_json::to_value(&metrics).unwrap();
        assert_eq!(json["interval"]["high"], 1.0);
        assert_eq!(json["classes"][1]["label"], "b");
        assert_eq!(json["confusion"], serde_json::json!([[1, 0], [0, 1]]));
    }
}
