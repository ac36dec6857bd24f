//! Finds or makes the train, validation and test rows. Called by `run` and the command line.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::audit::thousands;
use super::files::SplitFiles;
use super::{Columns, Labels, Shares, Table, partition, quoted, read_files};
use crate::{Error, Result};

/// File names, without extension, of the three splits.
pub(super) const TRAIN: &[&str] = &["train"];
pub(super) const VALIDATION: &[&str] = &["validation", "dev", "val", "valid"];
pub(super) const TEST: &[&str] = &["test"];
/// Rows that were left out which are listed, at most.
const LISTED: usize = 20;

/// How many rows are held out of train to select by, at most: their accuracy has a standard error of one point or less.
const HELD_OUT: usize = 2_000;

/// The rows to train on and those to judge by.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// Rows to train on; all rows, where there are no splits.
    pub train: Option<Table>,
    /// Rows to choose by.
    pub validation: Option<Table>,
    /// Rows to judge by at the very end.
    pub test: Option<Table>,
    /// Whether `test` is what the files call validation or dev.
    pub test_is_dev: bool,
    /// What the user should be told: columns guessed, a file skipped, a split made.
    pub notes: Vec<String>,
    /// What a check of the rows has found, where there has been one.
    pub problems: Vec<String>,
}

/// The rows by which the best epoch is selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectOn {
    /// Validation rows where there are test rows too, else [`Self::HeldOut`].
    #[default]
    Auto,
    /// A part held out of train.
    HeldOut,
    /// Validation rows. Where there are no test rows, they are the only ones to judge by, and the figure is optimistic.
    Dev,
}

/// Reads a directory with train, validation (or dev, val, valid) and test files, whole or in parts as on the hub, or one
/// file, all of whose rows are then train. Each may have any of the formats of [`super::read_file`]; `-` is standard input.
/// In a directory, a test file without labels, as GLUE's, is skipped. [`Splits::complete`] makes what is missing.
///
/// # Errors
/// A directory without a train file or with two files for one split, and all that [`super::read_file`] refuses.
pub fn read_splits(path: &Path, columns: &Columns) -> Result<Splits> {
    if path.is_dir() {
        return read_directory(path, columns);
    }
    read_as_one(&[path.to_owned()], columns)
}

/// Reads files as one, all of whose rows are train.
///
/// # Errors
/// As [`read_files`].
pub fn read_as_one(paths: &[PathBuf], columns: &Columns) -> Result<Splits> {
    let table = read_files(paths, columns, Labels::Required)?;
    let mut notes = Vec::new();
    note_table(&mut notes, columns, &table, None);
    Ok(Splits { train: Some(table), notes, ..Splits::default() })
}

/// Reads one split of a directory and none of the others: the one called so, or without a name test, or else validation. Also
/// returns what was assumed.
///
/// # Errors
/// A directory without such a file, or without labels where they are required, and all that [`read_files`] refuses.
pub fn read_split(
    directory: &Path,
    split: Option<&str>,
    columns: &Columns,
    labels: Labels,
) -> Result<(Table, Vec<String>)> {
    let wanted = names_of(split);
    let (mut notes, mut columns) = (Vec::new(), columns.clone());
    columns.trees.phrases &= wanted == [TRAIN];
    for names in wanted {
        let files = files_of(directory, names)?;
        if files.is_empty() {
            continue;
        }
        let lenient = if labels == Labels::Required { Labels::IfThere } else { labels };
        let table = read_files(&files, &columns, lenient)?;
        match unlabelled(&table).filter(|_| labels == Labels::Required) {
            Some(why) => notes.push(format!("{}: skipped, {why}", table.path.display())),
            None => {
                note_table(&mut notes, &columns, &table, None);
                return Ok((table, notes));
            }
        }
    }
    let problem = match (split, notes.pop()) {
        (_, Some(skipped)) => format!("no rows to judge by; {skipped}"),
        (split, None) => return Err(no_split(directory, split)),
    };
    Err(Error::file(directory, problem, ""))
}

