//! What the trials of a sweep say together, setting by setting.

use std::cmp::Ordering;

use toml::Table;

use super::{End, Figures, Finished, Record, Sweep, TestRows};
use crate::eval::{Interval, Z_95, wilson};
use crate::train::Metric;

/// All trials so far.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// What the best setting is chosen by.
    pub metric: Metric,
    /// In the order of their trials.
    pub settings: Vec<SettingSummary<'a>>,
    /// Which of them is the best: of those whose trials are all done and well, or else all done, or else of all; by the mean of the
    /// metric on the validation rows; of equals the one of lower mean loss.
    pub best: Option<usize>,
}

/// The trials of a setting.
#[derive(Clone, Debug)]
pub struct SettingSummary<'a> {
    /// The values of what varies.
    pub values: &'a Table,
    /// Its trials, as many as are done.
    pub trials: &'a [Record],
    /// How many it should have.
    pub seeds: usize,
    metric: Metric,
}

/// Accuracies of several trainings on the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accuracies {
    /// Their mean.
    pub mean: f64,
    /// The 95 % interval of that accuracy on so many rows: what other rows of the same kind would give. Seeds are no more rows, so
    /// it does not shrink with them.
    pub interval: Interval,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// The rows.
    pub rows: usize,
}

impl<'a> Summary<'a> {
    /// Of the trials of a sweep that are done.
    pub fn new(sweep: &Sweep, records: &'a [Record]) -> Self {
        let (metric, seeds) = (sweep.base.recipe.metric_for_best_model, sweep.seeds().len().max(1));
        let setting = |trials: &'a [Record]| SettingSummary { values: &trials[0].values, trials, seeds, metric };
        let settings: Vec<_> = records.chunks(seeds).map(setting).collect();
        let mut best: Option<usize> = None;
        for (at, setting) in settings.iter().enumerate() {
            if setting.best_trial().is_some()
                && best.is_none_or(|best| setting.rank().total_cmp(&settings[best].rank()).is_gt())
            {
                best = Some(at);
            }
        }
        Self { metric, settings, best }
    }

    /// The trial whose run is kept as the best: of the best setting, the one that validation prefers.
    pub fn best_trial(&self) -> Option<&'a Record> {
        self.settings.get(self.best?)?.best_trial()
    }

    /// The trials whose runs may turn out to be the best: that one, and the best one of the setting under way.
    pub(super) fn candidates(&self) -> Vec<usize> {
        let last = self.settings.last().filter(|setting| !setting.is_complete());
        let last = last.and_then(SettingSummary::best_trial);
        self.best_trial().into_iter().chain(last).map(|record| record.trial).collect()
    }
}

impl<'a> SettingSummary<'a> {
    /// The figures of its trials that ended well.
    pub fn finished(&self) -> impl Iterator<Item = &'a Finished> + use<'a> {
        self.trials.iter().filter_map(Record::finished)
    }

    /// How many ended badly.
    pub fn failed(&self) -> usize {
        self.trials.iter().filter(|record| matches!(record.end, End::Failed(_))).count()
    }

    /// The mean of what is chosen by, on the validation rows.
    pub fn score(&self) -> Option<f64> {
        self.mean(|finished| finished.validation.of(self.metric))
    }

    /// The mean of some figure.
    pub fn mean(&self, of: impl Fn(&Finished) -> f64) -> Option<f64> {
        let n = self.finished().count();
        (n > 0).then(|| self.finished().map(of).sum::<f64>() / n as f64)
    }

    /// What tpe makes low: infinite when a trial failed.
    pub(super) fn cost(&self) -> f64 {
        let cost = self.mean(|finished| finished.validation.cost(self.metric));
        cost.filter(|_| self.failed() == 0).unwrap_or(f64::INFINITY)
    }

    /// Accuracy on the validation rows.
    pub fn validation(&self) -> Option<Accuracies> {
        Accuracies::of(self.finished().map(|finished| &finished.validation))
    }

    /// Accuracy on the test rows: of all trials, or of the one that validation prefers.
    pub fn test(&self, whose: TestRows) -> Option<Accuracies> {
        match whose {
            TestRows::All => Accuracies::of(self.finished().filter_map(|finished| finished.test.as_ref())),
            TestRows::Best => Accuracies::of(self.best_trial()?.finished()?.test.iter()),
        }
    }

    fn is_complete(&self) -> bool {
        self.trials.len() == self.seeds
    }

    /// Better settings are higher.
    pub(super) fn rank(&self) -> Rank {
        let standing = match (self.is_complete(), self.failed()) {
            (true, 0) => 2,
            (true, _) => 1,
            // a setting under way may yet fall
            (false, _) => 0,
        };
        let mean = |metric| self.mean(|finished| -finished.validation.cost(metric)).unwrap_or(f64::NEG_INFINITY);
        Rank(standing, mean(self.metric), mean(Metric::Loss))
    }

    /// The trial that validation prefers; of equals the one of lower loss.
    pub(super) fn best_trial(&self) -> Option<&'a Record> {
        let cost = |record: &Record| record.finished().map(|f| (f.validation.cost(self.metric), f.validation.loss));
        let finished = self.trials.iter().filter(|record| record.finished().is_some());
        finished.reduce(|best, record| if cost(record) < cost(best) { record } else { best })
    }
}

/// How good a setting is: its standing, its mean metric and loss, higher being better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank(u8, f64, f64);

impl Rank {
    pub(super) fn total_cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0).then(self.1.total_cmp(&other.1)).then(self.2.total_cmp(&other.2))
    }
}

impl Accuracies {
    /// Those of these figures, if there are some.
    fn of<'a>(figures: impl Iterator<Item = &'a Figures>) -> Option<Self> {
        let figures: Vec<&Figures> = figures.collect();
        let (n, rows) = (figures.len() as f64, figures.first()?.rows);
        let accuracies = || figures.iter().map(|f| f.accuracy);
        let correct = figures.iter().map(|f| f.correct).sum::<usize>() as f64 / n;
        Some(Self {
            mean: accuracies().sum::<f64>() / n,
            interval: wilson(correct.round() as usize, rows, Z_95),
            low: accuracies().fold(f64::INFINITY, f64::min),
            high: accuracies().fold(f64::NEG_INFINITY, f64::max),
            rows,
        })
    }
}
