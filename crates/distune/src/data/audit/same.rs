//! Equal texts: within a split, with different labels, in two splits.

use std::collections::HashMap;

use rayon::prelude::*;
use twox_hash::XxHash3_128;

use super::rows::{Rows, UNLABELLED};
use super::{CHUNK, Watcher, interrupted};
use crate::Result;
use crate::data::normalise::normalise;

/// Examples that are kept of each finding.
pub(super) const EXAMPLES: usize = 3;
/// Between a text and its second text.
const SEPARATOR: char = '\u{1f}';

/// The normalised form of a row; returns whether it has a letter or a digit.
pub(super) fn normalise_row((text, pair): (&str, Option<&str>), out: &mut String) -> bool {
    out.clear();
    let mut any = normalise(text, out);
    if let Some(pair) = pair {
        out.push(SEPARATOR);
        any |= normalise(pair, out);
    }
    any
}

/// `[N]` hashes of all rows: equal ones are the same text.
pub(super) struct Keys {
    trimmed: Vec<u128>,
    normalised: Vec<u128>,
    /// Rows without a letter or a digit.
    pub(super) blank: Vec<usize>,
}

impl Keys {
    /// Hashes all rows on all threads.
    pub(super) fn of(rows: &Rows, watcher: &mut dyn Watcher) -> Result<Self> {
        const WORK: &str = "comparing texts";
        let total = rows.len();
        let mut keys =
            Self { trimmed: Vec::with_capacity(total), normalised: Vec::with_capacity(total), blank: Vec::new() };
        for start in (0..total).step_by(CHUNK) {
            if watcher.stop_requested() {
                return Err(interrupted(WORK));
            }
            let end = total.min(start + CHUNK);
            let hash = |buffer: &mut String, row: usize| hashes(rows.text(row), buffer);
            let hashed: Vec<_> = (start..end).into_par_iter().map_init(String::new, hash).collect();
            for (row, (trimmed, normalised, any)) in (start..).zip(hashed) {
                keys.trimmed.push(trimmed);
                keys.normalised.push(normalised);
                if !any {
                    keys.blank.push(row);
                }
            }
            watcher.progress(WORK, end, total);
        }
        Ok(keys)
    }

    /// What equal trimmed texts show.
    pub(super) fn trimmed(&self, rows: &Rows) -> Same {
        Same::of(&self.trimmed, rows)
    }

    /// What equal normalised texts show.
    pub(super) fn normalised(&self, rows: &Rows) -> Same {
        Same::of(&self.normalised, rows)
    }

    /// The first row of each normalised text in each split, in order.
    pub(super) fn distinct(&self, rows: &Rows) -> Vec<u32> {
        let order = order(&self.normalised);
        let mut first: Vec<u32> = Vec::new();
        for run in order.chunk_by(|&a, &b| self.normalised[a as usize] == self.normalised[b as usize]) {
            let mut splits = run.chunk_by(|&a, &b| rows.split_of(a as usize) == rows.split_of(b as usize));
            first.extend(splits.by_ref().filter_map(|rows| rows.first()));
        }
        first.par_sort_unstable();
        first
    }

    /// The rows of each split whose normalised text is one of `theirs`, with the row there; split by split.
    pub(super) fn found_in(&self, rows: &Rows, theirs: &Self) -> Vec<Vec<(usize, usize)>> {
        let mut known: HashMap<u128, usize> = HashMap::with_capacity(theirs.normalised.len());
        for (row, &key) in theirs.normalised.iter().enumerate() {
            known.entry(key).or_insert(row);
        }
        let of = |row: usize| Some((row, *known.get(&self.normalised[row])?));
        rows.splits().iter().map(|split| split.rows.clone().filter_map(of).collect()).collect()
    }
}

