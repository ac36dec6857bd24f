//! The single numbers of a report: what they are called and which way is better. Called by everything that names one: `train`
//! to select the best weights, `eval` and `compare`.

use serde::{Deserialize, Serialize};

use super::Evaluation;
use crate::model::{Config, ProblemType};
use crate::{Error, Result};

/// A single number that tells how good predictions are.
///
/// Each is what scikit-learn's function of that name gives (`micro_`, `macro_` and `weighted_` are its `average`), with
/// `zero_division=0`. `precision`, `recall`, `f1`, `roc_auc` and `average_precision` are of the second of two classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[allow(missing_docs, reason = "the doc of the type")]
pub enum Metric {
    /// The mean loss; lower is better.
    #[default]
    Loss,
    /// The part of the rows that are right; with several labels a row, all of them (subset accuracy).
    Accuracy,
    /// Mean recall of the classes that occur.
    BalancedAccuracy,
    Precision,
    Recall,
    F1,
    MicroPrecision,
    MicroRecall,
    /// F1 of all decisions together: with one label a row, the accuracy.
    MicroF1,
    MacroPrecision,
    MacroRecall,
    /// Mean F1 of the classes.
    MacroF1,
    WeightedPrecision,
    WeightedRecall,
    WeightedF1,
    MatthewsCorrcoef,
    CohenKappa,
    /// The part of the decisions about a row and a label that are wrong.
    HammingLoss,
    LogLoss,
    BrierScoreLoss,
    ExpectedCalibrationError,
    RocAuc,
    AveragePrecision,
    MacroRocAuc,
    WeightedRocAuc,
    MacroAveragePrecision,
    WeightedAveragePrecision,
}

use Metric as M;

/// Each metric with its name, and with what a sentence calls it.
const NAMES: [(Metric, &str, &str); 27] = [
    (M::Loss, "loss", "loss"),
    (M::Accuracy, "accuracy", "accuracy"),
    (M::BalancedAccuracy, "balanced_accuracy", "balanced accuracy"),
    (M::Precision, "precision", "precision"),
    (M::Recall, "recall", "recall"),
    (M::F1, "f1", "F1"),
    (M::MicroPrecision, "micro_precision", "micro precision"),
    (M::MicroRecall, "micro_recall", "micro recall"),
    (M::MicroF1, "micro_f1", "micro F1"),
    (M::MacroPrecision, "macro_precision", "macro precision"),
    (M::MacroRecall, "macro_recall", "macro recall"),
    (M::MacroF1, "macro_f1", "macro F1"),
    (M::WeightedPrecision, "weighted_precision", "weighted precision"),
    (M::WeightedRecall, "weighted_recall", "weighted recall"),
    (M::WeightedF1, "weighted_f1", "weighted F1"),
    (M::MatthewsCorrcoef, "matthews_corrcoef", "Matthews correlation"),
    (M::CohenKappa, "cohen_kappa", "Cohen's kappa"),
    (M::HammingLoss, "hamming_loss", "Hamming loss"),
    (M::LogLoss, "log_loss", "log loss"),
    (M::BrierScoreLoss, "brier_score_loss", "Brier score"),
    (M::ExpectedCalibrationError, "expected_calibration_error", "calibration error"),
    (M::RocAuc, "roc_auc", "ROC-AUC"),
    (M::AveragePrecision, "average_precision", "average precision"),
    (M::MacroRocAuc, "macro_roc_auc", "macro ROC-AUC"),
    (M::WeightedRocAuc, "weighted_roc_auc", "weighted ROC-AUC"),
    (M::MacroAveragePrecision, "macro_average_precision", "macro average precision"),
    (M::WeightedAveragePrecision, "weighted_average_precision", "weighted average precision"),
];

/// What scikit-learn's scorers and the examples of Transformers call some of them.
const ALIASES: [(&str, Metric); 5] = [
    ("subset_accuracy", M::Accuracy),
    ("matthews_correlation", M::MatthewsCorrcoef),
    ("brier", M::BrierScoreLoss),
    ("roc_auc_ovr", M::MacroRocAuc),
    ("roc_auc_ovr_weighted", M::WeightedRocAuc),
];

