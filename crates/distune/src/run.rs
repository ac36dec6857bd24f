//! The run directory: the Hugging Face files of the trained model with the records of the training beside them.
//!
//! It is written in full under another name and then renamed, so that it is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::engine::Precision;
use crate::eval::Evaluation;
use crate::model::{Model, save};
use crate::train::{Outcome, Recipe};
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
struct CreatedParents(Vec<PathBuf>);

impl CreatedParents {
    fn create(parent: &Path) -> std::io::Result<Self> {
        let missing = parent.ancestors().take_while(|p| !p.exists()).map(Path::to_owned).collect();
        let created = Self(missing);
        fs::create_dir_all(parent)?;
        Ok(created)
    }
}

impl Drop for CreatedParents {
    fn drop(&mut self) {
        // one that is not empty cannot be removed, and should not
        self.0.iter().for_each(|path| drop(fs::remove_dir(path)));
    }
}

impl RunDirectory {
    /// Makes sure, before any work, that the directory can be written.
    ///
    /// # Errors
    /// [`Error::File`] when `target` exists and `overwrite` is false or it holds something else than a model, or when its parent cannot be written.
    pub fn create(target: &Path, overwrite: bool) -> Result<Self> {
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
        let absolute = std::path::absolute(target).map_err(|e| Error::io(target, "use", &e))?;
        let parent = absolute.parent().unwrap_or(&absolute);
        let parents = CreatedParents::create(parent).map_err(|e| Error::io(parent, "create the directory", &e))?;
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
        let failed = |e: std::io::Error| Error::io(&self.target, "put the finished run in place", &e);
        if self.target.exists() && !self.overwrite {
            return Err(Error::file(&self.target, "has appeared during the training", "Move it away"));
        }
        set_readable(self.path()).map_err(failed)?;
        let old = self.temporary.path().with_extension("old");
        let replaced = self.target.exists();
        if replaced {
            fs::rename(&self.target, &old).map_err(failed)?;
        }
        if let Err(e) = fs::rename(self.path(), &self.target) {
            if replaced {
                fs::rename(&old, &self.target).map_err(failed)?;
            }
            return Err(failed(e));
        }
        if replaced {
            fs::remove_dir_all(&old).map_err(|e| Error::io(&old, "remove the replaced directory", &e))?;
        }
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
    /// All settings.
    pub recipe: &'a Recipe,
    /// The model that was started from, as it was named.
    pub base_model: &'a str,
    /// The data, as it was named.
    pub data: &'a str,
    /// Columns that were read, under the names that the recipe gives them: `text_column` and so on.
    pub columns: &'a [(&'static str, String)],
    /// The precision of the linear layers.
    pub precision: Precision,
    /// Rows trained on.
    pub train_rows: usize,
    /// Steps and epochs.
    pub outcome: &'a Outcome,
    /// The best epoch on the test rows, where there are some.
    pub test: Option<&'a Evaluation>,
}

impl Run<'_> {
    /// Writes all files into an existing directory.
    ///
    /// # Errors
    /// [`Error::File`] when one cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        save(directory, self.model, self.tokenizer)?;
        let [model, data, precision] =
            [self.base_model, self.data, &self.precision.to_string()].map(|text| json!(text));
        let mut recipe =
            Map::from_iter([("model".into(), model), ("data".into(), data), ("precision".into(), precision)]);
        recipe.extend(self.columns.iter().map(|(key, name)| ((*key).to_owned(), json!(name))));
        if let Ok(Value::Object(settings)) = serde_json::to_value(self.recipe) {
            recipe.extend(settings);
        }
        let toml = toml::to_string(&recipe).map_err(|e| Error::file(&directory.join("recipe.toml"), e, ""))?;
        crate::model::write(&directory.join("recipe.toml"), toml.as_bytes())?;
        write_json(directory, "train_results.json", &self.train_results())?;
        write_json(directory, "eval_results.json", &self.eval_results())?;
        write_json(directory, "trainer_state.json", &self.trainer_state())
    }

    /// Names as Transformers' Trainer writes them.
    fn train_results(&self) -> Value {
        let (outcome, epochs) = (self.outcome, self.recipe.num_train_epochs);
        let (rows, seconds) = (self.train_rows * epochs, outcome.train_seconds);
        let loss = outcome.epochs.iter().map(|e| e.train_loss).sum::<f64>() / epochs as f64;
        json!({
            "epoch": epochs,
            "train_loss": loss,
            "train_runtime": seconds,
            "train_samples": self.train_rows,
            "train_samples_per_second": rows as f64 / seconds,
            "train_steps_per_second": outcome.steps.len() as f64 / seconds,
        })
    }

    /// The best epoch on validation (`eval_`) and test (`test_`).
    fn eval_results(&self) -> Value {
        let mut results = Map::from_iter([("epoch".to_owned(), json!(self.outcome.best_epoch))]);
        if let Some(best) = self.outcome.epochs.iter().find(|e| e.epoch == self.outcome.best_epoch) {
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
            if record.step % LOGGING_STEPS == 0 || record.step == 1 {
                log.push(json!(record));
            }
            if let Some(epoch) = outcome.epochs.iter().find(|e| e.step == record.step) {
                let mut entry = Map::from_iter([("epoch".to_owned(), json!(epoch.epoch as f64))]);
                // figures; those of each class would make it long
                let figures = evaluation_results("eval", &epoch.validation);
                entry.extend(figures.into_iter().filter(|(_, value)| value.is_number()));
                entry.insert("step".into(), json!(epoch.step));
                log.push(Value::Object(entry));
            }
        }
        let best = outcome.epochs.iter().find(|e| e.epoch == outcome.best_epoch);
        json!({
            "best_global_step": best.map(|e| e.step),
            "best_metric": best.map(|e| e.validation.metrics.micro_f1),
            "best_model_checkpoint": null,
            "epoch": self.recipe.num_train_epochs as f64,
            "global_step": outcome.steps.len(),
            "is_local_process_zero": true,
            "is_world_process_zero": true,
            "log_history": log,
            "logging_steps": LOGGING_STEPS,
            "max_steps": outcome.steps.len(),
            "num_train_epochs": self.recipe.num_train_epochs,
            "train_batch_size": self.recipe.per_device_train_batch_size,
        })
    }
}

/// `{prefix}_loss`, `{prefix}_accuracy` and so on; the confusion matrix where it is not too large to read.
pub fn evaluation_results(prefix: &str, evaluation: &Evaluation) -> Map<String, Value> {
    let metrics = &evaluation.metrics;
    let mut values = json!({
        "loss": evaluation.loss,
        "accuracy": metrics.accuracy,
        "accuracy_low": metrics.interval.low,
        "accuracy_high": metrics.interval.high,
        "micro_f1": metrics.micro_f1,
        "macro_f1": metrics.macro_f1,
        "samples": metrics.rows,
        "classes": metrics.classes,
        "runtime": evaluation.seconds,
        "samples_per_second": metrics.rows as f64 / evaluation.seconds,
    });
    if !metrics.several_labels() && metrics.classes.len() <= CONFUSION_CLASSES {
        values["confusion"] = json!(metrics.confusion);
    }
    let values = if let Value::Object(values) = values { values } else { Map::new() };
    values.into_iter().map(|(key, value)| (format!("{prefix}_{key}"), value)).collect()
}

fn write_json(directory: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let path = directory.join(name);
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(&path, e, ""))?;
    crate::model::write(&path, format!("{text}\n").as_bytes())
}
