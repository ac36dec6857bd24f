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
    /// What the learning rate is multiplied by.
    pub rate: f64,
    /// Which step of this tensor it is, counted from 1: the moments began with zeros at the first.
    pub step: u64,
}

/// The weights of a linear layer.
#[derive(Debug)]
pub enum Weight<'a, T> {
    /// As they are.
    Ready(&'a [T]),
    /// Before a step of the optimizer that they still wait for. The product that reads them makes it, so that they come from
    /// memory once.
    Waiting(Update<'a, T>, &'a Adam),
}

impl<T> Weight<'_, T> {
    /// Their values, before the step where they wait for one.
    pub fn values(&self) -> &[T] {
        match self {
            Self::Ready(w) => w,
            Self::Waiting(update, _) => update.w,
        }
    }
}

/// Updates weights and moments from the gradients, as `torch.optim.AdamW`.
pub fn adam_step<T: Real>(updates: Vec<Update<T>>, adam: &Adam) {
    let _timer = timer(Operation::Optimizer, 0);
    updates.into_par_iter().for_each(|update| {
        let step = AdamStep::new(adam, &update);
        update.split(ELEMENTS).for_each(|update| step.make(update));
    });
}

impl<'a, T: Real> Update<'a, T> {
    /// Parts of `elements` elements, the last one shorter, for as many tasks.
    pub(crate) fn split(self, elements: usize) -> impl IndexedParallelIterator<Item = Update<'a, T>> {
        self.chunks(elements).collect::<Vec<_>>().into_par_iter()
    }

    /// The same, one after the other.
    pub(crate) fn chunks(self, elements: usize) -> impl ExactSizeIterator<Item = Update<'a, T>> {
        let Self { w, m, v, g, weight_decay, rate, step } = self;
        assert!(w.len() == m.len() && m.len() == v.len() && v.len() == g.len());
        let parts = w.chunks_mut(elements).zip(m.chunks_mut(elements)).zip(v.chunks_mut(elements));
        parts.zip(g.chunks(elements)).map(move |(((w, m), v), g)| Update { w, m, v, g, weight_decay, rate, step })
    }
}

/// The factors of a step.
pub(crate) struct AdamStep<T> {
    beta1: T,
    beta2: T,
    rest1: T,
    rest2: T,
    epsilon: T,
    scale: T,
    step_size: T,
    correction2: T,
    shrink: T,
    penalty: T,
}

impl<T: Real> AdamStep<T> {
    pub(crate) fn new(adam: &Adam, update: &Update<T>) -> Self {
        let step = i32::try_from(update.step).unwrap_or(i32::MAX);
        let (learning_rate, weight_decay) = (adam.learning_rate * update.rate, update.weight_decay);
        let r = T::from_f64;
        let (shrink, penalty) = match adam.decay {
            Decay::Decoupled => (r(1.0 - learning_rate * weight_decay), T::ZERO),
            Decay::Penalty => (T::ONE, r(weight_decay)),
        };
        Self {
            beta1: r(adam.beta1),
            beta2: r(adam.beta2),
            rest1: r(1.0 - adam.beta1),
            rest2: r(1.0 - adam.beta2),
            epsilon: r(adam.epsilon),
            scale: r(adam.gradient_scale),
            step_size: r(learning_rate / (1.0 - adam.beta1.powi(step))),
            correction2: r((1.0 - adam.beta2.powi(step)).sqrt()),
            shrink,
            penalty,
        }
    }

    /// Makes it, on this thread.
    pub(crate) fn make(&self, update: Update<T>) {
        let Self { beta1, beta2, rest1, rest2, epsilon, scale, step_size, correction2, shrink, penalty } = *self;
        let Update { w, m, v, g, .. } = update;
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
    }
}

/// The Euclidean norm of all gradients together: those given here, and those whose squares were summed up when they were
/// computed ([`crate::linear_backward_weight`]).
pub fn gradient_norm<T: Real>(gradients: &[&[T]], squares_of_others: f64) -> f64 {
    let _timer = timer(Operation::GradientNorm, 0);
    (squares_of_others + sum_of_squares(gradients)).sqrt()
}

/// The sum of all squares, in f64 over fixed chunks in a fixed order.
pub(crate) fn sum_of_squares<T: Real>(gradients: &[&[T]]) -> f64 {
    let squares = |chunk: &[T]| {
        vectorize(
            #[inline(always)]
            || lane_sum(chunk, chunk, |g, _| g.to_f64() * g.to_f64()),
        )
    };
    let chunks: Vec<&[T]> = gradients.iter().flat_map(|g| g.chunks(ELEMENTS)).collect();
    let sums: Vec<f64> = chunks.into_par_iter().map(squares).collect();
    sums.into_iter().sum()
}
