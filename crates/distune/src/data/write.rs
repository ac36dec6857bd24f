//! Writes a [`Table`] in any of the formats that [`super::read`] reads. Called by the command line.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::Table;
use super::read::{Format, Packing, name_parts, not_written};
use crate::{Error, Result};

/// Rows of a Parquet row group.
const ROW_GROUP: usize = 100_000;
/// Compression level of `.zst`: the library's own default.
const ZSTANDARD_LEVEL: i32 = 3;

/// Writes all columns of a table: `.tsv`, `.csv`, `.jsonl` or `.parquet`, plain or packed, by the name. The file appears when it
/// is whole. Integer labels become numbers where the format has them, and several labels a row a list.
///
/// # Errors
/// What [`can_write`] refuses, a text that the format cannot hold (tabs and line ends in `.tsv`), a directory that cannot be
/// written, a full disk.
pub fn write_table(path: &Path, table: &Table, overwrite: bool) -> Result<()> {
    can_write(path, overwrite)?;
    let failed = |error: std::io::Error| Error::io(path, "write", &error);
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(directory).map_err(|error| Error::io(directory, "create the directory", &error))?;
    let temporary = tempfile::Builder::new().prefix(".distune-").tempfile_in(directory).map_err(failed)?;
    write_rows(path, temporary.as_file(), table)?;
    set_readable(&temporary).map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Whether a file may be written.
///
/// # Errors
/// A name of no format that is written, a file that exists unless `overwrite`, something else of that name, such as a directory.
pub fn can_write(path: &Path, overwrite: bool) -> Result<()> {
    packed_format(path)?;
    if path.exists() && !path.is_file() {
        return Err(Error::file(path, "exists and is no file that could be replaced", "Choose another name"));
    }
    if path.exists() && !overwrite {
        return Err(Error::file(path, "exists", "Choose another name, or add --overwrite to replace it"));
    }
    Ok(())
}

fn packed_format(path: &Path) -> Result<(Format, Packing)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name_parts(&name) {
        Some((_, Some(format), packing)) => Ok((format, packing)),
        _ => Err(not_written(path)),
    }
}

/// Writes the bytes of the file that [`write_table`] makes of a table. Its name tells the format.
///
/// # Errors
/// A name of no format that is written, a text that the format cannot hold, a failed write.
pub fn write_rows(name: &Path, to: impl Write + Send, table: &Table) -> Result<()> {
    let (format, packing) = packed_format(name)?;
    let failed = |error: std::io::Error| Error::io(name, "write", &error);
    let mut file = BufWriter::with_capacity(1 << 16, to);
    match packing {
        Packing::Plain => write(name, &mut file, format, table)?,
        Packing::Gzip => {
            let mut packed = flate2::write::GzEncoder::new(&mut file, flate2::Compression::default());
            write(name, &mut packed, format, table)?;
            packed.finish().map_err(failed)?;
        }
        Packing::Zstandard => {
            let mut packed = zstd::Encoder::new(&mut file, ZSTANDARD_LEVEL).map_err(failed)?;
            write(name, &mut packed, format, table)?;
            packed.finish().map_err(failed)?;
        }
    }
    file.flush().map_err(failed)
}

/// Temporary files are private; a data file is an ordinary one.
fn set_readable(file: &NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Writes the rows.
fn write(path: &Path, to: &mut (dyn Write + Send), format: Format, table: &Table) -> Result<()> {
    match format {
        Format::Tsv => write_tsv(path, to, table),
        Format::Csv => write_csv(to, table).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => Error::io(path, "write", &error),
            other => Error::file(path, format!("cannot be written: {other:?}"), ""),
        }),
        Format::Json => write_json(to, table).map_err(|error| Error::io(path, "write", &error)),
        Format::Parquet => write_parquet(to, table).map_err(|error| match &error {
            ParquetError::External(cause) if let Some(error) = cause.downcast_ref::<std::io::Error>() => {
                Error::io(path, "write", error)
            }
            _ => Error::file(path, format!("cannot write: {error}"), ""),
        }),
        Format::Trees => Err(not_written(path)),
    }
}

/// A column of the output: its name, and the value of each row.
struct Column<'a> {
    name: &'a str,
    values: &'a [String],
    kind: Kind,
}

/// How the values of a column are written where the format has types.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Integer,
    List,
}

/// The columns that the table has.
fn columns(table: &Table) -> Vec<Column<'_>> {
    let integer = |label: &String| label.parse::<i64>().is_ok_and(|number| number.to_string() == *label);
    let label = match table.multi_label {
        true => Kind::List,
        false if table.labels.iter().all(integer) => Kind::Integer,
        false => Kind::Text,
    };
    let mut columns = vec![Column { name: &table.text_column, values: &table.texts, kind: Kind::Text }];
    for (name, values, kind) in [
        (&table.pair_column, &table.pairs, Kind::Text),
        (&table.label_column, &table.labels, label),
        (&table.group_column, &table.groups, Kind::Text),
    ] {
        if !values.is_empty() {
            columns.extend(name.as_deref().map(|name| Column { name, values, kind }));
        }
    }
    columns
}

/// The labels of a row of several.
fn names(labels: &str) -> impl Iterator<Item = &str> {
    labels.split('|').filter(|name| !name.is_empty())
}

