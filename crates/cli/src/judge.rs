//! What is judged, a trained model or a file of predictions, and the labelled rows that it is judged on. Called by `eval`,
//! `errors`, `compare` and `calibrate`.

use std::path::{Path, PathBuf};

use clap::Args;
use distune::data::{Answers, Columns, Dataset, Examples, LabelMap, Labels, Lengths, PredictionFile, Table};
use distune::engine::Predict;
use distune::eval::{Predictions, predict};
use distune::model::{Model, ModelFiles, ProblemType};
use distune::tokenize::Tokenizer;
use distune::{Error, Result};

use crate::columns::ColumnArgs;
use crate::length::LengthArgs;
use crate::output::{note, thousands};
use crate::progress::Progress;
use crate::sources::Classifier;
use crate::{Common, sources, stop};

/// Which rows are taken, and how they are read.
#[derive(Args, Debug)]
pub(crate) struct RowArgs {
    /// Split to use where there are several [default: test, else validation; of calibrate, validation]
    #[arg(long, value_parser = ["train", "validation", "dev", "test"])]
    pub(crate) split: Option<String>,
    #[command(flatten)]
    pub(crate) columns: ColumnArgs,
    #[command(flatten)]
    pub(crate) length: LengthArgs,
}

/// A model or a file of predictions, and the rows that it is judged on.
#[derive(Args, Debug)]
pub(crate) struct JudgedArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short, required_unless_present = "predictions")]
    pub(crate) model: Option<String>,
    /// Judge this file instead of a model: what predict --json prints, or .csv, .tsv, .jsonl or .parquet with a column predicted (or
    /// label), a column probability_NAME for each class, or both
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "max_length", "long", "window_overlap", "window_combine"])]
    pub(crate) predictions: Option<PathBuf>,
    /// "reviews", a directory with splits, a file of any format that is read, "-" for one on standard input, or a name of the
    /// Hugging Face hub [default: reviews; with --predictions the file itself, if it has a column label beside predicted]
    #[arg(long, short)]
    data: Option<String>,
    #[command(flatten)]
    pub(crate) rows: RowArgs,
}

impl JudgedArgs {
    pub(crate) fn predictor(&self, common: &Common) -> Result<Predictor> {
        match &self.predictions {
            Some(file) => Predictor::file(file),
            None => Predictor::model(self.model.as_deref().unwrap_or_default(), common),
        }
    }

    /// The name of the rows; none where the file of predictions has them.
    pub(crate) fn data(&self) -> Option<&str> {
        let reviews = self.predictions.is_none().then_some(sources::REVIEWS);
        self.data.as_deref().or(reviews)
    }
}

/// What predicts.
pub(crate) enum Predictor {
    Model { name: String, files: ModelFiles, labels: LabelMap },
    File(Box<PredictionFile>),
}

/// Rows with their true labels.
pub(crate) struct Rows {
    /// The file that they come from.
    pub(crate) path: PathBuf,
    /// The rows themselves, unless a file of predictions tells the truth too.
    pub(crate) table: Option<Table>,
    /// The classes.
    pub(crate) labels: LabelMap,
    /// The class ids of each row.
    pub(crate) truth: Answers,
}

impl Predictor {
    /// A model by its name. What its files lack is told before any rows are read.
    pub(crate) fn model(name: &str, common: &Common) -> Result<Self> {
        let files = sources::model(name, common)?;
        Model::check(&files)?;
        let config = files.config()?;
        Ok(Self::Model { name: name.to_owned(), files, labels: LabelMap::of_model(&config) })
    }

