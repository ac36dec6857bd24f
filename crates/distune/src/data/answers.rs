//! What rows should be classified as, or are predicted to be. Made by [`super::Dataset`] and `eval`, read by `train` and `eval`.

use std::ops::Range;

use distune_kernels::Targets;

use crate::model::ProblemType;

/// The classes of N rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// `[N]` the class id of each row.
    One(Vec<u32>),
    /// `[N]` the ids of the labels of each row, each once and ascending; any number of them.
    Several(Vec<Vec<u32>>),
}

impl Answers {
    /// Those of no rows.
    pub fn none(problem: ProblemType) -> Self {
        match problem {
            ProblemType::SingleLabel => Self::One(Vec::new()),
            ProblemType::MultiLabel => Self::Several(Vec::new()),
        }
    }

    /// How many labels a row has.
    pub fn problem(&self) -> ProblemType {
        match self {
            Self::One(_) => ProblemType::SingleLabel,
            Self::Several(_) => ProblemType::MultiLabel,
        }
    }

    /// Appends a row with these labels; the first alone counts where a row has one.
    pub fn push(&mut self, ids: Vec<u32>) {
        match self {
            Self::One(classes) => classes.extend(ids.first()),
            Self::Several(rows) => rows.push(ids),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::One(classes) => classes.len(),
            Self::Several(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class ids of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[u32] {
        match self {
            Self::One(classes) => std::slice::from_ref(&classes[row]),
            Self::Several(rows) => &rows[row],
        }
    }

    /// The number of rows of each of `classes` classes.
    pub fn counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for id in (0..self.len()).flat_map(|row| self.row(row)) {
            if let Some(count) = counts.get_mut(*id as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// What an engine takes of some rows, for a model of `classes` classes.
    pub fn pick(&self, rows: &[usize], classes: usize) -> PickedTargets {
        match self {
            Self::One(all) => PickedTargets::Classes(rows.iter().map(|&row| all[row]).collect()),
            Self::Several(all) => {
                let mut holds = vec![0.0; rows.len() * classes];
                for (row, holds) in rows.iter().zip(holds.chunks_exact_mut(classes)) {
                    all[*row].iter().for_each(|&id| holds[id as usize] = 1.0);
                }
                PickedTargets::MultiLabel { holds, classes }
            }
        }
    }
}

/// Targets of the rows of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum PickedTargets {
    /// `[B]` class ids.
    Classes(Vec<u32>),
    /// As [`Targets::MultiLabel`].
    MultiLabel {
        /// `[B, C]`, 0 or 1.
        holds: Vec<f32>,
        /// C.
        classes: usize,
    },
}

impl PickedTargets {
    /// Those of all rows.
    pub fn all(&self) -> Targets<'_> {
        match self {
            Self::Classes(ids) => Targets::Classes(ids),
            Self::MultiLabel { holds, classes } => Targets::MultiLabel { holds, classes: *classes },
        }
    }

    /// Those of a range of rows.
    pub fn of(&self, rows: Range<usize>) -> Targets<'_> {
        match self {
            Self::Classes(ids) => Targets::Classes(&ids[rows]),
            Self::MultiLabel { holds, classes } => {
                Targets::MultiLabel { holds: &holds[rows.start * classes..rows.end * classes], classes: *classes }
            }
        }
    }
}
