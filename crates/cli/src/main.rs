//! The program `distune`: parses the command line, calls the library, prints. One file a subcommand.
//!
//! Exit status: 0 done, 1 an error (one message on standard error) or problems that `data check --strict` found, 2 a wrong command
//! line, 130 interrupted.

mod bench;
mod calibrate;
mod columns;
mod compare;
mod convert;
mod data;
mod decide;
mod errors;
mod eval;
mod explain;
mod hub;
mod info;
mod judge;
mod length;
mod memory;
mod output;
mod predict;
mod progress;
mod sources;
mod stop;
mod sweep;
mod train;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use distune::engine::{LargePages, Precision};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Fine-tune DistilBERT-family encoders for text classification on a CPU.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every subcommand.
#[derive(Args, Debug)]
struct Common {
    /// Print no progress and no notes, only results
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print JSON lines on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Threads to compute with [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// What the operands of linear layers are rounded to; sums and all else are f32 [default: auto]
    #[arg(long, global = true, value_enum)]
    precision: Option<PrecisionChoice>,
}

impl Common {
    /// The precision of the linear layers.
    fn precision(&self) -> Precision {
        self.precision_over(None)
    }

    /// As [`Self::precision`]; without the option, what a recipe says.
    fn precision_over(&self, recipe: Option<&str>) -> Precision {
        let said = recipe.and_then(|name| PrecisionChoice::from_str(name, true).ok());
        self.precision.or(said).unwrap_or(PrecisionChoice::Auto).resolve()
    }
}

/// What `--precision` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionChoice {
    /// bf16 where this CPU multiplies it faster than f32 (measured), else f32
    Auto,
    Bf16,
    F32,
}

impl PrecisionChoice {
    fn resolve(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            Self::Auto => Precision::fastest(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::TrainArgs>),
    Sweep(Box<sweep::SweepArgs>),
    Eval(eval::EvalArgs),
    Compare(compare::CompareArgs),
    Calibrate(calibrate::CalibrateArgs),
    Errors(errors::ErrorsArgs),
    Predict(predict::PredictArgs),
    Bench(bench::BenchArgs),
    /// Check, convert, split and sample data
    #[command(subcommand)]
    Data(data::DataCommand),
    Convert(convert::ConvertArgs),
    Info(info::InfoArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // the report says what it is
        Err(error) if error.is::<data::ProblemsFound>() => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    stop::install()?;
    if let Some(threads) = cli.common.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    match &cli.command {
        Command::Train(args) => train::run(args, &cli.common),
        Command::Sweep(args) => sweep::run(args, &cli.common),
        Command::Eval(args) => eval::run(args, &cli.common),
        Command::Compare(args) => compare::run(args, &cli.common),
        Command::Calibrate(args) => calibrate::run(args, &cli.common),
        Command::Errors(args) => errors::run(args, &cli.common),
        Command::Predict(args) => predict::run(args, &cli.common),
        Command::Bench(args) => bench::run(args, &cli.common),
        Command::Data(command) => data::run(command, &cli.common),
        Command::Convert(args) => convert::run(args, &cli.common),
        Command::Info(args) => info::run(args, &cli.common),
    }
}

/// Prints the one message of an error and chooses the exit status.
fn fail(error: &anyhow::Error) -> ExitCode {
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
        // the reader of the output has seen enough: what a shell reports for SIGPIPE
        return ExitCode::from(141);
    }
    // every other file is named by a `distune::Error`
    let place = if io.is_some() { "standard output: " } else { "" };
    // a failure to say so cannot be said anywhere
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("distune: {place}{error:#}\n"));
    match error.downcast_ref::<distune::Error>() {
        Some(distune::Error::Interrupted { .. }) => ExitCode::from(130),
        _ => ExitCode::FAILURE,
    }
}
