//! Dropout from a counter-based generator: whether an element is kept is a pure function of (seed, step, layer,
//! site, row, column), so the backward pass needs no stored mask and the bits do not depend on the split of the work.

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::rows_per_task;
use crate::pool::each;
use crate::profile::{Operation, timer};

/// Where in the model a dropout stands; one of the keys of its generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// After the layer norm of the embeddings.
    Embeddings = 0,
    /// On the attention weights, after the softmax.
    Attention = 1,
    /// After the feed-forward network, before its residual.
    FeedForward = 2,
    /// Before the classifier.
    Classifier = 3,
}

/// Zeroes each element with probability p and multiplies the others by 1 / (1 - p).
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    key: u64,
    /// Added to the number of every row.
    first_row: u64,
    /// An element is dropped when its 32 random bits are below this.
    threshold: u32,
    scale: f64,
}

impl Dropout {
    /// Keeps everything: for evaluation.
    pub const NONE: Self = Self { key: 0, first_row: 0, threshold: 0, scale: 1.0 };

    /// Dropout with probability `p` in [0, 1).
    pub fn new(p: f64, seed: u64, step: u64, layer: u64, site: Site) -> Self {
        let key = [seed, step, layer, site as u64].into_iter().fold(0, |key, part| mix64(key ^ part));
        Self { key, first_row: 0, threshold: (p * 4_294_967_296.0) as u32, scale: 1.0 / (1.0 - p) }
    }

    /// The same for a part of the rows: what it calls row 0 is row `row` of the whole.
    #[must_use]
    pub fn starting_at(self, row: usize) -> Self {
        Self { first_row: row as u64, ..self }
    }

    /// Whether this is [`Self::NONE`] in effect.
    pub fn is_none(&self) -> bool {
        self.threshold == 0
    }

    /// The generator's state for a row; see [`Self::keeps`].
    #[inline(always)]
    fn row(&self, row: u64) -> u32 {
        mix64(self.key ^ (self.first_row + row)) as u32
    }

    /// Whether an element is kept.
    #[inline(always)]
    fn keeps(&self, row: u32, column: usize) -> bool {
        mix32(row.wrapping_add((column as u32).wrapping_mul(0x9e37_79b9))) >= self.threshold
    }

    /// Applies it to the rows of `x [rows, width]`, in place. The backward pass applies it to the gradient.
    pub fn apply<T: Real>(&self, x: &mut [T], width: usize) {
        let _timer = timer(Operation::Dropout, 0);
        if self.is_none() {
            return;
        }
        let rows = rows_per_task(x.len() / width, width);
        each(x.chunks_mut(rows * width).enumerate(), |(task, x)| {
            vectorize(
                #[inline(always)]
                || {
                    for (r, x) in x.chunks_exact_mut(width).enumerate() {
                        self.apply_row(x, (task * rows + r) as u64);
                    }
                },
            );
        });
    }

    /// `out = x` with dropout, for rows `[rows, width]`. Overwrites `out`.
    pub fn apply_to<T: Real>(&self, out: &mut [T], x: &[T], width: usize) {
        let _timer = timer(Operation::Dropout, 0);
        assert_eq!(out.len(), x.len());
        let rows = rows_per_task(x.len() / width, width);
        each(out.chunks_mut(rows * width).zip(x.chunks(rows * width)).enumerate(), |(task, (out, x))| {
            vectorize(
                #[inline(always)]
                || {
                    out.copy_from_slice(x);
                    if !self.is_none() {
                        for (r, out) in out.chunks_exact_mut(width).enumerate() {
                            self.apply_row(out, (task * rows + r) as u64);
                        }
                    }
                },
            );
        });
    }

    /// Applies it to one row.
    #[inline(always)]
    pub(crate) fn apply_row<T: Real>(&self, x: &mut [T], row: u64) {
        // before the loop: vectorized, it would gather and convert the scale of every element that is kept
        let (key, scale) = (self.row(row), T::from_f64(self.scale));
        for (column, x) in x.iter_mut().enumerate() {
            *x *= if self.keeps(key, column) { scale } else { T::ZERO };
        }
    }

    /// Applies it to two rows that were dropped alike: an array and its gradient.
    #[inline(always)]
    pub(crate) fn apply_rows<T: Real>(&self, x: &mut [T], y: &mut [T], row: u64) {
        let (key, scale) = (self.row(row), T::from_f64(self.scale));
        for (column, (x, y)) in x.iter_mut().zip(y).enumerate() {
            let factor = if self.keeps(key, column) { scale } else { T::ZERO };
            *x *= factor;
            *y *= factor;
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
#[inline(always)]
fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A 32-bit mixing function of low bias ("lowbias32", C. Wellons, hash-prospector, public domain).
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 500;
    const WIDTH: usize = 400;

    fn mask(p: f64, step: u64, layer: u64, site: Site) -> Vec<f64> {
        let mut x = vec![1.0; ROWS * WIDTH];
        Dropout::new(p, 42, step, layer, site).apply(&mut x, WIDTH);
        x
    }

    /// Mean of a·b over all elements, where a and b are masks minus their mean, in standard deviations.
    fn correlation(a: &[f64], b: &[f64], p: f64) -> f64 {
        let variance = p / (1.0 - p);
        let n = a.len().min(b.len());
        let sum: f64 = a.iter().zip(b).map(|(a, b)| (a - 1.0) * (b - 1.0)).sum();
        sum / variance / (n as f64).sqrt()
    }

    #[test]
    fn mean_is_one_and_neighbours_are_independent() {
        for p in [0.1, 0.2, 0.5] {
            let x = mask(p, 3, 1, Site::FeedForward);
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            // five standard errors; the seed is fixed, so this cannot flicker
            assert!((mean - 1.0).abs() < 5.0 * (p / (1.0 - p) / n).sqrt(), "p {p}: mean {mean}");
            for lag in [1, 2, 16, WIDTH, WIDTH + 1] {
                assert!(correlation(&x, &x[lag..], p).abs() < 5.0, "p {p}, lag {lag}");
            }
            for other in
                [mask(p, 4, 1, Site::FeedForward), mask(p, 3, 2, Site::FeedForward), mask(p, 3, 1, Site::Embeddings)]
            {
                assert!(correlation(&x, &other, p).abs() < 5.0, "p {p}: correlated with another key");
            }
        }
    }

    #[test]
    fn a_part_drops_what_the_whole_does() {
        let dropout = Dropout::new(0.3, 1, 2, 3, Site::FeedForward);
        let mut whole = vec![1.0_f32; 10 * 16];
        dropout.apply(&mut whole, 16);
        let mut part = vec![1.0; 6 * 16];
        dropout.starting_at(4).apply(&mut part, 16);
        assert_eq!(part, whole[4 * 16..]);
    }

    #[test]
    fn none_changes_nothing() {
        let mut x = vec![1.5_f32; 64];
        Dropout::NONE.apply(&mut x, 8);
        Dropout::new(0.0, 1, 2, 3, Site::Attention).apply(&mut x, 8);
        assert_eq!(x, vec![1.5; 64]);
    }
}
