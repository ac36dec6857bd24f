//! JSON Lines (an object a line), and JSON files that are one array of objects.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Table;
use super::builder::{Builder, Cell, Row};
use super::chunks::Record;
use super::source::Source;
use crate::data::columns::means_label;
use crate::data::{Columns, Labels};
use crate::{Error, Result};

/// What to do about a row that is no object.
pub(super) const HINT: &str = "Expected an object a line, such as {\"text\": \"...\", \"label\": \"...\"}";

/// Reads an object a line, or an array of objects.
pub(super) fn read<'a>(source: Source<'a>, wanted: super::Wanted<'a>) -> Result<(Table, usize)> {
    let (columns, labels) = (wanted.columns, wanted.labels);
    let mut rows = Objects { path: source.path, table: None, keys: Vec::new(), columns, labels, wanted: Some(wanted) };
    each_object(source, |line, object| rows.row(line, object))?;
    rows.finish()
}

/// Hands on each object of a file, of one a line or of an array of them, with its line.
pub(super) fn each_object(source: Source, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    if source.head.trim_ascii_start().starts_with(b"[") {
        return each_of_array(source, take);
    }
    let path = source.path;
    let mut input = BufReader::with_capacity(1 << 16, source.input);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        if input.read_until(b'\n', &mut line).map_err(|error| Source::failed(path, Some(number), &error))? == 0 {
            return Ok(());
        }
        if !line.trim_ascii().is_empty() {
            take(number, &line)?;
        }
    }
}

/// Reads a whole array, so that each object's line is known.
fn each_of_array(mut source: Source, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let path = source.path;
    let mut bytes = Vec::new();
    source.input.read_to_end(&mut bytes).map_err(|error| Source::failed(path, None, &error))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        Error::row(path, line, "this line is not UTF-8", "Save the file as UTF-8")
    })?;
    let objects: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
        Error::row(
            path,
            error.line() as u64,
            format!("not JSON: {error}"),
            "Expected an array of objects, one for each row",
        )
    })?;
    let (mut line, mut counted) = (1, 0);
    for object in objects {
        // the objects are parts of the text
        let start = object.get().as_ptr().addr() - text.as_ptr().addr();
        line += bytes[counted..start].iter().filter(|&&byte| byte == b'\n').count() as u64;
        counted = start;
        take(line, object.get().as_bytes())?;
    }
    Ok(())
}

/// Objects on their way to a table; the first one says which keys there are.
struct Objects<'a> {
    path: &'a std::path::Path,
    table: Option<Builder<'a>>,
    /// What the table is made with.
    wanted: Option<super::Wanted<'a>>,
    /// Keys of text, pair, label and group, and of the further columns.
    keys: Vec<Option<String>>,
    columns: &'a Columns,
    labels: Labels,
}

impl Objects<'_> {
    /// Takes the object on line `line`.
    fn row(&mut self, line: u64, json: &[u8]) -> Result<()> {
        let Self { path, columns, labels, .. } = *self;
        let table = match &mut self.table {
            Some(table) => table,
            none => {
                let first: Keys = match serde_json::from_slice(json) {
                    Ok(first) => first,
                    Err(error) => return Err(Error::row(path, line, wrong(&error, json), HINT)),
                };
                let wanted = self.wanted.take().unwrap_or(super::Wanted { columns, labels, chunks: None });
                let table = Builder::new(path, &first.0, wanted)?;
                let at = &table.columns;
                let key = |index: Option<usize>| first.0.get(index?).cloned();
                self.keys = vec![key(Some(at.text)), key(at.pair), key(at.label), key(at.group)];
                self.keys.extend(at.others.iter().map(|&index| key(Some(index))));
                none.insert(table)
            }
        };
        let mut input = serde_json::Deserializer::from_slice(json);
        let left_out = labels != Labels::Ignored && self.keys[2].is_none() && columns.label.is_none();
        let wanted = Wanted { keys: &self.keys, label_left_out: left_out };
        let read = wanted.deserialize(&mut input).and_then(|cells| input.end().map(|()| cells));
        match read {
            // what is in fields that are not read has been passed over
            Ok(_) if table.keeps_records() && std::str::from_utf8(json).is_err() => {
                table.bad(Error::row(path, line, "not UTF-8", "Save the file as UTF-8"))
            }
            Ok(mut cells) => {
                let others = cells.split_off(4);
                let record =
                    table.keeps_records().then(|| Record::Json(String::from_utf8_lossy(json.trim_ascii()).into()));
                let mut take = |index: usize| std::mem::replace(&mut cells[index], Cell::Missing);
                let mut asked = |index: usize| self.keys[index].as_ref().map(|_| take(index));
                let [pair, label, group] = [1, 2, 3].map(&mut asked);
                table.row(line, Row { text: take(0), pair, label, group, others, record })
            }
            Err(error) => table.bad(Error::row(path, line, wrong(&error, json), HINT)),
        }
    }

    fn finish(self) -> Result<(Table, usize)> {
        match self.table {
            Some(table) => table.finish(),
            None => Err(Error::file(self.path, "the file is empty", HINT)),
        }
    }
}

/// The field that is not UTF-8: the first one that has the sign for it once the object is read in spite of that.
fn not_utf8(json: &[u8]) -> Option<String> {
    std::str::from_utf8(json).err()?;
    let object: Map<String, Value> = serde_json::from_str(&String::from_utf8_lossy(json)).ok()?;
    let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    object.into_iter().find(|(key, value)| replaced(key) || replaced(&value.to_string())).map(|(key, _)| key)
}

/// What is wrong with an object, without the line, which is another one in its file.
pub(super) fn wrong(error: &serde_json::Error, json: &[u8]) -> String {
    if let Some(column) = not_utf8(json) {
        return format!("column {column:?} is not UTF-8, at byte {} of the row", error.column());
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    format!("not a JSON object: {text}, at byte {} of the row", error.column())
}

/// The keys of an object in their order.
pub(super) struct Keys(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        input.deserialize_map(KeysVisitor)
    }
}

/// Reads the values of these keys.
struct Wanted<'k> {
    keys: &'k [Option<String>],
    /// Whether no label is read because the first object has none; then a later one would be lost.
    label_left_out: bool,
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Vec<Cell<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Vec<Cell<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut cells: Vec<Cell> = self.keys.iter().map(|_| Cell::Missing).collect();
        while let Some(Key(key)) = map.next_key()? {
            match self.keys.iter().position(|wanted| wanted.as_deref() == Some(&*key)) {
                Some(index) if !matches!(cells[index], Cell::Missing) => {
                    return Err(serde::de::Error::custom(format_args!("two fields are called {key:?}")));
                }
                Some(index) => cells[index] = map.next_value()?,
                None if self.label_left_out && means_label(&key) => {
                    return Err(serde::de::Error::custom(format_args!("the first row has no field {key:?}")));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(cells)
    }
}

/// A key, without a copy where it needs none.
#[derive(Deserialize)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Cell<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct CellVisitor;
        impl<'de> Visitor<'de> for CellVisitor {
            type Value = Cell<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
                Ok(Cell::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Cell<'de>, E> {
                Ok(Cell::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Cell<'de>, E> {
                Ok(Cell::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Cell<'de>, E> {
                Ok(i64::try_from(value).map_or(Cell::Other("an integer beyond 64 bits"), Cell::Integer))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Cell<'de>, E> {
                Ok(Cell::Float(value))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
                Ok(Cell::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell<'de>, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = seq.next_element()? {
                    cells.push(cell);
                }
                Ok(Cell::List(cells))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Cell::Other("an object"))
            }
        }
        input.deserialize_any(CellVisitor)
    }
}