    /// A file of predictions.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        Ok(Self::File(Box::new(PredictionFile::read(path)?)))
    }

    /// The files of a model.
    pub(crate) fn model_files(&self) -> Option<&ModelFiles> {
        if let Self::Model { files, .. } = self { Some(files) } else { None }
    }

    fn as_file(&self) -> Option<&PredictionFile> {
        if let Self::File(file) = self { Some(file) } else { None }
    }

    /// The classes of a model.
    fn model_labels(&self) -> Option<&LabelMap> {
        if let Self::Model { labels, .. } = self { Some(labels) } else { None }
    }

    fn several_labels(&self) -> bool {
        match self {
            Self::Model { labels, .. } => labels.problem() == ProblemType::MultiLabel,
            Self::File(file) => file.several_labels,
        }
    }

    /// Predicts the rows; also the seconds that it took.
    pub(crate) fn predictions(
        &self,
        rows: &Rows,
        length: &LengthArgs,
        common: &Common,
    ) -> anyhow::Result<(Predictions, f64)> {
        let (name, files) = match (self, &rows.table) {
            (Self::Model { name, files, .. }, Some(_)) => (name, files),
            (Self::Model { name, .. }, None) => {
                return Err(
                    Error::file(Path::new(name), "there are no rows to predict", "Name them with --data").into()
                );
            }
            (Self::File(file), table) => {
                table.iter().try_for_each(|table| file.check_rows(table))?;
                return Ok((file.predictions(&rows.labels)?, 0.0));
            }
        };
        let mut classifier = sources::classifier(files, length, common)?;
        let table = rows.table.clone().unwrap_or_default();
        classifier.check_texts(&table.path, !table.pairs.is_empty())?;
        let Classifier { engine, tokenizer, .. } = &mut classifier;
        let own = LabelMap::of_model(engine.config());
        let ids = rows
            .labels
            .ids_of(&own, &table)
            .map_err(|problem| Error::file(Path::new(name), problem, "Compare models and files of the same classes"))?;
        let examples = Examples::new(Dataset::new(table, &own)?, tokenizer, engine.config());
        examples.texts()?;
        if let Some(text) = long_texts(&examples.lengths(), tokenizer) {
            note(common, text);
        }
        let mut judging = Judging(Progress::new(common, "rows"));
        let start = std::time::Instant::now();
        let predictions = predict(engine, &examples, &mut judging)?;
        judging.0.finish();
        Ok((predictions.with_ids(&ids), start.elapsed().as_secs_f64()))
    }
}

impl Rows {
    /// The rows of `data` for some predictors; without a name, those of a file of predictions that tells the truth too. The classes are
    /// those of the first model, else of the first file with probabilities, else what occurs.
    pub(crate) fn read(
        predictors: &[&Predictor],
        data: Option<&str>,
        split: Option<&str>,
        columns: Columns,
        common: &Common,
    ) -> Result<Self> {
        let model = predictors.iter().find_map(|predictor| predictor.model_labels());
        let files: Vec<&PredictionFile> = predictors.iter().filter_map(|predictor| predictor.as_file()).collect();
        let labels = |table: Option<&Table>| match model {
            Some(labels) => Ok(labels.clone()),
            None => LabelMap::of_predictions(&files, table),
        };
        let Some(data) = data else {
            let Some(file) = files.first() else {
                return Err(Error::file(Path::new("--data"), "names no rows", "Name a file or a directory of splits"));
            };
            let labels = labels(None)?;
            return Ok(Self { path: file.path.clone(), table: None, truth: file.own_truth(&labels)?, labels });
        };
        let several_labels = predictors.iter().any(|predictor| predictor.several_labels());
        let columns = Columns { several_labels, ..columns };
        let table = sources::table(data, split, &columns, Labels::Required, common)?;
        let labels = labels(Some(&table))?;
        let truth = Dataset::answers(&table, &labels)?;
        Ok(Self { path: table.path.clone(), table: Some(table), labels, truth })
    }
}

/// What has become of long texts, if there are any.
pub(crate) fn long_texts(lengths: &Lengths, tokenizer: &Tokenizer) -> Option<String> {
    let (limit, all) = (tokenizer.max_length(), thousands(lengths.rows));
    let cut = match (lengths.truncated, tokenizer.windows()) {
        (0, _) => None,
        (cut, None) => {
            Some(format!("{} of {all} texts are longer than {limit} tokens and were cut there", thousands(cut)))
        }
        (cut, Some(_)) => {
            Some(format!("{} of {all} second texts took more than half of a window and were cut there", thousands(cut)))
        }
    };
    let windows = (lengths.windows > lengths.rows)
        .then(|| format!("{all} texts were read in {} windows of up to {limit} tokens", thousands(lengths.windows)));
    let said: Vec<String> = [windows, cut].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Shows how many rows have been judged.
struct Judging(Progress);

impl distune::train::Observer for Judging {
    fn evaluating(&mut self, rows: usize, total_rows: usize) {
        self.0.set(rows, total_rows, String::new);
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}
