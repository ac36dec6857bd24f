//! What the innermost loop reads. A word is an f32, or a pair of bf16 (k and k + 1, the first in the low half); ks that are
//! missing at the end are zeros.
//!
//! The left operand is arranged once a product, on all threads ([`Left`]): a row-major source keeps its order and is only
//! rounded (f32 is read where it lies); a transposed one is cut into groups of eight lanes (rows of the operand), where the words
//! of all lanes at one k are neighbours, or brought into the order of its rows, which AMX needs.
//!
//! What becomes of the right one, `panel.rs` says.

use std::ops::Range;

use super::Precision;
use super::tile::{Operand, ROWS};
use crate::isa::{Isa, isa};
use crate::parallel::{prefetch, rows_per_task};
use crate::pool::each;

/// Lanes, and words of each, that are arranged at once.
pub(super) const SQUARE: usize = 16;
/// Rows, or lanes of a transposed source (four cache lines of each of its rows), that one task arranges.
const LANES_PER_TASK: usize = 64;
/// How many rows of a source whose lanes lie together are asked for ahead: a task reads some lines of each, too far apart for the CPU to
/// foresee them.
pub(super) const AHEAD: usize = 8;
/// Sixteen words: a cache line, and a vector of 512 bits.
pub(super) type Words = [u32; SQUARE];

/// A matrix as it lies in memory, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    pub(super) values: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) transposed: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix `[rows, columns]`.
    pub fn new(values: &'a [T], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(Some(values.len()), rows.checked_mul(columns), "values of a matrix [{rows}, {columns}]");
        Self { values, rows, columns, transposed: false }
    }

    /// `[columns, rows]`: the same numbers, read the other way.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// The values with the distances from row to row and from column to column.
    pub fn strides(&self) -> (&'a [T], [isize; 2]) {
        let strides = if self.transposed { [1, self.rows] } else { [self.columns, 1] };
        (self.values, strides.map(|stride| stride as isize))
    }

    /// \[rows, columns\]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Whether the columns lie together, not the rows.
    pub(super) fn is_transposed(&self) -> bool {
        self.transposed
    }
}

/// A cache line of words; only for its alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(Words);

/// Makes room for `words` words, a multiple of a line. What was there stays.
pub(super) fn room(lines: &mut Vec<Line>, words: usize) -> &mut [Words] {
    let needed = words / SQUARE;
    if lines.len() < needed {
        lines.resize(needed, Line([0; SQUARE]));
    }
    // SAFETY: a line is nothing but its words, and `lines` is initialized and borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), needed) }
}

/// The words of these lines.
pub(super) fn words(lines: &[Line]) -> &[u32] {
    // SAFETY: a line is nothing but its words, and `lines` is initialized.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * SQUARE) }
}

/// How an instruction set rounds and transposes.
pub(super) trait Rounding {
    /// The words of sixteen values, or thirty-two, that are neighbours along K.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions, and the caller is compiled for them; likewise for all below.
    unsafe fn along<const PER_WORD: usize>(values: &[[f32; PER_WORD]; SQUARE]) -> Words;
    /// The words of sixteen lanes from their values at the ks of a word.
    ///
    /// # Safety
    ///
    /// See [`Self::along`].
    unsafe fn across<const PER_WORD: usize>(values: [&[f32; SQUARE]; PER_WORD]) -> Words;
    /// Exchanges rows and columns.
    ///
    /// # Safety
    ///
    /// See [`Self::along`].
    unsafe fn transpose(square: &mut [Words; SQUARE]);
}

/// Compiles a call of a generic function for the instructions in use.
macro_rules! dispatch {
    ($isa:expr, $function:ident::<$per_word:literal>($($argument:expr),*)) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the levels are only those that this CPU has, and all of them include AVX2.
            Isa::Amx | Isa::Avx512Bf16 => unsafe { $crate::gemm::pack_x86::avx512_bf16(#[inline(always)] || $function::<$crate::gemm::pack_x86::Avx512Bf16, $per_word>($($argument),*)) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => unsafe { $crate::gemm::pack_x86::avx512(#[inline(always)] || $function::<$crate::gemm::pack_x86::Avx512, $per_word>($($argument),*)) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => unsafe { $crate::gemm::pack_x86::avx2(#[inline(always)] || $function::<$crate::gemm::pack_x86::Avx2, $per_word>($($argument),*)) },
            // SAFETY: no special instructions are needed.
            _ => unsafe { $function::<$crate::gemm::pack::Portable, $per_word>($($argument),*) },
        }
    };
}
pub(super) use dispatch;

