//! New versions of models: a thread looks at their directories, and loads what has changed.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use crate::model::{Models, Served};

/// Names, sizes and times of the files in a directory.
type Look = Vec<(std::ffi::OsString, u64, Option<SystemTime>)>;

/// What is known of a directory.
struct Watched<'a> {
    served: &'a Arc<Served>,
    directory: &'a Path,
    /// As it was when the version that is served was loaded, or when the last attempt to do so failed.
    loaded: Option<Look>,
    /// As it was at the last look.
    seen: Option<Look>,
}

/// Looks again and again, until the other end of `stop` is dropped.
pub(crate) fn watch(models: &Models, every: Duration, stop: &Receiver<()>) {
    let watched = models.all().iter().filter_map(|served| {
        let directory = served.directory.as_deref()?;
        let look = look(directory);
        Some(Watched { served, directory, loaded: look.clone(), seen: look })
    });
    let mut watched: Vec<Watched> = watched.collect();
    while stop.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        watched.iter_mut().for_each(Watched::look_again);
    }
}

impl Watched<'_> {
    /// Loads the model if the directory has changed, and has not changed since the last look: then it is complete.
    fn look_again(&mut self) {
        let look = look(self.directory);
        let complete = look.is_some() && look == self.seen;
        self.seen = look;
        if !complete || self.seen == self.loaded {
            return;
        }
        self.loaded.clone_from(&self.seen);
        let model = &self.served.name;
        match self.served.reload() {
            Ok(()) => tracing::info!(model, "a new version is served"),
            Err(error) => tracing::error!(model, %error, "the new version cannot be used; the old one stays"),
        }
    }
}

/// Nothing where there is no directory.
fn look(directory: &Path) -> Option<Look> {
    let entries = std::fs::read_dir(directory).ok()?;
    let files = entries.map(|entry| {
        let entry = entry?;
        let metadata = std::fs::metadata(entry.path())?;
        Ok((entry.file_name(), metadata.len(), metadata.modified().ok()))
    });
    let mut files = files.collect::<std::io::Result<Look>>().ok()?;
    files.sort();
    Some(files)
}
