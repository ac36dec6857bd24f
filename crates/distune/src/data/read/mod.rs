//! Reads labelled texts from any of the formats into a [`Table`]. Called by `splits` and, for single files, by the command line.
//!
//! [`source`] opens a file, unpacks it and tells its format; one module for each format hands its rows on, a row at a time;
//! [`builder`] checks them and makes the table. Everything streams, but for Parquet (by row group) and JSON arrays.

mod builder;
mod chunks;
mod contained;
mod delimited;
mod json;
mod parquet;
mod predictions;
mod source;
mod trees;

use std::path::{Path, PathBuf};

pub use self::chunks::{Chunk, Chunking, Input, read_chunks};
pub(crate) use self::chunks::{Header, Record};
pub use self::predictions::PredictionFile;
pub use self::trees::Trees;
use super::{Columns, Labels};
use crate::{Error, Result};
use chunks::Chunks;
use source::Source;
pub(super) use source::{Format, Packing, name_parts, not_written};

/// Rows of one file or split as read: labels still as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The file that the rows come from.
    pub path: PathBuf,
    /// Name of the text column, as in the header.
    pub text_column: String,
    /// Name of the column with the second text of a pair.
    pub pair_column: Option<String>,
    /// Name of the label column, as in the header.
    pub label_column: Option<String>,
    /// Name of the column whose rows of one value a split keeps together.
    pub group_column: Option<String>,
    /// `[N]` texts, exactly as written, never blank.
    pub texts: Vec<String>,
    /// `[N]` second texts; empty when there is no such column.
    pub pairs: Vec<String>,
    /// `[N]` labels as written, without the white space around them; empty when there is no label column. With `multi_label`,
    /// the names of a row's labels with `|` between them, and nothing for none.
    pub labels: Vec<String>,
    /// Whether a row may have any number of labels.
    pub multi_label: bool,
    /// Class names in the order of their ids, where the file says so; else empty.
    pub classes: Vec<String>,
    /// `[N]` groups as written; empty when there is no such column.
    pub groups: Vec<String>,
    /// Further columns ([`Columns::others`]): the name of each, and `[N]` its values, as written or as a number is written; nothing
    /// where a row has none.
    pub others: Vec<(String, Vec<String>)>,
    /// `[N]` line in the file on which each row begins, counted from 1; a header is line 1. In Parquet, the number of the row.
    pub lines: Vec<u64>,
    /// The messages of the rows that were left out ([`Columns::skip_bad`]).
    pub skipped: Vec<String>,
    /// What was assumed about the file and should be said.
    pub notes: Vec<String>,
}

impl Table {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The names of the labels of a row: one, or any number with `multi_label`.
    pub fn names_of(&self, row: usize) -> impl Iterator<Item = &str> {
        let label = self.labels.get(row).map_or("", String::as_str);
        // a single label may have a | in it
        let several = if self.multi_label { label } else { "" };
        let single = (!self.multi_label).then_some(label);
        several.split('|').filter(|name| !name.is_empty()).chain(single)
    }

    /// The names of the labels of all rows, one after another.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        (0..self.labels.len()).flat_map(|row| self.names_of(row))
    }

    /// A table without rows, with the same columns and classes.
    pub fn without_rows(&self) -> Self {
        Self {
            path: self.path.clone(),
            text_column: self.text_column.clone(),
            pair_column: self.pair_column.clone(),
            label_column: self.label_column.clone(),
            group_column: self.group_column.clone(),
            multi_label: self.multi_label,
            classes: self.classes.clone(),
            others: self.others.iter().map(|(name, _)| (name.clone(), Vec::new())).collect(),
            ..Self::default()
        }
    }

    /// Appends copies of some rows of `from`, which has the same columns.
    pub fn extend_from(&mut self, from: &Self, rows: &[usize]) {
        fn pick<T: Clone>(to: &mut Vec<T>, from: &[T], rows: &[usize]) {
            to.extend(rows.iter().filter_map(|&row| from.get(row).cloned()));
        }
        pick(&mut self.texts, &from.texts, rows);
        pick(&mut self.pairs, &from.pairs, rows);
        pick(&mut self.labels, &from.labels, rows);
        pick(&mut self.groups, &from.groups, rows);
        pick(&mut self.lines, &from.lines, rows);
        self.others.iter_mut().zip(&from.others).for_each(|((_, to), (_, from))| pick(to, from, rows));
    }
}

