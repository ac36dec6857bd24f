//! The cache of one repository, laid out as Python's `huggingface_hub` lays it out:
//!
//! ```text
//! models--org--name/
//!     blobs/<checksum>                    contents; <checksum>.incomplete while they arrive
//!     refs/main                           the commit that a branch was on
//!     snapshots/<commit>/config.json      a link to ../../blobs/<checksum>
//! .locks/models--org--name/<checksum>.lock
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::name::{Repository, is_hash};
use super::{Observer, client};
use crate::{Error, Result};

/// Time between two looks at a lock that another process holds.
const LOCK_EVERY: Duration = Duration::from_millis(100);

/// The directories of a repository.
pub(super) struct Cache {
    root: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(cache: &Path, repository: &Repository) -> Self {
        let name = format!("{}--{}", repository.kind.plural(), repository.id.replace('/', "--"));
        Self { root: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// Where the contents with a checksum are.
    pub(super) fn blob(&self, checksum: &str) -> PathBuf {
        self.root.join("blobs").join(checksum)
    }

    /// The directory of a commit.
    pub(super) fn commit(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The directory of what a revision was when it was fetched last, if there is one.
    pub(super) fn snapshot(&self, repository: &Repository) -> Option<PathBuf> {
        let commit = if repository.is_commit() {
            repository.revision.clone()
        } else {
            fs::read_to_string(self.root.join("refs").join(&repository.revision)).ok()?.trim().to_owned()
        };
        let directory = self.commit(&commit);
        (is_hash(&commit, 40) && directory.is_dir()).then_some(directory)
    }

    /// The revisions that are there: branches by name, then commits.
    pub(super) fn revisions(&self) -> Vec<String> {
        [names_in(&self.root.join("refs")), entries(&self.root.join("snapshots"))].concat()
    }

    /// Writes down the commit that a branch is on.
    pub(super) fn remember(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.root.join("refs").join(revision);
        // a cache that cannot be written may still be read
        if revision == commit || fs::read_to_string(&path).is_ok_and(|there| there == commit) {
            return Ok(());
        }
        let other = path.with_added_extension(format!("{}.tmp", std::process::id()));
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            fs::write(&other, commit)?;
            fs::rename(&other, &path)
        };
        write().map_err(|e| Error::io(&path, "write", &e))
    }

    /// Gives contents their name in a commit.
    pub(super) fn link(&self, checksum: &str, commit: &str, name: &str) -> Result<()> {
        let path = self.commit(commit).join(name);
        let make = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
            if path.exists() {
                return Ok(());
            }
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let up = "../".repeat(2 + name.matches('/').count());
            match symlink(Path::new(&format!("{up}blobs/{checksum}")), &path) {
                // where links are not possible, the file takes twice its room
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    let other = path.with_added_extension(format!("{}.tmp", std::process::id()));
                    fs::copy(self.blob(checksum), &other)?;
                    fs::rename(&other, &path)
                }
                _ => Ok(()),
            }
        };
        make().map_err(|e| Error::io(&path, "write", &e))
    }

    /// Waits until no other process fetches these contents, and keeps others from it while the result lives.
    pub(super) fn lock(&self, checksum: &str, observer: &mut dyn Observer) -> Result<File> {
        let path = self.locks.join(format!("{checksum}.lock"));
        let error = |e: &io::Error| Error::io(&path, "write", e);
        for directory in [&self.locks, &self.root.join("blobs")] {
            fs::create_dir_all(directory).map_err(|e| Error::io(directory, "write", &e))?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| error(&e))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                // some network drives have no locks; then two processes may fetch the same contents
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(e)) => return Err(error(&e)),
            }
            if !std::mem::replace(&mut told, true) {
                observer.note("Waits for another process that fetches the same file.");
            }
            client::pause(LOCK_EVERY, observer)?;
        }
    }
}

#[cfg(unix)]
fn symlink(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(not(unix))]
fn symlink(_to: &Path, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The names of all files below a directory, sorted, with `/` between parts; links that lead nowhere are left out.
pub(super) fn names_in(directory: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![String::new()]);
    while let Some(prefix) = open.pop() {
        for name in entries(&directory.join(&prefix)) {
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let path = directory.join(&name);
            if path.is_dir() {
                open.push(name);
            } else if path.exists() {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

/// The sorted names in a directory; none if it cannot be listed.
fn entries(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}
