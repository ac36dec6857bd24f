//! Opens a file of rows: unpacks it and tells its format. Called by [`super::read`] and by `write`, for names.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Bytes at the beginning of a file that tell what it is.
const HEAD: usize = 1 << 16;
/// The name of standard input.
pub(in crate::data) const STANDARD_INPUT: &str = "-";
/// What messages say of the names that are read, and of those that are written.
const READ: &str = ".tsv, .csv, .jsonl, .json, .parquet or .txt, each also with .gz or .zst";
const WRITTEN: &str = ".tsv, .csv, .jsonl, .json or .parquet, each also with .gz or .zst";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Format {
    /// Tabs, no quoting, as GLUE's.
    Tsv,
    /// RFC 4180, with commas, semicolons or tabs.
    Csv,
    /// An object a line, or an array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// The Stanford Sentiment Treebank's bracketed trees.
    Trees,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Packing {
    Plain,
    Gzip,
    Zstandard,
}

/// The stem, format and packing that a file's name tells: `train.csv.gz` is `train`, CSV and gzip. The format is `None` for names
/// whose contents must tell (`.txt`, or no extension), and the result for those of no format.
pub(in crate::data) fn name_parts(name: &str) -> Option<(&str, Option<Format>, Packing)> {
    let lower = name.to_lowercase();
    let (rest, packing) = match lower.rsplit_once('.') {
        Some((rest, "gz")) => (rest, Packing::Gzip),
        Some((rest, "zst")) => (rest, Packing::Zstandard),
        _ => (lower.as_str(), Packing::Plain),
    };
    let (stem, format) = match rest.rsplit_once('.') {
        Some((stem, "tsv")) => (stem, Some(Format::Tsv)),
        Some((stem, "csv")) => (stem, Some(Format::Csv)),
        Some((stem, "jsonl" | "ndjson" | "json")) => (stem, Some(Format::Json)),
        Some((stem, "parquet")) => (stem, Some(Format::Parquet)),
        Some((stem, "txt")) => (stem, None),
        None => (rest, None),
        Some(_) => return None,
    };
    // a name that changes its length in lower case has none of ours
    Some((name.get(..stem.len())?, format, packing))
}

/// The error for a file to read whose name tells no format.
fn unknown_format(path: &Path) -> Error {
    Error::file(path, format!("expected {READ}, found {}", extension(path)), "Convert or rename it")
}

/// The error for a file to write whose name tells no format that is written.
pub(in crate::data) fn not_written(path: &Path) -> Error {
    Error::file(path, format!("expected {WRITTEN}, found {}", extension(path)), "Choose another name")
}

fn extension(path: &Path) -> String {
    path.extension().map_or("no extension".into(), |extension| format!(".{}", extension.to_string_lossy()))
}

/// A file of rows, unpacked.
pub(super) struct Source<'a> {
    /// Its name, for messages.
    pub(super) path: &'a Path,
    pub(super) format: Format,
    /// The first bytes.
    pub(super) head: Vec<u8>,
    /// All bytes, without a byte order mark.
    pub(super) input: Box<dyn Read + 'a>,
    /// Whether `path` can be opened again and read as it is.
    pub(super) plain_file: bool,
    /// Bytes of a file that have been read so far, packed as they are, and all of them.
    pub(super) read: Arc<AtomicU64>,
    pub(super) size: Option<u64>,
}

