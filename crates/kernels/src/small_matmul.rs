//! Matrix multiplication for the small matrices of attention, where packing for a large GEMM would cost more than it
//! saves. One thread; call it inside `vectorize`.

use crate::Real;

/// Right operands and outputs have a multiple of this many columns.
pub(crate) const LANES: usize = 16;

/// `n` rounded up to a multiple of [`LANES`].
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// `c [m, n] = a [m, k] · b [k, n]`, or `c +=` with `accumulate`. `a` has [row stride, column stride], `b` a row stride; `c` is
/// contiguous, `n` a multiple of [`LANES`].
#[inline(always)]
pub(crate) fn small_matmul<T: Real>(
    c: &mut [T],
    a: (&[T], [usize; 2]),
    b: (&[T], usize),
    shape: [usize; 3],
    accumulate: bool,
) {
    T::small_matmul(c, a, b, shape, accumulate);
}

/// [`small_matmul`] for any `n`.
#[inline(always)]
pub(crate) fn matmul<T: Real>(
    c: &mut [T],
    a: (&[T], [usize; 2]),
    b: (&[T], usize),
    shape: [usize; 3],
    accumulate: bool,
) {
    if shape[1].is_multiple_of(LANES) {
        small_matmul(c, a, b, shape, accumulate);
    } else {
        sums_of_rows(c, a, b, shape, accumulate);
    }
}

/// [`small_matmul`] on any CPU and in any type: a row of `c` is the sum of rows of `b`, four at a time: a loop that every compiler vectorizes over the columns.
#[inline(always)]
pub(crate) fn sums_of_rows<T: Real>(
    c: &mut [T],
    (a, [a_row, a_column]): (&[T], [usize; 2]),
    (b, stride): (&[T], usize),
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    if !accumulate {
        c[..m * n].fill(T::ZERO);
    }
    for (i, c) in c[..m * n].chunks_exact_mut(n).enumerate() {
        let factor = |p: usize| a[i * a_row + p * a_column];
        let row = |p: usize| &b[p * stride..][..n];
        for p in 0..k / 4 {
            let [b0, b1, b2, b3] = [row(4 * p), row(4 * p + 1), row(4 * p + 2), row(4 * p + 3)];
            let [a0, a1, a2, a3] = [factor(4 * p), factor(4 * p + 1), factor(4 * p + 2), factor(4 * p + 3)];
            for ((((c, b0), b1), b2), b3) in c.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                *c += (a0 * *b0 + a1 * *b1) + (a2 * *b2 + a3 * *b3);
            }
        }
        for p in k / 4 * 4..k {
            let a = factor(p);
            c.iter_mut().zip(row(p)).for_each(|(c, b)| *c += a * *b);
        }
    }
}

/// `out [width, padded(rows)] = xᵀ` for `x` whose rows are `stride` apart; zero in the padding. On any CPU and in any type.
#[inline(always)]
pub(crate) fn transpose_by_element<T: Real>(out: &mut [T], x: &[T], stride: usize, [rows, width]: [usize; 2]) {
    for (c, out) in out.chunks_exact_mut(padded(rows)).take(width).enumerate() {
        for (r, out) in out[..rows].iter_mut().enumerate() {
            *out = x[r * stride + c];
        }
        out[rows..].fill(T::ZERO);
    }
}
