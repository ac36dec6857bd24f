//! Temperature scaling: one number by which all logits are divided, so that probabilities are neither too sure nor too unsure
//! (C. Guo et al., On calibration of modern neural networks, ICML 2017). It changes no prediction.

use rayon::prelude::*;

use crate::data::Answers;
use crate::eval::Predictions;
use crate::model::ProblemType;
use crate::predict::{sigmoid, softmax};

/// The lowest temperature that is fitted.
pub const LOWEST: f64 = 0.01;
/// The highest one.
pub const HIGHEST: f64 = 100.0;
/// Rows whose sums are made together, so that sums do not depend on the number of threads.
const CHUNK: usize = 1024;

impl Predictions {
    /// The same with each logit divided by a temperature; labels stay.
    #[must_use]
    pub fn with_temperature(&self, classes: usize, temperature: f64) -> Self {
        let problem = self.answers.problem();
        let rows = self.probabilities.as_ref().map(|all| all.chunks_exact(classes.max(1)));
        let probabilities = rows.map(|rows| rows.flat_map(|row| with_temperature(row, problem, temperature)).collect());
        Self { answers: self.answers.clone(), probabilities }
    }
}

/// The probabilities of a row with each logit divided by a temperature.
pub fn with_temperature(probabilities: &[f64], problem: ProblemType, temperature: f64) -> Vec<f64> {
    if temperature == 1.0 {
        return probabilities.to_vec();
    }
    let mut scaled: Vec<f64> = probabilities.iter().map(|&p| logit(p, problem) / temperature).collect();
    match problem {
        ProblemType::SingleLabel => {
            softmax(&mut scaled);
        }
        ProblemType::MultiLabel => scaled.iter_mut().for_each(|z| *z = sigmoid(*z)),
    }
    scaled
}

/// The temperature of the least mean log loss, from [`LOWEST`] to [`HIGHEST`].
///
/// The loss is convex in `b = 1/T`, and its slope is the mean of `sum_c p_c z_c - z_true`, with the logits z and the probabilities p
/// of `b z`; its root is found by Newton's method, kept between two ends of unlike sign. Where all rows are right, the loss only falls as the temperature
/// does: the rows then tell nothing of how often the model errs, and the temperature is 1. Without probabilities it is 1 too.
pub fn fit_temperature(truth: &Answers, predictions: &Predictions, classes: usize) -> f64 {
    let Some(probabilities) = &predictions.probabilities else { return 1.0 };
    let problem = truth.problem();
    let logits: Vec<f64> = probabilities.iter().map(|&p| logit(p, problem)).collect();
    if (0..truth.len()).all(|row| is_right(truth.row(row), &logits[row * classes..][..classes], problem)) {
        return 1.0;
    }
    let slope = |b: f64| {
        let chunk = |(first, logits): (usize, &[f64])| {
            let rows = logits.chunks_exact(classes).zip(first * CHUNK..);
            let slopes = rows.map(|(logits, row)| row_slope(truth.row(row), logits, problem, b));
            slopes.fold([0.0; 2], |sum, slope| [sum[0] + slope[0], sum[1] + slope[1]])
        };
        let chunks: Vec<[f64; 2]> = logits.par_chunks(CHUNK * classes).enumerate().map(chunk).collect();
        chunks.into_iter().fold([0.0; 2], |sum, chunk| [sum[0] + chunk[0], sum[1] + chunk[1]])
    };
    1.0 / root(slope, 1.0 / HIGHEST, 1.0 / LOWEST)
}

/// Where an increasing function is 0, or the end nearest to it; `of` gives its value and its slope.
fn root(of: impl Fn(f64) -> [f64; 2], mut low: f64, mut high: f64) -> f64 {
    if of(low)[0] >= 0.0 {
        return low;
    }
    if of(high)[0] <= 0.0 {
        return high;
    }
    let mut at: f64 = 1.0;
    // Newton's method needs a few steps, halving alone about 50
    for _ in 0..100 {
        let [value, slope] = of(at);
        if value < 0.0 {
            low = at
        } else {
            high = at
        }
        let newton = at - value / slope;
        let next = if newton > low && newton < high { newton } else { (low + high) / 2.0 };
        if (next - at).abs() <= 1e-12 * at {
            return next;
        }
        at = next;
    }
    at
}

/// Whether a row's labels are the most probable ones at every temperature.
fn is_right(truth: &[u32], logits: &[f64], problem: ProblemType) -> bool {
    match problem {
        ProblemType::SingleLabel => {
            let of_truth = truth.first().map_or(f64::NAN, |&id| logits[id as usize]);
            logits.iter().all(|&logit| logit <= of_truth)
        }
        ProblemType::MultiLabel => (0..).zip(logits).all(|(id, &logit)| (logit >= 0.0) == truth.contains(&id)),
    }
}

