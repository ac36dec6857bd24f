//! `distune predict --data FILE --output FILE`: rows of any number to a file, with all their columns.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use distune::attribution::Explainer;
use distune::data::{Chunk, Chunking, Columns, Input, Lengths, Table, check_text};
use distune::engine::Predict;
use distune::eval::{Predictions, confidences};
use distune::model::{ModelFiles, ProblemType};
use distune::predict::{BulkProgress, Output, Predicted, Shape, bulk, fingerprint, probabilities, sorted_logits};
use distune::tokenize::Encoded;
use distune::{Error, Result};
use serde_json::json;

use super::{How, Source, largest};
use crate::explain::{self, explain};
use crate::judge::long_texts;
use crate::output::{line, note, thousands};
use crate::progress::Progress;
use crate::sources::Classifier;
use crate::{Common, memory, sources, stop};

/// Rows that were left out and are listed, at most.
const LISTED: usize = 20;

/// Where predictions are written.
#[derive(Args, Debug)]
pub(super) struct BulkArgs {
    /// Write the rows of --data, with all their columns and what is predicted, to this file: .csv, .jsonl or .parquet. Any number of rows is
    /// predicted in little memory, in their order
    #[arg(long, short, value_name = "FILE", requires = "data")]
    pub(super) output: Option<PathBuf>,
    /// Predict every N-th row alone, beginning with the I-th: one of N parts of the work
    #[arg(long, value_name = "I/N", requires = "output", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Go on with a prediction that was killed or failed, behind the last rows that are whole
    #[arg(long, requires = "output")]
    resume: bool,
    /// Replace an existing file; without --resume, predictions that are not finished, too
    #[arg(long, requires = "output")]
    overwrite: bool,
}

/// `2/4` as 1 (counted from 0) and 4.
fn shard(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    let numbers = numbers.filter(|&(i, n): &(usize, usize)| (1..=n).contains(&i));
    numbers.map(|(i, n)| (i - 1, n)).ok_or_else(|| "expected I/N with I from 1 to N, such as 2/4".to_owned())
}

/// What is predicted, and how.
pub(super) struct Work<'a> {
    pub(super) files: &'a ModelFiles,
    pub(super) data: &'a str,
    pub(super) split: Option<&'a str>,
    pub(super) columns: &'a Columns,
    pub(super) logits: bool,
    pub(super) how: How<'a>,
}

