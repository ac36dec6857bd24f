//! What is worth saying, in which words, and which of it is a problem.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::near::Pair;
use super::rows::{Rows, Split, UNLABELLED};
use super::same::{EXAMPLES, Keys, Same, Tally};
use super::words::{are, counted, have, thousands, wider};
use super::{Class, Example, Finding, Kind, LengthReport, Level, Place, Report, SplitReport};

/// Rows that cannot be read which are listed, at most.
const LISTED: usize = 20;
/// Characters of a text in an example, at most.
const SHOWN: usize = 160;
/// The largest class has this many times the rows of the smallest before that is worth a note.
const IMBALANCE: usize = 10;

/// Findings in the making.
pub(super) struct Findings<'r, 'a> {
    rows: &'r Rows<'a>,
    findings: Vec<Finding>,
    /// By split: different texts after trimming.
    distinct: Vec<usize>,
    /// By split: different normalised texts.
    distinct_normalised: Vec<usize>,
}

/// A count among `of`, and the rows that show it.
#[derive(Default)]
struct Found {
    count: usize,
    of: usize,
    exact: Option<usize>,
    other: Option<String>,
    other_label: Option<usize>,
    examples: Vec<Example>,
}

impl<'r, 'a> Findings<'r, 'a> {
    pub(super) fn new(rows: &'r Rows<'a>) -> Self {
        Self { rows, findings: Vec::new(), distinct: Vec::new(), distinct_normalised: Vec::new() }
    }

    /// Adds a finding, if it has found anything.
    fn add(&mut self, kind: Kind, level: Level, split: &str, found: Found, message: String, advice: &str) {
        let Found { count, of, exact, other, other_label, examples } = found;
        if count > 0 {
            let share = count as f64 / of.max(1) as f64;
            let (split, advice, message) = (split.to_owned(), advice.to_owned(), format!("{split}: {message}"));
            let finding =
                Finding { kind, level, split, other, count, exact, of, share, other_label, message, advice, examples };
            self.findings.push(finding);
        }
    }

    /// Rows that were left out by the reader.
    pub(super) fn unreadable(&mut self) {
        for (at, split) in self.rows.splits().iter().enumerate() {
            let tables = self.rows.tables(at);
            let count = tables.iter().map(|table| table.skipped.len()).sum::<usize>();
            let listed = tables.iter().flat_map(|table| &table.skipped).take(LISTED);
            let examples = listed.map(|text| Example { problem: Some(text.clone()), ..Example::default() }).collect();
            let found = Found { count, of: split.rows.len() + count, examples, ..Found::default() };
            let message = format!("{} empty or cannot be read", are(found.count, found.of, "row"));
            let advice = "Correct them, or train with --skip-bad, which leaves them out";
            self.add(Kind::UnreadableRows, Level::Problem, split.name, found, message, advice);
        }
    }

    /// Classes: only one, much rarer than another, unknown in the train split.
    pub(super) fn classes(&mut self) {
        let mut trained: Option<Vec<Class>> = None;
        for split in self.rows.splits() {
            let (classes, of) = (classes(self.rows, split), split.rows.len());
            if let (None, [only]) = (&trained, &classes[..]) {
                let found = Found { count: only.rows, of, ..Found::default() };
                let message = format!("all rows have the label {:?}", only.label);
                let advice =
                    "Check that --label-column names the right column; a classifier needs at least two classes";
                self.add(Kind::OneClass, Level::Problem, split.name, found, message, advice);
            }
            let most = classes.iter().max_by_key(|class| class.rows);
            if let (Some(least), Some(most)) = (classes.iter().min_by_key(|class| class.rows), most)
                && least.rows * IMBALANCE <= most.rows
            {
                let found = Found { count: least.rows, of, ..Found::default() };
                let share = thousands(least.rows);
                let message = format!("label {:?} has {share} rows, label {:?} {}", least.label, most.label, most.rows);
                let advice = "Judge by macro F1 rather than by accuracy, which a rare class hardly moves";
                self.add(Kind::Imbalance, Level::Note, split.name, found, message, advice);
            }
            match &trained {
                None if !classes.is_empty() => trained = Some(classes),
                Some(trained) => self.unknown(split, trained, &classes),
                None => {}
            }
        }
    }

