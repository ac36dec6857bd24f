//! `distune predict`: labels for texts from arguments, lines of standard input, or the rows of a file.

mod bulk;

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::Path;

use clap::Args;
use distune::Error;
use distune::attribution::{Attribution, Explainer};
use distune::data::{Chunking, Columns, Input, LabelMap, check_text, read_chunks};
use distune::engine::Predict;
use distune::eval::{Predictions, confidences};
use distune::model::{Config, Model, ProblemType};
use distune::predict::{probabilities, text_logits};
use distune::tokenize::{Encoded, Tokenizer};
use serde_json::{Map, json};

use self::bulk::{BulkArgs, LeftOut, Work};
use crate::columns::ColumnArgs;
use crate::decide::{Decision, DecisionArgs};
use crate::explain::{self, explain};
use crate::length::LengthArgs;
use crate::output::note;
use crate::progress::Progress;
use crate::sources::Classifier;
use crate::{Common, sources, stop};

/// Texts that are predicted together.
const AT_ONCE: usize = 512;
/// Rows that are predicted and explained between two signs of progress.
const EXPLAINED_AT_ONCE: usize = 8;
/// Of more classes than this, a line of text has the [`MOST_PROBABLE`] ones.
const CLASSES_SHOWN: usize = 10;
const MOST_PROBABLE: usize = 5;

/// Predict labels for texts
#[derive(Args, Debug)]
pub(crate) struct PredictArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short)]
    model: String,
    /// Texts; without any and without --data, each line of standard input is one
    texts: Vec<String>,
    /// Rows to predict, labelled or not, with their second texts if there are such: a file of any format that is read, "-" for one
    /// on standard input, "reviews", a directory with splits, or a name of the Hugging Face hub
    #[arg(long, short, value_name = "DATA", conflicts_with = "texts")]
    data: Option<String>,
    /// Split to predict where there are several [default: test, else validation]
    #[arg(long, value_parser = ["train", "validation", "dev", "test"], requires = "data")]
    split: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    decision: DecisionArgs,
    /// Tell the logits too, with --json or --output
    #[arg(long)]
    logits: bool,
    /// Show which words each prediction rests on, or with =LABEL which speak for and against that label (integrated gradients): coloured
    /// on a terminal, else listed; with --json the score of each token
    #[arg(long, value_name = "LABEL", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    explain: Option<String>,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// What is wrong with a text whose logits overflow, and what to do.
const NOT_A_NUMBER: (&str, &str) = (
    "a logit of the model is not a number",
    "The weights overflow on this text: the model is damaged, or its training diverged",
);

pub(crate) fn run(args: &PredictArgs, common: &Common) -> anyhow::Result<()> {
    if args.logits && !common.json && args.bulk.output.is_none() {
        let expected = "with --json or --output, which have room for them";
        return Err(Error::value("command line", "--logits", expected, "lines of text").into());
    }
    let files = sources::model(&args.model, common)?;
    let mut classifier = sources::classifier(&files, &args.length, common)?;
    let decision = args.decision.resolve(Some(&files), &LabelMap::of_model(classifier.engine.config()))?;
    let format = match (common.json, args.logits) {
        (false, _) => Format::Text,
        (true, logits) => Format::Json { logits },
    };
    let class = args.explain.as_deref().map(|label| class(label, classifier.engine.config())).transpose()?;
    // gradients need the weights as they are
    let explained = class.map(|class| Ok::<_, Error>((Model::load(&files)?, class))).transpose()?;
    let explain = explained.as_ref().map(|(model, class)| (model, *class));
    let how = How { format, decision: &decision, explain, common };
    if let Some(data) = &args.data {
        // labels are not needed, whatever they are
        let columns = args.columns.resolve();
        if let Some(target) = &args.bulk.output {
            let (split, logits) = (args.split.as_deref(), args.logits);
            let work = Work { files: &files, data, split, columns: &columns, logits, how };
            return args.bulk.run(target, &mut classifier, &work);
        }
        let inputs = sources::inputs(data, args.split.as_deref(), common)?;
        return predict_rows(&mut classifier, &inputs, &columns, how);
    }
    let from = if args.texts.is_empty() { "standard input" } else { "the arguments" };
    classifier.check_texts(Path::new(from), false)?;
    let Classifier { engine, tokenizer, .. } = &mut classifier;
    if !args.texts.is_empty() {
        return predict(engine, tokenizer, &args.texts, &[], Source::Arguments, how);
    }
    let terminal = stdin().is_terminal();
    if terminal {
        note(common, "Type a text and press Enter; Ctrl-D ends.");
    }
    let at_once = if terminal { 1 } else { AT_ONCE };
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
        predict(engine, tokenizer, &texts, &[], Source::Lines { first }, how)?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        if texts.len() < at_once {
            return Ok(());
        }
        first += texts.len() as u64;
    }
}

