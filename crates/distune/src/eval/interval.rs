//! Confidence intervals: Wilson's of a proportion, and the bootstrap's of everything else. Called by `metrics` and `resample`.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// The normal quantile of a two-sided 95 % interval.
pub const Z_95: f64 = 1.959963984540054;

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The score interval of a proportion (E. B. Wilson, Probable inference, the law of succession, and statistical
/// inference, JASA 22, 1927): all p with `(successes/n - p)^2 <= z^2 p (1 - p) / n`.
///
/// With `p = successes/n` it is `(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)`. No rows: 0 to 1.
pub fn wilson(successes: usize, n: usize, z: f64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let rows = n as f64;
    let p = successes as f64 / rows;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * rows);
    let half = z * (p * (1.0 - p) / rows + z2 / (4.0 * rows * rows)).sqrt();
    let scale = 1.0 + z2 / rows;
    // At both ends the formula gives exactly 0 and 1, but not its rounded sums.
    let low = if successes == 0 { 0.0 } else { (centre - half) / scale };
    let high = if successes == n { 1.0 } else { (centre + half) / scale };
    Interval { low, high }
}

/// What the influence of the single rows on a figure says about its distribution.
///
/// The influence of a row is the figure's slope as the row's weight grows, times the number of rows; its mean over the rows is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Influence {
    /// The figure's standard error: `sqrt(sum(u^2)) / n`.
    pub(super) standard_error: f64,
    /// `sum(u^3) / (6 sum(u^2)^1.5)`, the acceleration of [`Method::Bca`].
    pub(super) acceleration: f64,
}

impl Influence {
    /// From units that stand for so many rows each, and the influence of a row of each; nothing where no row has any.
    pub(super) fn of(units: &[(f64, f64)]) -> Option<Self> {
        let (rows, sum) = units.iter().fold((0.0, 0.0), |(n, sum), (rows, u)| (n + rows, sum + rows * u));
        let mean = sum / rows;
        let power = |k: i32| units.iter().map(|(rows, u)| rows * (u - mean).powi(k)).sum::<f64>();
        let square = power(2);
        let standard_error = square.sqrt() / rows;
        // what is left of the rounding of sums is no influence
        let some = standard_error > 1e-13;
        some.then(|| Self { standard_error, acceleration: power(3) / (6.0 * square.powf(1.5)) })
    }
}

/// How the 95 % interval of a figure is read from its values on resampled rows. Which one is a matter of coverage on simulated rows
/// (`examples/coverage.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Their quantiles at 2.5 and 97.5 %: for differences.
    Percentile,
    /// Bias-corrected and accelerated (B. Efron, Better bootstrap confidence intervals, JASA 82, 1987): their quantiles at
    /// `F(z0 + (z0 + z) / (1 - a (z0 + z)))` for both z, with F the normal distribution, z0 its quantile of the share of values
    /// below the figure (half of those equal to it count), and a the acceleration. For figures, which are often skewed.
    Bca,
}

impl Method {
    /// The interval from the values on resampled rows. Those that are not numbers are left out; none where that is more than half of
    /// them, or where all are equal: then the rows cannot tell how sure the figure is.
    pub(super) fn interval(self, figure: f64, mut values: Vec<f64>, influence: Influence) -> Option<Interval> {
        let all = values.len();
        values.retain(|value| value.is_finite());
        values.sort_unstable_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        if 2 * values.len() < all || last - first < 1e-12 {
            return None;
        }
        let normal = Normal::standard();
        let z0 = match self {
            Self::Percentile => 0.0,
            Self::Bca => normal.inverse_cdf(share_below(figure, &values)),
        };
        let end = |z: f64| {
            let (shifted, slope) = (z0 + z, 1.0 - influence.acceleration * (z0 + z));
            let at = match self {
                Self::Percentile => normal.cdf(z),
                Self::Bca if slope > 0.0 => normal.cdf(z0 + shifted / slope),
                Self::Bca => f64::from(shifted > 0.0),
            };
            quantile(&values, at)
        };
        Some(Interval { low: end(-Z_95), high: end(Z_95) })
    }

    /// What that tends to as rows become many: `figure + se (z + (z^2 - 1) a)` for both z, and for the accelerated interval
    /// `figure + se (z + (2 z^2 + 1) a)` (T. DiCiccio and B. Efron, Bootstrap confidence intervals, Statistical Science 11, 1996; the
    /// bias of the figure, of order 1/n, is left out).
    pub(super) fn limit(self, figure: f64, influence: Influence) -> Interval {
        let Influence { standard_error, acceleration } = influence;
        let end = |z: f64| {
            let skew = match self {
                Self::Percentile => z * z - 1.0,
                Self::Bca => 2.0 * z * z + 1.0,
            };
            figure + standard_error * (z + skew * acceleration)
        };
        Interval { low: end(-Z_95), high: end(Z_95) }
    }
}

