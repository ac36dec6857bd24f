//! Checkpoints: all that a training needs to go on to the same bits after its process has ended. Written and read by the loop in
//! [`super`].
//!
//! A checkpoint is a directory `checkpoint-STEP` with
//! - `engine.bin`: what trains and what the optimizer keeps of it ([`Engine::write_state`]);
//! - `best.bin`: the best weights so far, where they are not those of this step ([`Engine::write_trained`]);
//! - `state.json`: what the training began with ([`Origin`]) and what it has done ([`Progress`]);
//! - `manifest.json`: size and checksum (XXH3, 128 bits) of each of these.
//!
//! It is written under another name, flushed to the disk and renamed, so it is there whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use twox_hash::xxhash3_128::Hasher;

use crate::engine::Engine;
use crate::model::PART;
use crate::train::{Origin, Progress};
use crate::{Error, Result};

const ENGINE: &str = "engine.bin";
const BEST: &str = "best.bin";
const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";
/// The form of the files above.
const FORMAT: u32 = 1;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Where a training keeps its checkpoints, and what it begins with. It goes on from the newest one that is there.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// A directory that has nothing but this training's files.
    pub directory: PathBuf,
    /// What the checkpoints must be of.
    pub origin: Origin,
}

/// A checkpoint that has been written.
#[derive(Clone, Debug, Serialize)]
pub struct SavedCheckpoint {
    /// Its directory.
    pub path: PathBuf,
    /// Steps done.
    pub step: usize,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// How many there are now.
    pub kept: usize,
}

/// A whole checkpoint on the disk.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) progress: Progress,
    /// What is to be told about it.
    pub(super) notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    files: BTreeMap<String, Sum>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    xxh3_128: String,
}

/// The steps of the checkpoints in a directory, damaged ones too, newest first.
pub fn checkpoint_steps(directory: &Path) -> Vec<usize> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let step = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("checkpoint-")?.parse().ok();
    let mut steps: Vec<usize> = entries.filter_map(step).collect();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    steps
}

/// Removes a directory's checkpoints, and what a process that was killed left of one.
///
/// # Errors
/// Those of the system.
pub fn remove_checkpoints(directory: &Path) -> std::io::Result<()> {
    remove_parts(directory)?;
    checkpoint_steps(directory).into_iter().try_for_each(|step| fs::remove_dir_all(path(directory, step)))
}

fn path(directory: &Path, step: usize) -> PathBuf {
    directory.join(format!("checkpoint-{step}"))
}

