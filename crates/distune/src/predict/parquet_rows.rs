//! Rows with their predictions as Parquet: a file for each chunk, and all of them as one. Called by [`super::output`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use ::parquet::column::writer::ColumnCloseResult;
use ::parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, Decimal, DoubleType, FloatType, Int32Type, Int64Type,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::record::Field;
use ::parquet::schema::types::{Type, TypePtr};
use serde::{Deserialize, Serialize};

use super::cells::{Cell, cells};
use super::output::{Predicted, Shape};
use super::text_rows::of_row;
use crate::data::{Chunk, Header, Record, list_type, text_type, write_lists};
use crate::{Error, Result};

/// How a column of the input is written that is not Parquet's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Boolean,
    Integer,
    Float,
    Text,
}

impl Kind {
    /// What holds all these values.
    fn of<'a>(values: impl Iterator<Item = &'a Cell<'a>> + Clone) -> Self {
        let all = |is: fn(&Cell) -> bool| {
            let mut values = values.clone().filter(|cell| **cell != Cell::Null).peekable();
            values.peek().is_some() && values.all(is)
        };
        if all(|cell| matches!(cell, Cell::Boolean(_))) {
            Self::Boolean
        } else if all(|cell| matches!(cell, Cell::Number(x) if x.parse::<i64>().is_ok())) {
            Self::Integer
        } else if all(|cell| matches!(cell, Cell::Number(x) if x.parse::<f64>().is_ok())) {
            Self::Float
        } else {
            Self::Text
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Integer => "integers",
            Self::Float => "numbers",
            Self::Text => "text",
        }
    }
}

/// The kinds of the columns of a chunk, which are those of all that follow: of JSON, what its values are, and text of all else.
pub(super) fn kinds(chunk: &Chunk) -> Result<Vec<Kind>> {
    let rows = rows_of(chunk)?;
    let kind = |column: usize| match chunk.records.first() {
        Some(Record::Json(_)) => Kind::of(rows.iter().map(|row| &row[column])),
        _ => Kind::Text,
    };
    Ok((0..chunk.header.names.len()).map(kind).collect())
}

fn rows_of(chunk: &Chunk) -> Result<Vec<Vec<Cell<'_>>>> {
    let cells = |(row, record)| cells(record, &chunk.header).map_err(|problem| of_row(chunk, row, problem));
    chunk.records.iter().enumerate().map(cells).collect()
}

/// Writes a chunk as a file of one row group.
pub(super) fn write_part(
    path: &Path,
    chunk: &Chunk,
    kinds: &[Kind],
    predicted: &[Predicted],
    shape: &Shape,
) -> Result<()> {
    let rows = rows_of(chunk)?;
    for (column, kind) in kinds.iter().enumerate().filter(|(column, _)| kept_type(&chunk.header, *column).is_none()) {
        let fits = |row: &Vec<Cell>| match (&row[column], kind) {
            (Cell::Null, _) | (_, Kind::Text) | (Cell::Boolean(_), Kind::Boolean) => true,
            (Cell::Number(x), Kind::Integer) => x.parse::<i64>().is_ok(),
            (Cell::Number(x), Kind::Float) => x.parse::<f64>().is_ok(),
            _ => false,
        };
        if let Some(row) = rows.iter().position(|row| !fits(row)) {
            let (name, found) = (&chunk.header.names[column], rows[row][column].text().into_owned());
            let problem = format!("column {name:?} has {found:?}, but {} in the first rows", kind.name());
            return Err(of_row(chunk, row, problem));
        }
    }
    let write = || -> Result<File, ParquetError> {
        let file = File::create(path)?;
        let mut to = SerializedFileWriter::new(file, schema(&chunk.header, kinds, shape)?, properties())?;
        // a group without rows is none
        if !chunk.records.is_empty() {
            let mut group = to.next_row_group()?;
            for (column, kind) in kinds.iter().enumerate() {
                match kept_type(&chunk.header, column) {
                    Some(kept) => next(&mut group, |to| write_kept(to, &kept, chunk, column))?,
                    None => next(&mut group, |to| write_cells(to, *kind, rows.iter().map(|row| &row[column])))?,
                }
            }
            write_predicted(&mut group, predicted, shape)?;
            group.close()?;
        }
        to.into_inner()
    };
    let file = write().map_err(|error| failed(path, &error))?;
    file.sync_all().map_err(|error| Error::io(path, "write", &error))
}

