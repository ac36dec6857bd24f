//! The hub client against a hub on loopback: what is fetched, where it lies, what it does when anything goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/hub_server.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod hub_server;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use distune::hub::{Hub, Kind, Observer, Repository, Settings, Token};
use hub_server::{COMMIT, Server, Wrong, git_sha1, sha256};
use tempfile::TempDir;

const TOKEN: &str = "hf_secret";

/// What a download tells.
#[derive(Default)]
struct Told {
    notes: Vec<String>,
    last: (u64, u64),
    stop_after: Option<u64>,
}

impl Observer for Told {
    fn received(&mut self, _file: &str, bytes: u64, total_bytes: u64) {
        assert!(bytes <= total_bytes);
        self.last = (bytes, total_bytes);
    }

    fn note(&mut self, text: &str) {
        assert!(!text.contains(TOKEN));
        self.notes.push(text.into());
    }

    fn stop_requested(&self) -> bool {
        self.stop_after.is_some_and(|bytes| self.last.0 >= bytes)
    }
}

struct Fixture {
    server: Server,
    directory: TempDir,
    weights: Vec<u8>,
}

/// A hub with a model, and an empty cache.
impl Fixture {
    fn new() -> Self {
        let weights: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let model: [(&str, &[u8]); 6] = [
            ("README.md", b"# not wanted"),
            ("config.json", b"{}"),
            ("tokenizer.json", b"{\"a\": 1}"),
            ("vocab.txt", b"[PAD]\n"),
            ("model.safetensors", &weights),
            ("onnx/model.onnx", &[1; 5000]),
        ];
        let mut model = hub_server::Repository::new(&model);
        model.revisions.extend(["refs/pr/1".into(), "v1".into()]);
        let glue: [(&str, &[u8]); 4] = [
            ("cola/train.tsv", b"sentence\tlabel\nno\t0\n"),
            ("sst2/train.tsv", b"sentence\tlabel\nfine\t1\n"),
            ("sst2/dev.tsv", b"sentence\tlabel\ndull\t0\n"),
            ("sst2/info.json", b"{}"),
        ];
        let repositories = [
            ("models/org/tiny", model.clone()),
            ("models/org/private", hub_server::Repository { private: true, ..model.clone() }),
            ("models/org/gated", hub_server::Repository { gated: true, ..model }),
            ("datasets/nyu-mll/glue", hub_server::Repository::new(&glue)),
        ];
        Self { server: Server::start(&repositories, TOKEN), directory: tempfile::tempdir().unwrap(), weights }
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("hub")
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: self.server.url.clone(),
            cache: self.cache(),
            token: None,
            offline: false,
            first_wait: Duration::from_millis(5),
        }
    }

    fn with_token(&self, token: &str) -> Settings {
        Settings { token: Token::new("test", token).unwrap(), ..self.settings() }
    }

    fn offline(&self) -> Settings {
        Settings { offline: true, ..self.settings() }
    }

    fn fetches(&self, name: &str) -> (PathBuf, Told) {
        let mut told = Told::default();
        (fetch(self.settings(), name, &mut told).unwrap(), told)
    }

    fn fails(&self, settings: Settings, name: &str) -> String {
        let message = fetch(settings, name, &mut Told::default()).unwrap_err();
        assert!(!message.contains(TOKEN));
        message
    }

    fn root(&self) -> PathBuf {
        self.cache().join("models--org--tiny")
    }

    /// Names in `blobs`.
    fn blobs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root().join("blobs")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Where the CDN has the weights.
    fn on_cdn(&self) -> String {
        format!("GET /cdn/{}", sha256(&self.weights))
    }

    /// The `Range` headers of the requests for the weights, empty for none.
    fn ranges(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter().filter(|r| r.line.starts_with(&self.on_cdn()));
        requests.map(|r| r.headers.get("range").cloned().unwrap_or_default()).collect()
    }
}

/// Data sets are those with "glue" in their name.
fn fetch(settings: Settings, name: &str, told: &mut Told) -> Result<PathBuf, String> {
    let kind = if name.contains("glue") { Kind::Dataset } else { Kind::Model };
    Hub::new(settings).fetch(&Repository::parse(kind, name).unwrap(), told).map_err(|e| e.to_string())
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in the message:\n{message}");
    }
}

