//! The learning rate of `reduce_lr_on_plateau`: it falls when the metric of the validation rows no longer improves.

use serde::{Deserialize, Serialize};

use crate::train::Recipe;

/// By what part of the best value the metric must improve to count, as PyTorch's default.
const THRESHOLD: f64 = 1e-4;
/// A learning rate that would fall by less stays, as PyTorch's default.
const LEAST_CHANGE: f64 = 1e-8;

/// Where a training stands between its evaluations, as PyTorch's `ReduceLROnPlateau`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// What the schedule's learning rate is multiplied by.
    scale: f64,
    /// The best value of the metric so far.
    best: Option<f64>,
    /// Evaluations since then, or since the learning rate fell.
    waited: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { scale: 1.0, best: None, waited: 0 }
    }
}

impl Plateau {
    /// What the schedule's learning rate is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Looks at the value of `metric_for_best_model` after an evaluation: after more than `lr_patience` of them without progress,
    /// the learning rate is multiplied by `lr_factor`.
    pub fn look(&mut self, value: f64, recipe: &Recipe) {
        let better = |best: f64| match recipe.metric_for_best_model.greater_is_better() {
            false => value < best * (1.0 - THRESHOLD),
            true => value > best * (1.0 + THRESHOLD),
        };
        if self.best.is_none_or(better) {
            (self.best, self.waited) = (Some(value), 0);
        } else {
            self.waited += 1;
        }
        if self.waited > recipe.lr_patience {
            self.waited = 0;
            let rate = recipe.learning_rate * self.scale;
            if rate - rate * recipe.lr_factor > LEAST_CHANGE {
                self.scale *= recipe.lr_factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::{Metric, Scheduler};

    /// PyTorch 2.15; `python -c`
    /// ```text
    /// import torch
    /// from torch.optim.lr_scheduler import ReduceLROnPlateau
    /// for mode, factor, patience, rate, values in [
    ///     ("min", 0.5, 1, 1.0, [0.9, 0.8, 0.79995, 0.7999, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7]),
    ///     ("min", 0.1, 0, 1e-7, [0.9, 0.8, 0.79995, 0.7999, 0.8]),
    ///     ("max", 0.1, 2, 1.0, [0.5, 0.75, 0.75005, 0.7, 0.75, 0.8, 0.8, 0.8, 0.8, 1.0]),
    ///     ("min", 0.1, 10, 1.0, [0.5] * 13),
    /// ]:
    ///     optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    ///     scheduler = ReduceLROnPlateau(optimizer, mode, factor, patience)
    ///     print([scheduler.step(v) or optimizer.param_groups[0]["lr"] for v in values])
    /// ```
    #[test]
    fn the_learning_rate_is_that_of_pytorch() {
        let (loss, accuracy) = (Metric::Loss, Metric::Accuracy);
        for (metric, factor, patience, rate, values, want) in [
            (
                loss,
                0.5,
                1,
                1.0,
                &[0.9, 0.8, 0.79995, 0.7999, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7][..],
                &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25][..],
            ),
            (loss, 0.1, 0, 1e-7, &[0.9, 0.8, 0.79995, 0.7999, 0.8], &[1e-7, 1e-7, 1e-8, 1e-8, 1e-8]),
            (
                accuracy,
                0.1,
                2,
                1.0,
                &[0.5, 0.75, 0.75005, 0.7, 0.75, 0.8, 0.8, 0.8, 0.8, 1.0],
                &[1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01],
            ),
            (loss, 0.1, 10, 1.0, &[0.5; 13], &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1]),
        ] {
            let recipe = Recipe {
                lr_scheduler_type: Scheduler::ReduceLrOnPlateau,
                learning_rate: rate,
                lr_factor: factor,
                lr_patience: patience,
                metric_for_best_model: metric,
                ..Recipe::default()
            };
            let schedule = recipe.schedule(1000);
            let mut plateau = Plateau::default();
            let rates = values.iter().map(|&value| {
                plateau.look(value, &recipe);
                // what a checkpoint saves goes on
                plateau = serde_json::from_str(&serde_json::to_string(&plateau).unwrap()).unwrap();
                schedule.learning_rate(0) * plateau.scale()
            });
            let rates: Vec<f64> = rates.collect();
            // a few products of f64
            let close = rates.iter().zip(want).all(|(got, want)| (got / want - 1.0).abs() < 1e-12);
            assert!(close && rates.len() == want.len(), "{metric:?}: {rates:?}, not {want:?}");
        }
    }
}
