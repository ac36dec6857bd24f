//! Steps of Adam, AdamW and SGD, the moving average of the weights, and the global gradient norm.

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::{ELEMENTS, STRETCH, ask_ahead};
use crate::pool::each;
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

/// An optimizer with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `torch.optim.Adam` or `AdamW`.
    Adam {
        /// Decay rate of the first moment.
        beta1: f64,
        /// Decay rate of the second moment.
        beta2: f64,
        /// Added to the square root of the second moment.
        epsilon: f64,
        /// How weight decay enters.
        decay: Decay,
    },
    /// `torch.optim.SGD` without dampening and Nesterov's look ahead; weight decay is an L2 penalty. The first moment is the
    /// momentum's sum of gradients.
    Sgd {
        /// What the sum of the gradients before is multiplied by; 0 for none.
        momentum: f64,
    },
}

impl Optimizer {
    /// Whether it keeps first moments, and second ones.
    pub fn moments(self) -> [bool; 2] {
        match self {
            Self::Adam { .. } => [true, true],
            Self::Sgd { momentum } => [momentum > 0.0, false],
        }
    }
}

/// One step's settings.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerStep {
    /// What makes it.
    pub optimizer: Optimizer,
    /// Step size.
    pub learning_rate: f64,
    /// What every gradient is multiplied by first: the factor of the clipping.
    pub gradient_scale: f64,
    /// Decay of the weights' average, where one is kept.
    pub average_decay: f64,
}

/// A tensor to update: all slices of one length, or empty where they are not kept.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// The weights.
    pub w: &'a mut [T],
    /// First moments.
    pub m: &'a mut [T],
    /// Second moments.
    pub v: &'a mut [T],
    /// The exponential moving average of the weights.
    pub average: &'a mut [T],
    /// The gradient.
    pub g: &'a [T],
    /// Strength of the decay; 0 for none.
    pub weight_decay: f64,
    /// What the learning rate is multiplied by.
    pub rate: f64,
    /// Which step of this tensor it is, counted from 1: the moments began with zeros at the first, the average with the weights.
    pub step: u64,
}

/// The weights of a linear layer.
#[derive(Debug)]
pub enum Weight<'a, T: Real> {
    /// As they are.
    Ready(&'a [T]),
    /// Arranged for the products of inference.
    Packed(&'a T::Packed),
    /// Before a step of the optimizer that they still wait for. The product that reads them makes it, so that they come from
    /// memory once.
    Waiting(Update<'a, T>, &'a OptimizerStep),
}

impl<T: Real> Weight<'_, T> {
    /// Their values, before the step where they wait for one; nothing where they are packed.
    pub fn values(&self) -> &[T] {
        match self {
            Self::Ready(w) => w,
            Self::Packed(_) => &[],
            Self::Waiting(update, _) => update.w,
        }
    }
}

/// Updates weights, moments and averages from the gradients.
pub fn optimizer_step<T: Real>(updates: Vec<Update<T>>, step: &OptimizerStep) {
    let _timer = timer(Operation::Optimizer, 0);
    let factors: Vec<_> = updates.iter().map(|update| Factors::new(step, update)).collect();
    let parts = updates.into_iter().zip(&factors);
    let parts = parts.flat_map(|(update, factors)| update.chunks(ELEMENTS).map(move |part| (factors, part)));
    let parts: Vec<_> = parts.collect();
    each(parts.into_iter(), |(factors, part)| factors.make(part));
}

impl<'a, T: Real> Update<'a, T> {
    /// Parts of `elements` elements, the last one shorter.
    pub(crate) fn chunks(self, elements: usize) -> impl ExactSizeIterator<Item = Update<'a, T>> {
        let Self { w, mut m, mut v, mut average, g, weight_decay, rate, step } = self;
        assert!(w.len() == g.len() && [&m, &v, &average].iter().all(|kept| kept.is_empty() || kept.len() == w.len()));
        w.chunks_mut(elements).zip(g.chunks(elements)).map(move |(w, g)| {
            let [m, v, average] = [&mut m, &mut v, &mut average].map(|kept| take(kept, w.len()));
            Update { w, m, v, average, g, weight_decay, rate, step }
        })
    }
}

