//! Rows in the order of a score: the areas under their ROC and precision-recall curves. Called by `probabilities` and, with
//! resampled weights, by `resample`.

use rayon::prelude::*;

/// Rows in the order of their scores, highest first. Masks are 0 or 255, so that a pass over them needs no branch.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    /// `[N]` the rows.
    pub(super) order: Vec<u32>,
    /// `[N]` whether a row is one of the class, in this order.
    positive: Vec<u8>,
    /// `[N]` whether it is the last one of its score.
    last: Vec<u8>,
}

/// The areas under both curves. What is not defined is not a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Areas {
    /// As scikit-learn's `roc_auc_score`; needs rows of the class, and others.
    pub(super) roc_auc: f64,
    /// As scikit-learn's `average_precision_score`; 0 without rows of the class.
    pub(super) average_precision: f64,
    /// Rows of the class.
    pub(super) positives: f64,
}

impl Ranking {
    /// Orders rows by the score of a class; `positive` tells whether a row is of the class.
    pub(super) fn new(rows: usize, score: impl Fn(usize) -> f64, positive: impl Fn(usize) -> bool) -> Self {
        let mut scored: Vec<(f64, u32)> = (0..rows).map(|row| (score(row), row as u32)).collect();
        scored.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mask = |is: bool| if is { u8::MAX } else { 0 };
        let last = |place: usize| scored.get(place + 1).is_none_or(|next| next.0 != scored[place].0);
        Self {
            order: scored.iter().map(|&(_, row)| row).collect(),
            positive: scored.iter().map(|&(_, row)| mask(positive(row as usize))).collect(),
            last: (0..rows).map(|place| mask(last(place))).collect(),
        }
    }

    /// The areas where each row, in this order, counts as often as its weight says.
    pub(super) fn areas(&self, weights: &[u8]) -> Areas {
        // of all rows above and of the rows of the score so far
        let (mut above, mut tied) = ([0_u64; 2], [0_u64; 2]);
        let (mut twice_pairs, mut precisions) = (0_u64, 0.0);
        for ((&weight, &positive), &last) in weights.iter().zip(&self.positive).zip(&self.last) {
            tied[0] += u64::from(weight & positive);
            tied[1] += u64::from(weight);
            let last = i64::from(last as i8) as u64;
            let [positives, rows] = tied.map(|count| count & last);
            twice_pairs += (rows - positives) * (2 * above[0] + positives);
            above[0] += positives;
            above[1] += rows;
            precisions += float(positives) * (float(above[0]) / float(above[1].max(1)));
            tied = tied.map(|count| count & !last);
        }
        let (positives, others) = (float(above[0]), float(above[1] - above[0]));
        let average_precision = if positives > 0.0 { precisions / positives } else { 0.0 };
        // of nothing, this is not a number
        Areas { roc_auc: float(twice_pairs) / 2.0 / (positives * others), average_precision, positives }
    }

    /// The areas where each row counts once.
    pub(super) fn all(&self) -> Areas {
        self.areas(&vec![1; self.order.len()])
    }

    /// `[N]` twice: the influence of each row on both areas, by row.
    pub(super) fn influence(&self) -> [Vec<f64>; 2] {
        let n = self.order.len();
        let Areas { roc_auc, average_precision, positives } = self.all();
        let others = n as f64 - positives;
        let mut influence = [vec![0.0; n], vec![0.0; n]];
        // going up: of the rows below, those of no class; and two sums over the scores from here down, of rows of the class over
        // rows down to the score, and of the same times the precision there, over the same
        let (mut below, mut gain, mut cost) = (0.0, 0.0, 0.0);
        let (mut above, mut end) = ([positives, n as f64], n);
        while end > 0 {
            let start = (0..end - 1).rev().find(|&place| self.last[place] != 0).map_or(0, |place| place + 1);
            let here = self.positive[start..end].iter().filter(|&&positive| positive != 0).count() as f64;
            let other = (end - start) as f64 - here;
            let precision = above[0] / above[1];
            gain += here / above[1];
            cost += here * precision / above[1];
            for place in start..end {
                let row = self.order[place] as usize;
                let (area, mean_precision) = match self.positive[place] {
                    0 => ((above[0] - here + here / 2.0) / positives, -cost),
                    _ => ((below + other / 2.0) / others, precision + gain - cost - average_precision),
                };
                let of_same = if self.positive[place] == 0 { others } else { positives };
                influence[0][row] = n as f64 * (area - roc_auc) / of_same;
                influence[1][row] = n as f64 * mean_precision / positives;
            }
            below += other;
            above = [above[0] - here, above[1] - (end - start) as f64];
            end = start;
        }
        influence
    }
}

