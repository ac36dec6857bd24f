//! What the commands of the documents find: the files and models that they name, small, and a hub on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::hub_server::{Repository, Server};

/// Directories that a reader has.
const DIRECTORIES: [&str; 4] = [
    "work/docs/book/src",
    "home/.local/share/bash-completion/completions",
    "home/.zfunc",
    "home/.config/fish/completions",
];

/// The directory that each block gets a copy of.
pub struct Prepared {
    directory: TempDir,
    hub: Server,
}

impl Prepared {
    /// Writes the files; models are the bundled encoder after two steps.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut prepared = Self { directory, hub: Server::start(&[], "") };
        std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin!("distune"), prepared.path("distune")).unwrap();
        for name in DIRECTORIES {
            std::fs::create_dir_all(prepared.path(name)).unwrap();
        }
        copy(&root.join("recipes"), &prepared.path("work/recipes"));
        prepared.write_rows();
        prepared.make_files();
        prepared.hub = hub(&prepared, &root);
        prepared
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, contents: String) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    fn write_rows(&self) {
        for (split, rows) in [("train", 0..24), ("dev", 24..36), ("test", 36..48)] {
            let table = |header: &str, line: fn(usize) -> String| {
                format!("{header}\n{}", rows.clone().map(line).collect::<String>())
            };
            let labelled = table("sentence\tlabel", |i| format!("{}\t{}\n", text(i), label(i)));
            self.write(&format!("work/few-reviews/{split}.tsv"), labelled.clone());
            self.write(&format!("hub/{split}.tsv"), labelled);
            let with_source = table("sentence,label,source", |i| {
                format!("{},{},{}\n", text(i), label(i), ["web", "post"][i / 2 % 2])
            });
            self.write(&format!("work/my-data/{split}.csv"), with_source.clone());
            if split != "test" {
                self.write(
                    &format!("sst2/{split}.tsv"),
                    table("sentence\tlabel", |i| format!("{}\t{}\n", text(i), i % 2)),
                );
            }
            if split == "test" {
                self.write("work/new.csv", table("id,sentence", |i| format!("{i},{}\n", text(i))));
                self.write("work/texts.txt", rows.clone().map(|i| text(i) + "\n").collect());
                self.write("work/other.csv", with_source);
            }
        }
        let row = |i: usize| format!("{},{},author {},{}\n", text(i), [1, 5][i % 2], i / 3, label(i));
        self.write("work/reviews.csv", format!("body,stars,author,label\n{}", (0..60).map(row).collect::<String>()));
        let row = |i: usize| {
            format!("{{\"text\": \"{}\", \"answer\": \"it was {}\", \"label\": \"{}\"}}\n", text(i), i % 3, label(i))
        };
        self.write("work/questions.jsonl", (0..40).map(row).collect());
    }

    /// What the program makes of these.
    fn make_files(&self) {
        for line in [
            "train --data my-data --output runs/mine --max-steps 2",
            "quantize --model runs/mine --output runs/mine-int8",
            "data convert other.csv other.parquet",
            "data convert reviews.csv reviews.parquet",
            "data convert reviews.csv new.csv.gz",
            "data convert reviews.csv new.jsonl.zst",
            "predict --model runs/mine --data other.csv --output theirs.csv",
            "predict --model runs/mine --data other.csv --output base.jsonl",
            "convert bundled minilm",
        ] {
            let output = self.shell(&self.path("work"), &format!("distune {line} --quiet")).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        ["a", "b", "c", "other", "reviews-1"]
            .iter()
            .for_each(|name| copy(&self.path("work/runs/mine"), &self.path(&format!("work/runs/{name}"))));
    }

    /// A copy for the commands of one block. Files are linked, since the program never writes into one that is there.
    pub fn fresh(&self) -> TempDir {
        let fresh = tempfile::tempdir_in(self.directory.path()).unwrap();
        copy(&self.path("work"), &fresh.path().join("work"));
        fresh
    }

    /// A command line in a directory: `distune` is this program, the hub the one on loopback.
    pub fn shell(&self, directory: &Path, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(directory)
            .env("PATH", format!("{}:{path}", self.directory.path().display()));
        shell.env("HOME", self.path("home")).env("HF_HOME", directory.join("hf")).env("HF_ENDPOINT", &self.hub.url);
        shell.env("DISTUNE_SST2", self.path("sst2")).env("NO_PROXY", "127.0.0.1");
        for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "DISTUNE_API_KEY"] {
            shell.env_remove(name);
        }
        shell
    }
}

/// The models and data of the hub that the documents name: the bundled encoder, a classifier made of it, few rows.
fn hub(prepared: &Prepared, root: &Path) -> Server {
    let repository = |directory: &Path, names: &[&str]| {
        let files: Vec<_> = names.iter().map(|name| (*name, std::fs::read(directory.join(name)).unwrap())).collect();
        Repository::new(&files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect::<Vec<_>>())
    };
    let model = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let encoder = repository(&root.join("assets/encoder"), &model);
    let classifier = repository(&prepared.path("work/runs/mine"), &model);
    let data = repository(&prepared.path("hub"), &["train.tsv", "dev.tsv"]);
    Server::start(
        &[
            ("models/distilbert-base-uncased", encoder.clone()),
            ("models/sentence-transformers/all-MiniLM-L6-v2", encoder),
            ("models/distilbert-base-uncased-finetuned-sst-2-english", classifier),
            ("datasets/stanfordnlp/sst2", data),
        ],
        "",
    )
}

/// A directory with all below it, its files as links.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        let path = entry.path();
        if path.is_dir() {
            copy(&path, &target);
        } else if std::fs::hard_link(&path, &target).is_err() {
            // another file system
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn text(i: usize) -> String {
    let (what, part) =
        ([("dull and lifeless"), ("charming and often affecting")][i % 2], ["plot", "film", "cast"][i % 3]);
    format!("number {i} has a {part} that is {what}")
}

fn label(i: usize) -> &'static str {
    ["negative", "positive"][i % 2]
}
