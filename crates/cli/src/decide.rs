//! The options that say what is made of a model's probabilities. Used by `predict` and `eval`.

use clap::Args;
use distune::calibration::{Calibration, decided_by_threshold};
use distune::data::LabelMap;
use distune::eval::Predictions;
use distune::model::ModelFiles;
use distune::{Error, Result};

/// What `--threshold` takes for the thresholds of the model's directory.
const SAVED: &str = "saved";

/// Temperature, thresholds, abstention.
#[derive(Args, Debug)]
pub(crate) struct DecisionArgs {
    /// Tell probabilities after the temperature that is saved with the model, in calibration.json (see distune calibrate)
    #[arg(long)]
    calibrated: bool,
    /// The probability from which on a row has a label: of all labels, or of one of them; may be given several times. Of two classes,
    /// that of the second one. "saved": what is saved with the model, which includes --calibrated [default: 0.5]
    #[arg(long, value_name = "[LABEL=]X|saved")]
    threshold: Vec<String>,
    /// Leave rows unanswered whose prediction is less probable than this; with several labels a row, that of the least sure label
    #[arg(long, value_name = "P")]
    abstain_below: Option<f64>,
}

/// The same, resolved for a model.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    calibration: Option<Calibration>,
    thresholds: Option<Vec<f64>>,
    pub(crate) abstain_below: Option<f64>,
}

impl DecisionArgs {
    /// For a model, or without one for a file of predictions.
    pub(crate) fn resolve(&self, model: Option<&ModelFiles>, labels: &LabelMap) -> Result<Decision> {
        let (saved, said): (Vec<&String>, Vec<&String>) = self.threshold.iter().partition(|said| *said == SAVED);
        let wrong =
            |option: &str, expected: &str, found: &str| Err(Error::value("command line", option, expected, found));
        if !saved.is_empty() && !said.is_empty() {
            return wrong("--threshold", "either saved or numbers", &self.threshold.join(", "));
        }
        let calibration = match (self.calibrated || !saved.is_empty(), model) {
            (false, _) => None,
            (true, Some(model)) => Some(Calibration::read(&model.path, labels.names(), labels.problem())?),
            (true, None) => {
                let option = if self.calibrated { "--calibrated" } else { "--threshold saved" };
                return wrong(option, "a --model, with which a calibration is saved", "a file of predictions");
            }
        };
        let thresholds = match (&calibration, said.is_empty()) {
            (_, false) => Some(numbers(&said, labels)?),
            (Some(calibration), true) if !saved.is_empty() => Some(calibration.threshold_values()),
            _ => None,
        };
        match self.abstain_below.filter(|p| !(0.0..=1.0).contains(p)) {
            Some(p) => wrong("--abstain-below", "a number from 0 to 1", &p.to_string()),
            None => Ok(Decision { calibration, thresholds, abstain_below: self.abstain_below }),
        }
    }
}

impl Decision {
    /// Predictions as the options want them.
    pub(crate) fn apply(&self, predictions: Predictions) -> Result<Predictions> {
        let predictions = match &self.calibration {
            Some(calibration) => calibration.calibrated(&predictions),
            None => predictions,
        };
        match &self.thresholds {
            Some(thresholds) => predictions.with_thresholds(thresholds),
            None => Ok(predictions),
        }
    }
}

/// The threshold of each label that has one, from what `--threshold` says.
fn numbers(said: &[&String], labels: &LabelMap) -> Result<Vec<f64>> {
    let decided = decided_by_threshold(labels.problem(), labels.len());
    let mut thresholds = vec![0.5; decided.len()];
    for said in said {
        let (label, number) = said.rsplit_once('=').map_or((None, said.as_str()), |(label, x)| (Some(label), x));
        let wrong = |expected: String| Error::value("command line", "--threshold", expected, said);
        let number = number.parse().ok().filter(|x| (0.0..=1.0).contains(x));
        let number: f64 = number.ok_or_else(|| wrong("a number from 0 to 1, as 0.4 or LABEL=0.4, or saved".into()))?;
        match label {
            None => thresholds.fill(number),
            Some(label) => {
                let place = labels.id(label).filter(|id| decided.contains(&(*id as usize)));
                let names = || labels.names()[decided.clone()].join(", ");
                let id = place.ok_or_else(|| wrong(format!("one of {}", names())))?;
                thresholds[id as usize - decided.start] = number;
            }
        }
    }
    Ok(thresholds)
}
