//! Finds or makes the train, validation and test rows. Called by `run` and the command line.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Columns, Labels, Table, quoted, read, read_bytes, read_file};
use crate::{Error, Result};

/// File names, without extension, of the three splits.
const TRAIN: &[&str] = &["train"];
const VALIDATION: &[&str] = &["validation", "dev", "val"];
const TEST: &[&str] = &["test"];

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

/// Reads a directory with train, validation (or dev, val) and test files, `.tsv` or `.csv`, or one such file, which is
/// split 80/10/10.
///
/// The split is random by `seed` and stratified: in each class a tenth of the rows, rounded so that the sums come out,
/// goes to validation and a tenth to test. Rows with the same text stay together. Every class keeps rows to train on.
/// In a directory, a test file without labels, as GLUE's, is skipped.
///
/// # Errors
/// A directory without a train file or with two files for one split, and all that [`read_file`] refuses.
pub fn read_splits(path: &Path, columns: &Columns, seed: u64) -> Result<Splits> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, "read", &error))?;
    if metadata.is_dir() {
        return read_directory(path, columns);
    }
    let table = read_file(path, columns, Labels::Required)?;
    let mut notes = Vec::new();
    note_guess(&mut notes, columns, &table);
    let mut splits = split(table, seed);
    notes.append(&mut splits.notes);
    Ok(Splits { notes, ..splits })
}

/// Reads the files of a directory.
fn read_directory(directory: &Path, columns: &Columns) -> Result<Splits> {
    let Some(train) = find(directory, TRAIN)? else {
        return Err(no_train(directory));
    };
    let mut notes = Vec::new();
    let train = read_file(&train, columns, Labels::Required)?;
    note_guess(&mut notes, columns, &train);
    let validation = match find(directory, VALIDATION)? {
        Some(path) => Some(read_file(&path, columns, Labels::Required)?),
        None => None,
    };
    let test = match find(directory, TEST)? {
        Some(path) => read_test(&path, columns, &mut notes)?,
        None => None,
    };
    for table in validation.iter().chain(&test) {
        if (&table.text_column, &table.label_column) != (&train.text_column, &train.label_column) {
            note_guess(&mut notes, columns, table);
        }
    }
    Ok(Splits { train: Some(train), validation, test, notes })
}

/// Reads a test file if it has labels. GLUE's have no label column, the hub's copies of them have -1 in each row.
fn read_test(path: &Path, columns: &Columns, notes: &mut Vec<String>) -> Result<Option<Table>> {
    let bytes = read::load(path)?;
    if !columns.has_label(path, &read::header(path, &bytes)?) {
        notes.push(format!("{}: skipped, it has no label column", path.display()));
        return Ok(None);
    }
    let table = read_bytes(path, &bytes, columns, Labels::Required)?;
    if table.labels.iter().all(|label| label == "-1") {
        notes.push(format!("{}: skipped, all its labels are -1, which means unknown", path.display()));
        return Ok(None);
    }
    Ok(Some(table))
}

/// The one file of a directory that holds a split.
fn find(directory: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    let candidates = names.iter().flat_map(|name| [format!("{name}.tsv"), format!("{name}.csv")]);
    let found: Vec<String> = candidates.filter(|name| directory.join(name).is_file()).collect();
    if found.len() > 1 {
        let problem = format!("{} are all the {} split, expected one file", quoted(&found, 10), names[0]);
        return Err(Error::file(directory, problem, "Remove or rename the others"));
    }
    Ok(found.first().map(|name| directory.join(name)))
}

/// The error for a directory without a train file: what was looked for, what is there.
fn no_train(directory: &Path) -> Error {
    let mut names: Vec<String> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        Err(error) => return Error::io(directory, "list", &error),
    };
    names.sort();
    let there = if names.is_empty() { "the directory is empty".to_owned() } else { quoted(&names, 10) };
    let hint = "Looked for train.tsv or train.csv, and beside it validation (or dev, val) and test. \
                A single .tsv or .csv file may be given instead, it is then split";
    Error::file(directory, format!("no train file; found: {there}"), hint)
}

/// Says which columns were taken, if one of them was guessed.
fn note_guess(notes: &mut Vec<String>, columns: &Columns, table: &Table) {
    if columns.text.is_some() && columns.label.is_some() {
        return;
    }
    let label = table.label_column.as_deref().unwrap_or("none");
    let (path, text) = (table.path.display(), &table.text_column);
    notes.push(format!("{path}: text column {text:?}, label column {label:?}, from the header"));
}

/// Where a row goes.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

/// Splits the rows of one file.
fn split(table: Table, seed: u64) -> Splits {
    let parts = assign(&table, seed);
    let total = table.len();
    let Table { path, text_column, label_column, texts, labels, lines, .. } = table;
    let empty = || Table {
        path: path.clone(),
        text_column: text_column.clone(),
        label_column: label_column.clone(),
        ..Table::default()
    };
    let (mut train, mut validation, mut test) = (empty(), empty(), empty());
    for (((part, text), label), line) in parts.into_iter().zip(texts).zip(labels).zip(lines) {
        let target = match part {
            Part::Train => &mut train,
            Part::Validation => &mut validation,
            Part::Test => &mut test,
        };
        target.texts.push(text);
        target.labels.push(label);
        target.lines.push(line);
    }
    let note = format!(
        "{}: one file, so its {total} rows were split at random within each class (seed {seed}): {} train, \
         {} validation, {} test",
        path.display(),
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
