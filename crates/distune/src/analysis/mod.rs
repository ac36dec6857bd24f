//! Where a model errs: the rows that it gets most confidently wrong, rows whose label is probably the mistake, and the parts of the
//! data on which it is worse. Called by the command line and for reports.

mod issues;
mod shown;
mod slices;
mod worst;
mod write;

use serde::Serialize;

use crate::Result;
use crate::data::Answers;
use crate::eval::{Interval, Predictions, Z_95, wilson};

pub use issues::{LabelIssue, LabelIssues, LabelPair};
pub use shown::{RowText, Texts};
pub use slices::{Lengths, Slice};
pub use worst::WrongRow;

use slices::{Slicing, slices};
use worst::wrong_rows;

/// What there is to say about a model's errors on some rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorAnalysis {
    /// Number of rows.
    pub rows: usize,
    /// Rows that are predicted as they are labelled, all of their labels where there may be several.
    pub correct: usize,
    /// Their share.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson).
    pub interval: Interval,
    /// The wrong rows, the most confidently wrong first.
    pub wrong: Vec<WrongRow>,
    /// Rows whose label is probably wrong; not told by predictions without probabilities.
    pub label_issues: Option<LabelIssues>,
    /// Parts of the rows: by length, by true class, by the values of columns.
    pub slices: Vec<Slice>,
}

/// Analyses the errors of `predictions`; `names[id]` is a class's name. The rows are sliced by length, by true class, and by
/// `columns`: names, and a value for each row.
///
/// # Errors
/// No rows, another number of predictions, lengths or values than of rows, an id without a name.
pub fn analyse(
    texts: Texts,
    truth: &Answers,
    predictions: &Predictions,
    names: &[String],
    lengths: &Lengths,
    columns: &[(&str, &[String])],
) -> Result<ErrorAnalysis> {
    predictions.check(truth, names)?;
    texts.check(truth.len())?;
    let right: Vec<bool> = (0..truth.len()).map(|row| truth.row(row) == predictions.answers.row(row)).collect();
    let mut slicings = vec![Slicing::by_length(lengths), Slicing::by_class(truth, names)];
    slicings.extend(columns.iter().map(|(name, values)| Slicing::by_column(name, values)));
    let correct = right.iter().filter(|right| **right).count();
    Ok(ErrorAnalysis {
        rows: right.len(),
        correct,
        accuracy: correct as f64 / right.len() as f64,
        interval: wilson(correct, right.len(), Z_95),
        wrong: wrong_rows(texts, truth, predictions, names),
        label_issues: LabelIssues::find(texts, truth, predictions, names),
        slices: slices(&right, &slicings)?,
    })
}

/// The names of a row's classes.
fn named(ids: &[u32], names: &[String]) -> Vec<String> {
    ids.iter().filter_map(|&id| names.get(id as usize).cloned()).collect()
}
