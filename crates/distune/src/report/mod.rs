//! What a training has come to, for people: a page, `report.html`, and the model card, `README.md`. Called by `run`.
//!
//! The page is one file without scripts and without anything from elsewhere. All that comes from users, such as texts, names of labels
//! and columns, and paths, passes through [`maud`], which escapes it.
//!
//! - `page`: its frame and the order of its parts; `verdict`, `done`, `figures`, `classes`, `trust`, `errors`, `record`: the parts
//! - `pictures`: what is drawn; `words`: how numbers are said
//! - `card`: the model card

mod card;
mod classes;
mod done;
mod environment;
mod errors;
mod figures;
mod of_run;
mod page;
mod pictures;
mod record;
mod source;
#[cfg(test)]
mod tests;
mod trust;
mod verdict;
mod words;

use std::path::Path;

pub use environment::Environment;
pub use of_run::RunPage;
pub use source::{HubName, Source};

use crate::Result;
use crate::analysis::ErrorAnalysis;
use crate::attribution::Attribution;
use crate::baselines::ModelFigures;
use crate::calibration::Calibration;
use crate::data::{Answers, Examples, Lengths};
use crate::eval::{Estimate, Evaluation, Metric, Pair, Predictions};
use crate::tokenize::Long;
use crate::train::{Outcome, PartOfModel, RecipeFile};

/// How many wrong rows the page shows, the most confidently wrong ones.
pub const WORST_ROWS: usize = 10;

/// Everything that the page and the model card are made of.
#[derive(Clone, Debug)]
pub struct TrainingReport<'a> {
    /// What the run is called.
    pub name: &'a str,
    /// The model that the training started from.
    pub model: &'a Source,
    /// The data, one name or several files.
    pub data: &'a [Source],
    /// All settings, as they were used.
    pub settings: &'a RecipeFile,
    /// `[C]` the classes' names.
    pub labels: &'a [String],
    /// How the data were read and split, a sentence each.
    pub notes: &'a [String],
    /// What is wrong with the data, a sentence each.
    pub problems: &'a [String],
    /// The rows of each split.
    pub splits: &'a [SplitRows<'a>],
    /// What trained and what was frozen.
    pub parts: &'a [PartOfModel],
    /// Where adapters sat, as a sentence.
    pub adapters: Option<&'a str>,
    /// SHA-256 of the frozen tensors, where there are some.
    pub frozen: Option<&'a str>,
    /// Steps and evaluations.
    pub outcome: &'a Outcome,
    /// The rows that the saved model is judged on.
    pub judged: Judged<'a>,
    /// Models on the same rows, the simplest first and the trained one last; that one alone where nothing was compared.
    pub models: &'a [ModelRow<'a>],
    /// The trained model against the one that the training started from, where that had a trained head.
    pub start: Option<&'a Pair>,
    /// The trained model against the best baseline, where there are baselines.
    pub baseline: Option<&'a Pair>,
    /// What was fitted to its probabilities.
    pub calibration: Option<&'a Calibration>,
    /// Its errors on the rows that judge it, where they were looked into.
    pub errors: Option<&'a ErrorAnalysis>,
    /// What the predictions of the first wrong rows rest on, as far as that was computed.
    pub explanations: &'a [Option<Attribution>],
    /// Machine and time.
    pub environment: &'a Environment,
    /// What the training began with, as checksums: what of, and the checksum.
    pub checksums: &'a [(&'a str, &'a str)],
}

impl TrainingReport<'_> {
    /// What becomes of texts that are longer than the limit.
    fn long_texts(&self) -> &'static str {
        match self.settings.recipe.long {
            Long::Truncate => "cut there",
            Long::Windows => "read in overlapping windows of that length, whose logits are combined",
        }
    }
}

/// The rows of a split.
#[derive(Clone, Debug)]
pub struct SplitRows<'a> {
    /// `train`, `validation`, `test` or `dev`.
    pub name: &'a str,
    /// How many rows there are.
    pub rows: usize,
    /// `[C]` how many there are of each class.
    pub of_classes: Vec<usize>,
    /// Their lengths, of those that have been read by the model.
    pub lengths: Lengths,
    /// What they were for, in a few words.
    pub purpose: &'a str,
}

/// A model among others on the same rows.
#[derive(Clone, Copy, Debug)]
pub struct ModelRow<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its figures with intervals.
    pub figures: &'a [Estimate],
    /// Seconds that its training took, where it was trained here.
    pub seconds: Option<f64>,
    /// What else is to be known of it.
    pub note: Option<&'a str>,
}

/// The saved model on the rows that judge it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What the rows are called.
    pub split: &'a str,
    /// Whether they also chose the epoch, so that their figures are favourable.
    pub chose_the_epoch: bool,
    /// What the rows are.
    pub truth: &'a Answers,
    /// What the model predicts.
    pub predictions: &'a Predictions,
    /// Its figures.
    pub evaluation: &'a Evaluation,
    /// The same with intervals.
    pub estimates: &'a [Estimate],
}

impl<'a> SplitRows<'a> {
    /// Of rows for a model of so many classes.
    pub fn new(name: &'a str, rows: &Examples, classes: usize, purpose: &'a str) -> Self {
        let of_classes = rows.dataset().answers.counts(classes);
        Self { name, rows: rows.dataset().len(), of_classes, lengths: rows.lengths(), purpose }
    }
}

impl<'a> From<&'a ModelFigures> for ModelRow<'a> {
    fn from(model: &'a ModelFigures) -> Self {
        let ModelFigures { name, figures, seconds, note } = model;
        Self { name, figures, seconds: *seconds, note: note.as_deref() }
    }
}

impl ModelRow<'_> {
    pub(crate) fn figure(&self, metric: Metric) -> Option<&Estimate> {
        self.figures.iter().find(|estimate| estimate.metric == metric)
    }
}

impl Judged<'_> {
    /// What the report judges by first: accuracy, or micro F1 where a row may have several labels.
    fn metric(&self) -> Metric {
        if self.evaluation.metrics.several_labels() { Metric::MicroF1 } else { Metric::Accuracy }
    }

    fn figure(&self, metric: Metric) -> Option<&Estimate> {
        self.estimates.iter().find(|estimate| estimate.metric == metric)
    }

    /// "929 test rows"
    fn rows(&self) -> String {
        format!("{} {} rows", words::thousands(self.truth.len()), self.split)
    }
}

impl TrainingReport<'_> {
    /// Writes `report.html` and `README.md` into a run.
    ///
    /// # Errors
    /// [`crate::Error::File`] when one of them cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        crate::model::write(&directory.join("report.html"), self.html().as_bytes())?;
        crate::model::write(&directory.join("README.md"), self.card()?.as_bytes())
    }

    /// How many parameters trained, of how many.
    fn parameters(&self) -> (usize, usize) {
        self.parts.iter().fold((0, 0), |(trained, all), part| (trained + part.trained, all + part.parameters))
    }

    /// What the best weights were selected by.
    fn selected_by(&self) -> &'static str {
        match self.settings.recipe.metric_for_best_model {
            // with one label a row, the same
            Metric::MicroF1 => self.judged.metric().title(),
            metric => metric.title(),
        }
    }
}
