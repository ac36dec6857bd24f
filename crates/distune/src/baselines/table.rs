//! The models of a training and its baselines beside each other: what is shown, and kept in the run.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::Answers;
use crate::eval::{Bootstrap, Estimate, Metric, Predictions, estimates};
use crate::{Error, Result};

/// What the table shows, where it is told.
const SHOWN: [Metric; 5] =
    [Metric::Accuracy, Metric::MicroF1, Metric::MacroF1, Metric::LogLoss, Metric::ExpectedCalibrationError];

/// Models judged on the same rows; `baselines.json` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// What the rows are called: test, dev or validation.
    pub split: String,
    /// How many there are.
    pub rows: usize,
    /// The models, simplest first.
    pub models: Vec<ModelFigures>,
}

/// A model's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFigures {
    /// What it is called.
    pub name: String,
    /// Every single number that is told of it, with its interval.
    pub figures: Vec<Estimate>,
    /// Seconds that its training took; none for a model that is only judged.
    pub seconds: Option<f64>,
    /// What was left out of its training.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

impl ModelFigures {
    /// Judges predictions.
    ///
    /// # Errors
    /// As [`estimates`].
    pub fn new(
        name: &str,
        truth: &Answers,
        predictions: &Predictions,
        names: &[String],
        bootstrap: Bootstrap,
    ) -> Result<Self> {
        let figures = estimates(truth, predictions, names, bootstrap)?;
        Ok(Self { name: name.to_owned(), figures, seconds: None, note: None })
    }

    fn figure(&self, metric: Metric) -> Option<&Estimate> {
        self.figures.iter().find(|estimate| estimate.metric == metric)
    }
}

impl ModelTable {
    /// Its file in a run.
    pub const FILE: &str = "baselines.json";

    /// Reads that of a run; none where it has none.
    ///
    /// # Errors
    /// A file that cannot be read or is not one.
    pub fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(Self::FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
        let json = &mut serde_json::Deserializer::from_slice(&text);
        let table = serde_path_to_error::deserialize(json);
        table.map(Some).map_err(|error| Error::file(&path, format!("{}: {}", error.path(), error.inner()), ""))
    }

    /// Writes it into a run.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(Self::FILE);
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::file(&path, error, ""))?;
        crate::model::write(&path, format!("{text}\n").as_bytes())
    }

    /// As plain text: a line of headings, then name, accuracy (micro F1 with several labels a row) with its 95 % interval, some other
    /// figures and seconds of each model; last, what was left out of a training.
    pub fn text(&self) -> String {
        let told: Vec<Metric> =
            SHOWN.into_iter().filter(|metric| self.models.iter().any(|m| m.figure(*metric).is_some())).collect();
        let several = self.models.iter().any(|model| model.figure(Metric::HammingLoss).is_some());
        let main = if several { Metric::MicroF1 } else { Metric::Accuracy };
        let others: Vec<Metric> =
            told.into_iter().filter(|metric| *metric != main && (several || *metric != Metric::MicroF1)).collect();
        let width = self.models.iter().map(|model| model.name.chars().count()).max().unwrap_or(0).max("model".len());
        let mut text = format!("{:width$}  {:>8}  {:16}", "model", main.title(), "95 % interval");
        others.iter().for_each(|metric| text += &format!("  {:>8}", metric.title()));
        text += "  seconds\n";
        for model in &self.models {
            let number = |x: f64| format!("{x:.4}");
            let main = model.figure(main);
            let interval = main.and_then(|main| main.interval);
            let interval = interval.map_or("-".to_owned(), |i| format!("{} to {}", number(i.low), number(i.high)));
            let value = main.map_or("-".to_owned(), |main| number(main.value));
            text += &format!("{:width$}  {value:>8}  {interval:16}", model.name);
            for metric in &others {
                let value = model.figure(*metric).map_or("-".to_owned(), |figure| number(figure.value));
                text += &format!("  {value:>0$}", metric.title().chars().count().max(8));
            }
            let seconds = model.seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
            text += &format!("  {seconds:>7}\n");
        }
        let noted = self.models.iter().filter_map(|model| Some((&model.name, model.note.as_ref()?)));
        noted.for_each(|(name, note)| text += &format!("({name}: {note})\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_aligned_and_read_back() {
        let truth = Answers::One(vec![0, 0, 1, 1]);
        let predictions = Predictions { answers: Answers::One(vec![0, 0, 0, 1]), probabilities: None };
        let names = ["a".to_owned(), "b".to_owned()];
        let model =
            ModelFigures::new("one", &truth, &predictions, &names, Bootstrap { resamples: 100, seed: 1 }).unwrap();
        let noted =
            ModelFigures { name: "another".into(), seconds: Some(1.25), note: Some("less".into()), ..model.clone() };
        let table = ModelTable { split: "test".into(), rows: 4, models: vec![model, noted] };
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("model    accuracy  95 % interval     macro F1  seconds"), "{text}");
        assert!(lines[1].starts_with("one        0.7500  0.3006 to 0.9544    0.7333        -"), "{text}");
        assert!(lines[2].starts_with("another    0.7500") && lines[2].ends_with("      1.2"), "{text}");
        assert_eq!(lines[3], "(another: less)");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ModelTable::read(directory.path()).unwrap(), None);
        table.write(directory.path()).unwrap();
        assert_eq!(ModelTable::read(directory.path()).unwrap(), Some(table));
    }
}
