//! Adam and AdamW steps and the global gradient norm.

use rayon::prelude::*;

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::ELEMENTS;
use crate::profile::{Operation, timer};
use crate::real::lane_sum;

/// How weight decay enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// AdamW (Loshchilov & Hutter 2019): the weights shrink by `learning_rate * weight_decay` beside the step.
    Decoupled,
    /// Adam (Kingma & Ba 2015) with an L2 penalty: `weight_decay * w` is added to the gradient.
    Penalty,
}

/// One step's settings.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// How weight decay enters.
    pub decay: Decay,
    /// The step, counted from 1.
    pub step: u64,
    /// What every gradient is multiplied by first: the factor of the clipping.
    pub gradient_scale: f64,
}

/// A tensor to update: all slices of one length.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// The weights.
    pub w: &'a mut [T],
    /// First moments.
    pub m: &'a mut [T],
    /// Second moments.
    pub v: &'a mut [T],
    /// The gradient.
    pub g: &'a [T],
    /// Strength of the decay; 0 for none.
    pub weight_decay: f64,
}

/// Updates weights and moments from the gradients, as `torch.optim.AdamW`.
pub fn adam_step<T: Real>(updates: Vec<Update<T>>, adam: &Adam) {
    let _timer = timer(Operation::Optimizer, 0);
    updates.into_par_iter().for_each(|update| adam_update(update, adam));
}

fn adam_update<T: Real>(update: Update<T>, adam: &Adam) {
    let Update { w, m, v, g, weight_decay } = update;
    assert!(w.len() == m.len() && m.len() == v.len() && v.len() == g.len());
    let step = i32::try_from(adam.step).unwrap_or(i32::MAX);
    let r = T::from_f64;
    let (beta1, beta2, epsilon, scale) = (r(adam.beta1), r(adam.beta2), r(adam.epsilon), r(adam.gradient_scale));
    let (rest1, rest2) = (r(1.0 - adam.beta1), r(1.0 - adam.beta2));
    let step_size = r(adam.learning_rate / (1.0 - adam.beta1.powi(step)));
    let correction2 = r((1.0 - adam.beta2.powi(step)).sqrt());
    let (shrink, penalty) = match adam.decay {
        Decay::Decoupled => (r(1.0 - adam.learning_rate * weight_decay), T::ZERO),
        Decay::Penalty => (T::ONE, r(weight_decay)),
    };
    let chunks = w.par_chunks_mut(ELEMENTS).zip(m.par_chunks_mut(ELEMENTS)).zip(v.par_chunks_mut(ELEMENTS));
    chunks.zip(g.par_chunks(ELEMENTS)).for_each(|(((w, m), v), g)| {
        vectorize(
            #[inline(always)]
            || {
                for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                    let g = *g * scale + penalty * *w;
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *w = shrink * *w - step_size * *m / (v.sqrt() / correction2 + epsilon);
                }
            },
        );
    });
}

/// The Euclidean norm of all gradients together, summed in f64 over fixed chunks in a fixed order.
pub fn gradient_norm<T: Real>(gradients: &[&[T]]) -> f64 {
    let _timer = timer(Operation::GradientNorm, 0);
    let squares = |chunk: &[T]| {
        vectorize(
            #[inline(always)]
            || lane_sum(chunk, chunk, |g, _| g.to_f64() * g.to_f64()),
        )
    };
    let chunks: Vec<&[T]> = gradients.iter().flat_map(|g| g.chunks(ELEMENTS)).collect();
    let sums: Vec<f64> = chunks.into_par_iter().map(squares).collect();
    sums.into_iter().sum::<f64>().sqrt()
}
