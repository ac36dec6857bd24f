//! The top of the page: whether fine-tuning helped, and the comparison that says so.

use maud::{Markup, html};

use super::page::{Section, figure, wide};
use super::pictures::{self, Score};
use super::words::{self, counted, percent, percents, thousands};
use super::{Judged, ModelRow, TrainingReport};
use crate::eval::{Changes, Finding, Metric, Pair};

/// What models are compared by, where it is told.
const COMPARED: [Metric; 5] =
    [Metric::Accuracy, Metric::MicroF1, Metric::MacroF1, Metric::LogLoss, Metric::ExpectedCalibrationError];

/// A verdict: the class of its box, a mark, and a short sentence.
struct Short(&'static str, &'static str, String);

impl Judged<'_> {
    /// "is right on 83.9 % of the 929 test rows", and the interval.
    fn score(&self) -> (String, String) {
        let (metric, metrics) = (self.metric(), &self.evaluation.metrics);
        let Some(estimate) = self.figure(metric) else { return Default::default() };
        let value = percent(estimate.value);
        let score = match metric {
            Metric::Accuracy => format!("is right on {value} of the {}", self.rows()),
            _ => format!("reaches {} {value} on the {}", metric.title(), self.rows()),
        };
        let interval = estimate.interval.map(|i| format!("; 95 % interval {}", percents(i))).unwrap_or_default();
        let count = match metric {
            Metric::Accuracy => counted(metrics.correct, "row"),
            _ => format!("all labels right on {}", counted(metrics.correct, "row")),
        };
        (score, format!("{count}{interval}"))
    }
}

