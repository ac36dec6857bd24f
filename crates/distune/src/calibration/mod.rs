//! What a model's probabilities are worth, fitted on rows that it was not trained on: a temperature for them, and thresholds for the
//! labels. Fitted at the end of a training and by the program's `calibrate`, kept in the run, used by `predict` and `eval`.

mod temperature;
mod thresholds;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::temperature::{HIGHEST, LOWEST, fit_temperature, with_temperature};
pub use self::thresholds::{Goal, Threshold, decided_by_threshold, thresholds};
use crate::data::Answers;
use crate::eval::{Metric, Predictions, ProbabilityMetrics};
use crate::model::ProblemType;
use crate::{Error, Result};

/// Its file in the directory of a model.
pub const FILE: &str = "calibration.json";

/// What was fitted for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The model's labels, in the order of their ids.
    pub labels: Vec<String>,
    /// What logits are divided by ([`fit_temperature`]).
    pub temperature: f64,
    /// The least recall, where thresholds are those of the best precision with it; otherwise they are those of the best F1.
    pub recall: Option<f64>,
    /// The threshold of each label that is [`decided_by_threshold`], for probabilities after the temperature.
    pub thresholds: Vec<Threshold>,
    /// What the temperature changes on the rows that all this was fitted on.
    pub fitted: Effect,
    /// What it changes on other rows, which tell what it is worth.
    pub test: Option<Effect>,
}

/// What a temperature changes on some rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// Rows.
    pub rows: usize,
    /// Without it.
    pub before: Sureness,
    /// With it.
    pub after: Sureness,
}

/// How well probabilities tell how often they are right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sureness {
    /// The log loss, as in [`ProbabilityMetrics`].
    pub log_loss: f64,
    /// The expected calibration error, as there.
    pub expected_calibration_error: f64,
    /// What it would be by chance, as there.
    pub expected_calibration_error_chance: f64,
}

impl Calibration {
    /// Fits on predictions for rows that the model was not trained on. Rows of one class alone tell no temperature: it stays 1.
    ///
    /// # Errors
    /// As [`ProbabilityMetrics::new`], and predictions without probabilities.
    pub fn fit(truth: &Answers, predictions: &Predictions, names: &[String], goal: Goal) -> Result<Self> {
        let before = Sureness::new(truth, predictions, names)?;
        let temperature = match of_one_class(truth, names.len()) {
            true => 1.0,
            false => fit_temperature(truth, predictions, names.len()),
        };
        let calibrated = predictions.with_temperature(names.len(), temperature);
        let after = Sureness::new(truth, &calibrated, names)?;
        Ok(Self {
            labels: names.to_vec(),
            temperature,
            recall: match goal {
                Goal::F1 => None,
                Goal::PrecisionAtRecall(recall) => Some(recall),
            },
            thresholds: thresholds(truth, &calibrated, names, goal),
            fitted: Effect { rows: truth.len(), before, after },
            test: None,
        })
    }

    /// What the temperature changes on other rows.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn effect(&self, truth: &Answers, predictions: &Predictions) -> Result<Effect> {
        let before = Sureness::new(truth, predictions, &self.labels)?;
        let after = Sureness::new(truth, &self.calibrated(predictions), &self.labels)?;
        Ok(Effect { rows: truth.len(), before, after })
    }

    /// Predictions with the probabilities after the temperature; labels stay.
    #[must_use]
    pub fn calibrated(&self, predictions: &Predictions) -> Predictions {
        predictions.with_temperature(self.labels.len(), self.temperature)
    }

    /// The thresholds alone, as [`Predictions::with_thresholds`] takes them.
    pub fn threshold_values(&self) -> Vec<f64> {
        self.thresholds.iter().map(|threshold| threshold.threshold).collect()
    }

    /// Reads that of a model's directory.
    ///
    /// # Errors
    /// A directory without one; a file that is cut short, has another key, or a value that cannot be; one of another model's labels.
    pub fn read(directory: &Path, labels: &[String], problem: ProblemType) -> Result<Self> {
        let path = directory.join(FILE);
        if !path.exists() {
            let hint = format!("Make it with distune calibrate --model {} --data VALIDATION", directory.display());
            return Err(Error::file(&path, "no such file: the model has not been calibrated", hint));
        }
        let text = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
        let json = &mut serde_json::Deserializer::from_slice(&text);
        let calibration: Self = serde_path_to_error::deserialize(json).map_err(|error| {
            let (key, problem) = (error.path().to_string(), error.inner());
            Error::file(&path, format!("{key}: {problem}"), AGAIN)
        })?;
        calibration.check(&path, labels, problem)?;
        Ok(calibration)
    }

    fn check(&self, path: &Path, labels: &[String], problem: ProblemType) -> Result<()> {
        let wrong =
            |key: &str, expected: String, found: String| Err(Error::value(path.display(), key, expected, found));
        if self.labels != labels {
            return wrong("labels", format!("those of config.json, {labels:?}"), format!("{:?}", self.labels));
        }
        if !(LOWEST..=HIGHEST).contains(&self.temperature) {
            let expected = format!("a number from {LOWEST} to {HIGHEST}");
            return wrong("temperature", expected, self.temperature.to_string());
        }
        let decided: Vec<&String> = labels[decided_by_threshold(problem, labels.len())].iter().collect();
        let found: Vec<&String> = self.thresholds.iter().map(|threshold| &threshold.label).collect();
        if decided != found {
            return wrong("thresholds", format!("those of {decided:?}"), format!("those of {found:?}"));
        }
        let outside = |threshold: &Threshold| !(0.0..=1.0).contains(&threshold.threshold);
        match self.thresholds.iter().position(outside) {
            None => Ok(()),
            Some(place) => {
                let found = self.thresholds[place].threshold.to_string();
                wrong(&format!("thresholds[{place}].threshold"), "a number from 0 to 1".into(), found)
            }
        }
    }

    /// Writes it into a model's directory, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::file(&path, error, ""))?;
        crate::model::write(&path, format!("{text}\n").as_bytes())
    }
}

/// Whether all rows are of one class, where a row has one.
pub fn of_one_class(truth: &Answers, classes: usize) -> bool {
    truth.problem() == ProblemType::SingleLabel && truth.counts(classes).iter().filter(|count| **count > 0).count() < 2
}

/// What to do about a file that cannot be used.
const AGAIN: &str = "Make it again with distune calibrate";

impl Sureness {
    /// Of some predictions.
    ///
    /// # Errors
    /// As [`Calibration::fit`].
    pub fn new(truth: &Answers, predictions: &Predictions, names: &[String]) -> Result<Self> {
        let figures = ProbabilityMetrics::new(truth, predictions, names)?
            .ok_or_else(|| Error::value("calibration", "predictions", "probabilities", "labels alone"))?;
        let value = |metric| figures.value(metric).unwrap_or_default();
        Ok(Self {
            log_loss: value(Metric::LogLoss),
            expected_calibration_error: value(Metric::ExpectedCalibrationError),
            expected_calibration_error_chance: figures.expected_calibration_error_chance,
        })
    }
}

#[cfg(test)]
mod tests;
