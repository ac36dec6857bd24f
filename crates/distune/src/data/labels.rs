//! Class names and their ids. Called by `run` (a new model's classes), `eval` and `model` (a known model's classes).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::{Answers, PredictionFile, Table, quoted};
use crate::model::{Config, ProblemType};
use crate::{Error, Result};

/// Classes of a new head, at most: what has more is hardly a column of labels.
pub const MAX_CLASSES: usize = 1000;

/// Class names in the order of their ids, and how many of them a row has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    problem: ProblemType,
}

impl LabelMap {
    /// Classes of which a row has one or several: `names[id]`.
    pub fn new(names: Vec<String>, problem: ProblemType) -> Self {
        Self { names, problem }
    }

    /// Classes of which a row has one.
    pub fn from_names(names: Vec<String>) -> Self {
        Self::new(names, ProblemType::SingleLabel)
    }

    /// The classes of a known model.
    pub fn of_model(config: &Config) -> Self {
        Self::new(config.labels.clone(), config.problem_type)
    }

    /// The classes that occur in the tables, as written there: in numeric order if all are integers (they need not be
    /// `0..C`), else in alphabetic order. Where a table says which classes there are, and no other one occurs, those.
    ///
    /// # Errors
    /// Fewer than two classes (fewer than one, where a row has several), or more than [`MAX_CLASSES`].
    pub fn from_tables(tables: &[&Table]) -> Result<Self> {
        let several = tables.iter().any(|table| table.multi_label);
        let problem = if several { ProblemType::MultiLabel } else { ProblemType::SingleLabel };
        let occurring: BTreeSet<&str> = tables.iter().flat_map(|table| table.label_names()).collect();
        let mut names = ordered(&occurring);
        let path = tables.first().map_or(Path::new("data"), |table| &table.path);
        let error = |problem: String| {
            Err(Error::file(path, problem, "Check that --label-column names the right column, and its rows"))
        };
        if names.len() < if several { 1 } else { 2 } {
            let found = match names.first() {
                Some(name) => format!("one class only, {}", quoted(&[name], 1)),
                None => "no labels".to_owned(),
            };
            return error(format!("found {found}; at least two classes expected"));
        }
        if names.len() > MAX_CLASSES {
            let (count, some) = (names.len(), quoted(&names, 5));
            return error(format!("found {count} classes ({some}); at most {MAX_CLASSES} expected"));
        }
        let said = tables.first().map_or(&[][..], |table| &table.classes);
        if occurring.iter().all(|name| said.iter().any(|class| class == name)) {
            names = said.to_vec();
        }
        Ok(Self { names, problem })
    }

    /// The classes that occur in files of predictions and in the table of the rows that they are for. Those of the first file with
    /// probabilities are all there are, in its order; without any they are ordered as [`Self::from_tables`] does.
    ///
    /// # Errors
    /// No label of a file is one of the table's, or there are more than [`MAX_CLASSES`].
    pub fn of_predictions(files: &[&PredictionFile], table: Option<&Table>) -> Result<Self> {
        let several = files.iter().any(|file| file.several_labels) || table.is_some_and(|table| table.multi_label);
        let problem = if several { ProblemType::MultiLabel } else { ProblemType::SingleLabel };
        let names = match files.iter().find(|file| file.classes > 0) {
            Some(ranked) => ranked.names[..ranked.classes].to_vec(),
            None => occurring(files, table, problem)?,
        };
        if names.len() > MAX_CLASSES {
            let problem = format!("{} classes ({}); at most {MAX_CLASSES} expected", names.len(), quoted(&names, 5));
            let path = files.first().map_or(Path::new("predictions"), |file| &file.path);
            return Err(Error::file(path, problem, "Check that its columns are what their names say"));
        }
        Ok(Self { names, problem })
    }

    /// Of each class of `other` the id here: that of the class which the same label of `table` names in both, else that of its name.
    ///
    /// # Errors
    /// A sentence about the first class that is not here, or that is here twice.
    pub fn ids_of(&self, other: &Self, table: &Table) -> Result<Vec<u32>, String> {
        let labels: BTreeSet<&str> = table.label_names().collect();
        let both: HashMap<u32, u32> =
            labels.iter().filter_map(|label| Some((other.id(label)?, self.id(label)?))).collect();
        let mut ids: Vec<u32> = Vec::new();
        for (id, name) in (0..).zip(other.names()) {
            let found = both.get(&id).copied().or_else(|| self.id(name)).filter(|id| !ids.contains(id));
            ids.push(found.ok_or_else(|| {
                let (name, names) = (quoted(&[name], 1), quoted(self.names(), 10));
                format!("its class {name} is none of the others' classes, {names}")
            })?);
        }
        if ids.len() != self.len() || self.problem != other.problem {
            let (own, others) = (other.shown(), self.shown());
            return Err(format!("it tells {own}, the others tell {others}"));
        }
        Ok(ids)
    }