impl TrainingReport<'_> {
    /// The verdict with its picture and the most telling numbers.
    pub(super) fn headline(&self) -> Markup {
        let Short(class, mark, short) = self.short();
        let (score, details) = self.judged.score();
        html! {
            div.verdict.(class) {
                div {
                    p.short { span.mark aria-hidden="true" { (mark) } " " (short) }
                    @if let Some(pair) = self.start { p { (pair.verdict) } }
                    @if let Some(pair) = self.baseline { p { "Against " bdi { (pair.a) } ": " (pair.verdict) } }
                    p { "It " (score) " (" (details) ")." }
                    @if self.start.is_none() {
                        p.how { "The model that the training started from had no trained head for these labels, so it has no figure of its own." }
                    }
                    @if self.judged.chose_the_epoch {
                        p.caution { "There were no rows for judging alone: these chose the epoch too, so all figures here are on the favourable side." }
                    }
                }
                (self.scores())
            }
            (self.tiles())
        }
    }

    /// What the comparisons come to.
    fn short(&self) -> Short {
        let said = |finding, said: [&str; 3]| match finding {
            Finding::Better => Short("better", "✓", said[0].to_owned()),
            Finding::Worse => Short("worse", "✗", said[1].to_owned()),
            Finding::Chance => Short("chance", "≈", said[2].to_owned()),
        };
        match (self.start, self.baseline) {
            (Some(start), _) => said(
                start.finding,
                ["Fine-tuning helped.", "Fine-tuning made it worse.", "Whether fine-tuning helped cannot be told."],
            ),
            (None, Some(baseline)) => said(
                baseline.finding,
                [
                    "Fine-tuning is worth it: the trained model beats the simple ones.",
                    "Fine-tuning is not worth it: a simple model does better.",
                    "The trained model cannot be told from a simple one.",
                ],
            ),
            (None, None) => Short("told", "●", format!("The trained model {}.", self.judged.score().0)),
        }
    }

    /// The picture of all models' scores.
    fn scores(&self) -> Markup {
        let metric = self.judged.metric();
        let last = self.models.len().saturating_sub(1);
        let score = |(at, model): (usize, &ModelRow)| {
            let estimate = model.figure(metric)?;
            let name = words::shortened(&words::capital(model.name), 34);
            Some(Score { name, value: estimate.value, interval: estimate.interval, trained: at == last })
        };
        let scores: Vec<Score> = self.models.iter().enumerate().filter_map(score).collect();
        let Ok(svg) = pictures::scores(&scores) else { return html! {} };
        let names: Vec<String> = scores.iter().map(|s| format!("{}: {}", s.name, percent(s.value))).collect();
        let name = words::capital(metric.title());
        figure(
            &svg,
            &format!("{name} of {}", names.join(", ")),
            &html! {
                (name) " on the " (self.judged.rows()) ". The line through a point is its 95 % interval: how far off it may be because there are no "
                "more rows than these."
            },
        )
    }

    /// The most telling numbers in boxes.
    fn tiles(&self) -> Markup {
        let metric = self.judged.metric();
        let value = |metric| self.judged.figure(metric).map(|estimate| percent(estimate.value));
        let (trained, all) = self.parameters();
        let epochs = words::epochs(self.outcome.epochs());
        let tiles = [
            (metric.title(), value(metric)),
            ("macro F1", value(Metric::MacroF1)),
            ("training rows", self.splits.first().map(|train| thousands(train.rows))),
            ("training time", Some(words::seconds(self.outcome.train_seconds))),
            ("best epoch", self.outcome.best().map(|e| format!("{} of {epochs}", words::epochs(e.epoch)))),
            ("parameters trained", Some(percent(trained as f64 / all.max(1) as f64))),
        ];
        html! {
            ul.tiles { @for (name, value) in tiles { @if let Some(value) = value { li { b { (value) } span { (name) } } } } }
        }
    }

    /// All models side by side, and how the trained one differs from others.
    pub(super) fn comparison_section(&self) -> Option<Section> {
        if self.models.len() < 2 {
            return None;
        }
        // with one label a row, micro F1 is the accuracy
        let several = self.judged.metric() == Metric::MicroF1;
        let told = |metric: &Metric| {
            (several || *metric != Metric::MicroF1) && self.models.iter().any(|model| model.figure(*metric).is_some())
        };
        let metrics: Vec<Metric> = COMPARED.into_iter().filter(told).collect();
        let table = html! {
            table {
                caption { "On the same " (self.judged.rows()) }
                thead { tr {
                    th scope="col" { "Model" }
                    @for metric in &metrics { th.n scope="col" { (words::capital(metric.title())) } }
                    th.n scope="col" { "Training" }
                } }
                tbody { @for model in self.models { tr {
                    th scope="row" { (words::capital(model.name)) @if let Some(note) = model.note { small { (note) } } }
                    @for metric in &metrics { td.n { (cell(model, *metric)) } }
                    td.n { (model.seconds.map_or_else(|| "–".to_owned(), words::seconds)) }
                } } }
            }
        };
        let body = html! {
            (wide("Models compared", &table))
            @for pair in [self.baseline, self.start].into_iter().flatten() { (self.pair(pair)) }
            p.how {
                "All models judge the same rows, so what counts are the rows on which they differ. p says how often chance alone would split those so "
                "unevenly (McNemar's exact test); below 0.05 a difference is called more than chance."
            }
        };
        Some(Section { id: "comparison", title: "Compared with", body })
    }

    /// The trained model against another one.
    fn pair(&self, pair: &Pair) -> Markup {
        html! {
            h3 { "Against " (lower(&pair.a)) }
            p { (pair.verdict) }
            @if let Some(Changes { gained, lost, both_wrong, .. }) = &pair.changes {
                ul {
                    li { (counted(*gained, "row")) " that the trained model alone gets right" }
                    li { (counted(*lost, "row")) " that it alone gets wrong" }
                    @if *both_wrong > 0 { li { (counted(*both_wrong, "row")) " that both get wrong, each in its way" } }
                    li { (counted(self.judged.truth.len().saturating_sub(gained + lost + both_wrong), "row")) " with the same answer" }
                }
            }
        }
    }
}

/// A figure with its interval below it.
fn cell(model: &ModelRow, metric: Metric) -> Markup {
    match model.figure(metric) {
        None => html! { "–" },
        Some(estimate) => html! {
            (words::figure(estimate.value))
            @if let Some(interval) = estimate.interval { small { (format!("{:.3} to {:.3}", interval.low, interval.high)) } }
        },
    }
}

/// "the starting model" within a sentence.
fn lower(name: &str) -> String {
    name.strip_prefix("The ").map_or_else(|| name.to_owned(), |rest| format!("the {rest}"))
}