/// The files of one split of a directory: of the one called so, or without a name of test, or else validation.
///
/// # Errors
/// A directory without such a file.
pub fn split_files(directory: &Path, split: Option<&str>) -> Result<Vec<PathBuf>> {
    for names in names_of(split) {
        let files = files_of(directory, names)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Err(no_split(directory, split))
}

/// What the files of a split may be called, or of those that are taken where none is named, the best first.
fn names_of(split: Option<&str>) -> Vec<&'static [&'static str]> {
    match split {
        None => vec![TEST, VALIDATION],
        Some("train") => vec![TRAIN],
        Some("test") => vec![TEST],
        Some(_) => vec![VALIDATION],
    }
}

fn files_of(directory: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let files = SplitFiles::list(directory, TRAIN)?.find(names)?;
    if files.is_empty() { SplitFiles::list(directory, names)?.find(names) } else { Ok(files) }
}

fn no_split(directory: &Path, split: Option<&str>) -> Error {
    let problem = format!("has no {} split", split.unwrap_or("test or validation"));
    Error::file(directory, problem, "Name another one with --split, or a file")
}

/// Reads the train split of a directory and none of the others; nothing where it has none.
///
/// # Errors
/// As [`read_split`].
pub fn read_train(directory: &Path, columns: &Columns) -> Result<Option<Table>> {
    match SplitFiles::list(directory, TRAIN)?.find(TRAIN)?.is_empty() {
        true => Ok(None),
        false => read_split(directory, Some("train"), columns, Labels::Required).map(|(table, _)| Some(table)),
    }
}

impl Splits {
    /// Makes the splits that are missing, at random by `seed` as [`partition`] does, and says so in the notes.
    ///
    /// Train alone is divided into train, validation and test. With test rows but no validation rows, these are held out of
    /// train: a tenth, at most 2,000 rows. With validation rows but no test rows, the same is done, and what was validation is
    /// judged once at the end; unless `select_on` says that the best epoch is to be selected on it.
    #[must_use]
    pub fn complete(mut self, select_on: SelectOn, seed: u64) -> Self {
        let Some(table) = self.train.take() else { return self };
        let (path, total) = (table.path.display().to_string(), table.len());
        if self.validation.is_none() && self.test.is_none() {
            [self.train, self.validation, self.test] = partition(&table, Shares::default(), seed);
            let [train, validation, test] = [&self.train, &self.validation, &self.test].map(rows);
            let total = thousands(total);
            self.notes.push(format!(
                "{path}: its {total} rows were split at random within each class (seed {seed}): {train} train, \
                 {validation} validation, {test} test"
            ));
            return self;
        }
        let hold_out = match select_on {
            SelectOn::Auto => self.validation.is_none() || self.test.is_none(),
            SelectOn::HeldOut => true,
            SelectOn::Dev => self.validation.is_none(),
        };
        if !hold_out {
            if let (Some(dev), None) = (&self.validation, &self.test) {
                let dev = dev.path.display();
                self.notes.push(format!("{dev}: selects the best epoch and judges it too: its figure is optimistic"));
            }
            self.train = Some(table);
            return self;
        }
        let shares = Shares { validation: (HELD_OUT as f64 / total as f64).min(0.1), test: 0.0 };
        let [train, held_out, _] = partition(&table, shares, seed);
        self.notes.push(format!(
            "{path}: {} of its {} rows are held out to select the best epoch by",
            rows(&held_out),
            thousands(total)
        ));
        (self.train, self.test_is_dev) = (train, self.test.is_none());
        let dev = std::mem::replace(&mut self.validation, held_out);
        match (&self.test, dev) {
            (None, Some(dev)) => {
                let path = dev.path.display();
                self.notes.push(format!("{path}: judged once, at the end (--select-on dev selects on it instead)"));
                self.test = Some(dev);
            }
            (Some(_), Some(dev)) => self.notes.push(format!("{}: not used", dev.path.display())),
            (_, None) => {}
        }
        self
    }
}