impl BulkArgs {
    /// Predicts the rows of `work` and writes them to `target`.
    pub(super) fn run(&self, target: &PathBuf, classifier: &mut Classifier, work: &Work) -> anyhow::Result<()> {
        let (start, common) = (Instant::now(), work.how.common);
        let config = classifier.engine.config().clone();
        let shape = Shape {
            classes: config.labels.clone(),
            several: config.problem_type == ProblemType::MultiLabel,
            abstains: work.how.decision.abstain_below.is_some(),
            logits: work.logits,
            attribution: work.how.explain.is_some(),
        };
        let (shard, shards) = self.shard.unwrap_or((0, 1));
        let chunking = Chunking { shard, shards, ..Chunking::default() };
        let inputs = sources::inputs(work.data, work.split, common)?;
        let job = self.job(classifier, work);
        let mut output = Output::open(target, shape, &job, self.resume, self.overwrite)?;
        let before = output.done().0;
        if before > 0 {
            note(
                common,
                format!("Goes on behind {} rows that are in {}.", thousands(before), output.directory().display()),
            );
        }
        let mut progress = Progress::new(common, "rows");
        progress.start_from(before);
        let (mut lengths, mut left_out) = (Lengths::default(), LeftOut::new(&inputs, work.columns, common));
        let tokenizer = classifier.tokenizer.clone();
        let mut predict = |chunk: &Chunk, texts: &[Encoded], done: BulkProgress| {
            let predicted = predict(classifier, chunk, texts, work, &mut |rows| {
                let rows = done.rows + rows;
                match done.total {
                    Some(total) => progress.set(rows, total.max(rows), String::new),
                    None => progress.count(rows),
                }
            })?;
            add(&mut lengths, texts);
            Ok(predicted)
        };
        let ended = bulk(&inputs, work.columns, chunking, &tokenizer, &mut output, &mut predict, &mut |table| {
            left_out.tell(table)
        });
        progress.finish();
        let (rows, skipped) = output.done();
        let directory = output.directory().to_owned();
        if let Err(error) = ended.and_then(|()| output.finish()) {
            let kept = match rows {
                0 => "nothing was written".to_owned(),
                _ => format!("{} rows are kept in {}; to go on, add --resume", thousands(rows), directory.display()),
            };
            return Err(match error {
                Error::Interrupted { when, .. } => Error::Interrupted { when, kept }.into(),
                error => {
                    if rows > 0 {
                        note(common, format!("What was predicted stays: {kept}."));
                    }
                    error.into()
                }
            });
        }
        left_out.end();
        if let Some(text) = long_texts(&lengths, &tokenizer) {
            note(common, text);
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = (rows - before) as f64 / seconds;
        match common.json {
            true => line(json!({
                "output": target, "rows": rows, "rows_before": before, "rows_left_out": skipped,
                "texts_truncated": lengths.truncated, "seconds": seconds, "rows_per_second": rate,
                "peak_memory": memory::peak(),
            }))?,
            false => line(format!(
                "{}: {} rows, in {seconds:.1} s ({} rows/s)",
                target.display(),
                thousands(rows),
                thousands(rate.round() as usize)
            ))?,
        }
        Ok(())
    }

    /// All that decides what is in the file.
    fn job(&self, classifier: &mut Classifier, work: &Work) -> BTreeMap<String, String> {
        let model = fingerprint(work.files);
        let tokenizer = &classifier.tokenizer;
        let windows = tokenizer.windows().map_or("none".to_owned(), |windows| format!("{windows:?}"));
        let (shard, shards) = self.shard.unwrap_or((0, 1));
        let all = [
            ("model", model),
            ("--data", format!("{} (split {})", work.data, work.split.unwrap_or("none"))),
            ("choice of columns", format!("{:?}", work.columns)),
            ("--max-length", tokenizer.max_length().to_string()),
            ("choice of windows", windows),
            ("--precision", classifier.precision.to_string()),
            ("choice of calibration, thresholds and abstention", format!("{:?}", work.how.decision)),
            ("--logits", work.logits.to_string()),
            ("--explain", format!("{:?}", work.how.explain.map(|(_, class)| class))),
            ("--shard", format!("{} of {shards}", shard + 1)),
            ("version of distune", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        all.map(|(key, value)| (key.to_owned(), value)).into()
    }
}

/// Tells what was assumed of the rows, and which were left out.
pub(super) struct LeftOut<'a> {
    columns: &'a Columns,
    common: &'a Common,
    /// Whether it is known what was assumed.
    told: bool,
    rows: usize,
}

impl<'a> LeftOut<'a> {
    pub(super) fn new(inputs: &[Input], columns: &'a Columns, common: &'a Common) -> Self {
        // nothing has to be assumed of what is compiled in
        Self { columns, common, told: matches!(inputs, [Input::Bytes(..)]), rows: 0 }
    }

    /// Of some rows.
    pub(super) fn tell(&mut self, table: &Table) {
        if !std::mem::replace(&mut self.told, true) {
            let notes = table.notes.clone();
            sources::say(self.columns, &Table { notes, ..table.without_rows() }, self.common);
        }
        for skipped in table.skipped.iter().take(LISTED.saturating_sub(self.rows)) {
            note(self.common, format!("left out: {skipped}"));
        }
        self.rows += table.skipped.len();
    }

    /// At the end.
    pub(super) fn end(&self) {
        if self.rows > LISTED {
            note(self.common, format!("... in all, {} rows cannot be used and were left out", thousands(self.rows)));
        }
    }
}

fn add(lengths: &mut Lengths, texts: &[Encoded]) {
    lengths.rows += texts.len();
    lengths.tokens += texts.iter().map(Encoded::tokens).sum::<usize>();
    lengths.windows += texts.iter().map(|text| text.windows().len()).sum::<usize>();
    lengths.truncated += texts.iter().filter(|text| text.truncated).count();
}

/// Predicts a chunk.
fn predict(
    classifier: &mut Classifier,
    chunk: &Chunk,
    texts: &[Encoded],
    work: &Work,
    shown: &mut dyn FnMut(usize),
) -> Result<Vec<Predicted>> {
    let table = &chunk.table;
    classifier.check_texts(&table.path, table.pair_column.is_some())?;
    let config = classifier.engine.config().clone();
    let (labels, how) = (&config.labels, &work.how);
    let source = Source::Rows { path: &table.path, lines: &table.lines };
    if let Some((row, problem)) =
        texts.iter().enumerate().find_map(|(row, text)| Some((row, check_text(text, &config).err()?)))
    {
        return Err(source.error(row, &problem, "Use the tokenizer.json that belongs to the model"));
    }
    let rows = texts.len();
    let combine = classifier.tokenizer.combine();
    let logits = sorted_logits(&mut classifier.engine, texts, combine, |done, all| {
        if how.explain.is_none() {
            shown(done * rows / all.max(1));
        }
        if stop::requested() { Err(interrupted()) } else { Ok(()) }
    })?;
    let of_row = |row: usize| &logits[row * labels.len()..][..labels.len()];
    if let Some(row) = (0..rows).find(|&row| of_row(row).iter().any(|logit| !logit.is_finite())) {
        return Err(source.error(row, super::NOT_A_NUMBER.0, super::NOT_A_NUMBER.1));
    }
    let mut predictions = Predictions::none(config.problem_type);
    (0..rows).for_each(|row| predictions.push(&probabilities(of_row(row), config.problem_type)));
    let predictions = how.decision.apply(predictions)?;
    let sure = how.decision.abstain_below.map(|least| (least, confidences(&predictions, labels.len())));
    let all = predictions.probabilities.as_deref().unwrap_or_default();
    let mut predicted: Vec<Predicted> = (0..rows)
        .map(|row| {
            let abstained = sure.as_ref().map(|(least, sure)| sure.as_ref().is_some_and(|sure| sure[row] < *least));
            let chosen = predictions.answers.row(row).iter().filter(|_| abstained != Some(true));
            Predicted {
                labels: chosen.map(|&id| labels[id as usize].clone()).collect(),
                probabilities: all[row * labels.len()..][..labels.len()].to_vec(),
                abstained,
                truncated: texts[row].truncated,
                logits: if work.logits { of_row(row).to_vec() } else { Vec::new() },
                attribution: None,
            }
        })
        .collect();
    if let Some((model, class)) = how.explain {
        let mut explainer = Explainer::new(model, explain::options());
        for (row, predicted) in predicted.iter_mut().enumerate() {
            let texts = (table.texts[row].as_str(), table.pairs.get(row).map(String::as_str));
            let class = class.or_else(|| largest(of_row(row)));
            let attribution = explain(&mut explainer, &classifier.tokenizer, texts, class, how.common)?;
            predicted.attribution = Some(json!(attribution).to_string());
            shown(row + 1);
        }
    }
    Ok(predicted)
}

/// What ends the reading of rows.
pub(super) fn interrupted() -> Error {
    Error::Interrupted { when: "while rows were predicted".into(), kept: String::new() }
}
