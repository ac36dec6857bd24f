//! Matrix multiplication in int8, summed in i32, for the linear layers of inference.
//!
//! ```text
//! round the rows of a to u8, each with a scale and a zero point of its own     (all threads)      rows.rs
//! for each block of rows, for each panel of 48 columns of c                    (one task each)    driver.rs
//!   for each few rows: a tile of i32 sums in registers                         (K innermost)      tile.rs
//!     while a part of the panel that the thread takes next is asked for
//!   scale them, add the bias, write them                                                          driver.rs
//! ```
//!
//! Weights are s8, symmetric, with a scale for each output; a word is four of them along K, in panels of 48 columns as
//! everywhere in this crate. A row of the left operand is `scale * (q - zero)`, so that its product with a column is
//! `scale * column's scale * (sum of q w - zero * sum of w)`. The sums are exact, and everything else is done in one order: all
//! kernels give the same bits, at any number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
mod driver;
mod kernel;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod rows;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::pack::{Line, SQUARE, room};
use super::panel::Panel;
use crate::pool::each;

pub use driver::Activation;
pub(crate) use driver::multiply_int8;
pub use kernel::int8_instructions;
pub(crate) use rows::Rows;

/// Largest magnitude of a weight.
const MOST: f32 = 127.0;
/// Values of a word.
const PER_WORD: usize = 4;

/// Weights `w [N, K]` of a linear layer as s8, with a scale for each of the N outputs: `w[n][k] = scales[n] * values[n][k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// `[N, K]`
    pub values: Vec<i8>,
    /// `[N]`
    pub scales: Vec<f32>,
}

impl Quantized {
    /// Rounds weights; `outputs` is N. The largest of each output becomes 127.
    pub fn new(w: &[f32], outputs: usize) -> Self {
        let inputs = (w.len() / outputs.max(1)).max(1);
        let mut values = vec![0; w.len()];
        let mut scales = vec![0.0; outputs];
        let rows = values.chunks_mut(inputs).zip(w.chunks(inputs)).zip(&mut scales);
        each(rows, |((values, w), scale)| {
            let largest = w.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
            *scale = largest / MOST;
            let inverse = if largest > 0.0 { MOST / largest } else { 0.0 };
            values.iter_mut().zip(w).for_each(|(q, w)| *q = (w * inverse).round_ties_even() as i8);
        });
        Self { values, scales }
    }

    /// What they stand for `[N, K]`.
    pub fn numbers(&self) -> Vec<f32> {
        let inputs = (self.values.len() / self.scales.len().max(1)).max(1);
        let rows = self.values.chunks(inputs).zip(&self.scales);
        rows.flat_map(|(values, scale)| values.iter().map(move |&value| scale * f32::from(value))).collect()
    }
}

/// [`Quantized`] weights in panels of 48 outputs: what the innermost loop reads.
#[derive(Clone, Debug)]
pub(crate) struct Int8Panels {
    words: Vec<Line>,
    /// Of each output, with zeros up to whole panels.
    scales: Vec<f32>,
    /// The sum of the weights of each output, likewise.
    sums: Vec<i32>,
    /// N and K.
    shape: [usize; 2],
}

impl Int8Panels {
    pub(crate) fn new(weights: &Quantized) -> Self {
        let outputs = weights.scales.len();
        let inputs = weights.values.len() / outputs.max(1);
        let panels = outputs.div_ceil(Panel::COLUMNS);
        let (depth, columns) = (depth(inputs), panels * Panel::COLUMNS);
        let (mut words, mut sums, mut scales) = (Vec::new(), vec![0; columns], weights.scales.clone());
        scales.resize(columns, 0.0);
        let all = room(&mut words, depth * columns).as_flattened_mut().as_chunks_mut::<{ Panel::COLUMNS }>().0;
        let rows = weights.values.chunks(inputs.max(1) * Panel::COLUMNS);
        let parts = all.chunks_mut(depth.max(1)).zip(sums.chunks_mut(Panel::COLUMNS)).zip(rows);
        each(parts, |((panel, sums), rows)| {
            for (column, (row, sum)) in rows.chunks_exact(inputs.max(1)).zip(sums).enumerate() {
                for (word, values) in panel.iter_mut().zip(row.chunks(PER_WORD)) {
                    let mut bytes = [0; PER_WORD];
                    bytes.iter_mut().zip(values).for_each(|(byte, value)| *byte = value.cast_unsigned());
                    word[column] = u32::from_le_bytes(bytes);
                }
                *sum = row.iter().map(|&value| i32::from(value)).sum();
            }
        });
        Self { words, scales, sums, shape: [outputs, inputs] }
    }

    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.words[..]) + size_of_val(&self.scales[..]) + size_of_val(&self.sums[..])
    }

    /// Panels of 48 outputs.
    fn panels(&self) -> usize {
        self.scales.len() / Panel::COLUMNS
    }

    /// The words of a panel.
    fn panel(&self, panel: usize) -> &[[u32; Panel::COLUMNS]] {
        let depth = depth(self.shape[1]);
        &super::pack::words(&self.words).as_chunks().0[panel * depth..][..depth]
    }
}

/// Words along K of `inputs` values, with zeros up to whole cache lines of a row.
fn depth(inputs: usize) -> usize {
    inputs.div_ceil(PER_WORD).next_multiple_of(SQUARE)
}
