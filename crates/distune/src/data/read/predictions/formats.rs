//! The formats of files of predictions: JSON lines, delimited text, Parquet.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use ::parquet::record::Field;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::super::builder::{Cell, Problem, name, utf8};
use super::super::delimited::Rows;
use super::super::json::{HINT as OBJECT_HINT, Key, Keys, each_object, wrong as wrong_object};
use super::super::parquet::{cell, open, projected};
use super::super::source::Source;
use super::{Builder, HINT, PROBABILITY, PredictionFile};
use crate::data::quoted;
use crate::{Error, Result};

/// The error for a file without a header or a first row.
fn empty(path: &Path) -> Error {
    Error::file(path, "the file is empty", HINT)
}

pub(super) fn delimited(source: Source, delimiter: u8) -> Result<PredictionFile> {
    let path = source.path;
    let mut rows = Rows::new(source, delimiter)?;
    let header = rows.header()?.ok_or_else(|| empty(path))?;
    if let Some(error) = rows.wrong_quoting(&header) {
        return Err(error);
    }
    let mut builder = Builder::new(path, &header)?;
    if let Some(place) = builder.places.all {
        let problem = format!("column {:?} would have to be an object, which this format has not got", header[place]);
        return Err(Error::file(path, problem, HINT));
    }
    let each = builder.places.each.clone();
    while rows.advance()? {
        if let Some(error) = rows.problem(&header) {
            return Err(error);
        }
        builder.begin();
        let field = |place: usize| rows.record.get(place).unwrap_or_default();
        for (class, &place) in each.iter().enumerate() {
            let taken = number(field(place), &header[place]).and_then(|p| {
                let name = &header[place][PROBABILITY.len()..];
                builder.probability(name, class, p)
            });
            taken.map_err(|(problem, hint)| Error::row(path, rows.line, problem, hint))?;
        }
        builder.row(rows.line, builder.places.cells.map(|place| place.map(|place| Cell::Raw(field(place)))))?;
    }
    builder.finish()
}

/// A number of a text format.
fn number(field: &[u8], column: &str) -> Result<f64, Problem> {
    let column = quoted(&[column], 1);
    let text = utf8(field, &column)?.trim();
    text.parse().map_err(|_| (format!("column {column} has {}, expected a number", quoted(&[text], 1)), ""))
}

pub(super) fn parquet(mut source: Source) -> Result<PredictionFile> {
    let path = source.path;
    let reader = open(&mut source)?;
    let root = reader.metadata().file_metadata().schema();
    let header: Vec<String> = root.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut builder = Builder::new(path, &header)?;
    let (cells, all, each) = (builder.places.cells, builder.places.all, builder.places.each.clone());
    let is_wanted = |place: &usize| cells.contains(&Some(*place)) || all == Some(*place) || each.contains(place);
    let wanted: Vec<usize> = (0..header.len()).filter(is_wanted).collect();
    for (line, row) in (1..).zip(projected(path, &*reader, &wanted)?) {
        let mut fields: HashMap<usize, Field> = wanted.iter().copied().zip(row?).collect();
        builder.begin();
        let taken = each.iter().chain(&all).try_for_each(|place| {
            let field = fields.remove(place).unwrap_or(Field::Null);
            builder.field(&header[*place], field)
        });
        taken.map_err(|(problem, hint)| Error::row(path, line, problem, hint))?;
        builder.row(line, cells.map(|place| Some(cell(fields.remove(&place?).unwrap_or(Field::Null)))))?;
    }
    builder.finish()
}

impl Builder {
    /// Takes a column of a row of Parquet: the probability of one class, or a structure or a map of those of all.
    fn field(&mut self, column: &str, field: Field) -> Result<(), Problem> {
        let number = |name: &str, field: Field| match cell(field) {
            Cell::Float(p) => Ok(p),
            Cell::Integer(p) => Ok(p as f64),
            other => Err((format!("column {column:?} has {} for {name:?}, expected a number", self::name(&other)), "")),
        };
        match (field, column.strip_prefix(PROBABILITY)) {
            (field, Some(class)) => self.probability(class, usize::MAX, number(class, field)?),
            (Field::Group(row), _) => (0..).zip(row.into_columns()).try_for_each(|(place, (class, field))| {
                let p = number(&class, field)?;
                self.probability(&class, place, p)
            }),
            (Field::MapInternal(map), _) => {
                (0..).zip(map.entries()).try_for_each(|(place, (class, field))| match class {
                    Field::Str(class) => self.probability(class, place, number(class, field.clone())?),
                    _ => Err((format!("column {column:?} has keys that are no names"), "")),
                })
            }
            (field, _) => {
                let found = self::name(&cell(field));
                Err((format!("column {column:?} has {found}, expected a structure of class names and numbers"), ""))
            }
        }
    }
}

