//! A file of predictions that grows block by block: `OUT.unfinished` beside where it will be, until all rows are in it. A process that was
//! killed at any moment goes on behind the last whole block. Called by [`super::bulk`].
//!
//! In the directory: `job.json`, what it was begun with; `state.json`, how many blocks are whole; `rows`, the lines so far, or for Parquet,
//! whose index stands at the end, `part-N`, a file a block, which are put together at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parquet_rows::{Kind, assemble, kinds, write_part};
use super::text_rows::{csv, json};
use crate::data::{Chunk, Header, Record};
use crate::model::{PART, write};
use crate::run::CreatedParents;
use crate::train::flush_directory;
use crate::unfinished::{lock, shell_quoted};
use crate::{Error, Result};

const JOB: &str = "job.json";
const STATE: &str = "state.json";
const ROWS: &str = "rows";
const WHOLE: &str = "whole";

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
    Parquet,
}

/// What is predicted for a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predicted {
    /// The predicted label, or labels; none where no answer is given.
    pub labels: Vec<String>,
    /// `[C]`
    pub probabilities: Vec<f64>,
    /// Whether no answer is given, where that may be.
    pub abstained: Option<bool>,
    /// Whether some of the text was cut off.
    pub truncated: bool,
    /// `[C]`, where they are wanted.
    pub logits: Vec<f32>,
    /// What the prediction rests on, as JSON, where that is wanted.
    pub attribution: Option<String>,
}

/// What there is in each [`Predicted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// `[C]` names of the classes.
    pub classes: Vec<String>,
    /// Whether a row may have any number of labels.
    pub several: bool,
    /// Whether [`Predicted::abstained`] is told.
    pub abstains: bool,
    /// Whether [`Predicted::logits`] are.
    pub logits: bool,
    /// Whether [`Predicted::attribution`] is.
    pub attribution: bool,
}

impl Shape {
    /// The names of the columns that are written behind those of the input, in CSV and Parquet.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["predicted".to_owned()];
        names.extend(self.classes.iter().map(|class| format!("probability_{class}")));
        names.extend(self.abstains.then(|| "abstained".to_owned()));
        names.push("truncated".to_owned());
        names.extend(self.classes.iter().filter(|_| self.logits).map(|class| format!("logit_{class}")));
        names.extend(self.attribution.then(|| "attribution".to_owned()));
        names
    }

    /// The names of the fields that are written into JSON objects.
    pub(super) fn fields(&self) -> Vec<&'static str> {
        let optional = [("abstained", self.abstains), ("logits", self.logits), ("attribution", self.attribution)];
        let optional = optional.into_iter().filter(|(_, there)| *there).map(|(name, _)| name);
        ["predicted", "probabilities", "truncated"].into_iter().chain(optional).collect()
    }
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Whole blocks, and their rows.
    pub(super) blocks: usize,
    pub(super) rows: usize,
    /// Rows that were left out.
    pub(super) skipped: usize,
    /// Bytes of the lines of them.
    bytes: u64,
    /// [`checksum`] of their rows in the input.
    pub(super) checksum: String,
    /// The columns of the input.
    columns: Vec<String>,
    /// How they are written in Parquet.
    kinds: Vec<Kind>,
    /// Whether there are no more.
    finished: bool,
}

/// A file of predictions under way.
#[derive(Debug)]
pub struct Output {
    target: PathBuf,
    directory: PathBuf,
    format: Format,
    shape: Shape,
    overwrite: bool,
    pub(super) state: State,
    rows: Option<File>,
    /// Locked as long as it lives.
    _lock: File,
    _parents: CreatedParents,
}

impl Output {
    /// Begins a file, or goes on with one that is not finished if `resume`; without one there is nothing to go on with, and it begins. `job`
    /// is all that decides what is predicted; it must be the same each time.
    ///
    /// # Errors
    /// A name of another format; a file that exists, or one that is not finished, without `resume` or `overwrite`; another process that
    /// writes it; another job; a directory that cannot be written.
    pub fn open(
        target: &Path,
        shape: Shape,
        job: &BTreeMap<String, String>,
        resume: bool,
        overwrite: bool,
    ) -> Result<Self> {
        let format = format_of(target)?;
        let directory = unfinished(target);
        check_target(target, overwrite)?;
        let parents = CreatedParents::above(target)?;
        let there = directory.join(JOB).exists();
        if directory.exists() && !directory.is_dir() || directory.is_dir() && !there && !is_empty(&directory) {
            let problem = "is not the directory of predictions that are not finished (no job.json in it)";
            return Err(Error::file(&directory, problem, "Move it away, or choose another --output"));
        }
        if there && !resume && !overwrite {
            let hint = "Go on with --resume, or start anew with --overwrite";
            return Err(Error::file(&directory, "predictions that are not finished are there", hint));
        }
        fs::create_dir_all(&directory).map_err(|error| Error::io(&directory, "create the directory", &error))?;
        let lock = lock(&directory, "is writing predictions into it")?;
        let failed = |error: std::io::Error| Error::io(&directory, "write into", &error);
        let mut state = State::default();
        if there && resume {
            check_job(&directory, job)?;
            state = read_state(&directory)?;
        } else {
            clear(&directory).map_err(failed)?;
            let text = serde_json::to_vec_pretty(job).map_err(|error| failed(error.into()))?;
            write(&directory.join(JOB), &text)?;
        }
        let (target, rows) = (target.to_owned(), None);
        let mut output =
            Self { target, directory, format, shape, overwrite, state, rows, _lock: lock, _parents: parents };
        if format != Format::Parquet {
            output.rows = Some(output.open_rows()?);
        }
        Ok(output)
    }

