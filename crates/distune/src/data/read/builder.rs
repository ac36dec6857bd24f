//! Checks the rows that a format gives and makes a [`Table`] of them. Called by the readers of the formats.

use std::borrow::Cow;
use std::path::Path;

use ::parquet::schema::types::TypePtr;

use super::chunks::{Chunks, Header, Record};
use super::{Table, Wanted};
use crate::data::columns::Indices;
use crate::data::quoted;
use crate::{Error, Result};

/// Between the names of a row's labels.
pub(super) const SEPARATOR: char = '|';

/// A field of a row, as a format gives it.
pub(super) enum Cell<'a> {
    /// The row has no such field.
    Missing,
    /// A field that is there and has no value.
    Null,
    /// Text whose encoding is not yet checked.
    Raw(&'a [u8]),
    Text(Cow<'a, str>),
    /// The name of a class, as the file defines it.
    Name(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Cell<'a>>),
    /// Something else, by its name.
    Other(&'static str),
}

/// What is wrong with a row, and what to do.
pub(super) type Problem = (String, &'static str);

/// The fields of a row that a table takes.
pub(super) struct Row<'a> {
    pub(super) text: Cell<'a>,
    pub(super) pair: Option<Cell<'a>>,
    pub(super) label: Option<Cell<'a>>,
    pub(super) group: Option<Cell<'a>>,
    /// Those of the further columns.
    pub(super) others: Vec<Cell<'a>>,
    /// All of them, where [`Builder::keeps_records`].
    pub(super) record: Option<Record>,
}

/// A table in the making, or chunks of one.
pub(super) struct Builder<'c> {
    table: Table,
    skip_bad: bool,
    /// Rows without a label, which only rows of several labels may be.
    unlabelled: Vec<usize>,
    /// Where the columns are.
    pub(super) columns: Indices,
    chunks: Option<Chunks<'c>>,
}

impl<'c> Builder<'c> {
    /// Finds the columns in a header.
    pub(super) fn new(path: &Path, header: &[String], wanted: Wanted<'c>) -> Result<Self> {
        let Wanted { columns, labels, mut chunks } = wanted;
        if let Some(chunks) = &mut chunks {
            chunks.header = Header { names: header.to_vec(), types: Vec::new() }.into();
        }
        let indices = columns.find(path, header, labels)?;
        let name = |index: Option<usize>| Some(header.get(index?)?.clone());
        let table = Table {
            path: path.to_owned(),
            text_column: name(Some(indices.text)).unwrap_or_default(),
            pair_column: name(indices.pair),
            label_column: name(indices.label),
            group_column: name(indices.group),
            others: indices.others.iter().filter_map(|&index| Some((name(Some(index))?, Vec::new()))).collect(),
            multi_label: columns.several_labels && indices.label.is_some(),
            ..Table::default()
        };
        Ok(Self { table, skip_bad: columns.skip_bad, unlabelled: Vec::new(), columns: indices, chunks })
    }

    /// Whether rows are to have all their columns.
    pub(super) fn keeps_records(&self) -> bool {
        self.chunks.as_ref().is_some_and(Chunks::keeps_records)
    }

    /// Says of which types the columns are, and how many rows there are.
    pub(super) fn schema(&mut self, types: &[TypePtr], rows: usize) {
        if let Some(chunks) = &mut self.chunks {
            chunks.header = Header { names: chunks.header.names.clone(), types: types.to_vec() }.into();
            chunks.total = Some(rows);
        }
    }

    /// Goes past the next row, if it is one of another shard.
    fn passes(&mut self) -> bool {
        match &mut self.chunks {
            Some(chunks) if !chunks.wants_next() => {
                chunks.pass();
                true
            }
            _ => false,
        }
    }

    /// After a row that is there, or was left out.
    fn end_row(&mut self, record: Option<Record>) -> Result<()> {
        self.chunks.as_mut().map_or(Ok(()), |chunks| chunks.row(&mut self.table, record))
    }

    /// Remembers what was assumed.
    pub(super) fn note(&mut self, note: String) {
        self.table.notes.push(note);
    }

    /// Says which classes there are, in the order of their ids.
    pub(super) fn classes(&mut self, names: Vec<String>) {
        self.table.classes = names;
    }

    /// Appends a row that begins on line `line`.
    pub(super) fn row(&mut self, line: u64, mut row: Row) -> Result<()> {
        if self.passes() {
            return Ok(());
        }
        let record = row.record.take();
        let names = self.table.others.iter().map(|(name, _)| name);
        let others = std::mem::take(&mut row.others).into_iter().zip(names).map(|(cell, name)| value(cell, name));
        let others: Result<Vec<String>, Problem> = others.collect();
        match others.and_then(|others| Ok((self.checked(row)?, others))) {
            Ok(([text, pair, label, group], others)) => {
                let label = label.inspect(|label| {
                    if label.is_empty() {
                        self.unlabelled.push(self.table.len());
                    }
                });
                let table = &mut self.table;
                table.texts.extend(text);
                table.pairs.extend(pair);
                table.labels.extend(label);
                table.groups.extend(group);
                table.others.iter_mut().zip(others).for_each(|((_, values), value)| values.push(value));
                table.lines.push(line);
                self.end_row(record)
            }
            Err((problem, hint)) => self.left_out(Error::row(&self.table.path, line, problem, hint)),
        }
    }

    /// Text, pair, label and group of a row.
    fn checked(&mut self, row: Row) -> Result<[Option<String>; 4], Problem> {
        let Self { table, .. } = self;
        let text = text(row.text, "text", &table.text_column)?;
        let second = |cell: Option<Cell>, what, name: &Option<String>| {
            cell.map(|cell| self::text(cell, what, name.as_deref().unwrap_or(what))).transpose()
        };
        let pair = second(row.pair, "second text", &table.pair_column)?;
        let group = second(row.group, "group", &table.group_column)?;
        let column = table.label_column.as_deref().unwrap_or("label");
        let label = match row.label {
            Some(Cell::List(names)) => {
                let names: Vec<String> =
                    names.into_iter().map(|name| one_of_several(name, column)).collect::<Result<_, _>>()?;
                table.multi_label = true;
                Some(names.join("|"))
            }
            label => label.map(|cell| label_name(cell, column)).transpose()?,
        };
        Ok([Some(text), pair, label, group])
    }

    /// A row that cannot be used: an error, unless such rows are to be left out.
    pub(super) fn bad(&mut self, error: Error) -> Result<()> {
        if self.passes() { Ok(()) } else { self.left_out(error) }
    }

    fn left_out(&mut self, error: Error) -> Result<()> {
        if !self.skip_bad {
            return Err(error);
        }
        self.table.skipped.push(error.to_string());
        self.end_row(None)
    }

    /// The table, which has rows unless they went into chunks, and how many rows of all files those were.
    pub(super) fn finish(mut self) -> Result<(Table, usize)> {
        if let Some(chunks) = &mut self.chunks {
            chunks.finish(&mut self.table)?;
            return Ok((self.table, chunks.seen));
        }
        self.several_labels();
        if !self.table.multi_label {
            self.leave_out_unlabelled()?;
        }
        let table = self.table;
        if table.is_empty() {
            let problem = match table.skipped.first() {
                Some(first) => format!("all its {} rows are bad, the first one: {first}", table.skipped.len()),
                None => "no rows".to_owned(),
            };
            return Err(Error::file(&table.path, problem, "Expected one row for each text"));
        }
        let rows = table.len();
        Ok((table, rows))
    }

    /// Where a row has several names, each row is a list of them.
    fn several_labels(&mut self) {
        let table = &mut self.table;
        if !table.multi_label {
            // names that the file defines are whole
            if !table.classes.is_empty() || !table.labels.iter().any(|label| label.contains(SEPARATOR)) {
                return;
            }
            table.multi_label = true;
            let column = table.label_column.as_deref().unwrap_or("label");
            table.notes.push(format!(
                "{}: some rows of column {column:?} have several labels, with | between them",
                table.path.display()
            ));
        }
        for label in &mut table.labels {
            let mut names: Vec<&str> = Vec::new();
            for name in label.split(SEPARATOR).map(str::trim).filter(|name| !name.is_empty()) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            *label = names.join("|");
        }
    }

    /// Without several labels a row, a row without a label is a bad one.
    fn leave_out_unlabelled(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.unlabelled);
        let column = quoted(&[self.table.label_column.as_deref().unwrap_or("label")], 1);
        for &row in &rows {
            let line = self.table.lines[row];
            self.bad(Error::row(&self.table.path, line, format!("the label in column {column} is empty"), BLANK))?;
        }
        if !rows.is_empty() {
            let kept: Vec<usize> = (0..self.table.len()).filter(|row| rows.binary_search(row).is_err()).collect();
            let mut table = self.table.without_rows();
            table.extend_from(&self.table, &kept);
            (table.notes, table.skipped) =
                (std::mem::take(&mut self.table.notes), std::mem::take(&mut self.table.skipped));
            self.table = table;
        }
        Ok(())
    }
}

/// What to do about a blank field.
pub(super) const BLANK: &str = "Fill it in or remove the row";

/// A field that must be text and not blank.
pub(super) fn text(cell: Cell, what: &str, column: &str) -> Result<String, Problem> {
    let column = quoted(&[column], 1);
    let text = match cell {
        Cell::Raw(bytes) => utf8(bytes, &column)?.to_owned(),
        Cell::Text(text) => text.into_owned(),
        Cell::Null => String::new(),
        Cell::Missing => return Err((format!("there is no field {column} in this row"), "Add it, or remove the row")),
        Cell::Integer(number) if what == "group" => number.to_string(),
        other => {
            let problem = format!("the {what} in column {column} is {}, expected text in quotes", name(&other));
            return Err((problem, "Check which column is named"));
        }
    };
    if text.trim().is_empty() { Err((format!("the {what} in column {column} is empty"), BLANK)) } else { Ok(text) }
}

/// A field of a further column as text, whatever it is; nothing where the row has none.
fn value(cell: Cell, column: &str) -> Result<String, Problem> {
    match cell {
        Cell::Missing | Cell::Null => Ok(String::new()),
        Cell::Raw(bytes) => Ok(utf8(bytes, &quoted(&[column], 1))?.to_owned()),
        Cell::Text(text) => Ok(text.into_owned()),
        Cell::Name(name) => Ok(name),
        Cell::Integer(number) => Ok(number.to_string()),
        Cell::Float(number) => Ok(number.to_string()),
        Cell::Boolean(value) => Ok(value.to_string()),
        Cell::List(_) | Cell::Other(_) => {
            let problem = format!("column {} is {}, expected text or a number", quoted(&[column], 1), name(&cell));
            Err((problem, "Name another column"))
        }
    }
}

/// The name of a row's only label; blank where there is none.
pub(super) fn label_name(cell: Cell, column: &str) -> Result<String, Problem> {
    let column = quoted(&[column], 1);
    match cell {
        Cell::Raw(bytes) => of_text(utf8(bytes, &column)?, &column),
        Cell::Text(text) => of_text(&text, &column),
        Cell::Name(name) => Ok(name),
        Cell::Null => Ok(String::new()),
        Cell::Integer(number) => Ok(number.to_string()),
        Cell::Boolean(value) => Ok(value.to_string()),
        Cell::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(format!("{number:.0}")),
        Cell::Float(number) => Err(fraction(&number.to_string(), &column)),
        Cell::Missing => Err((format!("there is no field {column} in this row"), "Add it, or remove the row")),
        Cell::List(_) | Cell::Other(_) => {
            let problem = format!(
                "the label in column {column} is {}, expected a name, an integer or a list of them",
                name(&cell)
            );
            Err((problem, "Check --label-column"))
        }
    }
}

/// One of several labels of a row.
pub(super) fn one_of_several(cell: Cell, column: &str) -> Result<String, Problem> {
    let name = label_name(cell, column)?;
    let column = quoted(&[column], 1);
    if name.is_empty() || name.contains(SEPARATOR) {
        let problem = format!("a label in the list of column {column} is {name:?}, which is blank or has a | in it");
        return Err((problem, "Rename it"));
    }
    Ok(name)
}

/// A label written as text: a whole number loses its ".0".
fn of_text(text: &str, column: &str) -> Result<String, Problem> {
    let text = text.trim();
    // "nan" and "inf" are names
    let number = text.bytes().any(|byte| byte.is_ascii_digit()).then(|| text.parse::<f64>().ok()).flatten();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    match number {
        Some(number) if number.is_finite() && number.fract() != 0.0 => Err(fraction(text, column)),
        Some(_) if plain => {
            let whole = text.trim_end_matches('0').strip_suffix('.').filter(|whole| !["", "-", "+"].contains(whole));
            Ok(whole.unwrap_or(text).to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// The problem of a label that is a number with a fraction.
fn fraction(number: &str, column: &str) -> Problem {
    let problem =
        format!("the label in column {column} is {number}, a number with a fraction; expected a name or an integer");
    (problem, "Check --label-column, or make classes of the numbers")
}

/// Checks the encoding.
pub(super) fn utf8<'a>(bytes: &'a [u8], column: &str) -> Result<&'a str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        (
            format!("column {column} is not UTF-8 after its first {} bytes", error.valid_up_to()),
            "Save the file as UTF-8",
        )
    })
}

/// What a field is, for messages.
pub(super) fn name(cell: &Cell) -> String {
    match cell {
        Cell::Missing | Cell::Null => "nothing".into(),
        Cell::Raw(_) | Cell::Text(_) | Cell::Name(_) => "text".into(),
        Cell::Integer(number) => format!("the number {number}"),
        Cell::Float(number) => format!("the number {number}"),
        Cell::Boolean(value) => value.to_string(),
        Cell::List(_) => "a list".into(),
        Cell::Other(name) => (*name).into(),
    }
}
