//! The run directory: the Hugging Face files of the trained model with the records of the training beside them.
//!
//! It is written in full under another name and then renamed, so that it is there whole or not at all: by [`RunDirectory`] where that
//! takes no time, by [`crate::unfinished::UnfinishedRun`] where it may be interrupted and gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::baselines::ModelTable;
use crate::calibration::Calibration;
use crate::eval::{Evaluation, Metric, Metrics, ProbabilityMetrics};
use crate::model::{Model, save};
use crate::report::TrainingReport;
use crate::train::{EvaluationRecord, Outcome, RecipeFile, StepRecord, flush_directory};
use crate::{Error, Result};

/// Classes of a confusion matrix that is written, at most.
const CONFUSION_CLASSES: usize = 100;
/// Steps between two records in `trainer_state.json`.
const LOGGING_STEPS: usize = 10;

/// A directory that appears under its name when everything is in it.
#[derive(Debug)]
pub struct RunDirectory {
    target: PathBuf,
    overwrite: bool,
    temporary: tempfile::TempDir,
    /// Dropped after `temporary`, which lies in them.
    _parents: CreatedParents,
}

/// Directories made on the way to the output, which go again if they are left empty.
#[derive(Debug)]
pub(crate) struct CreatedParents(Vec<PathBuf>);

impl CreatedParents {
    /// Creates what lies above a path.
    pub(crate) fn above(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).map_err(|e| Error::io(path, "use", &e))?;
        let parent = absolute.parent().unwrap_or(&absolute);
        let missing = parent.ancestors().take_while(|p| !p.exists()).map(Path::to_owned).collect();
        let created = Self(missing);
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "create the directory", &e))?;
        Ok(created)
    }
}

impl Drop for CreatedParents {
    fn drop(&mut self) {
        // one that is not empty cannot be removed, and should not
        self.0.iter().for_each(|path| drop(fs::remove_dir(path)));
    }
}

/// Checks that a directory is free, or may be overwritten.
pub(crate) fn check_target(target: &Path, overwrite: bool) -> Result<()> {
    if target.exists() && !target.is_dir() {
        return Err(Error::file(target, "exists and is not a directory", "Choose another --output"));
    }
    if target.exists() && !overwrite {
        let hint = "Choose another --output, or add --overwrite to replace it";
        return Err(Error::file(target, "the output directory exists", hint));
    }
    let entries = || fs::read_dir(target).map(Iterator::count).unwrap_or(0);
    if target.exists() && !target.join("config.json").exists() && entries() > 0 {
        let problem = "is not the directory of a model (no config.json in it), so it is not overwritten";
        return Err(Error::file(target, problem, "Choose another --output"));
    }
    Ok(())
}

/// Gives a directory its name. An old one of that name is removed only after the new one has taken its place.
pub(crate) fn replace(from: &Path, target: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(target, "put the finished run in place", &e);
    let target = std::path::absolute(target).map_err(failed)?;
    let parent = target.parent().unwrap_or(&target);
    let aside = tempfile::Builder::new().prefix(".distune-").tempdir_in(parent).map_err(failed)?;
    let old = aside.path().join("old");
    let replaced = target.exists();
    if replaced {
        fs::rename(&target, &old).map_err(failed)?;
    }
    if let Err(e) = fs::rename(from, &target) {
        if replaced {
            fs::rename(&old, &target).map_err(failed)?;
        }
        return Err(failed(e));
    }
    flush_directory(parent).map_err(failed)?;
    aside.close().map_err(|e| Error::io(&old, "remove the replaced directory", &e))
}

