//! How work is split over threads, and the element-wise operations that are nothing but a split and a loop.
//!
//! Splits are over outputs, each of which is computed in one task, so that the bits do not depend on the number of threads.

use crate::Real;
use crate::isa::vectorize;
use crate::pool::each;

/// Elements that one task of an element-wise operation handles.
pub(crate) const ELEMENTS: usize = 1 << 14;
/// Elements below which a task is not worth a thread of its own.
const LEAST: usize = 1 << 11;
/// Columns that one task of a column sum handles.
const COLUMNS: usize = 64;

/// Asks for the cache lines of `rows` rows of `width` elements, `stride` elements apart, the first of which begins at `start`.
/// Nothing is read: where that is does not matter.
#[inline(always)]
pub(crate) fn prefetch<T>(x: &[T], start: usize, stride: usize, shape: [usize; 2]) {
    ask_for(x.as_ptr().wrapping_add(start), stride, shape);
}

/// Elements of a loop between two times of [`ask_ahead`].
pub(crate) const STRETCH: usize = 64;
/// How many elements it looks ahead.
const AHEAD: usize = 256;

/// Asks for the stretch some way behind that which `x` begins with, to read or to write it: what is written leaves a core one line after
/// another, each when the line has come. The CPU foresees a loop that goes on and on; this is for short ones, each of which begins
/// somewhere else.
#[inline(always)]
pub(crate) fn ask_ahead<T>(x: &[T]) {
    prefetch(x, AHEAD, 0, [1, STRETCH]);
}

/// See [`prefetch`].
#[inline(always)]
fn ask_for<T>(start: *const T, stride: usize, [rows, width]: [usize; 2]) {
    #[cfg(target_arch = "x86_64")]
    for row in 0..rows {
        for column in (0..width).step_by(64 / size_of::<T>()) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: every x86-64 has the instruction; the address need not be valid.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(row * stride + column).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, stride, rows, width);
}

/// Rows that one task of a row-wise operation handles, of `rows` rows of `width` elements: few where each thread would not get a task.
pub(crate) fn rows_per_task(rows: usize, width: usize) -> usize {
    let [least, most] = [LEAST, ELEMENTS].map(|elements| (elements / width.max(1)).max(1));
    rows.div_ceil(rayon::current_num_threads()).clamp(least, most)
}

/// One or more column sums over rows, split over columns: `sums[i][j] = sum over rows r, in order, of term(i, r, j)`. `add_row`
/// is given a row and a range of columns and adds to the sums of these columns. With `accumulate`, the sums go on from what
/// they are.
pub(crate) fn column_sums<T: Real, const N: usize>(
    sums: [&mut [T]; N],
    rows: usize,
    accumulate: bool,
    add_row: impl Fn([&mut [T]; N], usize, std::ops::Range<usize>) + Sync,
) {
    let columns = sums[0].len();
    let mut chunks = sums.map(|sums| sums.chunks_mut(COLUMNS));
    let tasks = (0..columns.div_ceil(COLUMNS)).map(|_| chunks.each_mut().map(|c| c.next().unwrap_or_default()));
    let tasks: Vec<[&mut [T]; N]> = tasks.collect();
    each(tasks.into_iter().enumerate(), |(task, mut sums)| {
        let columns = task * COLUMNS..task * COLUMNS + sums[0].len();
        vectorize(
            #[inline(always)]
            || {
                if !accumulate {
                    sums.iter_mut().for_each(|sums| sums.fill(T::ZERO));
                }
                for row in 0..rows {
                    add_row(sums.each_mut().map(|sums| &mut **sums), row, columns.clone());
                }
            },
        );
    });
}

/// `a += b`, element by element.
pub fn add<T: Real>(a: &mut [T], b: &[T]) {
    assert_eq!(a.len(), b.len());
    each(a.chunks_mut(ELEMENTS).zip(b.chunks(ELEMENTS)), |(a, b)| {
        vectorize(
            #[inline(always)]
            || {
                for (a, b) in a.iter_mut().zip(b) {
                    *a += *b;
                }
            },
        );
    });
}

/// Exchanges `a` and `b`, of one length.
pub fn exchange<T: Send>(a: &mut [T], b: &mut [T]) {
    assert_eq!(a.len(), b.len());
    each(a.chunks_mut(ELEMENTS).zip(b.chunks_mut(ELEMENTS)), |(a, b)| a.swap_with_slice(b));
}

/// `x = max(x, 0)`, in place.
pub fn relu<T: Real>(x: &mut [T]) {
    for x in x {
        *x = if *x > T::ZERO { *x } else { T::ZERO };
    }
}

/// `dy` becomes `dx`: zero where the output `y` of [`relu`] is zero.
pub fn relu_backward<T: Real>(dy: &mut [T], y: &[T]) {
    for (dy, y) in dy.iter_mut().zip(y) {
        if *y <= T::ZERO {
            *dy = T::ZERO;
        }
    }
}

/// `out[i] = x[rows[i]]` for rows of `width` elements. Overwrites `out [rows.len(), width]`.
pub fn gather_rows<T: Real>(out: &mut [T], x: &[T], rows: &[usize], width: usize) {
    assert_eq!(out.len(), rows.len() * width);
    for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
        out.copy_from_slice(&x[row * width..][..width]);
    }
}

/// `dx[rows[i]] += dout[i]`, the backward of [`gather_rows`].
pub fn scatter_add_rows<T: Real>(dx: &mut [T], dout: &[T], rows: &[usize], width: usize) {
    assert_eq!(dout.len(), rows.len() * width);
    for (dout, &row) in dout.chunks_exact(width).zip(rows) {
        for (dx, dout) in dx[row * width..][..width].iter_mut().zip(dout) {
            *dx += *dout;
        }
    }
}

/// A matrix that several tasks write at once, each its own rows and columns.
pub(crate) struct Strided<'a, T> {
    start: *mut T,
    len: usize,
    width: usize,
    borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: all access is by `write` and `whole`, whose callers promise that no two tasks have the same elements.
unsafe impl<T: Send> Sync for Strided<'_, T> {}

impl<'a, T: Real> Strided<'a, T> {
    /// A matrix of rows of `width` elements.
    pub(crate) fn new(matrix: &'a mut [T], width: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), len: matrix.len(), width, borrow: std::marker::PhantomData }
    }

    /// Asks for the cache lines of `rows` rows of `width` elements from (row, column) on, so that [`Self::write`] need not wait for one after
    /// another.
    #[inline(always)]
    pub(crate) fn ask_for(&self, [row, column]: [usize; 2], shape: [usize; 2]) {
        ask_for(self.start.wrapping_add(row * self.width + column), self.width, shape);
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next `N` elements from (row, column) on, where the row has as many.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes these elements while they are borrowed.
    #[inline(always)]
    pub(crate) unsafe fn whole<const N: usize>(&self, row: usize, column: usize) -> Option<&'a mut [T; N]> {
        let at = row * self.width + column;
        // SAFETY: inside the borrowed slice; nobody else has these elements by the caller's promise.
        (column + N <= self.width && at + N <= self.len).then(|| unsafe { &mut *self.start.add(at).cast() })
    }

    /// Copies `values` to (row, column).
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes these elements during the call.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, row: usize, column: usize, values: &[T]) {
        let at = row * self.width + column;
        assert!(column + values.len() <= self.width && at + values.len() <= self.len);
        // SAFETY: inside the borrowed slice by the assertion; nobody else writes there by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
    }
}
