//! The directory of a training under way: `OUT.unfinished` beside where the run will be, with its settings and its checkpoints. When all
//! is written into it, it becomes `OUT`.
//!
//! A training that ends without a checkpoint leaves nothing, unless it is killed. One process at a time trains into it.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::model::PART;
use crate::run::{CreatedParents, check_target};
use crate::train::{RecipeFile, checkpoint_steps, flush_directory, remove_checkpoints};
use crate::{Error, Result};

const SUFFIX: &str = ".unfinished";
/// The settings of the training, from its beginning on.
const SETTINGS: &str = "recipe.toml";
/// Locked by the process that trains.
const LOCK: &str = "lock";
/// What a finished run has.
const FINISHED: &str = "trainer_state.json";

/// A training's directory, until it is finished.
#[derive(Debug)]
pub struct UnfinishedRun {
    target: PathBuf,
    path: PathBuf,
    overwrite: bool,
    state: State,
    /// Locked as long as it lives.
    _lock: File,
    /// Dropped last.
    _parents: Option<CreatedParents>,
}

/// What may happen to the directory.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It has another training's files, which go when this one begins.
    Replaces,
    /// It goes at the end unless there is a checkpoint in it.
    Ours,
    /// It stays.
    Keep,
}

/// `OUT` and `OUT.unfinished`, from the name of either.
fn names(named: &Path) -> Result<(PathBuf, PathBuf)> {
    let absolute = || std::path::absolute(named).map_err(|e| Error::io(named, "use", &e));
    let named = if named.file_name().is_some() { named.to_owned() } else { absolute()? };
    let name = named.file_name().unwrap_or_default().to_owned();
    let bare = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).map(OsString::from);
    let name = bare.filter(|name| !name.is_empty()).unwrap_or(name);
    let mut unfinished = name.clone();
    unfinished.push(SUFFIX);
    Ok((named.with_file_name(name), named.with_file_name(unfinished)))
}

impl UnfinishedRun {
    /// Where the training of a run is kept that will be `output`.
    ///
    /// # Errors
    /// [`Error::File`] for a path that cannot be used.
    pub fn path_of(output: &Path) -> Result<PathBuf> {
        Ok(names(output)?.1)
    }

    /// For a new training. Makes sure, before any work, that the run can be written.
    ///
    /// # Errors
    /// [`Error::File`] when the run or an unfinished training of it exists and `overwrite` is false, or they are something else; when
    /// another process trains into it; when the directory above cannot be written.
    pub fn create(output: &Path, overwrite: bool) -> Result<Self> {
        let (target, path) = names(output)?;
        check_target(&target, overwrite)?;
        let parents = CreatedParents::above(&target)?;
        let there = match fs::create_dir(&path) {
            Ok(()) => false,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::is_taken(&path, &target, overwrite)?,
            Err(e) => return Err(Error::io(&path, "create the directory", &e)),
        };
        let lock = lock(&path, "is training into it")?;
        let state = if there { State::Replaces } else { State::Ours };
        Ok(Self { target, path, overwrite, state, _lock: lock, _parents: Some(parents) })
    }

    /// Whether there is a training in an existing directory, which must then be overwritten.
    fn is_taken(path: &Path, target: &Path, overwrite: bool) -> Result<bool> {
        let entries = fs::read_dir(path).map_err(|e| Error::io(path, "read the directory", &e))?;
        // what a process has that was killed before it began
        let nothing = |name: &str| name == LOCK || name.ends_with(PART);
        let others = entries.flatten().filter(|entry| !nothing(&entry.file_name().to_string_lossy())).count();
        let last = checkpoint_steps(path).into_iter().next();
        if others == 0 {
            return Ok(false);
        }
        if last.is_none() && !path.join(SETTINGS).exists() {
            let problem = "is not the directory of an unfinished training (no recipe.toml in it)";
            return Err(Error::file(path, problem, "Move it away, or choose another --output"));
        }
        if overwrite {
            return Ok(true);
        }
        let last =
            last.map_or("it has no checkpoint yet".to_owned(), |step| format!("its last checkpoint: step {step}"));
        let hint =
            format!("Go on with distune train --resume {}, or start anew with --overwrite", shell_quoted(target));
        Err(Error::file(path, format!("a training that has not finished is there ({last})"), hint))
    }

