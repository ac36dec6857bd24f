//! The loops around the innermost one: which task computes which tiles of the output.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::Kernel;
use super::tile::Tile;
use super::{Epilogue, Left, Right};

/// Words of the left operand that a task runs over again and again: they stay in the level-2 cache.
const LEFT_WORDS: usize = 1 << 17;
/// Tasks that each thread gets, if there is enough to do.
const TASKS_PER_THREAD: usize = 4;
/// Multiplications below which a task is not worth a thread of its own.
const SMALL: usize = 1 << 17;

/// `c [M, N] = left [M, K] · right [K, N]`, or as the epilogue says. Both operands are packed in one precision.
pub fn multiply(c: &mut [f32], left: &Left, right: &Right, epilogue: Epilogue) {
    multiply_with(Kernel::best(left.precision()), c, left, right, epilogue);
}

/// [`multiply`] with a given kernel.
pub(super) fn multiply_with(kernel: Kernel, c: &mut [f32], left: &Left, right: &Right, epilogue: Epilogue) {
    let ([m, k], [right_k, n]) = (left.shape(), right.shape());
    assert_eq!(k, right_k, "[{m}, {k}] x [{right_k}, {n}]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "output of [{m}, {k}] x [{k}, {n}]");
    assert!(left.precision() == right.precision() && kernel.precision() == left.precision(), "mixed precisions");
    assert!(kernel.available(), "{kernel:?} is not available");
    if let Epilogue::Bias(bias) = epilogue {
        assert_eq!(bias.len(), n, "bias of [{m}, {k}] x [{k}, {n}]");
    }
    let product = Product { kernel, start: c.as_mut_ptr(), left, right, epilogue };
    let (row_panels, column_panels) = (m.div_ceil(Left::ROWS), n.div_ceil(Right::COLUMNS));
    let blocks = row_panels.div_ceil(panels_per_task(k, row_panels * column_panels));
    let tasks = blocks * column_panels;
    let least = SMALL.div_ceil((m * n * k / tasks.max(1)).max(1));
    (0..tasks).into_par_iter().with_min_len(least).with_max_len(least).for_each(|task| {
        let (block, column_panel) = (task / column_panels, task % column_panels);
        let row_panels = block * row_panels / blocks..(block + 1) * row_panels / blocks;
        // SAFETY: the kernel is available and the shapes fit, by the assertions; no other task has these row panels
        // of this column panel.
        unsafe { product.column(row_panels, column_panel) };
    });
}

/// Row panels that one task computes, at most: few enough for the cache, and for all threads to get several tasks.
/// The bits do not depend on it.
fn panels_per_task(k: usize, tiles: usize) -> usize {
    let cached = (LEFT_WORDS / (Left::ROWS * k.max(1))).clamp(4, 16);
    cached.min(tiles / (TASKS_PER_THREAD * rayon::current_num_threads())).max(1)
}

/// A multiplication, several tasks of which write the output at once.
struct Product<'a> {
    kernel: Kernel,
    /// The output, row-major, of as many rows as `left` and as many columns as `right`.
    start: *mut f32,
    left: &'a Left,
    right: &'a Right,
    epilogue: Epilogue<'a>,
}

// SAFETY: the output is only accessed in `column`, whose callers promise that no two tasks have the same elements.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Computes these row panels of a column panel.
    ///
    /// # Safety
    ///
    /// They exist, nobody else has them, and the kernel is available.
    unsafe fn column(&self, row_panels: Range<usize>, column_panel: usize) {
        let words = self.right.panel(column_panel).len();
        let blocks = words.div_ceil(self.kernel.depth()).max(1);
        for block in 0..blocks {
            let depth = block * words / blocks..(block + 1) * words / blocks;
            let epilogue = if block == 0 { self.epilogue } else { Epilogue::Add };
            for row_panel in row_panels.clone() {
                // SAFETY: passed on.
                unsafe { self.tile(row_panel, column_panel, depth.clone(), epilogue) };
            }
        }
    }

    /// Computes a tile, summed over a stretch of K.
    ///
    /// # Safety
    ///
    /// See [`Self::column`].
    unsafe fn tile(&self, row_panel: usize, column_panel: usize, depth: Range<usize>, epilogue: Epilogue) {
        let (left, right) = (&self.left.panel(row_panel)[depth.clone()], &self.right.panel(column_panel)[depth]);
        let ([m, _], [_, stride]) = (self.left.shape(), self.right.shape());
        let (row, column) = (row_panel * Left::ROWS, column_panel * Right::COLUMNS);
        let (rows, columns) = (Left::ROWS.min(m - row), Right::COLUMNS.min(stride - column));
        // SAFETY: row < m and column < stride, the output's rows and columns.
        let start = unsafe { self.start.add(row * stride + column) };
        let epilogue = match epilogue {
            Epilogue::Bias(bias) => Epilogue::Bias(&bias[column..][..columns]),
            other => other,
        };
        if columns == Right::COLUMNS {
            // SAFETY: these rows and columns of the output exist and are this task's own.
            return unsafe { self.kernel.run(left, right, &Tile { start, stride, rows, epilogue }) };
        }
        let mut product = [0.0; Left::ROWS * Right::COLUMNS];
        let tile = Tile { start: product.as_mut_ptr(), stride: Right::COLUMNS, rows, epilogue: Epilogue::Overwrite };
        // SAFETY: `product` is a whole tile.
        unsafe { self.kernel.run(left, right, &tile) };
        for (r, product) in product.chunks_exact(Right::COLUMNS).take(rows).enumerate() {
            // SAFETY: row + r < m and column + columns <= stride; the elements are this task's own.
            let c = unsafe { std::slice::from_raw_parts_mut(start.add(r * stride), columns) };
            match epilogue {
                Epilogue::Overwrite => c.copy_from_slice(&product[..columns]),
                Epilogue::Add => c.iter_mut().zip(product).for_each(|(c, product)| *c += product),
                Epilogue::Bias(bias) => {
                    c.iter_mut().zip(product).zip(bias).for_each(|((c, product), bias)| *c = product + bias);
                }
            }
        }
    }
}