/// Makes one file of several with the same columns; what is in them is copied as it is.
pub(super) fn assemble(path: &Path, parts: &[PathBuf]) -> Result<()> {
    let Some(first) = parts.first() else {
        return Err(Error::file(path, "there is nothing to put together", ""));
    };
    let open = |part: &Path| -> Result<(File, ParquetMetaData), ParquetError> {
        let file = File::open(part)?;
        let metadata = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = metadata.parse_and_finish(&file)?;
        Ok((file, metadata))
    };
    let write = || -> Result<File, ParquetError> {
        let schema = open(first)?.1.file_metadata().schema_descr().root_schema_ptr();
        let mut to = SerializedFileWriter::new(File::create(path)?, schema, properties())?;
        for part in parts {
            let (file, metadata) = open(part)?;
            for group in metadata.row_groups() {
                let mut copy = to.next_row_group()?;
                for column in group.columns() {
                    let close = ColumnCloseResult {
                        bytes_written: column.compressed_size() as u64,
                        rows_written: group.num_rows() as u64,
                        metadata: column.clone(),
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    };
                    copy.append_column(&file, close)?;
                }
                copy.close()?;
            }
        }
        to.into_inner()
    };
    let file = write().map_err(|error| failed(path, &error))?;
    file.sync_all().map_err(|error| Error::io(path, "write", &error))
}

fn failed(path: &Path, error: &ParquetError) -> Error {
    match error {
        ParquetError::External(cause) if let Some(error) = cause.downcast_ref::<std::io::Error>() => {
            Error::io(path, "write", error)
        }
        _ => Error::file(path, format!("cannot be written: {error}"), ""),
    }
}

fn properties() -> Arc<WriterProperties> {
    Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build())
}

/// The type of a column of Parquet that is written as it was read: a value a row.
fn kept_type(header: &Header, column: usize) -> Option<TypePtr> {
    let kept = header.types.get(column)?;
    let single = kept.is_primitive() && kept.get_basic_info().repetition() != Repetition::REPEATED;
    let known = |physical| {
        use Physical as P;
        [P::BOOLEAN, P::INT32, P::INT64, P::FLOAT, P::DOUBLE, P::BYTE_ARRAY].contains(&physical)
    };
    (single && known(kept.get_physical_type())).then(|| kept.clone())
}

fn schema(header: &Header, kinds: &[Kind], shape: &Shape) -> Result<TypePtr, ParquetError> {
    let primitive = |name: &str, physical, repetition| {
        Type::primitive_type_builder(name, physical).with_repetition(repetition).build().map(Arc::new)
    };
    let mut fields = Vec::new();
    for (column, (name, kind)) in header.names.iter().zip(kinds).enumerate() {
        fields.push(match (kept_type(header, column), kind) {
            (Some(kept), _) => kept,
            (None, Kind::Boolean) => primitive(name, Physical::BOOLEAN, Repetition::OPTIONAL)?,
            (None, Kind::Integer) => primitive(name, Physical::INT64, Repetition::OPTIONAL)?,
            (None, Kind::Float) => primitive(name, Physical::DOUBLE, Repetition::OPTIONAL)?,
            (None, Kind::Text) => optional_text(name)?,
        });
    }
    for name in shape.names() {
        fields.push(match name.as_str() {
            "predicted" if shape.several => list_type(&name)?,
            "predicted" => optional_text(&name)?,
            "truncated" | "abstained" => primitive(&name, Physical::BOOLEAN, Repetition::REQUIRED)?,
            "attribution" => text_type(&name)?,
            name if name.starts_with("logit_") => primitive(name, Physical::FLOAT, Repetition::REQUIRED)?,
            name => primitive(name, Physical::DOUBLE, Repetition::REQUIRED)?,
        });
    }
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

fn optional_text(name: &str) -> Result<TypePtr, ParquetError> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY).with_converted_type(ConvertedType::UTF8);
    text.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
}

/// Writes the next column of a row group.
fn next(
    group: &mut SerializedRowGroupWriter<File>,
    write: impl FnOnce(&mut SerializedColumnWriter) -> Result<(), ParquetError>,
) -> Result<(), ParquetError> {
    match group.next_column()? {
        Some(mut to) => {
            write(&mut to)?;
            to.close()
        }
        None => Err(ParquetError::General("there are more columns than the schema has".into())),
    }
}

/// Writes values, some of which are missing where `optional`.
fn write_values<T: DataType>(
    to: &mut SerializedColumnWriter,
    values: impl Iterator<Item = Option<T::T>>,
    optional: bool,
) -> Result<(), ParquetError> {
    let (mut defined, mut there) = (Vec::new(), Vec::new());
    for value in values {
        defined.push(i16::from(value.is_some()));
        there.extend(value);
    }
    to.typed::<T>().write_batch(&there, optional.then_some(&defined), None).map(drop)
}

