//! The report of `distune data check` as text.

use std::fmt::Write;

use distune::data::audit::{Bin, Class, Example, Finding, LengthReport, Level, Place, Report, SplitReport};

use crate::output::thousands;

/// Classes that are listed, at most.
const CLASSES: usize = 12;
/// Width of the longest bar.
const BAR: usize = 40;
/// Characters of an example's text, at most.
const SHOWN: usize = 120;

/// All of a report.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    report.splits.iter().for_each(|split| out += &of_split(split, report.max_length));
    report.findings.iter().for_each(|finding| out += &of_finding(finding));
    out += &match (report.problems, report.notes) {
        (0, 0) => "Nothing found.".to_owned(),
        (0, notes) => format!("No problems, {}.", counted(notes, "note")),
        (problems, notes) => format!("{}, {}.", counted(problems, "problem"), counted(notes, "note")),
    };
    out
}

/// "1 problem", "2 problems"
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Rows, classes and lengths of a split.
fn of_split(split: &SplitReport, max_length: usize) -> String {
    let files: Vec<String> = split.files.iter().map(|file| file.display().to_string()).collect();
    let files = match &files[..] {
        [first, _, .., _] => format!("{first} and {} more files", files.len() - 1),
        files => files.join(", "),
    };
    let mut out = format!("{}: {files}\n", split.split);
    let left_out = match split.unreadable {
        0 => String::new(),
        n => format!(", {} left out", thousands(n)),
    };
    // writing to a string cannot fail
    let _ = writeln!(out, "  {} rows{left_out}, {} different texts", thousands(split.rows), thousands(split.distinct));
    let unlabelled = match split.unlabelled {
        0 => String::new(),
        n => format!("; {} rows without a label", thousands(n)),
    };
    let _ = writeln!(out, "  {}{unlabelled}", of_classes(&split.classes));
    if let Some(lengths) = &split.lengths {
        out += &of_lengths(lengths, max_length);
    }
    out + "\n"
}

/// The classes in a line.
fn of_classes(classes: &[Class]) -> String {
    if classes.is_empty() {
        return "no labels".to_owned();
    }
    let one = |class: &Class| format!("{} {} ({:.1} %)", class.label, thousands(class.rows), 100.0 * class.share);
    let mut listed: Vec<String> = classes.iter().take(CLASSES).map(one).collect();
    if classes.len() > CLASSES {
        listed.push(format!("and {} more", classes.len() - CLASSES));
    }
    let what = if classes.len() == 1 { "class" } else { "classes" };
    format!("{} {what}: {}", classes.len(), listed.join(", "))
}

/// Lengths with a histogram.
fn of_lengths(lengths: &LengthReport, max_length: usize) -> String {
    let LengthReport { min, median, mean, p95, max, truncated, histogram, .. } = lengths;
    let cut = match truncated {
        0 => format!("none longer than {max_length}"),
        n => format!("{} longer than {max_length}", thousands(*n)),
    };
    let mut out =
        format!("  tokens a row: {min} to {max}, median {median}, mean {mean:.1}, 95 % at most {p95}; {cut}\n");
    let most = histogram.iter().map(|bin| bin.rows).max().unwrap_or(1).max(1);
    for Bin { from, to, rows } in histogram {
        // a bin that is not empty shows
        let width = (rows * BAR).div_ceil(most);
        let _ = writeln!(out, "    {from:>6} to {to:<6} {:>10}  {}", thousands(*rows), "█".repeat(width));
    }
    out
}

/// A finding with its examples and what to do.
fn of_finding(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Problem => "PROBLEM",
        Level::Note => "note",
    };
    let mut out = format!("{level:<8} {}.\n         {}.\n", finding.message, finding.advice);
    finding.examples.iter().for_each(|example| out += &of_example(example));
    let rest = finding.count.saturating_sub(finding.examples.len());
    if rest > 0 && finding.examples.iter().any(|example| example.problem.is_some()) {
        let _ = writeln!(out, "           ... and {} more", thousands(rest));
    }
    out + "\n"
}

/// A row and the one that it is compared with.
fn of_example(example: &Example) -> String {
    let mut out = String::new();
    if let Some(problem) = &example.problem {
        let _ = writeln!(out, "           {problem}");
    }
    if let Some(row) = &example.row {
        let tokens = example.tokens.map(|tokens| format!(" {} tokens", thousands(tokens))).unwrap_or_default();
        let _ = writeln!(out, "           {}{tokens}: {}", at(row), quoted(&row.text));
    }
    if let Some(other) = &example.other {
        let same = example.row.as_ref().is_some_and(|row| row.text == other.text);
        let text = if same { String::new() } else { format!(": {}", quoted(&other.text)) };
        let how = match example.similarity {
            Some(similarity) => format!("{similarity:.2} like"),
            None => "as".to_owned(),
        };
        let _ = writeln!(out, "             {how} {}{text}", at(other));
    }
    out
}

/// File, line and label of a row.
fn at(place: &Place) -> String {
    let label = place.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    format!("{}:{}{label}", place.file.display(), place.line)
}

/// A text that is cut, on one line.
fn quoted(text: &str) -> String {
    let (text, more) = match text.char_indices().nth(SHOWN) {
        Some((at, _)) => (&text[..at], "..."),
        None => (text, ""),
    };
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    format!("\"{}{more}\"", text.chars().map(plain).collect::<String>())
}
