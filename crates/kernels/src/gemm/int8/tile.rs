//! The innermost loop, written once over a vector of i32 sums.

use super::super::panel::Panel;
use super::kernel::MOST_ROWS;
use crate::parallel::prefetch;

/// A vector of i32 sums of products of u8 (left) and s8 (right).
pub(super) trait Dot: Copy {
    /// Sums in a vector.
    const LANES: usize;
    /// Rows in work at once: as many as the registers hold.
    const ROWS: usize;
    /// A word of the left operand for all lanes, as the instructions want it.
    type Left: Copy;
    /// A word of the right operand for each lane.
    type Right: Copy;

    /// All zeros.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions; likewise for all below.
    unsafe fn zero() -> Self;
    /// `word` for every lane.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn left(word: u32) -> Self::Left;
    /// Reads words.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`]; `LANES` words can be read.
    unsafe fn right(from: *const u32) -> Self::Right;
    /// Adds four products to every lane.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`].
    unsafe fn add(self, left: Self::Left, right: Self::Right) -> Self;
    /// Writes the sums.
    ///
    /// # Safety
    ///
    /// See [`Self::zero`]; `LANES` numbers can be written.
    unsafe fn store(self, to: *mut i32);
}

/// The sums of a tile.
pub(super) type Sums = [[i32; Panel::COLUMNS]; MOST_ROWS];

/// Rows of the left operand, `stride` words apart, and a panel of the right one.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) left: *const u32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) right: &'a [[u32; Panel::COLUMNS]],
    /// What is asked for meanwhile.
    pub(super) next: &'a [[u32; Panel::COLUMNS]],
}

/// Computes the sums of a tile with `VECTORS` vectors of each row in work at once; `VECTORS * LANES` divides `Panel::COLUMNS`.
///
/// # Safety
///
/// The CPU has the vector's instructions, the caller is compiled for them, and the left operand has `rows <= MOST_ROWS` rows of the
/// panel's depth.
#[inline(always)]
pub(super) unsafe fn compute<V: Dot, const VECTORS: usize>(tile: &Tile, sums: &mut Sums) {
    for column in (0..Panel::COLUMNS).step_by(VECTORS * V::LANES) {
        for row in (0..tile.rows).step_by(V::ROWS) {
            // SAFETY: passed on; the rows and columns are inside the tile.
            unsafe {
                match (tile.rows - row).min(V::ROWS) {
                    1 => part::<V, 1, VECTORS>(tile, sums, row, column),
                    2 => part::<V, 2, VECTORS>(tile, sums, row, column),
                    3 => part::<V, 3, VECTORS>(tile, sums, row, column),
                    4 => part::<V, 4, VECTORS>(tile, sums, row, column),
                    5 => part::<V, 5, VECTORS>(tile, sums, row, column),
                    6 => part::<V, 6, VECTORS>(tile, sums, row, column),
                    7 => part::<V, 7, VECTORS>(tile, sums, row, column),
                    _ => part::<V, 8, VECTORS>(tile, sums, row, column),
                }
            }
        }
    }
}

/// Computes `N` rows by `VECTORS` vectors, at (row, column).
///
/// # Safety
///
/// See [`compute`]; the part is inside the tile.
#[inline(always)]
unsafe fn part<V: Dot, const N: usize, const VECTORS: usize>(tile: &Tile, out: &mut Sums, row: usize, column: usize) {
    // a tile of several parts asks during the first one
    let next = if row + column == 0 { tile.next } else { &[] };
    let interval = (tile.right.len() / (next.len() + 1)).max(1);
    let (mut ask, mut asked) = (interval, 0);
    // SAFETY: row + N <= tile.rows and column + VECTORS * LANES <= Panel::COLUMNS bound what is read and written.
    unsafe {
        let left = tile.left.add(row * tile.stride);
        let mut sums = [[V::zero(); VECTORS]; N];
        for (k, words) in tile.right.iter().enumerate() {
            let mut right = [V::right(words.as_ptr().add(column)); VECTORS];
            for v in 1..VECTORS {
                right[v] = V::right(words.as_ptr().add(column + v * V::LANES));
            }
            for r in 0..N {
                let factor = V::left(*left.add(r * tile.stride + k));
                for v in 0..VECTORS {
                    sums[r][v] = sums[r][v].add(factor, right[v]);
                }
            }
            if k == ask {
                prefetch(next.as_flattened(), asked * Panel::COLUMNS, 0, [1, Panel::COLUMNS]);
                (ask, asked) = (ask + interval, asked + 1);
            }
        }
        for r in 0..N {
            for v in 0..VECTORS {
                sums[r][v].store(out[row + r].as_mut_ptr().add(column + v * V::LANES));
            }
        }
    }
}