fn remove_parts(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("checkpoint-") && name.ends_with(PART)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Checkpoints {
    /// The directory of a step's checkpoint.
    pub(super) fn path(&self, step: usize) -> PathBuf {
        path(&self.directory, step)
    }

    /// The newest checkpoint that is whole; nothing where there is none at all.
    ///
    /// # Errors
    /// [`Error::File`] when all are damaged, or it is of another training.
    pub(super) fn newest(&self) -> Result<Option<Found>> {
        let mut damaged = Vec::new();
        for step in checkpoint_steps(&self.directory) {
            let path = self.path(step);
            match read(&path) {
                Ok((origin, progress)) => {
                    let going = format!("goes on from checkpoint-{step}, the one before");
                    let mut notes: Vec<String> = Vec::new();
                    notes.extend((!damaged.is_empty()).then(|| format!("Damaged: {}; {going}.", damaged.join("; "))));
                    notes.extend(self.origin.check(&origin, &path)?);
                    return Ok(Some(Found { path, progress, notes }));
                }
                Err(problem) => damaged.push(format!("checkpoint-{step}: {problem}")),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        let problem = format!("no checkpoint is whole: {}", damaged.join("; "));
        Err(Error::file(&self.directory, problem, "Start anew with --overwrite"))
    }

    /// Writes a checkpoint and removes older ones, so that `limit` remain (0 for all). `best` is the file of the best weights, where they
    /// are not those that the engine has.
    ///
    /// # Errors
    /// [`Error::File`]; the checkpoints before are as they were.
    pub(super) fn save(
        &self,
        engine: &mut dyn Engine,
        progress: &Progress,
        best: Option<&mut File>,
        limit: usize,
    ) -> Result<SavedCheckpoint> {
        let (start, step) = (Instant::now(), progress.step());
        let path = self.path(step);
        let part = path.with_extension(PART.trim_start_matches('.'));
        let write = || -> std::io::Result<u64> {
            remove_parts(&self.directory)?;
            let bytes = write(&part, engine, &self.origin, progress, best)?;
            if path.exists() {
                // it was damaged, or the training would not have come here again
                fs::remove_dir_all(&path)?;
            }
            fs::rename(&part, &path)?;
            flush_directory(&self.directory)?;
            Ok(bytes)
        };
        let written = write();
        if written.is_err() {
            // the error that it ended with is the one to tell
            let _ = fs::remove_dir_all(&part);
        }
        let bytes = written.map_err(|e| Error::io(&path, "write the checkpoint", &e))?;
        self.prune(step, limit).map_err(|e| Error::io(&self.directory, "remove old checkpoints", &e))?;
        let kept = checkpoint_steps(&self.directory).len();
        Ok(SavedCheckpoint { path, step, bytes, seconds: start.elapsed().as_secs_f64(), kept })
    }

    /// Keeps the newest ones up to `step`. What lies beyond was damaged.
    fn prune(&self, step: usize, limit: usize) -> std::io::Result<()> {
        let (older, beyond): (Vec<_>, Vec<_>) = checkpoint_steps(&self.directory).into_iter().partition(|&s| s <= step);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let old = older.into_iter().skip(limit).chain(beyond);
        old.into_iter().try_for_each(|step| fs::remove_dir_all(self.path(step)))
    }
}

impl Found {
    /// Gives an engine its arrays back; returns the best weights, where they are others.
    ///
    /// # Errors
    /// [`Error::File`] when they cannot be read.
    pub(super) fn restore(&self, engine: &mut dyn Engine) -> Result<Option<File>> {
        let mut open = || {
            let mut file = File::open(self.path.join(ENGINE))?;
            engine.read_state(&mut file)?;
            let best = self.path.join(BEST);
            best.exists().then(|| File::open(best)).transpose()
        };
        open().map_err(|e| Error::io(&self.path, "read the checkpoint", &e))
    }
}

/// Writes the files of a checkpoint; returns their bytes.
fn write(
    directory: &Path,
    engine: &mut dyn Engine,
    origin: &Origin,
    progress: &Progress,
    best: Option<&mut File>,
) -> std::io::Result<u64> {
    fs::create_dir(directory)?;
    let mut files = BTreeMap::new();
    let mut add = |name: &str, contents: &mut dyn FnMut(&mut Summing) -> std::io::Result<()>| {
        let mut to = Summing { file: File::create(directory.join(name))?, hasher: Hasher::new(), bytes: 0 };
        contents(&mut to)?;
        to.file.sync_all()?;
        files.insert(name.to_owned(), sum(to.bytes, &to.hasher));
        std::io::Result::Ok(())
    };
    add(ENGINE, &mut |to| engine.write_state(to))?;
    if let Some(best) = best {
        best.rewind()?;
        add(BEST, &mut |to| for_each_chunk(&mut *best, |chunk| to.write_all(chunk)))?;
    }
    add(STATE, &mut |to| {
        let mut to = BufWriter::new(to);
        serde_json::to_writer(&mut to, &(origin, progress))?;
        to.flush()
    })?;
    let bytes = files.values().map(|sum| sum.bytes).sum();
    let manifest = serde_json::to_vec_pretty(&Manifest { format: FORMAT, files })?;
    let mut file = File::create(directory.join(MANIFEST))?;
    file.write_all(&manifest)?;
    file.sync_all()?;
    flush_directory(directory)?;
    Ok(bytes)
}

/// Reads what a checkpoint says and checks all its files.
///
/// # Errors
/// The sentence that says what is damaged.
fn read(directory: &Path) -> Result<(Origin, Progress), String> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => format!("{name} is missing"),
            _ => format!("{name} cannot be read: {e}"),
        }
    };
    let manifest = fs::read(directory.join(MANIFEST)).map_err(failed(MANIFEST))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|e| format!("{MANIFEST} is no manifest: {e}"))?;
    if manifest.format != FORMAT {
        return Err(format!("its format is {}, expected {FORMAT}", manifest.format));
    }
    for name in [ENGINE, STATE] {
        if !manifest.files.contains_key(name) {
            return Err(format!("{MANIFEST} does not name {name}"));
        }
    }
    for (name, expected) in &manifest.files {
        let mut hasher = Hasher::new();
        let mut bytes = 0;
        let file = File::open(directory.join(name)).map_err(failed(name))?;
        for_each_chunk(file, |chunk| {
            hasher.write(chunk);
            bytes += chunk.len() as u64;
            Ok(())
        })
        .map_err(failed(name))?;
        if bytes != expected.bytes {
            return Err(format!("{name} has {bytes} bytes, expected {}", expected.bytes));
        }
        if sum(bytes, &hasher) != *expected {
            return Err(format!("{name} has another checksum than {MANIFEST} says"));
        }
    }
    let state = fs::read(directory.join(STATE)).map_err(failed(STATE))?;
    let state: (Origin, Progress) =
        serde_json::from_slice(&state).map_err(|e| format!("{STATE} is not understood: {e}"))?;
    match state.1.best_is_of_an_earlier_step() && !manifest.files.contains_key(BEST) {
        true => Err(format!("{MANIFEST} does not name {BEST}")),
        false => Ok(state),
    }
}

/// A file that is summed up while it is written.
struct Summing {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.write(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn sum(bytes: u64, hasher: &Hasher) -> Sum {
    Sum { bytes, xxh3_128: format!("{:032x}", hasher.finish_128()) }
}

/// Hands out what a reader has, in parts.
fn for_each_chunk(mut from: impl Read, mut take: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => take(&chunk[..n])?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Waits until the names in a directory are on the disk, where the system can.
///
/// # Errors
/// Those of the system.
pub(crate) fn flush_directory(directory: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}
