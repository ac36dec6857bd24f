//! Linear layers, forward and backward.
//!
//! A layer has weights `w [N, K]` and a bias `b [N]`, as PyTorch stores them; M rows go through it.

use crate::Real;
use crate::gemm::{Buffers, Epilogue, Matrix, Precision, Rows, multiply, multiply_and_sum, multiply_updating};
use crate::optimizer::{OptimizerStep, Update, Weight, optimizer_step, sum_of_squares};
use crate::parallel::column_sums;
use crate::profile::{Operation, apart, timer};

/// How linear layers multiply, with buffers that are used again from call to call.
#[derive(Debug, Default)]
pub struct Products {
    precision: Precision,
    pub(crate) buffers: Buffers,
    pub(crate) rows: Rows,
}

impl Products {
    /// Products of operands that are rounded to `precision`; sums are f32 in any case.
    pub fn new(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    /// `c [M, N] = a [M, K] · b [K, N]`, or as the epilogue says.
    pub(crate) fn multiply_f32(&mut self, c: &mut [f32], a: Matrix, b: Matrix, epilogue: Epilogue) {
        multiply(&mut self.buffers, c, a, b, self.precision, epilogue);
    }

    /// See [`linear_backward_weight`].
    pub(crate) fn weight_gradient_f32(
        &mut self,
        [dw, db]: [&mut [f32]; 2],
        dy: Matrix,
        x: Matrix,
        accumulate: bool,
    ) -> f64 {
        if !accumulate {
            db.fill(0.0);
        }
        multiply_and_sum(&mut self.buffers, [dw, db], dy.transposed(), x, self.precision, overwrite_or_add(accumulate))
    }

    /// `c [M, N] = a [M, K] · wᵀ + bias` after a step of the optimizer for `w [N, K]`.
    pub(crate) fn multiply_updating_f32(
        &mut self,
        c: &mut [f32],
        a: Matrix,
        update: Update<f32>,
        step: &OptimizerStep,
        bias: &[f32],
    ) {
        multiply_updating(&mut self.buffers, c, a, update, step, self.precision, Epilogue::Bias(bias));
    }
}

/// `y [M, N] = x [M, K] · wᵀ + b`, after the optimizer's step for `w` where that is waiting. Overwrites `y`.
pub fn linear<T: Real>(p: &mut Products, y: &mut [T], x: &[T], w: Weight<T>, b: &[T]) {
    let _timer = timer(Operation::Linear, x.len() * b.len());
    let n = b.len();
    let m = y.len() / n;
    let k = if let Weight::Packed(_) = w { x.len() / m.max(1) } else { w.values().len() / n };
    let x = Matrix::new(x, [m, k]);
    match w {
        Weight::Packed(_) if y.is_empty() => {}
        Weight::Ready(w) => T::multiply(p, y, x, Matrix::new(w, [n, k]).transposed(), Epilogue::Bias(b)),
        Weight::Packed(w) => T::multiply_packed(p, y, x, w, b),
        Weight::Waiting(update, step) => T::multiply_updating(p, y, x, update, step, b),
    }
}

/// `y [M, D] = gelu(x [M, D] · w1ᵀ + b1) · w2ᵀ + b2` for packed weights: both layers of a feed-forward network, on as few ways through what
/// is between as the products allow. Overwrites `y`, and `between [M, F]`, which need not hold that afterwards.
pub fn feed_forward<T: Real>(p: &mut Products, [y, between]: [&mut [T]; 2], x: &[T], layers: [(&T::Packed, &[T]); 2]) {
    let [(_, b1), (_, b2)] = layers;
    let _timer = timer(Operation::Linear, (x.len() + y.len()) * b1.len());
    let m = y.len() / b2.len();
    if m > 0 {
        T::multiply_packed_twice(p, [y, between], Matrix::new(x, [m, x.len() / m]), layers);
    }
}

/// `c [M, N] = a [M, K] · wᵀ + bias` after a step of the optimizer for `w [N, K]`, one after the other.
pub(crate) fn update_and_multiply<T: Real>(
    p: &mut Products,
    c: &mut [T],
    a: Matrix<T>,
    update: Update<T>,
    step: &OptimizerStep,
    bias: &[T],
) {
    let Update { w, m, v, average, g, .. } = update;
    apart(Operation::Linear, || optimizer_step(vec![Update { w: &mut *w, m, v, average, g, ..update }], step));
    let shape = [bias.len(), w.len() / bias.len()];
    T::multiply(p, c, a, Matrix::new(w, shape).transposed(), Epilogue::Bias(bias));
}

/// `dx [M, K] = dy [M, N] · w`; with `accumulate`, `dx +=`.
pub fn linear_backward_input<T: Real>(p: &mut Products, dx: &mut [T], dy: &[T], w: &[T], n: usize, accumulate: bool) {
    let _timer = timer(Operation::LinearBackwardInput, dy.len() * w.len() / n);
    let (m, k) = (dy.len() / n, w.len() / n);
    T::multiply(p, dx, Matrix::new(dy, [m, n]), Matrix::new(w, [n, k]), overwrite_or_add(accumulate));
}

/// `dw [N, K] = dyᵀ · x`, `db [N] = column sums of dy [M, N]`; with `accumulate`, `+=`. Either is empty where it is not wanted. Returns
/// the sum of the squares of `dw`, for the gradient norm.
pub fn linear_backward_weight<T: Real>(
    p: &mut Products,
    [dw, db]: [&mut [T]; 2],
    dy: &[T],
    x: &[T],
    n: usize,
    accumulate: bool,
) -> f64 {
    let _timer = timer(Operation::LinearBackwardWeight, dy.len() * dw.len() / n);
    let (m, k) = (dy.len() / n, dw.len() / n);
    let dy = Matrix::new(dy, [m, n]);
    match (dw.is_empty(), db.is_empty()) {
        (true, true) => 0.0,
        (true, false) => {
            bias_gradient(db, dy, accumulate);
            0.0
        }
        (false, true) => T::weight_gradient(p, [dw, &mut vec![T::ZERO; n]], dy, Matrix::new(x, [m, k]), accumulate),
        (false, false) => T::weight_gradient(p, [dw, db], dy, Matrix::new(x, [m, k]), accumulate),
    }
}

/// See [`linear_backward_weight`]; one thing after the other.
pub(crate) fn weight_gradient<T: Real>(
    p: &mut Products,
    [dw, db]: [&mut [T]; 2],
    dy: Matrix<T>,
    x: Matrix<T>,
    accumulate: bool,
) -> f64 {
    T::multiply(p, dw, dy.transposed(), x, overwrite_or_add(accumulate));
    bias_gradient(db, dy, accumulate);
    sum_of_squares(&[dw])
}

/// `db [N] = column sums of dy [M, N]`; with `accumulate`, `+=`.
fn bias_gradient<T: Real>(db: &mut [T], dy: Matrix<T>, accumulate: bool) {
    let ([m, n], (dy, _)) = (dy.shape(), dy.strides());
    column_sums(
        [db],
        m,
        accumulate,
        #[inline(always)]
        |[db], row, columns| {
            for (db, dy) in db.iter_mut().zip(&dy[row * n..][columns]) {
                *db += *dy;
            }
        },
    );
}

fn overwrite_or_add<'a, T>(add: bool) -> Epilogue<'a, T> {
    if add { Epilogue::Add } else { Epilogue::Overwrite }
}

/// `c [M, N] = a [M, K] · b [K, N]` by the `matrixmultiply` crate, or as the epilogue says.
pub(crate) fn multiply_f64(c: &mut [f64], a: Matrix<f64>, b: Matrix<f64>, epilogue: Epilogue<f64>) {
    let ([m, k], [_, n]) = (a.shape(), b.shape());
    assert_eq!(b.shape()[0], k, "right operand of [{m}, {k}] x [{k}, {n}]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "output of [{m}, {k}] x [{k}, {n}]");
    if let Epilogue::Bias(bias) = epilogue {
        c.chunks_exact_mut(n).for_each(|c| c.copy_from_slice(bias));
    }
    let kept = if matches!(epilogue, Epilogue::Overwrite) { 0.0 } else { 1.0 };
    let ((a, [a_row, a_column]), (b, [b_row, b_column]), row) = (a.strides(), b.strides(), n as isize);
    // SAFETY: a matrix has as many values as its shape says and its strides enumerate them; the output was checked
    // above and is borrowed mutably.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::dgemm(m, k, n, 1.0, a, a_row, a_column, b, b_row, b_column, kept, c, row, 1);
    }
}
