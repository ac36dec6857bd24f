//! The loops around the innermost one: which task computes which tiles of the output.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::kernel::Kernel;
use super::pack::{LeftWords, Panel};
use super::tile::{Block, ROWS, Tile};
use super::{Epilogue, Left, Matrix, Precision};
use crate::isa::{Isa, isa};

/// Tasks that each thread should get: they come out even, and one thread may be slower.
const TASKS_PER_THREAD: usize = 8;
/// Row tiles of a task, at most: what it reads of the left operand again and again should stay in the level-3 cache.
const MOST_TILES: usize = 128;
/// Row tiles of a task, at least: every task arranges a panel of its own, which fewer rows would not pay for.
const LEAST_TILES: usize = 16;
/// Multiplications below which a task is not worth a thread of its own.
const SMALL: usize = 1 << 17;

thread_local! {
    /// The panel that a thread multiplies with.
    static PANEL: RefCell<Panel> = RefCell::default();
}

/// `c [M, N] = a [M, K] · b [K, N]`, or as the epilogue says, with operands rounded to `precision`. `left` is a buffer, used
/// again from product to product.
pub fn multiply(left: &mut Left, c: &mut [f32], a: Matrix, b: Matrix, precision: Precision, epilogue: Epilogue) {
    multiply_with(Kernel::best(precision), isa(), left, c, a, b, epilogue);
}

/// [`multiply`] with a given kernel, and the instructions of `isa` around it.
pub(super) fn multiply_with(
    kernel: Kernel,
    isa: Isa,
    left: &mut Left,
    c: &mut [f32],
    a: Matrix,
    b: Matrix,
    epilogue: Epilogue,
) {
    let ([m, k], [right_k, n]) = (a.shape(), b.shape());
    assert_eq!(k, right_k, "[{m}, {k}] x [{right_k}, {n}]");
    assert_eq!(Some(c.len()), m.checked_mul(n), "output of [{m}, {k}] x [{k}, {n}]");
    assert!(kernel.available() && isa.available(), "{kernel:?} or {isa:?} is not available");
    if let Epilogue::Bias(bias) = epilogue {
        assert_eq!(bias.len(), n, "bias of [{m}, {k}] x [{k}, {n}]");
    }
    let words = k.div_ceil(kernel.precision().per_word());
    let left = left.arrange(isa, a, kernel.precision());
    let product = Product { kernel, isa, start: c.as_mut_ptr(), shape: [m, n], words, left, right: b, epilogue };
    let (row_tiles, panels) = (m.div_ceil(ROWS), n.div_ceil(Panel::COLUMNS));
    let wanted = (TASKS_PER_THREAD * rayon::current_num_threads()).div_ceil(panels.max(1));
    let blocks = wanted.min(row_tiles / LEAST_TILES).max(row_tiles.div_ceil(MOST_TILES)).max(1);
    let tasks = blocks * panels;
    let least = SMALL.div_ceil((m * n * k / tasks.max(1)).max(1));
    (0..tasks).into_par_iter().with_min_len(least).with_max_len(least).for_each(|task| {
        let (block, panel) = (task / panels, task % panels);
        let row_tiles = block * row_tiles / blocks..(block + 1) * row_tiles / blocks;
        // SAFETY: the kernel is available and the shapes fit, by the assertions; no other task has these row tiles of
        // this panel.
        PANEL.with_borrow_mut(|buffer| unsafe { product.panel(row_tiles, panel, buffer) });
    });
}

/// A multiplication, several tasks of which write the output at once.
struct Product<'a> {
    kernel: Kernel,
    isa: Isa,
    /// The output, row-major.
    start: *mut f32,
    /// Its rows and columns.
    shape: [usize; 2],
    /// Words along K.
    words: usize,
    left: LeftWords<'a>,
    right: Matrix<'a>,
    epilogue: Epilogue<'a>,
}

// SAFETY: the output is only accessed in `panel`, whose callers promise that no two tasks have the same elements.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Computes these row tiles of a panel of 48 columns.
    ///
    /// # Safety
    ///
    /// They exist, nobody else has them, and the kernel is available.
    unsafe fn panel(&self, row_tiles: Range<usize>, panel: usize, buffer: &mut Panel) {
        let blocks = self.words.div_ceil(self.kernel.depth()).max(1);
        let stretch = |block| block * self.words / blocks..(block + 1) * self.words / blocks;
        let first = panel * Panel::COLUMNS;
        for block in 0..blocks {
            let depth = stretch(block);
            let right = buffer.arrange(self.isa, self.right, self.kernel.precision(), first, depth.clone());
            let epilogue = if block == 0 { self.epilogue } else { Epilogue::Add };
            for tile in row_tiles.clone() {
                // SAFETY: passed on.
                unsafe { self.tile(tile, first, depth.start, right, epilogue) };
            }
        }
    }

    /// Computes a tile, summed over a stretch of K that begins with word `word`.
    ///
    /// # Safety
    ///
    /// See [`Self::panel`].
    unsafe fn tile(
        &self,
        tile: usize,
        column: usize,
        word: usize,
        right: &[[u32; Panel::COLUMNS]],
        epilogue: Epilogue,
    ) {
        let ([m, stride], row) = (self.shape, tile * ROWS);
        let (rows, columns) = (ROWS.min(m - row), Panel::COLUMNS.min(stride - column));
        let block = Block { left: self.left.operand(row, word), right };
        // SAFETY: row < m and column < stride, the output's rows and columns.
        let start = unsafe { self.start.add(row * stride + column) };
        let epilogue = match epilogue {
            Epilogue::Bias(bias) => Epilogue::Bias(&bias[column..][..columns]),
            other => other,
        };
        if columns == Panel::COLUMNS {
            // SAFETY: these rows and columns of the output exist and are this task's own; the left operand has these rows.
            return unsafe { self.kernel.run(block, &Tile { start, stride, rows, epilogue }) };
        }
        let mut product = [0.0; ROWS * Panel::COLUMNS];
        let tile = Tile { start: product.as_mut_ptr(), stride: Panel::COLUMNS, rows, epilogue: Epilogue::Overwrite };
        // SAFETY: `product` is a whole tile; the left operand has these rows.
        unsafe { self.kernel.run(block, &tile) };
        for (r, product) in product.chunks_exact(Panel::COLUMNS).take(rows).enumerate() {
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
