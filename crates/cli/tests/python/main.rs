//! What Python's libraries say of a run. Skipped, loudly, where Python has them not; `DISTUNE_PYTHON` names another Python.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

// a run's model card
mod card;
// a run elsewhere
mod onnx;
// a run's event file
mod tensorboard;
// the program that the book shows beside its own
mod trainer;
// a run or a converted model as a model
mod transformers;

/// A Python that has these modules.
fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var("DISTUNE_PYTHON").unwrap_or_else(|_| "python3".into());
    let probe = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        // past the test harness, which hides what a passing test prints
        let text = format!("SKIPPED: Python cannot import {modules}; set DISTUNE_PYTHON to a Python that can\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return None;
    }
    Some(python)
}

/// A directory with some of the bundled reviews as train and dev, and their lines with the headings.
fn some_reviews() -> (TempDir, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = tempfile::tempdir().unwrap();
    let rows = std::fs::read_to_string(root.join("assets/reviews/train.tsv")).unwrap();
    let some: Vec<String> = rows.lines().take(161).map(str::to_owned).collect();
    for split in ["train.tsv", "dev.tsv"] {
        std::fs::write(directory.path().join(split), some.join("\n")).unwrap();
    }
    (directory, some)
}

/// A small BERT in a directory below this one, whose tokenizer knows letters.
fn small_bert(parent: &Path) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../distune/tests/fixtures/bert");
    let bert = parent.join("bert");
    std::fs::create_dir(&bert).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures.join(name), bert.join(name)).unwrap();
    }
    let letters: String = ('a'..='z').map(|letter| format!("{letter}\n##{letter}\n")).collect();
    std::fs::write(bert.join("vocab.txt"), format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{letters}.\n,\n!\n")).unwrap();
    bert
}