/// Counts are far below the 2^53 from which on this would round.
fn float(count: u64) -> f64 {
    count as i64 as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(scores: &[f64], positive: &[bool]) -> Ranking {
        Ranking::new(scores.len(), |row| scores[row], |row| positive[row])
    }

    /// Worked by hand: of the four pairs of a row of the class and another one, one is tied and none in order.
    #[test]
    fn ties_count_half() {
        let areas = ranking(&[0.9, 0.8, 0.8, 0.1], &[false, true, false, true]).all();
        assert_eq!(areas.roc_auc, 0.125);
        // precision 1/3 at the tied rows and 1/2 at the last one
        assert!((areas.average_precision - (1.0 / 3.0 + 0.5) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn weights_are_repeated_rows() {
        let (scores, positive) = ([0.3, 0.5, 0.5, 0.9, 0.2], [true, false, true, true, false]);
        let weights = [2_usize, 0, 3, 1, 4];
        let rows: Vec<usize> = (0..5).flat_map(|row| std::iter::repeat_n(row, weights[row])).collect();
        let repeated = Ranking::new(rows.len(), |row| scores[rows[row]], |row| positive[rows[row]]);
        let ranking = ranking(&scores, &positive);
        let in_order: Vec<u8> = ranking.order.iter().map(|&row| weights[row as usize] as u8).collect();
        assert_eq!(ranking.areas(&in_order), repeated.all());
    }

    #[test]
    fn without_rows_of_the_class_or_others() {
        let none = ranking(&[0.3, 0.5], &[false; 2]).all();
        assert!(none.roc_auc.is_nan() && none.average_precision == 0.0);
        let all = ranking(&[0.3, 0.5], &[true; 2]).all();
        assert!(all.roc_auc.is_nan() && all.average_precision == 1.0);
    }

    /// The slope of both areas as the weight of a row grows, against finite differences: weights of 1,000 and 1,001 for 1 and 1.001.
    #[test]
    fn influence_is_the_slope() {
        let scores: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 23)).collect();
        let positive: Vec<bool> = (0..40).map(|i| i * 5 % 7 < 3).collect();
        let base = ranking(&scores, &positive);
        let [auc, precision] = base.influence();
        for row in 0..40 {
            // each row 200 times, and this one once or twice more
            let moved = |by: u8| {
                let weights: Vec<u8> = base.order.iter().map(|&at| 200 + by * u8::from(at as usize == row)).collect();
                base.areas(&weights)
            };
            let (one, two) = (moved(0), moved(1));
            let slope = |a: f64, b: f64| (b - a) * 200.0 * 40.0;
            // the second derivative times a two-hundredth
            let close = |a: f64, b: f64| (a - b).abs() < 0.02 * (1.0 + b.abs());
            assert!(close(slope(one.roc_auc, two.roc_auc), auc[row]), "{row}");
            assert!(close(slope(one.average_precision, two.average_precision), precision[row]), "{row}");
        }
        assert!(auc.iter().sum::<f64>().abs() < 1e-9 && precision.iter().sum::<f64>().abs() < 1e-9);
    }
}
