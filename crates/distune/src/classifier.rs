//! A trained classifier: texts in, labels with their probabilities out. Called by the command line, and by who uses the library.

use std::path::Path;

use crate::data::{Columns, Dataset, Examples, LabelMap, Labels, check_text};
use crate::engine::{Inference, InferencePrecision, Precision, Predict};
use crate::eval::{Evaluation, evaluate};
use crate::hub;
use crate::model::ModelFiles;
use crate::predict::{predicted, probabilities, text_logits};
use crate::sources::{self, Reading};
use crate::tokenize::{Encoded, Tokenizer};
use crate::{Error, Result};

/// A trained classifier, ready to predict.
///
/// ```
/// use distune::prelude::*;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("run");
/// # let encoder = distune::sources::model("bundled", &mut ())?;
/// # let labels = LabelMap::from_names(vec!["negative".into(), "positive".into()]);
/// # let model = Model::load_with_new_head(&encoder, &labels, 1)?;
/// # std::fs::create_dir(&path).unwrap();
/// # distune::model::save(&path, &model, &encoder.tokenizer)?;
/// # let path = path.to_str().unwrap();
/// let mut classifier = Classifier::open(path)?;
/// for prediction in classifier.predict(&["a charming journey", "dull and far too long"])? {
///     println!("{} {:.2}", prediction.label(), prediction.probability());
///     # assert!(["negative", "positive"].contains(&prediction.label()) && prediction.probability() >= 0.5);
/// }
/// println!("{}", classifier.evaluate("reviews", None)?.metrics);
/// # Ok::<(), distune::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    /// What computes its logits.
    pub engine: Inference,
    /// That of its linear layers.
    pub precision: InferencePrecision,
    /// What makes tokens of texts.
    pub tokenizer: Tokenizer,
    /// The columns of its text and of the second text of a pair in its training, where a run directory tells.
    trained_on: Option<(String, Option<String>)>,
}

/// What is predicted for a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The label, or where a row may have several all that are at least as likely as not, in the order of the model's.
    pub labels: Vec<String>,
    /// `[C]` the probability of each of the model's classes.
    pub probabilities: Vec<f64>,
    /// Whether the text was longer than the classifier's limit, and was cut.
    pub truncated: bool,
}

impl Prediction {
    /// The label; the first one where there are several, and nothing where there is none.
    pub fn label(&self) -> &str {
        self.labels.first().map_or("", String::as_str)
    }

    /// The probability of the most probable class.
    pub fn probability(&self) -> f64 {
        self.probabilities.iter().copied().fold(0.0, f64::max)
    }
}

impl Classifier {
    /// The classifier of a directory, or by its name on the hub, in the precision that is fastest here.
    ///
    /// # Errors
    /// A model that is not there or has no trained head.
    pub fn open(name: &str) -> Result<Self> {
        Self::fastest(&sources::model(name, &mut ())?)
    }