/// Predicts and prints the rows of files, some at a time.
fn predict_rows(classifier: &mut Classifier, inputs: &[Input], columns: &Columns, how: How) -> anyhow::Result<()> {
    // a bar between the lines on a terminal would be in their way
    let mut progress = (!stdout().is_terminal()).then(|| Progress::new(how.common, "rows"));
    let rows = if how.explain.is_some() { EXPLAINED_AT_ONCE } else { AT_ONCE };
    let mut left_out = LeftOut::new(inputs, columns, how.common);
    let (mut done, mut failed) = (0, None);
    let chunking = Chunking { rows, all_columns: false, ..Chunking::default() };
    let read = read_chunks(inputs, columns, chunking, &mut |chunk| {
        let table = &chunk.table;
        left_out.tell(table);
        classifier.check_texts(&table.path, table.pair_column.is_some())?;
        let source = Source::Rows { path: &table.path, lines: &table.lines };
        let (engine, tokenizer) = (&mut classifier.engine, &classifier.tokenizer);
        if let Err(error) = predict(engine, tokenizer, &table.texts, &table.pairs, source, how) {
            failed = Some(error);
            return Err(bulk::interrupted());
        }
        done += table.len();
        match (&mut progress, chunk.share.filter(|share| *share > 0.0)) {
            (Some(progress), Some(share)) => progress.set(done, (done as f64 / share).round() as usize, String::new),
            (Some(progress), None) => progress.count(done),
            (None, _) => {}
        }
        Ok(())
    });
    if let Some(progress) = progress {
        progress.finish();
    }
    failed.map_or(Ok(()), Err)?;
    left_out.end();
    Ok(read?)
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
enum Source<'a> {
    Arguments,
    /// Standard input; the number of the first line.
    Lines {
        first: u64,
    },
    /// A file; the line of each text.
    Rows {
        path: &'a Path,
        lines: &'a [u64],
    },
}

impl Source<'_> {
    /// The number of a text, counted from 1.
    fn number(self, i: usize) -> u64 {
        match self {
            Self::Arguments => 1 + i as u64,
            Self::Lines { first } => first + i as u64,
            Self::Rows { lines, .. } => lines.get(i).copied().unwrap_or(0),
        }
    }

    fn error(self, i: usize, problem: &str, hint: &str) -> Error {
        let number = self.number(i);
        match self {
            Self::Arguments => Error::file(Path::new(&format!("argument {number}")), problem, hint),
            Self::Lines { .. } => Error::row(Path::new("standard input"), number, problem, hint),
            Self::Rows { path, .. } => Error::row(path, number, problem, hint),
        }
    }

    /// The error for a user who asked to stop when `done` texts were printed.
    fn interrupted(self, done: usize) -> Error {
        match self {
            Self::Rows { path, .. } if done > 0 => {
                let when = format!("after line {} of {}", self.number(done - 1), path.display());
                Error::Interrupted { when, kept: "what was printed is complete".into() }
            }
            _ => interrupted(self.number(done)),
        }
    }
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Json { logits: bool },
}

/// What is done with each text.
#[derive(Clone, Copy)]
struct How<'a> {
    format: Format,
    /// What is made of its probabilities.
    decision: &'a Decision,
    /// Whether predictions are explained: the model, and the class in question or the predicted one.
    explain: Option<(&'a Model, Option<usize>)>,
    common: &'a Common,
}

/// The class that is to be explained; none for the predicted one.
fn class(label: &str, config: &Config) -> distune::Result<Option<usize>> {
    let found = LabelMap::of_model(config).id(label).map(|id| id as usize);
    match found {
        _ if label.is_empty() => Ok(None),
        None => {
            let expected = format!("one of {}", config.labels.join(", "));
            Err(Error::value("command line", "--explain", expected, label))
        }
        found => Ok(found),
    }
}

