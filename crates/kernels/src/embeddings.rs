//! Word and position embeddings of packed sequences. Positions follow from the offsets: each sequence starts at 0.

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::rows_per_task;
use crate::pool::each;
use crate::profile::{Operation, timer};

/// The rows of word embeddings `[V, D]`.
#[derive(Clone, Copy, Debug)]
pub enum Words<'a, T> {
    /// As they are.
    Full(&'a [T]),
    /// Rounded to bf16, for inference.
    Bf16(&'a [u16]),
}

/// `x[t] = words[ids[t]] + positions[position of t in its sequence]`. Overwrites `x [T, D]`.
///
/// `words [V, D]`, `positions [P, D]`; `offsets [B + 1]` delimit the sequences.
pub fn embed<T: Real>(x: &mut [T], ids: &[u32], offsets: &[usize], words: Words<T>, positions: &[T], width: usize) {
    let _timer = timer(Operation::Embeddings, 0);
    assert_eq!(x.len(), ids.len() * width);
    let position = positions_of(offsets);
    assert_eq!(position.len(), ids.len());
    let rows = rows_per_task(ids.len(), width);
    each(x.chunks_mut(rows * width).enumerate(), |(task, x)| {
        vectorize(
            #[inline(always)]
            || {
                for (r, x) in x.chunks_exact_mut(width).enumerate() {
                    let t = task * rows + r;
                    let word = ids[t] as usize * width..(ids[t] as usize + 1) * width;
                    let x = x.iter_mut().zip(&positions[position[t] * width..][..width]);
                    match words {
                        Words::Full(words) => {
                            x.zip(&words[word]).for_each(|((x, position), word)| *x = *word + *position);
                        }
                        Words::Bf16(words) => {
                            x.zip(&words[word]).for_each(|((x, position), word)| *x = widened::<T>(*word) + *position);
                        }
                    }
                }
            },
        );
    });
}

/// A bf16 as the number that it is.
#[inline(always)]
fn widened<T: Real>(word: u16) -> T {
    T::from_f64(f64::from(f32::from_bits(u32::from(word) << 16)))
}

/// `dwords[ids[t]] += dx[t]` and `dpositions[position] += dx[t]`, in the order of the tokens; both start from zero,
/// or with `accumulate` from what they are. Either is empty where it is not wanted.
pub fn embed_backward<T: Real>(
    dwords: &mut [T],
    dpositions: &mut [T],
    dx: &[T],
    ids: &[u32],
    offsets: &[usize],
    width: usize,
    accumulate: bool,
) {
    if dwords.is_empty() && dpositions.is_empty() {
        return;
    }
    let _timer = timer(Operation::Embeddings, 0);
    if !accumulate {
        each(dwords.chunks_mut(crate::parallel::ELEMENTS), |d| d.fill(T::ZERO));
        dpositions.fill(T::ZERO);
    }
    vectorize(
        #[inline(always)]
        || {
            for ((dx, &id), position) in dx.chunks_exact(width).zip(ids).zip(positions_of(offsets)) {
                if !dwords.is_empty() {
                    let dword = &mut dwords[id as usize * width..][..width];
                    dword.iter_mut().zip(dx).for_each(|(d, dx)| *d += *dx);
                }
                if !dpositions.is_empty() {
                    let dposition = &mut dpositions[position * width..][..width];
                    dposition.iter_mut().zip(dx).for_each(|(d, dx)| *d += *dx);
                }
            }
        },
    );
}

/// The position of each token in its sequence.
fn positions_of(offsets: &[usize]) -> Vec<usize> {
    offsets.windows(2).flat_map(|w| 0..w[1] - w[0]).collect()
}