impl RunDirectory {
    /// Makes sure, before any work, that the directory can be written.
    ///
    /// # Errors
    /// [`Error::File`] when `target` exists and `overwrite` is false or it holds something else than a model, or when its parent cannot be written.
    pub fn create(target: &Path, overwrite: bool) -> Result<Self> {
        check_target(target, overwrite)?;
        let absolute = std::path::absolute(target).map_err(|e| Error::io(target, "use", &e))?;
        let parents = CreatedParents::above(&absolute)?;
        let parent = absolute.parent().unwrap_or(&absolute);
        let temporary = tempfile::Builder::new().prefix(".distune-").tempdir_in(parent);
        let temporary = temporary.map_err(|e| Error::io(parent, "write into the directory", &e))?;
        Ok(Self { target: absolute, overwrite, temporary, _parents: parents })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives it its name. An old directory of that name is removed only after the new one has taken its place.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be renamed, or when something of that name has appeared meanwhile.
    pub fn finish(self) -> Result<PathBuf> {
        if self.target.exists() && !self.overwrite {
            return Err(Error::file(&self.target, "has appeared meanwhile", "Move it away"));
        }
        set_readable(self.path()).map_err(|e| Error::io(self.path(), "make readable", &e))?;
        replace(self.path(), &self.target)?;
        Ok(self.target)
    }
}

/// Temporary directories are private; a run is an ordinary directory.
fn set_readable(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Everything that a finished training leaves.
#[derive(Debug)]
pub struct Run<'a> {
    /// The model of the best epoch.
    pub model: &'a Model,
    /// The tokenizer's files.
    pub tokenizer: &'a [(String, Vec<u8>)],
    /// All settings, as they were used.
    pub settings: &'a RecipeFile,
    /// Rows trained on.
    pub train_rows: usize,
    /// Steps and epochs.
    pub outcome: &'a Outcome,
    /// The best epoch on the test rows, where there are some.
    pub test: Option<&'a Evaluation>,
    /// What its probabilities are worth.
    pub calibration: Option<&'a Calibration>,
    /// The baselines beside it.
    pub models: Option<&'a ModelTable>,
    /// What the page and the model card say, where they are wanted.
    pub report: Option<&'a TrainingReport<'a>>,
}

impl Run<'_> {
    /// Writes all files into an existing directory.
    ///
    /// # Errors
    /// [`Error::File`] when one cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        save(directory, self.model, self.tokenizer)?;
        self.report.map_or(Ok(()), |report| report.write(directory))?;
        self.write_records(directory)
    }

    /// Writes what [`Self::write`] does, but for the model, its tokenizer, the page and the card.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be written.
    pub fn write_records(&self, directory: &Path) -> Result<()> {
        crate::model::write(&directory.join("recipe.toml"), self.settings.to_toml()?.as_bytes())?;
        write_json(directory, "train_results.json", &self.train_results())?;
        write_json(directory, "eval_results.json", &self.eval_results())?;
        self.calibration.map_or(Ok(()), |calibration| calibration.write(directory))?;
        self.models.map_or(Ok(()), |models| models.write(directory))?;
        if let Ok(svg) = crate::curves::learning_curves(self.outcome) {
            crate::model::write(&directory.join("learning_curves.svg"), svg.as_bytes())?;
        }
        write_json(directory, "trainer_state.json", &self.trainer_state())
    }

    /// Names as Transformers' Trainer writes them.
    fn train_results(&self) -> Value {
        let (outcome, seconds) = (self.outcome, self.outcome.train_seconds);
        let rows = outcome.epochs() * self.train_rows as f64;
        let loss = outcome.steps.iter().map(|step| step.loss).sum::<f64>() / outcome.steps.len() as f64;
        json!({
            "epoch": outcome.epochs(),
            "train_loss": loss,
            "train_runtime": seconds,
            "train_samples": self.train_rows,
            "train_samples_per_second": rows / seconds,
            "train_steps_per_second": outcome.steps.len() as f64 / seconds,
        })
    }

    /// The best weights on validation (`eval_`) and test (`test_`).
    fn eval_results(&self) -> Value {
        let mut results = Map::new();
        if let Some(best) = self.outcome.best() {
            results.insert("epoch".into(), json!(best.epoch));
            results.extend(evaluation_results("eval", &best.validation));
        }
        if let Some(test) = self.test {
            results.extend(evaluation_results("test", test));
        }
        Value::Object(results)
    }

    fn trainer_state(&self) -> Value {
        let outcome = self.outcome;
        let mut log: Vec<Value> = Vec::new();
        for record in &outcome.steps {
            log.extend(logged_step(record).map(Value::Object));
            let judged = outcome.evaluations.iter().find(|e| e.step == record.step);
            log.extend(judged.map(|judged| Value::Object(logged_evaluation(judged))));
        }
        let (best, recipe) = (outcome.best(), &self.settings.recipe);
        json!({
            "best_global_step": best.map(|e| e.step),
            "best_metric": best.map(|e| recipe.metric_for_best_model.of(&e.validation)),
            "best_model_checkpoint": null,
            "epoch": outcome.epochs(),
            "global_step": outcome.steps.len(),
            "is_local_process_zero": true,
            "is_world_process_zero": true,
            "log_history": log,
            "logging_steps": LOGGING_STEPS,
            "max_steps": recipe.schedule(self.train_rows).total_steps,
            "num_train_epochs": recipe.num_train_epochs,
            "train_batch_size": recipe.per_device_train_batch_size,
        })
    }
}

