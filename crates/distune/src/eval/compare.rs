//! Which of several models is better on the same rows, and whether that is more than chance. Called by the program's `compare`
//! and at the end of `train`.

use serde::Serialize;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

use super::flips::flips;
use super::interval::Method;
use super::resample::Resamples;
use super::significance::holm;
use super::verdict::{Evidence, Finding, verdict};
use super::{Bootstrap, Estimate, Interval, Metric, Predictions, estimates};
use crate::data::Answers;
use crate::model::ProblemType;
use crate::{Error, Result};

/// What is compared: a model, or several runs of one recipe with different seeds.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// What it is called.
    pub name: String,
    /// The predictions of each run, for the same rows.
    pub runs: Vec<&'a Predictions>,
}

/// Models compared on the same rows, each with the first one.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Rows.
    pub rows: usize,
    /// What decides which one is better.
    pub metric: Metric,
    /// Each model or group on its own.
    pub groups: Vec<GroupReport>,
    /// Each but the first one, against the first one.
    pub pairs: Vec<Pair>,
}

/// The figures of a model, or of several runs.
#[derive(Clone, Debug, Serialize)]
pub struct GroupReport {
    /// What it is called.
    pub name: String,
    /// Runs.
    pub runs: usize,
    /// Every single number that all runs tell.
    pub figures: Vec<GroupFigure>,
}

/// A single number of a model, or of several runs.
#[derive(Clone, Debug, Serialize)]
pub struct GroupFigure {
    /// The mean of the runs, with its interval. The interval tells what other rows would change, not what other seeds would.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The standard deviation of the runs, where there are several.
    pub spread: Option<f64>,
    /// Each run's.
    pub by_run: Vec<f64>,
}

/// A model or group against the first one.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The first one.
    pub a: String,
    /// The other one.
    pub b: String,
    /// For every single number, that of `b` less that of `a` on the same rows, with its 95 % interval. With several runs it allows for
    /// other seeds too.
    pub differences: Vec<Estimate>,
    /// The rows of which one of both is right, where each is one run.
    pub changes: Option<Changes>,
    /// What it comes to.
    pub finding: Finding,
    /// The same as a sentence.
    pub verdict: String,
}

/// How many rows two models judge differently.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Changes {
    /// Rows of which `b` alone is right.
    pub gained: usize,
    /// Rows of which `a` alone is right.
    pub lost: usize,
    /// Rows of which both are wrong, each in its way.
    pub both_wrong: usize,
    /// [`mcnemar`] of the two.
    pub p_value: f64,
    /// The same, allowing for all the comparisons that were made (Holm's adjustment).
    pub p_adjusted: f64,
}

/// The exact p-value of McNemar's test (Psychometrika 12, 1947), two-sided: how often at least so uneven a split of the rows of which
/// one alone is right comes up, if each is as likely to be the one. As `mcnemar(exact=True)` of statsmodels.
pub fn mcnemar(gained: usize, lost: usize) -> f64 {
    let rows = (gained + lost) as u64;
    let tail = Binomial::new(0.5, rows).map_or(1.0, |binomial| binomial.cdf(gained.min(lost) as u64));
    (2.0 * tail).min(1.0)
}

/// Compares each group with the first one; `names[id]` is a class's name. Without a `metric`, the accuracy decides, and micro F1 where a
/// row may have several labels.
///
/// # Errors
/// Fewer than two groups, a group without runs, a metric that is not told, and all that [`super::Metrics::new`] refuses.
pub fn compare(
    truth: &Answers,
    groups: &[Group],
    names: &[String],
    metric: Option<Metric>,
    bootstrap: Bootstrap,
) -> Result<Comparison> {
    let [first, others @ ..] = groups else { return Err(too_few(0)) };
    if others.is_empty() {
        return Err(too_few(1));
    }
    let several = truth.problem() == ProblemType::MultiLabel;
    let metric = match metric {
        // the loss of a model is its log loss
        Some(Metric::Loss) => Metric::LogLoss,
        Some(metric) => metric,
        None if several => Metric::MicroF1,
        None => Metric::Accuracy,
    };
    let reports: Vec<GroupReport> =
        groups.iter().map(|group| group_report(truth, group, names, bootstrap)).collect::<Result<_>>()?;
    if let Some(report) = reports.iter().find(|report| report.figures.iter().all(|f| f.estimate.metric != metric)) {
        let problem = format!("{} is not defined for {}", metric.name(), report.name);
        return Err(Error::value("comparison", "metric", "one that all tell (see eval --json)", problem));
    }
    let mut changes: Vec<Option<Changes>> = others.iter().map(|other| changes(truth, first, other)).collect();
    adjust(&mut changes);
    let pairs = others.iter().zip(changes);
    let pair = |(other, changes): (&Group, _)| pair(truth, [first, other], names, metric, changes, bootstrap);
    let pairs = pairs.map(pair).collect::<Result<_>>()?;
    Ok(Comparison { rows: truth.len(), metric, groups: reports, pairs })
}

