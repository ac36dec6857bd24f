//! Reads a `.tsv` or `.csv` file into a [`Table`]. Called by `splits` and, for single files, by the command line.
//!
//! `.tsv` is GLUE's: tabs, no quoting (a lone `"` is text, spaces are kept). `.csv` is RFC 4180, with quoting. Both
//! are UTF-8 with a header line; a byte order mark, CRLF and blank lines are accepted.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Columns, Labels, quoted};
use crate::{Error, Result};

/// Rows of one file or split as read: labels still as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The file that the rows come from.
    pub path: PathBuf,
    /// Name of the text column, as in the header.
    pub text_column: String,
    /// Name of the column with the second text of a pair.
    pub pair_column: Option<String>,
    /// Name of the label column, as in the header.
    pub label_column: Option<String>,
    /// Name of the column whose rows of one value a split keeps together.
    pub group_column: Option<String>,
    /// `[N]` texts, exactly as written, never blank.
    pub texts: Vec<String>,
    /// `[N]` second texts; empty when there is no such column.
    pub pairs: Vec<String>,
    /// `[N]` labels as written, without the white space around them; empty when there is no label column. With `multi_label`,
    /// the names of a row's labels with `|` between them, and nothing for none.
    pub labels: Vec<String>,
    /// Whether a row may have any number of labels.
    pub multi_label: bool,
    /// `[N]` groups as written; empty when there is no such column.
    pub groups: Vec<String>,
    /// `[N]` line in the file on which each row begins, counted from 1; a header is line 1.
    pub lines: Vec<u64>,
}

impl Table {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

/// Reads a `.tsv` or `.csv` file.
///
/// # Errors
/// A file that cannot be read, and all that [`read_bytes`] refuses.
pub fn read_file(path: &Path, columns: &Columns, labels: Labels) -> Result<Table> {
    read_bytes(path, &load(path)?, columns, labels)
}

/// Reads the bytes of a file, such as one compiled into the program. The extension of `name` tells the format.
///
/// # Errors
/// Another extension than `.tsv` or `.csv`, no header or no rows, a column that is missing or there twice, a row with
/// more or fewer fields than the header, a quote that is never closed, broken UTF-8, a blank text or label.
pub fn read_bytes(name: &Path, bytes: &[u8], columns: &Columns, labels: Labels) -> Result<Table> {
    let mut rows = Rows::new(name, bytes)?;
    let text = columns.text_index(name, &rows.header)?;
    let label = columns.label_index(name, &rows.header, labels)?;
    if label == Some(text) {
        let problem = format!("column {:?} is asked for as both text and label", rows.header[text]);
        return Err(Error::file(name, problem, "Give --text-column and --label-column different names"));
    }
    let mut table = Table {
        path: name.to_owned(),
        text_column: rows.header[text].clone(),
        label_column: label.map(|label| rows.header[label].clone()),
        ..Table::default()
    };
    while rows.advance()? {
        table.texts.push(rows.field(text, "text")?.to_owned());
        if let Some(label) = label {
            table.labels.push(rows.field(label, "label")?.trim().to_owned());
        }
        table.lines.push(rows.line);
    }
    if table.is_empty() {
        return Err(Error::file(name, "no rows below the header", "Expected one row for each text"));
    }
    Ok(table)
}

/// The column names of a file. Called by `splits`, to see whether a test file has labels.
pub(super) fn header(name: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    Ok(Rows::new(name, bytes)?.header)
}

/// The bytes of a data file; another format is refused before anything is read.
pub(super) fn load(path: &Path) -> Result<Vec<u8>> {
    let io = |error| Error::io(path, "read", &error);
    let mut file = File::open(path).map_err(io)?;
    if path.is_dir() {
        return Err(Error::file(path, "this is a directory, expected a .tsv or .csv file", "Name a file in it"));
    }
    is_csv(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// `true` for `.csv`, `false` for `.tsv`.
fn is_csv(path: &Path) -> Result<bool> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("csv") => Ok(true),
        Some("tsv") => Ok(false),
        other => {
            let found = other.map_or("no extension".to_owned(), |other| format!(".{other}"));
            let hint = "Convert or rename it: .tsv has tabs and no quoting, .csv has commas and quoting";
            Err(Error::file(path, format!("expected a .tsv or .csv file, found {found}"), hint))
        }
    }
}

/// The rows of a file one by one, with their lines.
struct Rows<'a> {
    path: &'a Path,
    /// The file without its byte order mark.
    bytes: &'a [u8],
    csv: bool,
    reader: csv::Reader<&'a [u8]>,
    /// Column names, without the white space around them.
    header: Vec<String>,
    record: csv::ByteRecord,
    /// Line on which `record` begins.
    line: u64,
    /// Bytes whose line ends are already counted in `line`.
    counted: usize,
}

