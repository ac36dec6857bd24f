//! The rows that a model gets wrong, the most confidently wrong first.

use serde::Serialize;

use super::{RowText, Texts, named};
use crate::data::Answers;
use crate::eval::Predictions;
use crate::model::ProblemType;

/// A row that is predicted wrongly.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrongRow {
    /// The row.
    #[serde(flatten)]
    pub at: RowText,
    /// Its true labels.
    pub truth: Vec<String>,
    /// Its predicted labels.
    pub predicted: Vec<String>,
    /// The class that is decided about most confidently and wrongly: the predicted one; where a row may have several labels, one
    /// that it has and should not, or should have and has not.
    pub label: String,
    /// How probable that decision is to the model, where that is known.
    pub confidence: Option<f64>,
}

/// The wrong rows by falling confidence; without probabilities, in their order.
pub(super) fn wrong_rows(texts: Texts, truth: &Answers, predictions: &Predictions, names: &[String]) -> Vec<WrongRow> {
    let mut wrong: Vec<(usize, u32, Option<f64>)> = (0..truth.len())
        .filter_map(|row| {
            let (truth, predicted) = (truth.row(row), predictions.answers.row(row));
            let (label, confidence) = worst_label(truth, predicted, predictions, row, names.len())?;
            Some((row, label, confidence))
        })
        .collect();
    wrong.sort_by(|a, b| b.2.unwrap_or(0.0).total_cmp(&a.2.unwrap_or(0.0)).then(a.0.cmp(&b.0)));
    wrong
        .into_iter()
        .map(|(row, label, confidence)| WrongRow {
            at: texts.row(row),
            truth: named(truth.row(row), names),
            predicted: named(predictions.answers.row(row), names),
            label: names[label as usize].clone(),
            confidence,
        })
        .collect()
}

/// The class that is decided about most confidently and wrongly, and how confidently.
fn worst_label(
    truth: &[u32],
    predicted: &[u32],
    predictions: &Predictions,
    row: usize,
    classes: usize,
) -> Option<(u32, Option<f64>)> {
    let probability = |id: u32| Some(predictions.probabilities.as_ref()?[row * classes + id as usize]);
    let added = predicted.iter().filter(|id| !truth.contains(id)).map(|&id| (id, probability(id)));
    let missed = truth.iter().filter(|id| !predicted.contains(id));
    let missed = missed.map(|&id| (id, probability(id).map(|p| 1.0 - p)));
    // with one label a row, the missed one is the same mistake
    let missed = missed.filter(|_| predictions.answers.problem() == ProblemType::MultiLabel);
    added.chain(missed).reduce(|best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(count: usize) -> (Vec<String>, Vec<u64>) {
        ((0..count).map(|row| format!("text {row}")).collect(), (2..).take(count).collect())
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|id| format!("class {id}")).collect()
    }

    #[test]
    fn most_confident_first() {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.95, 0.05]].iter().for_each(|p| predictions.push(p));
        let (texts, lines) = texts(4);
        let texts = Texts { texts: &texts, pairs: &[], lines: &lines };
        let truth = Answers::One(vec![0, 1, 0, 1]);
        let wrong = wrong_rows(texts, &truth, &predictions, &names(2));
        let told: Vec<_> =
            wrong.iter().map(|row| (row.at.row, row.at.line, row.label.as_str(), row.confidence)).collect();
        let expected = [(3, 5, "class 0", Some(0.95)), (2, 4, "class 1", Some(0.8)), (1, 3, "class 0", Some(0.6))];
        assert_eq!(told, expected);
        assert_eq!((&wrong[0].truth[..], &wrong[0].at.text), (&names(2)[1..], &"text 3".to_owned()));

        let unsure = Predictions { probabilities: None, ..predictions };
        let rows: Vec<_> = wrong_rows(texts, &truth, &unsure, &names(2)).iter().map(|row| row.at.row).collect();
        assert_eq!(rows, [1, 2, 3]);
    }

    #[test]
    fn labels_that_are_missing_or_too_many() {
        let mut predictions = Predictions::none(ProblemType::MultiLabel);
        // the first row misses class 1 by far and has class 2 by little; the second has class 0 in error; the third is right
        [[0.9, 0.05, 0.6], [0.7, 0.1, 0.2], [0.1, 0.1, 0.9]].iter().for_each(|p| predictions.push(p));
        let (texts, lines) = texts(3);
        let texts = Texts { texts: &texts, pairs: &[], lines: &lines };
        let truth = Answers::Several(vec![vec![0, 1], vec![], vec![2]]);
        let wrong = wrong_rows(texts, &truth, &predictions, &names(3));
        let told: Vec<_> = wrong.iter().map(|row| (row.at.row, row.label.as_str(), row.confidence)).collect();
        assert_eq!(told, [(0, "class 1", Some(0.95)), (1, "class 0", Some(0.7))]);
    }
}