    /// Labels that the first labelled split has not got.
    fn unknown(&mut self, split: &Split, trained: &[Class], classes: &[Class]) {
        let known =
            |class: &&Class| !trained.iter().any(|known| known.label.to_lowercase() == class.label.to_lowercase());
        let unknown: Vec<&Class> = classes.iter().filter(known).collect();
        let count = unknown.iter().map(|class| class.rows).sum();
        let names: Vec<&str> = unknown.iter().map(|class| class.label.as_str()).collect();
        let found = Found { count, of: split.rows.len(), ..Found::default() };
        let message = format!(
            "{} a label that the train split has not got: {}",
            have(found.count, found.of, "row"),
            crate::data::quoted(&names, 10)
        );
        let advice = "Correct the labels, or move some of these rows to the train split";
        self.add(Kind::UnknownLabels, Level::Problem, split.name, found, message, advice);
    }

    /// Equal texts by both definitions.
    pub(super) fn same(&mut self, trimmed: &Same, normalised: &Same) {
        self.distinct.clone_from(&trimmed.distinct);
        self.distinct_normalised.clone_from(&normalised.distinct);
        for (at, split) in self.rows.splits().iter().enumerate() {
            self.contradictory(split, at, trimmed, normalised);
            for (before, earlier) in self.rows.splits()[..at].iter().enumerate() {
                let none = Tally::default();
                let of = |same: &Same| same.overlap.get(&(before, at)).unwrap_or(&none).clone();
                self.overlap(split, earlier, &of(trimmed), &of(normalised));
            }
            self.repeated(split, at, trimmed, normalised);
        }
    }

    fn contradictory(&mut self, split: &Split, at: usize, trimmed: &Same, normalised: &Same) {
        let (exact, wide) = (&trimmed.contradictory[at], &normalised.contradictory[at]);
        let mut found = self.both(exact, wide, normalised.distinct[at]);
        found.of = if wide.count > exact.count { normalised.distinct[at] } else { trimmed.distinct[at] };
        let message = match exact.count {
            0 => format!("{} several labels, when only letters and digits count", have(found.count, found.of, "text")),
            count => {
                let of = trimmed.distinct[at];
                format!("{} several labels{}", have(count, of, "text"), wider(found.count, found.exact))
            }
        };
        let advice = "Decide which label is right and correct or remove the others: the model cannot learn both";
        self.add(Kind::ContradictoryLabels, Level::Problem, split.name, found, message, advice);
    }

    fn overlap(&mut self, split: &Split, earlier: &Split, exact: &Tally, wide: &Tally) {
        let mut found = self.both(exact, wide, split.rows.len());
        (found.other, found.other_label) = (Some(earlier.name.to_owned()), Some(wide.other_label));
        let (name, of) = (earlier.name, found.of);
        let mut message = match exact.count {
            0 => format!("{} in {name} too, when only letters and digits count", are(found.count, found.of, "row")),
            count => format!("{} in {name} too{}", are(count, of, "row"), wider(found.count, found.exact)),
        };
        if wide.other_label > 0 {
            message += &format!(", {} with another label", thousands(wide.other_label));
        }
        let advice = "Remove them from one of the two: a model is not judged by rows that it has learnt";
        self.add(Kind::Overlap, Level::Problem, split.name, found, message, advice);
    }

    fn repeated(&mut self, split: &Split, at: usize, trimmed: &Same, normalised: &Same) {
        let (exact, wide) = (&trimmed.repeated[at], &normalised.repeated[at]);
        let found = self.both(exact, wide, split.rows.len());
        let (of, level) = (found.of, if exact.count > 0 { Level::Problem } else { Level::Note });
        let verb = if exact.count == 1 { "repeats" } else { "repeat" };
        let message = match exact.count {
            0 => format!("{} repeated, when only letters and digits count", are(found.count, of, "row")),
            count => {
                format!("{} {verb} an earlier one{}", counted(count, of, "row"), wider(found.count, found.exact))
            }
        };
        let advice = "Remove them, unless they occur as often where the model will be used";
        self.add(Kind::RepeatedTexts, level, split.name, found, message, advice);
    }

