//! What a check finds in made data, and in SST-2 where it is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lengths;
mod near;
mod read;
mod same;
mod sst2;

use std::path::PathBuf;

use super::*;

/// A split of these texts and labels, in a file called after it; the first row is on line 2.
fn part(split: &str, rows: &[(&str, &str)]) -> Part {
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let table = Table {
        path: format!("{split}.tsv").into(),
        texts: owned(rows.iter().map(|row| row.0).collect()),
        labels: owned(rows.iter().map(|row| row.1).collect()),
        lines: (2..).take(rows.len()).collect(),
        ..Table::default()
    };
    Part { split: split.to_owned(), tables: vec![table] }
}

/// A report without tokens and without bundled data.
fn report(parts: &[Part]) -> Report {
    check(parts, &Options { max_length: 128, ..Options::default() }, &mut ()).unwrap()
}

/// The findings of a kind.
fn found(report: &Report, kind: Kind) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.kind == kind).collect()
}

/// The only finding of a kind.
fn only(report: &Report, kind: Kind) -> &Finding {
    let found = found(report, kind);
    assert_eq!(found.len(), 1, "{kind:?} in {report:#?}");
    found[0]
}

/// Lines of the first example: of the row, and of the other one.
fn lines(finding: &Finding) -> (u64, u64) {
    let example = &finding.examples[0];
    (example.row.as_ref().unwrap().line, example.other.as_ref().unwrap().line)
}

/// A file or directory of the project.
fn project(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", path].iter().collect()
}