#[test]
fn a_model_lies_in_the_cache_as_python_lays_it_out() {
    let fixture = Fixture::new();
    let mut told = Told::default();
    let directory = fetch(fixture.with_token(TOKEN), "org/tiny", &mut told).unwrap();
    assert_eq!(directory, fixture.root().join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(fixture.root().join("refs/main")).unwrap(), COMMIT);
    let size = 300_000 + 8 + 6;
    assert_eq!((told.last, told.notes.len()), ((size, size), 0));
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]);
    for (name, checksum) in [("config.json", git_sha1(b"{}")), ("model.safetensors", sha256(&fixture.weights))] {
        let expected = Path::new("../../blobs").join(&checksum);
        #[cfg(unix)]
        assert_eq!(fs::read_link(directory.join(name)).unwrap(), expected);
        assert!(fixture.blobs().contains(&checksum));
    }
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    assert!(fixture.blobs().iter().all(|name| !name.contains('.')), "{:?}", fixture.blobs());

    // every request to the hub has the token, none to the other host
    let requests = fixture.server.requests();
    assert!(requests.iter().any(|r| r.cdn) && requests.iter().any(|r| r.line.contains("resolve-cache")));
    for request in requests {
        let expected = (!request.cdn).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(request.headers.get("authorization"), expected.as_ref(), "{}", request.line);
    }
    // what is there is not fetched again
    assert_eq!(fixture.fetches("org/tiny").0, directory);
    let lines: Vec<String> = fixture.server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines, ["GET /api/models/org/tiny/revision/main"]);
}

#[test]
fn revisions() {
    let fixture = Fixture::new();
    let (directory, _) = fixture.fetches("org/tiny@refs/pr/1");
    assert_eq!(fs::read_to_string(fixture.root().join("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(fixture.server.requests()[0].line.ends_with("/revision/refs%2Fpr%2F1"));
    let by_commit = format!("org/tiny@{COMMIT}");
    // a commit does not change, so nobody is asked
    assert_eq!(fixture.fetches(&by_commit).0, directory);
    assert!(fixture.server.requests().is_empty());
    assert_eq!(fetch(fixture.offline(), &by_commit, &mut Told::default()).unwrap(), directory);
    assert!(!fixture.root().join("refs").join(COMMIT).exists());
    let message = fixture.fails(fixture.offline(), "org/tiny@v1");
    assert_says(&message, &["org/tiny@v1: HF_HUB_OFFLINE is set", "has refs/pr/1,", COMMIT, "but not v1"]);
    assert_eq!(fixture.fetches("org/tiny@v1").0, directory);
    let message = fixture.fails(fixture.settings(), "org/tiny@v2");
    assert_says(&message, &["org/tiny@v2:", fixture.server.host(), "no revision v2", "404", "branches and tags"]);
}

#[test]
fn a_cut_connection_is_resumed() {
    let fixture = Fixture::new();
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Cut(100_000), Wrong::Cut(50_000)]);
    let (directory, told) = fixture.fetches("org/tiny");
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    assert_eq!(fixture.ranges(), ["", "bytes=100000-", "bytes=150000-"]);
    assert_says(&told.notes.join(" "), &["was cut after 100000 of 300000 bytes of model.safetensors", "next attempt"]);
}

#[test]
fn what_an_earlier_program_left_is_resumed() {
    let fixture = Fixture::new();
    let part = fixture.root().join("blobs").join(format!("{}.incomplete", sha256(&fixture.weights)));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, &fixture.weights[..1234]).unwrap();
    let (directory, _) = fixture.fetches("org/tiny");
    assert_eq!(fixture.ranges(), ["bytes=1234-"]);
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    assert!(!part.exists());
}

#[test]
fn a_server_without_ranges_sends_the_whole_file() {
    let fixture = Fixture::new();
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Cut(100_000), Wrong::WithoutRange]);
    let (directory, _) = fixture.fetches("org/tiny");
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
}

#[test]
fn a_stopped_download_goes_on_later() {
    let fixture = Fixture::new();
    let mut told = Told { stop_after: Some(100_000), ..Told::default() };
    let message = fetch(fixture.settings(), "org/tiny", &mut told).unwrap_err();
    assert_says(&message, &["interrupted during a download", "goes on from there"]);
    assert_eq!(fixture.ranges(), [""]);
    let message = fixture.fails(fixture.offline(), "org/tiny");
    assert_says(&message, &["the cache has", "but not main"]);
    fixture.fetches("org/tiny");
    let ranges = fixture.ranges();
    assert!(ranges.len() == 1 && ranges[0].starts_with("bytes=9") | ranges[0].starts_with("bytes=1"), "{ranges:?}");
}