    /// Rows that are in it, and rows that were left out.
    pub fn done(&self) -> (usize, usize) {
        (self.state.rows, self.state.skipped)
    }

    /// Where it is until it is finished.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens the lines so far, without those of a block that is not whole.
    fn open_rows(&self) -> Result<File> {
        let path = self.directory.join(ROWS);
        let open = || {
            let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
            if file.metadata()?.len() < self.state.bytes {
                return Ok(None);
            }
            file.set_len(self.state.bytes)?;
            file.seek(SeekFrom::Start(self.state.bytes))?;
            Ok(Some(file))
        };
        match open().map_err(|error| Error::io(&path, "write", &error))? {
            Some(file) => Ok(file),
            None => Err(Error::file(&path, "has fewer bytes than were written", "Start anew with --overwrite")),
        }
    }

    /// Checks that the columns of a chunk can be in it.
    pub(super) fn check_header(&self, chunk: &Chunk) -> Result<()> {
        let Header { names, .. } = &*chunk.header;
        if self.format == Format::Json && matches!(chunk.records.first(), Some(Record::Json(_)) | None) {
            // each object has its own
            return Ok(());
        }
        let fields = self.shape.fields().into_iter().map(str::to_owned).collect();
        let taken = if self.format == Format::Json { fields } else { self.shape.names() };
        if let Some(name) = taken.iter().find(|name| names.contains(name)) {
            let problem = format!("has a column {name:?} already, which predictions are written into");
            return Err(Error::file(&chunk.table.path, problem, "Rename or remove it"));
        }
        if let Some(twice) = (1..names.len()).find(|&i| names[..i].contains(&names[i]))
            && self.format != Format::Csv
        {
            let problem = format!("two columns are called {:?}, which only .csv can have", names[twice]);
            return Err(Error::file(&chunk.table.path, problem, "Rename or remove one, or write .csv"));
        }
        if self.state.blocks > 0 && self.format != Format::Json && self.state.columns != *names {
            let problem = format!("has other columns than the rows before it: {}", names.join(", "));
            return Err(Error::file(&chunk.table.path, problem, "Predict the files one by one, or write .jsonl"));
        }
        Ok(())
    }

    /// Appends a block of rows. When this returns, it is there whatever comes.
    ///
    /// # Errors
    /// A row that the format cannot hold, a full disk.
    pub(super) fn append(&mut self, chunk: &Chunk, predicted: &[Predicted], checksum: String) -> Result<()> {
        self.check_header(chunk)?;
        let mut state = self.state.clone();
        if state.blocks == 0 {
            state.columns.clone_from(&chunk.header.names);
        }
        let lines = match self.format {
            Format::Csv => csv(chunk, predicted, &self.shape, state.blocks == 0)?,
            Format::Json => json(chunk, predicted, &self.shape)?,
            Format::Parquet => {
                if state.blocks == 0 {
                    state.kinds = kinds(chunk)?;
                }
                write_part(&self.part(state.blocks), chunk, &state.kinds, predicted, &self.shape)?;
                Vec::new()
            }
        };
        if let Some(rows) = &mut self.rows {
            let written = rows.write_all(&lines).and_then(|()| rows.sync_data());
            written.map_err(|error| Error::io(&self.directory.join(ROWS), "write", &error))?;
        }
        state.blocks += 1;
        state.rows += chunk.records.len();
        state.skipped += chunk.table.skipped.len();
        state.bytes += lines.len() as u64;
        state.checksum = checksum;
        self.write_state(state)
    }

    fn part(&self, block: usize) -> PathBuf {
        self.directory.join(format!("part-{block}"))
    }

    fn write_state(&mut self, state: State) -> Result<()> {
        let path = self.directory.join(STATE);
        let text = serde_json::to_vec(&state).map_err(|error| Error::file(&path, error, ""))?;
        write(&path, &text)?;
        self.state = state;
        Ok(())
    }