fn write_cells<'a>(
    to: &mut SerializedColumnWriter,
    kind: Kind,
    cells: impl Iterator<Item = &'a Cell<'a>>,
) -> Result<(), ParquetError> {
    match kind {
        Kind::Boolean => {
            let value = |cell: &Cell| if let Cell::Boolean(value) = cell { Some(*value) } else { None };
            write_values::<BoolType>(to, cells.map(value), true)
        }
        Kind::Integer => write_values::<Int64Type>(to, cells.map(|cell| cell.text().parse().ok()), true),
        Kind::Float => write_values::<DoubleType>(to, cells.map(|cell| cell.text().parse().ok()), true),
        Kind::Text => {
            let value = |cell: &Cell| (*cell != Cell::Null).then(|| ByteArray::from(cell.text().as_ref()));
            write_values::<ByteArrayType>(to, cells.map(value), true)
        }
    }
}

/// Writes a column of Parquet as it was read.
fn write_kept(to: &mut SerializedColumnWriter, kept: &Type, chunk: &Chunk, column: usize) -> Result<(), ParquetError> {
    let optional = kept.get_basic_info().repetition() == Repetition::OPTIONAL;
    let fields = chunk.records.iter().map(|record| match record {
        Record::Parquet(fields) => fields.get(column).unwrap_or(&Field::Null),
        _ => &Field::Null,
    });
    match kept.get_physical_type() {
        Physical::BOOLEAN => {
            let value = |field: &Field| if let Field::Bool(value) = field { Some(*value) } else { None };
            write_values::<BoolType>(to, fields.map(value), optional)
        }
        Physical::INT32 => write_values::<Int32Type>(to, fields.map(int32), optional),
        Physical::INT64 => write_values::<Int64Type>(to, fields.map(int64), optional),
        Physical::FLOAT => {
            let value = |field: &Field| if let Field::Float(x) = field { Some(*x) } else { None };
            write_values::<FloatType>(to, fields.map(value), optional)
        }
        Physical::DOUBLE => {
            let value = |field: &Field| if let Field::Double(x) = field { Some(*x) } else { None };
            write_values::<DoubleType>(to, fields.map(value), optional)
        }
        _ => write_values::<ByteArrayType>(to, fields.map(bytes), optional),
    }
}

/// The bits of a value that Parquet keeps in 32.
fn int32(field: &Field) -> Option<i32> {
    Some(match field {
        Field::Byte(x) => (*x).into(),
        Field::Short(x) => (*x).into(),
        Field::Int(x) | Field::Date(x) | Field::TimeMillis(x) => *x,
        Field::UByte(x) => (*x).into(),
        Field::UShort(x) => (*x).into(),
        Field::UInt(x) => x.cast_signed(),
        Field::Decimal(Decimal::Int32 { value, .. }) => i32::from_be_bytes(*value),
        _ => return None,
    })
}

/// Those of one that it keeps in 64.
fn int64(field: &Field) -> Option<i64> {
    Some(match field {
        Field::Long(x) | Field::TimeMicros(x) | Field::TimestampMillis(x) | Field::TimestampMicros(x) => *x,
        Field::ULong(x) => x.cast_signed(),
        Field::Decimal(Decimal::Int64 { value, .. }) => i64::from_be_bytes(*value),
        _ => return None,
    })
}

fn bytes(field: &Field) -> Option<ByteArray> {
    match field {
        Field::Str(text) => Some(text.as_str().into()),
        Field::Bytes(bytes) | Field::Decimal(Decimal::Bytes { value: bytes, .. }) => Some(bytes.clone()),
        _ => None,
    }
}

/// Writes the columns of [`Shape::names`].
fn write_predicted(
    group: &mut SerializedRowGroupWriter<File>,
    predicted: &[Predicted],
    shape: &Shape,
) -> Result<(), ParquetError> {
    next(group, |to| match shape.several {
        true => write_lists(to, predicted.iter().map(|row| row.labels.iter().map(String::as_str))),
        false => {
            let label = |row: &Predicted| row.labels.first().map(|label| ByteArray::from(label.as_str()));
            write_values::<ByteArrayType>(to, predicted.iter().map(label), true)
        }
    })?;
    for class in 0..shape.classes.len() {
        let p = |row: &Predicted| row.probabilities.get(class).copied();
        next(group, |to| write_values::<DoubleType>(to, predicted.iter().map(p), false))?;
    }
    if shape.abstains {
        next(group, |to| write_values::<BoolType>(to, predicted.iter().map(|row| row.abstained), false))?;
    }
    next(group, |to| write_values::<BoolType>(to, predicted.iter().map(|row| Some(row.truncated)), false))?;
    for class in (0..shape.classes.len()).filter(|_| shape.logits) {
        let logit = |row: &Predicted| row.logits.get(class).copied();
        next(group, |to| write_values::<FloatType>(to, predicted.iter().map(logit), false))?;
    }
    if shape.attribution {
        let attribution = |row: &Predicted| row.attribution.as_deref().map(ByteArray::from);
        next(group, |to| write_values::<ByteArrayType>(to, predicted.iter().map(attribution), false))?;
    }
    Ok(())
}
