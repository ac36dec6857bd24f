//! Names of the Hugging Face hub on the command line: fetched with a progress bar where they are no path. Called by `sources.rs`.

use std::path::{Path, PathBuf};

use distune::hub::{Hub, Observer, Repository, Settings};
use distune::{Error, Result};

pub(crate) use distune::hub::Kind;

use crate::output::note;
use crate::progress::Progress;
use crate::sources::{BUNDLED, REVIEWS};
use crate::{Common, stop};

/// The path that a name stands for: itself if it exists or cannot be a name of the hub, else the directory in the hub's cache.
pub(crate) fn path(kind: Kind, name: &str, common: &Common) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    // a program without the bundled files asks nobody else for them
    let bundled = [BUNDLED, REVIEWS].contains(&name);
    match Repository::parse(kind, name) {
        Some(repository) if !path.exists() && !bundled => fetch(&repository, common),
        _ => Ok(path),
    }
}

fn fetch(repository: &Repository, common: &Common) -> Result<PathBuf> {
    let mut download = Download { common, progress: None };
    let fetched = Hub::new(Settings::from_env()?).fetch(repository, &mut download);
    if let Some(progress) = download.progress {
        progress.finish();
    }
    fetched.map_err(|error| no_path_either(repository, error))
}

/// Says that the name is no path, where it may have been meant as one.
fn no_path_either(repository: &Repository, error: Error) -> Error {
    let name = repository.to_string();
    match error {
        Error::Hub { name: about, problem, hint } if about == name => {
            let path = match repository.kind {
                Kind::Model => "no such model directory",
                Kind::Dataset => "no such file or directory",
            };
            Error::Hub { name, problem: format!("{path}, and as a name of the hub: {problem}"), hint }
        }
        error => error,
    }
}

/// Shows how much has arrived.
struct Download<'a> {
    common: &'a Common,
    progress: Option<Progress>,
}

impl Observer for Download<'_> {
    fn received(&mut self, file: &str, bytes: u64, total_bytes: u64) {
        let kilobytes = |bytes: u64| usize::try_from(bytes.div_ceil(1000)).unwrap_or(usize::MAX);
        let name = || Path::new(file).file_name().unwrap_or_default().display().to_string();
        let progress = self.progress.get_or_insert_with(|| Progress::new(self.common, "kB"));
        progress.set(kilobytes(bytes), kilobytes(total_bytes), name);
    }

    fn note(&mut self, text: &str) {
        match &self.progress {
            Some(progress) => progress.note(text),
            None => note(self.common, text),
        }
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}
