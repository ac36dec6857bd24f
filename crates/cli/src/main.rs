//! The program `distune`: parses the command line, calls the library, prints. One file a subcommand.
//!
//! Exit status: 0 done, 1 an error (one message on standard error) or problems that `data check --strict` found, 2 a wrong command
//! line, 130 interrupted.

mod bench;
mod bench_predict;
#[cfg(test)]
mod book;
mod calibrate;
mod columns;
mod compare;
mod completions;
mod convert;
mod data;
mod decide;
mod doctor;
mod errors;
mod eval;
mod explain;
mod export;
mod help;
mod hub;
mod info;
mod judge;
mod length;
mod man;
mod next;
mod output;
mod predict;
mod progress;
mod quantize;
mod serve;
mod sources;
mod stop;
mod sweep;
mod train;

use std::process::ExitCode;

use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use distune::engine::{InferencePrecision, LargePages, Precision, int8_instructions};
use distune::model::{Config, ModelFiles};
use distune::{Error, Result, memory};

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Fine-tune DistilBERT-family encoders for text classification on a CPU.
#[derive(Debug, Parser)]
#[command(name = "distune", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Options of every subcommand.
#[derive(Args, Clone, Debug)]
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
    /// The precision of the linear layers in training.
    fn precision(&self) -> Precision {
        self.precision_over(None)
    }

    /// As [`Self::precision`]; without the option, what a recipe says.
    fn precision_over(&self, recipe: Option<&str>) -> Precision {
        let said = recipe.and_then(|name| PrecisionChoice::from_str(name, true).ok());
        self.precision.or(said).unwrap_or(PrecisionChoice::Auto).resolve()
    }

    /// The precision of a trained model that predicts: what was asked for, int8 where the model is of int8, else the faster of f32 and bf16.
    /// Says what is slower than one would think.
    fn inference_precision(&self, files: &ModelFiles, config: &Config) -> Result<InferencePrecision> {
        let choice = self.precision.unwrap_or(PrecisionChoice::Auto);
        let precision = match (choice, config.is_quantized()) {
            (PrecisionChoice::F32 | PrecisionChoice::Bf16, true) => {
                let problem = "an int8 model: it has no weights of a higher precision";
                return Err(Error::file(
                    &files.path,
                    problem,
                    "Leave out --precision, or use the model that it was made of",
                ));
            }
            (PrecisionChoice::Int8, _) | (_, true) => InferencePrecision::Int8,
            (choice, false) => choice.resolve().into(),
        };
        match precision {
            InferencePrecision::Int8 if int8_instructions().is_none() => output::note(
                self,
                "This CPU, at the level of instructions in use, has none for int8 (AVX512-VNNI, AVX-VNNI or ARM's dotprod): its products are \
                 computed in 16 bits, exactly and more slowly.",
            ),
            InferencePrecision::Bf16 if !Precision::Bf16.accelerated() => output::note(
                self,
                "This CPU, at the level of instructions in use, has none for bf16: its products are emulated, which is slow. --precision f32 is \
                 faster.",
            ),
            _ => {}
        }
        Ok(precision)
    }

    /// Refuses int8 for what trains.
    fn check_precision(&self, command: &Command) -> Result<()> {
        let trains = match command {
            Command::Bench(args) => !args.predict,
            Command::Train(_) | Command::Sweep(_) | Command::Info(_) => true,
            _ => false,
        };
        match self.precision {
            Some(PrecisionChoice::Int8) if trains => {
                let expected = "auto, bf16 or f32 for training; int8 is for models that are trained (predict, eval, compare, quantize)";
                Err(Error::value("command line", "--precision", expected, "int8"))
            }
            _ => Ok(()),
        }
    }
}

/// What `--precision` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionChoice {
    /// bf16 where this CPU multiplies it faster than f32 (measured), else f32; int8 for a model that distune quantize wrote
    Auto,
    Bf16,
    F32,
    /// To predict: weights as 8-bit integers with a scale for each output, inputs with a scale for each row
    Int8,
}

impl PrecisionChoice {
    fn resolve(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
            // training refuses int8
            Self::Auto | Self::Int8 => Precision::fastest(),
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
    Serve(serve::ServeArgs),
    Quantize(quantize::QuantizeArgs),
    Bench(bench::BenchArgs),
    /// Check, convert, split and sample data
    #[command(subcommand)]
    Data(data::DataCommand),
    Convert(convert::ConvertArgs),
    Export(export::ExportArgs),
    Info(info::InfoArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let matches = help::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(&cli) {
        Ok(()) => {
            next::say(&cli.common, &next::after(&matches));
            ExitCode::SUCCESS
        }
        // the report says what it is
        Err(error) if error.is::<data::ProblemsFound>() => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    stop::install()?;
    cli.common.check_precision(&cli.command)?;
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
        Command::Serve(args) => serve::run(args, &cli.common),
        Command::Quantize(args) => quantize::run(args, &cli.common),
        Command::Bench(args) => bench::run(args, &cli.common),
        Command::Data(command) => data::run(command, &cli.common),
        Command::Convert(args) => convert::run(args, &cli.common),
        Command::Export(args) => export::run(args, &cli.common),
        Command::Info(args) => info::run(args, &cli.common),
        Command::Doctor(args) => doctor::run(args, &cli.common),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args, &cli.common),
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
