//! The page and the model card of a run: what they are made of. Called by [`crate::FineTuned`] and by sweeps.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::analysis::{ErrorAnalysis, Lengths, RowText, Texts, WrongRow, analyse};
use crate::attribution::{Attribution, Explainer, Options};
use crate::data::Examples;
use crate::engine::Precision;
use crate::eval::{Bootstrap, estimates};
use crate::model::Model;
use crate::report::{Environment, Judged, ModelRow, Source, SplitRows, TrainingReport, WORST_ROWS};
use crate::train::{Observer, Origin, Outcome, PartOfModel, RecipeFile};

use crate::hub::Kind;
use crate::train::ending::Ending;
use crate::train::start::Rows;
use crate::{memory, sources};

/// What explanations may take, and the longest text that gets one, in bytes.
const TIME: Duration = Duration::from_secs(5);
const LONGEST: usize = 4000;

/// What is known of a run when it ends.
pub struct RunPage<'a> {
    /// The directory that it is or will be.
    pub run: &'a Path,
    /// When it began.
    pub began: Instant,
    /// All settings, as they were used.
    pub settings: &'a RecipeFile,
    /// Of the operands of linear layers.
    pub precision: Precision,
    /// The model as it is saved.
    pub model: &'a Model,
    /// Its splits.
    pub rows: &'a Rows,
    /// How the data were read, a sentence each.
    pub notes: &'a [String],
    /// What is wrong with them, likewise.
    pub problems: &'a [String],
    /// What trained and what was frozen.
    pub parts: &'a [PartOfModel],
    /// Where adapters sat.
    pub adapters: Option<&'a str>,
    /// SHA-256 of the frozen tensors.
    pub frozen: Option<&'a str>,
    /// Steps and evaluations.
    pub outcome: &'a Outcome,
    /// What is known at its end.
    pub ending: &'a Ending,
    /// Checksums of what it began with, where it had checkpoints.
    pub origin: Option<&'a Origin>,
}

impl RunPage<'_> {
    /// Hands all of it to who writes it.
    ///
    /// # Errors
    /// Those of who writes it, and rows that cannot be judged.
    pub fn with(&self, observer: &dyn Observer, write: impl FnOnce(&TrainingReport) -> Result<()>) -> Result<()> {
        let (settings, labels, ending) = (self.settings, &self.model.config.labels[..], self.ending);
        let model = sources::source(Kind::Model, settings.model.as_deref().unwrap_or_default());
        let data: Vec<Source> = settings.data.iter().map(|name| sources::source(Kind::Dataset, name)).collect();
        let checksums: Vec<(&str, &str)> = self.origin.iter().flat_map(|origin| origin.checksums()).collect();
        let name = self.run.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
        let truth = self.judged_rows().answers();
        let alone = match &ending.models {
            Some(_) => Vec::new(),
            None => estimates(truth, &ending.predictions, labels, Bootstrap::default())?,
        };
        let trained =
            ModelRow { name: "trained model", figures: &alone, seconds: Some(self.outcome.train_seconds), note: None };
        let models: Vec<ModelRow> = match &ending.models {
            Some(table) => table.models.iter().map(ModelRow::from).collect(),
            None => vec![trained],
        };
        let errors = self.errors()?;
        write(&TrainingReport {
            name: &name,
            model: &model,
            data: &data,
            settings,
            labels,
            notes: self.notes,
            problems: self.problems,
            splits: &self.splits(),
            parts: self.parts,
            adapters: self.adapters,
            frozen: self.frozen,
            outcome: self.outcome,
            judged: Judged {
                split: if self.rows.test.is_some() { self.rows.test_name } else { "validation" },
                chose_the_epoch: self.rows.test.is_none(),
                truth,
                predictions: &ending.predictions,
                evaluation: &ending.judged,
                estimates: models.last().map_or(&[], |trained| trained.figures),
            },
            models: &models,
            start: ending.verdicts.start.as_ref(),
            baseline: ending.verdicts.baseline.as_ref(),
            calibration: Some(&ending.calibration),
            errors: Some(&errors),
            explanations: &self.explanations(&errors, observer),
            environment: &Environment::new(self.precision, self.began.elapsed(), memory::peak()),
            checksums: &checksums,
        })
    }

    /// The rows that the model is judged on at the end.
    fn judged_rows(&self) -> &Examples {
        self.rows.test.as_ref().unwrap_or(&self.rows.validation)
    }

    /// The rows of each split, and what they were for.
    fn splits(&self) -> Vec<SplitRows<'_>> {
        let Rows { train, validation, test, test_name } = self.rows;
        let split = |name, rows, purpose| SplitRows::new(name, rows, self.model.config.labels.len(), purpose);
        let chooses = if test.is_some() { "chose the epoch" } else { "chose the epoch, and judge" };
        let mut splits = vec![split("train", train, "trained on"), split("validation", validation, chooses)];
        splits.extend(test.iter().map(|rows| split(test_name, rows, "judge, once, at the end")));
        splits
    }

    /// Where the model errs.
    fn errors(&self) -> Result<ErrorAnalysis> {
        let rows = self.judged_rows();
        let of_rows = rows.texts()?.iter().map(|text| text.tokens()).collect();
        let lengths = Lengths { unit: "tokens", of_rows };
        let (texts, labels) = (Texts::from(rows.dataset()), &self.model.config.labels);
        analyse(texts, rows.answers(), &self.ending.predictions, labels, &lengths, &[])
    }

    /// What the most confidently wrong predictions rest on, as far as there is time and nobody wants to stop. Nothing of it is needed: a row
    /// that cannot be explained is shown without.
    fn explanations(&self, errors: &ErrorAnalysis, observer: &dyn Observer) -> Vec<Option<Attribution>> {
        let (began, mut explainer) = (Instant::now(), Explainer::new(self.model, Options::default()));
        let mut go_on = |_, _| began.elapsed() < TIME && !observer.stop_requested();
        let tokenizer = self.judged_rows().tokenizer();
        let explanation = |row: &WrongRow| {
            let RowText { text, pair, .. } = &row.at;
            let length = text.len() + pair.as_ref().map_or(0, String::len);
            let class = self.model.config.labels.iter().position(|label| *label == row.label);
            if length > LONGEST || !go_on(0, 0) {
                return None;
            }
            let traced = tokenizer.trace(text, pair.as_deref()).ok()?;
            explainer.explain(&traced, class, &mut go_on).ok()
        };
        errors.wrong.iter().take(WORST_ROWS).map(explanation).collect()
    }
}
