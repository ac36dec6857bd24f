//! `.tsv` and `.csv` files. `.tsv` is GLUE's: tabs, no quoting (a lone `"` is text, spaces are kept). `.csv` is RFC 4180, with
//! quoting and commas, semicolons or tabs. Both are UTF-8 with a header line; a byte order mark, CRLF and blank lines are accepted.
//!
//! A file of two columns without a header is accepted where one column of its first line is obviously a label.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use super::builder::{Builder, Cell, Row, utf8};
use super::chunks::Record;
use super::source::{Format, Source};
use super::{Table, Wanted};
use crate::data::quoted;
use crate::{Error, Result};

/// Reads rows separated by `delimiter`.
pub(super) fn read(source: Source, delimiter: u8, wanted: Wanted) -> Result<(Table, usize)> {
    let path = source.path;
    let mut rows = Rows::new(source, delimiter)?;
    let Some(first) = rows.header()? else {
        let hint = "Expected a line with the column names, then one row for each text";
        return Err(Error::file(path, "the file is empty", hint));
    };
    if let Some(error) = rows.wrong_quoting(&first) {
        return Err(error);
    }
    let assumed = if wanted.columns.can_guess_text(&first) { None } else { without_header(&first) };
    let mut table = Builder::new(path, assumed.as_deref().unwrap_or(&first), wanted)?;
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
            // it has swallowed all later rows
            Some(error) if rows.unclosed() => return Err(error),
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
pub(super) struct Rows<'a> {
    path: &'a Path,
    quoting: bool,
    reader: csv::Reader<Lines<Box<dyn Read + 'a>>>,
    lines: Rc<RefCell<Starts>>,
    pub(super) record: csv::ByteRecord,
    /// Line on which `record` begins, and the one before it.
    pub(super) line: u64,
    last_line: u64,
    /// The first quote in `record` that is not where RFC 4180 has it.
    misplaced: Option<Misplaced>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(source: Source<'a>, delimiter: u8) -> Result<Self> {
        let quoting = source.format == Format::Csv;
        let quotes = quoting.then(|| Quotes::new(delimiter));
        let lines = Rc::new(RefCell::new(Starts { line: 1, at_start: true, quotes, ..Starts::default() }));
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).quoting(quoting).delimiter(delimiter).buffer_capacity(1 << 16);
        let reader = builder.from_reader(Lines { inner: source.input, starts: lines.clone() });
        let (path, record) = (source.path, csv::ByteRecord::new());
        Ok(Self { path, quoting, reader, lines, record, line: 1, last_line: 1, misplaced: None })
    }

    /// The fields of the first line, without the white space around them.
    pub(super) fn header(&mut self) -> Result<Option<Vec<String>>> {
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
    pub(super) fn advance(&mut self) -> Result<bool> {
        let before = self.reader.position().byte();
        let more = self.reader.read_byte_record(&mut self.record).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => {
                let mut lines = self.lines.borrow_mut();
                let line = lines.line_of(before).unwrap_or(lines.line);
                Source::failed(self.path, Some(line), &error)
            }
            other => Error::file(self.path, format!("cannot parse: {other:?}"), ""),
        })?;
        if !more {
            return Ok(false);
        }
        let end = self.reader.position().byte();
        let mut lines = self.lines.borrow_mut();
        (self.last_line, self.line) = (self.line, lines.line_of(before).unwrap_or(self.line));
        self.misplaced = lines.quotes.as_mut().and_then(|quotes| quotes.before(end));
        Ok(true)
    }

    /// Whether the row has a quote that is never closed.
    fn unclosed(&self) -> bool {
        self.misplaced.is_some_and(|quote| !quote.closed)
    }

    /// What is wrong with the quotes of the row. (The `csv` reader takes them as they come, and text of other rows with them.)
    pub(super) fn wrong_quoting(&self, header: &[String]) -> Option<Error> {
        let Misplaced { field, line, closed, .. } = self.misplaced?;
        let column = header.get(field).map_or_else(|| (field + 1).to_string(), |name| quoted(&[name], 1));
        let problem = match closed {
            false => format!("a quote is opened in column {column} and never closed"),
            true if line == self.line => format!("text follows the closing quote in column {column}"),
            true => format!("the quote that is opened in column {column} ends on line {line}, and text follows it"),
        };
        let hint = "Inside quotes, a quote is written twice. A .tsv file needs no quoting";
        Some(Error::row(self.path, self.line, problem, hint))
    }

    /// What is wrong with the quotes or the shape of the row.
    pub(super) fn problem(&self, header: &[String]) -> Option<Error> {
        if let Some(error) = self.wrong_quoting(header) {
            return Some(error);
        }
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
        let record = match table.keeps_records().then(|| self.fields()).transpose() {
            Ok(record) => record,
            Err(error) => return table.bad(error),
        };
        let cell = |index: usize| Cell::Raw(self.record.get(index).unwrap_or_default());
        let at = &table.columns;
        let row = Row {
            text: cell(at.text),
            pair: at.pair.map(cell),
            label: at.label.map(cell),
            group: at.group.map(cell),
            others: at.others.iter().copied().map(cell).collect(),
            record,
        };
        table.row(self.line, row)
    }

    /// All fields of the row.
    fn fields(&self) -> Result<Record> {
        let text = |(place, field): (usize, &[u8])| {
            let problem = utf8(field, &format!("number {}", place + 1));
            problem.map(str::to_owned).map_err(|(problem, hint)| Error::row(self.path, self.line, problem, hint))
        };
        self.record.iter().enumerate().map(text).collect::<Result<_>>().map(Record::Fields)
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
    /// Follows the quotes, where there are any.
    quotes: Option<Quotes>,
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
        let s = &mut *s;
        if let Some(quotes) = &mut s.quotes {
            (s.offset..).zip(&buffer[..count]).for_each(|(offset, &byte)| quotes.pass(offset, byte));
            if count == 0 && !buffer.is_empty() {
                quotes.end(s.offset);
            }
        }
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
        }
        s.offset += count as u64;
        Ok(count)
    }
}

