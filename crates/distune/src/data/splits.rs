//! Finds or makes the train, validation and test rows. Called by `run` and the command line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::files::SplitFiles;
use super::{Columns, Labels, Table, quoted, read_files};
use crate::{Error, Result};

/// File names, without extension, of the three splits.
pub(super) const TRAIN: &[&str] = &["train"];
pub(super) const VALIDATION: &[&str] = &["validation", "dev", "val", "valid"];
pub(super) const TEST: &[&str] = &["test"];
/// Rows that were left out which are listed, at most.
const LISTED: usize = 20;

/// The rows to train on and those to judge by.
#[derive(Clone, Debug, Default)]
pub struct Splits {
    /// Rows to train on.
    pub train: Option<Table>,
    /// Rows to choose by.
    pub validation: Option<Table>,
    /// Rows to judge by at the very end.
    pub test: Option<Table>,
    /// What the user should be told: columns guessed, a file skipped, a split made.
    pub notes: Vec<String>,
}

/// Reads a directory with train, validation (or dev, val, valid) and test files, whole or in parts as on the hub, or one
/// file, which is split 80/10/10. Each may have any of the formats of [`super::read_file`]; `-` is standard input.
///
/// The split is random by `seed` and stratified: in each class a tenth of the rows, rounded so that the sums come out,
/// goes to validation and a tenth to test. Rows with the same text stay together. Every class keeps rows to train on.
/// In a directory, a test file without labels, as GLUE's, is skipped.
///
/// # Errors
/// A directory without a train file or with two files for one split, and all that [`super::read_file`] refuses.
pub fn read_splits(path: &Path, columns: &Columns, seed: u64) -> Result<Splits> {
    if path.is_dir() {
        return read_directory(path, columns);
    }
    split_files(&[path.to_owned()], columns, seed)
}

/// Reads files as one, which is split as [`read_splits`] does.
///
/// # Errors
/// As [`read_files`].
pub fn split_files(paths: &[PathBuf], columns: &Columns, seed: u64) -> Result<Splits> {
    let table = read_files(paths, columns, Labels::Required)?;
    let mut notes = Vec::new();
    note_table(&mut notes, columns, &table, None);
    let mut splits = split(&table, seed);
    notes.append(&mut splits.notes);
    Ok(Splits { notes, ..splits })
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
    Ok(Splits { train: Some(train), validation, test, notes })
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
        let label = table.label_column.as_deref().unwrap_or("none");
        notes.push(format!("{path}: text column {text:?}, label column {label:?}, from the header"));
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

/// Where a row goes.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

/// Splits the rows of one file.
fn split(table: &Table, seed: u64) -> Splits {
    let parts = assign(table, seed);
    let total = table.len();
    let part = |wanted: Part| {
        let rows: Vec<usize> = (0..total).filter(|&row| parts[row] == wanted).collect();
        let mut part = table.without_rows();
        part.extend_from(table, &rows);
        part
    };
    let (train, validation, test) = (part(Part::Train), part(Part::Validation), part(Part::Test));
    let note = format!(
        "{}: one file, so its {total} rows were split at random within each class (seed {seed}): {} train, \
         {} validation, {} test",
        table.path.display(),
        train.len(),
        validation.len(),
        test.len()
    );
    let some = |table: Table| if table.is_empty() { None } else { Some(table) };
    Splits { train: some(train), validation: some(validation), test: some(test), notes: vec![note] }
}

/// Decides for each row where it goes. Rows with the same text are a group, which counts to the class of its first row.
fn assign(table: &Table, seed: u64) -> Vec<Part> {
    let mut group_of: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, (text, label)) in table.texts.iter().zip(&table.labels).enumerate() {
        let group = *group_of.entry(text).or_insert_with(|| {
            classes.entry(label).or_default().push(groups.len());
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(row);
    }
    let mut parts = vec![Part::Train; table.len()];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = 0;
    for class in classes.values_mut() {
        class.shuffle(&mut random);
        let rows: usize = class.iter().map(|&group| groups[group].len()).sum();
        let tenth = (seen + rows + 5) / 10 - (seen + 5) / 10;
        seen += rows;
        let mut room = [(Part::Validation, tenth), (Part::Test, tenth)];
        // All but one group: a class must have something to train on.
        for &group in class.iter().skip(1) {
            let rows = &groups[group];
            if let Some((part, left)) = room.iter_mut().find(|(_, left)| rows.len() <= *left) {
                *left -= rows.len();
                rows.iter().for_each(|&row| parts[row] = *part);
            }
        }
    }
    parts
}