    /// The counts of both definitions, and examples of both.
    fn both(&self, exact: &Tally, wide: &Tally, of: usize) -> Found {
        let mut pairs = exact.examples.clone();
        if wide.count > exact.count {
            pairs.truncate(EXAMPLES - 1);
            pairs.extend(
                wide.examples.iter().filter(|pair| !exact.examples.contains(pair)).take(EXAMPLES - pairs.len()),
            );
        }
        let example =
            |&(row, other): &(usize, usize)| Example { other: Some(place(self.rows, other)), ..self.example(row) };
        let examples = pairs.iter().map(example).collect();
        Found { count: wide.count.max(exact.count), of, exact: Some(exact.count), examples, ..Found::default() }
    }

    /// A row that shows something.
    fn example(&self, row: usize) -> Example {
        Example { row: Some(place(self.rows, row)), ..Example::default() }
    }

    /// Texts without letters and digits.
    pub(super) fn blank(&mut self, keys: &Keys) {
        for split in self.rows.splits() {
            let mut blank = keys.blank.iter().filter(|row| split.rows.contains(row));
            let count = blank.clone().count();
            let examples = blank.by_ref().take(EXAMPLES).map(|&row| self.example(row)).collect();
            let found = Found { count, of: split.rows.len(), examples, ..Found::default() };
            let message = format!("{} without a letter or a digit", are(found.count, found.of, "text"));
            let advice = "Check that they are texts, and that the encoding of the file is right";
            self.add(Kind::NoLetters, Level::Note, split.name, found, message, advice);
        }
    }

    /// Near duplicates.
    pub(super) fn near(&mut self, pairs: &[Pair]) {
        let mut by_splits: BTreeMap<(usize, usize), Vec<&Pair>> = BTreeMap::new();
        for pair in pairs {
            let key = (self.rows.split_of(pair.row), self.rows.split_of(pair.earlier));
            by_splits.entry(key).or_default().push(pair);
        }
        for ((at, before), pairs) in by_splits {
            let (split, earlier) = (&self.rows.splits()[at], &self.rows.splits()[before]);
            let label = |row: usize| self.rows.label(row);
            let differ = |pair: &&&Pair| {
                let (a, b) = (label(pair.row), label(pair.earlier));
                a != b && a != UNLABELLED && b != UNLABELLED
            };
            let other_label = pairs.iter().filter(differ).count();
            let example = |pair: &&Pair| Example {
                other: Some(place(self.rows, pair.earlier)),
                similarity: Some(pair.similarity),
                ..self.example(pair.row)
            };
            let examples = pairs.iter().take(EXAMPLES).map(example).collect();
            let of = self.distinct_normalised.get(at).copied().unwrap_or(split.rows.len());
            let mut found = Found { count: pairs.len(), of, examples, ..Found::default() };
            found.other_label = Some(other_label);
            let labels = match other_label {
                0 => String::new(),
                count => format!(", {} with another label", thousands(count)),
            };
            if at == before {
                let message = format!("{} nearly like an earlier one{labels}", are(found.count, found.of, "text"));
                let advice = "Look at some: copies with small changes add little, and weigh double where they agree";
                self.add(Kind::NearDuplicates, Level::Note, split.name, found, message, advice);
            } else {
                found.other = Some(earlier.name.to_owned());
                let message =
                    format!("{} nearly like one in {}{labels}", are(found.count, found.of, "text"), earlier.name);
                let advice = "Look at some: if they are copies, remove them from one of the two splits";
                self.add(Kind::NearOverlap, Level::Note, split.name, found, message, advice);
            }
        }
    }