/// A quote that is not where RFC 4180 has it.
#[derive(Clone, Copy, Debug)]
struct Misplaced {
    /// Offset of the byte that shows it.
    offset: u64,
    /// Number of the field, counted from 0, and the line.
    field: usize,
    line: u64,
    /// Whether text follows the closing quote; else there is none.
    closed: bool,
}

/// Follows the quotes of a file, as the `csv` reader does.
struct Quotes {
    delimiter: u8,
    at: At,
    field: usize,
    line: u64,
    misplaced: VecDeque<Misplaced>,
}

/// Where a byte is.
#[derive(Clone, Copy, PartialEq)]
enum At {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside quotes, which closes them unless another one follows.
    Quote,
}

impl Quotes {
    fn new(delimiter: u8) -> Self {
        Self { delimiter, at: At::FieldStart, field: 0, line: 1, misplaced: VecDeque::new() }
    }

    /// Goes past a byte.
    fn pass(&mut self, offset: u64, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quote, b'"') | (At::Quoted, _) => At::Quoted,
            (_, b'\n' | b'\r') => {
                self.field = 0;
                At::FieldStart
            }
            (_, byte) if byte == self.delimiter => {
                self.field += 1;
                At::FieldStart
            }
            (At::FieldStart, b'"') => At::Quoted,
            (At::Quote, _) => {
                self.tell(offset, true);
                At::Unquoted
            }
            _ => At::Unquoted,
        };
        self.line += u64::from(byte == b'\n');
    }

    /// Goes past the last byte.
    fn end(&mut self, offset: u64) {
        if self.at == At::Quoted {
            self.tell(offset.saturating_sub(1), false);
            self.at = At::Unquoted;
        }
    }

    fn tell(&mut self, offset: u64, closed: bool) {
        self.misplaced.push_back(Misplaced { offset, field: self.field, line: self.line, closed });
    }

    /// Takes those in front of an offset; of them the one that is never closed, or else the first one.
    fn before(&mut self, offset: u64) -> Option<Misplaced> {
        let count = self.misplaced.iter().take_while(|quote| quote.offset < offset).count();
        self.misplaced.drain(..count).min_by_key(|quote| quote.closed)
    }
}
