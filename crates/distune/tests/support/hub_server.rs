//! A hub on loopback that answers as the Hugging Face hub does, for the tests of the library and of the program: lists of
//! files, redirects of small files on its own origin and of large ones to another port (the "CDN"), etags, ranges, private and
//! gated repositories. A [`Fault`] makes one of its next answers go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit that every repository is on.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one answer.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    /// A status, and a header.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The connection ends without an answer.
    Closed,
    /// The first byte is another one.
    Corrupt,
    /// The whole file comes, whatever part was asked for.
    WithoutRange,
    /// A body of its own, or for the head of a file an etag of its own.
    Says(&'static str),
}

/// The next answer to a request that begins with this ("GET /cdn/...") goes wrong.
#[derive(Clone, Debug)]
pub struct Fault(pub String, pub Wrong);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// "GET /path".
    pub line: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Whether it came to the CDN's port.
    pub cdn: bool,
}

/// A repository on the server.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Branches and tags, all on [`COMMIT`].
    pub revisions: Vec<String>,
    /// Contents by name; large ones lie on the CDN.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that only those may read who have the token.
    pub gated: bool,
    /// Whether the repository seems not to be there without the token.
    pub private: bool,
}

impl Repository {
    /// Of files, on the branch `main`.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        Self { revisions: vec!["main".into()], files, ..Self::default() }
    }
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    token: String,
    faults: Vec<Fault>,
    requests: Vec<Request>,
}

/// The hub and its CDN.
pub struct Server {
    /// The hub's address.
    pub url: String,
    cdn: String,
    state: Arc<Mutex<State>>,
}

/// Files of this size and above lie on the CDN.
pub const LARGE: usize = 2000;