impl Metric {
    /// All of them, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(metric, ..)| *metric)
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        &NAMES[self as usize]
    }

    /// Its name in recipes and results.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// What a sentence calls it.
    pub fn title(self) -> &'static str {
        self.entry().2
    }

    /// Whether more is better; otherwise less is.
    pub fn greater_is_better(self) -> bool {
        !matches!(self, M::Loss | M::HammingLoss | M::LogLoss | M::BrierScoreLoss | M::ExpectedCalibrationError)
    }

    /// The metric of a name: ours, one of scikit-learn's functions (`matthews_corrcoef`, `roc_auc_score`) or scorers (`f1_macro`,
    /// `roc_auc_ovr`), each also with `eval_` before it, as Transformers has them.
    ///
    /// # Errors
    /// The names that there are.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let plain = name.strip_prefix("eval_").unwrap_or(name);
        let plain = plain.strip_suffix("_score").unwrap_or(plain);
        let turned = plain.rsplit_once('_').map(|(metric, average)| format!("{average}_{metric}"));
        let known = |name: &str| NAMES.iter().find(|(_, known, _)| *known == name).map(|(metric, ..)| *metric);
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == plain).map(|(_, metric)| *metric);
        known(plain).or_else(|| turned.as_deref().and_then(known)).or_else(alias).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name, _)| *name).collect();
            format!("expected {}", names.join(", "))
        })
    }

    /// Whether it is a matter of probabilities; otherwise of what is predicted alone.
    pub fn of_probabilities(self) -> bool {
        self == M::Loss || self >= M::LogLoss
    }

    /// Whether it is told for rows of `classes` classes: some are for two classes, one or several labels a row alone.
    pub fn is_told(self, problem: ProblemType, classes: usize) -> bool {
        let several = problem == ProblemType::MultiLabel;
        let two = !several && classes == 2;
        match self {
            M::Precision | M::Recall | M::F1 | M::RocAuc | M::AveragePrecision => two,
            M::MacroRocAuc | M::WeightedRocAuc | M::MacroAveragePrecision | M::WeightedAveragePrecision => !two,
            M::BalancedAccuracy | M::MatthewsCorrcoef | M::CohenKappa => !several,
            M::HammingLoss => several,
            _ => true,
        }
    }

    /// Whether a model's evaluation tells it.
    ///
    /// # Errors
    /// [`Error::Value`] with the metrics that it tells.
    pub fn check(self, config: &Config) -> Result<()> {
        let told = |metric: &Self| metric.is_told(config.problem_type, config.labels.len());
        if told(&self) {
            return Ok(());
        }
        let (several, classes) = (config.problem_type == ProblemType::MultiLabel, config.labels.len());
        let rows = if several { "any number of labels a row" } else { "one label a row" };
        let names: Vec<&str> = Self::all().filter(told).map(Self::name).collect();
        let expected = format!("with {classes} classes and {rows} one of {}", names.join(", "));
        Err(Error::value("recipe", "metric_for_best_model", expected, self.name()))
    }

    /// Its value, where it is defined.
    pub fn of(self, evaluation: &Evaluation) -> Option<f64> {
        match self {
            M::Loss => Some(evaluation.loss),
            _ if self.of_probabilities() => evaluation.probabilities.value(self),
            _ => evaluation.metrics.value(self),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name().to_owned()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::from_name(&name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_lead_back() {
        for (place, (metric, name, _)) in NAMES.iter().enumerate() {
            assert_eq!((*metric as usize, metric.name()), (place, *name));
            assert_eq!(Metric::from_name(name), Ok(*metric));
            assert_eq!(Metric::from_name(&format!("eval_{name}")), Ok(*metric));
        }
        let mut names: Vec<_> = NAMES.iter().map(|(_, name, _)| name).collect();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn names_of_scikit_learn_and_transformers() {
        for (name, metric) in [
            ("f1_macro", M::MacroF1),
            ("precision_weighted", M::WeightedPrecision),
            ("accuracy_score", M::Accuracy),
            ("balanced_accuracy_score", M::BalancedAccuracy),
            ("cohen_kappa_score", M::CohenKappa),
            ("roc_auc_score", M::RocAuc),
            ("roc_auc_ovr", M::MacroRocAuc),
            ("average_precision_weighted", M::WeightedAveragePrecision),
            ("eval_matthews_correlation", M::MatthewsCorrcoef),
        ] {
            assert_eq!(Metric::from_name(name), Ok(metric), "{name}");
        }
        assert!(Metric::from_name("f2").unwrap_err().starts_with("expected loss, accuracy, balanced_accuracy, "));
    }
}
