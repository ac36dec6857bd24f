//! `.tsv` and `.csv` files. `.tsv` is GLUE's: tabs, no quoting (a lone `"` is text, spaces are kept). `.csv` is RFC 4180, with
//! quoting and commas, semicolons or tabs. Both are UTF-8 with a header line; a byte order mark, CRLF and blank lines are accepted.
//!
//! A file of two columns without a header is accepted where one column of its first line is obviously a label.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use super::Table;
use super::builder::{Builder, Cell, Row};
use super::source::{Format, Source};
use crate::data::{Columns, Labels, quoted};
use crate::{Error, Result};

/// Reads rows separated by `delimiter`.
pub(super) fn read(source: Source, delimiter: u8, columns: &Columns, labels: Labels) -> Result<Table> {
    let path = source.path;
    let mut rows = Rows::new(source, delimiter)?;
    let Some(first) = rows.header()? else {
        let hint = "Expected a line with the column names, then one row for each text";
        return Err(Error::file(path, "the file is empty", hint));
    };
    let assumed = if columns.can_guess_text(&first) { None } else { without_header(&first) };
    let mut table = Builder::new(path, assumed.as_deref().unwrap_or(&first), columns, labels)?;
    if let Some(names) = &assumed {
        table.note(format!(
            "{}: no header, so column 1 was taken as the {} and column 2 as the {}",
            path.display(),
            names[0],
            names[1]
        ));
        rows.give(&mut table)?;
    }
    while rows.advance()? {
        match rows.problem(&first) {
            Some(error) => table.bad(error)?,
            None => rows.give(&mut table)?,
        }
    }
    table.finish()
}

/// The delimiter of a `.csv` file: the most frequent one outside quotes in its first line.
pub(super) fn sniff(head: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for &byte in head.trim_ascii_start() {
        quoted ^= byte == b'"';
        match byte {
            b'\n' if !quoted => break,
            _ if quoted => {}
            _ => counts.iter_mut().filter(|(delimiter, _)| *delimiter == byte).for_each(|(_, count)| *count += 1),
        }
    }
    // the first one where two are as frequent
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.iter().find(|(_, count)| *count == most).map_or(b',', |(delimiter, _)| *delimiter)
}

/// The names of two columns whose first line is a row and not a header: exactly one of its fields is a label.
fn without_header(first: &[String]) -> Option<Vec<String>> {
    let is_label = |field: &String| {
        let word = field.to_lowercase();
        field.parse::<i16>().is_ok()
            || field.starts_with("__label__")
            || ["positive", "negative", "pos", "neg"].contains(&word.as_str())
    };
    match first {
        [a, b] if is_label(a) != is_label(b) => {
            let names = if is_label(a) { ["label", "text"] } else { ["text", "label"] };
            Some(names.map(str::to_owned).to_vec())
        }
        _ => None,
    }
}

/// The rows of a file one by one, with their lines.
struct Rows<'a> {
    path: &'a Path,
    quoting: bool,
    reader: csv::Reader<Lines<Box<dyn Read + 'a>>>,
    lines: Rc<RefCell<Starts>>,
    record: csv::ByteRecord,
    /// Line on which `record` begins, and the one before it.
    line: u64,
    last_line: u64,
}