fn too_few(found: usize) -> Error {
    Error::value("comparison", "number of models", "at least two", found)
}

/// The figures of a group on its own.
///
/// # Errors
/// A group without runs, and all that [`super::Metrics::new`] refuses.
pub fn group_report(truth: &Answers, group: &Group, names: &[String], bootstrap: Bootstrap) -> Result<GroupReport> {
    let runs: Vec<Vec<Estimate>> =
        group.runs.iter().map(|run| estimates(truth, run, names, bootstrap)).collect::<Result<_>>()?;
    let Some(first) = runs.first() else {
        return Err(Error::value("comparison", &group.name, "at least one run", "none"));
    };
    let together = match runs.len() {
        1 => None,
        _ => Some(Resamples::new(truth, &group.runs, names, bootstrap)?),
    };
    let figure = |estimate: &Estimate| {
        let value = |run: &Vec<Estimate>| Some(run.iter().find(|e| e.metric == estimate.metric)?.value);
        let by_run: Vec<f64> = runs.iter().map(value).collect::<Option<_>>()?;
        let count = by_run.len() as f64;
        let value = by_run.iter().sum::<f64>() / count;
        let interval = match &together {
            None => estimate.interval,
            Some(together) => together.interval(estimate.metric, &vec![1.0 / count; by_run.len()]),
        };
        let spread = together.is_some().then(|| (squares(&by_run) / (count - 1.0)).sqrt());
        Some(GroupFigure { estimate: Estimate { value, interval, ..*estimate }, spread, by_run })
    };
    Ok(GroupReport { name: group.name.clone(), runs: runs.len(), figures: first.iter().filter_map(figure).collect() })
}

/// The second of two groups against the first.
fn pair(
    truth: &Answers,
    [a, b]: [&Group; 2],
    names: &[String],
    metric: Metric,
    changes: Option<Changes>,
    bootstrap: Bootstrap,
) -> Result<Pair> {
    let runs: Vec<&Predictions> = a.runs.iter().chain(&b.runs).copied().collect();
    let resamples = Resamples::new(truth, &runs, names, bootstrap)?;
    let shares = [a.runs.len(), b.runs.len()].map(|runs| 1.0 / runs as f64);
    let weights: Vec<f64> =
        (0..runs.len()).map(|run| if run < a.runs.len() { -shares[0] } else { shares[1] }).collect();
    let difference = |metric| {
        let (value, interval) = resamples.combined(metric, &weights, Method::Percentile)?;
        let (of_a, of_b) = resamples.values(metric)?.split_at(a.runs.len());
        let seeds = of_seeds(of_a, of_b);
        let interval = interval.map(|interval| widen(value, interval, seeds));
        Some(Estimate { metric, value, interval })
    };
    let differences: Vec<Estimate> = Metric::all().filter_map(difference).collect();
    let decisive = differences.iter().find(|estimate| estimate.metric == metric);
    let evidence = Evidence {
        rows: truth.len(),
        runs: [a.runs.len(), b.runs.len()],
        changes: changes.filter(|_| metric == Metric::Accuracy),
        difference: decisive.copied().unwrap_or(Estimate { metric, value: 0.0, interval: None }),
    };
    let (finding, verdict) = verdict([&a.name, &b.name], &evidence);
    Ok(Pair { a: a.name.clone(), b: b.name.clone(), differences, changes, finding, verdict })
}

/// How two single runs differ, before other comparisons are allowed for.
fn changes(truth: &Answers, a: &Group, b: &Group) -> Option<Changes> {
    let ([a], [b]) = (&a.runs[..], &b.runs[..]) else { return None };
    let mut counts = [0; 3];
    flips(truth, &a.answers, &b.answers).for_each(|(_, flip)| counts[flip as usize] += 1);
    let [gained, lost, both_wrong] = counts;
    let p_value = mcnemar(gained, lost);
    Some(Changes { gained, lost, both_wrong, p_value, p_adjusted: p_value })
}

/// Fills in the p-values that allow for all the comparisons.
fn adjust(changes: &mut [Option<Changes>]) {
    let mut tests: Vec<&mut Changes> = changes.iter_mut().flatten().collect();
    let p_values: Vec<f64> = tests.iter().map(|test| test.p_value).collect();
    tests.iter_mut().zip(holm(&p_values)).for_each(|(test, p_adjusted)| test.p_adjusted = p_adjusted);
}

/// Half the 95 % interval of a difference of means that comes of the seeds: Student's, with the variance of both groups pooled. A
/// single run on each side tells nothing of it.
fn of_seeds(a: &[f64], b: &[f64]) -> f64 {
    let freedom = (a.len() + b.len()).saturating_sub(2) as f64;
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return 0.0 };
    let variance = (squares(a) + squares(b)) / freedom;
    student.inverse_cdf(0.975) * (variance * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt()
}