impl<'a> Rows<'a> {
    /// Opens the file and reads its header.
    fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let csv = is_csv(path)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).quoting(csv).delimiter(if csv { b',' } else { b'\t' });
        let (record, header) = (csv::ByteRecord::new(), Vec::new());
        let reader = builder.from_reader(bytes);
        let mut rows = Self { path, bytes, csv, reader, header, record, line: 1, counted: 0 };
        if !rows.read()? {
            let hint = "Expected a line with the column names, then one row for each text";
            return Err(Error::file(path, "the file is empty", hint));
        }
        for field in &rows.record {
            let name = std::str::from_utf8(field)
                .map_err(|_| Error::row(path, rows.line, "the header is not UTF-8", "Save the file as UTF-8"))?;
            rows.header.push(name.trim().to_owned());
        }
        Ok(rows)
    }

    /// Goes to the next row and checks its shape; `false` after the last one.
    fn advance(&mut self) -> Result<bool> {
        let last_line = self.line;
        if !self.read()? {
            return Ok(false);
        }
        let (expected, found) = (self.header.len(), self.record.len());
        if found != expected {
            let hint = if self.csv {
                "Put fields with commas, quotes or line ends in quotes"
            } else {
                "Put exactly one tab between two columns, and none in a text"
            };
            let problem = format!("expected {expected} fields as in the header, found {found}");
            return Err(Error::row(self.path, self.line, problem, hint));
        }
        // A blank line is no row, but where a row is nothing but its text, it may be meant as one.
        if expected == 1 && !self.csv && self.line > last_line + 1 {
            return Err(self.blank(last_line + 1, 0, "text"));
        }
        Ok(true)
    }

    /// Reads the next record and finds its line. (The reader's own line numbers are those of the end of the record
    /// before, which with CRLF and blank lines is another line.)
    fn read(&mut self) -> Result<bool> {
        let before = self.position();
        let more = self.reader.read_byte_record(&mut self.record);
        if !more.map_err(|error| Error::file(self.path, format!("cannot parse: {error}"), ""))? {
            return Ok(false);
        }
        let rest = self.bytes.get(before..).unwrap_or_default();
        let start = before + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes.get(self.counted..start).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.counted = start;
        self.check_quote()?;
        Ok(true)
    }

    /// Bytes read so far.
    fn position(&self) -> usize {
        usize::try_from(self.reader.position().byte()).unwrap_or(usize::MAX)
    }

    /// Refuses a quote that is still open at the end of the file: its field has swallowed all later rows. Such a field
    /// has line ends in it, as only quoted fields have, yet the file does not end with a quote.
    fn check_quote(&self) -> Result<()> {
        let in_quotes = self.record.iter().next_back().is_some_and(|field| field.contains(&b'\n'));
        if !self.csv || !in_quotes || self.position() < self.bytes.len() || self.bytes.trim_ascii_end().ends_with(b"\"")
        {
            return Ok(());
        }
        let problem = "a quote is opened in this row and never closed";
        let hint = "Close it; inside quotes, a quote is written twice. A .tsv file needs no quoting";
        Err(Error::row(self.path, self.line, problem, hint))
    }

    /// A field of the current row, which must be UTF-8 and not blank. `what` is "text" or "label".
    fn field(&self, column: usize, what: &str) -> Result<&str> {
        let bytes = self.record.get(column).unwrap_or_default();
        let field = std::str::from_utf8(bytes).map_err(|error| {
            let name = quoted(&self.header[column..=column], 1);
            let problem = format!("column {name} is not UTF-8 after its first {} bytes", error.valid_up_to());
            Error::row(self.path, self.line, problem, "Save the file as UTF-8")
        })?;
        if field.trim().is_empty() { Err(self.blank(self.line, column, what)) } else { Ok(field) }
    }

    /// The error for a blank text or label.
    fn blank(&self, line: u64, column: usize, what: &str) -> Error {
        let name = quoted(&self.header[column..=column], 1);
        Error::row(self.path, line, format!("the {what} in column {name} is empty"), "Fill it in or remove the row")
    }
}
