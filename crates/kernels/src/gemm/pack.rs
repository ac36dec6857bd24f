//! Packing: an operand is cut into panels of a few lanes (rows of the left operand, columns of the right one), and
//! in a panel the words of all its lanes at one k are neighbours. A word is an f32, or a pair of bf16 (k and k + 1,
//! the first in the low half). Lanes and ks that are missing at the edges are zeros.

use rayon::prelude::*;

use super::Precision;
#[cfg(target_arch = "x86_64")]
use super::pack_x86;
use crate::isa::{Isa, isa};

/// Lanes, and words of each, that are transposed at once.
const SQUARE: usize = 8;
/// Lanes that are rounded at once where panels are wide.
const WIDE: usize = 16;
/// Lanes that one packing task handles, at least. From a transposed source: four cache lines of a row.
const LANES_PER_TASK: usize = 32;
const TRANSPOSED_LANES_PER_TASK: usize = 64;

/// A matrix as it lies in memory, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    transposed: bool,
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
}

/// A packed left operand `[M, K]`. Its buffer is used again when it is packed anew.
#[derive(Clone, Debug, Default)]
pub struct Left(Panels<{ Left::ROWS }>);

impl Left {
    /// Rows in a panel.
    pub(super) const ROWS: usize = 8;

    /// Packs the matrix `[M, K]`, on all threads.
    pub fn pack(&mut self, matrix: Matrix, precision: Precision) {
        self.pack_with(isa(), matrix, precision);
    }

    pub(super) fn pack_with(&mut self, isa: Isa, matrix: Matrix, precision: Precision) {
        self.0.pack(isa, matrix, precision);
    }

    /// \[M, K\]
    pub fn shape(&self) -> [usize; 2] {
        [self.0.lanes, self.0.depth]
    }

    /// What it was packed to.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    pub(super) fn panel(&self, index: usize) -> &[[u32; Self::ROWS]] {
        self.0.panel(index)
    }
}

/// A packed right operand `[K, N]`. Its buffer is used again when it is packed anew.
#[derive(Clone, Debug, Default)]
pub struct Right(Panels<{ Right::COLUMNS }>);

impl Right {
    /// Columns in a panel.
    pub(super) const COLUMNS: usize = 48;

    /// Packs the matrix `[K, N]`, on all threads.
    pub fn pack(&mut self, matrix: Matrix, precision: Precision) {
        self.pack_with(isa(), matrix, precision);
    }

    pub(super) fn pack_with(&mut self, isa: Isa, matrix: Matrix, precision: Precision) {
        self.0.pack(isa, matrix.transposed(), precision);
    }

    /// \[K, N\]
    pub fn shape(&self) -> [usize; 2] {
        [self.0.depth, self.0.lanes]
    }

    /// What it was packed to.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    pub(super) fn panel(&self, index: usize) -> &[[u32; Self::COLUMNS]] {
        self.0.panel(index)
    }
}

/// A cache line of words; only for its alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u32; Line::WORDS]);

impl Line {
    const WORDS: usize = 16;
}

/// Panels of `WIDTH` lanes, a multiple of `SQUARE`.
#[derive(Clone, Debug, Default)]
struct Panels<const WIDTH: usize> {
    lines: Vec<Line>,
    lanes: usize,
    depth: usize,
    precision: Precision,
}

impl<const WIDTH: usize> Panels<WIDTH> {
    /// Words of a lane.
    fn words(&self) -> usize {
        self.depth.div_ceil(self.precision.per_word())
    }

    fn panel(&self, index: usize) -> &[[u32; WIDTH]] {
        // SAFETY: a line is nothing but its words, and `lines` is initialized.
        let words: &[u32] =
            unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * Line::WORDS) };
        &words.as_chunks().0[index * self.words()..][..self.words()]
    }

    /// Packs a matrix of lanes as rows and K as columns. The buffer grows, and never shrinks.
    fn pack(&mut self, isa: Isa, matrix: Matrix, precision: Precision) {
        (self.lanes, self.depth, self.precision) = (matrix.rows, matrix.columns, precision);
        let (panels, words) = (self.lanes.div_ceil(WIDTH), self.words());
        let lines = (panels * words * WIDTH).div_ceil(Line::WORDS);
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; Line::WORDS]));
        }
        let len = self.lines.len() * Line::WORDS;
        // SAFETY: a line is nothing but its words, and `lines` is initialized and borrowed mutably.
        let all: &mut [u32] = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) };
        let lanes_per_task = if matrix.transposed { TRANSPOSED_LANES_PER_TASK } else { LANES_PER_TASK };
        let per_task = lanes_per_task / WIDTH.min(lanes_per_task);
        let rows = &mut all.as_chunks_mut().0[..panels * words];
        rows.par_chunks_mut((per_task * words).max(1)).enumerate().for_each(|(task, panels)| {
            pack_panels::<WIDTH>(isa, panels, words, matrix, task * per_task * WIDTH, precision);
        });
    }
}