    /// "one of the labels ..." for a message.
    fn shown(&self) -> String {
        let how_many = if self.problem == ProblemType::MultiLabel { "any number" } else { "one" };
        format!("{how_many} of {}", quoted(&self.names, 10))
    }

    /// How many labels a row has.
    pub fn problem(&self) -> ProblemType {
        self.problem
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

/// The labels of a table and the other ones of files of predictions.
fn occurring(files: &[&PredictionFile], table: Option<&Table>, problem: ProblemType) -> Result<Vec<String>> {
    let mut all: BTreeSet<&str> = table.iter().flat_map(|table| table.label_names()).collect();
    let known = LabelMap::new(ordered(&all), problem);
    for file in files {
        let names = file.names.iter().map(String::as_str);
        let new: Vec<&str> = names.filter(|name| known.id(name).is_none()).collect();
        if let Some(table) = table.filter(|_| new.len() == file.names.len() && !new.is_empty()) {
            let (found, expected) = (quoted(&new, 5), quoted(known.names(), 5));
            let problem = format!("its labels ({found}) are none of those of {} ({expected})", table.path.display());
            return Err(Error::file(&file.path, problem, "Check that it is for these rows"));
        }
        all.extend(new);
    }
    Ok(ordered(&all))
}

/// Names in numeric order if all are integers, else in alphabetic order.
fn ordered(names: &BTreeSet<&str>) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    if all_integers(&names) {
        names.sort_by_key(|name| name.parse::<i64>().ok());
    }
    names
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
    /// `[N]` second texts of pairs; empty where a row is a single text.
    pub pairs: Vec<String>,
    /// The classes of each row.
    pub answers: Answers,
    /// `[N]` line of each row in the file, counted from 1.
    pub lines: Vec<u64>,
}

impl Dataset {
    /// Replaces the labels of a table by class ids.
    ///
    /// # Errors
    /// A table without labels, a label that `map` does not know, or rows of several labels where a row of `map` has one.
    pub fn new(table: Table, map: &LabelMap) -> Result<Self> {
        let answers = Self::answers(&table, map)?;
        Ok(Self { path: table.path, texts: table.texts, pairs: table.pairs, answers, lines: table.lines })
    }

    /// The class ids of the labels of a table.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn answers(table: &Table, map: &LabelMap) -> Result<Answers> {
        if table.labels.len() != table.texts.len() {
            return Err(Error::file(
                &table.path,
                "no label column, expected labels",
                "Name it with --label-column NAME",
            ));
        }
        let mut ids = Ids { table, map, known: HashMap::new() };
        let rows = 0..table.len();
        match map.problem() {
            ProblemType::SingleLabel if table.multi_label => Err(several(table)),
            ProblemType::SingleLabel => {
                let ids = rows.map(|row| ids.of(row, &table.labels[row])).collect::<Result<_>>();
                Ok(Answers::One(ids?))
            }
            ProblemType::MultiLabel => Ok(Answers::Several(rows.map(|row| ids.of_all(row)).collect::<Result<_>>()?)),
        }
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

/// Class ids of the labels of a table.
struct Ids<'a> {
    table: &'a Table,
    map: &'a LabelMap,
    known: HashMap<&'a str, u32>,
}

impl<'a> Ids<'a> {
    fn of(&mut self, row: usize, label: &'a str) -> Result<u32> {
        let id = match self.known.get(label) {
            Some(id) => *id,
            None => self.map.id(label).ok_or_else(|| unknown(self.table, self.table.lines[row], label, self.map))?,
        };
        self.known.insert(label, id);
        Ok(id)
    }

    /// Those of a row of several, each once and ascending.
    fn of_all(&mut self, row: usize) -> Result<Vec<u32>> {
        let table = self.table;
        let ids: Result<BTreeSet<u32>> = table.names_of(row).map(|name| self.of(row, name)).collect();
        Ok(ids?.into_iter().collect())
    }
}

/// The error for rows of several labels where the model has one a row.
fn several(table: &Table) -> Error {
    let row = table.labels.iter().position(|label| label.contains('|')).unwrap_or(0);
    let problem = format!(
        "several labels a row ({}), but the model tells one label a row",
        quoted(&[table.labels.get(row).map_or("", String::as_str)], 1)
    );
    let line = table.lines.get(row).copied().unwrap_or(0);
    Error::row(&table.path, line, problem, "Use a model that was trained on rows of several labels, or other data")
}

/// The error for a label that is not one of the model's.
fn unknown(table: &Table, line: u64, label: &str, map: &LabelMap) -> Error {
    let column = table.label_column.as_deref().unwrap_or("label");
    let (label, names) = (quoted(&[label], 1), quoted(map.names(), 10));
    let problem = format!("unknown label {label} in column {column:?}, expected one of {names}");
    Error::row(&table.path, line, problem, "Correct the row, or check --label-column")
}
