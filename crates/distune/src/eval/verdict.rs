//! What a comparison comes to, in plain words. Called by `compare`.

use serde::Serialize;

use super::compare::Changes;
use super::{Estimate, Metric};
use crate::data::audit::thousands;

/// What is called chance above this p-value, or where the 95 % interval of a difference holds 0.
pub(crate) const SIGNIFICANT: f64 = 0.05;

/// What a comparison comes to: of a model with the first one, of a part of the rows with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It is better than that, by more than chance.
    Better,
    /// It is worse, by more than chance.
    Worse,
    /// What there is of a difference is within chance.
    Chance,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    pub(super) rows: usize,
    /// Runs on each side.
    pub(super) runs: [usize; 2],
    /// Where the accuracy of two single runs decides.
    pub(super) changes: Option<Changes>,
    /// The second one's figure less the first one's.
    pub(super) difference: Estimate,
}

/// The verdict on the second of two models, and the sentence.
pub(super) fn verdict([a, b]: [&str; 2], evidence: &Evidence) -> (Finding, String) {
    let Estimate { metric, value, interval } = evidence.difference;
    let gain = if metric.greater_is_better() { value } else { -value };
    let (better, is_b) = if gain > 0.0 { (b, true) } else { (a, false) };
    let significant = match evidence.changes {
        Some(changes) => changes.p_adjusted < SIGNIFICANT,
        None => interval.is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0),
    };
    let finding = match (significant, is_b) {
        (false, _) => Finding::Chance,
        (true, true) => Finding::Better,
        (true, false) => Finding::Worse,
    };
    if gain == 0.0 {
        return (finding, format!("{}{}.", equal([a, b], metric), told_apart(evidence)));
    }
    let proof = match evidence.changes {
        Some(changes) => {
            let net = changes.gained.abs_diff(changes.lost);
            format!("({} of {}); {}", rows(net), thousands(evidence.rows), p_value(&changes))
        }
        None => {
            let runs = match evidence.runs {
                [1, 1] => String::new(),
                [a, b] if is_b => format!("{} against {a}, ", runs(b)),
                [a, b] => format!("{} against {b}, ", runs(a)),
            };
            let sign = value.signum();
            let ends = interval.map(|i| if sign > 0.0 { [i.low, i.high] } else { [-i.high, -i.low] });
            match ends {
                Some([low, high]) => {
                    format!("({runs}95 % interval {} to {})", number(metric, low), amount(metric, high))
                }
                None => format!("({runs}the rows do not tell how sure that is)"),
            }
        }
    };
    let of = if metric == Metric::Accuracy { String::new() } else { format!(" in {}", metric.title()) };
    let chance = if significant { "this is more than chance" } else { "this is within chance" };
    (finding, format!("{better} is better by {}{of} {proof}: {chance}.", amount(metric, value.abs())))
}

fn equal([a, b]: [&str; 2], metric: Metric) -> String {
    format!("{a} and {b} have the same {}", metric.title())
}

/// How models of the same figure differ all the same.
fn told_apart(evidence: &Evidence) -> String {
    match evidence.changes {
        Some(Changes { gained: 0, .. }) => format!(" and are right on the same of {} rows", thousands(evidence.rows)),
        Some(changes) => format!(": each alone is right on {} of {}", rows(changes.gained), thousands(evidence.rows)),
        None => format!(" on {}", rows(evidence.rows)),
    }
}

fn rows(count: usize) -> String {
    if count == 1 { "1 row".into() } else { format!("{} rows", thousands(count)) }
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".into() } else { format!("{count} runs") }
}

/// "p = 0.89", and with several comparisons the p-value that allows for them.
fn p_value(changes: &Changes) -> String {
    let one = |p: f64| match p {
        p if p < 1e-4 => "< 0.0001".to_owned(),
        p if p < 0.01 => format!("= {p:.4}"),
        p if p < 0.1 => format!("= {p:.3}"),
        p => format!("= {p:.2}"),
    };
    let [plain, adjusted] = [changes.p_value, changes.p_adjusted].map(one);
    match plain == adjusted {
        true => format!("p {plain}"),
        false => format!("p {plain}, with all comparisons counted p {adjusted}"),
    }
}

