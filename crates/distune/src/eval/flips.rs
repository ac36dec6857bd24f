//! The rows that two models judge differently. Called by `compare` and by the command line.

use std::path::Path;

use serde::Serialize;

use crate::data::Answers;
use crate::{Error, Result};

/// A row that two models judge differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// Only the second one is right.
    Gained,
    /// Only the first one is right.
    Lost,
    /// Both are wrong, each in its way.
    BothWrong,
}

/// The rows that two models judge differently, and how.
pub fn flips<'a>(truth: &'a Answers, a: &'a Answers, b: &'a Answers) -> impl Iterator<Item = (usize, Flip)> + 'a {
    let changed = (0..truth.len()).filter(|&row| a.row(row) != b.row(row));
    changed.map(|row| match truth.row(row) {
        right if right == b.row(row) => (row, Flip::Gained),
        right if right == a.row(row) => (row, Flip::Lost),
        _ => (row, Flip::BothWrong),
    })
}

/// A row that two models judge differently, to be read.
#[derive(Clone, Debug, Serialize)]
pub struct FlippedRow<'a> {
    /// Its line in the file, counted from 1.
    pub line: u64,
    /// The text.
    pub text: &'a str,
    /// The second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<&'a str>,
    /// The true labels.
    pub truth: Vec<&'a str>,
    /// The first model.
    pub a: &'a str,
    /// What the first model predicts.
    pub a_predicts: Vec<&'a str>,
    /// The second model.
    pub b: &'a str,
    /// What the second model predicts.
    pub b_predicts: Vec<&'a str>,
    /// Which one is right.
    pub flip: Flip,
}

/// Writes rows as JSON lines.
///
/// # Errors
/// A file that cannot be written.
pub fn write_flips<'a>(path: &Path, rows: impl Iterator<Item = FlippedRow<'a>>) -> Result<()> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, &row).map_err(|error| Error::file(path, error, ""))?;
        lines.push(b'\n');
    }
    crate::model::write(path, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_flip() {
        let truth = Answers::One(vec![0, 0, 1, 1, 2, 2]);
        let (a, b) = (Answers::One(vec![0, 1, 1, 0, 2, 0]), Answers::One(vec![0, 0, 0, 2, 2, 2]));
        let found: Vec<_> = flips(&truth, &a, &b).collect();
        assert_eq!(found, [(1, Flip::Gained), (2, Flip::Lost), (3, Flip::BothWrong), (5, Flip::Gained)]);
    }
}
