//! HTTP with the hub: requests, redirects, repetitions, and what failures mean. Called by `fetch` and `download.rs`.
//!
//! Redirects are followed here, not by the HTTP library, because of two rules: the token goes to the endpoint's own origin alone
//! (scheme, host and port), and what the endpoint says about a file (checksum, size) counts, not what the storage host says.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::{Agent, Body};

use super::name::{Kind, Repository, is_hash, is_path};
use super::{Observer, Settings, Token};
use crate::{Error, Result};

/// How often a request is made in all before a passing failure counts.
pub(super) const ATTEMPTS: u32 = 5;
/// The longest pause that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Redirects of one request.
const REDIRECTS: usize = 10;
/// Time to find a host, and to connect to it.
const CONNECT: Duration = Duration::from_secs(5);
/// Time without a byte after which a connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest list of files, in bytes.
const LARGEST_LISTING: u64 = 256 << 20;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection.
    Unreachable(String),
    /// May go away by itself; the server may say after what time.
    Passing { problem: String, wait: Option<Duration> },
    /// The server refuses: its status, and its word for why.
    Refused { status: u16, code: String },
    /// The answer cannot be used.
    Unusable(String),
    /// Nothing to do with the server.
    Other(Error),
}

impl Failure {
    /// What went wrong, in words.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Unreachable(problem) | Self::Passing { problem, .. } | Self::Unusable(problem) => problem.clone(),
            Self::Refused { status, code } => format!("status {status} {code}"),
            Self::Other(error) => error.to_string(),
        }
    }
}

/// The files of a repository at a commit.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) names: Vec<String>,
}

/// What the hub says about a file.
#[derive(Debug)]
pub(super) struct Described {
    /// SHA-256 of large files, else the SHA-1 that git gives them.
    pub(super) checksum: String,
    /// In bytes.
    pub(super) size: u64,
}

/// What the headers of the endpoint's answers have told so far.
#[derive(Debug, Default)]
struct Told {
    checksum: String,
    size: Option<u64>,
    /// Whether they are those of the `X-Linked` headers, which nothing later may replace.
    linked: bool,
}

