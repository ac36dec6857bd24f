//! How sure figures are: the bootstrap, which draws rows anew, with replacement, and looks how much each figure varies. Called by
//! the command line for a model's figures, and by `compare` for the differences of models on the same rows.
//!
//! - What counts predictions depends on the rows only through how many there are of each cell: the same labels and the same
//!   predictions of all models. The cells of a resample are drawn as a multinomial, which is what drawing rows gives.
//! - Losses are means of what each row contributes, and areas under curves depend on how often each row was drawn and on the
//!   order of the scores, which stays: rows are drawn, sorted once before.
//! - Where a resample would take more than [`MOST_DRAWS`] draws, none is made: the figure is then so nearly a mean over many rows
//!   that the interval to which the bootstrap tends is known ([`Method::limit`]).
//!
//! Each resample has a generator of its own, so results do not depend on the number of threads.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cells::Cells;
use super::interval::{Influence, Interval, Method};
use super::rows::families;
use super::{Metric, Metrics, Predictions, ProbabilityMetrics};
use crate::Result;
use crate::data::Answers;

/// Draws of a resample, at most: rows, times the classes that are ranked.
pub(super) const MOST_DRAWS: usize = 100_000;

/// How rows are resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// How often.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 42 }
    }
}

/// A single number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Which number.
    pub metric: Metric,
    /// Its value on the rows.
    pub value: f64,
    /// Wilson's interval for the accuracy, otherwise the bias-corrected and accelerated one of the bootstrap. None where the rows cannot
    /// tell, as when all are right, and none for the calibration error: its own bias is as large as it is (see
    /// [`super::ProbabilityMetrics::expected_calibration_error_chance`]).
    pub interval: Option<Interval>,
}

/// Every single number of some predictions that is defined, with its interval.
///
/// # Errors
/// As [`Metrics::new`].
pub fn estimates(
    truth: &Answers,
    predictions: &Predictions,
    names: &[String],
    bootstrap: Bootstrap,
) -> Result<Vec<Estimate>> {
    let resamples = Resamples::new(truth, &[predictions], names, bootstrap)?;
    let metrics = Metrics::new(truth, &predictions.answers, names)?;
    let probabilities = ProbabilityMetrics::new(truth, predictions, names)?;
    let value = |metric| metrics.value(metric).or_else(|| probabilities.as_ref()?.value(metric));
    let estimate = |metric| {
        let interval = match metric {
            Metric::Accuracy => Some(metrics.interval),
            _ => resamples.interval(metric, &[1.0]),
        };
        Some(Estimate { metric, value: value(metric)?, interval })
    };
    Ok(Metric::all().filter_map(estimate).collect())
}

/// The figures of M models on the same rows, and on resamples of these.
pub(super) struct Resamples {
    models: usize,
    families: Vec<Family>,
}

/// Figures that are resampled together. Those of a metric are M neighbours.
pub(super) struct Family {
    pub(super) metrics: Vec<Metric>,
    /// `[F, M]` on the rows themselves.
    pub(super) values: Vec<f64>,
    /// `[R][F, M]` on resamples; empty where none were drawn.
    pub(super) resampled: Vec<Vec<f64>>,
    /// `[U]` rows that each unit (a row, a cell) stands for.
    pub(super) units: Vec<f64>,
    /// `[F, M][U]` the influence of a row of each unit.
    pub(super) influence: Vec<Vec<f64>>,
}

impl Resamples {
    /// # Errors
    /// As [`Metrics::new`], for each model.
    pub(super) fn new(
        truth: &Answers,
        models: &[&Predictions],
        names: &[String],
        bootstrap: Bootstrap,
    ) -> Result<Self> {
        models.iter().try_for_each(|model| model.check(truth, names))?;
        let mut all = vec![Cells::new(truth, models, names.len()).family(bootstrap)];
        let probabilities: Option<Vec<&[f64]>> = models.iter().map(|model| model.probabilities.as_deref()).collect();
        if let Some(probabilities) = probabilities {
            all.extend(families(truth, &probabilities, names.len(), bootstrap));
        }
        Ok(Self { models: models.len(), families: all })
    }

