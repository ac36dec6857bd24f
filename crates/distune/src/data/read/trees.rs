//! The original Stanford Sentiment Treebank: a bracketed tree a line, `(3 (2 It) (4 (2 's) (4 good)))`, with a label from 0 to 4
//! for each phrase.

use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader};

use super::builder::{Builder, Cell, Row};
use super::chunks::Record;
use super::source::Source;
use super::{Table, Wanted};
use crate::{Error, Result};

/// Names of the labels 0 to 4.
const FIVE: [&str; 5] = ["very negative", "negative", "neutral", "positive", "very positive"];
/// The same in two classes; neutral ones are left out.
const TWO: [Option<&str>; 5] = [Some("negative"), Some("negative"), None, Some("positive"), Some("positive")];

/// What is taken of a treebank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Trees {
    /// Every phrase that has a label, not only whole sentences.
    pub phrases: bool,
    /// The five classes, not positive and negative alone.
    pub five_classes: bool,
}

impl Trees {
    /// All choices with their names.
    const NAMES: [(&'static str, Self); 4] = [
        ("sentences", Self { phrases: false, five_classes: false }),
        ("phrases", Self { phrases: true, five_classes: false }),
        ("sentences5", Self { phrases: false, five_classes: true }),
        ("phrases5", Self { phrases: true, five_classes: true }),
    ];
}

impl TryFrom<String> for Trees {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, trees)| *trees);
        found.ok_or_else(|| "expected sentences, phrases, sentences5 or phrases5".to_owned())
    }
}

impl From<Trees> for String {
    fn from(trees: Trees) -> Self {
        Trees::NAMES.iter().find(|(_, known)| *known == trees).map_or("", |(name, _)| name).to_owned()
    }
}

/// Reads a tree a line.
pub(super) fn read(source: Source, wanted: Wanted) -> Result<(Table, usize)> {
    let (path, trees) = (source.path, wanted.columns.trees);
    let mut input = BufReader::with_capacity(1 << 16, source.input);
    let header = ["sentence".to_owned(), "label".to_owned()];
    let mut table = Builder::new(path, &header, wanted)?;
    let (mut line, mut number, mut neutral) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        number += 1;
        if input.read_until(b'\n', &mut line).map_err(|error| Source::failed(path, Some(number), &error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let phrases = match std::str::from_utf8(&line).map_err(|_| "not UTF-8").and_then(phrases) {
            Ok(phrases) => phrases,
            Err(problem) => {
                let problem = format!("not a bracketed tree: {problem}");
                table.bad(Error::row(path, number, problem, "Expected a tree a line, such as (3 (2 It) (4 works))"))?;
                continue;
            }
        };
        for (label, text) in phrases.into_iter().take(if trees.phrases { usize::MAX } else { 1 }) {
            match if trees.five_classes { Some(FIVE[label]) } else { TWO[label] } {
                Some(name) => {
                    let label = table.columns.label.map(|_| Cell::Text(name.into()));
                    let record = table.keeps_records().then(|| Record::Fields(vec![text.clone(), name.to_owned()]));
                    table.row(
                        number,
                        Row {
                            text: Cell::Text(text.into()),
                            pair: None,
                            label,
                            group: None,
                            others: Vec::new(),
                            record,
                        },
                    )?;
                }
                None => neutral += 1,
            }
        }
    }
    let what = if trees.phrases { "phrases" } else { "sentences" };
    let classes = if trees.five_classes { FIVE.to_vec() } else { vec!["negative", "positive"] };
    let left_out = if neutral > 0 { format!("; {neutral} neutral ones were left out") } else { String::new() };
    table.note(format!("{}: trees, read as {what} of {} classes{left_out}", path.display(), classes.len()));
    table.classes(classes.into_iter().map(str::to_owned).collect());
    table.finish()
}

/// Label and words of each phrase of a tree, the whole sentence first.
fn phrases(tree: &str) -> Result<Vec<(usize, String)>, &'static str> {
    let mut phrases: Vec<(usize, String)> = Vec::new();
    // phrases that are still open
    let mut open: Vec<usize> = Vec::new();
    let mut rest = tree.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('(') {
            if open.is_empty() && !phrases.is_empty() {
                return Err("there is something behind its end");
            }
            let label = match after.as_bytes() {
                [digit @ b'0'..=b'4', b' ', ..] => usize::from(digit - b'0'),
                _ => return Err("expected a label from 0 to 4 after a bracket"),
            };
            open.push(phrases.len());
            phrases.push((label, String::new()));
            rest = after[1..].trim_start();
        } else if let Some(after) = rest.strip_prefix(')') {
            let closed = open.pop().ok_or("a bracket is closed that was not opened")?;
            if phrases[closed].1.is_empty() {
                return Err("a phrase has no words");
            }
            rest = after.trim_start();
        } else {
            let end = rest.find(['(', ')', ' ']).unwrap_or(rest.len());
            if open.is_empty() {
                return Err("there is a word outside its brackets");
            }
            let word = match &rest[..end] {
                "-LRB-" => "(",
                "-RRB-" => ")",
                word => word,
            };
            for &phrase in &open {
                let text = &mut phrases[phrase].1;
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
            }
            rest = rest[end..].trim_start();
        }
    }
    if open.is_empty() { Ok(phrases) } else { Err("a bracket is not closed") }
}
