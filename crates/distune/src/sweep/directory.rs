//! The directory of a sweep, which can be left at any moment and gone on with.
//!
//! ```text
//! sweep.toml      the recipe and what varies
//! results.jsonl   a line for each trial that has ended
//! table.md        what they say together, and sweep.svg
//! trials/N/       settings and records of trial N, as a run has them, without the model; checkpoints of the one under way
//! best/           the run of the best trial, once the sweep has ended or was interrupted
//! .best-N/        until then, the runs of trials that may be the best
//! ```
//!
//! A trial counts when its line is complete: its run is written before, and runs that are no candidates any more go after. A
//! trial without a line goes on from its newest checkpoint, or is done again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::{Method, Record, Summary, Sweep, Trial, picture};
use crate::model::write;
use crate::train::{RecipeFile, checkpoint_steps, remove_checkpoints};
use crate::{Error, Result};

/// A sweep under way.
#[derive(Debug)]
pub struct SweepDirectory {
    path: PathBuf,
    sweep: Sweep,
    /// `results.jsonl`, which nobody else may write meanwhile.
    results: File,
    records: Vec<Record>,
}

impl SweepDirectory {
    /// Begins a sweep in a directory that is not there yet.
    ///
    /// # Errors
    /// [`Error::File`] when it is there or cannot be written; [`Error::Value`] for settings that TOML does not have.
    pub fn create(path: &Path, sweep: Sweep) -> Result<Self> {
        let text = sweep.to_toml()?;
        Self::check_free(path)?;
        fs::create_dir_all(path).map_err(|e| Error::io(path, "create the directory", &e))?;
        write(&path.join("sweep.toml"), text.as_bytes())?;
        let results = open_alone(&path.join("results.jsonl"), true)?;
        Ok(Self { path: path.to_owned(), sweep, results, records: Vec::new() })
    }

    /// Refuses a directory that is there.
    ///
    /// # Errors
    /// [`Error::File`] that says how to go on with it, if it is a sweep's.
    pub fn check_free(path: &Path) -> Result<()> {
        match (path.exists(), path.join("sweep.toml").exists()) {
            (true, true) => {
                let hint =
                    format!("Go on with it: distune sweep --resume {}, or choose another --output", path.display());
                Err(Error::file(path, "is a sweep that was begun before", hint))
            }
            (true, false) => Err(Error::file(path, "the output directory exists", "Choose another --output")),
            _ => Ok(()),
        }
    }

