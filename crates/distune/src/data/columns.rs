//! Which columns of a file hold the text and the label, and what is taken of it. Called by `read` and `splits`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Trees, quoted};
use crate::{Error, Result};

/// Header names that mean the text, best first.
pub(super) const TEXT_NAMES: [&str; 10] =
    ["sentence", "text", "review", "content", "comment", "body", "document", "message", "tweet", "title"];
/// Header names that mean the label, best first.
pub(super) const LABEL_NAMES: [&str; 6] = ["label", "labels", "class", "sentiment", "target", "category"];
/// Header names that mean the two texts of a pair, as in GLUE and beyond.
pub(super) const PAIR_NAMES: [[&str; 2]; 7] = [
    ["sentence1", "sentence2"],
    ["question1", "question2"],
    ["premise", "hypothesis"],
    ["question", "sentence"],
    ["text1", "text2"],
    ["text_a", "text_b"],
    ["text", "text_pair"],
];
/// Column names listed in a message, at most.
pub(super) const LISTED: usize = 20;

/// Whether a column of that name is guessed to be the label.
pub(super) fn means_label(name: &str) -> bool {
    LABEL_NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Which columns hold text and label, where `None` is guessed from the header, and which rows are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Columns {
    /// Name of the text column.
    #[serde(rename = "text_column", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Name of the label column.
    #[serde(rename = "label_column", skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Name of the column with the second text of a pair; guessed only together with the text column.
    #[serde(rename = "pair_column", skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Name of the column whose rows of one value a split keeps together; none unless it is named.
    #[serde(rename = "group_column", skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Names of further columns, which are read as they are ([`super::Table::others`]).
    #[serde(skip)]
    pub others: Vec<String>,
    /// Whether rows that cannot be used are left out and listed in [`super::Table::skipped`], instead of being an error.
    pub skip_bad: bool,
    /// Whether rows are known to have any number of labels, as by another split or by a model: then a row may have none even
    /// where no row has several.
    #[serde(skip)]
    pub several_labels: bool,
    /// What is taken of a treebank.
    pub trees: Trees,
}

/// Where the columns are in a header.
#[derive(Clone, Debug)]
pub(super) struct Indices {
    pub(super) text: usize,
    pub(super) pair: Option<usize>,
    pub(super) label: Option<usize>,
    pub(super) group: Option<usize>,
    pub(super) others: Vec<usize>,
}

impl Indices {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        let named = [Some(self.text), self.pair, self.label, self.group];
        named.into_iter().flatten().chain(self.others.iter().copied())
    }
}

/// Whether rows must have labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// A file without a label column is an error: training, evaluation.
    Required,
    /// A file without a label column is read without labels: conversion, a check. A label column that the user named must
    /// be there all the same.
    Optional,
    /// The same, and even a named label column may be missing: the test files of a directory.
    IfThere,
    /// No label is read, whatever the file has: prediction.
    Ignored,
}

impl Columns {
    /// Finds the columns in `header`; no two of them are the same one.
    pub(super) fn find(&self, path: &Path, header: &[String], labels: Labels) -> Result<Indices> {
        let pair_guess = self.guess_pair(path, header)?;
        let text = match pair_guess {
            Some([text, _]) => Some(text),
            None => find_or_guess(path, header, self.text.as_deref(), &TEXT_NAMES)?,
        };
        let Some(text) = text else {
            return Err(missing(path, header, "text", self.text.as_deref(), &TEXT_NAMES));
        };
        let label = match labels {
            Labels::Ignored => None,
            _ => find_or_guess(path, header, self.label.as_deref(), &LABEL_NAMES)?,
        };
        let needed = labels == Labels::Required || labels == Labels::Optional && self.label.is_some();
        if label.is_none() && needed {
            return Err(missing(path, header, "label", self.label.as_deref(), &LABEL_NAMES));
        }
        let named = |what: &str, name: &Option<String>| match name.as_deref() {
            None => Ok(None),
            Some(name) => match find(path, header, name)? {
                None => Err(missing(path, header, what, Some(name), &[])),
                found => Ok(found),
            },
        };
        let (pair, group) = (named("pair", &self.pair)?, named("group", &self.group)?);
        let pair = pair.or(pair_guess.map(|[_, second]| second));
        let found = [("text", Some(text)), ("pair", pair), ("label", label), ("group", group)];
        for (i, (one, index)) in found.iter().enumerate() {
            if let Some((other, _)) = found[i + 1..].iter().find(|(_, other)| other.is_some() && other == index) {
                let problem =
                    format!("column {:?} is asked for as both {one} and {other}", header[index.unwrap_or(text)]);
                let hint = format!("Give --{one}-column and --{other}-column different names");
                return Err(Error::file(path, problem, hint));
            }
        }
        let taken: Vec<usize> = [Some(text), pair, label, group].into_iter().flatten().collect();
        let others = self.find_others(path, header, &taken)?;
        Ok(Indices { text, pair, label, group, others })
    }

    /// The further columns, each once and none of those that are taken.
    fn find_others(&self, path: &Path, header: &[String], taken: &[usize]) -> Result<Vec<usize>> {
        let mut found: Vec<usize> = Vec::new();
        for name in &self.others {
            let Some(index) = find(path, header, name)? else {
                let problem = format!("no column {name:?}; columns found: {}", quoted(header, LISTED));
                return Err(Error::file(path, problem, "Name one of them"));
            };
            if taken.contains(&index) || found.contains(&index) {
                let problem = format!("column {name:?} is asked for twice, or is one of text and label");
                return Err(Error::file(path, problem, "Name another column, each once"));
            }
            found.push(index);
        }
        Ok(found)
    }

    /// The columns of both texts of a pair, where neither is named and the header has two such names.
    fn guess_pair(&self, path: &Path, header: &[String]) -> Result<Option<[usize; 2]>> {
        if self.text.is_some() || self.pair.is_some() {
            return Ok(None);
        }
        for [first, second] in PAIR_NAMES {
            if let (Some(first), Some(second)) = (find(path, header, first)?, find(path, header, second)?) {
                return Ok(Some([first, second]));
            }
        }
        Ok(None)
    }

    /// Whether a text column is named, or can be guessed from `header`.
    pub(super) fn can_guess_text(&self, header: &[String]) -> bool {
        let pairs = PAIR_NAMES.as_flattened();
        let known = |name: &String| TEXT_NAMES.iter().chain(pairs).any(|known| *known == name.to_lowercase());
        self.text.is_some() || header.iter().any(known)
    }
}

/// The column with the given name, or else with the best of the names to guess.
pub(super) fn find_or_guess(
    path: &Path,
    header: &[String],
    name: Option<&str>,
    guesses: &[&str],
) -> Result<Option<usize>> {
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
    Error::file(
        path,
        problem,
        format!(
            "The first line (JSON: the first object) must name the columns. Say which one with --{what}-column NAME"
        ),
    )
}
