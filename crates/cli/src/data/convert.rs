//! `distune data convert`: rows written in another format.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use distune::data::{Labels, Table, can_write, write_rows, write_table};
use serde_json::json;

use crate::columns::ColumnArgs;
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// The name of standard output.
pub(super) const STANDARD_OUTPUT: &str = "-";

/// Write rows in another format: text, pair, label and group columns
#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// What is read: a file, "-" for standard input, a directory with splits, "reviews", or a name of the hub
    input: String,
    /// What is written: a file, .tsv, .csv, .jsonl or .parquet, plain or with .gz or .zst; "-" for standard output; for splits, a
    /// directory
    output: PathBuf,
    /// Format of standard output and of the files in a directory, such as csv or jsonl.gz
    #[arg(long, default_value = "jsonl")]
    format: String,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &ConvertArgs, common: &Common) -> anyhow::Result<()> {
    let columns = args.columns.resolve();
    if let Some(table) = sources::file(&args.input, &columns, Labels::Optional, common)? {
        if args.output == Path::new(STANDARD_OUTPUT) {
            return print(&args.format, &table);
        }
        return write(&args.output, &table, args.overwrite, common);
    }
    let splits = sources::splits(std::slice::from_ref(&args.input), &columns, common)?;
    splits.notes.iter().for_each(|text| note(common, text));
    if !args.output.is_dir() && (args.output == Path::new(STANDARD_OUTPUT) || can_write(&args.output, true).is_ok()) {
        let problem = format!("{} is read as splits, which are written to a directory", args.input);
        return Err(distune::Error::file(&args.output, problem, "Name a directory, or read one file of them").into());
    }
    write_splits(&args.output, &args.format, [splits.train, splits.validation, splits.test], args.overwrite, common)
}

/// Writes train, validation and test rows, those that there are, to a directory: nothing, where one of the files cannot be.
pub(super) fn write_splits(
    directory: &Path,
    format: &str,
    splits: [Option<Table>; 3],
    overwrite: bool,
    common: &Common,
) -> anyhow::Result<()> {
    let path = |name: &str| directory.join(format!("{name}.{format}"));
    let named = ["train", "validation", "test"].into_iter().zip(splits);
    let tables: Vec<(PathBuf, Table)> = named.filter_map(|(name, table)| Some((path(name), table?))).collect();
    tables.iter().try_for_each(|(path, _)| can_write(path, overwrite))?;
    tables.iter().try_for_each(|(path, table)| write(path, table, overwrite, common))
}

/// Writes a table to standard output.
pub(super) fn print(format: &str, table: &Table) -> anyhow::Result<()> {
    let mut output = Output { broken: false };
    let written = write_rows(&PathBuf::from(format!("standard output.{format}")), &mut output, table);
    match written {
        Err(_) if output.broken => Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
        written => Ok(written?),
    }
}

/// Writes a table and says so.
pub(super) fn write(path: &Path, table: &Table, overwrite: bool, common: &Common) -> anyhow::Result<()> {
    write_table(path, table, overwrite)?;
    if common.json {
        return Ok(line(json!({"event": "written", "output": path, "rows": table.len()}))?);
    }
    Ok(line(format!("Wrote {} rows to {}.", thousands(table.len()), path.display()))?)
}

/// Standard output, which remembers that nobody reads it any more.
struct Output {
    broken: bool,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(|error| self.broken |= error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(|error| self.broken |= error.kind() == io::ErrorKind::BrokenPipe)
    }
}
