//! The audit of labelled texts: repeated and contradictory rows, overlap between splits, near duplicates, lengths in tokens.
//! Called by `distune data check`; training runs the cheap part ([`quick_check`]).
//!
//! Two definitions of "the same text" are used side by side:
//! - *trimmed*: the same characters but for white space at both ends;
//! - *normalised*: the same letters and digits in the same order, in lower case; whatever lies between them is ignored. A text
//!   without a letter or a digit stands for itself, trimmed.
//!
//! Both compare 128-bit hashes of whole texts: for a million rows the probability of a single mistake is below 1e-26. Near
//! duplicates (`near`) are normalised texts that share most of their shingles. A row with a second text is the same as another one
//! when both are.
//!
//! What is found is a problem (rows that are wrong, or that make figures wrong) or a note ([`Level`]); each [`Kind`] says which.
//!
//! - `rows`: the rows of all splits, numbered through; `read`: how they are read
//! - `same`: equal texts; `near`: near duplicates; `lengths`: tokens
//! - `report`: what is found, for text and JSON; `findings` and `words`: how it is said

mod findings;
mod lengths;
mod near;
mod read;
mod report;
mod rows;
mod same;
#[cfg(test)]
mod tests;
mod words;

pub use lengths::{Bin, LengthReport, counting_tokenizer};
pub use near::{BAND_WIDTH, BANDS, SHINGLE, SHORTEST, THRESHOLD};
pub use read::read_parts;
pub use report::{Class, Example, Finding, Kind, Level, Place, Report, SplitReport};

use crate::data::{Splits, Table};
use crate::tokenize::Tokenizer;
use crate::{Error, Result};
use findings::Findings;
use rows::Rows;
pub(crate) use words::thousands;

/// Rows that are tokenized or hashed between two looks at [`Watcher::stop_requested`].
const CHUNK: usize = 1 << 14;

/// A split, in one file or several.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// `train`, `validation`, `test`, or `data` for rows that are not split.
    pub split: String,
    /// Its files.
    pub tables: Vec<Table>,
}

/// What a check does beyond comparing the rows with each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Counts the tokens of each row ([`counting_tokenizer`]); no lengths without one.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Where texts would be cut, in tokens.
    pub max_length: usize,
    /// Texts that the program has inside, which a model may have been trained on.
    pub bundled: Option<&'a [Part]>,
}

/// Follows a check and may end it.
pub trait Watcher {
    /// `done` of `total` rows have been seen in this part of the work.
    fn progress(&mut self, _work: &'static str, _done: usize, _total: usize) {}
    /// Asked every few thousand rows.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Watcher for () {}

/// Checks the rows of all splits, which are given in the order train, validation, test.
///
/// # Errors
/// [`Error::Interrupted`], and a text that the tokenizer refuses.
pub fn check(parts: &[Part], options: &Options, watcher: &mut dyn Watcher) -> Result<Report> {
    let rows = Rows::new(parts.iter().map(|part| (part.split.as_str(), part.tables.iter().collect())));
    let keys = same::Keys::of(&rows, watcher)?;
    let documents = keys.distinct(&rows);
    let near = near::search(&rows, &documents, watcher)?;
    drop(documents);
    let lengths = match options.tokenizer {
        Some(tokenizer) => lengths::measure(&rows, tokenizer, options.max_length, watcher)?,
        None => Vec::new(),
    };
    let mut findings = Findings::new(&rows);
    findings.unreadable();
    findings.classes();
    findings.same(&keys.trimmed(&rows), &keys.normalised(&rows));
    findings.blank(&keys);
    findings.near(&near);
    if let Some(bundled) = options.bundled {
        let bundled = Rows::new(bundled.iter().map(|part| (part.split.as_str(), part.tables.iter().collect())));
        let theirs = same::Keys::of(&bundled, &mut ())?;
        findings.bundled(&keys, &bundled, &theirs);
    }
    findings.truncated(&lengths, options.max_length);
    Ok(findings.report(lengths, options.max_length))
}

/// The cheap part of [`check`], for the start of a training, of the splits as they were read: one sentence for each problem among repeated texts, contradictory
/// labels and texts in two splits.
pub fn quick_check(splits: &Splits) -> Vec<String> {
    let named = [("train", &splits.train), ("validation", &splits.validation), ("test", &splits.test)];
    let rows = Rows::new(named.into_iter().filter_map(|(name, table)| Some((name, vec![table.as_ref()?]))));
    // nothing asks to stop, so nothing fails
    let Ok(keys) = same::Keys::of(&rows, &mut ()) else { return Vec::new() };
    let mut findings = Findings::new(&rows);
    findings.same(&keys.trimmed(&rows), &keys.normalised(&rows));
    let problems = findings.into_problems();
    let last = problems.len().saturating_sub(1);
    let pointer = |at: usize| if at == last { " \"distune data check\" lists them." } else { "" };
    problems.iter().enumerate().map(|(at, text)| format!("Data: {text}.{}", pointer(at))).collect()
}

/// The error of a check that the user stopped.
fn interrupted(work: &str) -> Error {
    Error::Interrupted { when: format!("while {work}"), kept: "a check writes nothing".into() }
}