/// A left operand `[M, K]`, arranged. The buffer is used again from product to product.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Vec<Line>);

/// The words of an arranged left operand: groups of lanes, `words` words a lane.
#[derive(Clone, Copy)]
pub(super) struct LeftWords<'a> {
    values: &'a [u32],
    /// Lanes whose words at one k are neighbours.
    group: usize,
    /// From lane to lane, or from group to group in a group's lanes.
    stride: usize,
}

impl LeftWords<'_> {
    /// Where the innermost loop reads row `row` from word `word` on.
    pub(super) fn operand(&self, row: usize, word: usize) -> Operand {
        let at = row / self.group * self.group * self.stride + word * self.group + row % self.group;
        let strides = [if self.group == 1 { self.stride } else { 1 }, self.group];
        // when K is 0 there is nothing, and nothing is read
        Operand { start: self.values.get(at..).unwrap_or_default().as_ptr(), strides }
    }
}

impl Left {
    /// Arranges the matrix, on all threads, a transposed one in groups of `group` lanes. Rows have room for words, and the matrix for
    /// rows, up to the next multiple of sixteen; these words are zeros. To `sums`, unless it is empty, the sums of the lanes of a transposed one are added, in
    /// the order of K.
    pub(super) fn arrange<'a>(
        &'a mut self,
        isa: Isa,
        matrix: Matrix<'a>,
        precision: Precision,
        group: usize,
        sums: &mut [f32],
    ) -> LeftWords<'a> {
        let Matrix { values, rows: lanes, columns: depth, transposed } = matrix;
        let words = depth.div_ceil(precision.per_word());
        if transposed && group == ROWS {
            let groups = room(&mut self.0, (lanes.div_ceil(SQUARE) * words) * SQUARE);
            let groups = groups.as_flattened_mut().as_chunks_mut::<ROWS>().0;
            let per_task = (LANES_PER_TASK / ROWS * words).max(1);
            let mut sums = sums.chunks_mut(LANES_PER_TASK);
            let tasks = groups.chunks_mut(per_task).map(|groups| (groups, sums.next().unwrap_or_default()));
            each(tasks.enumerate(), |(task, (groups, sums))| {
                let first = task * LANES_PER_TASK;
                match precision {
                    Precision::F32 => dispatch!(isa, groups_across::<1>(groups, sums, matrix, first, words)),
                    Precision::Bf16 => dispatch!(isa, groups_across::<2>(groups, sums, matrix, first, words)),
                }
            });
            return LeftWords { values: groups.as_flattened(), group: ROWS, stride: words };
        }
        if precision == Precision::F32 && !transposed {
            // SAFETY: every f32 is a u32, of the same size and alignment.
            let values = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) };
            return LeftWords { values, group: 1, stride: depth };
        }
        let lines = lines_of(words);
        let rows = room(&mut self.0, lanes.next_multiple_of(SQUARE) * lines * SQUARE);
        if transposed {
            let mut sums = sums.chunks_mut(LANES_PER_TASK);
            let tasks = rows.chunks_mut(LANES_PER_TASK * lines).map(|rows| (rows, sums.next().unwrap_or_default()));
            each(tasks.enumerate(), |(task, (rows, sums))| {
                dispatch!(isa, rows_across::<2>(rows, sums, matrix, task * LANES_PER_TASK, lines));
            });
        } else {
            let per_task = rows_per_task(lanes, depth);
            each(rows.chunks_mut(per_task * lines).zip(values.chunks((per_task * depth).max(1))), |(rows, values)| {
                dispatch!(isa, rows_along::<2>(rows, values, depth, lines));
            });
        }
        LeftWords { values: rows.as_flattened(), group: 1, stride: lines * SQUARE }
    }

    /// Room for a matrix rounded to bf16 whose rows are arranged elsewhere, with the words from row to row. Whole lines of words are
    /// to be written in each row.
    pub(super) fn room_rounded(&mut self, [rows, columns]: [usize; 2]) -> (&mut [u32], usize) {
        let stride = lines_of(columns / 2) * SQUARE;
        let words = room(&mut self.0, rows.next_multiple_of(SQUARE) * stride);
        (words.as_flattened_mut(), stride)
    }

    /// What was written in [`Self::room_rounded`].
    pub(super) fn rounded(&self, [rows, columns]: [usize; 2]) -> LeftWords<'_> {
        let stride = lines_of(columns / 2) * SQUARE;
        LeftWords { values: &words(&self.0)[..rows.next_multiple_of(SQUARE) * stride], group: 1, stride }
    }
}

