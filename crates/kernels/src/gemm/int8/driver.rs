//! The loops around the innermost one.

use std::ops::Range;

use super::super::{Matrix, panel::Panel};
use super::kernel::{Kernel, MOST_ROWS};
use super::rows::Scale;
use super::tile::{Sums, Tile};
use super::{Int8Panels, Rows};
use crate::Real;
use crate::isa::{MultiplyAdd, vectorize_fused};
use crate::parallel::Strided;
use crate::pool::each_with_state;

/// Bytes of the left operand that stay in a core's cache while all panels go by: each block reads all weights anew.
const BLOCK_BYTES: usize = 1 << 20;
/// Tasks that each thread should get, where there are rows enough for blocks of this many.
const TASKS_PER_THREAD: usize = 8;
const LEAST_ROWS: usize = 64;
/// Multiplications below which a task is not worth a thread of its own.
const SMALL: usize = 1 << 18;

/// What becomes of a product with packed weights after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It is the output.
    Nothing,
    /// Its GELU is.
    Gelu,
}

/// `c [M, N] = activation(a [M, K] · wᵀ + bias)`
pub(crate) fn multiply_int8(
    rows: &mut Rows,
    c: &mut [f32],
    a: Matrix,
    w: &Int8Panels,
    bias: &[f32],
    activation: Activation,
) {
    multiply_with(Kernel::best(), rows, c, a, w, (bias, activation));
}

/// [`multiply_int8`] with a given kernel.
pub(super) fn multiply_with(
    kernel: Kernel,
    rows: &mut Rows,
    c: &mut [f32],
    a: Matrix,
    w: &Int8Panels,
    (bias, activation): (&[f32], Activation),
) {
    let ([m, k], [n, inputs]) = (a.shape(), w.shape);
    assert!(kernel.available(), "{kernel:?} is not available");
    assert!(k == inputs && bias.len() == n && !a.is_transposed(), "[{m}, {k}] x [{inputs}, {n}]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "output of [{m}, {k}] x [{k}, {n}]");
    rows.round(a.strides().0, k);
    let product = Product { kernel, rows, w, bias, activation, out: Strided::new(c, n) };
    let (panels, tiles) = (w.panels(), m.div_ceil(MOST_ROWS));
    let blocks = blocks([m, k], panels);
    let first_row = |block: usize| m.min(block * tiles / blocks * MOST_ROWS);
    let tasks = blocks * panels;
    let least = SMALL.div_ceil((m * n * k / tasks.max(1)).max(1));
    let upcoming = |next: Option<&usize>| next.map_or(&[][..], |next| w.panel(next % panels));
    // SAFETY: the kernel is available.
    let prepared = || unsafe { kernel.prepared() };
    each_with_state(0..tasks, tasks.div_ceil(least), upcoming, prepared, |_, task, next| {
        let block = task / panels;
        // SAFETY: no other task has these rows of this panel; the thread is prepared.
        unsafe { product.panel(first_row(block)..first_row(block + 1), task % panels, next) };
    });
}

/// Into how many blocks the rows of a left operand `[M, K]` are cut. The bits do not depend on it.
fn blocks([m, k]: [usize; 2], panels: usize) -> usize {
    let wanted = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(panels.max(1));
    wanted.min(m / LEAST_ROWS).max((m * k).div_ceil(BLOCK_BYTES)).max(1)
}

struct Product<'a> {
    kernel: Kernel,
    rows: &'a Rows,
    w: &'a Int8Panels,
    bias: &'a [f32],
    activation: Activation,
    out: Strided<'a, f32>,
}

impl Product<'_> {
    /// Computes these rows of a panel of 48 columns, while `next` comes into the cache.
    ///
    /// # Safety
    ///
    /// They exist, and nobody else has them; what [`Kernel::prepared`] returned to this thread is alive.
    unsafe fn panel(&self, rows: Range<usize>, panel: usize, next: &[[u32; Panel::COLUMNS]]) {
        let (height, right) = (self.kernel.rows(), self.w.panel(panel));
        let tiles = rows.len().div_ceil(height);
        let mut sums: Sums = [[0; Panel::COLUMNS]; MOST_ROWS];
        for tile in 0..tiles {
            let first = rows.start + tile * height;
            let count = height.min(rows.end - first);
            let next = &next[tile * next.len() / tiles..(tile + 1) * next.len() / tiles];
            let (left, stride) = (self.rows.row(first), self.rows.stride());
            self.out.ask_for([first, panel * Panel::COLUMNS], [count, Panel::COLUMNS]);
            // SAFETY: the kernel is available by the assertion in `multiply_with`, and these rows have been rounded.
            unsafe { self.kernel.run(&Tile { left, stride, rows: count, right, next }, &mut sums) };
            // SAFETY: passed on.
            unsafe { self.write(first, panel * Panel::COLUMNS, &sums[..count]) };
        }
    }

    /// Scales sums, adds the bias, activates, and writes them at (row, column).
    ///
    /// # Safety
    ///
    /// These rows and columns exist, and nobody else has them.
    unsafe fn write(&self, first: usize, column: usize, sums: &[[i32; Panel::COLUMNS]]) {
        let (n, offset) = (self.bias.len(), self.kernel.offset());
        let columns = Panel::COLUMNS.min(n - column);
        let mut bias = [0.0; Panel::COLUMNS];
        bias[..columns].copy_from_slice(&self.bias[column..column + columns]);
        let (scales, totals) = (&self.w.scales[column..], &self.w.sums[column..]);
        let (Some(scales), Some(totals)) = (scales.first_chunk(), totals.first_chunk()) else { return };
        vectorize_fused(
            #[inline(always)]
            |how| {
                for (row, sums) in (first..).zip(sums) {
                    let Scale { scale, zero } = self.rows.scales()[row];
                    let scaled = Scaled { sums, scale, zero: zero - offset, scales, totals, bias: &bias };
                    // SAFETY: passed on.
                    if let Some(out) = unsafe { self.out.whole(row, column) } {
                        scaled.write(out, self.activation, how);
                    } else {
                        let mut out = [0.0; Panel::COLUMNS];
                        scaled.write(&mut out, self.activation, how);
                        // SAFETY: passed on.
                        unsafe { self.out.write(row, column, &out[..columns]) };
                    }
                }
            },
        );
    }
}

/// A row of a tile's sums and what they are scaled by.
struct Scaled<'a> {
    sums: &'a [i32; Panel::COLUMNS],
    /// Of the row.
    scale: f32,
    zero: i32,
    /// Of each column.
    scales: &'a [f32; Panel::COLUMNS],
    totals: &'a [i32; Panel::COLUMNS],
    bias: &'a [f32; Panel::COLUMNS],
}

impl Scaled<'_> {
    #[inline(always)]
    fn write(&self, out: &mut [f32; Panel::COLUMNS], activation: Activation, how: MultiplyAdd) {
        for (c, out) in out.iter_mut().enumerate() {
            let sum = self.sums[c] - self.zero * self.totals[c];
            *out = sum as f32 * (self.scale * self.scales[c]) + self.bias[c];
        }
        if activation == Activation::Gelu {
            for out in out {
                *out *= out.normal(how).0;
            }
        }
    }
}
