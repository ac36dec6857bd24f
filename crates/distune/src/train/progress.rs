//! What a training has done so far, and when it saves that.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::train::{CacheReport, EvaluationRecord, StepRecord};

/// Without `save_steps`, a checkpoint follows an evaluation if the one before is older than this,
const AFTER_EVALUATION: Duration = Duration::from_secs(60);
/// and any step if it is older than this: so much is lost at most. On a slow disk, both wait until the time since
const BETWEEN_EVALUATIONS: Duration = Duration::from_secs(600);
/// is this many times what the last checkpoint took.
const SHARE: u32 = 20;

/// With what the engine trains and the best weights, all that the rest of a training depends on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) steps: Vec<StepRecord>,
    pub(super) evaluations: Vec<EvaluationRecord>,
    /// Since the last evaluation: the sum of the rows' losses,
    pub(super) loss_sum: f64,
    /// the number of rows,
    pub(super) rows: usize,
    /// and the seconds of the steps.
    pub(super) seconds: f64,
    /// What the cache of frozen outputs did.
    pub(super) cache: Option<CacheReport>,
}

impl Progress {
    /// Steps done.
    pub(super) fn step(&self) -> usize {
        self.steps.len()
    }

    /// Epochs done.
    pub(super) fn epoch(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.epoch)
    }

    /// The best evaluation.
    pub(super) fn best(&self) -> Option<&EvaluationRecord> {
        self.evaluations.iter().rev().find(|e| e.best)
    }

    /// Whether the weights of the last step are not the best ones that have been judged.
    pub(super) fn best_is_of_an_earlier_step(&self) -> bool {
        self.best().is_some_and(|e| e.step < self.step())
    }

    /// Whether the last step has been followed by an evaluation.
    pub(super) fn evaluated(&self) -> bool {
        self.evaluations.last().is_some_and(|e| e.step == self.step())
    }
}

/// The checkpoint that was written last.
#[derive(Debug)]
pub(super) struct LastSave {
    /// When; without one, when the training began.
    pub(super) at: Instant,
    /// Its step.
    pub(super) step: Option<usize>,
    /// How long it took.
    pub(super) took: Duration,
}

impl LastSave {
    /// Whether the next one is due after a step, or after the evaluation that followed it.
    pub(super) fn is_past(&self, save_steps: usize, step: usize, evaluated: bool) -> bool {
        save_is_due(save_steps, step, evaluated, self.at.elapsed(), self.took)
    }
}

fn save_is_due(save_steps: usize, step: usize, evaluated: bool, since: Duration, took: Duration) -> bool {
    let least = if evaluated { AFTER_EVALUATION } else { BETWEEN_EVALUATIONS };
    match save_steps {
        0 => since >= least.max(SHARE * took),
        n => step.is_multiple_of(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_checkpoint_is_due() {
        let due = |save_steps, step, evaluated, since, took| {
            save_is_due(save_steps, step, evaluated, Duration::from_secs(since), Duration::from_secs(took))
        };
        assert!(due(0, 7, true, 60, 1) && !due(0, 7, true, 59, 1), "after an evaluation, at most once a minute");
        assert!(due(0, 7, false, 600, 1) && !due(0, 7, false, 599, 1), "in long epochs every ten minutes");
        assert!(due(0, 7, true, 160, 8) && !due(0, 7, true, 159, 8), "a twentieth of the time at most");
        assert!(due(3, 6, false, 0, 8) && due(3, 6, true, 0, 8) && !due(3, 7, true, 10_000, 8), "as asked for");
    }
}