/// Lines from row to row of rounded rows: an odd number spreads the rows over the cache.
fn lines_of(words: usize) -> usize {
    words.div_ceil(SQUARE) | 1
}

/// Rounds rows of `depth` values to rows of `lines` lines.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn rows_along<R: Rounding, const PER_WORD: usize>(
    rows: &mut [Words],
    values: &[f32],
    depth: usize,
    lines: usize,
) {
    for (row, values) in rows.chunks_exact_mut(lines).zip(values.chunks_exact(depth.max(1))) {
        let squares = values.as_chunks::<PER_WORD>().0.as_chunks::<SQUARE>().0;
        for (line, square) in row.iter_mut().zip(squares) {
            // SAFETY: passed on.
            *line = unsafe { R::along(square) };
        }
        if let Some(line) = row.get_mut(squares.len()) {
            // SAFETY: passed on.
            *line = unsafe { words_along::<R, PER_WORD>(&values[squares.len() * SQUARE * PER_WORD..]) };
        }
    }
}

/// Groups of eight lanes, an even number of them, `words` words each, from lane `first` on.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn groups_across<R: Rounding, const PER_WORD: usize>(
    groups: &mut [[u32; ROWS]],
    sums: &mut [f32],
    matrix: Matrix,
    first: usize,
    words: usize,
) {
    let count = groups.len() / words.max(1) * ROWS;
    // SAFETY: passed on.
    unsafe {
        lanes_across::<R, PER_WORD>(
            sums,
            matrix,
            first..first + count,
            #[inline(always)]
            |part, w, across| {
                groups[2 * part * words + w].copy_from_slice(&across[..ROWS]);
                groups[(2 * part + 1) * words + w].copy_from_slice(&across[ROWS..]);
            },
        );
    }
}

/// Rows of `lines` lines, a multiple of sixteen of them, from lane `first` on: transposes square after square.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn rows_across<R: Rounding, const PER_WORD: usize>(
    rows: &mut [Words],
    sums: &mut [f32],
    matrix: Matrix,
    first: usize,
    lines: usize,
) {
    let words = matrix.columns.div_ceil(PER_WORD);
    let mut squares = [[[0; SQUARE]; SQUARE]; LANES_PER_TASK / SQUARE];
    // SAFETY: passed on.
    unsafe {
        lanes_across::<R, PER_WORD>(
            sums,
            matrix,
            first..first + rows.len() / lines,
            #[inline(always)]
            |part, w, across| {
                let square = &mut squares[part];
                square[w % SQUARE] = across;
                if w % SQUARE + 1 == SQUARE || w + 1 == words {
                    square[w % SQUARE + 1..].fill([0; SQUARE]);
                    R::transpose(square);
                    for (l, square) in square.iter().enumerate() {
                        rows[(part * SQUARE + l) * lines + w / SQUARE] = *square;
                    }
                }
            },
        );
    }
}

