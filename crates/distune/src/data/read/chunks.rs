//! Rows in chunks, with everything that a file has of them: for what is too long to be read whole. Called by bulk prediction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::record::Field;
use ::parquet::schema::types::TypePtr;

use super::Table;
use super::source::Source;
use crate::data::{Columns, Labels};
use crate::{Error, Result};

/// A row with all its columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A text for each column of the header.
    Fields(Vec<String>),
    /// A JSON object, as written.
    Json(String),
    /// A value for each column of the schema.
    Parquet(Vec<Field>),
}

/// The columns of a file. Of JSON, those of the first object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Header {
    pub(crate) names: Vec<String>,
    /// The types of Parquet's columns.
    pub(crate) types: Vec<TypePtr>,
}

/// Some rows that follow one another.
#[derive(Debug)]
pub struct Chunk {
    /// Texts, lines, what was assumed and what was left out. Labels and groups are not read.
    pub table: Table,
    pub(crate) header: Arc<Header>,
    /// Each row as it is in the file, where all columns are read.
    pub(crate) records: Vec<Record>,
    /// How much of all files has been read at its end, of 1, where that is known.
    pub share: Option<f64>,
}

/// How rows become chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Rows of a chunk, those left out included.
    pub rows: usize,
    /// Bytes of a chunk, about: it ends with the row that exceeds them.
    pub bytes: usize,
    /// Only every `shards`-th row is read, beginning with this one, counted from 0.
    pub shard: usize,
    /// 1 for all rows.
    pub shards: usize,
    /// Whether all columns are read, and not text and second text alone.
    pub all_columns: bool,
}

impl Default for Chunking {
    /// Chunks of 8,192 rows or 4 MiB, of all rows and columns.
    fn default() -> Self {
        Self { rows: 8192, bytes: 4 << 20, shard: 0, shards: 1, all_columns: true }
    }
}

/// What is read in chunks.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file of any format, or standard input for `-`.
    File(PathBuf),
    /// What is compiled into the program, with its name.
    Bytes(&'static str, &'static [u8]),
}

/// Reads rows without labels, one file after another, and hands over chunk by chunk. A chunk ends with its file.
///
/// # Errors
/// As [`super::read_file`], and those of `take`.
pub fn read_chunks(
    inputs: &[Input],
    columns: &Columns,
    chunking: Chunking,
    take: &mut dyn FnMut(Chunk) -> Result<()>,
) -> Result<()> {
    let mut rows = 0;
    for (number, input) in inputs.iter().enumerate() {
        let mut of_all = |mut chunk: Chunk| {
            chunk.share = chunk.share.map(|share| (number as f64 + share) / inputs.len() as f64);
            take(chunk)
        };
        let source = match input {
            Input::File(path) => Source::open(path)?,
            Input::Bytes(name, bytes) => Source::new(Path::new(name), *bytes)?,
        };
        let chunks = Chunks::new(&source, chunking, rows, &mut of_all);
        super::read(source, columns, Labels::Ignored, Some(chunks), &mut rows)?;
    }
    Ok(())
}

/// Chunks in the making.
pub(super) struct Chunks<'a> {
    take: &'a mut dyn FnMut(Chunk) -> Result<()>,
    chunking: Chunking,
    pub(super) header: Arc<Header>,
    records: Vec<Record>,
    /// Rows and bytes of the chunk so far.
    rows: usize,
    bytes: usize,
    /// Whether there was a chunk before.
    handed_over: bool,
    /// Rows of all files so far.
    pub(super) seen: usize,
    /// Rows of this file, where that is known, and those of the files before.
    pub(super) total: Option<usize>,
    before: usize,
    /// Bytes of this file read so far, and all.
    read: Arc<AtomicU64>,
    size: Option<u64>,
}

impl<'a> Chunks<'a> {
    fn new(source: &Source, chunking: Chunking, seen: usize, take: &'a mut dyn FnMut(Chunk) -> Result<()>) -> Self {
        let (read, size) = (source.read.clone(), source.size);
        let header = Arc::default();
        Self {
            take,
            chunking,
            header,
            records: Vec::new(),
            rows: 0,
            bytes: 0,
            handed_over: false,
            seen,
            total: None,
            before: seen,
            read,
            size,
        }
    }

    /// Whether rows are to have all their columns.
    pub(super) fn keeps_records(&self) -> bool {
        self.chunking.all_columns
    }

    /// Whether the next row is one of the shard's.
    pub(super) fn wants_next(&self) -> bool {
        self.seen % self.chunking.shards.max(1) == self.chunking.shard
    }

    /// Goes past a row that is not.
    pub(super) fn pass(&mut self) {
        self.seen += 1;
    }

    /// Goes past a row of the shard, which is there or was left out; `table` has those of the chunk.
    pub(super) fn row(&mut self, table: &mut Table, record: Option<Record>) -> Result<()> {
        self.seen += 1;
        self.rows += 1;
        self.bytes += record.as_ref().map_or(0, Record::bytes);
        self.records.extend(record);
        let full = self.rows >= self.chunking.rows || self.bytes >= self.chunking.bytes;
        if full { self.hand_over(table) } else { Ok(()) }
    }

    /// Hands over what there is.
    fn hand_over(&mut self, table: &mut Table) -> Result<()> {
        (self.rows, self.bytes, self.handed_over) = (0, 0, true);
        let share = match (self.total, self.size) {
            (Some(total), _) => Some((self.seen - self.before) as f64 / total.max(1) as f64),
            (None, Some(size)) => Some(self.read.load(Ordering::Relaxed) as f64 / size.max(1) as f64),
            (None, None) => None,
        };
        let empty = table.without_rows();
        let chunk = Chunk {
            table: std::mem::replace(table, empty),
            header: self.header.clone(),
            records: std::mem::take(&mut self.records),
            share: share.map(|share| share.min(1.0)),
        };
        (self.take)(chunk)
    }

    /// Hands over the last rows, or none, so that each file is heard of; a file without any is refused.
    pub(super) fn finish(&mut self, table: &mut Table) -> Result<()> {
        if self.seen == self.before {
            return Err(Error::file(&table.path, "no rows", "Expected one row for each text"));
        }
        if self.rows > 0 || !self.handed_over { self.hand_over(table) } else { Ok(()) }
    }
}

impl Record {
    /// Its size, about.
    fn bytes(&self) -> usize {
        match self {
            Self::Fields(fields) => fields.iter().map(String::len).sum(),
            Self::Json(json) => json.len(),
            Self::Parquet(fields) => fields.iter().map(size_of_field).sum(),
        }
    }
}

fn size_of_field(field: &Field) -> usize {
    match field {
        Field::Str(text) => text.len(),
        Field::Bytes(bytes) => bytes.len(),
        Field::ListInternal(list) => list.elements().iter().map(size_of_field).sum(),
        _ => 16,
    }
}
