//! The error analysis as files that a spreadsheet opens.

use std::path::{Path, PathBuf};

use super::{ErrorAnalysis, LabelIssue, RowText, Slice, WrongRow};
use crate::{Error, Result};

/// The files, as they are called.
const FILES: [&str; 3] = ["wrong.csv", "label_issues.csv", "slices.csv"];

impl ErrorAnalysis {
    /// Whether [`Self::write`] may write into a directory, which need not exist.
    ///
    /// # Errors
    /// A file of that name, or an analysis that is there already, unless `overwrite`.
    pub fn can_write(directory: &Path, overwrite: bool) -> Result<()> {
        if directory.exists() && !directory.is_dir() {
            return Err(Error::file(directory, "is a file, expected a directory", "Choose another name"));
        }
        FILES.iter().try_for_each(|name| crate::data::can_write(&directory.join(name), overwrite))
    }

    /// Writes all wrong rows, all labels in question and all slices into a directory, as `wrong.csv`, `label_issues.csv` and
    /// `slices.csv`; returns their paths. A file of label issues is written where they are told.
    ///
    /// # Errors
    /// A directory that cannot be made or written.
    pub fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(directory).map_err(|error| Error::io(directory, "create", &error))?;
        let issues = self.label_issues.as_ref().map(|found| table(ISSUE, found.issues.iter().map(issue)));
        let tables = [
            Some(table(WRONG, self.wrong.iter().map(wrong))),
            issues,
            Some(table(SLICE, self.slices.iter().map(slice))),
        ];
        let mut written = Vec::new();
        for (name, table) in FILES.into_iter().zip(tables) {
            let path = directory.join(name);
            if let Some(table) = table {
                let bytes = table.map_err(|error| Error::file(&path, format!("cannot be written: {error}"), ""))?;
                crate::model::write(&path, &bytes)?;
                written.push(path);
            }
        }
        Ok(written)
    }
}

const WRONG: [&str; 7] = ["line", "truth", "predicted", "label", "confidence", "text", "pair"];
const ISSUE: [&str; 7] = ["line", "given", "suggested", "self_confidence", "margin", "text", "pair"];
const SLICE: [&str; 11] =
    ["by", "value", "rows", "correct", "accuracy", "low", "high", "rest_accuracy", "p_value", "p_adjusted", "finding"];

fn wrong(row: &WrongRow) -> [String; 7] {
    let WrongRow { at: RowText { line, text, pair, .. }, truth, predicted, label, confidence } = row;
    let (line, confidence) = (line.to_string(), number(*confidence));
    [
        line,
        truth.join("|"),
        predicted.join("|"),
        label.clone(),
        confidence,
        text.clone(),
        pair.clone().unwrap_or_default(),
    ]
}

fn issue(issue: &LabelIssue) -> [String; 7] {
    let LabelIssue { at: RowText { line, text, pair, .. }, given, suggested, self_confidence, margin } = issue;
    let (given, suggested) = (given.join("|"), suggested.join("|"));
    let [sure, margin] = [self_confidence, margin].map(f64::to_string);
    [line.to_string(), given, suggested, sure, margin, text.clone(), pair.clone().unwrap_or_default()]
}

fn slice(slice: &Slice) -> [String; 11] {
    let [rows, correct] = [slice.rows, slice.correct].map(|count| count.to_string());
    let [accuracy, low, high, p_value, p_adjusted] =
        [slice.accuracy, slice.interval.low, slice.interval.high, slice.p_value, slice.p_adjusted]
            .map(|x| x.to_string());
    let finding = match slice.finding {
        crate::eval::Finding::Better => "better",
        crate::eval::Finding::Worse => "worse",
        crate::eval::Finding::Chance => "chance",
    };
    let (by, value, rest) = (slice.by.clone(), slice.value.clone(), number(slice.rest_accuracy));
    [by, value, rows, correct, accuracy, low, high, rest, p_value, p_adjusted, finding.to_owned()]
}

/// A number, or nothing where it is not told.
fn number(x: Option<f64>) -> String {
    x.map(|x| x.to_string()).unwrap_or_default()
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
