//! How work is split over threads, and the element-wise operations that are nothing but a split and a loop.
//!
//! Splits are of fixed size and over outputs, so that the bits do not depend on the number of threads.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::Real;
use crate::isa::vectorize;

/// Elements that one task of an element-wise operation handles.
pub(crate) const ELEMENTS: usize = 1 << 14;
/// Columns that one task of a column sum handles.
const COLUMNS: usize = 64;

/// Works at tasks on up to `workers` threads. Each takes its next task before it works at the one that it has, and is told which
/// that is. Neighbouring tasks go to one thread as long as others have work of their own.
pub(crate) fn each_with_next<T: Send>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    work: impl Fn(T, Option<&T>) + Sync,
) {
    each_with_state(tasks, workers, || (), |(), task, next| work(task, next));
}

/// As [`each_with_next`], each thread with a state of its own, buffers for example.
pub(crate) fn each_with_state<T: Send, S>(
    tasks: impl ExactSizeIterator<Item = T>,
    workers: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, Option<&T>) + Sync,
) {
    let (count, workers) = (tasks.len(), workers.clamp(1, rayon::current_num_threads()));
    let mut queues: Vec<VecDeque<T>> = (0..workers).map(|_| VecDeque::new()).collect();
    tasks.enumerate().for_each(|(i, task)| queues[i * workers / count].push_back(task));
    // a lock for each, which others want at the end alone
    let queues: Vec<Mutex<VecDeque<T>>> = queues.into_iter().map(Mutex::new).collect();
    let queue = |worker: usize| queues[worker].lock().unwrap_or_else(PoisonError::into_inner);
    let take = |worker: usize| {
        let own = queue(worker).pop_front();
        own.or_else(|| (1..workers).find_map(|other| queue((worker + other) % workers).pop_back()))
    };
    let all = |worker| {
        let (mut state, mut task) = (state(), take(worker));
        while let Some(current) = task {
            task = take(worker);
            work(&mut state, current, task.as_ref());
        }
    };
    if workers == 1 {
        return all(0);
    }
    (0..workers).into_par_iter().with_max_len(1).for_each(all);
}

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

/// Rows that one task of a row-wise operation handles, for rows of `width` elements.
pub(crate) fn rows_per_task(width: usize) -> usize {
    (ELEMENTS / width.max(1)).max(1)
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
    tasks.into_par_iter().enumerate().for_each(|(task, mut sums)| {
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
    a.par_chunks_mut(ELEMENTS).zip(b.par_chunks(ELEMENTS)).for_each(|(a, b)| {
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

// SAFETY: the only access is `write`, whose callers promise that no two tasks write the same elements.
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

    /// Copies `values` to (row, column).
    ///
    /// # Safety
    ///
    /// No other thread writes these elements during the call.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, row: usize, column: usize, values: &[T]) {
        let at = row * self.width + column;
        assert!(column + values.len() <= self.width && at + values.len() <= self.len);
        // SAFETY: inside the borrowed slice by the assertion; nobody else writes there by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_is_done_once_and_the_next_one_is_known() {
        for (tasks, workers) in [(0, 2), (1, 2), (7, 1), (7, 2), (1000, 4)] {
            let (sent, received) = std::sync::mpsc::channel();
            each_with_next(0..tasks, workers, |task, next| sent.send((task, next.copied())).unwrap_or_default());
            drop(sent);
            let mut done: Vec<(usize, Option<usize>)> = received.into_iter().collect();
            done.sort_unstable();
            assert!(done.iter().map(|(task, _)| *task).eq(0..tasks), "{tasks} tasks, each once: {done:?}");
            let mut announced: Vec<usize> = done.into_iter().filter_map(|(_, next)| next).collect();
            announced.sort_unstable();
            announced.dedup();
            // all but the first task of each thread
            assert!(announced.len() + workers >= tasks, "{tasks} tasks, announced {announced:?}");
        }
    }
}
