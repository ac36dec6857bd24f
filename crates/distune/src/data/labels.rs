//! Class names and their ids. Called by `run` (a new model's classes), `eval` and `model` (a known model's classes).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::{Table, quoted};
use crate::{Error, Result};

/// Class names in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
}

impl LabelMap {
    /// The classes of a known model: `names[id]`.
    pub fn from_names(names: Vec<String>) -> Self {
        Self { names }
    }

    /// The classes that occur in the tables, as written there: in numeric order if all are integers (they need not be
    /// `0..C`), else in alphabetic order.
    ///
    /// # Errors
    /// Fewer than two classes.
    pub fn from_tables(tables: &[&Table]) -> Result<Self> {
        let names: BTreeSet<&str> = tables.iter().flat_map(|table| &table.labels).map(String::as_str).collect();
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if names.len() < 2 {
            let path = tables.first().map_or(Path::new("data"), |table| &table.path);
            let found = match names.first() {
                Some(name) => format!("one class only, {}", quoted(&[name], 1)),
                None => "no labels".to_owned(),
            };
            let problem = format!("found {found}; at least two classes expected");
            return Err(Error::file(path, problem, "Check that --label-column names the right column"));
        }
        if all_integers(&names) {
            names.sort_by_key(|name| name.parse::<i64>().ok());
        }
        Ok(Self { names })
    }

    /// Class names in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The id of a label as found in data: the class with that name, or else with that name in another case, or else
    /// `LABEL_<id>`, or else the id itself. The last is not tried where the names are integers themselves: for a
    /// model of classes 1 to 5, a label 0 is a mistake and not another word for 1.
    pub fn id(&self, label: &str) -> Option<u32> {
        let exact = self.names.iter().position(|name| name == label);
        let index = exact.or_else(|| self.in_other_case(label)).or_else(|| self.numbered(label))?;
        u32::try_from(index).ok()
    }

    /// The only class whose name differs from the label in case alone.
    fn in_other_case(&self, label: &str) -> Option<usize> {
        let label = label.to_lowercase();
        let mut matching = (0..self.len()).filter(|&index| self.names[index].to_lowercase() == label);
        let first = matching.next();
        if matching.next().is_none() { first } else { None }
    }

    /// The class with the id `k` that a label `LABEL_k` or `k` names.
    fn numbered(&self, label: &str) -> Option<usize> {
        let digits = match label.strip_prefix("LABEL_") {
            Some(digits) => digits,
            None if all_integers(&self.names) => return None,
            None => label,
        };
        digits.parse().ok().filter(|&index| index < self.len())
    }
}

/// Whether all names are integers.
fn all_integers(names: &[String]) -> bool {
    names.iter().all(|name| name.parse::<i64>().is_ok())
}

/// Texts with class ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The file that the rows come from.
    pub path: PathBuf,
    /// `[N]` texts.
    pub texts: Vec<String>,
    /// `[N]` class ids.
    pub labels: Vec<u32>,
    /// `[N]` line of each row in the file, counted from 1.
    pub lines: Vec<u64>,
}

impl Dataset {
    /// Replaces the labels of a table by class ids.
    ///
    /// # Errors
    /// A table without labels, or a label that `map` does not know.
    pub fn new(table: Table, map: &LabelMap) -> Result<Self> {
        if table.labels.len() != table.texts.len() {
            return Err(Error::file(
                &table.path,
                "no label column, expected labels",
                "Name it with --label-column NAME",
            ));
        }
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut labels = Vec::with_capacity(table.len());
        for (label, &line) in table.labels.iter().zip(&table.lines) {
            let id = match known.get(label.as_str()) {
                Some(&id) => id,
                None => map.id(label).ok_or_else(|| unknown(&table, line, label, map))?,
            };
            known.insert(label, id);
            labels.push(id);
        }
        Ok(Self { path: table.path, texts: table.texts, labels, lines: table.lines })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// The error for a label that is not one of the model's.
fn unknown(table: &Table, line: u64, label: &str, map: &LabelMap) -> Error {
    let column = table.label_column.as_deref().unwrap_or("label");
    let (label, names) = (quoted(&[label], 1), quoted(map.names(), 10));
    let problem = format!("unknown label {label} in column {column:?}, expected one of {names}");
    Error::row(&table.path, line, problem, "Correct the row, or check --label-column")
}
