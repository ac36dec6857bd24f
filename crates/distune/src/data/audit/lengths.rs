//! Lengths of rows in tokens.

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::rows::Rows;
use super::{CHUNK, Watcher, interrupted};
use crate::Result;
use crate::tokenize::Tokenizer;

/// Lengths of the rows of a split in tokens, special ones included, before anything is cut off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthReport {
    /// Tokens of the shortest row.
    pub min: usize,
    /// Half of the rows have at most as many.
    pub median: usize,
    /// Tokens a row.
    pub mean: f64,
    /// 95 % of the rows have at most as many.
    pub p95: usize,
    /// Tokens of the longest row.
    pub max: usize,
    /// Rows that are cut at the chosen length.
    pub truncated: usize,
    /// Rows by their lengths: each bin is twice as wide as the one before.
    pub histogram: Vec<Bin>,
    /// The longest rows that are cut.
    #[serde(skip)]
    pub(super) longest: Vec<(usize, usize)>,
}

/// A bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// Fewest tokens.
    pub from: usize,
    /// Most tokens.
    pub to: usize,
    /// Rows that long.
    pub rows: usize,
}

/// The model's tokenizer from the bytes of its `tokenizer.json`, which cuts nothing.
///
/// # Errors
/// As [`Tokenizer::from_bytes`].
pub fn counting_tokenizer(path: &Path, tokenizer_json: &[u8]) -> Result<Tokenizer> {
    Tokenizer::from_bytes(path, tokenizer_json, 1 << 40)
}

/// Lengths of all rows by split; nothing for a split without rows.
pub(super) fn measure(
    rows: &Rows,
    tokenizer: &Tokenizer,
    max_length: usize,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Option<LengthReport>>> {
    const WORK: &str = "counting tokens";
    let total = rows.len();
    let mut lengths: Vec<u32> = Vec::with_capacity(total);
    for start in (0..total).step_by(CHUNK) {
        if watcher.stop_requested() {
            return Err(interrupted(WORK));
        }
        let end = total.min(start + CHUNK);
        let chunk: Vec<u32> =
            (start..end).into_par_iter().map(|row| tokens(tokenizer, rows.text(row))).collect::<Result<_>>()?;
        lengths.extend(chunk);
        watcher.progress(WORK, end, total);
    }
    let of = |split: &super::rows::Split| summary(split.rows.start, &lengths[split.rows.clone()], max_length);
    Ok(rows.splits().iter().map(of).collect())
}

/// Tokens of a row.
fn tokens(tokenizer: &Tokenizer, (text, pair): (&str, Option<&str>)) -> Result<u32> {
    let encoded = match pair {
        Some(pair) => tokenizer.encode_pair(text, pair)?,
        None => tokenizer.encode_one(text)?,
    };
    Ok(u32::try_from(encoded.ids.len()).unwrap_or(u32::MAX))
}

/// Summary of the lengths of rows, the first of which has the number `first`.
pub(super) fn summary(first: usize, lengths: &[u32], max_length: usize) -> Option<LengthReport> {
    let mut sorted: Vec<usize> = lengths.iter().map(|&length| length as usize).collect();
    sorted.par_sort_unstable();
    let (&min, &max) = (sorted.first()?, sorted.last()?);
    let rows = sorted.len();
    // the smallest length that a share of the rows does not exceed
    let quantile = |percent: usize| sorted[(rows * percent).div_ceil(100).max(1) - 1];
    let mut cut: Vec<(usize, usize)> = (first..)
        .zip(lengths)
        .map(|(row, &length)| (row, length as usize))
        .filter(|&(_, length)| length > max_length)
        .collect();
    let truncated = cut.len();
    cut.sort_by_key(|&(row, length)| (std::cmp::Reverse(length), row));
    cut.truncate(super::same::EXAMPLES);
    Some(LengthReport {
        min,
        median: quantile(50),
        mean: sorted.iter().sum::<usize>() as f64 / rows as f64,
        p95: quantile(95),
        max,
        truncated,
        histogram: histogram(&sorted),
        longest: cut,
    })
}

/// Bins of 1 to 8, 9 to 16, 17 to 32 tokens and so on, from that of the shortest row to that of the longest.
fn histogram(sorted: &[usize]) -> Vec<Bin> {
    let (mut bins, mut from, mut to, mut counted) = (Vec::new(), 1, 8, 0);
    while counted < sorted.len() {
        let end = sorted.partition_point(|&length| length <= to);
        if end > 0 {
            bins.push(Bin { from, to, rows: end - counted });
        }
        (from, to, counted) = (to + 1, 2 * to, end);
    }
    bins
}
