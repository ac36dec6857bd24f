//! Parts of the rows, and whether a model is worse on them than on the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::data::Answers;
use crate::eval::{Finding, Interval, SIGNIFICANT, Z_95, fisher_exact, holm, wilson};
use crate::{Error, Result};

/// Values of a column that are slices of their own, at most; rows with rarer ones are one slice.
const VALUES: usize = 20;
/// Slices of what is measured, with about as many rows each.
const BINS: usize = 4;

/// How long the rows are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// What is counted, such as "tokens".
    pub unit: &'static str,
    /// `[N]` the length of each row.
    pub of_rows: Vec<usize>,
}

impl Lengths {
    /// In words with white space between them, where no tokenizer is at hand.
    pub fn in_words(texts: super::Texts) -> Self {
        let words = |text: &String| text.split_whitespace().count();
        let second = |row| texts.pairs.get(row).map_or(0, words);
        Self {
            unit: "words",
            of_rows: texts.texts.iter().enumerate().map(|(row, text)| words(text) + second(row)).collect(),
        }
    }
}

/// A part of the rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// What the rows are sliced by: "length in tokens", "true class" or a column's name.
    pub by: String,
    /// What the rows of this slice have in common.
    pub value: String,
    /// How many they are.
    pub rows: usize,
    /// How many of them are predicted as they are labelled.
    pub correct: usize,
    /// Their share.
    pub accuracy: f64,
    /// Its 95 % interval (Wilson).
    pub interval: Interval,
    /// The accuracy on all other rows, if there are any.
    pub rest_accuracy: Option<f64>,
    /// How often chance alone makes the two differ so much (Fisher's exact test).
    pub p_value: f64,
    /// The same, allowing for the number of slices (Holm).
    pub p_adjusted: f64,
    /// Whether the model is better or worse here than on the rest, by that.
    pub finding: Finding,
}

/// The rows of each slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slicing {
    by: String,
    /// Of how many rows.
    count: usize,
    slices: Vec<(String, Vec<usize>)>,
}

impl Slicing {
    /// By length, a quarter of the rows each.
    pub(super) fn by_length(lengths: &Lengths) -> Self {
        let values: Vec<(usize, f64)> = lengths.of_rows.iter().map(|&length| length as f64).enumerate().collect();
        Self { by: format!("length in {}", lengths.unit), count: values.len(), slices: bins(&values) }
    }

    /// By true class; a row of several labels is in the slice of each, one without in a slice of its own.
    pub(super) fn by_class(truth: &Answers, names: &[String]) -> Self {
        let mut slices: Vec<(String, Vec<usize>)> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut without = Vec::new();
        for row in 0..truth.len() {
            let ids = truth.row(row);
            ids.iter().for_each(|&id| slices[id as usize].1.push(row));
            if ids.is_empty() {
                without.push(row);
            }
        }
        slices.push(("no label".to_owned(), without));
        Self { by: "true class".to_owned(), count: truth.len(), slices }
    }

    /// By the values of a column: where they are more than twenty numbers, a quarter of the rows each; else the most frequent ones,
    /// and the rest as one.
    pub(super) fn by_column(name: &str, values: &[String]) -> Self {
        let mut by_value: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, value) in values.iter().enumerate() {
            by_value.entry(value.trim()).or_default().push(row);
        }
        let empty = by_value.remove("").map(|rows| ("(empty)".to_owned(), rows));
        let numbers = || -> Option<Vec<(usize, f64)>> {
            let number = |value: &str| value.parse::<f64>().ok().filter(|number| number.is_finite());
            let of = |(value, rows): (&&str, &Vec<usize>)| {
                let number = number(value)?;
                Some(rows.iter().map(move |&row| (row, number)).collect::<Vec<_>>())
            };
            by_value.iter().map(of).collect::<Option<Vec<_>>>().map(|all| all.concat())
        };
        let numeric = if by_value.len() > VALUES { numbers() } else { None };
        let mut slices = match numeric {
            Some(numbers) => bins(&numbers),
            None => most_frequent(by_value),
        };
        slices.extend(empty);
        Self { by: name.to_owned(), count: values.len(), slices }
    }
}

/// The most frequent values, and all others as one slice.
fn most_frequent(by_value: BTreeMap<&str, Vec<usize>>) -> Vec<(String, Vec<usize>)> {
    let mut values: Vec<(&str, Vec<usize>)> = by_value.into_iter().collect();
    values.sort_by_key(|(_, rows)| Reverse(rows.len()));
    let others = values.split_off(values.len().min(VALUES));
    let mut slices: Vec<(String, Vec<usize>)> =
        values.into_iter().map(|(value, rows)| (value.to_owned(), rows)).collect();
    if !others.is_empty() {
        let name = format!("({} other values)", others.len());
        slices.push((name, others.into_iter().flat_map(|(_, rows)| rows).collect()));
    }
    slices
}

/// Rows with their values in bins of about as many rows each; equal values are in the same one.
fn bins(values: &[(usize, f64)]) -> Vec<(String, Vec<usize>)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut bins: Vec<(String, Vec<usize>)> = Vec::new();
    let mut rest = &sorted[..];
    for bin in 1..=BINS {
        let end = (sorted.len() * bin).div_ceil(BINS);
        let Some(&(_, last)) = end.checked_sub(1).and_then(|last| sorted.get(last)) else { continue };
        let (rows, others) = rest.split_at(rest.partition_point(|(_, value)| *value <= last));
        rest = others;
        if let [(_, low), .., (_, high)] | [(_, low @ high)] = rows {
            let name = if low == high { format!("{low}") } else { format!("{low} to {high}") };
            bins.push((name, rows.iter().map(|(row, _)| *row).collect()));
        }
    }
    bins
}