    /// The classifier that a model's files are, in the precision that is fastest here.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn fastest(files: &ModelFiles) -> Result<Self> {
        let quantized = files.config()?.is_quantized();
        let precision = if quantized { InferencePrecision::Int8 } else { Precision::fastest().into() };
        Self::of(files, &Reading::default(), precision)
    }

    /// The classifier that a model's files are, which reads long texts so.
    ///
    /// # Errors
    /// As [`crate::model::Model::load`] and [`Reading::tokenizer`].
    pub fn of(files: &ModelFiles, reading: &Reading, precision: InferencePrecision) -> Result<Self> {
        let config = files.config()?;
        // the tokenizer is read while the weights are
        let (engine, tokenizer) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| reading.tokenizer(files, &config));
            let engine = Inference::load(files, precision);
            (engine, tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (engine, tokenizer) = (engine?, tokenizer?);
        let column = |key| sources::trained_with(files, key).and_then(|name| Some(name.as_str()?.to_owned()));
        let trained_on = column("text_column").map(|text| (text, column("pair_column")));
        Ok(Self::new(engine, precision, tokenizer, trained_on))
    }

    /// A classifier of its parts.
    pub(crate) fn new(
        engine: Inference,
        precision: InferencePrecision,
        tokenizer: Tokenizer,
        trained_on: Option<(String, Option<String>)>,
    ) -> Self {
        Self { engine, precision, tokenizer, trained_on }
    }

    /// The columns of its text and of the second text of a pair in its training, where that is known.
    pub fn trained_on(&self) -> Option<(&str, Option<&str>)> {
        self.trained_on.as_ref().map(|(text, second)| (text.as_str(), second.as_deref()))
    }

    /// Checks that rows are single texts or pairs as those of its training were, and that pairs can be encoded.
    ///
    /// # Errors
    /// Rows `from` somewhere that are not.
    pub fn check_texts(&self, from: &Path, pairs: bool) -> Result<()> {
        match &self.trained_on {
            Some((text, Some(second))) if !pairs => {
                let problem =
                    format!("single texts, but the model was trained on pairs, of the columns {text:?} and {second:?}");
                let hint = format!("Read pairs: --data FILE --text-column {text:?} --pair-column {second:?}");
                Err(Error::file(from, problem, hint))
            }
            Some((text, None)) if pairs => {
                let problem =
                    format!("pairs of texts, but the model was trained on single ones, of the column {text:?}");
                Err(Error::file(from, problem, "Name the only text with --text-column NAME"))
            }
            _ if pairs => self.tokenizer.check_pairs(),
            _ => Ok(()),
        }
    }

    /// What is predicted for each of some texts, in their order.
    ///
    /// # Errors
    /// A model that was trained on pairs of texts; a tokenizer that is not the model's.
    pub fn predict(&mut self, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<Prediction>> {
        self.check_texts(Path::new("texts"), false)?;
        let encoded = self.tokenizer.encode(texts)?;
        let wrong =
            |problem| Error::file(Path::new("tokenizer.json"), problem, "Use the one that belongs to the model");
        let config = self.engine.config().clone();
        encoded.iter().try_for_each(|text| check_text(text, &config).map_err(wrong))?;
        let encoded: Vec<&Encoded> = encoded.iter().collect();
        let mut predictions = Vec::with_capacity(encoded.len());
        text_logits(&mut self.engine, &encoded, self.tokenizer.combine(), |batch| {
            for row in batch {
                let probabilities = probabilities(row, config.problem_type);
                let labels = predicted(&probabilities, config.problem_type).into_iter();
                let labels = labels.map(|id| config.labels[id as usize].clone()).collect();
                let truncated = encoded[predictions.len()].truncated;
                predictions.push(Prediction { labels, probabilities, truncated });
            }
            Ok::<(), Error>(())
        })?;
        Ok(predictions)
    }

    /// Judges it on labelled rows: a file, a split of a directory (or of "reviews", or of a data set of the hub), without a name its
    /// test rows or else its validation rows.
    ///
    /// # Errors
    /// Data that are not there, or whose labels are not the model's.
    pub fn evaluate(&mut self, data: &str, split: Option<&str>) -> Result<Evaluation> {
        self.evaluate_columns(data, split, &Columns::default(), &mut ())
    }

    /// As [`Self::evaluate`], with the columns to read, and who is told what was assumed of them.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_columns(
        &mut self,
        data: &str,
        split: Option<&str>,
        columns: &Columns,
        observer: &mut dyn hub::Observer,
    ) -> Result<Evaluation> {
        let labels = LabelMap::of_model(self.engine.config());
        let several_labels = labels.problem() == crate::model::ProblemType::MultiLabel;
        let columns = Columns { several_labels, ..columns.clone() };
        let table = sources::table(data, split, &columns, Labels::Required, observer)?;
        self.check_texts(&table.path, !table.pairs.is_empty())?;
        let examples = Examples::new(Dataset::new(table, &labels)?, &self.tokenizer, self.engine.config());
        evaluate(&mut self.engine, &examples, &mut ())
    }
}
