//! A cache that Python's `huggingface_hub` has filled serves this program offline, and the other way round. Skipped, loudly, where
//! Python has no `huggingface_hub`; `DISTUNE_PYTHON` names another Python.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/hub_server.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod hub_server;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use distune::hub::{Hub, Kind, Observer, Repository, Settings};
use hub_server::{COMMIT, Server};

/// Fetches files (type, repository, revision, file) and prints the path of each. Offline, it asks for whole snapshots too.
const SCRIPT: &str = r#"
import sys, huggingface_hub as hub
for line in sys.argv[1:]:
    kind, repository, revision, file = line.split()
    print(hub.hf_hub_download(repository, file, repo_type=kind, revision=revision))
    if hub.constants.HF_HUB_OFFLINE:
        hub.snapshot_download(repository, repo_type=kind, revision=revision, local_files_only=True)
"#;

struct Silent;
impl Observer for Silent {}

fn python() -> String {
    std::env::var("DISTUNE_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Whether Python has the package; says so if not.
fn has_package() -> bool {
    let probe = Command::new(python()).args(["-c", "import huggingface_hub"]).output();
    let has = probe.is_ok_and(|probe| probe.status.success());
    if !has {
        // past the test harness, which hides what a passing test prints
        let text = "SKIPPED: no huggingface_hub in Python; set DISTUNE_PYTHON to a Python that has it\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    has
}

/// The hub of both, with what they fetch of it.
fn server() -> Server {
    let weights: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let model: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"a\": 1}"),
        ("tokenizer_config.json", b"{\"b\": 2}"),
        ("model.safetensors", &weights),
    ];
    let mut model = hub_server::Repository::new(&model);
    model.revisions.push("refs/pr/1".into());
    let rows = [3; 5000];
    let data: [(&str, &[u8]); 2] =
        [("sst2/train-00000-of-00001.parquet", &rows), ("sst2/validation-00000-of-00001.parquet", b"small")];
    let repositories = [("models/org/tiny", model), ("datasets/glue", hub_server::Repository::new(&data))];
    Server::start(&repositories, "")
}

/// What both fetch, as `SCRIPT` takes it.
fn files() -> Vec<String> {
    let mut files = Vec::new();
    for revision in ["main", "refs/pr/1", COMMIT] {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
            files.push(format!("model org/tiny {revision} {name}"));
        }
    }
    for split in ["train", "validation"] {
        files.push(format!("dataset glue main sst2/{split}-00000-of-00001.parquet"));
    }
    files
}

/// Runs the script; gives the paths that it printed.
fn in_python(home: &Path, server: &Server, offline: bool) -> Vec<PathBuf> {
    let mut script = Command::new(python());
    script.args(["-c", SCRIPT]).args(files()).env("HF_HOME", home).env("HF_ENDPOINT", &server.url);
    script.env("HF_HUB_OFFLINE", if offline { "1" } else { "0" }).env("HF_HUB_DISABLE_TELEMETRY", "1");
    script.env_remove("HF_HUB_CACHE").env_remove("HF_TOKEN").env("NO_PROXY", "127.0.0.1");
    let output = script.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect()
}

fn in_distune(home: &Path, server: &Server, offline: bool) {
    let endpoint = server.url.clone();
    let settings = Settings { endpoint, cache: home.join("hub"), token: None, offline, first_wait: Duration::ZERO };
    let hub = Hub::new(settings);
    for name in ["org/tiny", "org/tiny@refs/pr/1", &format!("org/tiny@{COMMIT}")] {
        hub.fetch(&Repository::parse(Kind::Model, name).unwrap(), &mut Silent).unwrap();
    }
    hub.fetch(&Repository::parse(Kind::Dataset, "glue:sst2").unwrap(), &mut Silent).unwrap();
}

/// Files and links below a directory, those of locks and of Python's own marks left out.
fn layout(directory: &Path) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![directory.to_owned()]);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(directory).unwrap().display().to_string();
            if path.is_symlink() {
                found.insert(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if path.is_dir() {
                open.push(path);
            } else if name.starts_with("models--") || name.starts_with("datasets--") {
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn one_cache_serves_both() {
    if !has_package() {
        return;
    }
    let (server, directory) = (server(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    let contents = |path: &PathBuf| fs::read(path).unwrap();

    in_distune(&ours, &server, false);
    server.requests();
    let found = in_python(&ours, &server, true);
    assert_eq!(found.len(), files().len());
    assert!(found.iter().all(|path| path.starts_with(&ours)));

    let fetched = in_python(&theirs, &server, false);
    assert!(!server.requests().is_empty());
    in_distune(&theirs, &server, true);
    assert!(server.requests().is_empty(), "offline means offline");

    assert_eq!(found.iter().map(contents).collect::<Vec<_>>(), fetched.iter().map(contents).collect::<Vec<_>>());
    let laid_out = layout(&ours.join("hub"));
    assert!(laid_out.contains("models--org--tiny/refs/refs/pr/1"), "{laid_out:?}");
    assert_eq!(laid_out, layout(&theirs.join("hub")));
}
