//! What `distune sweep` shows: the trial under way and the time left, a line for each that has ended, the table.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use distune::Result;
use distune::sweep::{End, Record, SweepDirectory, Trial, value_text};
use distune::tensorboard::EventFile;
use distune::train::{CacheReport, EvaluationRecord, Observer, StepRecord};
use serde_json::{Value, json};

use crate::output::{line, note};
use crate::progress::Progress;
use crate::train::cache_line;
use crate::{Common, stop};

/// When the sweep has to end, and how long its trials take.
pub(super) struct Clock {
    start: Instant,
    budget: Option<Duration>,
    trials: Vec<Duration>,
}

impl Clock {
    pub(super) fn new(budget: Option<Duration>) -> Self {
        Self { start: Instant::now(), budget, trials: Vec::new() }
    }

    /// Counts a trial of this length.
    pub(super) fn done(&mut self, trial: Duration) {
        self.trials.push(trial);
    }

    pub(super) fn is_over(&self) -> bool {
        self.end().is_some_and(|end| Instant::now() >= end)
    }

    fn end(&self) -> Option<Instant> {
        self.start.checked_add(self.budget?)
    }

    /// What watches a trial, when it and those after it are so many.
    pub(super) fn watch<'a>(&self, common: &'a Common, trial: String, what: String, left: usize) -> Watch<'a> {
        let seconds: f64 = self.trials.iter().map(Duration::as_secs_f64).sum();
        let mean = seconds / self.trials.len().max(1) as f64;
        let expected = Instant::now().checked_add(Duration::from_secs_f64((mean * left as f64).clamp(0.0, 1e9)));
        let expected = expected.filter(|_| !self.trials.is_empty());
        let end = self.end();
        Watch { common, trial, what, end, expected: [expected, end].into_iter().flatten().min() }
    }
}

/// How a trial is watched.
pub(super) struct Watch<'a> {
    common: &'a Common,
    /// "trial 3 of 12".
    trial: String,
    /// Its settings and seed.
    what: String,
    end: Option<Instant>,
    /// When the whole sweep should have ended.
    expected: Option<Instant>,
}

impl Watch<'_> {
    pub(super) fn watcher(&self, events: EventFile) -> Watcher<'_> {
        Watcher { watch: self, progress: Progress::new(self.common, "samples"), events }
    }
}

/// Shows the progress of a trial, and ends it when it is time.
pub(super) struct Watcher<'a> {
    watch: &'a Watch<'a>,
    progress: Progress,
    events: EventFile,
}

impl Watcher<'_> {
    /// Puts a copy of the events into a run.
    pub(super) fn copy_events(&self, run: &Path) -> Result<()> {
        self.events.copy(run)
    }

    pub(super) fn finish(&self) {
        self.progress.finish();
        if let Some(problem) = self.events.problem() {
            note(self.watch.common, format!("{problem}; TensorBoard sees the trial up to there"));
        }
    }

    fn left(&self) -> String {
        let left = self.watch.expected.map(|end| end.saturating_duration_since(Instant::now()).as_secs());
        left.map(|left| format!(", about {} of all", rounded(left))).unwrap_or_default()
    }
}

