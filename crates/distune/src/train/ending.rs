//! The end of a training: what its probabilities are worth, and whether it helped: baselines, and the model that it started from where
//! that one had a trained head for these labels, against the trained one, on the same rows.

use crate::baselines::{ModelFigures, ModelTable, baselines};
use crate::calibration::{Calibration, Goal};
use crate::data::Examples;
use crate::engine::Engine;
use crate::eval::{Bootstrap, Evaluation, Finding, Group, Pair, Predictions, compare, evaluate_with, predict};
use crate::train::Observer;
use crate::{Error, Result};

/// The rows that a training is judged on at its end.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// The test rows, where there are some.
    pub test: Option<&'a Examples>,
    /// The rows that chose the epoch.
    pub validation: &'a Examples,
}

/// What the model that a training starts from predicts for them; nothing for one without a trained head.
#[derive(Default)]
pub struct Before(Option<Predictions>);

/// What the end of a training comes to.
pub struct Ending {
    /// The figures of the test rows, where there are some.
    pub test: Option<Evaluation>,
    /// The same, or where there are none those of the validation rows.
    pub judged: Evaluation,
    /// What the trained model predicts for these rows.
    pub predictions: Predictions,
    /// Fitted on the validation rows.
    pub calibration: Calibration,
    /// All models and baselines, unless those are not wanted.
    pub models: Option<ModelTable>,
    /// Against the best baseline, and against the model that it started from.
    pub verdicts: Verdicts,
}

/// The trained model against others, on the rows that it is judged on.
pub struct Verdicts {
    /// Against the best baseline.
    pub baseline: Option<Pair>,
    /// Against the model that it started from.
    pub start: Option<Pair>,
    /// Whether it was on the validation rows.
    on_validation: bool,
}

/// What the baselines are trained on and compared with.
pub struct Beside<'a> {
    /// The rows that the baselines are trained on.
    pub train: &'a Examples,
    /// What the test rows are called.
    pub test_name: &'static str,
    /// Seconds that the training took.
    pub seconds: f64,
}

/// What the trained model is called.
const TRAINED: &str = "The trained model";
/// What it started from is called.
const START: &str = "The starting model";

impl<'a> Judged<'a> {
    /// The test rows, or where there are none the validation rows.
    pub fn compared(self) -> &'a Examples {
        self.test.unwrap_or(self.validation)
    }

    /// How many rows are judged beside the evaluations of a training.
    pub fn rows(self, head_is_trained: bool) -> usize {
        let before = if head_is_trained { self.compared().len() } else { 0 };
        before + self.validation.len() + self.test.map_or(0, Examples::len)
    }

    /// Before the training.
    ///
    /// # Errors
    /// Rows that cannot be tokenized; the observer's wish to stop.
    pub fn before(self, head_is_trained: bool, engine: &mut dyn Engine, observer: &mut dyn Observer) -> Result<Before> {
        Ok(Before(if head_is_trained { Some(predict(engine, self.compared(), observer)?) } else { None }))
    }

    /// After it: calibrates on the validation rows, judges the test rows, and compares; with baselines if there is what they need.
    ///
    /// # Errors
    /// As [`Self::before`].
    pub fn after(
        self,
        before: &Before,
        beside: Option<Beside>,
        engine: &mut dyn Engine,
        observer: &mut dyn Observer,
    ) -> Result<Ending> {
        let names = engine.config().labels.clone();
        let validation = predict(engine, self.validation, observer)?;
        let mut calibration = Calibration::fit(self.validation.answers(), &validation, &names, Goal::F1)?;
        let (test, trained) = match self.test {
            None => (None, validation),
            Some(rows) => {
                let (test, predictions) = evaluate_with(engine, rows, observer)?;
                calibration.test = Some(calibration.effect(rows.answers(), &predictions)?);
                (Some(test), predictions)
            }
        };
        let rows = Compared { rows: self.compared(), names: &names, trained: &trained };
        let start = before.0.as_ref().map(|before| rows.against(START, before)).transpose()?;
        let with_baselines = beside.and_then(|beside| {
            let done = rows.beside(beside, before, self.test.is_some());
            // a training is not lost for what stands beside it
            done.inspect_err(|error| observer.warning(&format!("no baselines: {error}"))).ok()
        });
        let (models, baseline) = with_baselines.unzip();
        let verdicts = Verdicts { baseline, start, on_validation: self.test.is_none() };
        let judged = match &test {
            Some(test) => test.clone(),
            None => Evaluation::new(self.validation.answers(), &trained, &names)?,
        };
        Ok(Ending { test, judged, predictions: trained, calibration, models, verdicts })
    }
}

/// The rows on which all are compared, and what the trained model predicts for them.
struct Compared<'a> {
    rows: &'a Examples,
    names: &'a [String],
    trained: &'a Predictions,
}

impl Compared<'_> {
    /// The trained model against another one.
    fn against(&self, name: &str, other: &Predictions) -> Result<Pair> {
        let groups = [(name, other), (TRAINED, self.trained)]
            .map(|(name, run)| Group { name: name.to_owned(), runs: vec![run] });
        let compared = compare(self.rows.answers(), &groups, self.names, None, Bootstrap::default())?;
        compared.pairs.into_iter().next().ok_or_else(|| Error::value("comparison", "number of models", "two", 1))
    }

    /// The baselines, the starting model and the trained one in a table, and the last against the last of the baselines.
    fn beside(&self, beside: Beside, before: &Before, on_test: bool) -> Result<(ModelTable, Pair)> {
        let baselines = baselines(beside.train.dataset(), self.rows.dataset(), self.names)?;
        let figures = |name: &str, predictions, seconds, note| {
            let figures = ModelFigures::new(name, self.rows.answers(), predictions, self.names, Bootstrap::default())?;
            Ok(ModelFigures { seconds, note, ..figures })
        };
        let mut models = Vec::new();
        for baseline in &baselines {
            models.push(figures(baseline.name, &baseline.predictions, Some(baseline.seconds), baseline.note.clone())?);
        }
        if let Some(before) = &before.0 {
            models.push(figures("starting model", before, None, None)?);
        }
        models.push(figures("trained model", self.trained, Some(beside.seconds), None)?);
        let split = if on_test { beside.test_name } else { "validation" };
        let table = ModelTable { split: split.to_owned(), rows: self.rows.len(), models };
        let best = baselines.last().ok_or_else(|| Error::value("comparison", "number of baselines", "some", 0))?;
        Ok((table, self.against(best.name, &best.predictions)?))
    }
}

impl Verdicts {
    /// "It beats the baseline. ...", and "Fine-tuning helped. ..."
    pub fn sentences(&self) -> Vec<String> {
        let favoured = match self.on_validation {
            true => " These rows also chose the epoch, which favours the trained model.",
            false => "",
        };
        let baseline = self.baseline.as_ref().map(|pair| {
            let beats = match pair.finding {
                Finding::Better => "The transformer beats the baseline",
                Finding::Worse => "The transformer is worse than the baseline",
                Finding::Chance => "Whether the transformer beats the baseline cannot be told",
            };
            format!("{beats}. {}{favoured}", pair.verdict)
        });
        let start = self.start.as_ref().map(|pair| {
            let helped = match pair.finding {
                Finding::Better => "Fine-tuning helped",
                Finding::Worse => "Fine-tuning made it worse",
                Finding::Chance => "Whether fine-tuning helped cannot be told",
            };
            format!("{helped}. {}{favoured}", pair.verdict)
        });
        baseline.into_iter().chain(start).collect()
    }
}
