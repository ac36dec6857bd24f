//! From which probability on a row has a label: by F1, or by precision at a recall.

use serde::{Deserialize, Serialize};

use crate::data::Answers;
use crate::eval::Predictions;
use crate::model::ProblemType;

/// What a threshold is chosen by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Goal {
    /// The best F1.
    #[default]
    F1,
    /// The best precision with at least this recall.
    PrecisionAtRecall(f64),
}

/// From which probability on a row has a label, and how well that finds the rows of the label among those that it was chosen on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The label.
    pub label: String,
    /// A row has the label if its probability is at least this: halfway between the lowest probability that is to be above it and the
    /// next one (or 0). A half where no row has the label, so that nothing is known of it.
    pub threshold: f64,
    /// Rows of the label.
    pub support: usize,
    /// Of the rows that are given the label, the part that has it.
    pub precision: f64,
    /// Of the rows that have the label, the part that is given it.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// The labels that are decided by a threshold: with several labels a row all of them, of two classes the second one, otherwise none.
pub fn decided_by_threshold(problem: ProblemType, classes: usize) -> std::ops::Range<usize> {
    match (problem, classes) {
        (ProblemType::MultiLabel, classes) => 0..classes,
        (ProblemType::SingleLabel, 2) => 1..2,
        (ProblemType::SingleLabel, _) => 0..0,
    }
}

/// The threshold of each label that is [`decided_by_threshold`]. Of equally good ones, by F1 the highest is taken, by precision the
/// one with the best recall. None without probabilities.
pub fn thresholds(truth: &Answers, predictions: &Predictions, names: &[String], goal: Goal) -> Vec<Threshold> {
    let Some(probabilities) = &predictions.probabilities else { return Vec::new() };
    let labels = decided_by_threshold(truth.problem(), names.len());
    let of = |id: usize| {
        let of_row = |(row, probabilities): (usize, &[f64])| (probabilities[id], truth.row(row).contains(&(id as u32)));
        let rows = probabilities.chunks_exact(names.len()).enumerate().map(of_row).collect();
        best(rows, &names[id], goal)
    };
    labels.map(of).collect()
}

/// The best threshold for rows with a probability each, and whether they have the label.
fn best(mut rows: Vec<(f64, bool)>, label: &str, goal: Goal) -> Threshold {
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let support = rows.iter().filter(|(_, has)| *has).count();
    let unknown = Threshold { label: label.to_owned(), threshold: 0.5, support, precision: 0.0, recall: 0.0, f1: 0.0 };
    let (mut best, mut given, mut hits) = (None::<Threshold>, 0, 0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0).filter(|_| support > 0) {
        given += tied.len();
        hits += tied.iter().filter(|(_, has)| *has).count();
        let (precision, recall) = (hits as f64 / given as f64, hits as f64 / support as f64);
        let f1 = 2.0 * hits as f64 / (given + support) as f64;
        let better = best.as_ref().is_none_or(|best| match goal {
            Goal::F1 => f1 > best.f1,
            Goal::PrecisionAtRecall(_) => precision >= best.precision,
        });
        let reached = match goal {
            Goal::F1 => true,
            Goal::PrecisionAtRecall(least) => recall >= least,
        };
        if better && reached {
            let threshold = between(tied[0].0, rows.get(given).map_or(0.0, |next| next.0));
            best = Some(Threshold { label: label.to_owned(), threshold, support, precision, recall, f1 });
        }
    }
    best.unwrap_or(unknown)
}

/// A number above `low` and not above `high`, halfway where there is room.
fn between(high: f64, low: f64) -> f64 {
    let middle = (high + low) / 2.0;
    if middle > low { middle } else { high }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// By hand: of 0.9 (has), 0.8 (not), 0.6 (has), 0.6 (has), 0.2 (not).
    const ROWS: [(f64, bool); 5] = [(0.6, true), (0.9, true), (0.2, false), (0.8, false), (0.6, true)];

    fn of(goal: Goal) -> (f64, f64, f64) {
        let best = best(ROWS.to_vec(), "x", goal);
        (best.threshold, best.precision, best.recall)
    }

    #[test]
    fn by_either_goal() {
        assert_eq!(of(Goal::F1), (0.4, 0.75, 1.0));
        assert_eq!(of(Goal::PrecisionAtRecall(1.0)), (0.4, 0.75, 1.0));
        assert_eq!(of(Goal::PrecisionAtRecall(0.3)), (f64::midpoint(0.9, 0.8), 1.0, 1.0 / 3.0));
    }

    #[test]
    fn without_rows_of_the_label_or_others() {
        let none = best(vec![(0.7, false)], "x", Goal::F1);
        assert_eq!((none.threshold, none.support, none.f1), (0.5, 0, 0.0));
        let all = best(vec![(0.7, true), (0.3, true)], "x", Goal::F1);
        assert_eq!((all.threshold, all.f1), (0.15, 1.0));
    }

    #[test]
    fn neighbours() {
        let above = 0.5_f64.next_up();
        assert_eq!(between(above, 0.5), above);
        assert_eq!(between(0.0, 0.0), 0.0);
    }

    #[test]
    fn which_labels() {
        use ProblemType::{MultiLabel, SingleLabel};
        let of = |problem, classes| decided_by_threshold(problem, classes).collect::<Vec<_>>();
        assert_eq!((of(SingleLabel, 2), of(SingleLabel, 3), of(MultiLabel, 2)), (vec![1], vec![], vec![0, 1]));
    }
}