fn rows(table: &Option<Table>) -> String {
    thousands(table.as_ref().map_or(0, Table::len))
}

/// Reads the files of a directory.
fn read_directory(directory: &Path, columns: &Columns) -> Result<Splits> {
    let files = SplitFiles::list(directory, TRAIN)?;
    let train = files.find(TRAIN)?;
    if train.is_empty() {
        return Err(no_train(directory));
    }
    let mut notes = Vec::new();
    let mut train = read_files(&train, columns, Labels::Required)?;
    note_table(&mut notes, columns, &train, None);
    // phrases are for training; what is judged are sentences
    let mut judged = columns.clone();
    judged.trees.phrases = false;
    judged.several_labels |= train.multi_label;
    let mut validation = match &files.find(VALIDATION)?[..] {
        [] => None,
        paths => Some(read_files(paths, &judged, Labels::Required)?),
    };
    let mut test = match &files.find(TEST)?[..] {
        [] => None,
        paths => Some(read_files(paths, &judged, Labels::IfThere)?),
    };
    for table in validation.iter().chain(&test) {
        note_table(&mut notes, columns, table, Some(&train));
    }
    if let Some(why) = test.as_ref().and_then(unlabelled) {
        notes.extend(test.take().map(|test| format!("{}: skipped, {why}", test.path.display())));
    }
    // where a row of one split has several labels, each row of all is a list of them
    let mut tables: Vec<&mut Table> =
        [Some(&mut train), validation.as_mut(), test.as_mut()].into_iter().flatten().collect();
    let several = tables.iter().any(|table| table.multi_label);
    tables.iter_mut().for_each(|table| table.multi_label = several);
    Ok(Splits { train: Some(train), validation, test, notes, ..Splits::default() })
}

/// Why the rows of a test file have no labels: GLUE's have no such column, the hub's copies of them have -1 in each row.
fn unlabelled(test: &Table) -> Option<&'static str> {
    match test.labels.iter().all(|label| label == "-1") {
        true if test.labels.is_empty() => Some("it has no label column"),
        true => Some("all its labels are -1, which means unknown"),
        false => None,
    }
}

/// The error for a directory without a train file: what was looked for, what is there.
fn no_train(directory: &Path) -> Error {
    let mut names: Vec<String> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        Err(error) => return Error::io(directory, "list", &error),
    };
    names.sort();
    let there = if names.is_empty() { "the directory is empty".to_owned() } else { quoted(&names, 10) };
    let hint = "Looked for train.tsv, .csv, .jsonl, .json, .parquet or .txt (also .gz and .zst, also in data/), and beside it \
                validation (or dev, val, valid) and test. A single file may be given instead, it is then split";
    Error::file(directory, format!("no train file; found: {there}"), hint)
}

/// Says what was assumed about a file: its own notes, and the columns if one was guessed and `known` has others.
pub fn note_table(notes: &mut Vec<String>, columns: &Columns, table: &Table, known: Option<&Table>) {
    let (path, text) = (table.path.display(), &table.text_column);
    let guessed = columns.text.is_none() || columns.label.is_none();
    let same = known.is_some_and(|known| (&known.text_column, &known.label_column) == (text, &table.label_column));
    let unlabelled = known.is_some() && table.labels.is_empty();
    if guessed && !same && !unlabelled {
        let label = match &table.label_column {
            Some(label) => format!("label column {label:?}"),
            None => "no labels".to_owned(),
        };
        let second = table.pair_column.as_ref().map(|pair| format!(", second text {pair:?}")).unwrap_or_default();
        notes.push(format!("{path}: text column {text:?}{second}, {label}, from the header"));
    }
    notes.extend(table.notes.iter().cloned());
    if !table.skipped.is_empty() {
        notes.push(format!("{path}: {} rows cannot be used and were left out:", table.skipped.len()));
        notes.extend(table.skipped.iter().take(LISTED).cloned());
        if table.skipped.len() > LISTED {
            notes.push(format!("... and {} more", table.skipped.len() - LISTED));
        }
    }
}
