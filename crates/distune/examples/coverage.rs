//! How often a 95 % interval holds the truth: `cargo run --release --example coverage -p distune -- [SIMULATIONS]`.
//!
//! Rows and predictions are drawn from known distributions, so the truth is known: a million rows tell it. For each figure the table
//! has the percentage of simulations whose interval holds it: the plain percentile interval, made here in the plainest way (draw rows,
//! count everything anew, take the quantiles), and distune's own. Below, the same of the differences of two models that are equally
//! good, and how often `compare` says that one is better by more than chance.

#[path = "../tests/support/simulation.rs"]
#[allow(unreachable_pub, dead_code, missing_docs, clippy::unwrap_used)]
mod simulation;

use std::collections::BTreeMap;

use distune::data::Answers;
use distune::eval::{Bootstrap, Finding, Group, Interval, Metric, Predictions, compare, estimates};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use simulation::{Scenario, figures, names};

const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 1000, seed: 7 };
const SHOWN: [Metric; 10] = [
    Metric::Accuracy,
    Metric::F1,
    Metric::MacroF1,
    Metric::BalancedAccuracy,
    Metric::MatthewsCorrcoef,
    Metric::LogLoss,
    Metric::BrierScoreLoss,
    Metric::RocAuc,
    Metric::AveragePrecision,
    Metric::ExpectedCalibrationError,
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let simulations: u64 = std::env::args().nth(1).as_deref().unwrap_or("1000").parse()?;
    println!("{simulations} simulations; coverage in %: percentile, distune\n");
    let head = |first: &str| {
        let titles: Vec<&str> = SHOWN.iter().map(|metric| metric.title()).collect();
        println!("| {first} | rows | {} |\n|---|---|{}", titles.join(" | "), "---|".repeat(SHOWN.len()));
    };
    head("figures");
    for scenario in Scenario::ALL {
        let truth = scenario.figures(1_000_000);
        for rows in [100, 400] {
            let both = (1..=simulations).into_par_iter().map(|seed| of_figures(scenario, rows, seed));
            let both: Vec<[Intervals; 2]> = both.collect();
            println!("| {} | {rows} |{}", scenario.name, cells(&both, |metric| truth[&metric]));
        }
    }
    println!();
    head("differences");
    let mut alarms = Vec::new();
    for scenario in Scenario::ALL.into_iter().filter(|scenario| scenario.noise > 0.0) {
        for rows in [100, 400] {
            let both = (1..=simulations).into_par_iter().map(|seed| of_differences(scenario, rows, seed));
            let (both, called): (Vec<[Intervals; 2]>, Vec<bool>) = both.unzip();
            println!("| {} | {rows} |{}", scenario.name, cells(&both, |_| 0.0));
            let called = called.into_iter().filter(|called| *called).count();
            alarms.push(format!("{}, {rows} rows: {:.1} %", scenario.name, 100.0 * called as f64 / simulations as f64));
        }
    }
    println!("\nMore than chance is found, where there is nothing but chance, in\n{}", alarms.join("\n"));
    Ok(())
}

type Intervals = BTreeMap<Metric, Option<Interval>>;

/// "94.1, 95.2" for each figure.
fn cells(both: &[[Intervals; 2]], truth: impl Fn(Metric) -> f64) -> String {
    let percent = |metric: Metric, which: usize| {
        let holds = |i: &Interval| i.low <= truth(metric) && truth(metric) <= i.high;
        let told: Vec<&Interval> = both.iter().filter_map(|both| both[which].get(&metric)?.as_ref()).collect();
        let held = told.iter().filter(|interval| holds(interval)).count();
        if told.is_empty() { "-".to_owned() } else { format!("{:.1}", 100.0 * held as f64 / both.len() as f64) }
    };
    SHOWN.iter().map(|&metric| format!(" {}, {} |", percent(metric, 0), percent(metric, 1))).collect()
}

fn of_figures(scenario: Scenario, rows: usize, seed: u64) -> [Intervals; 2] {
    let (truth, predictions) = scenario.draw(rows, 1, seed);
    let ours = estimates(&truth, &predictions[0], &names(), BOOTSTRAP).unwrap_or_default();
    let ours = ours.into_iter().map(|estimate| (estimate.metric, estimate.interval)).collect();
    [percentile(&truth, seed, |truth, picked| figures(truth, &picked(&predictions[0]))), ours]
}

fn of_differences(scenario: Scenario, rows: usize, seed: u64) -> ([Intervals; 2], bool) {
    let (truth, predictions) = scenario.draw(rows, 2, seed);
    let groups = [0, 1].map(|model| Group { name: model.to_string(), runs: vec![&predictions[model]] });
    let (mut ours, mut called) = (Intervals::new(), false);
    if let Ok(comparison) = compare(&truth, &groups, &names(), None, BOOTSTRAP) {
        let pair = &comparison.pairs[0];
        ours = pair.differences.iter().map(|difference| (difference.metric, difference.interval)).collect();
        called = pair.finding != Finding::Chance;
    }
    let plain = percentile(&truth, seed, |truth, picked| {
        let [a, b] = [0, 1].map(|model| figures(truth, &picked(&predictions[model])));
        b.into_iter().filter_map(|(metric, b)| Some((metric, b - a.get(&metric)?))).collect()
    });
    ([plain, ours], called)
}

/// The plain percentile interval of all figures, from 200 resamples.
fn percentile(
    truth: &Answers,
    seed: u64,
    figures: impl Fn(&Answers, &dyn Fn(&Predictions) -> Predictions) -> BTreeMap<Metric, f64>,
) -> Intervals {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values = BTreeMap::<Metric, Vec<f64>>::new();
    for _ in 0..200 {
        let rows: Vec<usize> = (0..truth.len()).map(|_| random.random_range(0..truth.len())).collect();
        let pick = |answers: &Answers| match answers {
            Answers::One(all) => Answers::One(rows.iter().map(|&row| all[row]).collect()),
            Answers::Several(all) => Answers::Several(rows.iter().map(|&row| all[row].clone()).collect()),
        };
        let picked = |predictions: &Predictions| Predictions {
            answers: pick(&predictions.answers),
            probabilities: predictions
                .probabilities
                .as_ref()
                .map(|all| rows.iter().flat_map(|row| [all[2 * row], all[2 * row + 1]]).collect()),
        };
        for (metric, value) in figures(&pick(truth), &picked) {
            values.entry(metric).or_default().push(value);
        }
    }
    let interval = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        // the mean of the 5th and 6th of 200 is their quantile at 2.5 %
        let at = |place: usize| (values[place - 1] + values[place]) / 2.0;
        (values.len() == 200).then(|| Interval { low: at(5), high: at(195) })
    };
    values.into_iter().map(|(metric, values)| (metric, interval(values))).collect()
}