/// Speaks with one endpoint.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
    first_wait: Duration,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("distune/", env!("CARGO_PKG_VERSION")))
            .build();
        let (endpoint, token) = (settings.endpoint.clone(), settings.token.clone());
        Self { agent: config.new_agent(), endpoint, token, first_wait: settings.first_wait }
    }

    /// The endpoint's host, for messages.
    pub(super) fn host(&self) -> &str {
        let rest = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest)
    }

    /// Asks for the endpoint's first page, once, without the token; any answer is one, but for those of a server that is out of order.
    pub(super) fn ping(&self, timeout: Duration) -> Result<(), Failure> {
        let request = self.agent.head(&self.endpoint).config().timeout_global(Some(timeout)).build();
        match request.call() {
            Ok(answer) if answer.status().is_server_error() => {
                let problem = format!("{} answered with status {}", self.host(), answer.status().as_u16());
                Err(Failure::Passing { problem, wait: None })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Unreachable(format!("{} cannot be reached: {error}", self.host()))),
        }
    }

    /// The commit that a revision is, and its files.
    pub(super) fn list(&self, repository: &Repository, observer: &mut dyn Observer) -> Result<Listing, Failure> {
        let (kind, id) = (repository.kind.plural(), &repository.id);
        let url = format!("{}/api/{kind}/{id}/revision/{}", self.endpoint, escaped(&repository.revision, ""));
        let text = self.repeat(observer, || {
            let mut response = self.get(&url, 0)?;
            let body = response.body_mut().with_config().limit(LARGEST_LISTING);
            body.read_to_string().map_err(|e| self.broken(&e))
        })?;
        let listing = serde_json::from_str(&text).ok().and_then(|json| parse_listing(&json));
        listing.ok_or_else(|| Failure::Unusable(format!("{} answered with no list of files", self.host())))
    }

    /// Asks for a file's checksum and size.
    pub(super) fn describe(&self, url: &str, observer: &mut dyn Observer) -> Result<Described, Failure> {
        self.repeat(observer, || {
            let mut told = Told::default();
            self.send(url, true, 0, &mut told)?;
            let checksum = told.checksum;
            if !is_hash(&checksum, 40) && !is_hash(&checksum, 64) {
                let problem = format!("{} gave no SHA-256 or git checksum for it", self.host());
                return Err(Failure::Unusable(problem));
            }
            let size = told.size.ok_or_else(|| Failure::Unusable(format!("{} gave no size for it", self.host())))?;
            Ok(Described { checksum, size })
        })
    }

    /// Asks for a file's contents from a byte on.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        self.send(url, false, from, &mut Told::default())
    }

    /// The address of a file.
    pub(super) fn file(&self, repository: &Repository, commit: &str, name: &str) -> String {
        let datasets = if repository.kind == Kind::Dataset { "datasets/" } else { "" };
        format!("{}/{datasets}{}/resolve/{commit}/{}", self.endpoint, repository.id, escaped(name, "/"))
    }

    /// Makes a request and follows redirects. Asked for the head alone, it stops where the endpoint sends it elsewhere.
    fn send(&self, url: &str, head: bool, from: u64, told: &mut Told) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let own = origin(&url).is_some_and(|o| Some(o) == origin(&self.endpoint));
            let mut request = if head { self.agent.head(&url) } else { self.agent.get(&url) };
            // sizes are those of the file itself
            request = request.header("Accept-Encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| own) {
                request = request.header("Authorization", token.header());
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|e| self.broken(&e))?;
            if own {
                read_description(response.headers(), response.status(), told);
            }
            if !response.status().is_redirection() {
                return self.checked(response).map_err(|failure| if own { failure } else { of_storage(&url, failure) });
            }
            let target = header(response.headers(), "location").and_then(|location| joined(&url, location));
            let Some(target) = target else {
                return Err(Failure::Unusable(format!("{} sent a redirect that leads nowhere", self.host())));
            };
            if head && own && origin(&target) != origin(&self.endpoint) {
                return Ok(response);
            }
            url = target;
        }
        Err(Failure::Unusable(format!("{} redirects in a circle", self.host())))
    }

    /// Takes apart what is no success.
    fn checked(&self, response: Response<Body>) -> Result<Response<Body>, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers();
        let problem = format!("{} answered {status}", self.host());
        match status.as_u16() {
            429 | 503 => {
                let wait = header(headers, "retry-after").and_then(|text| text.trim().parse().ok());
                Err(Failure::Passing { problem, wait: wait.map(Duration::from_secs) })
            }
            408 | 500.. => Err(Failure::Passing { problem, wait: None }),
            status => Err(Failure::Refused { status, code: header(headers, "x-error-code").unwrap_or("").to_owned() }),
        }
    }

    /// What an error of the connection means.
    fn broken(&self, error: &ureq::Error) -> Failure {
        use ureq::{Error as E, Timeout as T};
        let host = self.host();
        match error {
            E::HostNotFound => Failure::Unreachable(format!("no address for the host {host}")),
            E::Timeout(T::Resolve | T::Connect) | E::ConnectionFailed | E::ConnectProxyFailed(_) => {
                Failure::Unreachable(format!("no connection to {host} ({error})"))
            }
            E::Io(e) if !cut(e.kind()) => Failure::Unreachable(format!("no connection to {host} ({e})")),
            E::Io(_) | E::Timeout(_) | E::Protocol(_) | E::BodyStalled => {
                Failure::Passing { problem: format!("the connection to {host} was cut ({error})"), wait: None }
            }
            _ => Failure::Unusable(format!("{host}: {error}")),
        }
    }

    /// Makes a request again while its failure may pass.
    fn repeat<T>(
        &self,
        observer: &mut dyn Observer,
        mut request: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut attempt = 1;
        loop {
            match request() {
                Ok(done) => return Ok(done),
                // who is offline should know at once
                Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                Err(failure) => self.wait(failure, attempt, observer)?,
            }
            attempt += 1;
        }
    }

    /// Waits before the next attempt after a failure that may pass; gives others back, and those of the last attempt.
    pub(super) fn wait(&self, failure: Failure, attempt: u32, observer: &mut dyn Observer) -> Result<(), Failure> {
        let (problem, asked) = match failure {
            Failure::Passing { problem, wait } => (problem, wait),
            Failure::Unreachable(problem) => (problem, None),
            other => return Err(other),
        };
        let own = self.first_wait * 2u32.pow(attempt.min(ATTEMPTS) - 1);
        if attempt >= ATTEMPTS {
            return Err(Failure::Passing { problem: format!("{problem}, {attempt} times"), wait: None });
        }
        if let Some(asked) = asked.filter(|&asked| asked > LONGEST_WAIT) {
            let problem = format!("{problem} and asks to wait {} s", asked.as_secs());
            return Err(Failure::Passing { problem, wait: Some(asked) });
        }
        let wait = asked.unwrap_or(own).max(own);
        observer.note(&format!("{problem}; next attempt in {} s.", wait.as_secs_f32()));
        pause(wait, observer).map_err(Failure::Other)
    }

    /// The message for a failure with a file, or with the repository when there is no name of a file.
    pub(super) fn error(&self, repository: &Repository, file: &str, failure: Failure) -> Error {
        let (host, id) = (self.host(), &repository.id);
        let page = match repository.kind {
            Kind::Model => format!("{}/{id}", self.endpoint),
            Kind::Dataset => format!("{}/datasets/{id}", self.endpoint),
        };
        let login = if self.token.is_some() {
            "Check that the token in HF_TOKEN (or in $HF_HOME/token) is valid and may read it"
        } else {
            "Set HF_TOKEN to a token that may read it"
        };
        let (problem, hint) = match failure {
            Failure::Other(error) => return error,
            Failure::Unreachable(problem) => {
                (problem, "Check the network, a proxy and HF_ENDPOINT, or name a directory on this machine".into())
            }
            Failure::Passing { problem, .. } => {
                let kept = if file.is_empty() { "" } else { "; what has arrived is kept" };
                (problem, format!("Try again later{kept}"))
            }
            Failure::Unusable(problem) => (problem, "Check HF_ENDPOINT and the network (a login page?)".into()),
            Failure::Refused { status: status @ (401 | 403), code } if code == "GatedRepo" => {
                let problem = format!("{host} gives it only to those who accepted its terms (status {status})");
                (problem, format!("Accept them at {page}. {login}"))
            }
            Failure::Refused { status: 401, .. } => (
                format!("{host} has no such repository, or it is private (status 401)"),
                format!("Check the name. {login}"),
            ),
            Failure::Refused { status: 403, .. } => (format!("{host} does not allow it (status 403)"), login.into()),
            Failure::Refused { status: 404, code } if code == "RevisionNotFound" => {
                let problem =
                    format!("{host} has the repository but no revision {} of it (status 404)", repository.revision);
                (problem, format!("See {page} for its branches and tags"))
            }
            Failure::Refused { status: 404, .. } if !file.is_empty() => {
                (format!("{host} has no such file (status 404)"), "Name another revision".into())
            }
            Failure::Refused { status: 404, .. } => {
                (format!("{host} has no such repository (status 404)"), format!("Check the name. {login}"))
            }
            Failure::Refused { status, code } => {
                (format!("{host} answered with status {status} {code}").trim_end().to_owned(), "Try again later".into())
            }
        };
        let name = if file.is_empty() { repository.to_string() } else { format!("{repository}, {file}") };
        Error::Hub { name, problem, hint }
    }
}

