//! `distune data`: what is done with rows alone. One file a subcommand.

mod convert;
mod sample;
mod split;

use clap::Subcommand;

use crate::Common;

/// Convert, split and sample data
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Convert(convert::ConvertArgs),
    Sample(sample::SampleArgs),
    Split(split::SplitArgs),
}

pub(crate) fn run(command: &DataCommand, common: &Common) -> anyhow::Result<()> {
    match command {
        DataCommand::Convert(args) => convert::run(args, common),
        DataCommand::Sample(args) => sample::run(args, common),
        DataCommand::Split(args) => split::run(args, common),
    }
}
