//! The right operand of a product. Words are as in `pack.rs`.
//!
//! The right operand is cut into panels of 48 columns. Where one task needs a panel, it arranges it itself, a stretch at a time, in
//! a buffer that stays in its cache ([`Panel`]): so the rounded form of a weight matrix is never written to memory. Where several
//! do, all panels are arranged beforehand ([`Right`]).

use std::ops::Range;

use super::Precision;
use super::pack::{
    AHEAD, Line, Matrix, Rounding, SQUARE, at_word, dispatch, part, room, rows_of_word, whole_words, word_across,
    words, words_along,
};
use crate::isa::Isa;
use crate::parallel::prefetch;
use crate::pool::each;

/// A whole right operand `[K, N]`, arranged: panels of 48 columns. The buffer is used again from product to product.
#[derive(Clone, Debug, Default)]
pub(super) struct Right(Vec<Line>);

impl Right {
    /// What [`Self::arrange`] left.
    pub(super) fn words(&self) -> &[[u32; Panel::COLUMNS]] {
        words(&self.0).as_chunks().0
    }

    /// Arranges `words` words along K of the matrix, on all threads; returns the words of panel after panel.
    pub(super) fn arrange(
        &mut self,
        isa: Isa,
        matrix: Matrix,
        precision: Precision,
        words: usize,
    ) -> &[[u32; Panel::COLUMNS]] {
        let panels = matrix.columns.div_ceil(Panel::COLUMNS);
        let all = room(&mut self.0, panels * words * Panel::COLUMNS).as_flattened_mut().as_chunks_mut().0;
        each(all.chunks_mut(words.max(1)).enumerate(), |(panel, words)| {
            arrange_panel(words, isa, matrix, precision, panel * Panel::COLUMNS, 0..words.len());
        });
        all
    }
}

/// A stretch along K of a panel of 48 columns of the right operand.
#[derive(Default)]
pub(super) struct Panel(Vec<Line>);

impl Panel {
    /// Columns.
    pub(super) const COLUMNS: usize = 48;

    /// Arranges these words of the 48 columns of `matrix [K, N]` that begin with `first`.
    pub(super) fn arrange(
        &mut self,
        isa: Isa,
        matrix: Matrix,
        precision: Precision,
        first: usize,
        words: Range<usize>,
    ) -> &[[u32; Self::COLUMNS]] {
        let panel = room(&mut self.0, words.len() * Self::COLUMNS).as_flattened_mut().as_chunks_mut().0;
        arrange_panel(panel, isa, matrix, precision, first, words);
        panel
    }
}

/// Arranges these words of the 48 columns of `matrix [K, N]` that begin with `first`.
fn arrange_panel(
    panel: &mut [[u32; Panel::COLUMNS]],
    isa: Isa,
    matrix: Matrix,
    precision: Precision,
    first: usize,
    words: Range<usize>,
) {
    // lanes as rows
    let matrix = matrix.transposed();
    match (matrix.transposed, precision) {
        (true, Precision::F32) => dispatch!(isa, panel_across::<1>(panel, matrix, first, words)),
        (true, Precision::Bf16) => dispatch!(isa, panel_across::<2>(panel, matrix, first, words)),
        (false, Precision::F32) => dispatch!(isa, panel_along::<1>(panel, matrix, first, words)),
        (false, Precision::Bf16) => dispatch!(isa, panel_along::<2>(panel, matrix, first, words)),
    }
}

/// A panel from a source where the values of all lanes at one k lie together.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn panel_across<R: Rounding, const PER_WORD: usize>(
    panel: &mut [[u32; Panel::COLUMNS]],
    matrix: Matrix,
    first: usize,
    words: Range<usize>,
) {
    let whole = whole_words::<PER_WORD, { Panel::COLUMNS }>(matrix, first);
    for (w, packed) in words.zip(panel) {
        prefetch(matrix.values, (w * PER_WORD + AHEAD) * matrix.rows + first, matrix.rows, [PER_WORD, Panel::COLUMNS]);
        let packed = packed.as_chunks_mut::<SQUARE>().0;
        if w < whole {
            let rows = rows_of_word::<PER_WORD, { Panel::COLUMNS }>(matrix, first, w);
            for (g, packed) in packed.iter_mut().enumerate() {
                // SAFETY: passed on.
                *packed = unsafe { R::across(part(rows, g)) };
            }
            continue;
        }
        for (g, packed) in packed.iter_mut().enumerate() {
            let values = at_word::<PER_WORD>(matrix, first + g * SQUARE, w);
            // SAFETY: passed on.
            *packed = unsafe { word_across::<R, PER_WORD>(values) };
        }
    }
}

/// A panel from a source where each lane's values lie together: transposes square after square.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn panel_along<R: Rounding, const PER_WORD: usize>(
    panel: &mut [[u32; Panel::COLUMNS]],
    matrix: Matrix,
    first: usize,
    words: Range<usize>,
) {
    let Matrix { values, rows: lanes, columns: depth, .. } = matrix;
    for lane in (0..Panel::COLUMNS).step_by(SQUARE) {
        for (packed, word) in panel.chunks_mut(SQUARE).zip(words.clone().step_by(SQUARE)) {
            let (row, at) = (first + lane, word * PER_WORD);
            let mut square = [[0; SQUARE]; SQUARE];
            if row + SQUARE <= lanes && at + SQUARE * PER_WORD <= depth {
                for (l, square) in square.iter_mut().enumerate() {
                    let values = values[(row + l) * depth + at..].as_chunks().0.first_chunk();
                    // SAFETY: passed on.
                    *square = unsafe { R::along::<PER_WORD>(values.unwrap_or(&[[0.0; PER_WORD]; SQUARE])) };
                }
            } else {
                let rows = (row..lanes).map(|row| &values[row * depth..][at.min(depth)..depth]);
                for (square, row) in square.iter_mut().zip(rows) {
                    // SAFETY: passed on.
                    *square = unsafe { words_along::<R, PER_WORD>(row) };
                }
            }
            // SAFETY: passed on.
            unsafe { R::transpose(&mut square) };
            for (packed, square) in packed.iter_mut().zip(square) {
                packed[lane..lane + SQUARE].copy_from_slice(&square);
            }
        }
    }
}