#[test]
fn a_wrong_checksum_is_fetched_once_more() {
    let fixture = Fixture::new();
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Corrupt]);
    fixture.server.fail("GET /api/resolve-cache/models/org/tiny/resolve", &[Wrong::Corrupt]);
    let (directory, told) = fixture.fetches("org/tiny");
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    assert_eq!(fs::read(directory.join("tokenizer.json")).unwrap(), b"{\"a\": 1}");
    assert_eq!(told.notes.len(), 2);
}

#[test]
fn a_wrong_checksum_twice_is_an_error() {
    let fixture = Fixture::new();
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Corrupt, Wrong::Corrupt]);
    let message = fixture.fails(fixture.settings(), "org/tiny");
    let announced = format!("announced {}", sha256(&fixture.weights));
    let parts = ["org/tiny, model.safetensors: wrong checksum, twice", fixture.server.host(), &announced, "Try again"];
    assert_says(&message, &parts);
    assert_eq!(fixture.blobs().len(), 3, "only what was right is kept: {:?}", fixture.blobs());
    assert!(!fixture.root().join("refs/main").exists());
    fixture.fetches("org/tiny");
}

#[test]
fn passing_failures_are_waited_for() {
    let fixture = Fixture::new();
    fixture.server.fail("GET /api/models", &[Wrong::Status(429, "Retry-After: 1"), Wrong::Status(500, "")]);
    fixture.server.fail("HEAD", &[Wrong::Status(503, ""), Wrong::Closed]);
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Status(502, "")]);
    let start = Instant::now();
    let (_, told) = fixture.fetches("org/tiny");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(told.notes.len(), 5, "{:?}", told.notes);
    assert_says(&told.notes[0], &[fixture.server.host(), "429", "next attempt in 1 s"]);
}

#[test]
fn failures_that_stay_end() {
    let fixture = Fixture::new();
    let list = "GET /api/models/org/tiny";
    fixture.server.fail(list, &[Wrong::Status(500, ""); 5]);
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(&message, &["org/tiny:", fixture.server.host(), "answered 500", "5 times. Try again later"]);
    assert_eq!(fixture.server.requests().len(), 5);
    // nobody waits for hours
    fixture.server.fail(list, &[Wrong::Status(429, "Retry-After: 86400")]);
    assert_says(&fixture.fails(fixture.settings(), "org/tiny"), &["429", "asks to wait 86400 s"]);
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Cut(10); 5]);
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(
        &message,
        &["org/tiny, model.safetensors:", "was cut after 50 of 300000", "5 times", "arrived is kept"],
    );
    // the hub fails, and the cache has it
    let (directory, _) = fixture.fetches("org/tiny");
    fixture.server.fail(list, &[Wrong::Status(500, ""); 5]);
    let (again, told) = fixture.fetches("org/tiny");
    assert_eq!(again, directory);
    assert_says(told.notes.last().unwrap(), &["org/tiny:", "500", "the copy in the cache is used"]);
}

#[test]
fn a_renamed_repository_is_followed() {
    let fixture = Fixture::new();
    let moved = |start: &str, path: &str| {
        let location: &'static str = format!("Location: {path}").leak();
        fixture.server.fail(start, &[Wrong::Status(307, location)]);
    };
    moved("GET /api/models/old/tiny", "/api/models/org/tiny/revision/main");
    for name in ["config.json", "tokenizer.json", "vocab.txt", "model.safetensors"] {
        for method in ["HEAD", "GET"] {
            let path = format!("resolve/{COMMIT}/{name}");
            moved(&format!("{method} /old/tiny/{path}"), &format!("{}/org/tiny/{path}", fixture.server.url));
        }
    }
    let directory = fetch(fixture.with_token(TOKEN), "old/tiny", &mut Told::default()).unwrap();
    assert_eq!(directory, fixture.cache().join("models--old--tiny/snapshots").join(COMMIT));
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    let known = |r: &hub_server::Request| r.headers.contains_key("authorization");
    assert!(fixture.server.requests().iter().all(|r| known(r) != r.cdn));
}

