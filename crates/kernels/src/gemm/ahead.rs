//! What a task reads first comes from memory, and waiting for it costs a thread as much as a tenth of a product: so it is asked for
//! while the task before is multiplied. Evenly, a few lines at a time: a core waits for some two dozen lines at most, and what the
//! innermost loop reads must not queue behind them. Not with AMX, whose innermost loop has no time left for it: its products were
//! up to a sixth slower (docs/LOG.md).

use super::Matrix;
use super::panel::Panel;
use super::tile::Vector;
use crate::optimizer::Update;

/// Numbers in a cache line.
const LINE: usize = 16;

/// Rows of `Panel::COLUMNS` numbers, `stride` numbers apart, that are asked for while a tile is computed. Nothing is read: the
/// addresses need not be valid.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    start: *const f32,
    stride: usize,
    rows: usize,
}

impl Ahead {
    pub(super) const NOTHING: Self = Self { start: std::ptr::null(), stride: 0, rows: 0 };

    /// After how many of `steps` steps along K a row is asked for each time; however many are left out.
    #[inline(always)]
    pub(super) fn interval(self, steps: usize) -> usize {
        steps.div_ceil(self.rows + 1).max(1)
    }

    /// Asks for a row.
    ///
    /// # Safety
    ///
    /// The CPU has the vector's instructions, and the caller is compiled for them.
    #[inline(always)]
    pub(super) unsafe fn ask<V: Vector>(self, row: usize) {
        for line in (0..Panel::COLUMNS).step_by(LINE) {
            // SAFETY: passed on.
            unsafe { V::prefetch(self.start.wrapping_add(row * self.stride + line)) };
        }
    }
}

/// What the task reads first that a thread computes next: as many rows of several arrays.
pub(super) struct Upcoming {
    arrays: [*const f32; 5],
    /// How many of them there are.
    count: usize,
    stride: usize,
    rows: usize,
}

impl Upcoming {
    pub(super) const NOTHING: Self = Self { arrays: [std::ptr::null(); 5], count: 0, stride: 0, rows: 0 };

    /// The 48 columns of `matrix [K, N]` that begin with `first`.
    pub(super) fn columns(matrix: Matrix, first: usize) -> Self {
        let (values, [row, column]) = matrix.strides();
        let (stride, start) =
            if column == 1 { (row, first) } else { (Panel::COLUMNS as isize, first * column as usize) };
        let arrays = [values.as_ptr().wrapping_add(start); 5];
        Self { arrays, count: 1, stride: stride as usize, rows: matrix.shape()[0] }
    }

    /// A panel of 48 columns that is arranged already.
    pub(super) fn panel(words: &[[u32; Panel::COLUMNS]]) -> Self {
        Self { arrays: [words.as_ptr().cast(); 5], count: 1, stride: Panel::COLUMNS, rows: words.len() }
    }

    /// The 48 rows of `k` numbers that a step of the optimizer changes, and all that it reads for them.
    pub(super) fn update(update: &Update<f32>, k: usize) -> Self {
        let Update { w, m, v, average, g, .. } = update;
        let (mut arrays, mut count) = ([std::ptr::null(); 5], 0);
        // what is not kept is empty
        for array in [g, &**w, &**m, &**v, &**average].into_iter().filter(|array| !array.is_empty()) {
            arrays[count] = array.as_ptr();
            count += 1;
        }
        Self { arrays, count, stride: Panel::COLUMNS, rows: k }
    }

    /// Divides it among `tiles` tiles.
    pub(super) fn parts(&self, tiles: usize) -> impl Iterator<Item = Ahead> {
        let first = move |tile: usize| tile * self.count * self.rows / tiles;
        (0..tiles).map(move |tile| {
            let (start, end) = (first(tile), first(tile + 1));
            if start == end {
                return Ahead::NOTHING;
            }
            let (array, row) = (start / self.rows, start % self.rows);
            // what a part has of a second array is not asked for
            let rows = (end - start).min(self.rows - row);
            Ahead { start: self.arrays[array].wrapping_add(row * self.stride), stride: self.stride, rows }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_columns_in_order() {
        let values = vec![0.0_f32; 200 * 96];
        for (matrix, offset, stride) in
            [(Matrix::new(&values, [200, 96]), 48, 96), (Matrix::new(&values, [96, 200]).transposed(), 48 * 200, 48)]
        {
            for tiles in [1, 3, 55, 1000] {
                let parts: Vec<Ahead> = Upcoming::columns(matrix, 48).parts(tiles).collect();
                assert_eq!((parts.len(), parts.iter().map(|part| part.rows).sum::<usize>()), (tiles, 200));
                let mut next = values.as_ptr().wrapping_add(offset);
                for part in parts.into_iter().filter(|part| part.rows > 0) {
                    assert!(part.start == next && part.stride == stride, "{tiles} tiles");
                    next = next.wrapping_add(part.rows * stride);
                }
            }
        }
    }

    #[test]
    fn every_row_has_its_turn() {
        for (rows, steps) in [(1, 1), (1, 96), (14, 96), (95, 96), (8, 55)] {
            let ahead = Ahead { rows, ..Ahead::NOTHING };
            let asked = (0..steps).filter(|step| *step > 0 && step % ahead.interval(steps) == 0).count();
            assert!(asked >= rows.min(steps - 1) * 2 / 3 && asked <= rows, "{asked} of {rows} rows in {steps} steps");
        }
    }
}
