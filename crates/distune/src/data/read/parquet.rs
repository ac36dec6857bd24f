//! Apache Parquet files. Class names come from the metadata that the hub's `datasets` library writes under `huggingface`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::{Field, reader::RowIter};
use ::parquet::schema::types::Type;
use bytes::Bytes;
use serde_json::Value;

use super::builder::{Builder, Cell, Row};
use super::chunks::Record;
use super::contained::contained;
use super::source::Source;
use super::{Table, Wanted};
use crate::{Error, Result};

/// Reads all row groups. The `parquet` crate panics at some damaged files: that too is an error here.
pub(super) fn read(source: Source, wanted: Wanted) -> Result<(Table, usize)> {
    let path = source.path;
    contained(|| read_rows(source, wanted)).unwrap_or_else(|| {
        let hint = "Copy or download it again";
        Err(Error::file(path, "not a sound Parquet file: what is in it contradicts itself", hint))
    })
}

/// Opens a file whose columns are packed so that they can be read.
pub(super) fn open(source: &mut Source) -> Result<Box<dyn FileReader>> {
    let path = source.path;
    let broken = |error: ParquetError| damaged(path, &error);
    let reader: Box<dyn FileReader> = if source.plain_file {
        let file = File::open(path).map_err(|error| Error::io(path, "read", &error))?;
        Box::new(SerializedFileReader::new(file).map_err(broken)?)
    } else {
        let mut bytes = Vec::new();
        source.input.read_to_end(&mut bytes).map_err(|error| Source::failed(path, None, &error))?;
        Box::new(SerializedFileReader::new(Bytes::from(bytes)).map_err(broken)?)
    };
    let chunks = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    if let Some(codec) = chunks.map(|column| column.compression()).find(|codec| !is_read(*codec)) {
        let codec = codec.to_string();
        let name = codec.split('(').next().unwrap_or_default();
        let problem = format!("its columns are packed with {name}, which is not read");
        return Err(Error::file(path, problem, "Write it with Zstandard, Snappy, gzip, LZ4 or unpacked"));
    }
    Ok(reader)
}

/// Some columns of each row, in the order of the file.
pub(super) fn projected<'a>(
    path: &'a Path,
    reader: &'a dyn FileReader,
    wanted: &[usize],
) -> Result<impl Iterator<Item = Result<Vec<Field>>> + use<'a>> {
    let broken = |error: ParquetError| damaged(path, &error);
    let root = reader.metadata().file_metadata().schema();
    let fields = wanted.iter().map(|&index| root.get_fields()[index].clone()).collect();
    let projection = Type::group_type_builder(root.name()).with_fields(fields).build().map_err(broken)?;
    let rows = RowIter::from_file(Some(projection), reader).map_err(broken)?;
    Ok((1..).zip(rows).map(move |(number, row)| {
        let row = row.map_err(|error| {
            let problem = format!("cannot be read ({error})");
            Error::row(path, number, problem, "The file is damaged: copy or download it again")
        })?;
        Ok(row.into_columns().into_iter().map(|(_, field)| field).collect())
    }))
}

fn read_rows(mut source: Source, wanted: Wanted) -> Result<(Table, usize)> {
    let path = source.path;
    let reader = open(&mut source)?;
    let metadata = reader.metadata().file_metadata();
    let root = metadata.schema();
    let header: Vec<String> = root.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let mut table = Builder::new(path, &header, wanted)?;
    table.schema(root.get_fields(), usize::try_from(metadata.num_rows()).unwrap_or(0));
    let at = table.columns.clone();
    let classes = metadata
        .key_value_metadata()
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref())
        .and_then(|json| class_names(json, &header[at.label?]))
        .unwrap_or_default();
    if !classes.is_empty() {
        table.classes(classes.clone());
    }

    // only the columns that are needed, which come in the order of the file
    let is_wanted = |i: &usize| table.keeps_records() || at.all().any(|index| index == *i);
    let wanted: Vec<usize> = (0..header.len()).filter(is_wanted).collect();
    for (number, row) in (1..).zip(projected(path, &*reader, &wanted)?) {
        let row = row?;
        let record = table.keeps_records().then(|| Record::Parquet(row.clone()));
        let mut fields: Vec<(usize, Field)> = wanted.iter().copied().zip(row).collect();
        let mut take = |index: usize| match fields.iter_mut().find(|(at, _)| *at == index) {
            Some((_, field)) => cell(std::mem::replace(field, Field::Null)),
            None => Cell::Missing,
        };
        let label = at.label.map(|index| named(take(index), &classes)).transpose();
        match label {
            Ok(label) => {
                let (text, pair, group) = (take(at.text), at.pair.map(&mut take), at.group.map(&mut take));
                let others = at.others.iter().copied().map(&mut take).collect();
                table.row(number, Row { text, pair, label, group, others, record })?;
            }
            Err(id) => {
                let column = at.label.map_or("label", |index| &header[index]);
                let problem =
                    format!("the label in column {column:?} is {id}, but the file names {} classes", classes.len());
                table.bad(Error::row(path, number, problem, "Repair the file, or remove the row"))?;
            }
        }
    }
    table.finish()
}