/// A value where the format has text alone. Several labels a row are told by a `|`, so a table where no row has two gets one
/// behind each label.
fn as_text<'a>(column: &Column<'a>) -> impl Fn(usize) -> Cow<'a, str> {
    let values = column.values;
    let mark = column.kind == Kind::List && !values.iter().any(|value| value.contains('|'));
    move |row| if mark { format!("{}|", values[row]).into() } else { values[row].as_str().into() }
}

fn write_tsv(path: &Path, to: &mut (dyn Write + Send), table: &Table) -> Result<()> {
    let columns = columns(table);
    let mut line: Vec<_> = columns.iter().map(|column| column.name.into()).collect();
    let values: Vec<_> = columns.iter().map(as_text).collect();
    for row in 0..=table.len() {
        if let Some(at) = line.iter().position(|value: &Cow<str>| value.contains(['\t', '\n', '\r'])) {
            let problem = format!("column {:?} has a tab or a line end, which .tsv cannot hold", columns[at].name);
            let line = if row == 0 { 1 } else { table.lines[row - 1] };
            return Err(Error::row(&table.path, line, problem, "Write .csv, .jsonl or .parquet"));
        }
        writeln!(to, "{}", line.join("\t")).map_err(|error| Error::io(path, "write", &error))?;
        if row < table.len() {
            line = values.iter().map(|value| value(row)).collect();
        }
    }
    Ok(())
}

fn write_csv(to: &mut (dyn Write + Send), table: &Table) -> csv::Result<()> {
    let columns = columns(table);
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(columns.iter().map(|column| column.name))?;
    let values: Vec<_> = columns.iter().map(as_text).collect();
    for row in 0..table.len() {
        for value in &values {
            writer.write_field(value(row).as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()?;
    Ok(())
}

fn write_json(to: &mut (dyn Write + Send), table: &Table) -> std::io::Result<()> {
    let columns = columns(table);
    for row in 0..table.len() {
        let object: Map<String, Value> = columns
            .iter()
            .map(|column| {
                let value = &column.values[row];
                let value = match column.kind {
                    Kind::Text => value.as_str().into(),
                    Kind::Integer => value.parse::<i64>().map_or(Value::Null, Value::from),
                    Kind::List => names(value).map(Value::from).collect(),
                };
                (column.name.to_owned(), value)
            })
            .collect();
        serde_json::to_writer(&mut *to, &object)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

fn write_parquet(to: &mut (dyn Write + Send), table: &Table) -> Result<(), ParquetError> {
    let columns = columns(table);
    let fields = columns.iter().map(parquet_type).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties))?;
    for first in (0..table.len()).step_by(ROW_GROUP) {
        let mut group = file.next_row_group()?;
        for column in &columns {
            let values = &column.values[first..table.len().min(first + ROW_GROUP)];
            if let Some(mut to) = group.next_column()? {
                write_column(&mut to, column.kind, values)?;
                to.close()?;
            }
        }
        group.close()?;
    }
    file.close()?;
    Ok(())
}

/// The schema of a column of texts.
pub(crate) fn text_type(name: &str) -> Result<TypePtr, ParquetError> {
    let text = Type::primitive_type_builder(name, Physical::BYTE_ARRAY).with_converted_type(ConvertedType::UTF8);
    text.with_repetition(Repetition::REQUIRED).build().map(Arc::new)
}

/// The schema of a column of lists of texts: three levels deep, as the format's specification has it.
pub(crate) fn list_type(name: &str) -> Result<TypePtr, ParquetError> {
    let list =
        Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![text_type("element")?]);
    let column = Type::group_type_builder(name).with_repetition(Repetition::REQUIRED);
    let column = column.with_converted_type(ConvertedType::LIST).with_fields(vec![Arc::new(list.build()?)]);
    column.build().map(Arc::new)
}

/// The schema of a column.
fn parquet_type(column: &Column) -> Result<TypePtr, ParquetError> {
    match column.kind {
        Kind::Text => text_type(column.name),
        Kind::Integer => {
            let number =
                Type::primitive_type_builder(column.name, Physical::INT64).with_repetition(Repetition::REQUIRED);
            number.build().map(Arc::new)
        }
        Kind::List => list_type(column.name),
    }
}

/// Writes lists of texts.
pub(crate) fn write_lists<'a, L: Iterator<Item = &'a str>>(
    to: &mut SerializedColumnWriter,
    lists: impl Iterator<Item = L>,
) -> Result<(), ParquetError> {
    // an element is defined or the list is empty; the first one of a row repeats nothing
    let (mut elements, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for list in lists {
        let before = elements.len();
        elements.extend(list.map(ByteArray::from));
        let count = elements.len() - before;
        defined.extend(std::iter::repeat_n(i16::from(count > 0), count.max(1)));
        repeated.push(0);
        repeated.extend(std::iter::repeat_n(1, count.saturating_sub(1)));
    }
    to.typed::<ByteArrayType>().write_batch(&elements, Some(&defined), Some(&repeated)).map(drop)
}

/// Writes the values of a column of a row group.
fn write_column(to: &mut SerializedColumnWriter, kind: Kind, values: &[String]) -> Result<(), ParquetError> {
    match kind {
        Kind::Text => {
            let values: Vec<ByteArray> = values.iter().map(|value| value.as_str().into()).collect();
            to.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        }
        Kind::Integer => {
            let values: Vec<i64> = values.iter().filter_map(|value| value.parse().ok()).collect();
            to.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        Kind::List => write_lists(to, values.iter().map(|value| names(value)))?,
    }
    Ok(())
}
