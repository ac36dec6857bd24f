//! `distune data`: what is done with rows alone. One file a subcommand.

mod check;
mod convert;
mod report;
mod sample;
mod split;

pub(crate) use check::ProblemsFound;
use clap::Subcommand;

use crate::Common;

/// Check, convert, split and sample data
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Check(check::CheckArgs),
    Convert(convert::ConvertArgs),
    Sample(sample::SampleArgs),
    Split(split::SplitArgs),
}

pub(crate) fn run(command: &DataCommand, common: &Common) -> anyhow::Result<()> {
    match command {
        DataCommand::Check(args) => check::run(args, common),
        DataCommand::Convert(args) => convert::run(args, common),
        DataCommand::Sample(args) => sample::run(args, common),
        DataCommand::Split(args) => split::run(args, common),
    }
}
