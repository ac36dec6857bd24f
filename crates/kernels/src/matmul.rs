//! Linear layers, forward and backward, over the `gemm` crate.
//!
//! A layer has weights `w [N, K]` and a bias `b [N]`, as PyTorch stores them; M rows go through it.

use rayon::prelude::*;

use crate::Real;
use crate::parallel::{column_sums, rows_per_task};

/// `y [M, N] = x [M, K] · wᵀ + b`. Overwrites `y`.
pub fn linear<T: Real>(y: &mut [T], x: &[T], w: &[T], b: &[T]) {
    let n = b.len();
    let (m, k) = (y.len() / n, w.len() / n);
    let rows = rows_per_task(n);
    y.par_chunks_mut(rows * n).for_each(|y| y.chunks_exact_mut(n).for_each(|y| y.copy_from_slice(b)));
    matmul([m, n, k], y, true, (x, [k, 1]), (w, [1, k]));
}

/// `dx [M, K] = dy [M, N] · w`; with `accumulate`, `dx +=`.
pub fn linear_backward_input<T: Real>(dx: &mut [T], dy: &[T], w: &[T], n: usize, accumulate: bool) {
    let (m, k) = (dy.len() / n, w.len() / n);
    matmul([m, k, n], dx, accumulate, (dy, [n, 1]), (w, [k, 1]));
}

/// `dw [N, K] = dyᵀ · x`, `db [N] = column sums of dy [M, N]`. Overwrites both.
pub fn linear_backward_weight<T: Real>(dw: &mut [T], db: &mut [T], dy: &[T], x: &[T]) {
    let n = db.len();
    let (m, k) = (dy.len() / n, dw.len() / n);
    matmul([n, k, m], dw, false, (dy, [1, n]), (x, [k, 1]));
    column_sums(db, m, |db, row, columns| {
        for (db, dy) in db.iter_mut().zip(&dy[row * n..][columns]) {
            *db += *dy;
        }
    });
}

/// `c [M, N] = a [M, K] · b [K, N]`, or `c +=` with `accumulate`; `a` and `b` each with [row stride, column stride].
fn matmul<T: Real>(
    [m, n, k]: [usize; 3],
    c: &mut [T],
    accumulate: bool,
    (a, [a_row, a_column]): (&[T], [usize; 2]),
    (b, [b_row, b_column]): (&[T], [usize; 2]),
) {
    assert_eq!(c.len(), m * n, "output of [{m}, {k}] x [{k}, {n}]");
    assert_eq!(a.len(), m * k, "left operand of [{m}, {k}] x [{k}, {n}]");
    assert_eq!(b.len(), k * n, "right operand of [{m}, {k}] x [{k}, {n}]");
    // SAFETY: the lengths were checked above, the strides enumerate each matrix exactly, and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            b_column as isize,
            b_row as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