/// The first and second derivative of a row's log loss.
fn row_slope(truth: &[u32], logits: &[f64], problem: ProblemType, b: f64) -> [f64; 2] {
    match problem {
        ProblemType::SingleLabel => {
            let mut p: Vec<f64> = logits.iter().map(|z| b * z).collect();
            softmax(&mut p);
            let weighted = p.into_iter().zip(logits);
            let (mean, square) = weighted.fold((0.0, 0.0), |(m, s), (p, z)| (m + p * z, s + p * z * z));
            let of_truth: f64 = truth.iter().map(|&id| logits[id as usize]).sum();
            [mean - of_truth, square - mean * mean]
        }
        ProblemType::MultiLabel => (0..).zip(logits).fold([0.0; 2], |sum, (id, &z)| {
            let p = sigmoid(b * z);
            let holds = f64::from(truth.contains(&id));
            [sum[0] + (p - holds) * z, sum[1] + p * (1.0 - p) * z * z]
        }),
    }
}

/// A logit of the probability, or of a row of probabilities, up to what all logits of a row may have in common.
fn logit(p: f64, problem: ProblemType) -> f64 {
    match problem {
        ProblemType::SingleLabel => p.max(f64::MIN_POSITIVE).ln(),
        ProblemType::MultiLabel => {
            let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            (p / (1.0 - p)).ln()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(rows: &[&[f64]], problem: ProblemType) -> Predictions {
        let mut predictions = Predictions::none(problem);
        rows.iter().for_each(|row| predictions.push(row));
        predictions
    }

    /// Three of four rows with the probability 0.9 are right, which is what 0.75 says: `ln 9 / T = ln 3`, so T is 2.
    #[test]
    fn too_sure() {
        let predictions = of(&[&[0.9, 0.1], &[0.9, 0.1], &[0.1, 0.9], &[0.1, 0.9]], ProblemType::SingleLabel);
        let truth = Answers::One(vec![0, 0, 1, 0]);
        let temperature = fit_temperature(&truth, &predictions, 2);
        assert!((temperature - 2.0).abs() < 1e-9, "{temperature}");
        let after = predictions.with_temperature(2, temperature);
        assert_eq!(after.answers, predictions.answers);
        let close = |(a, b): (&f64, f64)| (a - b).abs() < 1e-9;
        assert!(after.probabilities.unwrap().iter().zip([0.75, 0.25, 0.75, 0.25, 0.25, 0.75, 0.25, 0.75]).all(close));
    }

    /// The same with labels of which each is a decision.
    #[test]
    fn several_labels() {
        let predictions = of(&[&[0.9, 0.1], &[0.9, 0.9]], ProblemType::MultiLabel);
        let truth = Answers::Several(vec![vec![0, 1], vec![0, 1]]);
        assert!((fit_temperature(&truth, &predictions, 2) - 2.0).abs() < 1e-9);
        let after = with_temperature(&[0.9, 0.1], ProblemType::MultiLabel, 2.0);
        assert!((after[0] - 0.75).abs() < 1e-12 && (after[1] - 0.25).abs() < 1e-12);
    }

    #[test]
    fn ends() {
        let rows = of(&[&[0.9, 0.1], &[0.6, 0.4]], ProblemType::SingleLabel);
        // all right: nothing is known of errors
        assert_eq!(fit_temperature(&Answers::One(vec![0, 0]), &rows, 2), 1.0);
        assert_eq!(fit_temperature(&Answers::One(vec![0]), &of(&[&[0.9, 0.1]], ProblemType::SingleLabel), 2), 1.0);
        // all wrong: the less is said the better
        assert_eq!(fit_temperature(&Answers::One(vec![1, 1]), &rows, 2), HIGHEST);
        // nearly all right and far too modest
        let mut modest = vec![&[0.51, 0.49][..]; 1000];
        modest.push(&[0.5001, 0.4999]);
        let mut truth = vec![0; 1000];
        truth.push(1);
        let lowest = fit_temperature(&Answers::One(truth), &of(&modest, ProblemType::SingleLabel), 2);
        assert!((lowest - LOWEST).abs() < 1e-12, "{lowest}");
        // probabilities of 0 and 1
        let certain = of(&[&[1.0, 0.0], &[0.0, 1.0], &[1.0, 0.0]], ProblemType::SingleLabel);
        let temperature = fit_temperature(&Answers::One(vec![0, 1, 1]), &certain, 2);
        assert_eq!(temperature, HIGHEST);
        let labels = Predictions { answers: Answers::One(vec![0]), probabilities: None };
        assert_eq!(fit_temperature(&Answers::One(vec![1]), &labels, 2), 1.0);
    }
}