    /// For a training that goes on; `named` is the run or its unfinished directory.
    ///
    /// # Errors
    /// [`Error::File`] when there is no unfinished training, or another process is at it, or when the run exists already and `overwrite` is
    /// false.
    pub fn resume(named: &Path, overwrite: bool) -> Result<Self> {
        let (target, path) = names(named)?;
        if !path.is_dir() {
            return Err(nothing_to_resume(&target, &path));
        }
        if !path.join(SETTINGS).exists() {
            let problem =
                "its training was stopped before it began (no recipe.toml in it), there is nothing to go on from";
            return Err(Error::file(&path, problem, "Start it anew"));
        }
        if target.exists() && !overwrite {
            let hint = "Add --overwrite to replace it when the training is done";
            return Err(Error::file(&target, "the output directory exists", hint));
        }
        check_target(&target, overwrite)?;
        let lock = lock(&path, "is training into it")?;
        remove_half_written(&path).map_err(|e| Error::io(&path, "remove what was half written in", &e))?;
        Ok(Self { target, path, overwrite, state: State::Keep, _lock: lock, _parents: None })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether there is a checkpoint to go on from.
    pub fn has_checkpoint(&self) -> bool {
        self.state != State::Replaces && !checkpoint_steps(&self.path).is_empty()
    }

    /// The settings of the training that goes on.
    ///
    /// # Errors
    /// As [`RecipeFile::read`].
    pub fn settings(&self) -> Result<RecipeFile> {
        RecipeFile::read(&self.path.join(SETTINGS))
    }

    /// Begins, or says how the settings have been resolved. An old training that is overwritten goes.
    ///
    /// # Errors
    /// [`Error::File`] when something cannot be removed or written.
    pub fn write_settings(&mut self, settings: &RecipeFile) -> Result<()> {
        let text = settings.to_toml()?;
        if self.state == State::Replaces {
            self.clear().map_err(|e| Error::io(&self.path, "remove the old training in", &e))?;
            self.state = State::Ours;
        }
        crate::model::write(&self.path.join(SETTINGS), text.as_bytes())?;
        flush_directory(&self.path).map_err(|e| Error::io(&self.path, "write into", &e))
    }

    fn clear(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false if entry.file_name() == LOCK => {}
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Gives the run its name; then the checkpoints go. An old directory of that name is removed only after the new one has taken its
    /// place.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be renamed, or when something of that name has appeared meanwhile. All is still there then.
    pub fn finish(mut self) -> Result<()> {
        self.state = State::Keep;
        if self.target.exists() && !self.overwrite {
            let hint = format!("The finished run is in {}: rename it", self.path.display());
            return Err(Error::file(&self.target, "has appeared during the training", hint));
        }
        crate::run::replace(&self.path, &self.target)?;
        remove_leftovers(&self.target).map_err(|e| Error::io(&self.target, "remove the checkpoints in", &e))
    }
}

impl Drop for UnfinishedRun {
    fn drop(&mut self) {
        if self.state == State::Ours && checkpoint_steps(&self.path).is_empty() {
            // what cannot be removed stays: another error is being told
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The error for a name without an unfinished training.
fn nothing_to_resume(target: &Path, path: &Path) -> Error {
    if target.join(FINISHED).exists() {
        // a process that was killed at the very end has left some
        let _ = remove_leftovers(target);
        let hint = format!("To train it further, start from it: distune train --model {}", shell_quoted(target));
        return Error::file(target, "is finished, there is nothing to go on with", hint);
    }
    let problem = "no such directory, so there is no unfinished training of that name";
    Error::file(path, problem, "Name the --output of a training that was interrupted")
}

/// Removes what a process that was killed was writing, of which nothing else knows.
fn remove_half_written(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // the second one is what the safetensors crate writes first
        if name.ends_with(PART) || name.starts_with(".tmp") {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// Removes from a finished run what was for going on.
fn remove_leftovers(run: &Path) -> std::io::Result<()> {
    remove_checkpoints(run)?;
    let lock = run.join(LOCK);
    if lock.exists() { fs::remove_file(lock) } else { Ok(()) }
}

/// Keeps other processes out of a directory; what one does that is in it already, `doing` says.
pub(crate) fn lock(directory: &Path, doing: &str) -> Result<File> {
    let path = directory.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Error::io(&path, "write", &e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let hint = "Wait for it, or choose another --output";
            Err(Error::file(directory, format!("another process {doing}"), hint))
        }
        // some file systems have no locks
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// A path as a shell reads it.
pub fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