/// Takes elements off the front of an array, or nothing where it is not kept.
fn take<'a, T>(rest: &mut &'a mut [T], elements: usize) -> &'a mut [T] {
    let all = std::mem::take(rest);
    let (front, tail) = all.split_at_mut(elements.min(all.len()));
    *rest = tail;
    front
}

/// The factors of a step.
pub(crate) struct Factors<T> {
    scale: T,
    penalty: T,
    rule: Rule<T>,
    /// The weights' part of the average.
    newest: T,
}

/// What an optimizer does with a gradient.
#[derive(Clone, Copy)]
enum Rule<T> {
    Adam { beta1: T, beta2: T, rest1: T, rest2: T, epsilon: T, step_size: T, correction: T, shrink: T },
    Sgd { momentum: T, step_size: T },
}

impl<T: Real> Factors<T> {
    pub(crate) fn new(step: &OptimizerStep, update: &Update<T>) -> Self {
        let r = T::from_f64;
        let (learning_rate, weight_decay) = (step.learning_rate * update.rate, update.weight_decay);
        let (rule, penalty) = match step.optimizer {
            Optimizer::Adam { beta1, beta2, epsilon, decay } => {
                let (shrink, penalty) = match decay {
                    Decay::Decoupled => (1.0 - learning_rate * weight_decay, 0.0),
                    Decay::Penalty => (1.0, weight_decay),
                };
                let number = i32::try_from(update.step).unwrap_or(i32::MAX);
                let rule = Rule::Adam {
                    beta1: r(beta1),
                    beta2: r(beta2),
                    rest1: r(1.0 - beta1),
                    rest2: r(1.0 - beta2),
                    epsilon: r(epsilon),
                    step_size: r(learning_rate / (1.0 - beta1.powi(number))),
                    correction: r(1.0 / (1.0 - beta2.powi(number)).sqrt()),
                    shrink: r(shrink),
                };
                (rule, penalty)
            }
            Optimizer::Sgd { momentum } => {
                (Rule::Sgd { momentum: r(momentum), step_size: r(learning_rate) }, weight_decay)
            }
        };
        let newest = r(1.0 - average_decay(step.average_decay, update.step));
        Self { scale: r(step.gradient_scale), penalty: r(penalty), rule, newest }
    }

    /// Makes it, on this thread.
    pub(crate) fn make(&self, update: Update<T>) {
        let Self { scale, penalty, rule, newest } = *self;
        let Update { w, m, v, average, g, .. } = update;
        vectorize(
            #[inline(always)]
            || match rule {
                Rule::Adam { beta1, beta2, rest1, rest2, epsilon, step_size, correction, shrink } => {
                    let stretches = w.chunks_mut(STRETCH).zip(m.chunks_mut(STRETCH)).zip(v.chunks_mut(STRETCH));
                    for (((w, m), v), g) in stretches.zip(g.chunks(STRETCH)) {
                        [&*w, m, v, g].into_iter().for_each(ask_ahead);
                        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                            let g = *g * scale + penalty * *w;
                            *m = beta1 * *m + rest1 * g;
                            *v = beta2 * *v + rest2 * g * g;
                            *w = shrink * *w - step_size * *m / (v.sqrt() * correction + epsilon);
                        }
                    }
                }
                Rule::Sgd { step_size, .. } if m.is_empty() => {
                    for (w, g) in w.iter_mut().zip(g) {
                        *w = *w - step_size * (*g * scale + penalty * *w);
                    }
                }
                Rule::Sgd { momentum, step_size } => {
                    for ((w, m), g) in w.iter_mut().zip(m).zip(g) {
                        *m = momentum * *m + (*g * scale + penalty * *w);
                        *w = *w - step_size * *m;
                    }
                }
            },
        );
        // in this form, an average of equal weights is those weights to the bit
        vectorize(
            #[inline(always)]
            || average.iter_mut().zip(w).for_each(|(average, w)| *average += newest * (*w - *average)),
        );
    }
}

/// The decay of an average in its nth step, counted from 1: lower in the first ones, so that the average soon forgets where the
/// training began (as TensorFlow's `ExponentialMovingAverage` with `num_updates`).
fn average_decay(decay: f64, step: u64) -> f64 {
    decay.min((1.0 + step as f64) / (10.0 + step as f64))
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
    let mut sums = vec![0.0; chunks.len()];
    each(chunks.into_iter().zip(&mut sums), |(chunk, sum)| *sum = squares(chunk));
    sums.into_iter().sum()
}
