//! What the model's probabilities are worth: the reliability diagram, calibration, and what comes of not answering the unsure rows.

use maud::{Markup, html};

use super::page::{Section, figure, wide};
use super::words::{self, percent, thousands};
use super::{TrainingReport, pictures};
use crate::calibration::{Calibration, Effect};
use crate::eval::{Abstention, AbstentionPoint, ReliabilityBin, abstention, reliability};

/// Bins of the diagram: so many that one of a few hundred rows has some rows in each.
const BINS: usize = 10;
/// Shares of answered rows that the table has.
const COVERAGES: [f64; 5] = [1.0, 0.9, 0.8, 0.5, 0.2];
/// Thresholds that are shown, at most.
const LISTED: usize = 30;

impl TrainingReport<'_> {
    pub(super) fn trust_section(&self) -> Option<Section> {
        let judged = &self.judged;
        // predictions without probabilities tell nothing of it
        let bins = reliability(judged.truth, judged.predictions, self.labels, BINS).ok()??;
        let curve = abstention(judged.truth, judged.predictions, self.labels).ok()??;
        let body = html! {
            div.pair { (reliability_figure(&bins)) (abstention_figure(&curve)) }
            @if let Some(calibration) = self.calibration { (self.calibrated(calibration)) }
            (coverage_table(&curve))
            @if let Some(calibration) = self.calibration { @if !calibration.thresholds.is_empty() { (thresholds(calibration)) } }
        };
        Some(Section { id: "trust", title: "Can its probabilities be trusted?", body })
    }

    /// What a temperature does.
    fn calibrated(&self, calibration: &Calibration) -> Markup {
        let (rows, Effect { before, after, .. }) = match &calibration.test {
            Some(effect) => (self.judged.rows(), effect),
            None => ("validation rows, on which it was fitted".to_owned(), &calibration.fitted),
        };
        let temperature = calibration.temperature;
        let says = match temperature {
            t if t > 1.02 => "the model is too sure of itself, and its probabilities are drawn towards the middle",
            t if t < 0.98 => "the model is surer than its probabilities say, and they are drawn apart",
            _ => "the probabilities are about right as they are",
        };
        let table = html! {
            table {
                caption { "On the " (rows) }
                thead { tr { th scope="col" {} th.n scope="col" { "As it is" } th.n scope="col" { "With the temperature" } } }
                tbody {
                    tr { th scope="row" { "Log loss" } td.n { (words::figure(before.log_loss)) } td.n { (words::figure(after.log_loss)) } }
                    tr {
                        th scope="row" { "Calibration error" small { "by chance alone" } }
                        @for sureness in [before, after] { td.n {
                            (words::figure(sureness.expected_calibration_error))
                            small { "up to " (words::figure(sureness.expected_calibration_error_chance)) }
                        } }
                    }
                }
            }
        };
        html! {
            h3 { "Temperature" }
            p {
                "Fitted on the validation rows, the temperature is " (format!("{temperature:.2}")) ": " (says) ". It is kept in "
                code { (crate::calibration::FILE) } " and changes no prediction, only how sure it is said to be."
            }
            (wide("Effect of the temperature", &table))
        }
    }
}

fn reliability_figure(bins: &[ReliabilityBin]) -> Markup {
    let Ok(svg) = pictures::reliability(bins) else { return html! {} };
    let shows: Vec<String> =
        bins.iter().map(|bin| format!("said {}: true {}", percent(bin.confidence), percent(bin.accuracy))).collect();
    figure(
        &svg,
        &format!("Reliability diagram: {}", shows.join("; ")),
        &html! {
            "Reliability. Of what the model says with a probability of 80 %, 80 % should be true: points on the dashed line. Below it the model is too "
            "sure of itself, above it not sure enough. The lines are 95 % intervals; larger points stand for more rows."
        },
    )
}

fn abstention_figure(curve: &Abstention) -> Markup {
    let Ok(svg) = pictures::abstention(curve) else { return html! {} };
    figure(
        &svg,
        "Accuracy by the share of rows that are answered",
        &html! {
            "Not answering what it is unsure of. From the right to the left, ever fewer rows are answered, the surest ones: accuracy should rise."
        },
    )
}

/// What answering fewer rows brings.
fn coverage_table(curve: &Abstention) -> Markup {
    let nearest = |coverage: f64| {
        let distance = |point: &&AbstentionPoint| (point.coverage - coverage).abs();
        curve.points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    let mut points: Vec<&AbstentionPoint> = COVERAGES.iter().filter_map(|&coverage| nearest(coverage)).collect();
    points.dedup();
    let table = html! {
        table {
            caption { "Answering only when sure enough" }
            thead { tr {
                th scope="col" { "Least probability" } th.n scope="col" { "Rows answered" } th.n scope="col" { "Of them right" }
            } }
            tbody { @for point in points { tr {
                th scope="row" { (words::figure(point.threshold)) }
                td.n { (thousands(point.rows)) small { (percent(point.coverage)) } }
                td.n { (percent(point.accuracy)) }
            } } }
        }
    };
    html! {
        h3 { "Abstaining" }
        (wide("Abstaining", &table))
        p.how { code { "distune predict --abstain-below P" } " leaves out what is less sure than P." }
    }
}

/// The thresholds that were chosen on the validation rows.
fn thresholds(calibration: &Calibration) -> Markup {
    let table = html! {
        table {
            caption { "Of the best F1 on the validation rows" }
            thead { tr {
                th scope="col" { "Label" } th.n scope="col" { "Threshold" } th.n scope="col" { "Precision" } th.n scope="col" { "Recall" } th.n scope="col" { "F1" }
            } }
            tbody { @for threshold in calibration.thresholds.iter().take(LISTED) { tr {
                th scope="row" { bdi { (words::shortened(&threshold.label, 40)) } }
                @for value in [threshold.threshold, threshold.precision, threshold.recall, threshold.f1] { td.n { (words::figure(value)) } }
            } } }
        }
    };
    html! {
        h3 { "Thresholds" }
        (wide("Thresholds", &table))
        p.how { "A row has the label if its probability, after the temperature, is at least that. Used when asked for: " code { "distune predict --threshold saved" } "." }
    }
}
