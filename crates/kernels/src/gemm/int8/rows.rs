//! The left operand, rounded to u8: `x = scale * (q - zero)` for each row.

use super::super::pack::{Line, SQUARE, room, words};
use super::kernel::MOST_ROWS;
use super::{PER_WORD, depth};
use crate::isa::vectorize;
use crate::parallel::rows_per_task;
use crate::pool::each;

/// Adding it rounds to the nearest integer, ties to even, and leaves that in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Largest value of a byte.
const MOST: f32 = 255.0;
const LANES: usize = 16;

/// Rounded rows, whose buffers are used again from product to product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    lines: Vec<Line>,
    /// Words from row to row.
    stride: usize,
    scales: Vec<Scale>,
}

/// What the bytes of a row stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale {
    pub(super) scale: f32,
    pub(super) zero: i32,
}

impl Rows {
    /// Rounds `x [M, K]`, on all threads.
    pub(super) fn round(&mut self, x: &[f32], inputs: usize) {
        let rows = x.len() / inputs.max(1);
        // an odd number of lines from row to row spreads the rows over the cache
        let lines = (depth(inputs) / SQUARE) | 1;
        self.stride = lines * SQUARE;
        self.scales.resize(rows, Scale::default());
        // a kernel may read rows that there are not, and does not use what comes of them
        let all = room(&mut self.lines, rows.next_multiple_of(MOST_ROWS) * self.stride);
        let task = rows_per_task(rows, inputs);
        let tasks = all.chunks_mut(task * lines).zip(x.chunks(task * inputs)).zip(self.scales.chunks_mut(task));
        each(tasks, |((lines_of_task, x), scales)| {
            let bytes = lines_of_task.as_flattened_mut().chunks_exact_mut(lines * SQUARE);
            for ((words, x), scale) in bytes.zip(x.chunks_exact(inputs)).zip(scales) {
                vectorize(
                    #[inline(always)]
                    || *scale = round_row(words, x),
                );
            }
        });
    }

    /// Where the words of a row begin.
    pub(super) fn row(&self, row: usize) -> *const u32 {
        words(&self.lines)[row * self.stride..].as_ptr()
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn scales(&self) -> &[Scale] {
        &self.scales
    }
}

/// Rounds a row; behind it are zeros. The zero of the numbers is a whole byte, so that it is exact. A row with a number that is not finite
/// gets a scale that is none, and so do its products.
#[inline(always)]
fn round_row(words: &mut [u32], x: &[f32]) -> Scale {
    let [lowest, highest] = ends(x);
    let range = highest - lowest;
    let inverse = if range > 0.0 { MOST / range } else { 0.0 };
    let zero = (-lowest * inverse).round_ties_even();
    let shift = ROUND + zero;
    let byte = |x: f32| {
        let shifted = x * inverse + shift;
        let shifted = if shifted < ROUND { ROUND } else { shifted };
        (if shifted > ROUND + MOST { ROUND + MOST } else { shifted }).to_bits() & 0xff
    };
    let (whole, rest) = x.as_chunks::<{ LANES * PER_WORD }>();
    let (lines, behind) = words.split_at_mut(whole.len() * LANES);
    for (line, x) in lines.as_chunks_mut::<LANES>().0.iter_mut().zip(whole) {
        let mut bytes = [0_u8; LANES * PER_WORD];
        for i in 0..LANES * PER_WORD {
            bytes[i] = byte(x[i]) as u8;
        }
        for (word, bytes) in line.iter_mut().zip(bytes.as_chunks::<PER_WORD>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
    }
    behind.fill(0);
    for (word, x) in behind.iter_mut().zip(rest.chunks(PER_WORD)) {
        *word = x.iter().rev().fold(0, |word, x| word << 8 | byte(*x));
    }
    let not_finite = if range.is_finite() { 0.0 } else { f32::NAN };
    Scale { scale: range / MOST + not_finite, zero: zero as i32 }
}

/// The least and the largest number of a row and 0; NaN or infinite where one is not finite. Compared are integers, in any order, so that the
/// compiler has several comparisons in work at once.
#[inline(always)]
fn ends(x: &[f32]) -> [f32; 2] {
    let (mut low, mut high) = (0, 0);
    for x in x {
        let place = place(x.to_bits().cast_signed());
        (low, high) = (low.min(place), high.max(place));
    }
    [low, high].map(|end| f32::from_bits(place(end).cast_unsigned()))
}

/// The place of a number, given by its bits, in the order of all, of which those are the first and the last that are not finite; and back.
#[inline(always)]
fn place(bits: i32) -> i32 {
    bits ^ (bits >> 31 & i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(x: &[f32]) -> (Vec<u8>, Scale) {
        let mut words = vec![u32::MAX; depth(x.len())];
        let scale = round_row(&mut words, x);
        (words.iter().flat_map(|word| word.to_le_bytes()).collect(), scale)
    }

    #[test]
    fn numbers_come_back() {
        for (length, low, high) in
            [(1, -1.0, 1.0), (70, -3.0, 5.0), (128, 0.0, 7.0), (67, -2.0, 0.0), (200, 1.0, 2.0), (64, -0.17, 9.0)]
        {
            let x: Vec<f32> =
                (0..length).map(|i| low + (high - low) * ((i * 37 % length) as f32 / length as f32)).collect();
            let (bytes, Scale { scale, zero }) = rounded(&x);
            for (x, byte) in x.iter().zip(&bytes) {
                let back = scale * (f32::from(*byte) - zero as f32);
                assert!((back - x).abs() <= 0.5001 * scale, "{back}, not {x}, in {low}..{high}");
            }
            assert!(bytes[length..].iter().all(|byte| *byte == 0));
            assert!(x.iter().zip(&bytes).all(|(x, byte)| *x != 0.0 || i32::from(*byte) == zero));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 17, 66] {
                let mut x = vec![1.0; 67];
                x[at] = bad;
                assert!(rounded(&x).1.scale.is_nan(), "{bad} at {at}");
            }
        }
        let (bytes, scale) = rounded(&[0.0; 9]);
        assert!(scale.scale == 0.0 && scale.zero == 0 && bytes.iter().all(|byte| *byte == 0));
    }
}