/// The words of these lanes, at most [`LANES_PER_TASK`], sixteen at a time: `put` gets which sixteen, which word, and the words.
/// `sums` is empty, or the sums of these lanes, to which their values are added.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn lanes_across<R: Rounding, const PER_WORD: usize>(
    sums: &mut [f32],
    matrix: Matrix,
    lanes: Range<usize>,
    mut put: impl FnMut(usize, usize, Words),
) {
    let first = lanes.start;
    let whole = if lanes.len() == LANES_PER_TASK { whole_words::<PER_WORD, LANES_PER_TASK>(matrix, first) } else { 0 };
    let mut totals = [0.0; LANES_PER_TASK];
    totals[..sums.len()].copy_from_slice(sums);
    for w in 0..matrix.columns.div_ceil(PER_WORD) {
        prefetch(matrix.values, (w * PER_WORD + AHEAD) * matrix.rows + first, matrix.rows, [PER_WORD, LANES_PER_TASK]);
        let rows = if w < whole {
            rows_of_word::<PER_WORD, LANES_PER_TASK>(matrix, first, w)
        } else {
            [&[0.0; LANES_PER_TASK]; PER_WORD]
        };
        for part in 0..lanes.len() / SQUARE {
            // SAFETY: passed on.
            let across = unsafe {
                if w < whole {
                    R::across(self::part::<PER_WORD, LANES_PER_TASK>(rows, part))
                } else {
                    let values = at_word::<PER_WORD>(matrix, first + part * SQUARE, w);
                    for values in values {
                        let lanes = totals[part * SQUARE..].iter_mut().zip(values.iter().take(SQUARE));
                        lanes.for_each(|(total, value)| *total += value);
                    }
                    word_across::<R, PER_WORD>(values)
                }
            };
            put(part, w, across);
        }
        for row in rows {
            for l in 0..LANES_PER_TASK {
                totals[l] += row[l];
            }
        }
    }
    sums.copy_from_slice(&totals[..sums.len()]);
}

/// How many words along K have all of these `LANES` lanes and ks, so that they can be read without a look at the edges.
#[inline(always)]
pub(super) fn whole_words<const PER_WORD: usize, const LANES: usize>(matrix: Matrix, first: usize) -> usize {
    if first + LANES <= matrix.rows { matrix.columns / PER_WORD } else { 0 }
}

/// The values of the lanes from `first` on at the ks of a whole word.
#[inline(always)]
pub(super) fn rows_of_word<const PER_WORD: usize, const LANES: usize>(
    matrix: Matrix<'_>,
    first: usize,
    w: usize,
) -> [&[f32; LANES]; PER_WORD] {
    let mut rows = [&[0.0; LANES]; PER_WORD];
    for (i, row) in rows.iter_mut().enumerate() {
        let at = (w * PER_WORD + i) * matrix.rows + first;
        *row = matrix.values[at..].first_chunk().unwrap_or(row);
    }
    rows
}

/// Sixteen lanes of each row.
#[inline(always)]
pub(super) fn part<const PER_WORD: usize, const LANES: usize>(
    rows: [&[f32; LANES]; PER_WORD],
    part: usize,
) -> [&[f32; SQUARE]; PER_WORD] {
    let mut parts = [&[0.0; SQUARE]; PER_WORD];
    for (lanes, row) in parts.iter_mut().zip(rows) {
        *lanes = &row.as_chunks().0[part];
    }
    parts
}

/// The values of lanes from `lane` on at the ks of word `w`, of a matrix whose lanes lie together; nothing beyond its end.
#[inline(always)]
pub(super) fn at_word<'a, const PER_WORD: usize>(matrix: Matrix<'a>, lane: usize, w: usize) -> [&'a [f32]; PER_WORD] {
    let lanes = matrix.rows;
    std::array::from_fn(|i| {
        let k = w * PER_WORD + i;
        if k < matrix.columns { &matrix.values[k * lanes + lane.min(lanes)..(k + 1) * lanes] } else { &[] }
    })
}

