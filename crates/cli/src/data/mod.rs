//! `distune data`: what is done with rows alone. One file a subcommand.

mod convert;
mod sample;

use clap::Subcommand;

use crate::Common;

/// Convert and sample data
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Convert(convert::ConvertArgs),
    Sample(sample::SampleArgs),
}

pub(crate) fn run(command: &DataCommand, common: &Common) -> anyhow::Result<()> {
    match command {
        DataCommand::Convert(args) => convert::run(args, common),
        DataCommand::Sample(args) => sample::run(args, common),
    }
}
