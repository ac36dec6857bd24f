//! The innermost loop, written once over a vector type; the per-ISA files supply the vector and compile it.

use super::Epilogue;
use super::ahead::Ahead;
use super::panel::Panel;

/// Rows of a tile.
pub(super) const ROWS: usize = 8;

/// A vector of f32 sums, and of the packed words that it is summed from.
pub(super) trait Vector: Copy {
    /// Sums in a vector.
    const LANES: usize;
    /// Rows in work at once: as many as the registers hold.
    const ROWS: usize;
    /// As many packed words.
    type Words: Copy;

    /// All zeros.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions; likewise for all below.
    unsafe fn zero() -> Self;
    /// `word` in every lane.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn splat(word: u32) -> Self::Words;
    /// Reads words.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`]; `LANES` words can be read.
    unsafe fn words(from: *const u32) -> Self::Words;
    /// `self + a * b` for every lane: one product of f32, or two of bf16.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn multiply_add(self, a: Self::Words, b: Self::Words) -> Self;
    /// `self + other`
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn add(self, other: Self) -> Self;
    /// `self * self + other`
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn square_add(self, other: Self) -> Self;
    /// Reads sums.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`]; `LANES` numbers can be read.
    unsafe fn load(from: *const f32) -> Self;
    /// Asks for the cache line at `at`, which need not be valid memory.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
    /// Writes the sums.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`]; `LANES` numbers can be written.
    unsafe fn store(self, to: *mut f32);
}

/// The operands of a tile: the rows of the left one, and a stretch along K of a panel of the right one, which says how long
/// the stretch is. `ahead` is asked for meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) left: Operand,
    pub(super) right: &'a [[u32; Panel::COLUMNS]],
    pub(super) ahead: Ahead,
}

/// A tile of the output: `rows` rows, `stride` apart, of `columns` numbers each: `Panel::COLUMNS`, with AMX fewer at the edge.
/// With `activated`, which AMX alone can, what is written is their GELU, rounded to bf16: then `start` and `stride` are of words, of two
/// columns each, and `columns` is a multiple of 16.
///
/// Computing it requires that all of these numbers may be read and written, by this thread only.
pub(super) struct Tile<'a> {
    pub(super) start: *mut f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // only AMX reads it
    pub(super) activated: bool,
    /// The bias, if any, has a number for each column.
    pub(super) epilogue: &'a Epilogue<'a>,
    /// Gets the sum of the squares of what is written, unless it is null.
    pub(super) squares: *mut f64,
}

/// Sums that [`products`] adds to: enough to hide the latency of an addition, few enough for the registers.
pub(super) const SUMS: usize = 20;

/// Multiplies and adds in registers alone, `SUMS * LANES` words in each of `steps`: as fast as the CPU can.
///
/// # Safety
///
/// The CPU has the vector's instructions, and the caller is compiled for them.
#[inline(always)]
pub(super) unsafe fn products<V: Vector>(steps: usize, word: u32) -> f32 {
    let mut out = [0.0; 16];
    // SAFETY: the caller's promise; no vector is longer than `out`.
    unsafe {
        let (factor, mut sums) = (V::splat(word), [V::zero(); SUMS]);
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = sum.multiply_add(factor, factor);
            }
        }
        let mut total = V::zero();
        for sum in sums {
            total = total.add(sum);
        }
        total.store(out.as_mut_ptr());
    }
    out.iter().sum()
}

/// Computes a tile with `VECTORS` vectors of each row in work at once; `VECTORS * LANES` divides `Panel::COLUMNS`.
///
/// # Safety
///
/// The CPU has the vector's instructions, the caller is compiled for them, the tile may be written, and the left operand has
/// the tile's rows and the panel's depth.
#[inline(always)]
pub(super) unsafe fn compute<V: Vector, const VECTORS: usize>(block: Block, tile: &Tile) {
    debug_assert_eq!(tile.columns, Panel::COLUMNS);
    for column in (0..Panel::COLUMNS).step_by(VECTORS * V::LANES) {
        for row in (0..tile.rows).step_by(V::ROWS) {
            let rows = (tile.rows - row).min(V::ROWS);
            // SAFETY: passed on; the rows and columns are inside the tile.
            unsafe {
                match block.left.strides[1] {
                    1 => rows_of_part::<V, 1, VECTORS>(block, tile, rows, row, column),
                    _ => rows_of_part::<V, ROWS, VECTORS>(block, tile, rows, row, column),
                }
            }
        }
    }
}

/// Up to `V::ROWS` rows by `VECTORS` vectors of a tile, at (row, column), of a left operand whose words along K are `ALONG` words apart.
///
/// # Safety
///
/// See [`compute`]; the part is inside the tile.
#[inline(always)]
unsafe fn rows_of_part<V: Vector, const ALONG: usize, const VECTORS: usize>(
    block: Block,
    tile: &Tile,
    rows: usize,
    row: usize,
    column: usize,
) {
    // SAFETY: passed on.
    unsafe {
        match rows {
            1 => part::<V, ALONG, 1, VECTORS>(block, tile, row, column),
            2 => part::<V, ALONG, 2, VECTORS>(block, tile, row, column),
            3 => part::<V, ALONG, 3, VECTORS>(block, tile, row, column),
            4 => part::<V, ALONG, 4, VECTORS>(block, tile, row, column),
            5 => part::<V, ALONG, 5, VECTORS>(block, tile, row, column),
            6 => part::<V, ALONG, 6, VECTORS>(block, tile, row, column),
            7 => part::<V, ALONG, 7, VECTORS>(block, tile, row, column),
            8 => part::<V, ALONG, 8, VECTORS>(block, tile, row, column),
            _ => {}
        }
    }
}