/// A word of sixteen lanes, with zeros for what is missing.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
pub(super) unsafe fn word_across<R: Rounding, const PER_WORD: usize>(values: [&[f32]; PER_WORD]) -> Words {
    let mut edge = [[0.0; SQUARE]; PER_WORD];
    let mut whole = [&[0.0; SQUARE]; PER_WORD];
    for ((whole, edge), values) in whole.iter_mut().zip(&mut edge).zip(values) {
        *whole = match values.first_chunk() {
            Some(values) => values,
            None => {
                edge[..values.len()].copy_from_slice(values);
                edge
            }
        };
    }
    // SAFETY: passed on.
    unsafe { R::across(whole) }
}

/// The first sixteen words of a row, with zeros for what is missing.
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
pub(super) unsafe fn words_along<R: Rounding, const PER_WORD: usize>(row: &[f32]) -> Words {
    let mut words = [[0.0; PER_WORD]; SQUARE];
    words.as_flattened_mut().iter_mut().zip(row).for_each(|(word, value)| *word = *value);
    // SAFETY: passed on.
    unsafe { R::along(&words) }
}

/// `out [width, n] = xᵀ` for `x [rows, width]` whose rows are `stride` apart; `n` is `rows` rounded up to a multiple of sixteen,
/// with zeros in the additional columns.
pub(crate) fn transpose_small(out: &mut [f32], x: &[f32], stride: usize, shape: [usize; 2]) {
    dispatch!(isa(), transpose_squares::<1>(out, x, stride, shape));
}

/// See [`transpose_small`].
///
/// # Safety
///
/// See [`Rounding::along`].
#[inline(always)]
unsafe fn transpose_squares<R: Rounding, const PER_WORD: usize>(
    out: &mut [f32],
    x: &[f32],
    stride: usize,
    [rows, width]: [usize; 2],
) {
    let n = rows.next_multiple_of(SQUARE);
    for first in (0..rows).step_by(SQUARE) {
        for column in (0..width).step_by(SQUARE) {
            let (height, across) = (SQUARE.min(rows - first), SQUARE.min(width - column));
            let mut square = [[0; SQUARE]; SQUARE];
            for (r, square) in square[..height].iter_mut().enumerate() {
                let x = &x[(first + r) * stride + column..];
                match x.first_chunk::<SQUARE>() {
                    Some(x) => *square = x.map(f32::to_bits),
                    None => square.iter_mut().zip(x).for_each(|(square, x)| *square = x.to_bits()),
                }
            }
            // SAFETY: passed on.
            unsafe { R::transpose(&mut square) };
            for (c, square) in square[..across].iter().enumerate() {
                out[(column + c) * n + first..][..SQUARE].copy_from_slice(&square.map(f32::from_bits));
            }
        }
    }
}

/// On any CPU.
pub(super) struct Portable;

// SAFETY of the methods: no special instructions are needed.
impl Rounding for Portable {
    #[inline(always)]
    unsafe fn along<const PER_WORD: usize>(values: &[[f32; PER_WORD]; SQUARE]) -> Words {
        let mut words = [0; SQUARE];
        for l in 0..SQUARE {
            words[l] = word(values[l]);
        }
        words
    }

    #[inline(always)]
    unsafe fn across<const PER_WORD: usize>(values: [&[f32; SQUARE]; PER_WORD]) -> Words {
        let mut words = [0; SQUARE];
        for l in 0..SQUARE {
            let mut lane = [0.0; PER_WORD];
            for i in 0..PER_WORD {
                lane[i] = values[i][l];
            }
            words[l] = word(lane);
        }
        words
    }

    #[inline(always)]
    unsafe fn transpose(square: &mut [Words; SQUARE]) {
        for r in 0..SQUARE {
            for c in 0..r {
                (square[r][c], square[c][r]) = (square[c][r], square[r][c]);
            }
        }
    }
}

/// One value as it is, or two as bf16, the first in the low half.
#[inline(always)]
fn word<const PER_WORD: usize>(values: [f32; PER_WORD]) -> u32 {
    match values[..] {
        [x] => x.to_bits(),
        [low, high] => rounded(low) >> 16 | rounded(high) & 0xffff_0000,
        _ => 0,
    }
}

/// The bits of the nearest bf16, ties to even, in the upper half. A NaN stays one.
#[inline(always)]
pub(super) fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if x.is_nan() { bits | 0x0040_0000 } else { nearest }
}
