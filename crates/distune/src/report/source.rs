//! Where a model or data come from, as far as a page and a card may tell. Made by the command line, which resolves names.

use std::path::Path;

use crate::hub::Repository;

/// A model or data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What it is called, without the directory that it is in: a card is for others.
    pub name: String,
    /// What it is called on the hub, where it is of there.
    pub hub: Option<HubName>,
    /// The model of the hub that it has been converted from without a change, where it is bundled.
    pub converted_from: Option<String>,
    /// A sentence about it, where more is known.
    pub about: Option<String>,
    /// Its licence in the hub's spelling, where it is known.
    pub license: Option<String>,
    /// Its language as an ISO 639 code, where it is known.
    pub language: Option<String>,
}

/// The name of a repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    /// "org/name", or "name".
    pub id: String,
    /// The folder of a data set with several configurations.
    pub folder: Option<String>,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
}

impl Source {
    /// A file or a directory: its name alone is told.
    pub fn local(path: &Path) -> Self {
        let name = match path.as_os_str().to_str() {
            Some("-") => "standard input".to_owned(),
            // of "." and ".." the directory that they mean
            _ => match path.file_name().map(|name| name.to_string_lossy().into_owned()) {
                Some(name) => name,
                None => std::path::absolute(path)
                    .ok()
                    .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                    .unwrap_or_else(|| "data".to_owned()),
            },
        };
        Self { name, ..Self::default() }
    }

    /// A repository of the hub.
    pub fn of_hub(repository: &Repository) -> Self {
        let Repository { id, folder, revision, .. } = repository.clone();
        Self { name: repository.to_string(), hub: Some(HubName { id, folder, revision }), ..Self::default() }
    }

    /// What the hub calls the model that training started from, where it has it.
    pub fn base_model(&self) -> Option<&str> {
        let hub = self.hub.as_ref().map(|hub| hub.id.as_str());
        hub.or(self.converted_from.as_deref())
    }
}