    /// Rows that are among the bundled data.
    pub(super) fn bundled(&mut self, keys: &Keys, bundled: &Rows, theirs: &Keys) {
        for (split, pairs) in self.rows.splits().iter().zip(keys.found_in(self.rows, theirs)) {
            let example =
                |&(row, other): &(usize, usize)| Example { other: Some(place(bundled, other)), ..self.example(row) };
            let examples = pairs.iter().take(EXAMPLES).map(example).collect();
            let mut found = Found { count: pairs.len(), of: split.rows.len(), examples, ..Found::default() };
            found.other = Some("reviews".to_owned());
            let message = format!(
                "{} among the bundled reviews, when only letters and digits count",
                are(found.count, found.of, "row")
            );
            let advice =
                "Never score a model on these rows that was trained on the bundled reviews, nor the other way round";
            self.add(Kind::BundledOverlap, Level::Note, split.name, found, message, advice);
        }
    }

    /// Rows that are cut.
    pub(super) fn truncated(&mut self, lengths: &[Option<LengthReport>], max_length: usize) {
        for (split, lengths) in self.rows.splits().iter().zip(lengths) {
            let Some(lengths) = lengths else { continue };
            let example = |&(row, tokens): &(usize, usize)| Example { tokens: Some(tokens), ..self.example(row) };
            let examples = lengths.longest.iter().map(example).collect();
            let found = Found { count: lengths.truncated, of: split.rows.len(), examples, ..Found::default() };
            let message = format!("{} cut at {max_length} tokens", are(found.count, found.of, "row"));
            let advice = "Raise --max-length if what matters stands at the end; time grows with it";
            self.add(Kind::TruncatedRows, Level::Note, split.name, found, message, advice);
        }
    }

    /// The sentences of the problems.
    pub(super) fn into_problems(self) -> Vec<String> {
        let problems = self.findings.into_iter().filter(|finding| finding.level == Level::Problem);
        problems.map(|finding| finding.message).collect()
    }

    /// The whole report.
    pub(super) fn report(self, lengths: Vec<Option<LengthReport>>, max_length: usize) -> Report {
        let mut lengths = lengths.into_iter();
        let mut splits = Vec::new();
        for (at, split) in self.rows.splits().iter().enumerate() {
            let tables = self.rows.tables(at);
            splits.push(SplitReport {
                split: split.name.to_owned(),
                files: tables.iter().map(|table| table.path.clone()).collect(),
                rows: split.rows.len(),
                unreadable: tables.iter().map(|table| table.skipped.len()).sum(),
                distinct: self.distinct.get(at).copied().unwrap_or_default(),
                classes: classes(self.rows, split),
                unlabelled: self.rows.without_label(split),
                lengths: lengths.next().flatten(),
            });
        }
        let mut findings = self.findings;
        findings.sort_by_key(|finding| finding.level);
        let problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
        Report { problems, notes: findings.len() - problems, max_length, splits, findings }
    }
}

/// The classes of a split with their rows; each name of several counts.
fn classes(rows: &Rows, split: &Split) -> Vec<Class> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (class, count) in (0..).zip(rows.class_counts(split)).filter(|&(_, count)| count > 0) {
        // a row of none of several labels is of no class
        for name in rows.class_names(class).into_iter().filter(|name| !name.is_empty()) {
            *counts.entry(name).or_default() += count;
        }
    }
    let of = split.rows.len().max(1) as f64;
    let class = |(label, rows): (&str, usize)| Class { label: label.to_owned(), rows, share: rows as f64 / of };
    let mut classes: Vec<Class> = counts.into_iter().map(class).collect();
    if classes.iter().all(|class| class.label.parse::<i64>().is_ok()) {
        classes.sort_by_key(|class| class.label.parse::<i64>().ok());
    }
    classes
}

/// A row for an example.
fn place(rows: &Rows, row: usize) -> Place {
    let (file, line) = rows.line(row);
    let (text, pair) = rows.text(row);
    let whole = pair.map_or_else(|| text.trim().to_owned(), |pair| format!("{} | {}", text.trim(), pair.trim()));
    let text = match whole.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &whole[..at]),
        None => whole,
    };
    Place { file: PathBuf::from(file), line, label: rows.label_name(row).map(str::to_owned), text }
}
