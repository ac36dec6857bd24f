//! How often a 95 % interval holds the truth, on rows drawn from a known distribution. `cargo run --release --example coverage -p
//! distune` tells it for more sizes and distributions, with those where no interval is good.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use distune::eval::{Bootstrap, Finding, Group, Metric, ProbabilityMetrics, compare, estimates};

#[path = "support/simulation.rs"]
#[allow(unreachable_pub, dead_code)]
mod simulation;
use simulation::{Scenario, names};

const ROWS: usize = 300;
/// The standard error of a coverage of 95 % is 0.7 points; the seeds are fixed.
const SIMULATIONS: usize = 1000;
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 1000, seed: 7 };

#[test]
fn intervals_of_figures() {
    for scenario in [Scenario::ALL[0], Scenario::ALL[2]] {
        let truth = scenario.figures(1_000_000);
        let mut covered = BTreeMap::<Metric, usize>::new();
        for seed in 1..=SIMULATIONS as u64 {
            let (answers, predictions) = scenario.draw(ROWS, 1, seed);
            for estimate in estimates(&answers, &predictions[0], &names(), BOOTSTRAP).unwrap() {
                let holds =
                    |i: distune::eval::Interval| i.low <= truth[&estimate.metric] && truth[&estimate.metric] <= i.high;
                *covered.entry(estimate.metric).or_default() += usize::from(estimate.interval.is_some_and(holds));
            }
        }
        // it has no interval, because none is any good
        assert_eq!(covered.remove(&Metric::ExpectedCalibrationError), Some(0));
        assert!(covered.len() > 15);
        for (metric, count) in covered {
            let percent = 100.0 * count as f64 / SIMULATIONS as f64;
            assert!((93.0..=97.0).contains(&percent), "{}: {metric:?} {percent} %", scenario.name);
        }
    }
}

/// Of two models that are equally good, the difference is 0; chance is called more than chance in 5 % of the comparisons at most.
#[test]
fn intervals_of_differences_and_verdicts() {
    let scenario = Scenario::ALL[0];
    let (mut covered, mut alarms) = (BTreeMap::<Metric, usize>::new(), 0);
    for seed in 1..=SIMULATIONS as u64 {
        let (answers, predictions) = scenario.draw(ROWS, 2, seed);
        let groups = [0, 1].map(|model| Group { name: model.to_string(), runs: vec![&predictions[model]] });
        let comparison = compare(&answers, &groups, &names(), None, BOOTSTRAP).unwrap();
        let pair = &comparison.pairs[0];
        alarms += usize::from(pair.finding != Finding::Chance);
        for difference in &pair.differences {
            let holds = |i: distune::eval::Interval| i.low <= 0.0 && 0.0 <= i.high;
            *covered.entry(difference.metric).or_default() += usize::from(difference.interval.is_none_or(holds));
        }
    }
    covered.remove(&Metric::ExpectedCalibrationError);
    for (metric, count) in covered {
        let percent = 100.0 * count as f64 / SIMULATIONS as f64;
        assert!((93.0..=97.0).contains(&percent), "{metric:?} {percent} %");
    }
    let percent = 100.0 * alarms as f64 / SIMULATIONS as f64;
    // McNemar's exact test keeps below its 5 %, and far below of few rows
    assert!((0.5..=5.5).contains(&percent), "{percent} % false alarms");
}

/// The calibration error of a perfectly calibrated model stays below what is told for chance in about 95 of 100 cases.
#[test]
fn calibration_error_by_chance() {
    let below = (1..=2000).filter(|&seed| {
        let (answers, predictions) = Scenario::ALL[1].draw(ROWS, 1, seed);
        let figures = ProbabilityMetrics::new(&answers, &predictions[0], &names()).unwrap().unwrap();
        let error = figures.value(Metric::ExpectedCalibrationError).unwrap();
        assert!(error > 0.0);
        error < figures.expected_calibration_error_chance
    });
    let percent = below.count() as f64 / 20.0;
    // the error is a sum of a few half-normal parts, not quite normal itself
    assert!((92.5..=97.5).contains(&percent), "{percent} %");
}