/// A difference as it is told: points of a hundred, or a loss as it is.
fn amount(metric: Metric, difference: f64) -> String {
    if in_points(metric) { format!("{} points", number(metric, difference)) } else { number(metric, difference) }
}

fn number(metric: Metric, difference: f64) -> String {
    let (difference, digits) = if in_points(metric) { (100.0 * difference, 1) } else { (difference, 4) };
    let smallest = 10_f64.powi(-digits);
    // one digit of what is smaller
    let digits = match difference.abs() {
        small if small > 0.0 && small < smallest => (-small.log10().floor()).min(12.0) as usize,
        _ => digits as usize,
    };
    format!("{difference:.digits$}")
}

fn in_points(metric: Metric) -> bool {
    !matches!(metric, Metric::Loss | Metric::LogLoss | Metric::BrierScoreLoss)
}

#[cfg(test)]
mod tests {
    use super::super::Interval;
    use super::super::compare::mcnemar;
    use super::*;

    fn said(gained: usize, lost: usize, rows: usize) -> String {
        let p_value = mcnemar(gained, lost);
        let changes = Changes { gained, lost, both_wrong: 0, p_value, p_adjusted: p_value };
        let value = (gained as f64 - lost as f64) / rows as f64;
        let difference = Estimate { metric: Metric::Accuracy, value, interval: None };
        verdict(["A", "B"], &Evidence { rows, runs: [1, 1], changes: Some(changes), difference }).1
    }

    /// The seed's claim: 91.51 % against 91.3 %, 798 and 796 of 872 rows.
    #[test]
    fn two_rows_of_872() {
        assert_eq!(said(25, 23, 872), "B is better by 0.2 points (2 rows of 872); p = 0.89: this is within chance.");
    }

    #[test]
    fn every_kind_of_sentence() {
        assert_eq!(said(1, 0, 4), "B is better by 25.0 points (1 row of 4); p = 1.00: this is within chance.");
        assert_eq!(
            said(40, 90, 1000),
            "A is better by 5.0 points (50 rows of 1,000); p < 0.0001: this is more than chance."
        );
        assert_eq!(
            said(9, 7, 67_349),
            "B is better by 0.003 points (2 rows of 67,349); p = 0.80: this is within chance."
        );
        assert_eq!(said(7, 7, 100), "A and B have the same accuracy: each alone is right on 7 rows of 100.");
        assert_eq!(said(0, 0, 100), "A and B have the same accuracy and are right on the same of 100 rows.");
    }

    #[test]
    fn by_the_interval_of_a_difference() {
        let said = |metric, value, low, high| {
            let difference = Estimate { metric, value, interval: Some(Interval { low, high }) };
            verdict(["A", "B"], &Evidence { rows: 100, runs: [1, 1], changes: None, difference })
        };
        assert_eq!(
            said(Metric::MacroF1, 0.013, -0.004, 0.03),
            (
                Finding::Chance,
                "B is better by 1.3 points in macro F1 (95 % interval -0.4 to 3.0 points): this is within chance."
                    .into()
            )
        );
        // lower is better, so the first one is
        assert_eq!(
            said(Metric::LogLoss, 0.02, 0.0051, 0.04),
            (
                Finding::Worse,
                "A is better by 0.0200 in log loss (95 % interval 0.0051 to 0.0400): this is more than chance.".into()
            )
        );
        assert_eq!(said(Metric::LogLoss, -0.02, -0.04, -0.0051).0, Finding::Better);
    }

    #[test]
    fn with_several_comparisons() {
        let changes = Changes { gained: 12, lost: 2, both_wrong: 0, p_value: 0.0129, p_adjusted: 0.0388 };
        assert_eq!(p_value(&changes), "p = 0.013, with all comparisons counted p = 0.039");
    }
}