impl<'a> Source<'a> {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        if path == Path::new(STANDARD_INPUT) {
            return Self::new(Path::new("standard input"), std::io::stdin().lock());
        }
        let file = File::open(path).map_err(|error| Error::io(path, "read", &error))?;
        if path.is_dir() {
            return Err(Error::file(
                path,
                format!("this is a directory, expected a file: {READ}"),
                "Name a file in it",
            ));
        }
        let size = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
        let read = Arc::new(AtomicU64::new(0));
        let source = Self::unpack(path, Counting { inner: file, read: read.clone() })?;
        Ok(Self { plain_file: source.plain_file && size.is_some(), read, size, ..source })
    }

    /// Reads what is called `path` and lies elsewhere.
    pub(super) fn new(path: &'a Path, input: impl Read + 'a) -> Result<Self> {
        Ok(Self { plain_file: false, ..Self::unpack(path, input)? })
    }

    /// Reads the beginning of what is called `path`.
    fn unpack(path: &'a Path, input: impl Read + 'a) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let parts = name_parts(&name);
        let (head, input) = peek(path, input)?;
        let unpacked = |packed: Result<Box<dyn Read + 'a>, std::io::Error>| {
            peek(path, packed.map_err(|error| Error::io(path, "unpack", &error))?)
        };
        let mut plain_file = false;
        let (mut head, mut input) = if head.starts_with(b"\x1f\x8b") {
            unpacked(Ok(Box::new(flate2::read::MultiGzDecoder::new(input))))?
        } else if head.starts_with(b"\x28\xb5\x2f\xfd") {
            unpacked(zstd::Decoder::new(input).map(|decoder| Box::new(decoder) as Box<dyn Read>))?
        } else if let Some((_, _, packing @ (Packing::Gzip | Packing::Zstandard))) = parts {
            let problem = format!("is called {packing:?}-packed by its name, but its first bytes are not");
            return Err(Error::file(path, problem, "Download it again, or rename it"));
        } else {
            plain_file = true;
            (head, input)
        };
        if let Some(rest) = head.strip_prefix(b"\xef\xbb\xbf") {
            head = rest.to_vec();
            input.read_exact(&mut [0; 3]).map_err(|error| cut_short(path, &error))?;
        }
        let format = match parts {
            _ if head.starts_with(b"PAR1") => Format::Parquet,
            Some((_, Some(format), _)) => format,
            Some((_, None, _)) => guess(&head),
            None => return Err(unknown_format(path)),
        };
        Ok(Self { path, format, head, input, plain_file, read: Arc::default(), size: None })
    }

    /// The error for a failed read; `line` is that of the row which was being read, where that is known.
    pub(super) fn failed(path: &Path, line: Option<u64>, error: &std::io::Error) -> Error {
        match (cut_short(path, error), line) {
            (Error::File { problem, hint, .. }, Some(line)) => Error::row(path, line, problem, hint),
            (error, _) => error,
        }
    }
}

/// Counts the bytes that are read.
struct Counting<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The format of contents whose name does not tell.
fn guess(head: &[u8]) -> Format {
    let start = head.trim_ascii_start();
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match start {
        [b'{' | b'[', ..] => Format::Json,
        [b'(', b'0'..=b'9', ..] => Format::Trees,
        _ if line.contains(&b'\t') => Format::Tsv,
        _ => Format::Csv,
    }
}

/// The first bytes of what is read, and all of it.
fn peek<'a>(path: &Path, mut input: impl Read + 'a) -> Result<(Vec<u8>, Box<dyn Read + 'a>)> {
    let mut head = Vec::new();
    let read = input.by_ref().take(HEAD as u64).read_to_end(&mut head);
    let start = Cursor::new(head.clone());
    match read {
        Ok(_) => Ok((head, Box::new(start.chain(BufReader::with_capacity(HEAD, input))))),
        Err(error) if head.is_empty() => Err(cut_short(path, &error)),
        // what comes before is read, so that the row is known
        Err(error) => Ok((head, Box::new(start.chain(Failing(error))))),
    }
}

/// The end of what can be read, where an error was met.
struct Failing(std::io::Error);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::new(self.0.kind(), self.0.to_string()))
    }
}

/// The error for a read that failed, most often because packed data end too early.
fn cut_short(path: &Path, error: &std::io::Error) -> Error {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::UnexpectedEof => {
            Error::file(path, "the packed data end in the middle: the file is cut short", "Copy or download it again")
        }
        K::InvalidData | K::InvalidInput | K::Other => {
            Error::file(path, format!("the packed data are damaged ({error})"), "Copy or download it again")
        }
        _ => Error::io(path, "read", error),
    }
}