/// The share of sorted values below a figure; half of those equal to it count. It is neither 0 nor 1.
fn share_below(figure: f64, sorted: &[f64]) -> f64 {
    // equal figures may differ in the rounding of sums
    let near = 1e-12 * (1.0 + figure.abs());
    let below = sorted.partition_point(|&value| value < figure - near);
    let not_above = sorted.partition_point(|&value| value <= figure + near);
    let count = sorted.len() as f64;
    ((below + not_above) as f64 / 2.0).clamp(0.5, count - 0.5) / count
}

/// The quantile of sorted values, between two of them linearly, as NumPy's.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * place.fract()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// (0, 10), (10, 10), (5, 10) are textbook values; the rest is table I, method 3, of Newcombe, Two-sided confidence
    /// intervals for the single proportion, Statistics in Medicine 17, 1998.
    #[test]
    fn wilson_gives_the_published_intervals() {
        let published = [
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (5, 10, 0.2366, 0.7634),
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ];
        for (successes, n, low, high) in published {
            let interval = wilson(successes, n, Z_95);
            // Half a unit of the last digit printed.
            assert!((interval.low - low).abs() <= 5e-5, "{successes}/{n}: {interval:?}");
            assert!((interval.high - high).abs() <= 5e-5, "{successes}/{n}: {interval:?}");
        }
        assert_eq!(wilson(0, 10, Z_95).low, 0.0);
        assert_eq!(wilson(10, 10, Z_95).high, 1.0);
        assert_eq!(wilson(0, 0, Z_95), Interval { low: 0.0, high: 1.0 });
    }

    /// Without bias and acceleration, BCa's ends are the plain quantiles: of -1000 to 1000, those at 2.5 and 97.5 %.
    #[test]
    fn bca_of_a_symmetric_distribution_is_its_quantiles() {
        let values: Vec<f64> = (-1000..=1000).map(f64::from).collect();
        let influence = Influence { standard_error: 1.0, acceleration: 0.0 };
        let interval = Method::Bca.interval(0.0, values.clone(), influence).unwrap();
        // the normal distribution of the statrs crate is exact to 11 digits
        assert!((interval.low + 950.0).abs() < 1e-6 && (interval.high - 950.0).abs() < 1e-6, "{interval:?}");
        let skewed = Method::Bca.interval(0.0, values.clone(), Influence { acceleration: 0.02, ..influence }).unwrap();
        assert!(skewed.low > interval.low && skewed.high > interval.high, "{skewed:?}");
        let plain = Method::Percentile.interval(500.0, values, Influence { acceleration: 0.02, ..influence }).unwrap();
        assert!((plain.low - interval.low).abs() < 1e-6 && (plain.high - interval.high).abs() < 1e-6, "{plain:?}");
    }

    #[test]
    fn no_interval_where_nothing_varies() {
        let influence = Influence { standard_error: 0.1, acceleration: 0.0 };
        let of = |values: &[f64]| Method::Bca.interval(1.0, values.to_vec(), influence);
        assert_eq!(of(&[1.0; 100]), None);
        assert!(of(&[f64::NAN, f64::NAN, 1.0, 0.5]).is_some());
        assert_eq!(of(&[f64::NAN, f64::NAN, f64::NAN, 1.0, 0.5]), None);
        assert!(Influence::of(&[(3.0, 0.0), (2.0, 0.0)]).is_none());
    }

    /// The mean of n exponential values: standard error 1/sqrt(n), acceleration 2/(6 sqrt(n)).
    #[test]
    fn influence_of_a_mean() {
        let n = 100_000;
        let values: Vec<_> = (0..n).map(|i| (1.0, -((f64::from(i) + 0.5) / f64::from(n)).ln())).collect();
        let influence = Influence::of(&values).unwrap();
        let root = f64::from(n).sqrt();
        // the values are quantiles: the tail beyond the last one is missing
        assert!((influence.standard_error * root - 1.0).abs() < 1e-3, "{influence:?}");
        assert!((influence.acceleration * root - 1.0 / 3.0).abs() < 3e-3, "{influence:?}");
        let interval = Method::Bca.limit(1.0, influence);
        assert!(interval.high - 1.0 > 1.0 - interval.low, "{interval:?}");
    }
}