#[test]
fn who_may_read() {
    let fixture = Fixture::new();
    let host = fixture.server.host();
    for name in ["org/none", "org/private"] {
        let message = fixture.fails(fixture.settings(), name);
        assert_says(&message, &[name, host, "no such repository, or it is private", "401", "Set HF_TOKEN"]);
    }
    let wrong = || fixture.with_token("hf_wrong");
    assert_says(
        &fixture.fails(wrong(), "org/none"),
        &["org/none:", host, "no such repository (status 404)", "HF_TOKEN"],
    );
    let message = fixture.fails(fixture.settings(), "org/gated");
    let page = format!("Accept them at {}/org/gated", fixture.server.url);
    assert_says(&message, &["org/gated, ", host, "accepted its terms (status 401)", &page, "Set HF_TOKEN"]);
    let message = fixture.fails(wrong(), "org/gated");
    assert_says(&message, &["status 403", &page, "Check that the token"]);
    assert!(!message.contains("hf_wrong"));
    for name in ["org/gated", "org/private"] {
        fetch(fixture.with_token(TOKEN), name, &mut Told::default()).unwrap();
    }
    // refused is refused, whatever the cache has
    fixture.fails(fixture.settings(), "org/private");
    fixture.server.fail("HEAD", &[Wrong::Status(404, "X-Error-Code: EntryNotFound")]);
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(&message, &["org/tiny, config.json:", host, "no such file (status 404)"]);
}

#[test]
fn the_storage_host_refuses() {
    let fixture = Fixture::new();
    // an address that has expired: the next one is asked for
    fixture.server.fail(fixture.on_cdn(), &[Wrong::Status(403, ""), Wrong::Cut(1000), Wrong::Status(401, "")]);
    let (directory, told) = fixture.fetches("org/tiny");
    assert_eq!(fs::read(directory.join("model.safetensors")).unwrap(), fixture.weights);
    assert_eq!(fixture.ranges(), ["", "", "bytes=1000-", "bytes=1000-"]);
    assert_says(&told.notes.join(" "), &["the storage host 127.0.0.1 answered with status 403; next attempt", "401"]);
}

#[test]
fn weights_of_another_architecture_are_not_fetched() {
    let fixture = Fixture::new();
    fixture.server.change("models/org/tiny", |repository| {
        repository.files.insert("config.json".into(), b"{\"model_type\": \"roberta\"}".to_vec());
    });
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(&message, &["config.json: model_type: expected \"distilbert\" or \"bert\"", "found \"roberta\""]);
    assert_eq!(fixture.ranges().len(), 0);
    assert_eq!(fixture.blobs().len(), 1);
}

#[test]
fn no_such_host() {
    let fixture = Fixture::new();
    // longer than a part of a name may be, so that no name server is asked
    let host = "x".repeat(64);
    let start = Instant::now();
    let message = fixture.fails(Settings { endpoint: format!("http://{host}"), ..fixture.settings() }, "org/tiny");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_says(&message, &["org/tiny: no connection to", &host, "has no copy of it", "Check the network"]);
}

#[test]
fn no_network() {
    let fixture = Fixture::new();
    // a port that nobody listens on
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = || Settings { endpoint: format!("http://{closed}"), ..fixture.settings() };
    let start = Instant::now();
    let message = fixture.fails(settings(), "org/tiny");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_says(
        &message,
        &["org/tiny: no connection to", &closed.to_string(), "has no copy of it", "Check the network"],
    );
    let (directory, _) = fixture.fetches("org/tiny");
    let mut told = Told::default();
    assert_eq!(fetch(settings(), "org/tiny", &mut told).unwrap(), directory);
    assert_says(&told.notes[0], &["no connection to", "the copy in the cache is used"]);
}

#[test]
fn offline() {
    let fixture = Fixture::new();
    let message = fixture.fails(fixture.offline(), "org/tiny");
    assert_says(&message, &["org/tiny: HF_HUB_OFFLINE is set", "has no copy of it", "Unset HF_HUB_OFFLINE"]);
    let (directory, _) = fixture.fetches("org/tiny");
    fixture.server.requests();
    assert_eq!(fetch(fixture.offline(), "org/tiny", &mut Told::default()).unwrap(), directory);
    fs::remove_file(directory.join("model.safetensors")).unwrap();
    let message = fixture.fails(fixture.offline(), "org/tiny");
    assert_says(&message, &["only config.json, tokenizer.json, vocab.txt (missing: model.safetensors (or"]);
    assert!(fixture.server.requests().is_empty());
    // the contents are there, and need not be fetched
    fixture.fetches("org/tiny");
    assert!(!fixture.server.requests().iter().any(|r| r.cdn));
}

