//! What is predicted for some rows. Made by `evaluate` and from files, read by all that judges.

use super::metrics;
use crate::data::Answers;
use crate::model::ProblemType;
use crate::predict::predicted;
use crate::{Error, Result};

/// What is predicted for N rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// The predicted classes of each row.
    pub answers: Answers,
    /// `[N, C]` the probability of each class, where it is known.
    pub probabilities: Option<Vec<f64>>,
}

impl Predictions {
    /// Those of no rows, with probabilities.
    pub fn none(problem: ProblemType) -> Self {
        Self { answers: Answers::none(problem), probabilities: Some(Vec::new()) }
    }

    /// Those of rows of several labels, decided anew: a row has the labels whose probability is at least their threshold, `[C]`.
    ///
    /// # Errors
    /// Predictions without probabilities, rows of one label, another number of thresholds than classes.
    pub fn with_thresholds(&self, thresholds: &[f64]) -> Result<Self> {
        let wrong = |expected: &str, found: &str| Err(Error::value("thresholds", "predictions", expected, found));
        let Some(probabilities) = &self.probabilities else {
            return wrong("probabilities, to which thresholds apply", "labels alone");
        };
        if self.answers.problem() == ProblemType::SingleLabel {
            return wrong("any number of labels a row", "one label a row, the most probable one");
        }
        if probabilities.len() != self.answers.len() * thresholds.len() {
            return Err(Error::value("thresholds", "number", "one for each class", thresholds.len()));
        }
        let above = |row: &[f64]| {
            let reached = (0..).zip(row).zip(thresholds).filter(|((_, p), threshold)| p >= threshold);
            reached.map(|((id, _), _)| id).collect()
        };
        let answers = Answers::Several(probabilities.chunks_exact(thresholds.len().max(1)).map(above).collect());
        Ok(Self { answers, probabilities: Some(probabilities.clone()) })
    }

    /// The same under other class ids: `ids[id]` is the new one of each.
    #[must_use]
    pub fn with_ids(self, ids: &[u32]) -> Self {
        if (0..).zip(ids).all(|(id, new)| id == *new) {
            return self;
        }
        let new = |id: &u32| ids[*id as usize];
        let answers = match &self.answers {
            Answers::One(all) => Answers::One(all.iter().map(new).collect()),
            Answers::Several(rows) => {
                let row = |row: &Vec<u32>| {
                    let mut row: Vec<u32> = row.iter().map(new).collect();
                    row.sort_unstable();
                    row
                };
                Answers::Several(rows.iter().map(row).collect())
            }
        };
        let mut probabilities = self.probabilities;
        let moved = |row: &mut [f64]| {
            let old = row.to_vec();
            ids.iter().zip(old).for_each(|(&id, p)| row[id as usize] = p);
        };
        probabilities.iter_mut().for_each(|all| all.chunks_exact_mut(ids.len()).for_each(moved));
        Self { answers, probabilities }
    }

    /// Appends a row by its probabilities.
    pub fn push(&mut self, probabilities: &[f64]) {
        self.answers.push(predicted(probabilities, self.answers.problem()));
        if let Some(all) = &mut self.probabilities {
            all.extend(probabilities);
        }
    }

    /// Checks that there is a prediction for each row, and a probability for each row and class.
    pub(super) fn check(&self, truth: &Answers, names: &[String]) -> Result<()> {
        metrics::check(truth, &self.answers, names)?;
        let (rows, classes) = (truth.len(), names.len());
        match &self.probabilities {
            Some(all) if all.len() != rows * classes => {
                let expected = format!("{classes} for each of {rows} rows");
                Err(Error::value("evaluation", "number of probabilities", expected, all.len()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn other_ids() {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        predictions.push(&[0.5, 0.3, 0.2]);
        let moved = predictions.with_ids(&[2, 0, 1]);
        assert_eq!((moved.answers, moved.probabilities), (Answers::One(vec![2]), Some(vec![0.3, 0.2, 0.5])));
    }

    #[test]
    fn thresholds_decide_anew() {
        let mut predictions = Predictions::none(ProblemType::MultiLabel);
        predictions.push(&[0.4, 0.6]);
        predictions.push(&[0.5, 0.1]);
        assert_eq!(predictions.answers, Answers::Several(vec![vec![1], vec![0]]));
        let moved = predictions.with_thresholds(&[0.4, 0.7]).unwrap();
        assert_eq!(moved.answers, Answers::Several(vec![vec![0], vec![0]]));
        assert_eq!(moved.with_thresholds(&[0.5, 0.5]).unwrap(), predictions);
        assert!(predictions.with_thresholds(&[0.5]).is_err());
        let mut single = Predictions::none(ProblemType::SingleLabel);
        single.push(&[0.4, 0.6]);
        assert!(single.with_thresholds(&[0.5, 0.5]).is_err());
    }
}
