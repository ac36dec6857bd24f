//! Columns of the input as an output takes them: text, a number, JSON. Called by the writers of predictions.

use std::borrow::Cow;

use ::parquet::record::Field;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::data::{Header, Record};

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Boolean(bool),
    /// As written; JSON has it too.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    /// A list or an object.
    Json(Cow<'a, str>),
}

impl Cell<'_> {
    /// Where there is nothing but text.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "".into(),
            Self::Boolean(value) => value.to_string().into(),
            Self::Number(text) | Self::Text(text) | Self::Json(text) => text.as_ref().into(),
        }
    }

    /// Where there are types.
    pub(super) fn json(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Boolean(value) => value.to_string().into(),
            Self::Text(text) => quoted(text).into(),
            Self::Number(text) | Self::Json(text) => text.as_ref().into(),
        }
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The cells of a row, one for each column of the header.
///
/// # Errors
/// What is wrong with a row whose columns are not those of the header.
pub(super) fn cells<'a>(record: &'a Record, header: &Header) -> Result<Vec<Cell<'a>>, String> {
    match record {
        Record::Fields(fields) => Ok(fields.iter().map(|field| Cell::Text(field.as_str().into())).collect()),
        Record::Parquet(fields) => Ok(fields.iter().map(of_field).collect()),
        Record::Json(json) => {
            let pairs = Pairs::of(json)?;
            let mut cells = vec![Cell::Null; header.names.len()];
            for (name, value) in pairs.0 {
                match header.names.iter().position(|known| *known == name) {
                    Some(place) => cells[place] = of_json(value)?,
                    None => return Err(format!("a field {name:?}, which the first row has not got")),
                }
            }
            Ok(cells)
        }
    }
}

/// The names and values of an object in their order.
pub(super) struct Pairs<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Pairs<'a> {
    pub(super) fn of(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("not a JSON object: {error}"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        input.deserialize_map(PairsVisitor).map(Pairs)
    }
}

fn of_json(value: &RawValue) -> Result<Cell<'_>, String> {
    let json = value.get();
    Ok(match json.as_bytes().first() {
        Some(b'"') => {
            let text: Cow<str> = serde_json::from_str::<String>(json).map_err(|error| error.to_string())?.into();
            Cell::Text(text)
        }
        Some(b'{' | b'[') => Cell::Json(json.into()),
        Some(b't' | b'f') => Cell::Boolean(json == "true"),
        Some(b'n') | None => Cell::Null,
        Some(_) => Cell::Number(json.into()),
    })
}

/// A value of Parquet. Dates, times and decimal numbers are told as text.
pub(super) fn of_field(field: &Field) -> Cell<'_> {
    let number = |number: &dyn ToString| Cell::Number(number.to_string().into());
    match field {
        Field::Null => Cell::Null,
        Field::Bool(value) => Cell::Boolean(*value),
        Field::Byte(x) => number(x),
        Field::Short(x) => number(x),
        Field::Int(x) => number(x),
        Field::Long(x) => number(x),
        Field::UByte(x) => number(x),
        Field::UShort(x) => number(x),
        Field::UInt(x) => number(x),
        Field::ULong(x) => number(x),
        Field::Float(x) if x.is_finite() => number(x),
        Field::Double(x) if x.is_finite() => number(x),
        Field::Float16(x) if x.is_finite() => number(x),
        Field::Float(_) | Field::Double(_) | Field::Float16(_) => Cell::Null,
        Field::Str(text) => Cell::Text(text.as_str().into()),
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Cell::Text(text.into()),
            Err(_) => Cell::Text(field.to_string().into()),
        },
        Field::ListInternal(list) => {
            let all: Vec<String> =
                list.elements().iter().map(|element| of_field(element).json().into_owned()).collect();
            Cell::Json(format!("[{}]", all.join(",")).into())
        }
        Field::Group(row) => {
            let pair = |(name, field): (&String, &Field)| format!("{}:{}", quoted(name), of_field(field).json());
            let all: Vec<String> = row.get_column_iter().map(pair).collect();
            Cell::Json(format!("{{{}}}", all.join(",")).into())
        }
        Field::MapInternal(map) => {
            let pair =
                |(key, value): &(Field, Field)| format!("{}:{}", quoted(&of_field(key).text()), of_field(value).json());
            let all: Vec<String> = map.entries().iter().map(pair).collect();
            Cell::Json(format!("{{{}}}", all.join(",")).into())
        }
        _ => Cell::Text(field.to_string().into()),
    }
}
