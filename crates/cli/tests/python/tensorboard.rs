//! TensorBoard itself reads the event file of a run, and finds what `trainer_state.json` logs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{python_with, some_reviews};

/// Prints all scalars of a directory: name, then step and value of each.
const SCRIPT: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"#;

/// By name: step and value of each scalar.
type Scalars = BTreeMap<String, Vec<(u64, f32)>>;

#[test]
fn tensorboard_reads_a_run() {
    let Some(python) = python_with("tensorboard") else { return };
    let (directory, _) = some_reviews();
    let run = directory.path().join("run");
    assert!(train(&directory, &run, "--epochs 2 --batch-size 8 --eval-steps 15").status().unwrap().success());
    let read = scalars(&python, &run);
    assert_eq!(read, logged(&run));
    let steps = |tag: &str| read[tag].iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert_eq!(steps("train/loss"), [1, 10, 20, 30]);
    assert_eq!(steps("eval/accuracy"), [15, 30, 36]);
    for tag in ["train/learning_rate", "train/grad_norm", "train/epoch", "eval/loss", "eval/macro_f1"] {
        assert!(read.contains_key(tag), "{tag}");
    }
}

/// What was done between the last checkpoint and the end of the process is done again, and read once.
#[test]
fn tensorboard_reads_a_run_that_went_on() {
    let Some(python) = python_with("tensorboard") else { return };
    let (directory, _) = some_reviews();
    let run = directory.path().join("run");
    let mut command = train(&directory, &run, "--epochs 40 --batch-size 8 --save-steps 45 --json");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait_for = |what: &str| while !lines.next().expect("it ended too soon").unwrap().contains(what) {};
    wait_for("\"event\":\"checkpoint\"");
    wait_for("\"step\":72,");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut resume = Command::new(env!("CARGO_BIN_EXE_distune"));
    assert!(resume.args(["train", "--quiet", "--resume"]).arg(&run).status().unwrap().success());
    let files = std::fs::read_dir(&run).unwrap().flatten();
    assert_eq!(files.filter(|file| file.file_name().to_string_lossy().contains(".tfevents.")).count(), 2);
    assert_eq!(scalars(&python, &run), logged(&run));
}

fn train(data: &TempDir, run: &Path, options: &str) -> Command {
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train.args(["train", "--unfreeze", "head", "--quiet", "--data"]).arg(data.path()).arg("--output").arg(run);
    train.args(options.split(' '));
    train
}

/// What TensorBoard reads.
fn scalars(python: &str, run: &Path) -> Scalars {
    let output = Command::new(python).args(["-c", SCRIPT]).arg(run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `trainer_state.json` logs, under the names that Transformers gives it in TensorBoard.
fn logged(run: &Path) -> Scalars {
    let state: Value = serde_json::from_slice(&std::fs::read(run.join("trainer_state.json")).unwrap()).unwrap();
    let mut logged = Scalars::new();
    for entry in state["log_history"].as_array().unwrap() {
        let step = entry["step"].as_u64().unwrap();
        for (name, value) in entry.as_object().unwrap().iter().filter(|(name, _)| *name != "step") {
            let tag = name.strip_prefix("eval_").map_or_else(|| format!("train/{name}"), |rest| format!("eval/{rest}"));
            logged.entry(tag).or_default().push((step, value.as_f64().unwrap() as f32));
        }
    }
    logged
}