impl<'a> Rows<'a> {
    fn new(source: Source<'a>, delimiter: u8) -> Result<Self> {
        let quoting = source.format == Format::Csv;
        let lines = Rc::new(RefCell::new(Starts { line: 1, at_start: true, ..Starts::default() }));
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).quoting(quoting).delimiter(delimiter).buffer_capacity(1 << 16);
        let reader = builder.from_reader(Lines { inner: source.input, starts: lines.clone() });
        Ok(Self { path: source.path, quoting, reader, lines, record: csv::ByteRecord::new(), line: 1, last_line: 1 })
    }

    /// The fields of the first line, without the white space around them.
    fn header(&mut self) -> Result<Option<Vec<String>>> {
        if !self.advance()? {
            return Ok(None);
        }
        let name = |field| match std::str::from_utf8(field) {
            Ok(name) => Ok(name.trim().to_owned()),
            Err(_) => Err(Error::row(self.path, self.line, "the header is not UTF-8", "Save the file as UTF-8")),
        };
        self.record.iter().map(name).collect::<Result<_>>().map(Some)
    }

    /// Goes to the next row; `false` after the last one.
    fn advance(&mut self) -> Result<bool> {
        let before = self.reader.position().byte();
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => Source::failed(self.path, &error),
            other => Error::file(self.path, format!("cannot parse: {other:?}"), ""),
        })?;
        if !more {
            return Ok(false);
        }
        let end = self.reader.position().byte();
        let mut lines = self.lines.borrow_mut();
        (self.last_line, self.line) = (self.line, lines.line_of(before).unwrap_or(self.line));
        // a quote that is still open at the end of the file: its field has swallowed all later rows
        let in_quotes = self.record.iter().next_back().is_some_and(|field| field.contains(&b'\n'));
        if self.quoting && in_quotes && lines.ended && end >= lines.offset && lines.last != b'"' {
            let problem = "a quote is opened in this row and never closed";
            let hint = "Close it; inside quotes, a quote is written twice. A .tsv file needs no quoting";
            return Err(Error::row(self.path, self.line, problem, hint));
        }
        Ok(true)
    }

    /// What is wrong with the shape of the row.
    fn problem(&self, header: &[String]) -> Option<Error> {
        let (expected, found) = (header.len(), self.record.len());
        if found != expected {
            let hint = if self.quoting {
                "Put fields with commas, quotes or line ends in quotes"
            } else {
                "Put exactly one tab between two columns, and none in a text"
            };
            let problem = format!("expected {expected} fields as in the header, found {found}");
            return Some(Error::row(self.path, self.line, problem, hint));
        }
        // A blank line is no row, but where a row is nothing but its text, it may be meant as one.
        if expected == 1 && !self.quoting && self.line > self.last_line + 1 {
            let problem = format!("the text in column {} is empty", quoted(header, 1));
            return Some(Error::row(self.path, self.last_line + 1, problem, "Fill it in or remove the row"));
        }
        None
    }

    /// Hands the row on.
    fn give(&self, table: &mut Builder) -> Result<()> {
        let cell = |index: usize| Cell::Raw(self.record.get(index).unwrap_or_default());
        let at = table.columns;
        let row =
            Row { text: cell(at.text), pair: at.pair.map(cell), label: at.label.map(cell), group: at.group.map(cell) };
        table.row(self.line, row)
    }
}

/// Passes a file on and remembers where its lines begin. (The `csv` reader's own line numbers are those of the end of the record
/// before, which with CRLF and blank lines is another line.)
struct Lines<R> {
    inner: R,
    starts: Rc<RefCell<Starts>>,
}

/// Where the lines begin that are not blank, from the row on that was read last.
#[derive(Default)]
struct Starts {
    /// Offset of the first byte that is no line end, and the line.
    starts: VecDeque<(u64, u64)>,
    /// Bytes that were passed on, the line of the next one, and whether nothing but line ends came since the last line end.
    offset: u64,
    line: u64,
    at_start: bool,
    /// The last byte that is no white space.
    last: u8,
    /// Whether the file has come to its end.
    ended: bool,
}

impl Starts {
    /// The line of the first row that begins at this byte or behind.
    fn line_of(&mut self, byte: u64) -> Option<u64> {
        while self.starts.front().is_some_and(|&(offset, _)| offset < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map(|&(_, line)| line)
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut s = self.starts.borrow_mut();
        s.ended |= count == 0 && !buffer.is_empty();
        for (offset, &byte) in (s.offset..).zip(&buffer[..count]) {
            match byte {
                b'\n' => (s.line, s.at_start) = (s.line + 1, true),
                b'\r' => s.at_start = true,
                _ if s.at_start => {
                    let line = s.line;
                    s.starts.push_back((offset, line));
                    s.at_start = false;
                }
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                s.last = byte;
            }
        }
        s.offset += count as u64;
        Ok(count)
    }
}
