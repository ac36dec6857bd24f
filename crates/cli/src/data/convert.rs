//! `distune data convert`: rows written in another format.

use std::path::{Path, PathBuf};

use clap::Args;
use distune::data::{Table, write_table};
use serde_json::json;

use crate::columns::ColumnArgs;
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// Write rows in another format: text, pair, label and group columns
#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// What is read: a file, "-" for standard input, a directory with splits, "reviews", or a name of the hub
    input: String,
    /// What is written: a file, .tsv, .csv, .jsonl or .parquet, plain or with .gz or .zst; for splits, a directory
    output: PathBuf,
    /// Format of the files in a directory, such as csv or jsonl.gz
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
    let Some(table) = sources::file(&args.input, &columns, common)? else {
        let splits = sources::splits(std::slice::from_ref(&args.input), &columns, common)?;
        splits.notes.iter().for_each(|text| note(common, text));
        for (name, table) in [("train", splits.train), ("validation", splits.validation), ("test", splits.test)] {
            if let Some(table) = table {
                write(&args.output.join(format!("{name}.{}", args.format)), &table, args.overwrite, common)?;
            }
        }
        return Ok(());
    };
    write(&args.output, &table, args.overwrite, common)
}

/// Writes a table and says so.
pub(super) fn write(path: &Path, table: &Table, overwrite: bool, common: &Common) -> anyhow::Result<()> {
    write_table(path, table, overwrite)?;
    if common.json {
        return Ok(line(json!({"event": "written", "output": path, "rows": table.len()}))?);
    }
    Ok(line(format!("Wrote {} rows to {}.", thousands(table.len()), path.display()))?)
}
