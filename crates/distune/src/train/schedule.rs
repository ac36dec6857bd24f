//! Learning rate by step.

use serde::{Deserialize, Serialize};

/// Where a polynomial schedule ends, as in Transformers.
const POLYNOMIAL_END: f64 = 1e-7;
/// A one-cycle schedule begins with this part of its peak, and ends with this part of where it began, as in PyTorch.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;
const ONE_CYCLE_END: f64 = 1e-4;
/// The part of a one-cycle schedule that rises, where there are no warmup steps, as in PyTorch.
const ONE_CYCLE_RISE: f64 = 0.3;

/// The course of the learning rate after the warmup, under the names of Transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Straight down to zero.
    #[default]
    Linear,
    /// Half a cosine down to zero.
    Cosine,
    /// Down to 1e-7 by a power of what is left, [`Schedule::power`].
    Polynomial,
    /// The peak at every step; no warmup.
    Constant,
    /// The peak.
    ConstantWithWarmup,
    /// Half a cosine up from a 25th of the peak, and half a cosine down to nearly nothing (Smith and Topin 2018, as PyTorch's
    /// `OneCycleLR`). It rises over the warmup steps, or over 30 % of all steps if there are none.
    OneCycle,
    /// The peak, and less and less of it when the validation rows no longer improve ([`super::Plateau`]). The warmup is ours:
    /// Transformers has none here.
    ReduceLrOnPlateau,
}

impl Scheduler {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("linear", Self::Linear),
        ("cosine", Self::Cosine),
        ("polynomial", Self::Polynomial),
        ("constant", Self::Constant),
        ("constant_with_warmup", Self::ConstantWithWarmup),
        ("one_cycle", Self::OneCycle),
        ("reduce_lr_on_plateau", Self::ReduceLrOnPlateau),
    ];
}

/// The learning rates of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The course after the warmup.
    pub scheduler: Scheduler,
    /// The highest learning rate.
    pub peak: f64,
    /// Steps over which it rises from zero.
    pub warmup_steps: usize,
    /// All steps of the training.
    pub total_steps: usize,
    /// Of a polynomial schedule.
    pub power: f64,
}

impl Schedule {
    /// Linear warmup, then linear decay to zero, as `transformers.get_linear_schedule_with_warmup`.
    pub fn linear(peak: f64, warmup_steps: usize, total_steps: usize) -> Self {
        Self { scheduler: Scheduler::Linear, peak, warmup_steps, total_steps, power: 1.0 }
    }

    /// The learning rate of a step, counted from 0.
    pub fn learning_rate(&self, step: usize) -> f64 {
        match self.scheduler {
            Scheduler::Constant => self.peak,
            Scheduler::OneCycle => self.one_cycle(step),
            _ if step < self.warmup_steps => self.peak * (step as f64 / self.warmup_steps as f64),
            Scheduler::ConstantWithWarmup | Scheduler::ReduceLrOnPlateau => self.peak,
            Scheduler::Linear => self.peak * self.left(step),
            Scheduler::Cosine => {
                self.peak * (0.5 * (1.0 + (std::f64::consts::PI * (1.0 - self.left(step))).cos())).max(0.0)
            }
            Scheduler::Polynomial => (self.peak - POLYNOMIAL_END) * self.left(step).powf(self.power) + POLYNOMIAL_END,
        }
    }

    /// The part of the steps after the warmup that is left.
    fn left(&self, step: usize) -> f64 {
        let left = self.total_steps.saturating_sub(step) as f64;
        left / (self.total_steps.saturating_sub(self.warmup_steps)).max(1) as f64
    }

    fn one_cycle(&self, step: usize) -> f64 {
        let (step, total) = (step as f64, self.total_steps as f64);
        let rise = if self.warmup_steps > 0 { self.warmup_steps as f64 } else { ONE_CYCLE_RISE * total };
        let (top, end) = (rise - 1.0, (total - 1.0).max(1.0));
        let (start, last) = (self.peak * ONE_CYCLE_START, self.peak * ONE_CYCLE_START * ONE_CYCLE_END);
        let between =
            |from: f64, to: f64, part: f64| to + (from - to) / 2.0 * (1.0 + (std::f64::consts::PI * part).cos());
        match step <= top {
            true => between(start, self.peak, if top > 0.0 { step / top } else { 1.0 }),
            false => between(self.peak, last, ((step - top) / (end - top)).min(1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `transformers.get_scheduler(name, ..., num_warmup_steps=2, num_training_steps=8)` of Transformers 5.24 with a peak of 1, and
    /// PyTorch 2.15's `OneCycleLR(optimizer, 1.0, total_steps=8)`.
    #[test]
    fn schedules_are_those_of_transformers_and_pytorch() {
        for (scheduler, warmup_steps, want) in [
            (Scheduler::Linear, 2, [0.0, 0.5, 1.0, 0.833333333, 0.666666667, 0.5, 0.333333333, 0.166666667]),
            (Scheduler::Cosine, 2, [0.0, 0.5, 1.0, 0.933012702, 0.75, 0.5, 0.25, 0.066987298]),
            (Scheduler::Polynomial, 2, [0.0, 0.5, 1.0, 0.83333335, 0.6666667, 0.50000005, 0.3333334, 0.16666675]),
            (Scheduler::Constant, 2, [1.0; 8]),
            (Scheduler::ConstantWithWarmup, 2, [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (
                Scheduler::OneCycle,
                0,
                [0.04, 0.819275105, 0.971941777, 0.811745654, 0.555984014, 0.283060998, 0.076641594, 4e-06],
            ),
        ] {
            let schedule = Schedule { scheduler, ..Schedule::linear(1.0, warmup_steps, 8) };
            for (step, want) in want.into_iter().enumerate() {
                let got = schedule.learning_rate(step);
                // nine digits were printed
                assert!((got - want).abs() < 1e-9, "{scheduler:?} at step {step}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn rates_are_sane_at_any_length() {
        for (_, scheduler) in Scheduler::NAMES {
            for (warmup_steps, total_steps) in [(0, 1), (0, 2), (1, 2), (3, 7), (7, 7), (0, 1000)] {
                let schedule = Schedule { scheduler, power: 2.0, ..Schedule::linear(1e-4, warmup_steps, total_steps) };
                let rates: Vec<f64> = (0..total_steps).map(|step| schedule.learning_rate(step)).collect();
                assert!(rates.iter().all(|rate| (0.0..=1e-4).contains(rate)), "{schedule:?}: {rates:?}");
                assert!(rates.iter().any(|&rate| rate > 0.0) || warmup_steps == total_steps, "{schedule:?}");
            }
        }
    }
}
