//! Near duplicates: normalised texts that share most of their shingles.
//!
//! A text's shingles are its runs of [`SHINGLE`] letters and digits. Two texts are near duplicates when at least [`THRESHOLD`] of the
//! shingles that either has are in both (their Jaccard similarity `|A and B| / |A or B|`); one word changed in a text of twenty
//! leaves about that much. Texts shorter than [`SHORTEST`] are not compared: a single ending makes them alike.
//!
//! Comparing all pairs is out of question, so candidates are found by MinHash: for a random order of all shingles, the probability
//! that two sets have the same first element is their Jaccard similarity (A. Broder, "On the resemblance and containment of
//! documents", 1997). [`BANDS`] times [`BAND_WIDTH`] orders are taken; texts that agree in a whole band are candidates, which a pair
//! of similarity s becomes with probability `1 - (1 - s^BAND_WIDTH)^BANDS` (Leskovec, Rajaraman, Ullman, "Mining of Massive
//! Datasets", 3.4): 0.998 at 0.8, 0.9999997 at 0.9, 0.27 at 0.5. Each candidate's similarity is then computed from the shingles
//! themselves, so whatever is reported is a near duplicate; a few are missed.
//!
//! Memory is [`BANDS`] times 4 bytes a text. Among texts that agree in a band, each is compared with [`WINDOW`] neighbours in the
//! order of the next band, so time does not grow with the square of how many there are.

use std::collections::HashMap;

use rayon::prelude::*;

use super::rows::Rows;
use super::same::normalise_row;
use super::{CHUNK, Watcher, interrupted};
use crate::Result;

/// Letters and digits of a shingle.
pub const SHINGLE: usize = 5;
/// Letters and digits of the shortest text that is compared.
pub const SHORTEST: usize = 16;
/// Jaccard similarity from which two texts are near duplicates.
pub const THRESHOLD: f64 = 0.8;
/// Bands of a signature.
pub const BANDS: usize = 20;
/// Orders of shingles in a band.
pub const BAND_WIDTH: usize = 6;
/// Neighbours that a text is compared with in a band.
const WINDOW: usize = 8;
/// Texts that agree in a band and are compared by one thread.
const PIECE: usize = 1024;
/// Numbers of a signature.
const HASHES: usize = BANDS * BAND_WIDTH;

/// A text, and an earlier one that it is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) row: usize,
    pub(super) earlier: usize,
    pub(super) similarity: f64,
}

/// For each text of `documents` (rows, ascending, each normalised text once in a split) and each split up to its own, one
/// earlier text there that it is like, if there is one; in order.
pub(super) fn search(rows: &Rows, documents: &[u32], watcher: &mut dyn Watcher) -> Result<Vec<Pair>> {
    const WORK: &str = "looking for near duplicates";
    let total = documents.len();
    let (documents, bands) = signatures(rows, documents, watcher)?;
    let mut found: HashMap<(u32, usize), (u32, f64)> = HashMap::new();
    for band in 0..BANDS {
        if watcher.stop_requested() {
            return Err(interrupted(WORK));
        }
        let next = &bands[(band + 1) % BANDS];
        let keyed = bands[band].par_iter().zip(next).zip(&documents);
        let mut order: Vec<(u32, u32, u32)> = keyed.map(|((&key, &next), &row)| (key, next, row)).collect();
        order.par_sort_unstable();
        let pieces: Vec<&[(u32, u32, u32)]> =
            order.chunk_by(|a, b| a.0 == b.0).flat_map(|run| run.chunks(PIECE)).filter(|run| run.len() > 1).collect();
        let pairs: Vec<Pair> = pieces.par_iter().flat_map_iter(|piece| compare(rows, piece, &found)).collect();
        for pair in pairs {
            let split = rows.split_of(pair.earlier);
            found.entry((pair.row as u32, split)).or_insert((pair.earlier as u32, pair.similarity));
        }
        watcher.progress(WORK, total * (band + 1) / BANDS, total);
    }
    let pair = |((row, _), (earlier, similarity)): ((u32, usize), (u32, f64))| Pair {
        row: row as usize,
        earlier: earlier as usize,
        similarity,
    };
    let mut pairs: Vec<Pair> = found.into_iter().map(pair).collect();
    pairs.sort_by_key(|pair| (pair.row, pair.earlier));
    Ok(pairs)
}

/// The documents that are long enough, and by band one number for each of them.
fn signatures(rows: &Rows, documents: &[u32], watcher: &mut dyn Watcher) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
    const WORK: &str = "taking MinHash signatures";
    let orders = Orders::new();
    let mut long = Vec::with_capacity(documents.len());
    let mut bands: Vec<Vec<u32>> = (0..BANDS).map(|_| Vec::with_capacity(documents.len())).collect();
    for (at, chunk) in documents.chunks(CHUNK).enumerate() {
        if watcher.stop_requested() {
            return Err(interrupted(WORK));
        }
        let sign = |(text, shingles): &mut (String, Vec<u64>), &row: &u32| {
            normalise_row(rows.text(row as usize), text);
            shingles_of(text, shingles).then(|| (row, orders.bands(shingles)))
        };
        let signed: Vec<_> = chunk.par_iter().map_init(Default::default, sign).collect();
        for (row, keys) in signed.into_iter().flatten() {
            long.push(row);
            bands.iter_mut().zip(keys).for_each(|(band, key)| band.push(key));
        }
        watcher.progress(WORK, at * CHUNK + chunk.len(), documents.len());
    }
    Ok((long, bands))
}

