//! TensorBoard itself reads the event file of a run, and finds what `trainer_state.json` logs.
//! Skipped, loudly, where Python has no `tensorboard`; `DISTUNE_PYTHON` names another Python.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;

use serde_json::Value;

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
    let python = std::env::var("DISTUNE_PYTHON").unwrap_or_else(|_| "python3".into());
    let probe = Command::new(&python).args(["-c", "import tensorboard"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        // past the test harness, which hides what a passing test prints
        let text = "SKIPPED: no tensorboard in Python; set DISTUNE_PYTHON to a Python that has it";
        std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
        return;
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = tempfile::tempdir().unwrap();
    let rows = std::fs::read_to_string(root.join("assets/reviews/train.tsv")).unwrap();
    let some: Vec<&str> = rows.lines().take(161).collect();
    for split in ["train.tsv", "dev.tsv"] {
        std::fs::write(directory.path().join(split), some.join("\n")).unwrap();
    }
    let run = directory.path().join("run");
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train.args(["train", "--epochs", "2", "--batch-size", "8", "--eval-steps", "15", "--unfreeze", "head", "--quiet"]);
    assert!(train.arg("--data").arg(directory.path()).arg("--output").arg(&run).status().unwrap().success());

    let output = Command::new(&python).args(["-c", SCRIPT]).arg(&run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Scalars = serde_json::from_slice(&output.stdout).unwrap();

    let state: Value = serde_json::from_slice(&std::fs::read(run.join("trainer_state.json")).unwrap()).unwrap();
    let mut logged = Scalars::new();
    for entry in state["log_history"].as_array().unwrap() {
        let step = entry["step"].as_u64().unwrap();
        for (name, value) in entry.as_object().unwrap().iter().filter(|(name, _)| *name != "step") {
            let tag = name.strip_prefix("eval_").map_or_else(|| format!("train/{name}"), |rest| format!("eval/{rest}"));
            logged.entry(tag).or_default().push((step, value.as_f64().unwrap() as f32));
        }
    }
    assert_eq!(read, logged);
    let steps = |tag: &str| read[tag].iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert_eq!(steps("train/loss"), [1, 10, 20, 30]);
    assert_eq!(steps("eval/accuracy"), [15, 30, 36]);
    for tag in ["train/learning_rate", "train/grad_norm", "train/epoch", "eval/loss", "eval/macro_f1"] {
        assert!(read.contains_key(tag), "{tag}");
    }
}