/// Judges every slice that has rows; `right[row]` says whether a row is predicted as it is labelled.
pub(super) fn slices(right: &[bool], slicings: &[Slicing]) -> Result<Vec<Slice>> {
    if let Some(wrong) = slicings.iter().find(|slicing| slicing.count != right.len()) {
        let (expected, by) = (format!("{}, one a row", right.len()), format!("values of {}", wrong.by));
        return Err(Error::value("error analysis", &by, expected, wrong.count));
    }
    let all = right.iter().filter(|right| **right).count();
    let parts = slicings.iter().flat_map(|slicing| slicing.slices.iter().map(|slice| (&slicing.by, slice)));
    let mut slices: Vec<Slice> = parts
        .filter(|(_, (_, rows))| !rows.is_empty())
        .map(|(by, (value, rows))| {
            let (correct, others) = (rows.iter().filter(|&&row| right[row]).count(), right.len() - rows.len());
            let share = |correct: usize, rows: usize| correct as f64 / rows as f64;
            Slice {
                by: by.clone(),
                value: value.clone(),
                rows: rows.len(),
                correct,
                accuracy: share(correct, rows.len()),
                interval: wilson(correct, rows.len(), Z_95),
                rest_accuracy: (others > 0).then(|| share(all - correct, others)),
                p_value: fisher_exact([correct, rows.len()], [all - correct, others]),
                p_adjusted: 1.0,
                finding: Finding::Chance,
            }
        })
        .collect();
    let p_values: Vec<f64> = slices.iter().map(|slice| slice.p_value).collect();
    for (slice, p_adjusted) in slices.iter_mut().zip(holm(&p_values)) {
        slice.p_adjusted = p_adjusted;
        slice.finding = match slice.rest_accuracy {
            Some(rest) if p_adjusted < SIGNIFICANT && slice.accuracy > rest => Finding::Better,
            Some(_) if p_adjusted < SIGNIFICANT => Finding::Worse,
            _ => Finding::Chance,
        };
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(values: impl Iterator<Item = String>) -> Vec<(String, Vec<usize>)> {
        Slicing::by_column("column", &values.collect::<Vec<_>>()).slices
    }

    #[test]
    fn quarters_of_what_is_measured() {
        let lengths =
            |of_rows: &[usize]| Slicing::by_length(&Lengths { unit: "tokens", of_rows: of_rows.to_vec() }).slices;
        let expected = [("1 to 2", vec![3, 1]), ("3 to 4", vec![0, 4]), ("5 to 6", vec![2, 6]), ("7 to 8", vec![5, 7])];
        assert_eq!(lengths(&[3, 2, 5, 1, 4, 7, 6, 8]), expected.map(|(name, rows)| (name.to_owned(), rows)));
        // equal values stay together
        assert_eq!(lengths(&[4, 4, 4, 9]), [("4".to_owned(), vec![0, 1, 2]), ("9".to_owned(), vec![3])]);
        assert_eq!(lengths(&[4]), [("4".to_owned(), vec![0])]);
        assert_eq!(lengths(&[]), []);
    }

    #[test]
    fn values_of_a_column() {
        let words = column(["b", "a", "b", " ", "", "b "].into_iter().map(str::to_owned));
        let expected = [("b", vec![0, 2, 5]), ("a", vec![1]), ("(empty)", vec![3, 4])];
        assert_eq!(words, expected.map(|(name, rows)| (name.to_owned(), rows)));
        let many = column((0..50).map(|row| format!("v{:02}", row / 2)));
        assert_eq!((many.len(), &many[20].0[..], many[20].1.len()), (21, "(5 other values)", 10));
        let numbers = column((0..40).map(|row| format!("{}", f64::from(row) / 2.0)));
        let names: Vec<&str> = numbers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["0 to 4.5", "5 to 9.5", "10 to 14.5", "15 to 19.5"]);
        // twenty numbers or fewer may be ratings
        assert_eq!(column((0..40).map(|row| (row % 5).to_string())).len(), 5);
    }

    #[test]
    fn a_slice_that_is_worse() {
        let of = |bad: usize| -> Vec<Slice> {
            // the second half has so many errors, the first half none
            let right: Vec<bool> = (0..200).map(|row| row < 200 - bad).collect();
            let halves = (0..200).map(|row| if row < 100 { "good" } else { "bad" }.to_owned());
            slices(&right, &[Slicing::by_column("half", &halves.collect::<Vec<_>>())]).unwrap()
        };
        let (few, many) = (of(3), of(20));
        assert!(few.iter().all(|slice| slice.finding == Finding::Chance), "{few:?}");
        let bad = many.iter().find(|slice| slice.value == "bad").unwrap();
        assert_eq!((bad.rows, bad.correct, bad.finding, bad.rest_accuracy), (100, 80, Finding::Worse, Some(1.0)));
        assert_eq!(many.iter().find(|slice| slice.value == "good").unwrap().finding, Finding::Better);
        assert_eq!(bad.p_adjusted, 2.0 * bad.p_value);
    }

    #[test]
    fn one_slice_is_all_rows() {
        let truth = Answers::One(vec![1, 1]);
        let by_class = Slicing::by_class(&truth, &["a".into(), "b".into()]);
        let slices = slices(&[true, false], &[by_class]).unwrap();
        assert_eq!(slices.len(), 1);
        assert_eq!((slices[0].rest_accuracy, slices[0].p_value, slices[0].finding), (None, 1.0, Finding::Chance));
    }
}
