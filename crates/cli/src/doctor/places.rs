//! The hub and its cache, the directory for temporary files, and what is compiled in. Called by `doctor`.

use std::fmt::{Display, Formatter, Result as Formatted};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use distune::hub::Settings;
use distune::sources::{BUNDLED, HAS_BUNDLED, REVIEWS};
use serde::Serialize;

/// How long the hub has to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Free space below which temporary files may not fit.
const LITTLE: u64 = 2_000_000_000;

/// A directory to write into.
#[derive(Debug, Serialize)]
struct Place {
    path: PathBuf,
    exists: bool,
    /// Why it cannot be written, if it cannot.
    problem: Option<String>,
    /// Bytes that are free on its file system, where the system tells.
    free: Option<u64>,
}

impl Place {
    /// Tries it; a directory that is not there is tried by the nearest one above it that is.
    fn tried(path: PathBuf) -> Self {
        let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new(".")).to_owned();
        let problem = tempfile::Builder::new().prefix(".distune-").tempfile_in(&there).err();
        let problem = problem.map(|error| format!("{}: {error}", there.display()));
        Self { exists: path.exists(), problem, free: free(&there), path }
    }
}

/// Free bytes of a file system.
fn free(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return rustix::fs::statvfs(path).ok().map(|of| of.f_bavail.saturating_mul(of.f_frsize));
    #[cfg(not(unix))]
    return None.filter(|_: &u64| path.exists());
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter) -> Formatted {
        write!(f, "{}", self.path.display())?;
        match (&self.problem, self.exists) {
            (Some(_), _) => write!(f, ", cannot be written")?,
            (None, true) => write!(f, ", writable")?,
            (None, false) => write!(f, ", not there yet, can be made")?,
        }
        self.free.map_or(Ok(()), |free| write!(f, ", {} free", ByteSize(free).display().si()))
    }
}

/// The cache of what was fetched from the hub.
#[derive(Debug, Serialize)]
pub(super) struct Cache {
    #[serde(flatten)]
    place: Option<Place>,
    /// Models and data sets in it, and their bytes.
    repositories: usize,
    bytes: u64,
    /// Settings of the environment that cannot be used.
    error: Option<String>,
}

impl Cache {
    pub(super) fn of(settings: &distune::Result<Settings>) -> Self {
        match settings {
            Err(error) => Self { place: None, repositories: 0, bytes: 0, error: Some(error.to_string()) },
            Ok(settings) => {
                let names =
                    fs::read_dir(&settings.cache).into_iter().flatten().flatten().map(|entry| entry.file_name());
                let is_one = |name: &str| name.starts_with("models--") || name.starts_with("datasets--");
                let repositories = names.filter(|name| is_one(&name.to_string_lossy())).count();
                let bytes = size(&settings.cache);
                Self { place: Some(Place::tried(settings.cache.clone())), repositories, bytes, error: None }
            }
        }
    }

    pub(super) fn advice(&self) -> Option<String> {
        let problem = self.place.as_ref().and_then(|place| place.problem.as_ref())?;
        Some(format!(
            "Nothing can be fetched from the hub ({problem}): set HF_HOME to a directory that can be written."
        ))
    }
}

/// Bytes of all files below a directory; links are not followed.
fn size(directory: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |file| file.len()),
        _ => 0,
    };
    fs::read_dir(directory).into_iter().flatten().flatten().map(of).sum()
}

impl Display for Cache {
    fn fmt(&self, f: &mut Formatter) -> Formatted {
        match (&self.place, &self.error) {
            (Some(place), _) => {
                let bytes = ByteSize(self.bytes).display().si();
                write!(f, "{place}; {} models and data sets, {bytes}", self.repositories)
            }
            (None, error) => f.write_str(error.as_deref().unwrap_or("none")),
        }
    }
}

/// Whether the hub can be asked.
#[derive(Debug, Serialize)]
pub(super) struct Hub {
    endpoint: Option<String>,
    offline: bool,
    /// Whether there is a token, for private repositories.
    token: bool,
    /// Milliseconds to an answer.
    milliseconds: Option<u64>,
    /// Why there was none.
    problem: Option<String>,
}

impl Hub {
    pub(super) fn of(settings: distune::Result<Settings>) -> Self {
        let settings = match settings {
            Ok(settings) => settings,
            Err(error) => {
                let problem = Some(error.to_string());
                return Self { endpoint: None, offline: false, token: false, milliseconds: None, problem };
            }
        };
        let (endpoint, offline, token) = (Some(settings.endpoint.clone()), settings.offline, settings.token.is_some());
        let asked = (!offline).then(|| distune::hub::Hub::new(settings).ping(PATIENCE));
        let (milliseconds, problem) = match asked {
            None => (None, None),
            Some(Ok(time)) => (u64::try_from(time.as_millis()).ok(), None),
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        Self { endpoint, offline, token, milliseconds, problem }
    }

    pub(super) fn advice(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!(
            "{problem}. Models and data of the hub come from the cache alone; directories, files and \"{BUNDLED}\" need no hub."
        ))
    }
}

impl Display for Hub {
    fn fmt(&self, f: &mut Formatter) -> Formatted {
        let endpoint = self.endpoint.as_deref().unwrap_or("unknown");
        match (self.milliseconds, self.offline) {
            (_, true) => write!(f, "{endpoint}, not asked: HF_HUB_OFFLINE is set")?,
            (Some(time), _) => write!(f, "{endpoint}, answers in {time} ms")?,
            (None, false) => write!(f, "{endpoint}, cannot be reached")?,
        }
        write!(f, "{}", if self.token { "; with a token" } else { "; no token" })
    }
}

/// Where temporary files go that do not belong to a run.
#[derive(Debug, Serialize)]
pub(super) struct Temporary {
    #[serde(flatten)]
    place: Place,
}

impl Temporary {
    pub(super) fn here() -> Self {
        Self { place: Place::tried(std::env::temp_dir()) }
    }

    pub(super) fn advice(&self) -> Option<String> {
        let little = self.place.free.filter(|free| *free < LITTLE).map(|free| ByteSize(free).display().si());
        match (&self.place.problem, little) {
            (Some(problem), _) => Some(format!("There is no place for temporary files ({problem}): set TMPDIR.")),
            (None, Some(free)) => Some(format!("{free} for temporary files are little: set TMPDIR to another place.")),
            _ => None,
        }
    }
}

impl Display for Temporary {
    fn fmt(&self, f: &mut Formatter) -> Formatted {
        self.place.fmt(f)
    }
}

/// What the program has in itself.
#[derive(Debug, Serialize)]
pub(super) struct Bundled {
    there: bool,
}

impl Bundled {
    pub(super) fn here() -> Self {
        Self { there: HAS_BUNDLED }
    }
}

impl Display for Bundled {
    fn fmt(&self, f: &mut Formatter) -> Formatted {
        match self.there {
            true => write!(f, "the encoder \"{BUNDLED}\" and the data \"{REVIEWS}\""),
            false => write!(f, "nothing: built without the feature bundled"),
        }
    }
}
