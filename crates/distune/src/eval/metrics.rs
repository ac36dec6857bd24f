//! Accuracy with its interval, precision, recall, F1, and the confusion matrix.

use serde::{Deserialize, Serialize};

use crate::data::Answers;
use crate::{Error, Result};

/// The normal quantile of a two-sided 95 % interval.
pub const Z_95: f64 = 1.959963984540054;

/// Classes that [`table`] shows, at most.
const SHOWN: usize = 30;

/// A confidence interval of a proportion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    /// `[C][C]` rows by true class, then by predicted class; empty where a row has several labels.
    pub confusion: Vec<Vec<usize>>,
}

impl Metrics {
    /// Compares the true classes of N rows with the predicted ones; `names[id]` is a class's name.
    ///
    /// # Errors
    /// No rows, two lengths, or an id without a name.
    pub fn new(truth: &Answers, predicted: &Answers, names: &[String]) -> Result<Self> {
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
        let ids = (0..rows).flat_map(|row| truth.row(row).iter().chain(predicted.row(row)));
        if let Some(id) = ids.copied().find(|&id| id as usize >= names.len()) {
            let expected = format!("below {}, the number of classes", names.len());
            return Err(Error::value("evaluation", "class id", expected, id));
        }
        let correct = (0..rows).filter(|&row| truth.row(row) == predicted.row(row)).count();
        let counts = Counts::new(truth, predicted, names.len());
        let classes: Vec<ClassMetrics> = names.iter().enumerate().map(|(id, name)| counts.class(id, name)).collect();
        let counted = match truth {
            Answers::One(_) => (0..names.len()).filter(|&id| counts.occurs(id)).count(),
            Answers::Several(_) => names.len(),
        };
        let macro_f1 = classes.iter().map(|class| class.f1).sum::<f64>() / counted as f64;
        let (accuracy, interval) = (ratio(correct, rows), wilson(correct, rows, Z_95));
        let (micro_f1, confusion) = (counts.micro_f1(), confusion(truth, predicted, names.len()));
        Ok(Self { rows, correct, accuracy, interval, classes, micro_f1, macro_f1, confusion })
    }

    /// Whether rows may have several labels.
    pub fn several_labels(&self) -> bool {
        self.confusion.is_empty()
    }
}

/// `[C]` rows of each class: in truth, as predicted, and both.
struct Counts {
    truth: Vec<usize>,
    predicted: Vec<usize>,
    hits: Vec<usize>,
}

impl Counts {
    fn new(truth: &Answers, predicted: &Answers, classes: usize) -> Self {
        let mut hits = vec![0; classes];
        for row in 0..truth.len() {
            let predicted = predicted.row(row);
            truth.row(row).iter().filter(|id| predicted.contains(id)).for_each(|&id| hits[id as usize] += 1);
        }
        Self { truth: truth.counts(classes), predicted: predicted.counts(classes), hits }
    }

    fn occurs(&self, id: usize) -> bool {
        self.truth[id] + self.predicted[id] > 0
    }

    /// Precision, recall and F1 of one class.
    fn class(&self, id: usize, name: &str) -> ClassMetrics {
        let (hits, predicted, support) = (self.hits[id], self.predicted[id], self.truth[id]);
        ClassMetrics {
            label: name.to_owned(),
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, predicted + support),
            support,
        }
    }

    fn micro_f1(&self) -> f64 {
        let sum = |counts: &[usize]| counts.iter().sum::<usize>();
        ratio(2 * sum(&self.hits), sum(&self.truth) + sum(&self.predicted))
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

/// `part / whole`, or 0 of nothing.
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The classes as a plain-text table: a line of headings, then name, precision, recall, F1 and rows of each class; of more than
/// thirty, those with most rows.
pub fn table(metrics: &Metrics) -> String {
    let mut classes: Vec<&ClassMetrics> = metrics.classes.iter().collect();
    if classes.len() > SHOWN {
        classes.sort_by_key(|class| std::cmp::Reverse(class.support));
        classes.truncate(SHOWN);
    }
    let width = classes.iter().map(|class| class.label.chars().count()).max().unwrap_or(0).max("class".len());
    let mut text = format!("{:width$}  precision  recall      f1    rows\n", "class");
    for ClassMetrics { label, precision, recall, f1, support } in &classes {
        text += &format!("{label:width$}  {precision:9.4}  {recall:6.4}  {f1:6.4}  {support:6}\n");
    }
    match metrics.classes.len() - classes.len() {
        0 => text,
        more => text + &format!("... and {more} classes with no more rows than these (--json has all)\n"),
    }
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
    fn the_table_is_aligned() {
        let metrics = compare(&[0, 0, 0, 1], &[0, 0, 0, 0], &names(&["négatif", "b"])).unwrap();
        let expected = "class    precision  recall      f1    rows\n\
                        négatif     0.7500  1.0000  0.8571       3\n\
                        b           0.0000  0.0000  0.0000       1\n";
        assert_eq!(table(&metrics), expected);
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
