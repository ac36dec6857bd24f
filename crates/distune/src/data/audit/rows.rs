//! The rows of all splits, numbered through.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::data::Table;

/// The label of a row that has none.
pub(super) const UNLABELLED: u32 = u32::MAX;

/// Rows of all splits, split after split, file after file. A row's number counts through all of them.
pub(super) struct Rows<'a> {
    splits: Vec<Split<'a>>,
    tables: Vec<&'a Table>,
    /// First row of each table.
    starts: Vec<usize>,
    /// `[N]` class of each row, or [`UNLABELLED`].
    labels: Vec<u32>,
    /// Names of the classes of all splits, in the order in which they first occur.
    classes: Vec<String>,
    /// Whether a row may have several labels, with `|` between their names.
    several: bool,
}

/// Rows and files of a split.
pub(super) struct Split<'a> {
    pub(super) name: &'a str,
    pub(super) rows: Range<usize>,
    pub(super) tables: Range<usize>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(parts: impl Iterator<Item = (&'a str, Vec<&'a Table>)>) -> Self {
        let mut all = Self {
            splits: Vec::new(),
            tables: Vec::new(),
            starts: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            several: false,
        };
        let mut ids = HashMap::new();
        for (name, tables) in parts {
            let (first_row, first_table) = (all.len(), all.tables.len());
            for table in tables {
                all.starts.push(all.len());
                all.tables.push(table);
                all.several |= table.multi_label;
                all.take_labels(table, &mut ids);
            }
            all.splits.push(Split { name, rows: first_row..all.len(), tables: first_table..all.tables.len() });
        }
        all
    }

    /// Class ids of a table. Labels that are all -1 mean unknown, as in the hub's copies of GLUE's test files.
    fn take_labels(&mut self, table: &'a Table, ids: &mut HashMap<String, u32>) {
        let end = self.len() + table.len();
        if table.labels.iter().any(|label| label != "-1") {
            for label in &table.labels {
                let id = match ids.get(label.as_str()) {
                    Some(&id) => id,
                    None => self.new_label(label, table.multi_label, ids),
                };
                self.labels.push(id);
            }
        }
        self.labels.resize(end, UNLABELLED);
    }

    /// The id of a label that was not written like this before; several names are a set.
    fn new_label(&mut self, label: &str, several: bool, ids: &mut HashMap<String, u32>) -> u32 {
        let mut names: Vec<&str> = if several { label.split('|').collect() } else { vec![label] };
        names.sort_unstable();
        let name = names.join("|");
        let id = *ids.entry(name.clone()).or_insert_with(|| {
            self.classes.push(name);
            self.classes.len() as u32 - 1
        });
        ids.insert(label.to_owned(), id);
        id
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn splits(&self) -> &[Split<'a>] {
        &self.splits
    }

    /// The number of the split that a row is in.
    pub(super) fn split_of(&self, row: usize) -> usize {
        self.splits.partition_point(|split| split.rows.end <= row)
    }

    /// The files of a split.
    pub(super) fn tables(&self, split: usize) -> &[&'a Table] {
        self.splits.get(split).and_then(|split| self.tables.get(split.tables.clone())).unwrap_or_default()
    }

    /// The file of a row, and its number in the file.
    fn place(&self, row: usize) -> (&'a Table, usize) {
        let table = self.starts.partition_point(|&start| start <= row) - 1;
        (self.tables[table], row - self.starts[table])
    }

    /// A row's file and line.
    pub(super) fn line(&self, row: usize) -> (&'a Path, u64) {
        let (table, index) = self.place(row);
        (&table.path, table.lines[index])
    }

    /// A row's text, and its second text if it has one.
    pub(super) fn text(&self, row: usize) -> (&'a str, Option<&'a str>) {
        let (table, index) = self.place(row);
        (&table.texts[index], table.pairs.get(index).map(String::as_str))
    }

    /// A row's class, or [`UNLABELLED`].
    pub(super) fn label(&self, row: usize) -> u32 {
        self.labels[row]
    }

    /// The name of a row's class.
    pub(super) fn label_name(&self, row: usize) -> Option<&str> {
        self.class_name(self.labels[row])
    }

    fn class_name(&self, class: u32) -> Option<&str> {
        self.classes.get(class as usize).map(String::as_str)
    }

    /// The names of a class: several where a row may have several labels.
    pub(super) fn class_names(&self, class: u32) -> Vec<&str> {
        let name = self.class_name(class).unwrap_or_default();
        if self.several { name.split('|').collect() } else { vec![name] }
    }

    /// The rows of a split that have none of several labels.
    pub(super) fn without_label(&self, split: &Split) -> usize {
        let none = self.classes.iter().position(String::is_empty);
        none.map_or(0, |class| self.class_counts(split)[class])
    }

    /// `[C]` rows of each class in a split.
    pub(super) fn class_counts(&self, split: &Split) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for &label in &self.labels[split.rows.clone()] {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}
