//! What a check found, for text and for JSON.

use std::path::PathBuf;

use serde::Serialize;

use super::LengthReport;

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many findings are problems.
    pub problems: usize,
    /// How many findings are notes.
    pub notes: usize,
    /// Where texts would be cut, in tokens.
    pub max_length: usize,
    /// The splits, or the one file.
    pub splits: Vec<SplitReport>,
    /// Problems first. What was looked for and not found is not in here.
    pub findings: Vec<Finding>,
}

/// Rows, classes and lengths of a split.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    /// `train`, `validation`, `test` or `data`.
    pub split: String,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Rows that can be used.
    pub rows: usize,
    /// Rows that are empty or cannot be read.
    pub unreadable: usize,
    /// Different texts after trimming.
    pub distinct: usize,
    /// Rows of each class: in the order of numbers, if they all are, or else of the alphabet. Empty without labels.
    pub classes: Vec<Class>,
    /// Rows without a label, where rows have any number of them.
    pub unlabelled: usize,
    /// Lengths in tokens.
    pub lengths: Option<LengthReport>,
}

/// Rows of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    /// Its name.
    pub label: String,
    /// Rows that have it.
    pub rows: usize,
    /// Of the rows of the split.
    pub share: f64,
}

/// Something about the data that its owner should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// How bad it is.
    pub level: Level,
    /// The split that it is about.
    pub split: String,
    /// The earlier split, or the bundled data, that it overlaps with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// Rows or texts that it is about; by the wider definition, where there are two.
    pub count: usize,
    /// How many of them are the same text after trimming, where the others are the same by letters and digits alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<usize>,
    /// Out of how many.
    pub of: usize,
    /// `count / of`.
    pub share: f64,
    /// How many of them have another label than the row that they overlap with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_label: Option<usize>,
    /// All of this as a sentence, without its full stop.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Some of the rows.
    pub examples: Vec<Example>,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rows that are empty or cannot be read. A problem.
    UnreadableRows,
    /// A labelled split of one class. A problem.
    OneClass,
    /// Labels that the train split has not got. A problem.
    UnknownLabels,
    /// Texts with several labels. A problem.
    ContradictoryLabels,
    /// Rows that are in an earlier split too. A problem.
    Overlap,
    /// Rows that repeat an earlier row of their split. A problem if they do after trimming, a note if by letters and digits alone.
    RepeatedTexts,
    /// Texts that are like a text of an earlier split. A note.
    NearOverlap,
    /// Texts that are like an earlier text of their split. A note.
    NearDuplicates,
    /// Rows that are among the bundled data. A note.
    BundledOverlap,
    /// Texts without a letter or a digit. A note.
    NoLetters,
    /// A class with less than a tenth of the rows of the largest. A note.
    Imbalance,
    /// Rows longer than the chosen length. A note.
    TruncatedRows,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Rows that are wrong, or that make figures wrong.
    Problem,
    /// What is worth knowing and may be as it should be.
    Note,
}

/// A row that shows what was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Example {
    /// What is wrong with a row that cannot be read, with its file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<Place>,
    /// The earlier row that it repeats, contradicts or is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Place>,
    /// Jaccard similarity of their shingles, for near duplicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f64>,
    /// Its tokens, for rows that are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

/// A row and where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// Its file.
    pub file: PathBuf,
    /// Its line, or in Parquet its number.
    pub line: u64,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Its text, with the second one behind ` | `; a long one is cut.
    pub text: String,
}