    /// Goes on with a sweep. A last line that was cut short is dropped.
    ///
    /// # Errors
    /// [`Error::File`] for what is no sweep's directory, or one that another process works in; [`Error::Row`] for a line that is
    /// no result, or not one of this sweep.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("sweep.toml");
        if !file.exists() {
            return Err(Error::file(path, "is not the directory of a sweep: it has no sweep.toml", "Check the path"));
        }
        let sweep = Sweep::read(&file)?.resolve()?;
        let name = path.join("results.jsonl");
        let mut results = open_alone(&name, false)?;
        let mut text = String::new();
        results.read_to_string(&mut text).map_err(|e| Error::io(&name, "read", &e))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        results.set_len(whole as u64).map_err(|e| Error::io(&name, "write", &e))?;
        let records = read_records(&name, &text[..whole], &sweep)?;
        let directory = Self { path: path.to_owned(), sweep, results, records };
        directory.restore()?;
        Ok(directory)
    }

    /// Brings the files to where they were when the last line was written.
    fn restore(&self) -> Result<()> {
        let best = self.path.join("best");
        if let Some(record) = self.summary().best_trial().filter(|_| best.exists()) {
            fs::rename(&best, self.run_path(record.trial)).map_err(|e| Error::io(&best, "rename", &e))?;
        }
        self.remove_leftovers()
    }

    /// The sweep.
    pub fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// The trials that have ended.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What they say together.
    pub fn summary(&self) -> Summary<'_> {
        Summary::new(&self.sweep, &self.records)
    }

    /// The trial that comes next, if there is one.
    pub fn next(&self) -> Option<Trial> {
        self.sweep.next(&self.records)
    }

    /// The directory for the records of a trial, with its settings: a new one, or one with checkpoints to go on from.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn begin(&self, trial: &Trial, settings: &RecipeFile) -> Result<PathBuf> {
        let path = self.trial_path(trial.number);
        if checkpoint_steps(&path).is_empty() {
            make_anew(&path)?;
        }
        write(&path.join("recipe.toml"), settings.to_toml()?.as_bytes())?;
        Ok(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory, where the run of a trial has to be before [`Self::end`], if with this record it may turn out to be the best.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be made.
    pub fn wants_run(&self, record: &Record) -> Result<Option<PathBuf>> {
        let records: Vec<Record> = self.records.iter().chain([record]).cloned().collect();
        let wanted = Summary::new(&self.sweep, &records).candidates().contains(&record.trial);
        let path = wanted.then(|| self.run_path(record.trial));
        path.iter().try_for_each(|path| make_anew(path))?;
        Ok(path)
    }

    /// Ends a trial: from now on it is not done again.
    ///
    /// # Errors
    /// [`Error::File`] when something cannot be written.
    pub fn end(&mut self, record: Record) -> Result<()> {
        let file = self.path.join("results.jsonl");
        let line = serde_json::to_string(&record).map_err(|e| Error::file(&file, e, ""))?;
        let written = self.results.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.results.sync_data());
        written.map_err(|e| Error::io(&file, "write", &e))?;
        self.records.push(record);
        self.remove_leftovers()?;
        self.write_reports()
    }

    /// Gives the best trial's run its name, if there is one; returns it.
    ///
    /// # Errors
    /// [`Error::File`] when something cannot be written.
    pub fn close(self) -> Result<Option<PathBuf>> {
        self.write_reports()?;
        let (best, summary) = (self.path.join("best"), self.summary());
        let run = summary.best_trial().map(|record| self.run_path(record.trial));
        let Some(run) = run.filter(|run| run.exists()) else { return Ok(None) };
        fs::rename(&run, &best).map_err(|e| Error::io(&best, "put the best run in place", &e))?;
        Ok(Some(best))
    }

    fn write_reports(&self) -> Result<()> {
        let summary = self.summary();
        write(&self.path.join("table.md"), summary.markdown(&self.sweep).as_bytes())?;
        if let Ok(svg) = picture(&self.sweep, &summary) {
            write(&self.path.join("sweep.svg"), svg.as_bytes())?;
        }
        Ok(())
    }

    fn trial_path(&self, trial: usize) -> PathBuf {
        self.path.join("trials").join(trial.to_string())
    }

    fn run_path(&self, trial: usize) -> PathBuf {
        self.path.join(format!(".best-{trial}"))
    }

    /// Removes runs that cannot be the best any more, checkpoints of trials that have ended, and what is left of trials that never did.
    fn remove_leftovers(&self) -> Result<()> {
        let candidates = self.summary().candidates();
        let numbered = |directory: &Path, prefix: &str| -> Vec<(usize, PathBuf)> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let number = |name: &str| name.strip_prefix(prefix)?.parse().ok();
            entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect()
        };
        let runs = numbered(&self.path, ".best-").into_iter().filter(|(trial, _)| !candidates.contains(trial));
        // the next one may have checkpoints
        let next = self.records.len() + 1;
        let begun = numbered(&self.path.join("trials"), "").into_iter().filter(|(trial, _)| *trial > next);
        runs.chain(begun).try_for_each(|(_, path)| remove(&path))?;
        let ended = self.trial_path(self.records.len());
        match ended.exists() {
            true => remove_checkpoints(&ended).map_err(|e| Error::io(&ended, "remove the checkpoints in", &e)),
            false => Ok(()),
        }
    }
}

/// Opens a file to read and to append, for this process alone.
fn open_alone(path: &Path, new: bool) -> Result<File> {
    let opened = OpenOptions::new().read(true).append(true).create(true).create_new(new).open(path);
    let file = opened.map_err(|e| Error::io(path, "write", &e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::file(path, "another process works on this sweep", "Wait for it, or end it"))
        }
        // a file system without locks is no reason not to work
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// The lines of `results.jsonl`.
fn read_records(path: &Path, text: &str, sweep: &Sweep) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let record: Record = serde_json::from_str(line).map_err(|e| {
            Error::row(path, number, format!("not a result: {e}"), "Remove the line, and those after it")
        })?;
        let next = sweep.next(&records);
        // what tpe chose may differ in its last digit on another machine
        let same = |next: &Trial| {
            next.seed == record.seed && (next.values == record.values || sweep.plan.method == Method::Tpe)
        };
        if record.trial != records.len() + 1 || !next.is_some_and(|next| same(&next)) {
            let hint = "sweep.toml or this file was changed since; start a new sweep";
            return Err(Error::row(path, number, "not the result of this sweep's next trial", hint));
        }
        records.push(record);
    }
    Ok(records)
}

fn make_anew(path: &Path) -> Result<()> {
    remove(path)?;
    fs::create_dir_all(path).map_err(|e| Error::io(path, "create the directory", &e))
}

fn remove(path: &Path) -> Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path).map_err(|e| Error::io(path, "remove", &e)),
        false => Ok(()),
    }
}
