//! What `distune train` shows: the parts that train, progress, epochs, the report.

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use distune::FineTuned;
use distune::calibration::{Calibration, Effect};
use distune::data::Lengths;
use distune::run::evaluation_results;
use distune::tensorboard::EventFile;
use distune::train::{
    CacheReport, EvaluationRecord, FittedSteps, Observer, PartOfModel, SavedCheckpoint, StepRecord, parts_table,
};
use serde_json::{Value, json};

use crate::calibrate::temperature;
use crate::next::after_training;
use crate::output::{line, note, thousands};
use crate::progress::Progress;
use crate::{Common, stop};

/// What trains and what is frozen.
pub(super) fn show_parts(common: &Common, parts: &[PartOfModel]) -> std::io::Result<()> {
    if common.json {
        line(json!({"event": "start", "parts": parts}))?;
    }
    parts_table(parts).lines().for_each(|line| note(common, line));
    Ok(())
}

/// Shows a training's progress.
pub(super) struct Watcher<'a> {
    pub(super) progress: Progress,
    events: EventFile,
    common: &'a Common,
    /// Where texts are cut, in tokens.
    max_length: usize,
    /// Moving average of the batch losses.
    loss: Option<f64>,
    /// Rows trained on so far, and in all.
    rows: (usize, usize),
}

impl<'a> Watcher<'a> {
    /// Writes the figures for TensorBoard to `events`.
    pub(super) fn new(common: &'a Common, max_length: usize, events: EventFile) -> Self {
        Self { progress: Progress::new(common, "samples"), events, common, max_length, loss: None, rows: (0, 0) }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.progress.finish();
        if let Some(problem) = self.events.problem() {
            note(self.common, format!("{problem}; TensorBoard sees the training up to there"));
        }
    }

    /// One line of JSON; a reader who left is noticed at the end.
    fn event(&self, event: &str, mut values: Value) {
        if self.common.json {
            values["event"] = json!(event);
            let _ = line(values);
        }
    }
}

impl Observer for Watcher<'_> {
    fn step(&mut self, record: &StepRecord, rows: usize, total_rows: usize) {
        let loss = self.loss.map_or(record.loss, |loss| 0.95 * loss + 0.05 * record.loss);
        self.loss = Some(loss);
        self.rows = (rows, total_rows);
        let message = || format!("epoch {:.2} loss {loss:.4} learning rate {:.1e}", record.epoch, record.learning_rate);
        self.progress.set(rows, total_rows, message);
        self.event("step", json!(record));
        self.events.step(record);
    }

    fn tokenized(&mut self, lengths: &Lengths) {
        let mean = lengths.tokens as f64 / lengths.rows.max(1) as f64;
        let cut = match (lengths.truncated, lengths.windows) {
            (_, windows) if windows > lengths.rows => format!(" in {} windows", thousands(windows)),
            (0, _) => String::new(),
            (n, _) => format!(", {} texts cut at {} tokens", thousands(n), self.max_length),
        };
        self.progress.note(&format!("train: {mean:.1} tokens a row{cut}"));
    }

    fn evaluating(&mut self, rows: usize, total_rows: usize) {
        let (done, total) = self.rows;
        self.progress.set(done, total, || format!("evaluating: {rows} of {total_rows}"));
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        let best = if record.best { ", the best so far" } else { "" };
        self.progress.note(&format!("{record}{best}"));
        self.event("evaluation", json!(record));
        self.events.evaluated(record);
    }

    fn resumed(&mut self, checkpoint: &Path, step: usize, rows: usize, total_rows: usize) {
        self.rows = (rows, total_rows);
        self.progress.start_from(rows);
        self.events.begins_with(step + 1);
        self.progress.note(&format!("Goes on from {}, after step {}.", checkpoint.display(), thousands(step)));
        self.event("resumed", json!({"checkpoint": checkpoint, "step": step}));
    }

    fn saved(&mut self, saved: &SavedCheckpoint) {
        let size = ByteSize(saved.bytes).display().si();
        self.progress.note(&format!("saved {} ({size} in {:.1} s)", saved.path.display(), saved.seconds));
        self.event("checkpoint", json!(saved));
    }

    fn fitted(&mut self, fitted: &FittedSteps) {
        let FittedSteps { max_time, steps, steps_asked_for, seconds_a_step, seconds_an_evaluation, seconds, .. } =
            fitted;
        let part = match steps < steps_asked_for {
            true => format!("{} of {} steps fit", thousands(*steps), thousands(*steps_asked_for)),
            false => format!("all {} steps fit", thousands(*steps)),
        };
        let milliseconds = 1000.0 * seconds_a_step;
        self.progress.note(&format!(
            "{max_time}: {part}, {seconds:.0} s in all; measured {milliseconds:.1} ms a step, {seconds_an_evaluation:.1} s an evaluation"
        ));
        self.event("max_time", json!(fitted));
    }

    fn note(&mut self, text: &str) {
        self.progress.note(text);
    }

    fn warning(&mut self, text: &str) {
        match self.common.quiet {
            // a closed standard error is no reason to stop
            true => drop(writeln!(stderr(), "distune: warning: {text}")),
            false => self.progress.note(&format!("Warning: {text}")),
        }
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}

