//! Models and data sets of the Hugging Face hub by name. Called by the program where a name is no path.
//!
//! A repository's files are fetched into the cache that Python's `huggingface_hub` uses, laid out as it lays it out, so
//! that each finds what the other has fetched. The result is the directory of one commit (a "snapshot"), which is read like
//! any other. `name.rs` understands names, `settings.rs` the environment, `choose.rs` picks the files, `client.rs` speaks
//! HTTP, `download.rs` receives one file and verifies it, `cache.rs` knows the layout.

mod cache;
mod choose;
mod client;
mod download;
mod name;
mod settings;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use name::{Kind, Repository};
pub use settings::{Settings, Token};

use crate::model::Architecture;
use crate::{Error, Result};
use cache::Cache;
use client::{Client, Failure};
use download::Download;

/// What every model has.
const CONFIG: &str = "config.json";

/// Follows a download, and may stop it.
pub trait Observer {
    /// How many bytes of all files have arrived, of how many, and which file is under way.
    fn received(&mut self, _file: &str, _bytes: u64, _total_bytes: u64) {}
    /// Something the user should be told: a pause, a copy from the cache because the hub does not answer.
    fn note(&mut self, _text: &str) {}
    /// Asked several times a second.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Says nothing and never stops.
impl Observer for () {}

/// The hub and its cache on this machine.
///
/// ```no_run
/// use distune::hub::{Hub, Kind, Repository, Settings};
///
/// // needs the network, unless the cache has it
/// let repository = Repository::parse(Kind::Model, "distilbert-base-uncased").unwrap();
/// let directory = Hub::new(Settings::from_env()?).fetch(&repository, &mut ())?;
/// println!("{}", directory.display());
/// # Ok::<(), distune::Error>(())
/// ```
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    client: Client,
}

impl Hub {
    /// A hub by its settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let client = Client::new(&settings);
        Self { settings, client }
    }

    /// Whether the hub answers within a time; if so, after what time. Nothing is asked for, and the token is not sent.
    ///
    /// # Errors
    /// [`Error::Hub`] that says why it does not.
    pub fn ping(&self, timeout: Duration) -> Result<Duration> {
        let start = Instant::now();
        self.client.ping(timeout).map_err(|failure| Error::Hub {
            name: self.settings.endpoint.clone(),
            problem: failure.problem(),
            hint: "Check the network, HTTPS_PROXY and HF_ENDPOINT".to_owned(),
        })?;
        Ok(start.elapsed())
    }

    /// Fetches what is needed of a repository and not in the cache yet; returns the directory that has it.
    ///
    /// For a model that is the directory of the commit; for a data set the one in it that holds the splits. A model's commit that
    /// is in the cache is not asked for again. A branch is: if the hub cannot be reached, the commit that it was on last serves.
    ///
    /// # Errors
    /// [`Error::Value`] when a model is of an architecture that does not load; [`Error::Hub`] when the repository, its revision or a file is not there or not allowed, the hub does not answer or a
    /// checksum is wrong; [`Error::File`] when the cache cannot be written; [`Error::Interrupted`].
    pub fn fetch(&self, repository: &Repository, observer: &mut dyn Observer) -> Result<PathBuf> {
        let cache = Cache::new(&self.settings.cache, repository);
        let cached = cache.snapshot(repository).and_then(|directory| {
            let choice = choose::choose(repository, &cache::names_in(&directory)).ok()?;
            choice.missing.is_empty().then(|| directory.join(choice.directory))
        });
        if self.settings.offline {
            return cached.ok_or_else(|| self.not_cached(repository));
        }
        // the weights of a model arrive last; of a data set, no file tells that all are there
        if repository.is_commit()
            && repository.kind == Kind::Model
            && let Some(directory) = &cached
        {
            return Ok(directory.clone());
        }
        let listing = match self.client.list(repository, observer) {
            Ok(listing) => listing,
            Err(failure) => return self.without_listing(failure, cached, repository, observer),
        };
        let choice = choose::choose(repository, &listing.names)
            .map_err(|problem| Error::hub(repository, problem, "Name another repository or revision"))?;
        if let Some(name) = choice.missing.first() {
            let problem = format!("its revision {} lacks {name}", repository.revision);
            return Err(Error::hub(repository, problem, "Name another revision, or report it to its owners"));
        }
        let download = Download { client: &self.client, cache: &cache, repository, commit: &listing.commit };
        if repository.kind == Kind::Model {
            // before the weights of a model that does not load
            download.fetch(&[CONFIG.to_owned()], observer)?;
            let path = cache.commit(&listing.commit).join(CONFIG);
            let config = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
            Architecture::check(&path, &config)?;
        }
        download.fetch(&choice.files, observer)?;
        cache.remember(&repository.revision, &listing.commit)?;
        Ok(cache.commit(&listing.commit).join(choice.directory))
    }

    /// What the cache has when the hub fails to answer, else the error.
    fn without_listing(
        &self,
        failure: Failure,
        cached: Option<PathBuf>,
        repository: &Repository,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf> {
        let unavailable = matches!(failure, Failure::Unreachable(_) | Failure::Passing { .. });
        if let Some(directory) = cached.filter(|_| unavailable) {
            let problem = failure.problem();
            observer.note(&format!("{repository}: {problem}; the copy in the cache is used."));
            return Ok(directory);
        }
        let failure = match failure {
            Failure::Unreachable(problem) => {
                let there = self.in_cache(repository);
                Failure::Unreachable(format!("{problem}, and {there}"))
            }
            failure => failure,
        };
        Err(self.client.error(repository, "", failure))
    }

    /// The error for what is not in the cache, offline.
    fn not_cached(&self, repository: &Repository) -> Error {
        let problem = format!("HF_HUB_OFFLINE is set, and {}", self.in_cache(repository));
        let hint = format!("Unset HF_HUB_OFFLINE once, to fetch it from {}", self.client.host());
        Error::hub(repository, problem, hint)
    }

    /// What is in the cache of a repository, and what is missing.
    fn in_cache(&self, repository: &Repository) -> String {
        let cache = Cache::new(&self.settings.cache, repository);
        let revision = &repository.revision;
        let Some(directory) = cache.snapshot(repository) else {
            let revisions = cache.revisions();
            if revisions.is_empty() {
                return format!("the cache {} has no copy of it", self.settings.cache.display());
            }
            return format!("the cache has {} of it but not {revision}", revisions.join(", "));
        };
        let names = cache::names_in(&directory);
        let missing = match choose::choose(repository, &names) {
            Ok(choice) => choice.missing.join(", "),
            Err(problem) => format!("it {problem}"),
        };
        let has = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        format!("the cache has of {revision} only {has} (missing: {missing})")
    }
}
