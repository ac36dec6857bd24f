//! What a trial found: a line of `results.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::Trial;
use crate::eval::Evaluation;
use crate::train::{CacheReport, Metric, Outcome};

/// A trial that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, counted from 1.
    pub trial: usize,
    /// The values of what varies.
    pub values: Table,
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It trained and was judged.
    Done(Box<Finished>),
    /// It could not: the message says why.
    Failed(String),
}

/// Figures of a trial whose training ended well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The weights that its validation rows chose, on these rows.
    pub validation: Figures,
    /// The same weights on the test rows, where those were judged.
    pub test: Option<Figures>,
    /// What these rows are called: test, or dev.
    pub test_split: String,
    /// Epochs after which they were chosen.
    pub best_epoch: f64,
    /// Steps in all.
    pub steps: usize,
    /// Seconds in training steps alone.
    pub train_seconds: f64,
    /// Seconds of the trial, evaluations included.
    pub seconds: f64,
    /// Rows trained on a second, in [`Self::seconds_alone`].
    pub samples_per_second: f64,
    /// Parameters that trained.
    pub trained_parameters: usize,
    /// The most memory that the process had during the trial, where the system tells.
    pub peak_memory: Option<u64>,
    /// What keeping the frozen part's outputs did.
    pub cache: Option<CacheReport>,
}

/// What rows say about a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Rows judged.
    pub rows: usize,
    /// Rows that are right.
    pub correct: usize,
    /// The part of the rows that are right.
    pub accuracy: f64,
    /// Lower end of its 95 % interval.
    pub accuracy_low: f64,
    /// Upper end of its 95 % interval.
    pub accuracy_high: f64,
    /// F1 of all decisions together.
    pub micro_f1: f64,
    /// Mean F1 of the classes.
    pub macro_f1: f64,
    /// Mean loss.
    pub loss: f64,
    /// The other single numbers that are defined.
    #[serde(flatten)]
    pub others: BTreeMap<Metric, f64>,
}

impl From<&Evaluation> for Figures {
    fn from(evaluation: &Evaluation) -> Self {
        let metrics = &evaluation.metrics;
        Self {
            rows: metrics.rows,
            correct: metrics.correct,
            accuracy: metrics.accuracy,
            accuracy_low: metrics.interval.low,
            accuracy_high: metrics.interval.high,
            micro_f1: metrics.micro_f1,
            macro_f1: metrics.macro_f1,
            loss: evaluation.loss,
            others: metrics
                .others
                .iter()
                .chain(&evaluation.probabilities.values)
                .map(|(&m, &value)| (m, value))
                .collect(),
        }
    }
}

impl Figures {
    /// The value of a metric; not a number where it is not defined.
    pub fn of(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Loss => self.loss,
            Metric::Accuracy => self.accuracy,
            Metric::MicroF1 => self.micro_f1,
            Metric::MacroF1 => self.macro_f1,
            other => self.others.get(&other).copied().unwrap_or(f64::NAN),
        }
    }

    /// The same, turned where higher is better: lower is better here.
    pub(super) fn cost(&self, metric: Metric) -> f64 {
        match self.of(metric) {
            value if value.is_nan() => f64::INFINITY,
            value if metric.greater_is_better() => -value,
            value => value,
        }
    }
}

impl Record {
    /// The record of a trial.
    pub fn new(trial: &Trial, end: End) -> Self {
        Self { trial: trial.number, values: trial.values.clone(), seed: trial.seed, end }
    }

    /// Its figures, if it has some.
    pub fn finished(&self) -> Option<&Finished> {
        match &self.end {
            End::Done(finished) => Some(finished),
            End::Failed(_) => None,
        }
    }
}

impl Finished {
    /// Seconds of training, with those for what frozen blocks put out even where an earlier trial had spent them: what the
    /// training would have taken alone.
    pub fn seconds_alone(&self) -> f64 {
        self.train_seconds + self.cache.as_ref().map_or(0.0, CacheReport::seconds_inherited)
    }

    /// The figures of a training on `train_rows` rows, before test rows were judged; nothing for one without an evaluation.
    pub fn new(outcome: &Outcome, train_rows: usize, test_split: &str, trained_parameters: usize) -> Option<Self> {
        let best = outcome.best()?;
        let mut finished = Self {
            validation: (&best.validation).into(),
            test: None,
            test_split: test_split.to_owned(),
            best_epoch: best.epoch,
            steps: outcome.steps.len(),
            train_seconds: outcome.train_seconds,
            seconds: 0.0,
            samples_per_second: 0.0,
            trained_parameters,
            peak_memory: None,
            cache: outcome.cache.clone(),
        };
        finished.samples_per_second = outcome.epochs() * train_rows as f64 / finished.seconds_alone();
        Some(finished)
    }
}
