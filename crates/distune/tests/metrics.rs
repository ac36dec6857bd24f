//! Every figure equal to scikit-learn's, and McNemar's test to statsmodels', on the cases of `fixtures/metrics/generate.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read;

use distune::data::Answers;
use distune::eval::{Metric, Metrics, Predictions, ProbabilityMetrics, mcnemar};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    /// Rows of which one model alone is right, those of the other, and the p-value.
    mcnemar: Vec<[f64; 3]>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: usize,
    truth: Labels,
    predicted: Labels,
    probabilities: Option<Vec<f64>>,
    /// By metric; none where it is not defined.
    figures: BTreeMap<String, Option<f64>>,
    /// Precision, recall, F1 and rows of each class.
    by_class: [Vec<f64>; 4],
    /// ROC-AUC and average precision of each class.
    rankings: Option<[Vec<Option<f64>>; 2]>,
    confusion: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    One(Vec<u32>),
    Several(Vec<Vec<u32>>),
}

impl From<Labels> for Answers {
    fn from(labels: Labels) -> Self {
        match labels {
            Labels::One(ids) => Self::One(ids),
            Labels::Several(rows) => Self::Several(rows),
        }
    }
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/cases.json.gz");
    let mut json = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// Sums of at most 30 rows, in another order.
#[track_caller]
fn assert_close(ours: f64, theirs: f64, what: &str) {
    assert!((ours - theirs).abs() < 1e-9, "{what}: {ours}, scikit-learn has {theirs}");
}

#[test]
fn figures_are_those_of_scikit_learn() {
    let cases = fixture().cases;
    assert!(cases.len() > 220);
    for (number, case) in cases.into_iter().enumerate() {
        let what = |key: &str| format!("case {number} ({}), {key}", case.name);
        let names: Vec<String> = (0..case.classes).map(|id| id.to_string()).collect();
        let truth = Answers::from(case.truth);
        let predictions = Predictions { answers: case.predicted.into(), probabilities: case.probabilities };
        let metrics = Metrics::new(&truth, &predictions.answers, &names).unwrap();
        let probabilities = ProbabilityMetrics::new(&truth, &predictions, &names).unwrap();
        let mut seen = 0;
        for metric in Metric::all() {
            let value = metrics.value(metric).or_else(|| probabilities.as_ref()?.value(metric));
            match (value, case.figures.get(metric.name()).copied().flatten()) {
                (None, None) => {}
                (Some(ours), Some(theirs)) => assert_close(ours, theirs, &what(metric.name())),
                (ours, theirs) => panic!("{}: {ours:?}, scikit-learn has {theirs:?}", what(metric.name())),
            }
            seen += usize::from(case.figures.contains_key(metric.name()));
        }
        assert_eq!(seen, case.figures.len(), "{:?}", case.figures.keys());
        for (id, class) in metrics.classes.iter().enumerate() {
            let ours = [class.precision, class.recall, class.f1, class.support as f64];
            for (ours, theirs) in ours.into_iter().zip(&case.by_class) {
                assert_close(ours, theirs[id], &what(&format!("class {id}")));
            }
        }
        assert_eq!(metrics.confusion, case.confusion, "{}", what("confusion"));
        assert_eq!(probabilities.is_some(), case.rankings.is_some());
        let rankings = probabilities.iter().flat_map(|p| &p.class_rankings).enumerate();
        for (id, ranking) in rankings {
            let [areas, precisions] = case.rankings.as_ref().unwrap();
            assert_eq!(ranking.roc_auc.is_some(), areas[id].is_some(), "{}", what("roc_auc"));
            assert_close(ranking.roc_auc.unwrap_or(0.0), areas[id].unwrap_or(0.0), &what("roc_auc of a class"));
            assert_close(ranking.average_precision, precisions[id].unwrap(), &what("average_precision of a class"));
        }
    }
}

#[test]
fn mcnemar_is_that_of_statsmodels() {
    for [gained, lost, p_value] in fixture().mcnemar {
        let ours = mcnemar(gained as usize, lost as usize);
        // relative: the smallest is 1e-36
        assert!((ours / p_value - 1.0).abs() < 1e-9, "{gained} {lost}: {ours}, statsmodels has {p_value}");
    }
}
