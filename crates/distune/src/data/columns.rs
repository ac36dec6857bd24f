//! Which columns of a file hold the text and the label. Called by `read` and `splits`.

use std::path::Path;

use super::quoted;
use crate::{Error, Result};

/// Header names that mean the text, best first.
const TEXT_NAMES: [&str; 10] =
    ["sentence", "text", "review", "content", "comment", "body", "document", "message", "tweet", "title"];
/// Header names that mean the label, best first.
const LABEL_NAMES: [&str; 6] = ["label", "labels", "class", "sentiment", "target", "category"];
/// Column names listed in a message, at most.
const LISTED: usize = 20;

/// Which columns hold text and label; `None` is guessed from the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Name of the text column.
    pub text: Option<String>,
    /// Name of the label column.
    pub label: Option<String>,
    /// Name of the column with the second text of a pair; none unless it is named.
    pub pair: Option<String>,
    /// Name of the column whose rows of one value a split keeps together; none unless it is named.
    pub group: Option<String>,
}

/// Whether rows must have labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// A file without a label column is an error: training, evaluation.
    Required,
    /// A file without a label column is read without labels: prediction. A label column that the user named must
    /// be there all the same.
    Optional,
}

impl Columns {
    /// Index of the text column in `header`.
    pub(super) fn text_index(&self, path: &Path, header: &[String]) -> Result<usize> {
        match find_or_guess(path, header, self.text.as_deref(), &TEXT_NAMES)? {
            Some(index) => Ok(index),
            None => Err(missing(path, header, "text", self.text.as_deref(), &TEXT_NAMES)),
        }
    }

    /// Index of the label column in `header`.
    pub(super) fn label_index(&self, path: &Path, header: &[String], labels: Labels) -> Result<Option<usize>> {
        let found = find_or_guess(path, header, self.label.as_deref(), &LABEL_NAMES)?;
        if found.is_none() && (labels == Labels::Required || self.label.is_some()) {
            return Err(missing(path, header, "label", self.label.as_deref(), &LABEL_NAMES));
        }
        Ok(found)
    }

    /// Whether a label column can be found in `header`; duplicates count as found, for `label_index` to refuse.
    pub(super) fn has_label(&self, path: &Path, header: &[String]) -> bool {
        !matches!(find_or_guess(path, header, self.label.as_deref(), &LABEL_NAMES), Ok(None))
    }
}

/// The column with the given name, or else with the best of the names to guess.
fn find_or_guess(path: &Path, header: &[String], name: Option<&str>, guesses: &[&str]) -> Result<Option<usize>> {
    if let Some(name) = name {
        return find(path, header, name);
    }
    for guess in guesses {
        if let Some(index) = find(path, header, guess)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The one column called `name`: exactly so, or else in another case.
fn find(path: &Path, header: &[String], name: &str) -> Result<Option<usize>> {
    let matching = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        header.iter().enumerate().filter(|(_, column)| same(column)).map(|(index, _)| index).collect()
    };
    let mut indices = matching(&|column| column == name);
    if indices.is_empty() {
        indices = matching(&|column| column.to_lowercase() == name.trim().to_lowercase());
    }
    if indices.len() > 1 {
        let problem = format!("{} columns are called {name:?}, expected one", indices.len());
        return Err(Error::file(path, problem, "Rename or remove all but one of them in the header"));
    }
    Ok(indices.first().copied())
}

/// The error for a text or label column that is not there.
fn missing(path: &Path, header: &[String], what: &str, name: Option<&str>, guesses: &[&str]) -> Error {
    let problem = match name {
        Some(name) => format!("no column {name:?}; columns found: {}", quoted(header, LISTED)),
        None => format!(
            "no {what} column found in the header (looked for {}); columns found: {}",
            guesses.join(", "),
            quoted(header, LISTED)
        ),
    };
    Error::file(path, problem, format!("The first line must name the columns. Say which one with --{what}-column NAME"))
}