    /// The family of a metric, and its first column there.
    fn find(&self, metric: Metric) -> Option<(&Family, usize)> {
        let place = |family: &Family| family.metrics.iter().position(|known| *known == metric);
        self.families.iter().find_map(|family| Some((family, place(family)? * self.models)))
    }

    /// The figure of each model, `[M]`; not a number where it is not defined.
    pub(super) fn values(&self, metric: Metric) -> Option<&[f64]> {
        let (family, first) = self.find(metric)?;
        family.values.get(first..first + self.models)
    }

    /// The value of `sum(weights[m] * figure of model m)`, `[M]`, and its interval; nothing where a figure is not defined.
    pub(super) fn combined(&self, metric: Metric, weights: &[f64], method: Method) -> Option<(f64, Option<Interval>)> {
        let (family, first) = self.find(metric)?;
        let combine = |column: &dyn Fn(usize) -> f64| -> f64 {
            (first..).zip(weights).map(|(place, weight)| weight * column(place)).sum()
        };
        let value = combine(&|column| family.values[column]);
        if !value.is_finite() {
            return None;
        }
        let of_unit = |(unit, rows): (usize, &f64)| (*rows, combine(&|column| family.influence[column][unit]));
        let influence: Vec<(f64, f64)> = family.units.iter().enumerate().map(of_unit).collect();
        let interval = Influence::of(&influence).and_then(|influence| match family.resampled.is_empty() {
            true => Some(method.limit(value, influence)),
            false => {
                let values = family.resampled.iter().map(|values| combine(&|column| values[column]));
                method.interval(value, values.collect(), influence)
            }
        });
        Some((value, interval))
    }

    /// The interval of a mean of the models' figures.
    pub(super) fn interval(&self, metric: Metric, weights: &[f64]) -> Option<Interval> {
        self.combined(metric, weights, Method::Bca)?.1
    }
}

impl Bootstrap {
    /// Runs `resample` once for each resample, with the generator of each and with a place to work that `scratch` makes.
    pub(super) fn run<S>(
        self,
        scratch: impl Fn() -> S + Sync + Send,
        resample: impl Fn(&mut S, &mut Xoshiro256PlusPlus) -> Vec<f64> + Sync + Send,
    ) -> Vec<Vec<f64>> {
        let first = Xoshiro256PlusPlus::seed_from_u64(self.seed).next_u64();
        let one = |scratch: &mut S, number: usize| {
            resample(scratch, &mut Xoshiro256PlusPlus::seed_from_u64(first.wrapping_add(number as u64)))
        };
        (0..self.resamples).into_par_iter().map_init(scratch, one).collect()
    }
}