/// "2", or "1.25" within an epoch.
fn number_of_epochs(epochs: f64) -> String {
    if epochs.fract() == 0.0 { format!("{epochs:.0}") } else { format!("{epochs:.2}") }
}

/// What the cache saved.
pub(crate) fn cache_line(cache: &CacheReport) -> String {
    let size = |bytes| ByteSize(bytes).display().si();
    let kept = match (cache.memory, cache.file) {
        (memory, 0) => format!("{} in memory", size(memory)),
        (memory, file) => format!("{} in memory, {} in a file", size(memory), size(file)),
    };
    let problem = cache.problem.as_ref().map(|p| format!("; the file could not be written ({p})")).unwrap_or_default();
    format!(
        "The frozen blocks ran {} times and were spared {} times, which saved about {:.0} s ({kept}{problem}).",
        thousands(cache.rows_computed),
        thousands(cache.rows_reused),
        cache.seconds_saved(),
    )
}

/// What was fitted on validation, and what it is worth on other rows.
fn calibrated(calibration: &Calibration, test_name: &str) -> String {
    let (name, effect) = match &calibration.test {
        Some(effect) => (test_name, effect),
        None => ("validation, on which it was fitted", &calibration.fitted),
    };
    let Effect { before, after, .. } = effect;
    let errors = [before, after].map(|sureness| sureness.expected_calibration_error);
    format!(
        "Calibrated on validation: {}. On {name}, log loss {:.4} without it and {:.4} with it, calibration error {:.4} and {:.4}.",
        temperature(calibration),
        before.log_loss,
        after.log_loss,
        errors[0],
        errors[1],
    )
}

/// What is shown of a finished training.
pub(super) struct Report {
    pub(super) output: PathBuf,
    pub(super) trained: FineTuned,
    /// What `predict` takes after its model.
    pub(super) next: String,
}

impl Report {
    /// Prints it.
    pub(super) fn show(&self, common: &Common) -> anyhow::Result<()> {
        let Self { output, trained, next } = self;
        report(common, output, trained)?;
        crate::next::say(common, &after_training(output, &trained.settings().data, next));
        Ok(())
    }
}

/// The end of a training.
fn report(common: &Common, output: &Path, trained: &FineTuned) -> std::io::Result<()> {
    let (outcome, ending, test_name, frozen) =
        (trained.outcome(), trained.ending(), trained.test_name(), trained.frozen());
    let (best, epoch) = (outcome.best().map(|e| &e.validation), outcome.best().map_or(0.0, |e| e.epoch));
    let judged = [("eval", "validation", best), ("test", test_name, ending.test.as_ref())];
    let judged = judged.into_iter().filter_map(|(key, name, evaluation)| Some((key, name, evaluation?)));
    if common.json {
        let mut result = json!({
            "event": "result",
            "output": output,
            "report": output.join("report.html"),
            "best_epoch": epoch,
            "best_step": outcome.best().map(|e| e.step),
            "stopped_early": outcome.stopped_early,
            "train_seconds": outcome.train_seconds,
            "frozen_sha256": frozen,
            "cache": outcome.cache,
        });
        result["calibration"] = json!(ending.calibration);
        let verdicts = [("baseline_comparison", &ending.verdicts.baseline), ("comparison", &ending.verdicts.start)];
        for (key, pair) in verdicts {
            pair.iter().for_each(|pair| result[key] = json!(pair));
        }
        if let Some(models) = &ending.models {
            result["baselines"] = json!(models);
        }
        for (key, _, evaluation) in judged {
            for (name, value) in evaluation_results(key, evaluation) {
                result[name] = value;
            }
        }
        return line(result);
    }
    let rows = outcome.steps.len();
    let early = if outcome.stopped_early { ", ended early for want of progress" } else { "" };
    let best_epoch = number_of_epochs(epoch);
    line(format!("Trained {rows} steps in {:.1} s{early}; epoch {best_epoch} is the best.", outcome.train_seconds))?;
    if let Some(cache) = outcome.cache.as_ref().filter(|cache| cache.rows_reused > 0 || cache.problem.is_some()) {
        line(cache_line(cache))?;
    }
    if let Some(hash) = frozen {
        line(format!("Frozen tensors did not change in training (SHA-256 {hash:.16})."))?;
    }
    for (_, name, evaluation) in judged {
        line(format!("\n{name}: {evaluation}"))?;
    }
    line(format!("\n{}", calibrated(&ending.calibration, test_name)))?;
    if let Some(models) = &ending.models {
        line(format!("\n{}: {} rows\n{}", models.split, thousands(models.rows), models.text().trim_end()))?;
    }
    ending.verdicts.sentences().into_iter().try_for_each(|sentence| line(format!("\n{sentence}")))?;
    line(format!("\nReport: {}", output.join("report.html").display()))?;
    line(format!("Saved to {}.", output.display()))
}
