//! Temperatures equal to SciPy's and thresholds to scikit-learn's, on the cases of `fixtures/calibration/generate.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;

use distune::calibration::{Calibration, Goal, HIGHEST, LOWEST};
use distune::data::Answers;
use distune::eval::{Metrics, Predictions};
use distune::model::ProblemType;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    recall: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    classes: usize,
    truth: Labels,
    probabilities: Vec<f64>,
    /// None where all rows are right, so that the log loss has no minimum.
    temperature: Option<f64>,
    /// Of each label: the best F1, the best precision with the recall, and the recall that it has.
    thresholds: Vec<[f64; 3]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    One(Vec<u32>),
    Several(Vec<Vec<u32>>),
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/calibration/cases.json.gz");
    let mut json = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

#[test]
fn as_scipy_and_scikit_learn() {
    let Fixture { recall, cases } = fixture();
    assert_eq!(cases.len(), 18);
    let mut within = 0;
    for (number, case) in cases.into_iter().enumerate() {
        let truth = match case.truth {
            Labels::One(ids) => Answers::One(ids),
            Labels::Several(rows) => Answers::Several(rows),
        };
        let names: Vec<String> = (0..case.classes).map(|id| id.to_string()).collect();
        let mut predictions = Predictions::none(truth.problem());
        case.probabilities.chunks_exact(case.classes).for_each(|row| predictions.push(row));
        for goal in [Goal::F1, Goal::PrecisionAtRecall(recall)] {
            let ours = Calibration::fit(&truth, &predictions, &names, goal).unwrap();
            // SciPy compares values of the loss, so that its minimum is good to about the root of their rounding
            let theirs = case.temperature.unwrap_or(1.0);
            let close = (ours.temperature / theirs - 1.0).abs() < 1e-5;
            assert!(close, "{number}: {}, SciPy has {theirs}", ours.temperature);
            within +=
                usize::from(case.temperature.is_some() && ours.temperature > LOWEST && ours.temperature < HIGHEST);
            assert_eq!(ours.thresholds.len(), case.thresholds.len());
            // what the thresholds decide has the figures that they claim
            let decided = ours.calibrated(&predictions).with_thresholds(&ours.threshold_values());
            let decided = decided.ok().filter(|_| !ours.thresholds.is_empty());
            let metrics = decided.map(|decided| Metrics::new(&truth, &decided.answers, &names).unwrap());
            for (threshold, theirs) in ours.thresholds.iter().zip(&case.thresholds) {
                let found = match goal {
                    Goal::F1 => vec![(threshold.f1, theirs[0])],
                    Goal::PrecisionAtRecall(_) => vec![(threshold.precision, theirs[1]), (threshold.recall, theirs[2])],
                };
                assert!(
                    found.iter().all(|(a, b)| (a - b).abs() < 1e-12),
                    "{number} {goal:?}: {threshold:?} {theirs:?}"
                );
                let classes = &metrics.as_ref().unwrap().classes;
                let of = classes.iter().find(|class| class.label == threshold.label).unwrap();
                assert_eq!(
                    (of.precision, of.recall, of.support),
                    (threshold.precision, threshold.recall, threshold.support)
                );
            }
            assert_eq!(truth.problem() == ProblemType::SingleLabel && case.classes > 2, ours.thresholds.is_empty());
        }
    }
    assert!(within > 24, "{within}");
}
