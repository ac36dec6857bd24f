//! A model that may say nothing: how right it is on the rows that it is sure of. Called by the command line and by who draws it.

use serde::{Deserialize, Serialize};

use super::{Interval, Predictions, Z_95, wilson};
use crate::data::Answers;
use crate::{Error, Result};

/// Points of a curve, at most.
const POINTS: usize = 100;

/// The rows answered by a model that answers only when its confidence is at least `threshold`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbstentionPoint {
    /// The least confidence of an answer.
    pub threshold: f64,
    /// Rows answered.
    pub rows: usize,
    /// The share of rows answered.
    pub coverage: f64,
    /// The share of these that is right; with several labels a row, with all of them.
    pub accuracy: f64,
}

/// Accuracy against coverage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Abstention {
    /// From the surest rows to all of them, at most a hundred points: the first one of each hundredth of the rows.
    pub points: Vec<AbstentionPoint>,
    /// The area under the curve of all points: the mean over the rows of the accuracy on those that are answered at least as surely.
    pub area: f64,
}

/// What becomes of the rows when some are not answered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Rows in all.
    pub rows: usize,
    /// Rows answered.
    pub answered: usize,
    /// The share of rows answered.
    pub coverage: f64,
    /// Rows answered right.
    pub correct: usize,
    /// The share of the answered rows that is right; none where no row is answered.
    pub accuracy: Option<f64>,
    /// 95 % interval of the accuracy ([`wilson`]).
    pub interval: Interval,
}

/// `[N]` how sure each prediction is: the probability of the predicted class, or with several labels a row, that of what is said of
/// the label that is least sure. Nothing without probabilities.
pub fn confidences(predictions: &Predictions, classes: usize) -> Option<Vec<f64>> {
    let rows = predictions.probabilities.as_ref()?.chunks_exact(classes.max(1)).enumerate();
    Some(rows.map(|(row, probabilities)| confidence(probabilities, &predictions.answers, row)).collect())
}

fn confidence(probabilities: &[f64], answers: &Answers, row: usize) -> f64 {
    let predicted = answers.row(row);
    match answers {
        Answers::One(_) => predicted.iter().map(|&id| probabilities[id as usize]).sum(),
        Answers::Several(_) => {
            let of = |(id, &p): (u32, &f64)| if predicted.contains(&id) { p } else { 1.0 - p };
            (0..).zip(probabilities).map(of).fold(1.0, f64::min)
        }
    }
}

/// Accuracy against coverage, as rows are answered from the surest to the least sure. Nothing without probabilities.
///
/// # Errors
/// As [`super::Metrics::new`].
pub fn abstention(truth: &Answers, predictions: &Predictions, names: &[String]) -> Result<Option<Abstention>> {
    predictions.check(truth, names)?;
    let Some(confidences) = confidences(predictions, names.len()) else { return Ok(None) };
    let right = |row: usize| truth.row(row) == predictions.answers.row(row);
    let mut rows: Vec<(f64, bool)> =
        confidences.into_iter().enumerate().map(|(row, confidence)| (confidence, right(row))).collect();
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let all = rows.len();
    let (mut points, mut answered, mut correct, mut area) = (Vec::new(), 0, 0, 0.0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let hundredths = |rows: usize| rows * POINTS / all;
        let before = hundredths(answered);
        answered += tied.len();
        correct += tied.iter().filter(|(_, right)| *right).count();
        let accuracy = correct as f64 / answered as f64;
        area += tied.len() as f64 * accuracy;
        if hundredths(answered) > before {
            let coverage = answered as f64 / all as f64;
            points.push(AbstentionPoint { threshold: tied[0].0, rows: answered, coverage, accuracy });
        }
    }
    Ok(Some(Abstention { points, area: area / all as f64 }))
}

/// What becomes of the rows when only those are answered whose confidence is at least `threshold`.
///
/// # Errors
/// As [`super::Metrics::new`], and predictions without probabilities.
pub fn answered(truth: &Answers, predictions: &Predictions, names: &[String], threshold: f64) -> Result<Answered> {
    predictions.check(truth, names)?;
    let confidences = confidences(predictions, names.len())
        .ok_or_else(|| Error::value("abstention", "predictions", "probabilities", "labels alone"))?;
    let kept = || (0..truth.len()).filter(|&row| confidences[row] >= threshold);
    let (rows, answered) = (truth.len(), kept().count());
    let correct = kept().filter(|&row| truth.row(row) == predictions.answers.row(row)).count();
    Ok(Answered {
        rows,
        answered,
        coverage: answered as f64 / rows as f64,
        correct,
        accuracy: (answered > 0).then(|| correct as f64 / answered as f64),
        interval: wilson(correct, answered, Z_95),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::ProblemType;

    fn names() -> Vec<String> {
        vec!["a".into(), "b".into()]
    }

    /// Worked by hand: right at 0.9 and 0.8, one of two right at 0.7, wrong at 0.6.
    #[test]
    fn accuracy_against_coverage() {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        for p in [0.7, 0.9, 0.6, 0.8, 0.7] {
            predictions.push(&[p, 1.0 - p]);
        }
        let truth = Answers::One(vec![0, 0, 1, 0, 1]);
        let curve = abstention(&truth, &predictions, &names()).unwrap().unwrap();
        let points: Vec<_> = curve.points.iter().map(|p| (p.threshold, p.rows, p.coverage, p.accuracy)).collect();
        assert_eq!(points, [(0.9, 1, 0.2, 1.0), (0.8, 2, 0.4, 1.0), (0.7, 4, 0.8, 0.75), (0.6, 5, 1.0, 0.6)]);
        assert!((curve.area - (1.0 + 1.0 + 2.0 * 0.75 + 0.6) / 5.0).abs() < 1e-12);
        let kept = answered(&truth, &predictions, &names(), 0.7).unwrap();
        assert_eq!((kept.answered, kept.correct, kept.coverage, kept.accuracy), (4, 3, 0.8, Some(0.75)));
        let none = answered(&truth, &predictions, &names(), 0.95).unwrap();
        assert_eq!((none.answered, none.coverage, none.accuracy), (0, 0.0, None));
    }

    #[test]
    fn a_hundred_points_of_many_rows() {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        (0..1234).for_each(|row| predictions.push(&[0.5 + f64::from(row) / 3000.0, 0.5 - f64::from(row) / 3000.0]));
        let curve = abstention(&Answers::One(vec![0; 1234]), &predictions, &names()).unwrap().unwrap();
        assert_eq!((curve.points.len(), curve.points[0].rows, curve.points[99].rows), (100, 13, 1234));
        assert_eq!(curve.area, 1.0);
    }

    #[test]
    fn the_least_sure_label_counts() {
        let mut predictions = Predictions::none(ProblemType::MultiLabel);
        predictions.push(&[0.9, 0.3]);
        predictions.push(&[0.2, 0.1]);
        assert_eq!(confidences(&predictions, 2).unwrap(), [0.7, 0.8]);
        let lower = predictions.with_thresholds(&[0.5, 0.3]).unwrap();
        assert_eq!(confidences(&lower, 2).unwrap(), [0.3, 0.8]);
    }
}