pub(super) fn json(source: Source) -> Result<PredictionFile> {
    let path = source.path;
    let mut builder: Option<Builder> = None;
    each_object(source, |line, object| {
        let wrong = |error| Error::row(path, line, wrong_object(&error, object), OBJECT_HINT);
        let builder = match &mut builder {
            Some(builder) => builder,
            none => {
                let keys: Keys = serde_json::from_slice(object).map_err(wrong)?;
                none.insert(Builder::new(path, &keys.0)?)
            }
        };
        builder.begin();
        let mut input = serde_json::Deserializer::from_slice(object);
        let cells = Object(builder).deserialize(&mut input).and_then(|cells| input.end().map(|()| cells));
        let cells = cells.map_err(|error| match builder.problem.take() {
            Some((problem, hint)) => Error::row(path, line, problem, hint),
            None => wrong(error),
        })?;
        builder.row(line, cells)
    })?;
    builder.ok_or_else(|| empty(path))?.finish()
}

impl Builder {
    /// As [`Self::probability`], within an object.
    fn json_probability<E: serde::de::Error>(&mut self, name: &str, place: usize, p: f64) -> Result<(), E> {
        self.probability(name, place, p).map_err(|problem| E::custom(&self.problem.insert(problem).0))
    }
}

/// An object, whose probabilities the builder takes.
struct Object<'a>(&'a mut Builder);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = [Option<Cell<'de>>; 4];

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = [Option<Cell<'de>>; 4];

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let builder = self.0;
        let mut cells = builder.places.cells.map(|place| place.map(|_| Cell::Missing));
        let name =
            |builder: &Builder, place: Option<usize>, key: &str| place.is_some_and(|at| builder.header[at] == key);
        while let Some(Key(key)) = map.next_key()? {
            if let Some(at) = (0..4).find(|&at| name(builder, builder.places.cells[at], &key)) {
                cells[at] = Some(map.next_value()?);
            } else if name(builder, builder.places.all, &key) {
                map.next_value_seed(Probabilities(builder))?;
            } else if let Some(class) = key.strip_prefix(PROBABILITY) {
                let p: f64 = map.next_value()?;
                builder.json_probability(class, usize::MAX, p)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(cells)
    }
}

/// An object of class names and probabilities.
struct Probabilities<'a>(&'a mut Builder);

impl<'de> DeserializeSeed<'de> for Probabilities<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Probabilities<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of class names and probabilities")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some((Key(class), p)) = map.next_entry::<Key, f64>()? {
            self.0.json_probability(&class, place, p)?;
            place += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArrayType, DoubleType};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    /// Writes three rows: texts, and columns of probabilities in the order of the schema.
    fn write_parquet(path: &Path, schema: &str, columns: [[f64; 3]; 2]) {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = std::fs::File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::new())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut texts = group.next_column().unwrap().unwrap();
        let values = ["one", "two", "three"].map(|text| text.into());
        texts.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        texts.close().unwrap();
        for column in columns {
            let mut to = group.next_column().unwrap().unwrap();
            to.typed::<DoubleType>().write_batch(&column, None, None).unwrap();
            to.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn probabilities_of_parquet() {
        let directory = tempfile::tempdir().unwrap();
        let [flat, nested] = ["flat.parquet", "nested.parquet"].map(|name| directory.path().join(name));
        let columns = [[0.75, 0.5, 0.0], [0.25, 0.5, 1.0]];
        let doubles = "required double probability_no; required double probability_yes;";
        write_parquet(&flat, &format!("message m {{ required binary text (UTF8); {doubles} }}"), columns);
        let group = "required group probabilities { required double no; required double yes; }";
        write_parquet(&nested, &format!("message m {{ required binary text (UTF8); {group} }}"), columns);
        let flat = PredictionFile::read(&flat).unwrap();
        assert_eq!((flat.names.clone(), flat.classes, flat.len()), (vec!["no".to_owned(), "yes".to_owned()], 2, 3));
        assert_eq!(flat.probabilities, [0.75, 0.25, 0.5, 0.5, 0.0, 1.0]);
        assert_eq!((flat.texts.join(" "), &flat.predicted), ("one two three".to_owned(), &None));
        let nested = PredictionFile::read(&nested).unwrap();
        assert_eq!(PredictionFile { path: flat.path.clone(), ..nested }, flat);
    }

    #[test]
    fn a_bad_probability_is_told_with_its_row() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.parquet");
        let schema = "message m { required binary text (UTF8); required double probability_no; required double probability_yes; }";
        write_parquet(&path, schema, [[0.5, f64::NAN, 0.5], [0.5; 3]]);
        let message = PredictionFile::read(&path).unwrap_err().to_string();
        assert!(
            message.contains("line 2: the probability of \"no\" is NaN, expected a number from 0 to 1"),
            "{message}"
        );
    }
}