/// The log entry of a step: of the first one and of every tenth.
pub(crate) fn logged_step(record: &StepRecord) -> Option<Map<String, Value>> {
    let logged = record.step.is_multiple_of(LOGGING_STEPS) || record.step == 1;
    match json!(record) {
        Value::Object(entry) if logged => Some(entry),
        _ => None,
    }
}

/// The log entry of an evaluation.
pub(crate) fn logged_evaluation(record: &EvaluationRecord) -> Map<String, Value> {
    let mut entry = Map::from_iter([("epoch".to_owned(), json!(record.epoch))]);
    // figures; those of each class would make it long
    let figures = evaluation_results("eval", &record.validation);
    entry.extend(figures.into_iter().filter(|(_, value)| value.is_number()));
    entry.insert("step".into(), json!(record.step));
    entry
}

/// `{prefix}_loss`, `{prefix}_accuracy` and so on, every single number under its name; the confusion matrix where it is not too large
/// to read.
pub fn evaluation_results(prefix: &str, evaluation: &Evaluation) -> Map<String, Value> {
    let rows = evaluation.metrics.rows as f64;
    let mut values = Map::from_iter([(format!("{prefix}_loss"), json!(evaluation.loss))]);
    values.extend(figures(prefix, &evaluation.metrics, Some(&evaluation.probabilities)));
    values.insert(format!("{prefix}_runtime"), json!(evaluation.seconds));
    values.insert(format!("{prefix}_samples_per_second"), json!(rows / evaluation.seconds));
    values
}

/// [`evaluation_results`] without the loss and the time.
pub fn figures(prefix: &str, metrics: &Metrics, probabilities: Option<&ProbabilityMetrics>) -> Map<String, Value> {
    let mut values = Map::new();
    let mut insert = |key: &str, value: Value| drop(values.insert(format!("{prefix}_{key}"), value));
    let value = |metric| metrics.value(metric).or_else(|| probabilities?.value(metric));
    for metric in Metric::all() {
        if let Some(value) = value(metric) {
            insert(metric.name(), json!(value));
        }
        if metric == Metric::Accuracy {
            insert("accuracy_low", json!(metrics.interval.low));
            insert("accuracy_high", json!(metrics.interval.high));
        }
    }
    insert("samples", json!(metrics.rows));
    insert("classes", json!(metrics.classes));
    if let Some(probabilities) = probabilities {
        let chance = probabilities.expected_calibration_error_chance;
        insert("expected_calibration_error_chance", json!(chance));
        insert("class_rankings", json!(probabilities.class_rankings));
    }
    if !metrics.several_labels() && metrics.classes.len() <= CONFUSION_CLASSES {
        insert("confusion", json!(metrics.confusion));
    }
    values
}

fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let path = directory.join(name);
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(&path, e, ""))?;
    crate::model::write(&path, format!("{text}\n").as_bytes())
}