/// The sum of the squared deviations from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// An interval that allows for an independent cause of half the width `half` (G. Zou and A. Donner, Statistics in Medicine 27,
/// 2008: the squared distances of each end add up).
fn widen(value: f64, interval: Interval, half: f64) -> Interval {
    Interval { low: value - (value - interval.low).hypot(half), high: value + (interval.high - value).hypot(half) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn predictions(ids: &[u32]) -> Predictions {
        Predictions { answers: Answers::One(ids.to_vec()), probabilities: None }
    }

    fn names() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    const QUICK: Bootstrap = Bootstrap { resamples: 1000, seed: 1 };

    /// 200 rows, 160 right in a; b gains 12 and loses 2.
    #[test]
    fn two_models() {
        let truth = Answers::One(vec![0; 200]);
        let a: Vec<u32> = (0..200).map(|row| u32::from(row >= 160)).collect();
        let b: Vec<u32> = (0..200).map(|row| u32::from(!(2..172).contains(&row))).collect();
        let (a, b) = (predictions(&a), predictions(&b));
        let group = |name: &str, run| Group { name: name.into(), runs: vec![run] };
        let comparison = compare(&truth, &[group("A", &a), group("B", &b)], &names(), None, QUICK).unwrap();
        let pair = &comparison.pairs[0];
        let changes = pair.changes.unwrap();
        assert_eq!((changes.gained, changes.lost, changes.both_wrong), (12, 2, 0));
        // scipy.stats.binomtest(2, 14).pvalue
        assert!((changes.p_value - 0.012939453125).abs() < 1e-12);
        let accuracy = pair.differences[0];
        assert_eq!(accuracy.metric, Metric::Accuracy);
        assert!((accuracy.value - 0.05).abs() < 1e-12);
        // the standard error of the difference is sqrt(14/200 - 0.05^2) / sqrt(200) = 0.0184, and differences are steps of 0.005
        let interval = accuracy.interval.unwrap();
        assert!(
            interval.low > 0.0 && (interval.high - interval.low - 2.0 * 1.96 * 0.0184).abs() < 0.01,
            "{interval:?}"
        );
        assert_eq!(pair.finding, Finding::Better);
        assert_eq!(pair.verdict, "B is better by 5.0 points (10 rows of 200); p = 0.013: this is more than chance.");
        let turned = compare(&truth, &[group("B", &b), group("A", &a)], &names(), None, QUICK).unwrap();
        assert_eq!(turned.pairs[0].finding, Finding::Worse);
        assert_eq!(turned.pairs[0].verdict, pair.verdict);
    }

    #[test]
    fn several_comparisons_are_allowed_for() {
        let test = |p_value| Some(Changes { gained: 0, lost: 0, both_wrong: 0, p_value, p_adjusted: p_value });
        let mut changes = [test(0.04), None, test(0.01), test(0.03)];
        adjust(&mut changes);
        let adjusted: Vec<f64> = changes.iter().flatten().map(|changes| changes.p_adjusted).collect();
        assert_eq!(adjusted, [0.06, 0.03, 0.06]);
    }

    /// Three runs on each side, which differ from one another more than the groups do.
    #[test]
    fn seeds_widen_the_interval() {
        let truth = Answers::One(vec![0; 100]);
        let run = |right: u32| predictions(&(0..100).map(|row| u32::from(row >= right)).collect::<Vec<_>>());
        let [low, middle, high, more] = [80, 84, 88, 92].map(run);
        let group = |name: &str, runs| Group { name: name.into(), runs };
        let a = group("A", vec![&low, &middle, &high]);
        let b = group("B", vec![&middle, &high, &more]);
        let comparison = compare(&truth, &[a, b], &names(), None, QUICK).unwrap();
        let figure = &comparison.groups[0].figures[0];
        assert!((figure.estimate.value - 0.84).abs() < 1e-12 && (figure.spread.unwrap() - 0.04).abs() < 1e-12);
        assert_eq!(figure.by_run.len(), 3);
        let pair = &comparison.pairs[0];
        let interval = pair.differences[0].interval.unwrap();
        // 2.776 * 0.04 * sqrt(2/3) = 0.0907 of the seeds alone
        assert!(interval.low < 0.04 - 0.0907 && interval.high > 0.04 + 0.0907, "{interval:?}");
        assert_eq!((pair.finding, pair.changes), (Finding::Chance, None));
        assert!(
            pair.verdict.starts_with("B is better by 4.0 points (3 runs against 3, 95 % interval -"),
            "{}",
            pair.verdict
        );
        assert!(pair.verdict.ends_with("points): this is within chance."), "{}", pair.verdict);
    }

    #[test]
    fn refuses_what_cannot_be_compared() {
        let truth = Answers::One(vec![0, 1]);
        let run = predictions(&[0, 1]);
        let group = || Group { name: "A".into(), runs: vec![&run] };
        let message =
            |groups: &[Group], metric| compare(&truth, groups, &names(), metric, QUICK).unwrap_err().to_string();
        assert_eq!(message(&[group()], None), "comparison: number of models: expected at least two, found 1");
        let metric = message(&[group(), group()], Some(Metric::MacroRocAuc));
        assert!(metric.ends_with("found macro_roc_auc is not defined for A"), "{metric}");
    }
}
