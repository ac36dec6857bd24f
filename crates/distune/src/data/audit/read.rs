//! Reads all splits for a check, more leniently than for a training: no row and no missing label stops it.

use std::path::{Path, PathBuf};

use super::Part;
use crate::data::files::SplitFiles;
use crate::data::splits::{TEST, TRAIN, VALIDATION};
use crate::data::{Columns, Labels, Table, note_table, read_file, read_splits};
use crate::{Error, Result};

/// Reads a directory of splits (test files without labels included), or files, which are one part called `data`. Rows that cannot
/// be read are left out and listed in [`crate::data::Table::skipped`]. Also returns what was assumed about the files.
///
/// # Errors
/// A directory without splits, and files of which no row can be read or whose columns are not found.
pub fn read_parts(paths: &[PathBuf], columns: &Columns) -> Result<(Vec<Part>, Vec<String>)> {
    let mut columns = columns.clone();
    columns.skip_bad = true;
    let mut notes = Vec::new();
    let parts = match paths {
        [directory] if directory.is_dir() => read_directory(directory, &columns, &mut notes)?,
        [] => return Err(Error::file(Path::new("data"), "names no file", "")),
        files => vec![read_part("data", files, &columns, Labels::Optional, None, &mut notes)?],
    };
    Ok((parts, notes))
}

/// Reads the splits of a directory.
fn read_directory(directory: &Path, columns: &Columns, notes: &mut Vec<String>) -> Result<Vec<Part>> {
    let files = SplitFiles::list(directory, TRAIN)?;
    // phrases of a treebank are for training, as in a training
    let mut judged = columns.clone();
    judged.trees.phrases = false;
    let mut parts = Vec::new();
    for (split, names, columns) in
        [("train", TRAIN, columns), ("validation", VALIDATION, &judged), ("test", TEST, &judged)]
    {
        let found = files.find(names)?;
        if !found.is_empty() {
            let known = parts.first().and_then(|part: &Part| part.tables.first());
            let mut columns = columns.clone();
            columns.several_labels |= known.is_some_and(|table| table.multi_label);
            let part = read_part(split, &found, &columns, Labels::IfThere, known, notes)?;
            parts.push(part);
        }
    }
    if parts.is_empty() {
        // the message of a training
        read_splits(directory, columns)?;
    }
    Ok(parts)
}

/// Reads the files of a split one by one, so that each row's file is known.
fn read_part(
    split: &str,
    files: &[PathBuf],
    columns: &Columns,
    labels: Labels,
    known: Option<&Table>,
    notes: &mut Vec<String>,
) -> Result<Part> {
    let mut part = Part { split: split.to_owned(), tables: Vec::new() };
    let mut columns = columns.clone();
    for path in files {
        let table = read_file(path, &columns, labels)?;
        columns.several_labels |= table.multi_label;
        // rows that were left out are in the report
        let mut assumed = table.without_rows();
        assumed.extend_from(&table, &[0]);
        assumed.notes.clone_from(&table.notes);
        note_table(notes, &columns, &assumed, known.or(part.tables.first()));
        part.tables.push(table);
    }
    Ok(part)
}
