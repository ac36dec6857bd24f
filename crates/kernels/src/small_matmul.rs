//! Matrix multiplication for the small matrices of attention, where packing for a large GEMM would cost more than it
//! saves. One thread; call it inside `vectorize`.

use crate::Real;

/// Columns of a tile; the right operand and the output have a multiple of this many.
pub(crate) const LANES: usize = 16;

/// `n` rounded up to a multiple of [`LANES`].
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// `c [m, n] = a [m, k] · b [k, n]`, or `c +=` with `accumulate`. `a` has [row stride, column stride]; `b` and `c` are
/// contiguous, `n` a multiple of [`LANES`].
#[inline(always)]
pub(crate) fn small_matmul<T: Real>(
    c: &mut [T],
    (a, strides): (&[T], [usize; 2]),
    b: &[T],
    [m, n, k]: [usize; 3],
    accumulate: bool,
) {
    for j in (0..n).step_by(LANES) {
        let mut i = 0;
        while i < m {
            let (a, c) = (&a[i * strides[0]..], &mut c[i * n + j..]);
            i += match m - i {
                8.. => tile::<T, 8>(c, a, strides, &b[j..], [n, k], accumulate),
                4.. => tile::<T, 4>(c, a, strides, &b[j..], [n, k], accumulate),
                _ => tile::<T, 1>(c, a, strides, &b[j..], [n, k], accumulate),
            };
        }
    }
}

/// R rows and [`LANES`] columns of the output, in registers over the whole of k. Returns R.
#[inline(always)]
fn tile<T: Real, const R: usize>(
    c: &mut [T],
    a: &[T],
    [a_row, a_column]: [usize; 2],
    b: &[T],
    [n, k]: [usize; 2],
    accumulate: bool,
) -> usize {
    let mut sums = [[T::ZERO; LANES]; R];
    for p in 0..k {
        let b: &[T] = &b[p * n..][..LANES];
        for r in 0..R {
            let x = a[r * a_row + p * a_column];
            for l in 0..LANES {
                sums[r][l] += x * b[l];
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (c, sum) in c[r * n..][..LANES].iter_mut().zip(sums) {
            *c = if accumulate { *c + *sum } else { *sum };
        }
    }
    R
}
