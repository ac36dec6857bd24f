//! Layer norm over rows (Ba, Kiros & Hinton 2016) of a sum with a residual, and its backward pass.

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::{column_sums, prefetch, rows_per_task};
use crate::pool::each;
use crate::profile::{Operation, timer};
use crate::real::lane_sum;

/// Rows that are asked for ahead where a task reads some columns of each: too far apart for the CPU to foresee them.
const ROWS_AHEAD: usize = 8;

/// DistilBERT's epsilon.
pub const LAYER_NORM_EPSILON: f64 = 1e-12;

/// `y = gamma * normalized + beta`, `normalized = (s - mean) / sqrt(variance + epsilon)` for each row of
/// `s = x + residual`.
///
/// `x [T, D]` holds `x` before and the normalized rows after; `y [T, D]` and `rstd [T]` (one over the standard
/// deviation) are overwritten. An empty `residual` stands for zeros.
pub fn layer_norm<T: Real>(y: &mut [T], x: &mut [T], rstd: &mut [T], residual: &[T], gamma: &[T], beta: &[T]) {
    let _timer = timer(Operation::LayerNorm, 0);
    let d = gamma.len();
    assert!(y.len() == x.len() && x.len() == rstd.len() * d && beta.len() == d);
    assert!(residual.is_empty() || residual.len() == x.len());
    let rows = rows_per_task(rstd.len(), d);
    let tasks = y.chunks_mut(rows * d).zip(x.chunks_mut(rows * d)).zip(rstd.chunks_mut(rows));
    each(tasks.enumerate(), |(task, ((y, x), rstd))| {
        vectorize(
            #[inline(always)]
            || {
                for (r, ((y, x), rstd)) in y.chunks_exact_mut(d).zip(x.chunks_exact_mut(d)).zip(rstd).enumerate() {
                    if !residual.is_empty() {
                        let residual = &residual[(task * rows + r) * d..][..d];
                        x.iter_mut().zip(residual).for_each(|(x, residual)| *x += *residual);
                    }
                    *rstd = normalize(x);
                    for (((y, x), gamma), beta) in y.iter_mut().zip(x).zip(gamma).zip(beta) {
                        *y = *x * *gamma + *beta;
                    }
                }
            },
        );
    });
}

/// Backward of [`layer_norm`]: `dy [T, D]` becomes `ds`, the gradient of both `x` and the residual, in place.
/// Overwrites `dgamma [D]` and `dbeta [D]`, or adds to them with `accumulate`; either is empty where it is not wanted. `normalized` and
/// `rstd` are what the forward pass left.
///
/// `ds = rstd (g - mean(g) - normalized * mean(g * normalized))` with `g = gamma * dy`.
pub fn layer_norm_backward<T: Real>(
    dy: &mut [T],
    dgamma: &mut [T],
    dbeta: &mut [T],
    normalized: &[T],
    rstd: &[T],
    gamma: &[T],
    accumulate: bool,
) {
    let _timer = timer(Operation::LayerNormBackward, 0);
    let d = gamma.len();
    assert!(dy.len() == normalized.len() && dy.len() == rstd.len() * d);
    if !dgamma.is_empty() || !dbeta.is_empty() {
        // both sums are made on one way through the rows
        let mut unwanted = vec![T::ZERO; if dgamma.is_empty() || dbeta.is_empty() { d } else { 0 }];
        let sums = match (dgamma.is_empty(), dbeta.is_empty()) {
            (true, _) => [&mut unwanted[..], dbeta],
            (_, true) => [dgamma, &mut unwanted[..]],
            _ => [dgamma, dbeta],
        };
        norm_gradient(sums, dy, normalized, accumulate);
    }
    let rows = rows_per_task(rstd.len(), d);
    let tasks = dy.chunks_mut(rows * d).zip(normalized.chunks(rows * d)).zip(rstd.chunks(rows));
    each(tasks, |((dy, normalized), rstd)| {
        vectorize(
            #[inline(always)]
            || {
                for ((dy, normalized), rstd) in dy.chunks_exact_mut(d).zip(normalized.chunks_exact(d)).zip(rstd) {
                    dy.iter_mut().zip(gamma).for_each(|(dy, gamma)| *dy *= *gamma);
                    let n = T::from_f64(d as f64);
                    let mean = lane_sum(dy, dy, |g, _| g) / n;
                    let slope = lane_sum(dy, normalized, |g, x| g * x) / n;
                    for (dy, normalized) in dy.iter_mut().zip(normalized) {
                        *dy = *rstd * (*dy - mean - *normalized * slope);
                    }
                }
            },
        );
    });
}

/// `dgamma [D] = column sums of dy * normalized`, `dbeta [D] = column sums of dy`, both `[T, D]`; with `accumulate`, `+=`.
fn norm_gradient<T: Real>(sums: [&mut [T]; 2], dy: &[T], normalized: &[T], accumulate: bool) {
    let d = sums[0].len();
    column_sums(
        sums,
        dy.len() / d,
        accumulate,
        #[inline(always)]
        |[dgamma, dbeta], row, columns| {
            for x in [dy, normalized] {
                prefetch(x, (row + ROWS_AHEAD) * d + columns.start, 0, [1, columns.len()]);
            }
            let (dy, normalized) = (&dy[row * d..][columns.clone()], &normalized[row * d..][columns]);
            for (((dgamma, dbeta), dy), normalized) in dgamma.iter_mut().zip(dbeta).zip(dy).zip(normalized) {
                *dgamma += *dy * *normalized;
                *dbeta += *dy;
            }
        },
    );
}

/// Normalizes a row in place; returns one over its standard deviation.
#[inline(always)]
fn normalize<T: Real>(x: &mut [T]) -> T {
    let n = T::from_f64(x.len() as f64);
    let mean = lane_sum(x, x, |x, _| x) / n;
    x.iter_mut().for_each(|x| *x += -mean);
    let variance = lane_sum(x, x, |x, _| x * x) / n;
    let rstd = T::ONE / (variance + T::from_f64(LAYER_NORM_EPSILON)).sqrt();
    x.iter_mut().for_each(|x| *x *= rstd);
    rstd
}