/// Packs the panels that begin with lane `first`; each has `words` rows.
fn pack_panels<const WIDTH: usize>(
    isa: Isa,
    panels: &mut [[u32; WIDTH]],
    words: usize,
    matrix: Matrix,
    first: usize,
    precision: Precision,
) {
    let source = Source { matrix, first, words };
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the levels are only those that this CPU has, and all of them include AVX2.
        Isa::Avx512Bf16 => unsafe { pack_x86::pack_avx512_bf16(panels, source, precision) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { pack_x86::pack_avx512(panels, source, precision) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => unsafe { pack_x86::pack_avx2(panels, source, precision) },
        _ => source.pack(panels, precision, bf16s, bf16_pairs, bf16_pairs, transpose),
    }
}

/// Where the words of some panels come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// Lanes as rows, K as columns.
    matrix: Matrix<'a>,
    /// The first lane.
    first: usize,
    /// Words of a lane.
    words: usize,
}

pub(super) type Square = [[u32; SQUARE]; SQUARE];

impl Source<'_> {
    #[inline(always)]
    pub(super) fn pack<const WIDTH: usize>(
        self,
        panels: &mut [[u32; WIDTH]],
        precision: Precision,
        bf16s: impl Fn(&[[f32; 2]; SQUARE]) -> [u32; SQUARE],
        pairs: impl Fn([&[f32; SQUARE]; 2]) -> [u32; SQUARE],
        wide_pairs: impl Fn([&[f32; WIDE]; 2]) -> [u32; WIDE],
        transpose: impl Fn(&Square) -> Square,
    ) {
        match (self.matrix.transposed, precision) {
            (false, Precision::F32) => self.lane_by_lane::<WIDTH, 1>(panels, f32s, transpose),
            (false, Precision::Bf16) => self.lane_by_lane::<WIDTH, 2>(panels, bf16s, transpose),
            (true, Precision::F32) => self.k_by_k::<WIDTH, 1, SQUARE>(panels, |[x]| x.map(f32::to_bits)),
            (true, Precision::Bf16) if WIDTH.is_multiple_of(WIDE) => self.k_by_k::<WIDTH, 2, WIDE>(panels, wide_pairs),
            (true, Precision::Bf16) => self.k_by_k::<WIDTH, 2, SQUARE>(panels, pairs),
        }
    }

    /// From a source where each lane's values lie together, `PER_WORD` to a word: transposes square after square.
    #[inline(always)]
    fn lane_by_lane<const WIDTH: usize, const PER_WORD: usize>(
        self,
        panels: &mut [[u32; WIDTH]],
        convert: impl Fn(&[[f32; PER_WORD]; SQUARE]) -> [u32; SQUARE],
        transpose: impl Fn(&Square) -> Square,
    ) {
        let Matrix { values, rows: lanes, columns: depth, .. } = self.matrix;
        let row = |lane: usize| if lane < lanes { &values[lane * depth..][..depth] } else { &[] };
        for (p, panel) in panels.chunks_exact_mut(self.words).enumerate() {
            for lane in (0..WIDTH).step_by(SQUARE) {
                let mut rows: [&[f32]; SQUARE] = std::array::from_fn(|r| row(self.first + p * WIDTH + lane + r));
                for packed in panel.chunks_mut(SQUARE) {
                    // loops, not `map`: in a function of the standard library `convert` would not be inlined
                    let mut square = [[0; SQUARE]; SQUARE];
                    if rows.iter().all(|row| row.len() >= SQUARE * PER_WORD) {
                        for r in 0..SQUARE {
                            square[r] = convert(&rows[r].as_chunks().0.as_chunks().0[0]);
                            rows[r] = &rows[r][SQUARE * PER_WORD..];
                        }
                    } else {
                        // the last words, or a missing lane
                        for r in 0..SQUARE {
                            square[r] = convert(&padded(rows[r]));
                            rows[r] = rows[r].get(SQUARE * PER_WORD..).unwrap_or_default();
                        }
                    }
                    for (packed, row) in packed.iter_mut().zip(transpose(&square)) {
                        packed[lane..lane + SQUARE].copy_from_slice(&row);
                    }
                }
            }
        }
    }

    /// From a source where the values of all lanes at one k lie together: converts `LANES` of them at once.
    #[inline(always)]
    fn k_by_k<const WIDTH: usize, const PER_WORD: usize, const LANES: usize>(
        self,
        panels: &mut [[u32; WIDTH]],
        convert: impl Fn([&[f32; LANES]; PER_WORD]) -> [u32; LANES],
    ) {
        let Matrix { values, rows: lanes, .. } = self.matrix;
        let row = |k: usize| values.get(k * lanes + self.first..(k + 1) * lanes).unwrap_or_default();
        let panel_count = panels.len() / self.words;
        for w in 0..self.words {
            let mut rows: [&[f32]; PER_WORD] = std::array::from_fn(|i| row(w * PER_WORD + i));
            for p in 0..panel_count {
                let packed = &mut panels[p * self.words + w];
                if rows.iter().all(|row| row.len() >= WIDTH) {
                    lanes_at_k(packed, rows, &convert);
                } else {
                    // the last lanes, or a missing k
                    let mut edge = [[0.0; WIDTH]; PER_WORD];
                    for i in 0..PER_WORD {
                        let there = rows[i].len().min(WIDTH);
                        edge[i][..there].copy_from_slice(&rows[i][..there]);
                    }
                    lanes_at_k(packed, edge.each_ref().map(|row| &row[..]), &convert);
                }
                rows = rows.map(|row| row.get(WIDTH..).unwrap_or_default());
            }
        }
    }
}