/// The error for a file that is no whole Parquet file.
fn damaged(path: &Path, error: &ParquetError) -> Error {
    let problem = format!("not a whole Parquet file ({error})");
    Error::file(path, problem, "It may be cut short: copy or download it again")
}

/// A value as a cell.
pub(super) fn cell(field: Field) -> Cell<'static> {
    match field {
        Field::Null => Cell::Null,
        Field::Bool(value) => Cell::Boolean(value),
        Field::Byte(number) => Cell::Integer(number.into()),
        Field::Short(number) => Cell::Integer(number.into()),
        Field::Int(number) => Cell::Integer(number.into()),
        Field::Long(number) => Cell::Integer(number),
        Field::UByte(number) => Cell::Integer(number.into()),
        Field::UShort(number) => Cell::Integer(number.into()),
        Field::UInt(number) => Cell::Integer(number.into()),
        Field::ULong(number) => i64::try_from(number).map_or(Cell::Other("an integer beyond 64 bits"), Cell::Integer),
        Field::Float16(number) => Cell::Float(number.into()),
        Field::Float(number) => Cell::Float(number.into()),
        Field::Double(number) => Cell::Float(number),
        Field::Str(text) => Cell::Text(text.into()),
        // text that some writers do not mark as such
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => Cell::Text(text.to_owned().into()),
            Err(_) => Cell::Other("bytes that are not UTF-8"),
        },
        Field::ListInternal(list) => Cell::List(list.elements().iter().cloned().map(cell).collect()),
        Field::Group(_) | Field::MapInternal(_) => Cell::Other("a structure"),
        Field::Decimal(_) => Cell::Other("a decimal number"),
        _ => Cell::Other("a date or a time"),
    }
}

/// A class id as its name; -1, which means unknown, stays. Else the id that has no name.
fn named(cell: Cell<'static>, classes: &[String]) -> Result<Cell<'static>, i64> {
    match cell {
        Cell::Integer(id) if id != -1 && !classes.is_empty() => {
            let name = usize::try_from(id).ok().and_then(|id| classes.get(id));
            name.map(|name| Cell::Name(name.clone())).ok_or(id)
        }
        Cell::List(ids) => ids.into_iter().map(|id| named(id, classes)).collect::<Result<_, _>>().map(Cell::List),
        other => Ok(other),
    }
}

/// Whether chunks of columns that are packed so can be read.
fn is_read(codec: Compression) -> bool {
    use Compression as C;
    matches!(codec, C::UNCOMPRESSED | C::SNAPPY | C::GZIP(_) | C::ZSTD(_) | C::LZ4 | C::LZ4_RAW)
}

/// The class names of a column in the metadata of the `datasets` library: `info.features.COLUMN.names`, or the same of the
/// elements of a list.
fn class_names(json: &str, column: &str) -> Option<Vec<String>> {
    let json: Value = serde_json::from_str(json).ok()?;
    let feature = &json["info"]["features"][column];
    let names = [&feature["names"], &feature["feature"]["names"], &feature[0]["names"]]
        .into_iter()
        .find_map(Value::as_array)?;
    names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}
