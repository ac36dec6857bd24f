//! How often what is said with some probability is true. Called by `probabilities`, which makes one number of it, and by who draws it.

use serde::{Deserialize, Serialize};

use super::{Interval, Predictions, Z_95, wilson};
use crate::Result;
use crate::data::Answers;
use crate::model::ProblemType;
use crate::predict::predicted;

/// Bins of the calibration error.
pub const BINS: usize = 15;

/// The decisions whose probability is in one bin. A decision is a row with its most probable class, or with several labels a row, a
/// row and a label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Its probabilities are above this one (the first bin's also equal to it).
    pub low: f64,
    /// None is above this one.
    pub high: f64,
    /// Decisions in it.
    pub decisions: usize,
    /// Their mean probability.
    pub confidence: f64,
    /// The share of them that is true.
    pub accuracy: f64,
    /// 95 % interval of that share ([`wilson`]).
    pub interval: Interval,
}

/// The reliability diagram: those of `bins` bins of equal width that hold decisions. The mean distance of `confidence` and `accuracy`
/// by decisions is, of [`BINS`] bins, the expected calibration error. Nothing without probabilities.
///
/// # Errors
/// As [`super::ProbabilityMetrics::new`].
pub fn reliability(
    truth: &Answers,
    predictions: &Predictions,
    names: &[String],
    bins: usize,
) -> Result<Option<Vec<ReliabilityBin>>> {
    predictions.check(truth, names)?;
    let Some(probabilities) = &predictions.probabilities else { return Ok(None) };
    let bins = bins.max(1);
    let mut found = vec![(0, 0.0, 0); bins];
    decisions(truth, probabilities, names.len(), |p, is_true| {
        let (decisions, sum, right) = &mut found[bin(p, bins)];
        *decisions += 1;
        *sum += p;
        *right += usize::from(is_true);
    });
    let bin = |(place, (decisions, sum, right)): (usize, (usize, f64, usize))| ReliabilityBin {
        low: place as f64 / bins as f64,
        high: (place + 1) as f64 / bins as f64,
        decisions,
        confidence: sum / decisions as f64,
        accuracy: right as f64 / decisions as f64,
        interval: wilson(right, decisions, Z_95),
    };
    Ok(Some(found.into_iter().enumerate().filter(|(_, (decisions, ..))| *decisions > 0).map(bin).collect()))
}

/// Hands over the probability of each decision and whether it is true.
pub(super) fn decisions(truth: &Answers, probabilities: &[f64], classes: usize, mut decide: impl FnMut(f64, bool)) {
    for (row, probabilities) in probabilities.chunks_exact(classes).enumerate() {
        let truth_ids = truth.row(row);
        match truth {
            Answers::One(_) => {
                let best = predicted(probabilities, ProblemType::SingleLabel);
                best.iter().for_each(|&id| decide(probabilities[id as usize], truth_ids.contains(&id)));
            }
            Answers::Several(_) => {
                (0..).zip(probabilities).for_each(|(id, &p)| decide(p, truth_ids.contains(&id)));
            }
        }
    }
}

/// The bin of a probability: the b-th of n holds `((b - 1)/n, b/n]`.
pub(super) fn bin(p: f64, bins: usize) -> usize {
    (1..bins).filter(|&edge| p > edge as f64 / bins as f64).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Metric, ProbabilityMetrics};
    use super::*;

    fn names(classes: usize) -> Vec<String> {
        (0..classes).map(|id| id.to_string()).collect()
    }

    #[test]
    fn bins_hold_their_upper_edge() {
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        for p in [0.6, 0.7, 0.75, 0.8, 1.0] {
            predictions.push(&[p, 1.0 - p]);
        }
        let truth = Answers::One(vec![0, 1, 0, 0, 0]);
        let bins = reliability(&truth, &predictions, &names(2), 5).unwrap().unwrap();
        let seen: Vec<_> = bins.iter().map(|bin| (bin.low, bin.high, bin.decisions)).collect();
        assert_eq!(seen, [(0.4, 0.6, 1), (0.6, 0.8, 3), (0.8, 1.0, 1)]);
        assert!((bins[1].confidence - 0.75).abs() < 1e-12 && (bins[1].accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(bins[1].interval, wilson(2, 3, Z_95));
    }

    #[test]
    fn their_mean_distance_is_the_calibration_error() {
        for problem in [ProblemType::SingleLabel, ProblemType::MultiLabel] {
            let (mut predictions, mut truth) = (Predictions::none(problem), Answers::none(problem));
            for row in 0..200_u32 {
                let p = f64::from(row * 37 % 101) / 101.0;
                predictions.push(&[p, (1.0 - p) * 0.75, (1.0 - p) * 0.25]);
                truth.push(vec![row * 7 % 3]);
            }
            let bins = reliability(&truth, &predictions, &names(3), BINS).unwrap().unwrap();
            let decisions: usize = bins.iter().map(|bin| bin.decisions).sum();
            assert_eq!(decisions, if problem == ProblemType::SingleLabel { 200 } else { 600 });
            let gap = |bin: &ReliabilityBin| bin.decisions as f64 * (bin.confidence - bin.accuracy).abs();
            let error = bins.iter().map(gap).sum::<f64>() / decisions as f64;
            let metrics = ProbabilityMetrics::new(&truth, &predictions, &names(3)).unwrap().unwrap();
            // sums of 600 terms in another order
            assert!((error - metrics.value(Metric::ExpectedCalibrationError).unwrap()).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_without_probabilities() {
        let labels = Predictions { answers: Answers::One(vec![0]), probabilities: None };
        assert_eq!(reliability(&Answers::One(vec![0]), &labels, &names(2), BINS).unwrap(), None);
    }
}