/// Near duplicates among neighbours of a piece that are not known yet.
fn compare(rows: &Rows, piece: &[(u32, u32, u32)], found: &HashMap<(u32, usize), (u32, f64)>) -> Vec<Pair> {
    let mut sets: Vec<Option<Vec<u64>>> = vec![None; piece.len()];
    let mut pairs: Vec<Pair> = Vec::new();
    for at in 1..piece.len() {
        for other in at.saturating_sub(WINDOW)..at {
            let (a, b) = (piece[at].2.min(piece[other].2), piece[at].2.max(piece[other].2));
            let split = rows.split_of(a as usize);
            let (row, earlier) = (b as usize, a as usize);
            let known = pairs.iter().rev().take(2 * WINDOW).any(|p| p.row == row && rows.split_of(p.earlier) == split);
            if known || found.contains_key(&(b, split)) {
                continue;
            }
            for index in [at, other] {
                sets[index].get_or_insert_with(|| set_of(rows, piece[index].2 as usize));
            }
            if let (Some(x), Some(y)) = (&sets[at], &sets[other]) {
                // the same letters and digits in another split are no near duplicate but the text itself
                if let Some(similarity) = similar(x, y).filter(|&s| !same_text(rows, row, earlier, s)) {
                    pairs.push(Pair { row, earlier, similarity });
                }
            }
        }
        if let Some(past) = at.checked_sub(WINDOW) {
            sets[past] = None;
        }
    }
    pairs
}

/// Whether two rows have the same normalised text; `similarity` is that of their shingles.
fn same_text(rows: &Rows, a: usize, b: usize, similarity: f64) -> bool {
    if similarity < 1.0 {
        return false;
    }
    let (mut x, mut y) = (String::new(), String::new());
    normalise_row(rows.text(a), &mut x);
    normalise_row(rows.text(b), &mut y);
    x == y
}

/// The set of a row's shingles, sorted.
fn set_of(rows: &Rows, row: usize) -> Vec<u64> {
    let (mut text, mut shingles) = (String::new(), Vec::new());
    normalise_row(rows.text(row), &mut text);
    shingles_of(&text, &mut shingles);
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

/// Hashes of the shingles of a normalised text, in its order; `false` if it is too short to be compared.
pub(super) fn shingles_of(normalised: &str, out: &mut Vec<u64>) -> bool {
    out.clear();
    let mut window = [0_u64; SHINGLE];
    let mut length = 0;
    for c in normalised.chars() {
        window.rotate_left(1);
        window[SHINGLE - 1] = u64::from(c);
        length += 1;
        if length >= SHINGLE {
            out.push(window.iter().fold(0, |hash, &c| mixed(hash ^ c)));
        }
    }
    length >= SHORTEST
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): each bit of the result depends on each bit of `x`.
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `|A and B| / |A or B|` of two sorted sets that are not empty, if it is [`THRESHOLD`] or more.
///
/// With n elements in all and d that are in one set alone, it is `(n - d) / (n + d)`; it is too low once d is too high.
pub(super) fn similar(a: &[u64], b: &[u64]) -> Option<f64> {
    let all = a.len() + b.len();
    let allowed = (all as f64 * (1.0 - THRESHOLD) / (1.0 + THRESHOLD) + 1e-9) as usize;
    let (mut i, mut j, mut alone) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        alone += usize::from(x != y);
        if alone > allowed {
            return None;
        }
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    alone += a.len() - i + b.len() - j;
    (alone <= allowed).then(|| (all - alone) as f64 / (all + alone) as f64)
}

/// Orders of all shingles: `factor * x + offset` modulo 2^32, which is one to one for odd factors.
pub(super) struct Orders {
    factors: [u32; HASHES],
    offsets: [u32; HASHES],
}

impl Orders {
    pub(super) fn new() -> Self {
        let number = |i: usize| mixed(i as u64);
        Self {
            factors: std::array::from_fn(|i| number(2 * i) as u32 | 1),
            offsets: std::array::from_fn(|i| number(2 * i + 1) as u32),
        }
    }

    /// The first shingle in each order.
    pub(super) fn signature(&self, shingles: &[u64]) -> [u32; HASHES] {
        let mut least = [u32::MAX; HASHES];
        for &shingle in shingles {
            let x = (shingle >> 32) as u32;
            for i in 0..HASHES {
                least[i] = least[i].min(self.factors[i].wrapping_mul(x).wrapping_add(self.offsets[i]));
            }
        }
        least
    }

    /// A number for each band of the signature.
    fn bands(&self, shingles: &[u64]) -> [u32; BANDS] {
        let signature = self.signature(shingles);
        let band = |at: usize| signature[at * BAND_WIDTH..(at + 1) * BAND_WIDTH].iter();
        std::array::from_fn(|at| band(at).fold(0, |hash, &least| mixed(hash ^ u64::from(least))) as u32)
    }
}
