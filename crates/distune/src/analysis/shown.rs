//! Rows as they are shown to a reader.

use serde::Serialize;

use crate::data::{Dataset, Table};
use crate::{Error, Result};

/// The texts of N rows, and where they are in their file.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// `[N]` texts.
    pub texts: &'a [String],
    /// `[N]` second texts of pairs; empty where a row is a single text.
    pub pairs: &'a [String],
    /// `[N]` line of each row in its file, counted from 1.
    pub lines: &'a [u64],
}

/// A row to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowText {
    /// Its number among the rows, counted from 0.
    pub row: usize,
    /// Its line in the file, counted from 1.
    pub line: u64,
    /// The text.
    pub text: String,
    /// The second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
}

impl Texts<'_> {
    /// Checks that there are texts for so many rows.
    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let pairs = if self.pairs.is_empty() { rows } else { self.pairs.len() };
        match [self.texts.len(), pairs, self.lines.len()].into_iter().find(|&count| count != rows) {
            Some(count) => Err(Error::value("error analysis", "number of texts", format!("{rows}, one a row"), count)),
            None => Ok(()),
        }
    }

    pub(super) fn row(&self, row: usize) -> RowText {
        RowText { row, line: self.lines[row], text: self.texts[row].clone(), pair: self.pairs.get(row).cloned() }
    }
}

impl<'a> From<&'a Table> for Texts<'a> {
    fn from(table: &'a Table) -> Self {
        Self { texts: &table.texts, pairs: &table.pairs, lines: &table.lines }
    }
}

impl<'a> From<&'a Dataset> for Texts<'a> {
    fn from(dataset: &'a Dataset) -> Self {
        Self { texts: &dataset.texts, pairs: &dataset.pairs, lines: &dataset.lines }
    }
}
