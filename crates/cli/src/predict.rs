//! `distune predict`: labels and probabilities for texts from the command line or standard input.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::Path;

use clap::Args;
use distune::Error;
use distune::data::check_ids;
use distune::engine::{Cpu, Engine};
use distune::eval::most_probable;
use distune::predict::{logits, probabilities};
use distune::tokenize::{Encoded, Tokenizer};
use serde_json::{Map, json};

use crate::output::note;
use crate::{Common, sources, stop};

/// Lines of standard input that are read before they are predicted together.
const LINES_AT_ONCE: usize = 512;

/// Predict labels for texts
#[derive(Args, Debug)]
pub(crate) struct PredictArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short)]
    model: String,
    /// Texts; without any, each line of standard input is one
    texts: Vec<String>,
    /// Longest text in tokens [default: as in training]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// With --json, print the logits too
    #[arg(long, requires = "json")]
    logits: bool,
}

pub(crate) fn run(args: &PredictArgs, common: &Common) -> anyhow::Result<()> {
    let (mut engine, tokenizer) = sources::classifier(&args.model, args.max_length, common)?;
    let format = match (common.json, args.logits) {
        (false, _) => Format::Text,
        (true, logits) => Format::Json { logits },
    };
    if !args.texts.is_empty() {
        return predict(&mut engine, &tokenizer, &args.texts, Source::Arguments, format);
    }
    let terminal = stdin().is_terminal();
    if terminal {
        note(common, "Type a text and press Enter; Ctrl-D ends.");
    }
    let at_once = if terminal { 1 } else { LINES_AT_ONCE };
    let (mut lines, mut first) = (stdin().lock().lines(), 1);
    loop {
        let mut texts = Vec::new();
        let mut failed = None;
        stop::waiting(true);
        if stop::requested() {
            return Err(interrupted(first).into());
        }
        for line in lines.by_ref().take(at_once) {
            match line {
                Ok(text) => texts.push(text),
                Err(e) => {
                    failed = Some(input_error(&e, first + texts.len() as u64));
                    break;
                }
            }
        }
        stop::waiting(false);
        // what came before the bad line is answered all the same
        predict(&mut engine, &tokenizer, &texts, Source::Lines { first }, format)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if texts.len() < at_once {
            return Ok(());
        }
        first += texts.len() as u64;
    }
}

fn input_error(error: &std::io::Error, line: u64) -> Error {
    let problem = match error.kind() {
        std::io::ErrorKind::InvalidData => "not valid UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Error::row(Path::new("standard input"), line, problem, "Convert the texts to UTF-8")
}

fn interrupted(next: u64) -> Error {
    Error::Interrupted { when: format!("before text {next}"), kept: "what was printed is complete".into() }
}

/// Where texts come from.
#[derive(Clone, Copy)]
enum Source {
    Arguments,
    /// Standard input; the number of the first line.
    Lines {
        first: u64,
    },
}

impl Source {
    /// The number of a text, counted from 1.
    fn number(self, i: usize) -> u64 {
        match self {
            Self::Arguments => 1 + i as u64,
            Self::Lines { first } => first + i as u64,
        }
    }

    fn error(self, i: usize, problem: &str, hint: &str) -> Error {
        let number = self.number(i);
        match self {
            Self::Arguments => Error::file(Path::new(&format!("argument {number}")), problem, hint),
            Self::Lines { .. } => Error::row(Path::new("standard input"), number, problem, hint),
        }
    }
}

/// How a prediction is printed.
#[derive(Clone, Copy)]
enum Format {
    Text,
    Json { logits: bool },
}

/// Predicts texts and prints a line for each, up to the first one that cannot be predicted.
fn predict(
    engine: &mut Cpu,
    tokenizer: &Tokenizer,
    texts: &[String],
    source: Source,
    format: Format,
) -> anyhow::Result<()> {
    let empty = texts.iter().position(|text| text.trim().is_empty());
    let mut encoded = tokenizer.encode(&texts[..empty.unwrap_or(texts.len())])?;
    let mut failed = empty.map(|i| source.error(i, "empty, expected a text", "Remove it"));
    let config = engine.config().clone();
    let refused = |(i, encoded): (usize, &Encoded)| Some((i, check_ids(&encoded.ids, &config).err()?));
    if let Some((i, problem)) = encoded.iter().enumerate().find_map(refused) {
        failed = Some(source.error(i, &problem, "Use the tokenizer.json that belongs to the model"));
        encoded.truncate(i);
    }
    let (truncated, sequences): (Vec<bool>, Vec<Vec<u32>>) = encoded.into_iter().map(|e| (e.truncated, e.ids)).unzip();
    let (mut done, mut out) = (0, stdout().lock());
    logits(engine, &sequences, |rows| {
        for row in rows {
            if row.iter().any(|logit| !logit.is_finite()) {
                let hint = "The weights overflow on this text: the model is damaged, or its training diverged";
                return Err(source.error(done, "a logit of the model is not a number", hint).into());
            }
            writeln!(out, "{}", line(&texts[done], &config.labels, row, truncated[done], format))?;
            done += 1;
        }
        if stop::requested() {
            return Err(interrupted(source.number(done)).into());
        }
        anyhow::Ok(())
    })?;
    out.flush()?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// One prediction as a line of output.
fn line(text: &str, labels: &[String], logits: &[f32], truncated: bool, format: Format) -> String {
    let probabilities = probabilities(logits);
    let label = &labels[most_probable(&probabilities) as usize];
    let Format::Json { logits: with_logits } = format else {
        let named: Vec<String> = labels.iter().zip(&probabilities).map(|(name, p)| format!("{name} {p:.4}")).collect();
        return format!("{label}\t{}\t{text}", named.join("\t"));
    };
    let named: Map<_, _> = labels.iter().cloned().zip(probabilities.iter().map(|p| json!(p))).collect();
    let mut object = json!({"text": text, "label": label, "probabilities": named, "truncated": truncated});
    if with_logits {
        object["logits"] = json!(logits);
    }
    object.to_string()
}
