//! `distune data split`: train, validation and test rows of a file, written to a directory.

use std::path::PathBuf;

use clap::Args;
use distune::data::{Labels, Shares, partition};
use distune::{Error, Result};

use super::convert::write_splits;
use crate::columns::ColumnArgs;
use crate::output::note;
use crate::{Common, sources};

/// Divide rows at random into train, validation and test files: each class keeps its share, equal texts and groups stay together
#[derive(Args, Debug)]
pub(crate) struct SplitArgs {
    /// What is read: a file, or "-" for standard input
    input: String,
    /// Directory to write: train, validation and test files, which `train --data` takes
    output: PathBuf,
    /// Format of the files, such as csv or jsonl.gz
    #[arg(long, default_value = "jsonl")]
    format: String,
    /// Part of the rows for validation
    #[arg(long, default_value_t = Shares::default().validation, value_name = "X")]
    validation: f64,
    /// Part of the rows for test; 0 for none
    #[arg(long, default_value_t = Shares::default().test, value_name = "X")]
    test: f64,
    /// Which rows: the same ones for the same number
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Replace files that exist
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &SplitArgs, common: &Common) -> anyhow::Result<()> {
    let shares = shares(args)?;
    let Some(table) = sources::file(&args.input, &args.columns.resolve(), Labels::Optional, common)? else {
        let hint = "Name one of its files, or convert it with distune data convert";
        return Err(Error::file(args.input.as_ref(), "has splits already, expected one file", hint).into());
    };
    if table.labels.is_empty() {
        note(common, "No label column: the rows are divided without regard to classes.");
    }
    let parts = partition(&table, shares, args.seed);
    for (name, part, share) in [("validation", &parts[1], shares.validation), ("test", &parts[2], shares.test)] {
        if part.is_none() && share > 0.0 {
            note(common, format!("No {name} rows: there are too few rows, or too few groups."));
        }
    }
    write_splits(&args.output, &args.format, parts, args.overwrite, common)
}

fn shares(args: &SplitArgs) -> Result<Shares> {
    for (name, share) in [("--validation", args.validation), ("--test", args.test)] {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::value("data split", name, "a part of the rows, 0 or more and below 1", share));
        }
    }
    let sum = args.validation + args.test;
    if sum >= 1.0 {
        return Err(Error::value(
            "data split",
            "--validation and --test together",
            "below 1, to leave rows for train",
            sum,
        ));
    }
    Ok(Shares { validation: args.validation, test: args.test })
}
