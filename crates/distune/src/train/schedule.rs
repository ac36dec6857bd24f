//! Learning rate by step.

/// Linear warmup, then linear decay to zero, as `transformers.get_linear_schedule_with_warmup`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearSchedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps over which it rises from zero.
    pub warmup_steps: usize,
    /// All steps of the training.
    pub total_steps: usize,
}

impl LinearSchedule {
    /// The learning rate of a step, counted from 0.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let factor = if step < self.warmup_steps {
            step as f64 / self.warmup_steps as f64
        } else {
            let left = self.total_steps.saturating_sub(step) as f64;
            left / (self.total_steps.saturating_sub(self.warmup_steps)).max(1) as f64
        };
        self.peak * factor
    }
}