/// `N` rows of [`rows_of_part`].
///
/// # Safety
///
/// See there.
#[inline(always)]
unsafe fn part<V: Vector, const ALONG: usize, const N: usize, const VECTORS: usize>(
    block: Block,
    tile: &Tile,
    row: usize,
    column: usize,
) {
    // SAFETY: row + N <= ROWS and column + VECTORS * LANES <= Panel::COLUMNS bound what is read of the panels,
    // and what is read and written of the tile; the rest is promised by the caller.
    unsafe {
        for r in 0..N {
            // the sums are ready long after these lines have come
            for v in 0..VECTORS {
                V::prefetch(tile.start.wrapping_add((row + r) * tile.stride + column + v * V::LANES));
            }
        }
        let left = Operand { start: block.left.start.add(row * block.left.strides[0]), ..block.left };
        let right = block.right.as_ptr().cast::<u32>().add(column);
        // a tile of several parts asks during the first one
        let ahead = if row + column == 0 { block.ahead } else { Ahead::NOTHING };
        let mut sums = sums::<V, ALONG, N, VECTORS>(left, right, Panel::COLUMNS, block.right.len(), ahead);
        let at = |r: usize, v: usize| (row + r) * tile.stride + column + v * V::LANES;
        // the choice outside of the loops, so that the sums stay in registers
        match tile.epilogue {
            Epilogue::Overwrite => {}
            Epilogue::Add => {
                for r in 0..N {
                    for v in 0..VECTORS {
                        sums[r][v] = V::load(tile.start.add(at(r, v))).add(sums[r][v]);
                    }
                }
            }
            Epilogue::Bias(bias) => {
                for v in 0..VECTORS {
                    let bias = V::load(bias.as_ptr().add(column + v * V::LANES));
                    for r in 0..N {
                        sums[r][v] = sums[r][v].add(bias);
                    }
                }
            }
        }
        for r in 0..N {
            for v in 0..VECTORS {
                sums[r][v].store(tile.start.add(at(r, v)));
            }
        }
        if !tile.squares.is_null() {
            let mut squares = V::zero();
            for sums in sums {
                for sum in sums {
                    squares = sum.square_add(squares);
                }
            }
            let mut lanes = [0.0_f32; 16];
            squares.store(lanes.as_mut_ptr());
            *tile.squares += lanes.into_iter().map(f64::from).sum::<f64>();
        }
    }
}

/// Words along K that are summed without a look at anything else: with the arithmetic of addresses at each of them, a CPU with AVX-512
/// multiplies a tenth less.
const STEP: usize = 4;

/// A left operand in memory: where it begins, and the distances from row to row and along K.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub(super) start: *const u32,
    pub(super) strides: [usize; 2],
}

/// The sums over `depth` words along K of `N` rows of the left operand with `VECTORS` vectors of the right one, whose rows are
/// `stride` words apart. `ahead` is asked for meanwhile. `ALONG` is the left operand's distance along K, or 0 where it is not known.
///
/// # Safety
///
/// The CPU has the vector's instructions, the caller is compiled for them, and the operands have as many words.
#[inline(always)]
pub(super) unsafe fn sums<V: Vector, const ALONG: usize, const N: usize, const VECTORS: usize>(
    left: Operand,
    right: *const u32,
    stride: usize,
    depth: usize,
    ahead: Ahead,
) -> [[V; VECTORS]; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; N];
        let (steps, interval) = (depth / STEP, ahead.interval(depth / STEP));
        let (mut next, mut row) = (interval, 0);
        let [across, along] = [left.strides[0], if ALONG == 0 { left.strides[1] } else { ALONG }];
        for step in 0..steps {
            let (left, right) = (left.start.add(step * STEP * along), right.add(step * STEP * stride));
            for k in 0..STEP {
                add_products(&mut sums, left.add(k * along), across, right.add(k * stride));
            }
            if step == next {
                ahead.ask::<V>(row);
                (next, row) = (next + interval, row + 1);
            }
        }
        for k in steps * STEP..depth {
            add_products(&mut sums, left.start.add(k * along), across, right.add(k * stride));
        }
        sums
    }
}

/// Adds the products at one k.
///
/// # Safety
///
/// See [`sums`].
#[inline(always)]
unsafe fn add_products<V: Vector, const N: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; N],
    left: *const u32,
    across: usize,
    right: *const u32,
) {
    // SAFETY: passed on.
    unsafe {
        let mut words = [V::splat(0); VECTORS];
        for v in 0..VECTORS {
            words[v] = V::words(right.add(v * V::LANES));
        }
        for r in 0..N {
            let factor = V::splat(*left.add(r * across));
            for v in 0..VECTORS {
                sums[r][v] = sums[r][v].multiply_add(factor, words[v]);
            }
        }
    }
}