/// What a refusal of a storage host means: nothing about the repository, mostly that an address has expired. The next attempt gets
/// another one.
fn of_storage(url: &str, failure: Failure) -> Failure {
    let host = origin(url).map(|(_, host, _)| host).unwrap_or_default();
    match failure {
        // a part that is not there
        Failure::Refused { status: 416, .. } => failure,
        Failure::Refused { status, .. } => {
            Failure::Passing { problem: format!("the storage host {host} answered with status {status}"), wait: None }
        }
        failure => failure,
    }
}

/// Lets time pass unless the user asks to stop.
pub(super) fn pause(time: Duration, observer: &dyn Observer) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if observer.stop_requested() {
            return Err(interrupted());
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// The error for a download that the user stopped.
pub(super) fn interrupted() -> Error {
    let kept = "what has arrived is kept, and the next download goes on from there";
    Error::Interrupted { when: "during a download".into(), kept: kept.into() }
}

/// Whether an error is one of a connection that was there. All others, such as a name that nothing knows (which has no kind of
/// its own), are of one that was never made.
fn cut(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionReset
            | K::ConnectionAborted
            | K::BrokenPipe
            | K::UnexpectedEof
            | K::TimedOut
            | K::WouldBlock
            | K::Interrupted
            | K::WriteZero
            | K::NotConnected
    )
}