/// The words of all lanes of a panel at one k, from the rows of the values that they hold.
#[inline(always)]
fn lanes_at_k<const WIDTH: usize, const PER_WORD: usize, const LANES: usize>(
    packed: &mut [u32; WIDTH],
    rows: [&[f32]; PER_WORD],
    convert: impl Fn([&[f32; LANES]; PER_WORD]) -> [u32; LANES],
) {
    for l in (0..WIDTH).step_by(LANES) {
        let mut lanes = [&[0.0; LANES]; PER_WORD];
        for i in 0..PER_WORD {
            lanes[i] = &rows[i][l..].as_chunks().0[0];
        }
        packed[l..l + LANES].copy_from_slice(&convert(lanes));
    }
}

/// The first values of a row, with zeros after its end.
fn padded<const PER_WORD: usize>(row: &[f32]) -> [[f32; PER_WORD]; SQUARE] {
    let mut padded = [[0.0; PER_WORD]; SQUARE];
    padded.as_flattened_mut().iter_mut().zip(row).for_each(|(to, from)| *to = *from);
    padded
}

#[inline(always)]
fn f32s(values: &[[f32; 1]; SQUARE]) -> [u32; SQUARE] {
    values.map(|[x]| x.to_bits())
}

#[inline(always)]
fn bf16s(values: &[[f32; 2]; SQUARE]) -> [u32; SQUARE] {
    values.map(bf16_pair)
}

/// The values of two ks as bf16, lane by lane, those of the first in the low halves.
#[inline(always)]
pub(super) fn bf16_pairs<const LANES: usize>([low, high]: [&[f32; LANES]; 2]) -> [u32; LANES] {
    let mut words = [0; LANES];
    for lane in 0..LANES {
        words[lane] = bf16_pair([low[lane], high[lane]]);
    }
    words
}

/// Two values as bf16, the first in the low half.
#[inline(always)]
fn bf16_pair([low, high]: [f32; 2]) -> u32 {
    rounded(low) >> 16 | rounded(high) & 0xffff_0000
}

/// The bits of the nearest bf16, ties to even, in the upper half. A NaN stays one.
#[inline(always)]
pub(super) fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if x.is_nan() { bits | 0x0040_0000 } else { nearest }
}

#[inline(always)]
fn transpose(square: &Square) -> Square {
    std::array::from_fn(|r| std::array::from_fn(|c| square[c][r]))
}
