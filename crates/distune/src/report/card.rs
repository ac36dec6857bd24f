//! The model card: metadata of the Hugging Face hub as YAML, then a text for people. Nothing in it tells where files lie on this machine.
//!
//! The metadata follow the hub's specification of model cards (`modelcard.md` of huggingface/hub-docs). It has no place for intervals
//! (a metric's `args` are those of its computation), so they stand in the metrics' names.

use std::fmt::Write;

use serde::Serialize;

use super::words::{self, counted, percents, shortened, thousands};
use super::{HubName, Source, TrainingReport};
use crate::eval::{Estimate, Metric};
use crate::tokenize::Long;
use crate::{Error, Result};

/// Figures of the card, as far as they are told, each with its identifier on the hub.
const FIGURES: [(Metric, &str); 7] = [
    (Metric::Accuracy, "accuracy"),
    (Metric::F1, "f1"),
    (Metric::MicroF1, "f1"),
    (Metric::MacroF1, "f1"),
    (Metric::MatthewsCorrcoef, "matthews_correlation"),
    (Metric::RocAuc, "roc_auc"),
    (Metric::MacroRocAuc, "roc_auc"),
];
/// Classes that are listed, at most.
const CLASSES: usize = 20;
/// Settings that say where something lies, or are told elsewhere.
const NOT_TOLD: [&str; 2] = ["model", "data"];

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    language: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    library_name: &'a str,
    pipeline_tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_model: Option<&'a str>,
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    datasets: Vec<&'a str>,
    metrics: Vec<&'a str>,
    #[serde(rename = "model-index")]
    model_index: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    results: Vec<Results<'a>>,
}

#[derive(Serialize)]
struct Results<'a> {
    task: Task<'a>,
    dataset: Dataset<'a>,
    metrics: Vec<Value<'a>>,
}

#[derive(Serialize)]
struct Task<'a> {
    r#type: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Dataset<'a> {
    r#type: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a str>,
    split: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
}

#[derive(Serialize)]
struct Value<'a> {
    r#type: &'a str,
    value: f64,
    name: String,
}