/// Reads a file in any of the formats, or standard input for `-`.
///
/// ```
/// use distune::prelude::*;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("reviews.csv");
/// # std::fs::write(&path, "body,stars\na good film,5\na dull film,1\n").unwrap();
/// let columns = Columns { text: Some("body".into()), label: Some("stars".into()), ..Columns::default() };
/// let table = read_file(&path, &columns, Labels::Required)?;
/// assert_eq!(table.texts, ["a good film", "a dull film"]);
/// assert_eq!(LabelMap::from_tables(&[&table])?.names(), ["1", "5"]);
/// # Ok::<(), distune::Error>(())
/// ```
///
/// # Errors
/// A file that cannot be read, and all that [`read_bytes`] refuses.
pub fn read_file(path: &Path, columns: &Columns, labels: Labels) -> Result<Table> {
    read(Source::open(path)?, columns, labels, None, &mut 0)
}

/// Reads the bytes of a file, such as one compiled into the program. Its name tells the format, or else what is in it.
///
/// # Errors
/// An unknown format, no header or no rows, a column that is missing or there twice, a row with more or fewer fields than the
/// header, a quote that is never closed, broken UTF-8, a blank text or label, a number with a fraction for a label, a file that ends
/// too early.
pub fn read_bytes(name: &Path, bytes: &[u8], columns: &Columns, labels: Labels) -> Result<Table> {
    read(Source::new(name, bytes)?, columns, labels, None, &mut 0)
}

/// Reads several files as one: their rows one after the other.
///
/// # Errors
/// As [`read_file`]; files with and without labels, pairs or groups, or with one and several labels a row.
pub fn read_files(paths: &[PathBuf], columns: &Columns, labels: Labels) -> Result<Table> {
    let Some((first, rest)) = paths.split_first() else {
        return Err(Error::file(Path::new("--data"), "names no file", ""));
    };
    let mut columns = columns.clone();
    let mut all = read_file(first, &columns, labels)?;
    for path in rest {
        columns.several_labels |= all.multi_label;
        let table = read_file(path, &columns, labels)?;
        let what = |t: &Table| {
            [("labels", !t.labels.is_empty()), ("pairs", !t.pairs.is_empty()), ("groups", !t.groups.is_empty())]
        };
        if let Some(((what, _), _)) = what(&all).into_iter().zip(what(&table)).find(|(a, b)| a != b) {
            let problem = format!(
                "{} and {} cannot be read as one: only one of them has {what}",
                first.display(),
                path.display()
            );
            return Err(Error::file(path, problem, "Name the columns, or convert the files first"));
        }
        all.multi_label |= table.multi_label;
        all.texts.extend(table.texts);
        all.pairs.extend(table.pairs);
        all.labels.extend(table.labels);
        all.groups.extend(table.groups);
        all.lines.extend(table.lines);
        all.others.iter_mut().zip(table.others).for_each(|((_, all), (_, values))| all.extend(values));
        all.skipped.extend(table.skipped);
        all.notes.extend(table.notes);
        if all.classes != table.classes {
            all.classes.clear();
        }
    }
    if !rest.is_empty() {
        all.path = PathBuf::from(format!("{} (with {} more)", first.display(), rest.len()));
    }
    Ok(all)
}

/// Reads an open file; in chunks, where they are wanted, and then the table has no rows. `rows` counts those of all files.
fn read<'a>(
    source: Source<'a>,
    columns: &'a Columns,
    labels: Labels,
    chunks: Option<Chunks<'a>>,
    rows: &mut usize,
) -> Result<Table> {
    let wanted = Wanted { columns, labels, chunks };
    let (table, seen) = match source.format {
        Format::Tsv => delimited::read(source, b'\t', wanted),
        Format::Csv => {
            let delimiter = delimited::sniff(&source.head);
            delimited::read(source, delimiter, wanted)
        }
        Format::Json => json::read(source, wanted),
        Format::Parquet => parquet::read(source, wanted),
        Format::Trees => trees::read(source, wanted),
    }?;
    *rows = seen;
    Ok(table)
}

/// What is taken of a file.
struct Wanted<'a> {
    columns: &'a Columns,
    labels: Labels,
    /// Where rows go that are not to make a table.
    chunks: Option<Chunks<'a>>,
}
