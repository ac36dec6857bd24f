//! Where the hub and its cache are, from the environment variables that Python's `huggingface_hub` reads too.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Result};

/// The hub where nothing names another.
const ENDPOINT: &str = "https://huggingface.co";

/// A secret that identifies the user. It does not print.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token, without the space around it; nothing if there is no more.
    ///
    /// # Errors
    /// [`Error::Value`] when it has characters that no token has.
    pub fn new(source: &str, text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::value(source, "token", "letters, digits and signs", "other characters (not shown)"));
        }
        Ok((!text.is_empty()).then(|| Self(text.to_owned())))
    }

    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Where the hub and its cache are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The directory of the cache.
    pub cache: PathBuf,
    /// Sent to the endpoint alone.
    pub token: Option<Token>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// The pause before the first repetition of a failed request; each further one is twice as long.
    pub first_wait: Duration,
}

impl Settings {
    /// From `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`Error::Value`] or [`Error::File`] for a value that cannot be used.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_variables(get: &dyn Fn(&str) -> Option<OsString>, user: Option<PathBuf>) -> Result<Self> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| match set(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(Error::value("the environment", name, "UTF-8", "other bytes")),
        };
        let path = |name: &str| set(name).map(|value| expand(Path::new(&value), user.as_deref()));
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| home.as_ref().map(|home| home.join("hub")));
        let Some(cache) = cache else {
            let problem = "there is no home directory to keep files of the hub in";
            return Err(Error::file(Path::new("~/.cache/huggingface"), problem, "Set HF_HOME to a directory"));
        };
        let token = match text("HF_TOKEN")? {
            Some(value) => Token::new("HF_TOKEN", &value)?,
            None => home.map_or(Ok(None), |home| token_file(&home.join("token")))?,
        };
        let endpoint = text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") || endpoint.contains(['@', '?', '#']) {
            let expected = "an address like https://host, without a user or a query";
            return Err(Error::value("the environment", "HF_ENDPOINT", expected, "something else"));
        }
        let offline = text("HF_HUB_OFFLINE")?.is_some_and(|value| is_true(&value));
        Ok(Self { endpoint, cache, token, offline, first_wait: Duration::from_secs(1) })
    }
}

/// The token that a login has left.
fn token_file(path: &Path) -> Result<Option<Token>> {
    match fs::read_to_string(path) {
        Ok(text) => Token::new(&path.display().to_string(), &text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read the token", &e)),
    }
}

/// A path with `~` for the user's directory.
fn expand(path: &Path, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path.to_owned(),
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        Settings::from_variables(&get, Some(PathBuf::from("/user")))
    }

    #[test]
    fn the_cache_and_the_endpoint() {
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[]), Path::new("/user/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/h"), ("HF_HUB_CACHE", "")]), Path::new("/user/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(settings(&[]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://a:1/hub/")]).unwrap().endpoint, "http://a:1/hub");
        let message = settings(&[("HF_ENDPOINT", "https://me:secret@host")]).unwrap_err().to_string();
        assert!(message.contains("HF_ENDPOINT: expected an address") && !message.contains("secret"), "{message}");
        assert!(Settings::from_variables(&|_| None, None).unwrap_err().to_string().contains("Set HF_HOME"));
    }

    #[test]
    fn offline() {
        for (value, expected) in [("1", true), ("true", true), ("Yes", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, expected, "{value:?}");
        }
    }

    #[test]
    fn the_token_is_found_and_never_printed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        assert!(settings(&[("HF_HOME", path)]).unwrap().token.is_none());
        fs::write(home.path().join("token"), "hf_from_file\n").unwrap();
        let header = |settings: Settings| settings.token.unwrap().header();
        assert_eq!(header(settings(&[("HF_HOME", path)]).unwrap()), "Bearer hf_from_file");
        let both = settings(&[("HF_HOME", path), ("HF_TOKEN", " hf_secret ")]).unwrap();
        assert!(!format!("{both:?} {:#?}", crate::hub::Hub::new(both.clone())).contains("hf_secret"));
        assert_eq!(header(both), "Bearer hf_secret");
        let message = settings(&[("HF_TOKEN", "hf_secret\nX-Header: 1")]).unwrap_err().to_string();
        assert!(message.contains("HF_TOKEN: token: expected") && !message.contains("secret"), "{message}");
    }
}