fn parse_listing(json: &Value) -> Option<Listing> {
    let commit = json.get("sha")?.as_str().filter(|commit| is_hash(commit, 40))?.to_owned();
    let files = json.get("siblings")?.as_array()?.iter();
    let names = files.filter_map(|file| file.get("rfilename")?.as_str());
    Some(Listing { commit, names: names.filter(|name| is_path(name)).map(str::to_owned).collect() })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Takes what one of the endpoint's answers says about the file: its `X-Linked` headers, else those of the last answer. The
/// length of a redirect is its own.
fn read_description(headers: &HeaderMap, status: StatusCode, told: &mut Told) {
    let linked = header(headers, "x-linked-etag");
    if told.linked && linked.is_none() {
        return;
    }
    if let Some(etag) = linked.or_else(|| header(headers, "etag")) {
        told.checksum = etag.trim_start_matches("W/").trim_matches('"').to_owned();
    }
    told.linked = linked.is_some();
    let length = header(headers, "content-length").filter(|_| status.is_success());
    let size = header(headers, "x-linked-size").or(length).and_then(|size| size.parse().ok());
    told.size = size.or(told.size);
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_owned();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The address that a redirect leads to.
fn joined(from: &str, location: &str) -> Option<String> {
    let (scheme, rest) = from.split_once("://")?;
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let directory = path.rfind('/').map_or("/", |end| &path[..=end]);
    Some(format!("{scheme}://{authority}{directory}{location}"))
}

/// A name as a part of an address: all but unreserved characters and those in `keep` as `%XX`.
fn escaped(name: &str, keep: &str) -> String {
    let byte = |b: u8| match char::from(b) {
        c if c.is_ascii_alphanumeric() || "-_.~".contains(c) || keep.contains(c) => c.to_string(),
        _ => format!("%{b:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(escaped("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(escaped("a b/ü?#%.txt", "/"), "a%20b/%C3%BC%3F%23%25.txt");
        let from = "https://hub.test/a/b/c?d=e";
        assert_eq!(joined("https://hub.test/a/b", "c").unwrap(), "https://hub.test/a/c");
        assert_eq!(joined(from, "/x?y").unwrap(), "https://hub.test/x?y");
        assert_eq!(joined(from, "//cdn.test/x").unwrap(), "https://cdn.test/x");
        assert_eq!(joined(from, "http://cdn.test/x").unwrap(), "http://cdn.test/x");
        assert_eq!(joined("https://hub.test", "c").unwrap(), "https://hub.test/c");
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let own = origin("https://Hub.test/a");
        assert_eq!(own, origin("https://hub.test:443/b?c"));
        for other in
            ["http://hub.test/a", "https://hub.test:444", "https://hub.test.evil.test/", "https://evil.test/hub.test"]
        {
            assert_ne!(own, origin(other), "{other}");
        }
        assert_ne!(own, origin("https://hub.test@evil.test/"));
        assert_eq!(origin("not an address"), None);
    }
}
