//! What is fetched from the Hugging Face hub, with a progress bar. Called by `sources.rs`, `train` and `sweep`.

use std::path::Path;

use distune::hub::Observer;

use crate::output::note;
use crate::progress::Progress;
use crate::{Common, stop};

/// Does what may fetch something, with a bar that goes when it is done.
pub(crate) fn watched<T>(common: &Common, work: impl FnOnce(&mut dyn Observer) -> T) -> T {
    let mut download = Download { common, progress: None };
    let done = work(&mut download);
    if let Some(progress) = download.progress {
        progress.finish();
    }
    done
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
