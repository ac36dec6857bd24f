//! Where the model errs: the rows that it gets most confidently wrong, labels that are probably the mistake, and parts of the data on
//! which it is worse.

use maud::{Markup, PreEscaped, html};

use super::page::{Section, wide};
use super::words::{counted, percent, percents, shortened, thousands};
use super::{TrainingReport, WORST_ROWS as ROWS};
use crate::analysis::{ErrorAnalysis, LabelIssues, RowText, Slice};
use crate::attribution::html as coloured;
use crate::eval::Finding;

/// Slices that are shown, at most.
const SLICES: usize = 200;
/// Letters of a text, and of the name of a label or a value.
const TEXT: usize = 400;
const NAME: usize = 40;

impl TrainingReport<'_> {
    pub(super) fn errors_section(&self) -> Option<Section> {
        let errors = self.errors?;
        let body = html! {
            (self.worst_rows(errors))
            @if let Some(issues) = errors.label_issues.as_ref().filter(|issues| issues.rows > 0) { (self.label_issues(issues)) }
        };
        Some(Section { id: "errors", title: "Where it errs", body })
    }

    /// The wrong rows that the model is surest of.
    fn worst_rows(&self, errors: &ErrorAnalysis) -> Markup {
        let wrong = errors.wrong.len();
        if wrong == 0 {
            return html! { p { "Every row is right." } };
        }
        html! {
            p { (counted(wrong, "row")) " of " (thousands(errors.rows)) " are wrong. These are the ones that the model is surest of, so look here first:" }
            ol.rows { @for (at, row) in errors.wrong.iter().take(ROWS).enumerate() {
                li {
                    p.about {
                        "Line " (row.at.line) ": labelled " (names(&row.truth)) ", predicted " (names(&row.predicted))
                        @if let Some(sure) = row.confidence { ", " (percent(sure)) " sure" }
                    }
                    @match self.explanations.get(at).and_then(Option::as_ref) {
                        Some(explanation) => div.text dir="auto" { (PreEscaped(coloured(explanation))) },
                        None => (text(&row.at)),
                    }
                }
            } }
            @if self.explanations.iter().any(Option::is_some) {
                p.how {
                    "Words on blue speak for what was decided wrongly, words on orange against it (integrated gradients); the stronger the colour, the more."
                }
            }
        }
    }

    /// Rows whose label is probably the mistake.
    fn label_issues(&self, issues: &LabelIssues) -> Markup {
        html! {
            h3 { "Labels that may be wrong" }
            p {
                (thousands(issues.rows)) " of the " (self.judged.rows()) " " (if issues.rows == 1 { "is" } else { "are" })
                " confidently predicted as another class than the label says (confident learning). Some of these labels are mistakes, some of these rows are just hard."
            }
            details { summary { "The most doubtful ones" } ol.rows { @for issue in issues.issues.iter().take(ROWS) {
                li {
                    p.about {
                        "Line " (issue.at.line) ": labelled " (names(&issue.given)) ", perhaps " (names(&issue.suggested))
                        "; the model gives the label " (percent(issue.self_confidence))
                    }
                    (text(&issue.at))
                }
            } } }
        }
    }

    pub(super) fn slices_section(&self) -> Option<Section> {
        let errors = self.errors?;
        let told: Vec<&Slice> = errors.slices.iter().filter(|slice| slice.finding != Finding::Chance).collect();
        let all: Vec<&Slice> = errors.slices.iter().take(SLICES).collect();
        let body = html! {
            @if told.is_empty() {
                p { "On no part of the rows is the model better or worse than on the rest by more than chance: neither by length nor by class." }
            } @else {
                p { "On these parts of the rows the model is better or worse than on the rest, by more than chance:" }
                (wide("Parts that stand out", &slice_table(&told)))
            }
            details { summary { "All parts" } (wide("All parts", &slice_table(&all))) }
            p.how { "Each part is held against all other rows by Fisher's exact test, allowing for the number of parts." }
        };
        Some(Section { id: "slices", title: "Parts of the data", body })
    }
}

fn slice_table(slices: &[&Slice]) -> Markup {
    html! {
        table {
            thead { tr {
                th scope="col" { "Part" } th.n scope="col" { "Rows" } th.n scope="col" { "Right" } th.n scope="col" { "Elsewhere" } th scope="col" { "Finding" }
            } }
            tbody { @for slice in slices { tr {
                th scope="row" { bdi { (shortened(&slice.by, NAME)) } " " bdi { b { (shortened(&slice.value, NAME)) } } }
                td.n { (thousands(slice.rows)) }
                td.n { (percent(slice.accuracy)) small { (percents(slice.interval)) } }
                td.n { (slice.rest_accuracy.map_or_else(|| "–".to_owned(), percent)) }
                td { @match slice.finding { Finding::Better => "better", Finding::Worse => b { "worse" }, Finding::Chance => "within chance" } }
            } } }
        }
    }
}

/// The names of labels.
fn names(labels: &[String]) -> Markup {
    html! {
        @if labels.is_empty() { "nothing" }
        @for (at, label) in labels.iter().enumerate() { @if at > 0 { ", " } b { bdi { (shortened(label, NAME)) } } }
    }
}

/// A row's text.
fn text(row: &RowText) -> Markup {
    html! {
        div.text dir="auto" { (shortened(&row.text, TEXT)) }
        @if let Some(pair) = &row.pair { div.text dir="auto" { (shortened(pair, TEXT)) } }
    }
}