#[test]
fn data_sets() {
    let fixture = Fixture::new();
    let (directory, _) = fixture.fetches("nyu-mll/glue:sst2");
    assert_eq!(directory, fixture.cache().join("datasets--nyu-mll--glue/snapshots").join(COMMIT).join("sst2"));
    assert_eq!(fs::read(directory.join("dev.tsv")).unwrap(), b"sentence\tlabel\ndull\t0\n");
    assert!(directory.join("train.tsv").exists() && !directory.join("info.json").exists());
    assert!(!directory.join("../cola").exists());
    #[cfg(unix)]
    assert!(fs::read_link(directory.join("train.tsv")).unwrap().starts_with("../../../blobs"));
    assert_eq!(fetch(fixture.offline(), "nyu-mll/glue:sst2", &mut Told::default()).unwrap(), directory);
    let message = fixture.fails(fixture.offline(), "nyu-mll/glue:cola");
    assert_says(&message, &["nyu-mll/glue:cola:", "no folder cola with a train file, but sst2"]);
    let message = fixture.fails(fixture.settings(), "nyu-mll/glue");
    assert_says(&message, &["nyu-mll/glue: has several data sets (cola, sst2)", "write :FOLDER"]);
    let message = fixture.fails(fixture.settings(), "nyu-mll/glue:rte");
    assert_says(&message, &["has no folder rte with a train file, but cola, sst2"]);
}

#[test]
fn weights_in_parts_and_none() {
    let fixture = Fixture::new();
    fixture.server.change("models/org/tiny", |repository| {
        let weights = repository.files.remove("model.safetensors").unwrap();
        let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        for (name, bytes) in parts.into_iter().zip(weights.chunks(200_000)) {
            repository.files.insert(name.into(), bytes.to_vec());
        }
        repository.files.insert("model.safetensors.index.json".into(), b"{}".to_vec());
    });
    let (directory, _) = fixture.fetches("org/tiny");
    assert_eq!(fs::read(directory.join("model-00002-of-00002.safetensors")).unwrap(), fixture.weights[200_000..]);
    assert!(directory.join("model.safetensors.index.json").exists());
    fixture.server.change("models/org/tiny", |repository| {
        repository.files.remove("model-00002-of-00002.safetensors");
    });
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(&message, &["org/tiny: its revision main lacks 1 of the 2 files model-*-of-00002.safetensors"]);
    fixture
        .server
        .change("models/org/tiny", |repository| repository.files.retain(|name, _| !name.starts_with("model")));
    assert_says(
        &fixture.fails(fixture.settings(), "org/tiny"),
        &["lacks model.safetensors (or", "Name another revision"],
    );
}

#[test]
fn answers_that_make_no_sense() {
    let fixture = Fixture::new();
    for text in ["<html>Log in</html>", "{}", "{\"sha\": \"../x\", \"siblings\": []}"] {
        fixture.server.fail("GET /api", &[Wrong::Says(text)]);
        let message = fixture.fails(fixture.settings(), "org/tiny");
        assert_says(&message, &["org/tiny:", fixture.server.host(), "no list of files", "Check HF_ENDPOINT"]);
    }
    for etag in ["../../../escaped", "", "0123"] {
        fixture.server.fail("HEAD /api/resolve-cache", &[Wrong::Says(etag)]);
        let message = fixture.fails(fixture.settings(), "org/tiny");
        assert_says(&message, &["org/tiny, config.json:", "no SHA-256 or git checksum"]);
    }
    fixture.server.fail("HEAD", &[Wrong::Status(302, "Location: /org/tiny/resolve/main/tokenizer.json"); 20]);
    assert_says(&fixture.fails(fixture.settings(), "org/tiny"), &["redirects in a circle"]);
}

#[test]
fn a_cache_that_cannot_be_written() {
    let fixture = Fixture::new();
    fs::write(fixture.cache(), "a file").unwrap();
    let message = fixture.fails(fixture.settings(), "org/tiny");
    assert_says(&message, &["hub", "cannot write"]);
}

#[test]
fn two_at_once_fetch_once() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| fixture.fetches("org/tiny").0)).collect();
        for directory in fetches {
            assert_eq!(fs::read(directory.join().unwrap().join("model.safetensors")).unwrap(), fixture.weights);
        }
    });
    assert_eq!(fixture.ranges(), [""]);
}