impl Observer for Watcher<'_> {
    fn step(&mut self, record: &StepRecord, rows: usize, total_rows: usize) {
        let (left, Watch { trial, what, .. }) = (self.left(), self.watch);
        self.progress.set(rows, total_rows, || format!("of {trial}{left}: {what}, epoch {:.2}", record.epoch));
        self.events.step(record);
    }

    fn resumed(&mut self, _checkpoint: &Path, step: usize, rows: usize, _total_rows: usize) {
        self.progress.start_from(rows);
        self.progress.note(&format!("{} goes on after step {step}.", self.watch.trial));
        self.events.begins_with(step + 1);
    }

    fn warning(&mut self, text: &str) {
        note(self.watch.common, format!("Warning: {text}"));
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        self.events.evaluated(record);
    }

    fn stop_requested(&self) -> bool {
        stop::requested() || self.watch.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// "40 s", or "12 min".
fn rounded(seconds: u64) -> String {
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

/// "unfreeze head, seed 42".
pub(super) fn describe(trial: &Trial) -> String {
    let values = trial.values.iter().map(|(key, value)| format!("{key} {}", value_text(value)));
    let parts: Vec<String> = values.chain([format!("seed {}", trial.seed)]).collect();
    parts.join(", ")
}

/// Says how a trial ended.
pub(super) fn ended(common: &Common, trial: &str, what: &str, record: &Record) -> std::io::Result<()> {
    if common.json {
        let mut event = json!(record);
        event["event"] = json!("trial");
        line(event)?;
    }
    let how = match &record.end {
        End::Done(done) => format!(
            "validation accuracy {:.2} %, {:.1} s of training",
            100.0 * done.validation.accuracy,
            done.train_seconds
        ),
        End::Failed(message) => format!("failed: {message}"),
    };
    note(common, format!("{trial}: {what}: {how}"));
    Ok(())
}

/// What is shown at the end.
pub(super) struct Shown {
    table: String,
    notes: Vec<String>,
    progress: String,
    best: Option<Record>,
    result: Value,
    cache: CacheReport,
}

/// Collects it.
pub(super) fn report(directory: &SweepDirectory) -> Shown {
    let (sweep, summary) = (directory.sweep(), directory.summary());
    let finished = || directory.records().iter().filter_map(Record::finished);
    let mut cache = CacheReport::default();
    let mut seconds = 0.0;
    for report in finished().filter_map(|done| done.cache.as_ref()) {
        cache.rows_computed += report.rows_computed;
        cache.rows_reused += report.rows_reused;
        cache.memory = cache.memory.max(report.memory);
        cache.file = cache.file.max(report.file);
        seconds += report.seconds_saved();
    }
    cache.seconds_a_row = seconds / cache.rows_reused.max(1) as f64;
    let settings = summary.settings.iter().enumerate().map(|(at, setting)| {
        let validation = setting.validation();
        json!({
            "values": setting.values,
            "trials": setting.trials.len(),
            "failed": setting.failed(),
            "best": summary.best == Some(at),
            "score": setting.score(),
            "accuracy": validation.map(|a| a.mean),
            "accuracy_low": validation.map(|a| a.interval.low),
            "accuracy_high": validation.map(|a| a.interval.high),
        })
    });
    let result = json!({
        "event": "result",
        "trials": sweep.trials(),
        "done": directory.records().len(),
        "settings": settings.collect::<Vec<_>>(),
        "best_trial": summary.best_trial().map(|record| record.trial),
    });
    Shown {
        table: summary.table(sweep),
        notes: summary.notes(sweep),
        progress: summary.progress(sweep),
        best: summary.best_trial().cloned(),
        result,
        cache,
    }
}

impl Shown {
    /// Prints it; `best` is where the best trial's run is.
    pub(super) fn show(
        mut self,
        common: &Common,
        path: &Path,
        data: &[String],
        best: Option<&Path>,
    ) -> std::io::Result<()> {
        if common.json {
            self.result["output"] = json!(path);
            self.result["best"] = json!(best);
            return line(self.result);
        }
        line(format!("{}\n\n{}", self.progress, self.table))?;
        self.notes.iter().try_for_each(line)?;
        if self.cache.rows_reused > 0 {
            line(cache_line(&self.cache))?;
        }
        let files = |path: &Path| -> PathBuf { path.join("table.md") };
        line(format!(
            "\nThe table is in {}, the picture in {}.",
            files(path).display(),
            path.join("sweep.svg").display()
        ))?;
        if let (Some(run), Some(record)) = (best, &self.best) {
            line(format!("The run of trial {} is in {}.", record.trial, run.display()))?;
            crate::next::say(common, &crate::next::after_training(run, data, "\"your text\""));
        }
        Ok(())
    }
}
