//! The single numbers of the saved model.

use maud::{Markup, html};

use super::TrainingReport;
use super::page::{Section, wide};
use super::words;
use crate::eval::{Estimate, Metric, TELLING};

impl TrainingReport<'_> {
    pub(super) fn figures_section(&self) -> Section {
        // with one label a row, micro F1 is the accuracy
        let several = self.judged.metric() == Metric::MicroF1;
        let first = TELLING.into_iter().filter(|metric| several || *metric != Metric::MicroF1);
        let shown: Vec<&Estimate> = first.filter_map(|metric| self.judged.figure(metric)).collect();
        let rest: Vec<&Estimate> = self.judged.estimates.iter().filter(|e| !TELLING.contains(&e.metric)).collect();
        let body = html! {
            (wide("Figures", &self.figures_table(&shown)))
            @if !rest.is_empty() { details { summary { "More figures" } (wide("More figures", &self.figures_table(&rest))) } }
            p.how {
                "An interval tells how far a figure may be off because there are no more rows than these: it holds the true value in about 95 of "
                "100 cases. Names and definitions are those of scikit-learn."
            }
        };
        Section { id: "figures", title: "Figures", body }
    }

    fn figures_table(&self, estimates: &[&Estimate]) -> Markup {
        let chance = self.judged.evaluation.probabilities.expected_calibration_error_chance;
        let best = self.outcome.best().map(|e| &e.validation);
        // where validation rows judge the model, they have no column of their own
        let validation = best.filter(|_| !self.judged.chose_the_epoch);
        html! {
            table {
                caption { "The trained model on the " (self.judged.rows()) }
                thead { tr {
                    th scope="col" { "Figure" } th.n scope="col" { "Value, 95 % interval" }
                    @if validation.is_some() { th.n scope="col" { "On validation" } }
                } }
                tbody {
                    @for estimate in estimates {
                        tr {
                            th scope="row" {
                                (words::capital(estimate.metric.title()))
                                @if let Some(meaning) = meaning(estimate.metric) { small { (meaning) } }
                            }
                            td.n { (words::figure(estimate.value)) small { (words::interval(estimate, chance)) } }
                            @if let Some(validation) = validation {
                                td.n { (estimate.metric.of(validation).map_or_else(|| "–".to_owned(), words::figure)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a figure tells, in a few words.
fn meaning(metric: Metric) -> Option<&'static str> {
    Some(match metric {
        Metric::Accuracy => "rows that are right",
        Metric::BalancedAccuracy => "mean of the classes' recalls",
        Metric::MicroF1 => "F1 of all labels together",
        Metric::MacroF1 => "mean of the classes' F1",
        Metric::MatthewsCorrcoef => "0 is guessing, 1 is perfect",
        Metric::HammingLoss => "labels that are wrong; lower is better",
        Metric::RocAuc | Metric::MacroRocAuc => "0.5 is guessing, 1 is perfect",
        Metric::AveragePrecision | Metric::MacroAveragePrecision => "precision over all thresholds",
        Metric::LogLoss => "how surprised by the truth; lower is better",
        Metric::BrierScoreLoss => "squared error of the probabilities; lower is better",
        Metric::ExpectedCalibrationError => "how far probabilities are off; lower is better",
        _ => return None,
    })
}