/// Draws as many rows as there are. Two to a random number of 64 bits: each row's probability is within 1e-5 of the same.
pub(super) fn draw(random: &mut Xoshiro256PlusPlus, rows: usize, mut take: impl FnMut(usize)) {
    let row = |bits: u64| ((bits * rows as u64) >> 32) as usize;
    for _ in 0..rows / 2 {
        let bits = random.next_u64();
        take(row(bits >> 32));
        take(row(bits & 0xffff_ffff));
    }
    if rows % 2 == 1 {
        take(row(random.next_u64() >> 32));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::ProblemType;

    /// Rows of `classes` classes whose probabilities tell them more often than not, different ones for each seed.
    fn drawn(rows: usize, classes: usize, seed: u64) -> (Answers, Predictions, Vec<String>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut predictions = Predictions::none(ProblemType::SingleLabel);
        let truth: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
        for &truth in &truth {
            let scores: Vec<f64> =
                (0..classes as u32).map(|id| uniform() + if id == truth { 0.5 } else { 0.1 }).collect();
            let sum: f64 = scores.iter().sum();
            predictions.push(&scores.iter().map(|score| score / sum).collect::<Vec<_>>());
        }
        (Answers::One(truth), predictions, (0..classes).map(|id| id.to_string()).collect())
    }

    #[test]
    fn the_same_at_any_number_of_threads() {
        for classes in [2, 3] {
            let (truth, predictions, names) = drawn(300, classes, 1);
            let with = |threads: usize, seed: u64| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let bootstrap = Bootstrap { resamples: 500, seed };
                pool.install(|| estimates(&truth, &predictions, &names, bootstrap).unwrap())
            };
            let one = with(1, 1);
            assert_eq!(one, with(3, 1));
            assert_ne!(one, with(1, 2));
            assert!(one.iter().filter(|estimate| estimate.interval.is_some()).count() > 15);
        }
    }

    /// The cells of a resample, drawn as a multinomial and row by row: the same means and variances, those of a multinomial.
    #[test]
    fn drawing_cells_is_drawing_rows() {
        let (truth, predictions, names) = drawn(60, 2, 2);
        let cells = Cells::new(&truth, &[&predictions], names.len());
        let resamples = 20_000.0;
        let bootstrap = Bootstrap { resamples: resamples as usize, seed: 3 };
        for by_cell in [true, false] {
            let drawn = bootstrap.run(
                || vec![0.0; cells.len()],
                |drawn, random| {
                    cells.draw(by_cell, random, drawn);
                    drawn.clone()
                },
            );
            for (cell, rows) in cells.rows().enumerate() {
                let share = rows / 60.0;
                let mean = drawn.iter().map(|drawn| drawn[cell]).sum::<f64>() / resamples;
                let variance = drawn.iter().map(|drawn| (drawn[cell] - rows).powi(2)).sum::<f64>() / resamples;
                let expected = 60.0 * share * (1.0 - share);
                // four standard errors; that of a variance is about sqrt(2 / resamples) of it
                assert!((mean - rows).abs() < 4.0 * (expected / resamples).sqrt(), "{by_cell} {mean} {rows}");
                assert!((variance / expected - 1.0).abs() < 4.0 * (2.0 / resamples).sqrt(), "{by_cell} {variance}");
                assert!(drawn.iter().all(|drawn| drawn.iter().sum::<f64>() == 60.0));
            }
        }
    }

    /// Of many rows, the interval without resamples is that with them.
    #[test]
    fn the_limit_is_where_the_bootstrap_tends_to() {
        for classes in [2, 4] {
            let (truth, predictions, names) = drawn(8000, classes, 4);
            let bootstrap = Bootstrap { resamples: 20_000, seed: 5 };
            let mut resamples = Resamples::new(&truth, &[&predictions], &names, bootstrap).unwrap();
            let metrics: Vec<Metric> = resamples.families.iter().flat_map(|family| family.metrics.clone()).collect();
            let of = |resamples: &Resamples| -> Vec<Option<Interval>> {
                metrics.iter().map(|metric| resamples.interval(*metric, &[1.0])).collect()
            };
            assert!(resamples.families.iter().all(|family| !family.resampled.is_empty()));
            let with = of(&resamples);
            resamples.families.iter_mut().for_each(|family| family.resampled.clear());
            for ((metric, with), without) in metrics.iter().zip(with).zip(of(&resamples)) {
                let (with, without) = (with.unwrap(), without.unwrap());
                let width = with.high - with.low;
                // the ends of 20,000 resamples are within 2 % of the width, and the figures are not quite means
                let close = |a: f64, b: f64| (a - b).abs() < 0.04 * width;
                assert!(
                    close(with.low, without.low) && close(with.high, without.high),
                    "{metric:?} {with:?} {without:?}"
                );
            }
        }
    }

    #[test]
    fn no_interval_where_the_rows_cannot_tell() {
        let truth = Answers::One(vec![0, 1, 0, 1]);
        let right =
            Predictions { answers: truth.clone(), probabilities: Some([[0.9, 0.1], [0.2, 0.8]].concat().repeat(2)) };
        let names = ["a".to_owned(), "b".to_owned()];
        let all = estimates(&truth, &right, &names, Bootstrap { resamples: 200, seed: 1 }).unwrap();
        let of = |metric| all.iter().find(|estimate| estimate.metric == metric).unwrap();
        assert_eq!((of(Metric::MacroF1).value, of(Metric::MacroF1).interval), (1.0, None));
        assert_eq!((of(Metric::RocAuc).value, of(Metric::RocAuc).interval), (1.0, None));
        assert!(of(Metric::LogLoss).interval.is_some());
        // Wilson's interval is never empty
        assert!(of(Metric::Accuracy).interval.unwrap().low < 0.6);
    }
}