/// Hashes of the trimmed and the normalised form, and whether there is a letter or a digit.
fn hashes((text, pair): (&str, Option<&str>), buffer: &mut String) -> (u128, u128, bool) {
    let any = normalise_row((text, pair), buffer);
    let normalised = XxHash3_128::oneshot(buffer.as_bytes());
    let trimmed = match pair {
        None => XxHash3_128::oneshot(text.trim().as_bytes()),
        Some(pair) => {
            buffer.clear();
            buffer.push_str(text.trim());
            buffer.push(SEPARATOR);
            buffer.push_str(pair.trim());
            XxHash3_128::oneshot(buffer.as_bytes())
        }
    };
    (trimmed, normalised, any)
}

/// Row numbers, equal keys next to each other, in order among those.
fn order(keys: &[u128]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.par_sort_unstable_by_key(|&row| (keys[row as usize], row));
    order
}

/// A count with the first examples: a row, and the earlier one that it repeats or contradicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) count: usize,
    /// How many of them have another label than the other row.
    pub(super) other_label: usize,
    pub(super) examples: Vec<(usize, usize)>,
}

impl Tally {
    /// Counts a row.
    pub(super) fn add(&mut self, row: usize, earlier: usize) {
        self.count += 1;
        let at = self.examples.partition_point(|&example| example < (row, earlier));
        if at < EXAMPLES {
            self.examples.insert(at, (row, earlier));
            self.examples.truncate(EXAMPLES);
        }
    }
}

/// What equal texts show.
#[derive(Debug, Default)]
pub(super) struct Same {
    /// By split: rows that repeat an earlier one of their split.
    pub(super) repeated: Vec<Tally>,
    /// By split: texts that have several labels there.
    pub(super) contradictory: Vec<Tally>,
    /// By split: different texts.
    pub(super) distinct: Vec<usize>,
    /// By an earlier and a later split: rows of the later one that are in the earlier one.
    pub(super) overlap: HashMap<(usize, usize), Tally>,
}

impl Same {
    fn of(keys: &[u128], rows: &Rows) -> Self {
        let splits = rows.splits().len();
        let mut same = Self {
            repeated: vec![Tally::default(); splits],
            contradictory: vec![Tally::default(); splits],
            distinct: vec![0; splits],
            overlap: HashMap::new(),
        };
        let order = order(keys);
        for run in order.chunk_by(|&a, &b| keys[a as usize] == keys[b as usize]) {
            let parts: Vec<(usize, &[u32])> = run
                .chunk_by(|&a, &b| rows.split_of(a as usize) == rows.split_of(b as usize))
                .filter_map(|part| Some((rows.split_of(*part.first()? as usize), part)))
                .collect();
            for (at, &(split, part)) in parts.iter().enumerate() {
                same.within(rows, split, part);
                parts[..at].iter().for_each(|&earlier| same.across(rows, earlier, (split, part)));
            }
        }
        same
    }

    /// Rows of one text in one split.
    fn within(&mut self, rows: &Rows, split: usize, part: &[u32]) {
        let Some((&first, rest)) = part.split_first() else { return };
        let first = first as usize;
        self.distinct[split] += 1;
        rest.iter().for_each(|&row| self.repeated[split].add(row as usize, first));
        let mut labelled = part.iter().map(|&row| row as usize).filter(|&row| rows.label(row) != UNLABELLED);
        if let Some(first) = labelled.next()
            && let Some(other) = labelled.find(|&row| rows.label(row) != rows.label(first))
        {
            self.contradictory[split].add(other, first);
        }
    }

    /// Rows of one text in two splits.
    fn across(&mut self, rows: &Rows, (earlier, known): (usize, &[u32]), (later, part): (usize, &[u32])) {
        let tally = self.overlap.entry((earlier, later)).or_default();
        for &row in part {
            let label = rows.label(row as usize);
            // a row without a label agrees with all
            let agrees =
                |&&other: &&u32| label == UNLABELLED || [label, UNLABELLED].contains(&rows.label(other as usize));
            let agreeing = known.iter().find(agrees);
            tally.other_label += usize::from(agreeing.is_none());
            if let Some(&other) = agreeing.or(known.first()) {
                tally.add(row as usize, other as usize);
            }
        }
    }
}
