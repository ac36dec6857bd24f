//! Lengths in tokens.

use super::*;
use crate::data::audit::lengths::summary;

#[test]
fn quantiles_and_histogram() {
    let lengths: Vec<u32> = (1..=100).rev().collect();
    let report = summary(0, &lengths, 90).unwrap();
    assert_eq!((report.min, report.median, report.p95, report.max, report.truncated), (1, 50, 95, 100, 10));
    assert_eq!(report.mean, 50.5);
    let bins: Vec<_> = report.histogram.iter().map(|bin| (bin.from, bin.to, bin.rows)).collect();
    assert_eq!(bins, [(1, 8, 8), (9, 16, 8), (17, 32, 16), (33, 64, 32), (65, 128, 36)]);
    assert_eq!(report.longest, [(0, 100), (1, 99), (2, 98)]);
    let one = summary(7, &[20], 20).unwrap();
    assert_eq!((one.min, one.median, one.p95, one.max, one.truncated), (20, 20, 20, 20, 0));
    assert_eq!(one.histogram, [Bin { from: 17, to: 32, rows: 1 }]);
    assert_eq!(summary(0, &[], 20), None);
}

/// The bundled tokenizer, which cuts nothing.
fn tokenizer() -> Tokenizer {
    let path = project("assets/encoder/tokenizer.json");
    counting_tokenizer(&path, &std::fs::read(&path).unwrap()).unwrap()
}

#[test]
fn rows_are_counted_whole() {
    let long = "word ".repeat(700);
    let mut rows = part("data", &[("a film", "0"), (long.as_str(), "1")]);
    let (tokenizer, max_length) = (tokenizer(), 128);
    let options = Options { tokenizer: Some(&tokenizer), max_length, bundled: None };
    let report = check(std::slice::from_ref(&rows), &options, &mut ()).unwrap();
    let lengths = report.splits[0].lengths.as_ref().unwrap();
    // [CLS] and [SEP]
    assert_eq!((lengths.min, lengths.max, lengths.truncated), (4, 702, 1));
    let finding = only(&report, Kind::TruncatedRows);
    assert_eq!((finding.level, finding.count, finding.examples[0].tokens), (Level::Note, 1, Some(702)));

    // [CLS] a [SEP] b [SEP]
    rows.tables[0].pairs = vec!["dull".into(), "dull".into()];
    let report = check(&[rows], &options, &mut ()).unwrap();
    assert_eq!(report.splits[0].lengths.as_ref().unwrap().min, 6);
}
