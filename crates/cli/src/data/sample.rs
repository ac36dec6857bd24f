//! `distune data sample`: fewer rows in the same proportions.

use std::path::{Path, PathBuf};

use clap::Args;
use distune::data::Labels;

use super::convert::{STANDARD_OUTPUT, print, write};
use crate::columns::ColumnArgs;
use crate::{Common, sources};

/// Write some rows, drawn at random; each label keeps its share
#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// What is read: a file, "-" for standard input; of splits, the train split
    input: String,
    /// What is written: .tsv, .csv, .jsonl or .parquet, plain or with .gz or .zst; "-" for standard output
    output: PathBuf,
    /// Format of standard output, such as csv
    #[arg(long, default_value = "jsonl")]
    format: String,
    /// Number of rows
    #[arg(long, short = 'n', value_name = "N")]
    rows: usize,
    /// Which rows: the same ones for the same number
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &SampleArgs, common: &Common) -> anyhow::Result<()> {
    let columns = args.columns.resolve();
    let table = match sources::file(&args.input, &columns, Labels::Optional, common)? {
        Some(table) => table,
        None => sources::table(&args.input, Some("train"), &columns, Labels::Required, common)?,
    };
    let sampled = table.sample(args.rows, args.seed);
    if args.output == Path::new(STANDARD_OUTPUT) {
        return print(&args.format, &sampled);
    }
    write(&args.output, &sampled, args.overwrite, common)
}