impl Server {
    /// With repositories by names such as `models/org/name`, and the token that opens private ones.
    pub fn start(repositories: &[(&str, Repository)], token: &str) -> Self {
        let repositories = repositories.iter().map(|(name, repository)| ((*name).to_owned(), repository.clone()));
        let state = State { repositories: repositories.collect(), token: token.to_owned(), ..State::default() };
        let (hub, cdn) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url: address(&hub), cdn: address(&cdn), state: Arc::new(Mutex::new(state)) };
        for (listener, is_cdn) in [(hub, false), (cdn, true)] {
            let (state, cdn) = (Arc::clone(&server.state), server.cdn.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, cdn) = (Arc::clone(&state), cdn.clone());
                    // a client that goes away is no failure of the server
                    std::thread::spawn(move || serve(stream, &state, &cdn, is_cdn));
                }
            });
        }
        server
    }

    /// Lets the next answers go wrong, each once.
    pub fn fail(&self, start: impl Into<String>, wrong: &[Wrong]) {
        let start = start.into();
        let faults = wrong.iter().map(|&wrong| Fault(start.clone(), wrong));
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Changes the server's repositories.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        change(self.state.lock().unwrap().repositories.get_mut(name).unwrap());
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    /// The hub's host and port.
    pub fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-1 that git gives contents.
pub fn git_sha1(bytes: &[u8]) -> String {
    let mut digest = Sha1::new();
    digest.update(format!("blob {}\0", bytes.len()));
    digest.update(bytes);
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn error(status: u16, code: &str) -> Self {
        Self { status, headers: vec![format!("X-Error-Code: {code}")], body: b"no".to_vec() }
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, cdn: &str, is_cdn: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    let request = Request { line, headers, cdn: is_cdn };
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    let fault = state.faults.iter().position(|Fault(start, _)| request.line.starts_with(start.as_str()));
    let wrong = fault.map(|i| state.faults.remove(i).1);
    let path = request.line.split_once(' ').map_or("", |(_, path)| path).split('?').next().unwrap();
    let mut answer = match wrong {
        Some(Wrong::Status(status, header)) => {
            Answer { status, headers: vec![header.to_owned()], body: b"no".to_vec() }
        }
        _ if is_cdn => from_cdn(&state, &request, path, wrong),
        _ => from_hub(&state, &request, path, cdn),
    };
    drop(state);
    let mut cut = usize::MAX;
    match wrong {
        Some(Wrong::Closed) => return Ok(()),
        Some(Wrong::Corrupt) => answer.body[0] ^= 1,
        Some(Wrong::Cut(bytes)) => cut = bytes,
        Some(Wrong::Says(text)) => {
            answer.headers.retain(|header| !header.contains("ETag"));
            answer.headers.push(format!("ETag: \"{text}\""));
            answer.body = text.as_bytes().to_vec();
        }
        _ => {}
    }
    let mut head =
        format!("HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    answer.headers.iter().filter(|header| !header.is_empty()).for_each(|header| head += &format!("{header}\r\n"));
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if !request.line.starts_with("HEAD") {
        stream.write_all(&answer.body[..cut.min(answer.body.len())])?;
    }
    stream.flush()
}

/// Large files by their checksum, under an etag of the CDN's own.
fn from_cdn(state: &State, request: &Request, path: &str, wrong: Option<Wrong>) -> Answer {
    let mut files = state.repositories.values().flat_map(|repository| repository.files.values());
    let Some(bytes) = files.find(|bytes| path == format!("/cdn/{}", sha256(bytes))) else {
        return Answer::error(404, "");
    };
    let whole = matches!(wrong, Some(Wrong::WithoutRange));
    contents(bytes, request, vec!["ETag: \"of-the-cdn\"".into()], whole)
}

fn contents(bytes: &[u8], request: &Request, mut headers: Vec<String>, whole: bool) -> Answer {
    let range = request.headers.get("range").filter(|_| !whole);
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    match from {
        None => Answer { status: 200, headers, body: bytes.to_vec() },
        Some(from) if from >= bytes.len() => Answer::error(416, ""),
        Some(from) => {
            headers.push(format!("Content-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len()));
            Answer { status: 206, headers, body: bytes[from..].to_vec() }
        }
    }
}

fn from_hub(state: &State, request: &Request, path: &str, cdn: &str) -> Answer {
    let authorization = request.headers.get("authorization").map_or("", String::as_str);
    let known = !state.token.is_empty() && authorization == format!("Bearer {}", state.token);
    let path = path.replace("%2F", "/");
    let (name, rest, is_list) = if let Some((name, revision)) = split(&path, "/api/", "/revision/") {
        (name, revision, true)
    } else if let Some((name, rest)) = split(&path, "/api/resolve-cache/", "/resolve/") {
        (name, rest, false)
    } else if let Some((name, rest)) = split(&path, "/", "/resolve/") {
        (if name.starts_with("datasets/") { name } else { format!("models/{name}") }, rest, false)
    } else {
        return Answer::error(404, "");
    };
    let found = state.repositories.get(&name).filter(|repository| known || !repository.private);
    let Some(repository) = found else {
        return Answer::error(if authorization.is_empty() { 401 } else { 404 }, "RepoNotFound");
    };
    let revisions = repository.revisions.iter().map(String::as_str).chain([COMMIT]);
    if is_list {
        if !revisions.into_iter().any(|revision| revision == rest) {
            return Answer::error(404, "RevisionNotFound");
        }
        let siblings: Vec<_> = repository.files.keys().map(|name| json!({"rfilename": name})).collect();
        let list = json!({"id": name, "sha": COMMIT, "siblings": siblings, "gated": repository.gated});
        return Answer { status: 200, headers: Vec::new(), body: list.to_string().into_bytes() };
    }
    if repository.gated && !known {
        return Answer::error(if authorization.is_empty() { 401 } else { 403 }, "GatedRepo");
    }
    let revision = revisions.into_iter().find(|revision| rest.starts_with(&format!("{revision}/")));
    let Some(revision) = revision else {
        return Answer::error(404, "RevisionNotFound");
    };
    let file = &rest[revision.len() + 1..];
    let Some(bytes) = repository.files.get(file) else {
        return Answer::error(404, "EntryNotFound");
    };
    let commit = format!("X-Repo-Commit: {COMMIT}");
    if bytes.len() >= LARGE {
        let sha = sha256(bytes);
        let headers = vec![
            commit,
            format!("Location: {cdn}/cdn/{sha}?signature=s"),
            format!("X-Linked-Size: {}", bytes.len()),
            format!("X-Linked-ETag: \"{sha}\""),
            "ETag: \"of-the-redirect\"".into(),
        ];
        return Answer { status: 302, headers, body: b"Found".to_vec() };
    }
    let etag = format!("ETag: \"{}\"", git_sha1(bytes));
    if path.starts_with("/api/resolve-cache/") {
        return contents(bytes, request, vec![commit, etag], false);
    }
    let location = format!("Location: /api/resolve-cache/{name}/resolve/{revision}/{file}");
    Answer { status: 307, headers: vec![commit, location, "ETag: W/\"1-x\"".into()], body: b"Temporary".to_vec() }
}

/// `path` without its start, and cut in two.
fn split(path: &str, start: &str, middle: &str) -> Option<(String, String)> {
    let (name, rest) = path.strip_prefix(start)?.split_once(middle)?;
    Some((name.to_owned(), rest.to_owned()))
}
