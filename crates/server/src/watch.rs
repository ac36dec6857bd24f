//! New versions of models: a thread looks at their directories, and loads what has changed.

use std::ffi::OsString;
use std::fs::Metadata;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use crate::model::{Models, Served};

/// The files in a directory: names, sizes, times of modification, identities.
pub(crate) type Look = Vec<(OsString, u64, Option<SystemTime>, Identity)>;

/// What tells one file from another of equal size and time, which copies may keep: device, inode, and the time of the last change of
/// contents or names, which cannot be set.
type Identity = Option<(u64, u64, i64, i64)>;

/// What is known of a directory.
struct Watched<'a> {
    served: &'a Arc<Served>,
    directory: &'a Path,
    /// As it was when the version that is served was loaded, or when the last attempt to do so failed.
    loaded: Option<Look>,
    /// As it was at the last look.
    seen: Option<Look>,
    /// When what could not be loaded is tried again.
    again: Option<Instant>,
}

/// For so many looks, what could not be loaded is left alone: for want of memory or open files it may be right all the same.
const LEFT_ALONE: u32 = 60;

/// Looks again and again, until the other end of `stop` is dropped.
pub(crate) fn watch(models: &Models, every: Duration, stop: &Receiver<()>) {
    let watched = models.all().iter().filter_map(|served| {
        let directory = served.directory.as_deref()?;
        Some(Watched { served, directory, loaded: served.first.clone(), seen: served.first.clone(), again: None })
    });
    let mut watched: Vec<Watched> = watched.collect();
    while stop.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        watched.iter_mut().for_each(|watched| watched.look_again(LEFT_ALONE * every));
    }
}

impl Watched<'_> {
    /// Loads the model if the directory has changed, and has not changed since the last look: then it is complete. What could not be
    /// loaded is tried again after so long.
    fn look_again(&mut self, left_alone: Duration) {
        let now = look(self.directory);
        let complete = now.is_some() && now == self.seen;
        self.seen = now;
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.loaded = None;
        }
        if !complete || self.seen == self.loaded {
            return;
        }
        self.again = Some(Instant::now() + left_alone);
        self.loaded.clone_from(&self.seen);
        let model = &self.served.name;
        let reload = || self.served.reload(|| look(self.directory) == self.seen);
        // what a file can make a library do must not end the watch of all models
        let Ok(reloaded) = catch_unwind(AssertUnwindSafe(reload)) else {
            return tracing::error!(model, "the new version cannot be read; the old one stays");
        };
        match reloaded {
            Ok(true) => {
                self.again = None;
                tracing::info!(model, "a new version is served");
            }
            Ok(false) => {
                (self.loaded, self.again) = (None, None);
                tracing::info!(model, "the new version changed while it was read; it will be read again");
            }
            Err(error) => tracing::error!(model, %error, "the new version cannot be used; the old one stays"),
        }
    }
}

/// Nothing where there is no directory.
pub(crate) fn look(directory: &Path) -> Option<Look> {
    let entries = std::fs::read_dir(directory).ok()?;
    let files = entries.map(|entry| {
        let entry = entry?;
        // a link that leads nowhere is a file, too
        let metadata = std::fs::metadata(entry.path()).or_else(|_| entry.metadata())?;
        Ok((entry.file_name(), metadata.len(), metadata.modified().ok(), identity(&metadata)))
    });
    let mut files = files.collect::<std::io::Result<Look>>().ok()?;
    files.sort();
    Some(files)
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    None
}
