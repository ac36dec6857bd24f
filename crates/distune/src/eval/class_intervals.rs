//! How sure the figures of a single class are. Called by `report`.

use super::interval::{Interval, Z_95, wilson};
use crate::data::Answers;

/// 95 % intervals of a class's figures; none where there are no rows to tell them from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassIntervals {
    /// Of the precision: Wilson's, given how many rows are predicted as this class.
    pub precision: Option<Interval>,
    /// Of the recall: Wilson's, given how many rows are of this class.
    pub recall: Option<Interval>,
    /// Of F1: with J the share of the true positives among the rows that are of this class or predicted so, F1 is `2 J / (1 + J)`, which
    /// rises with J, so the ends are those of Wilson's interval of J (K. F. Y. Lam, V. Gopal and J. Qian, Confidence intervals for
    /// the F1 score, arXiv 2309.14621, the indirect Wilson method).
    pub f1: Option<Interval>,
}

impl ClassIntervals {
    /// Those of each of `classes` classes.
    pub fn all(truth: &Answers, predicted: &Answers, classes: usize) -> Vec<Self> {
        let mut both = vec![0; classes];
        for row in 0..truth.len().min(predicted.len()) {
            for &id in truth.row(row).iter().filter(|id| predicted.row(row).contains(id)) {
                if let Some(count) = both.get_mut(id as usize) {
                    *count += 1;
                }
            }
        }
        let counts = truth.counts(classes).into_iter().zip(predicted.counts(classes)).zip(both);
        counts.map(|((support, predicted), both)| Self::of(support, predicted, both)).collect()
    }

    /// From the rows of the class, those predicted so, and those that are both.
    fn of(support: usize, predicted: usize, both: usize) -> Self {
        let share = |of: usize| (of > 0).then(|| wilson(both, of, Z_95));
        let f1 = |j: f64| 2.0 * j / (1.0 + j);
        let either = share(support + predicted - both);
        Self {
            precision: share(predicted),
            recall: share(support),
            f1: either.map(|j| Interval { low: f1(j.low), high: f1(j.high) }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_of_one_label_and_of_several() {
        let of = |truth: &Answers, predicted: &Answers| ClassIntervals::all(truth, predicted, 3);
        let one = of(&Answers::One(vec![0, 0, 0, 1, 1]), &Answers::One(vec![0, 0, 1, 1, 0]));
        assert_eq!(one[0], ClassIntervals::of(3, 3, 2));
        assert_eq!(one[1], ClassIntervals::of(2, 2, 1));
        assert_eq!(one[2], ClassIntervals { precision: None, recall: None, f1: None });
        let several = of(
            &Answers::Several(vec![vec![0, 1], vec![0], vec![]]),
            &Answers::Several(vec![vec![0], vec![0, 2], vec![]]),
        );
        assert_eq!(several, [(2, 2, 2), (1, 0, 0), (0, 1, 0)].map(|(a, b, c)| ClassIntervals::of(a, b, c)));
    }

    /// Where all are equal, F1 is the share itself with both counts the same, and its interval holds it.
    #[test]
    fn the_interval_of_f1() {
        let of = ClassIntervals::of(100, 100, 80);
        let f1 = of.f1.unwrap();
        let j = wilson(80, 120, Z_95);
        assert!((f1.low - 2.0 * j.low / (1.0 + j.low)).abs() < 1e-12, "{f1:?}");
        assert!(f1.low < 0.8 && 0.8 < f1.high && f1.high - f1.low < 0.13, "{f1:?}");
        let perfect = ClassIntervals::of(5, 5, 5).f1.unwrap();
        assert!(perfect.high == 1.0 && perfect.low < 0.8, "{perfect:?}");
    }
}
