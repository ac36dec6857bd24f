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

    /// The same decided anew by thresholds. With several labels a row, `[C]`: a row has the labels whose probability is at least
    /// their threshold. Of two classes, `[1]`: a row is of the second class if its probability is at least that.
    ///
    /// # Errors
    /// Predictions without probabilities, more than two classes of which a row has one, another number of thresholds.
    pub fn with_thresholds(&self, thresholds: &[f64]) -> Result<Self> {
        let wrong = |key, expected: &str, found: String| Err(Error::value("thresholds", key, expected, found));
        let Some(probabilities) = &self.probabilities else {
            return wrong("predictions", "probabilities, to which thresholds apply", "labels alone".into());
        };
        let classes = probabilities.len() / self.answers.len().max(1);
        let expected = match (&self.answers, classes) {
            (Answers::Several(_), classes) => classes,
            (Answers::One(_), 0 | 2) => 1,
            (Answers::One(_), classes) => {
                let found = format!("one of {classes} a row, the most probable one");
                return wrong("predictions", "two classes, or any number of labels a row", found);
            }
        };
        if thresholds.len() != expected {
            return wrong("number", &expected.to_string(), thresholds.len().to_string());
        }
        let rows = probabilities.chunks_exact(classes.max(1));
        let answers = match (&self.answers, thresholds) {
            (Answers::One(_), &[threshold]) => Answers::One(rows.map(|row| u32::from(row[1] >= threshold)).collect()),
            _ => {
                let reached = |row: &[f64]| {
                    let reached = (0..).zip(row).zip(thresholds).filter(|((_, p), threshold)| p >= threshold);
                    reached.map(|((id, _), _)| id).collect()
                };
                Answers::Several(rows.map(reached).collect())
            }
        };
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
    pub(crate) fn check(&self, truth: &Answers, names: &[String]) -> Result<()> {
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
        assert_eq!(single.with_thresholds(&[0.6]).unwrap().answers, Answers::One(vec![1]));
        assert_eq!(single.with_thresholds(&[0.7]).unwrap().answers, Answers::One(vec![0]));
        let mut three = Predictions::none(ProblemType::SingleLabel);
        three.push(&[0.4, 0.4, 0.2]);
        assert!(three.with_thresholds(&[0.5]).is_err() && three.with_thresholds(&[0.5; 3]).is_err());
    }
}
