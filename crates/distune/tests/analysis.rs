//! Labels to check equal to cleanlab's, Fisher's exact test to SciPy's, Holm's adjustment to statsmodels', on the cases of
//! `fixtures/analysis/generate.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use distune::analysis::{ErrorAnalysis, Lengths, Texts, analyse};
use distune::data::Answers;
use distune::eval::{Predictions, fisher_exact, holm};
use distune::model::ProblemType;
use serde::Deserialize;
use support::fixture;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case<u32>>,
    several: Vec<Case<Vec<u32>>>,
    /// Successes and rows of two groups, the p-value.
    fisher: Vec<(usize, usize, usize, usize, f64)>,
    /// p-values before and after.
    holm: Vec<[Vec<f64>; 2]>,
}

#[derive(Deserialize)]
struct Case<L> {
    name: String,
    classes: usize,
    labels: Vec<L>,
    probabilities: Vec<f64>,
    /// Rows, the most doubtful first.
    #[serde(default)]
    issues: Vec<usize>,
    /// The rows of each class.
    #[serde(default)]
    by_class: Vec<Vec<usize>>,
}

fn cases() -> Fixture {
    serde_json::from_slice(&std::fs::read(fixture("analysis/cases.json")).unwrap()).unwrap()
}

fn analysed(truth: &Answers, classes: usize, probabilities: &[f64]) -> ErrorAnalysis {
    let mut predictions = Predictions::none(truth.problem());
    probabilities.chunks_exact(classes).for_each(|row| predictions.push(row));
    let texts: Vec<String> = (0..truth.len()).map(|row| format!("text {row}")).collect();
    let lines: Vec<u64> = (2..).take(truth.len()).collect();
    let texts = Texts { texts: &texts, pairs: &[], lines: &lines };
    let names: Vec<String> = (0..classes).map(|id| id.to_string()).collect();
    analyse(texts, truth, &predictions, &names, &Lengths::in_words(texts), &[]).unwrap()
}

#[test]
fn doubtful_labels_are_those_of_cleanlab() {
    let mut doubted = 0;
    for case in cases().cases {
        let analysis = analysed(&Answers::One(case.labels.clone()), case.classes, &case.probabilities);
        let found = analysis.label_issues.unwrap();
        let rows: Vec<usize> = found.issues.iter().map(|issue| issue.at.row).collect();
        assert_eq!(rows, case.issues, "{}", case.name);
        assert_eq!((found.rows, found.pairs.iter().map(|pair| pair.rows).sum()), (rows.len(), rows.len()));
        for issue in &found.issues {
            assert_eq!(issue.given, [case.labels[issue.at.row].to_string()]);
            assert!(issue.margin < 0.0 && issue.suggested != issue.given && issue.suggested.len() == 1, "{issue:?}");
        }
        doubted += rows.len();
    }
    assert!(doubted > 20);
}

/// Where a row may have several labels, each of them is judged as if it were the only one.
#[test]
fn doubtful_labels_of_several() {
    for case in cases().several {
        let analysis = analysed(&Answers::Several(case.labels.clone()), case.classes, &case.probabilities);
        let found = analysis.label_issues.unwrap();
        let mut by_class = vec![Vec::new(); case.classes];
        for issue in &found.issues {
            let ids = |names: &[String]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<usize>>();
            let (given, suggested) = (ids(&issue.given), ids(&issue.suggested));
            let changed: Vec<usize> =
                (0..case.classes).filter(|id| given.contains(id) != suggested.contains(id)).collect();
            assert_eq!(changed.len(), 1);
            by_class[changed[0]].push(issue.at.row);
        }
        by_class.iter_mut().for_each(|rows| rows.sort_unstable());
        assert_eq!(by_class, case.by_class, "{}", case.name);
        assert!(found.issues.is_sorted_by(|a, b| a.margin <= b.margin));
        assert!(found.rows <= found.issues.len() && found.rows > 0);
    }
}

#[test]
fn tests_of_shares() {
    let cases = cases();
    for (a, n, b, m, want) in cases.fisher {
        let got = fisher_exact([a, n], [b, m]);
        // SciPy's own sums are right to about 1e-9
        assert!((got - want).abs() <= 1e-8 * want + 1e-300, "{a}/{n} against {b}/{m}: {got}, not {want}");
        let swapped = fisher_exact([b, m], [a, n]);
        assert!((got - swapped).abs() <= 1e-9 * got, "{got} and {swapped}");
    }
    assert_eq!(fisher_exact([3, 5], [0, 0]), 1.0);
    for [before, after] in cases.holm {
        for (got, want) in holm(&before).iter().zip(&after) {
            assert!((got - want).abs() < 1e-15, "{before:?}: {got}, not {want}");
        }
    }
    assert_eq!(holm(&[]), [0.0; 0]);
}

/// Everything of one row, right or wrong.
#[test]
fn one_row() {
    for (label, wrong) in [(0, 0), (1, 1)] {
        let analysis = analysed(&Answers::One(vec![label]), 2, &[0.9, 0.1]);
        assert_eq!((analysis.rows, analysis.wrong.len()), (1, wrong));
        // a class of one row has that row's own probability for its threshold
        assert!(analysis.label_issues.unwrap().issues.is_empty());
        assert_eq!(analysis.slices.len(), 2);
    }
    let none = Predictions::none(ProblemType::SingleLabel);
    let texts = Texts { texts: &[], pairs: &[], lines: &[] };
    let lengths = Lengths::in_words(texts);
    assert!(analyse(texts, &Answers::One(vec![]), &none, &["a".into()], &lengths, &[]).is_err());
}
