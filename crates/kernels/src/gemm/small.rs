//! The small products of attention: matrices that are multiplied as they lie, by the vectors of the innermost loop.

use super::ahead::Ahead;
use super::tile::{Operand, Vector, sums};

/// A product of matrices that are small enough to multiply as they lie: `c [m, n] = a [m, k] · b [k, n]`, or `c +=` with
/// `accumulate`. `a` has [row stride, column stride], `b` the row stride `stride`; `c` is contiguous.
pub(crate) struct Small<'a> {
    pub(crate) c: &'a mut [f32],
    pub(crate) a: &'a [f32],
    pub(crate) strides: [usize; 2],
    pub(crate) b: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) shape: [usize; 3],
    pub(crate) accumulate: bool,
}

/// Computes a small product, up to `VECTORS` vectors of each row at once.
///
/// # Safety
///
/// The CPU has the vector's instructions, which multiply f32, and the caller is compiled for them. `n` is a multiple of the
/// vector's lanes.
#[inline(always)]
pub(super) unsafe fn small<V: Vector, const VECTORS: usize>(product: Small) {
    let Small { c, a, strides, b, stride, shape: [m, n, k], accumulate } = product;
    assert!(c.len() >= m * n && n.is_multiple_of(V::LANES));
    assert!(k == 0 || b.len() >= (k - 1) * stride + n);
    assert!(m == 0 || k == 0 || a.len() > (m - 1) * strides[0] + (k - 1) * strides[1]);
    let mut column = 0;
    while column < n {
        let vectors = VECTORS.min((n - column) / V::LANES);
        for row in (0..m).step_by(V::ROWS) {
            // SAFETY: the assertions bound what is read and written.
            unsafe {
                let left = Operand { start: a.as_ptr().cast::<u32>().add(row * strides[0]), strides };
                let right = b.as_ptr().cast::<u32>().add(column);
                let to = c.as_mut_ptr().add(row * n + column);
                let rows = V::ROWS.min(m - row);
                match vectors {
                    1 => small_rows::<V, 1>(to, n, left, (right, stride), [rows, k], accumulate),
                    2 => small_rows::<V, 2>(to, n, left, (right, stride), [rows, k], accumulate),
                    _ => small_rows::<V, VECTORS>(to, n, left, (right, stride), [rows, k], accumulate),
                }
            }
        }
        column += vectors * V::LANES;
    }
}

/// Up to `V::ROWS` rows and exactly `VECTORS` vectors of a small product.
///
/// # Safety
///
/// As [`small`]; what is read and written is inside the matrices.
#[inline(always)]
unsafe fn small_rows<V: Vector, const VECTORS: usize>(
    to: *mut f32,
    n: usize,
    left: Operand,
    right: (*const u32, usize),
    [rows, k]: [usize; 2],
    accumulate: bool,
) {
    // SAFETY: passed on.
    unsafe {
        match rows {
            1 => small_part::<V, 1, VECTORS>(to, n, left, right, k, accumulate),
            2 => small_part::<V, 2, VECTORS>(to, n, left, right, k, accumulate),
            3 => small_part::<V, 3, VECTORS>(to, n, left, right, k, accumulate),
            4 => small_part::<V, 4, VECTORS>(to, n, left, right, k, accumulate),
            5 => small_part::<V, 5, VECTORS>(to, n, left, right, k, accumulate),
            6 => small_part::<V, 6, VECTORS>(to, n, left, right, k, accumulate),
            7 => small_part::<V, 7, VECTORS>(to, n, left, right, k, accumulate),
            8 => small_part::<V, 8, VECTORS>(to, n, left, right, k, accumulate),
            _ => {}
        }
    }
}

/// `N` rows of [`small_rows`].
///
/// # Safety
///
/// See there.
#[inline(always)]
unsafe fn small_part<V: Vector, const N: usize, const VECTORS: usize>(
    to: *mut f32,
    n: usize,
    left: Operand,
    (right, stride): (*const u32, usize),
    k: usize,
    accumulate: bool,
) {
    // SAFETY: passed on.
    unsafe {
        for (r, sums) in sums::<V, 0, N, VECTORS>(left, right, stride, k, Ahead::NOTHING).into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let to = to.add(r * n + v * V::LANES);
                let result = if accumulate { V::load(to).add(sum) } else { sum };
                result.store(to);
            }
        }
    }
}