impl TrainingReport<'_> {
    /// The card's text.
    ///
    /// # Errors
    /// [`Error::Value`] for metadata that YAML cannot say.
    pub fn card(&self) -> Result<String> {
        let yaml = serde_saphyr::to_string(&self.metadata());
        let yaml = yaml.map_err(|error| Error::value("model card", "metadata", "values that YAML has", error))?;
        Ok(format!("---\n{}\n---\n\n{}", yaml.trim_end(), self.body()))
    }

    fn metadata(&self) -> Metadata<'_> {
        let figures = self.told_figures();
        let mut metrics: Vec<&str> = figures.iter().map(|(_, id)| *id).collect();
        metrics.dedup();
        let value = |(estimate, id): &(&Estimate, &'static str)| Value {
            r#type: id,
            value: (1e4 * estimate.value).round() / 1e4,
            name: self.figure_name(estimate),
        };
        let results = Results {
            task: Task { r#type: "text-classification", name: "Text Classification" },
            dataset: self.dataset(),
            metrics: figures.iter().map(value).collect(),
        };
        Metadata {
            language: self.language().into_iter().collect(),
            license: self.model.license.as_deref(),
            library_name: "transformers",
            pipeline_tag: "text-classification",
            base_model: self.model.base_model(),
            tags: vec!["distune", "text-classification"],
            datasets: self.data.iter().filter_map(|data| Some(data.hub.as_ref()?.id.as_str())).collect(),
            metrics,
            model_index: vec![Model { name: self.name, results: vec![results] }],
        }
    }

    /// That of the data: a model of another language may have been fine-tuned on them.
    fn language(&self) -> Option<&str> {
        self.data.first()?.language.as_deref()
    }

    /// Figures of the card with their identifiers.
    fn told_figures(&self) -> Vec<(&Estimate, &'static str)> {
        // with one label a row, micro F1 is the accuracy
        let several = self.judged.evaluation.metrics.several_labels();
        let told = FIGURES.iter().filter(|(metric, _)| several || *metric != Metric::MicroF1);
        told.filter_map(|(metric, id)| Some((self.judged.figure(*metric)?, *id))).collect()
    }

    /// "Macro F1 (95 % interval 0.8521 to 0.8934)"
    fn figure_name(&self, estimate: &Estimate) -> String {
        let title = words::capital(estimate.metric.title());
        match estimate.interval {
            Some(interval) => format!("{title} (95 % interval {:.4} to {:.4})", interval.low, interval.high),
            None => title,
        }
    }

    fn dataset(&self) -> Dataset<'_> {
        let first = self.data.first();
        let hub = first.and_then(|data| data.hub.as_ref());
        let names: Vec<&str> = self.data.iter().map(|data| data.name.as_str()).collect();
        let name = if names.is_empty() { "data".to_owned() } else { names.join(", ") };
        Dataset {
            r#type: hub.map_or_else(|| identifier(first.map_or("data", |data| &data.name)), |hub| hub.id.clone()),
            name,
            config: hub.and_then(|hub| hub.folder.as_deref()),
            split: self.judged.split,
            revision: hub.map(|hub: &HubName| hub.revision.as_str()).filter(|revision| *revision != "main"),
        }
    }

    /// What follows the metadata.
    fn body(&self) -> String {
        let mut text = format!("# {}\n\n", plain(self.name));
        let data: Vec<String> = self.data.iter().map(told).collect();
        // writing to a string cannot fail
        let _ = write!(
            text,
            "A text classifier, fine-tuned from {} on {} with distune, on a CPU.\n\n",
            told(self.model),
            data.join(", "),
        );
        text += &self.about_labels();
        text += &self.about_figures();
        text += &self.about_use();
        text += &self.about_limits();
        text += &self.about_training();
        text
    }

    fn about_labels(&self) -> String {
        let several = self.judged.evaluation.metrics.several_labels();
        let what = if several { "any number of the labels" } else { "one of the classes" };
        let names: Vec<String> = self.labels.iter().take(CLASSES).map(|label| code(&shortened(label, 60))).collect();
        let more = self.labels.len().saturating_sub(CLASSES);
        let more =
            if more > 0 { format!(" and {} more (`config.json` has all)", thousands(more)) } else { String::new() };
        format!("It gives a text {what} {}{more}.\n\n", names.join(", "))
    }

    fn about_figures(&self) -> String {
        let mut text = format!("## Figures\n\nOn the {}", self.judged.rows());
        text += if self.judged.chose_the_epoch {
            ", which also chose the epoch, so that the figures are on the favourable side:\n\n"
        } else {
            ", which took no part in the training:\n\n"
        };
        text += "| figure | value | 95 % interval |\n|---|---|---|\n";
        let chance = self.judged.evaluation.probabilities.expected_calibration_error_chance;
        let more = [Metric::LogLoss, Metric::BrierScoreLoss, Metric::ExpectedCalibrationError];
        let more = more.iter().filter_map(|metric| self.judged.figure(*metric));
        for estimate in self.told_figures().into_iter().map(|(estimate, _)| estimate).chain(more) {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                estimate.metric.title(),
                words::figure(estimate.value),
                words::interval(estimate, chance)
            );
        }
        text += "\n";
        for pair in [self.start, self.baseline].into_iter().flatten() {
            let _ = write!(text, "Against {}: {}\n\n", plain(&pair.a), plain(&pair.verdict));
        }
        if self.models.len() > 1 {
            let metric = self.judged.metric();
            let _ = write!(text, "| model | {} | 95 % interval |\n|---|---|---|\n", metric.title());
            for model in self.models {
                let Some(estimate) = model.figure(metric) else { continue };
                let interval = estimate.interval.map_or_else(|| "–".to_owned(), percents);
                let _ = writeln!(text, "| {} | {} | {interval} |", plain(model.name), words::percent(estimate.value));
            }
            text += "\n";
        }
        text + "`report.html` beside this file has each class, the confusion matrix and the learning curves.\n\n"
    }

    fn about_use(&self) -> String {
        let several = self.judged.evaluation.metrics.several_labels();
        let pairs = self.settings.columns.pair.is_some();
        let text = if pairs { "{\"text\": \"first text\", \"text_pair\": \"second text\"}" } else { "\"your text\"" };
        let all = if several { ", top_k=None" } else { "" };
        let distune = match (&self.settings.columns.text, &self.settings.columns.pair) {
            (Some(first), Some(second)) => {
                format!("--data FILE --text-column {} --pair-column {}", quoted(first), quoted(second))
            }
            _ => "\"your text\"".to_owned(),
        };
        let windows = match self.settings.recipe.long {
            Long::Truncate => "",
            Long::Windows => "\n# reads the beginning of a long text alone; distune reads all of it, in windows",
        };
        format!(
            "## Use\n\n```python\nfrom transformers import pipeline\n\nclassify = pipeline(\"text-classification\", model=\"PATH OR NAME\")\n\
             print(classify({text}{all}, truncation=True, max_length={})){windows}\n```\n\n```sh\ndistune predict --model PATH {distune}\n```\n\n",
            self.settings.recipe.max_seq_length,
        )
    }

    fn about_limits(&self) -> String {
        let language = match self.language() {
            Some("en") => "It was trained on English texts. ".to_owned(),
            Some(code) => format!("It was trained on texts in the language `{code}`. "),
            None => String::new(),
        };
        let train = self.splits.first().map(|split| counted(split.rows, "row")).unwrap_or_default();
        let problems = match self.problems {
            [] => String::new(),
            problems => format!("The data have known defects: {}\n\n", plain(&problems.join(" "))),
        };
        format!(
            "## Limits\n\n{language}What it learned comes from {train} of one source: on texts of another kind it may do worse than the figures \
             above, and it repeats what is one-sided in them. Texts longer than {} tokens are {}. Its probabilities are as good as the calibration \
             error says.\n\n{problems}",
            self.settings.recipe.max_seq_length,
            self.long_texts(),
        )
    }

    fn about_training(&self) -> String {
        let environment = self.environment;
        let mut text = format!(
            "## Training\n\nEpochs: {}; {}, {} on {} ({} threads, {}), distune {}.",
            words::epochs(self.outcome.epochs()),
            counted(self.outcome.steps.len(), "step"),
            words::seconds(self.outcome.train_seconds),
            plain(&environment.cpu),
            environment.threads,
            environment.precision,
            environment.version,
        );
        let (trained, all) = self.parameters();
        let _ = write!(text, " {} of {} parameters trained.\n\n", thousands(trained), thousands(all));
        text += "| rows | |\n|---|---|\n";
        for split in self.splits {
            let _ = writeln!(text, "| {} | {} |", split.name, thousands(split.rows));
        }
        text += "\n```toml\n";
        let table = toml::Table::try_from(self.settings).unwrap_or_default();
        let told: toml::Table = table.into_iter().filter(|(key, _)| !NOT_TOLD.contains(&key.as_str())).collect();
        text += &toml::to_string(&told).unwrap_or_default().replace("```", "'''");
        text + "```\n"
    }
}

/// A model or data as the card tells it.
fn told(source: &Source) -> String {
    let name = match &source.hub {
        Some(hub) => code(&hub.id),
        None => code(&source.name),
    };
    source.about.as_ref().map_or(name.clone(), |about| format!("{name} ({})", plain(about)))
}

/// A name that the hub takes for a data set's: letters, digits and `-_.`.
fn identifier(name: &str) -> String {
    let stem = name.split('.').next().unwrap_or_default();
    let kept: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    let kept = kept.trim_matches(['-', '_']).to_owned();
    if kept.is_empty() { "data".to_owned() } else { kept }
}

/// Text in Markdown that is nothing but text, on one line.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push(' '),
            '<' => out += "&lt;",
            '&' => out += "&amp;",
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A name as code, on one line.
fn code(text: &str) -> String {
    let plain = |c: char| match c {
        '`' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    format!("`{}`", text.chars().map(plain).collect::<String>())
}

/// An argument of a shell, within a block of code.
fn quoted(text: &str) -> String {
    let one_line: String = text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
    format!("'{}'", one_line.replace('\'', "'\\''"))
}