    /// Gives the file its name, which is the end of the directory.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be put together or renamed, or when something of that name has appeared meanwhile. All is still there
    /// then.
    pub fn finish(mut self) -> Result<()> {
        let whole = match self.format {
            Format::Parquet => {
                let path = self.directory.join(WHOLE);
                let parts: Vec<PathBuf> = (0..self.state.blocks).map(|block| self.part(block)).collect();
                assemble(&path, &parts)?;
                path
            }
            _ => self.directory.join(ROWS),
        };
        if self.target.exists() && !self.overwrite {
            let hint = format!("All predictions are in {}: rename it", whole.display());
            return Err(Error::file(&self.target, "has appeared meanwhile", hint));
        }
        self.write_state(State { finished: true, ..self.state.clone() })?;
        drop(self.rows.take());
        let failed = |error: std::io::Error| Error::io(&self.target, "put the predictions in place", &error);
        fs::rename(&whole, &self.target).map_err(failed)?;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        flush_directory(parent).map_err(failed)?;
        let directory = self.directory.clone();
        fs::remove_dir_all(&directory).map_err(|error| Error::io(&directory, "remove", &error))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.state.blocks == 0 {
            // what cannot be removed stays: another error is being told
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn format_of(target: &Path) -> Result<Format> {
    let name = target.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit_once('.') {
        Some((_, "csv")) => Ok(Format::Csv),
        Some((_, "jsonl" | "ndjson")) => Ok(Format::Json),
        Some((_, "parquet")) => Ok(Format::Parquet),
        _ => {
            let problem = "predictions are written as .csv, .jsonl or .parquet";
            Err(Error::file(target, problem, "Choose such a name; distune data convert or gzip do the rest"))
        }
    }
}

fn check_target(target: &Path, overwrite: bool) -> Result<()> {
    if target.exists() && !target.is_file() {
        return Err(Error::file(target, "exists and is no file that could be replaced", "Choose another --output"));
    }
    if target.exists() && !overwrite {
        if read_state(&unfinished(target)).is_ok_and(|state| state.finished) {
            // the process was killed between the last two steps
            let _ = fs::remove_dir_all(unfinished(target));
        }
        return Err(Error::file(target, "exists", "Choose another --output, or add --overwrite to replace it"));
    }
    Ok(())
}

fn unfinished(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    target.with_file_name(name)
}

/// Whether there is nothing in a directory but what a process leaves that was killed before it began.
fn is_empty(directory: &Path) -> bool {
    let nothing = |name: &str| name == "lock" || name.ends_with(PART);
    let nothing = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|e| nothing(&e.file_name().to_string_lossy()));
    fs::read_dir(directory).is_ok_and(|mut entries| entries.all(nothing))
}

fn clear(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != "lock" {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn read_state(directory: &Path) -> Result<State> {
    let path = directory.join(STATE);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Error::file(&path, format!("is damaged: {error}"), "Start anew with --overwrite")),
        // killed before the first block
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(Error::io(&path, "read", &error)),
    }
}

/// Refuses to go on with another job.
fn check_job(directory: &Path, job: &BTreeMap<String, String>) -> Result<()> {
    let path = directory.join(JOB);
    let bytes = fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
    let before: BTreeMap<String, String> = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(&path, format!("is damaged: {error}"), "Start anew with --overwrite"))?;
    let keys = before.keys().chain(job.keys());
    let of = |job: &BTreeMap<String, String>, key: &String| job.get(key).cloned().unwrap_or_else(|| "none".into());
    match keys.into_iter().find(|&key| before.get(key) != job.get(key)) {
        None => Ok(()),
        Some(key) => {
            let (was, is) = (of(&before, key), of(job, key));
            let problem = format!("cannot go on with another {key}: it was begun with {was}, not with {is}");
            let hint = format!(
                "Go on with the same, or start anew with --overwrite (it goes on in {})",
                shell_quoted(directory)
            );
            Err(Error::file(directory, problem, hint))
        }
    }
}

/// The checksum of rows as they are in the input, and of all before them.
pub(super) fn checksum(before: &str, chunk: &Chunk) -> String {
    let mut hasher = twox_hash::XxHash3_128::new();
    let mut part = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    part(before.as_bytes());
    chunk.header.names.iter().for_each(|name| part(name.as_bytes()));
    for record in &chunk.records {
        match record {
            Record::Fields(fields) => fields.iter().for_each(|field| part(field.as_bytes())),
            Record::Json(json) => part(json.as_bytes()),
            Record::Parquet(fields) => fields.iter().for_each(|field| part(field.to_string().as_bytes())),
        }
    }
    format!("{:032x}", hasher.finish_128())
}