/// Predicts texts and prints a line for each, up to the first one that cannot be predicted.
fn predict(
    engine: &mut dyn Predict,
    tokenizer: &Tokenizer,
    texts: &[String],
    pairs: &[String],
    source: Source,
    how: How,
) -> anyhow::Result<()> {
    let empty = texts.iter().position(|text| text.trim().is_empty());
    let good = &texts[..empty.unwrap_or(texts.len())];
    let mut encoded = if pairs.is_empty() { tokenizer.encode(good)? } else { tokenizer.encode_pairs(good, pairs)? };
    let mut failed = empty.map(|i| source.error(i, "empty, expected a text", "Remove it"));
    let config = engine.config().clone();
    let refused = |(i, encoded): (usize, &Encoded)| Some((i, check_text(encoded, &config).err()?));
    if let Some((i, problem)) = encoded.iter().enumerate().find_map(refused) {
        failed = Some(source.error(i, &problem, "Use the tokenizer.json that belongs to the model"));
        encoded.truncate(i);
    }
    let truncated: Vec<bool> = encoded.iter().map(|encoded| encoded.truncated).collect();
    let (mut done, mut out) = (0, stdout().lock());
    let mut to_explain = Vec::new();
    let sequences: Vec<&Encoded> = encoded.iter().collect();
    text_logits(engine, &sequences, tokenizer.combine(), |rows| {
        for row in rows {
            if row.iter().any(|logit| !logit.is_finite()) {
                return Err(source.error(done, NOT_A_NUMBER.0, NOT_A_NUMBER.1).into());
            }
            let object =
                Prediction { texts: [Some(&texts[done]), pairs.get(done)], logits: row, truncated: truncated[done] };
            match how.explain {
                Some(_) => to_explain.push(row.to_vec()),
                None => writeln!(out, "{}", object.line(&config, how, None)?)?,
            }
            done += 1;
        }
        if stop::requested() {
            let printed = if how.explain.is_some() { 0 } else { done };
            return Err(source.interrupted(printed).into());
        }
        anyhow::Ok(())
    })?;
    if let Some((model, class)) = how.explain {
        let mut explainer = Explainer::new(model, explain::options());
        for (i, logits) in to_explain.iter().enumerate() {
            let (text, pair) = (&texts[i], pairs.get(i));
            let class = class.or_else(|| largest(logits));
            let attribution =
                match explain(&mut explainer, tokenizer, (text, pair.map(String::as_str)), class, how.common) {
                    Err(Error::Interrupted { .. }) => return Err(source.interrupted(i).into()),
                    attribution => attribution?,
                };
            let prediction = Prediction { texts: [Some(text), pair], logits, truncated: truncated[i] };
            writeln!(out, "{}", prediction.line(&config, how, Some(&attribution))?)?;
            out.flush()?;
        }
    }
    out.flush()?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The class of the largest logit.
fn largest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, id| if logits[id] > logits[best] { id } else { best })
}

/// What is predicted for a text.
struct Prediction<'a> {
    texts: [Option<&'a String>; 2],
    logits: &'a [f32],
    truncated: bool,
}

impl Prediction<'_> {
    /// As a line of output; what it rests on is a second line, or part of the JSON object.
    fn line(&self, config: &Config, how: How, attribution: Option<&Attribution>) -> distune::Result<String> {
        let text = line(self.texts, config, self.logits, self.truncated, how, attribution)?;
        Ok(match (how.format, attribution) {
            (Format::Text, Some(attribution)) => format!("{text}\n{}", explain::shown(attribution, explain::colours())),
            _ => text,
        })
    }
}

/// One prediction as a line of output.
fn line(
    texts: [Option<&String>; 2],
    config: &Config,
    logits: &[f32],
    truncated: bool,
    how: How,
    attribution: Option<&Attribution>,
) -> distune::Result<String> {
    let (problem, labels) = (config.problem_type, &config.labels);
    let mut prediction = Predictions::none(problem);
    prediction.push(&probabilities(logits, problem));
    let prediction = how.decision.apply(prediction)?;
    let confidence = confidences(&prediction, labels.len()).into_iter().flatten().next();
    let abstained = how.decision.abstain_below.map(|least| confidence.is_some_and(|p| p < least));
    let chosen = prediction.answers.row(0).iter().map(|&id| labels[id as usize].as_str());
    let chosen: Vec<&str> = chosen.filter(|_| abstained != Some(true)).collect();
    let probabilities = prediction.probabilities.unwrap_or_default();
    let Format::Json { logits: with_logits } = how.format else {
        let mut classes: Vec<usize> = (0..labels.len()).collect();
        if classes.len() > CLASSES_SHOWN {
            classes.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
            classes.truncate(MOST_PROBABLE);
        }
        let named = classes.iter().map(|&id| format!("{} {:.4}", labels[id], probabilities[id]));
        // a text of several lines is printed as one
        let texts = texts.into_iter().flatten().map(|text| text.replace(['\t', '\n', '\r'], " "));
        let fields = [chosen.join("|")].into_iter().chain(named).chain(texts);
        return Ok(fields.collect::<Vec<_>>().join("\t"));
    };
    let named: Map<_, _> = labels.iter().cloned().zip(probabilities.iter().map(|p| json!(p))).collect();
    let mut object = json!({"text": texts[0]});
    if let Some(second) = texts[1] {
        object["pair"] = json!(second);
    }
    match problem {
        ProblemType::SingleLabel => object["label"] = json!(chosen.first()),
        ProblemType::MultiLabel => object["labels"] = json!(chosen),
    }
    if let Some(abstained) = abstained {
        object["abstained"] = json!(abstained);
    }
    object["probabilities"] = json!(named);
    object["truncated"] = json!(truncated);
    if with_logits {
        object["logits"] = json!(logits);
    }
    if let Some(attribution) = attribution {
        object["attribution"] = json!(attribution);
    }
    Ok(object.to_string())
}
