//! The program with Transformers' `Trainer` in the book runs, on a few rows and without a hub, and distune reads what it saves.

use std::path::Path;
use std::process::Command;

use crate::transformers::predictions;
use crate::{python_with, some_reviews};

#[test]
fn the_trainer_of_the_book_trains() {
    let Some(python) = python_with("torch, transformers, datasets, accelerate") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let chapter = std::fs::read_to_string(root.join("docs/book/src/transformers.md")).unwrap();
    let (_, program) = chapter.split_once("```python\n").unwrap();
    let mut program = program.split_once("```").unwrap().0.to_owned();

    let (directory, _) = some_reviews();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let files = format!("{{\"train\": {:?}, \"validation\": {:?}}}", file("train.tsv"), file("dev.tsv"));
    // the bundled encoder in f32, as the hub has it
    let base = directory.path().join("base");
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train
        .args(["train", "--quiet", "--max-steps", "1", "--unfreeze", "head", "--no-baselines", "--data"])
        .arg(directory.path());
    assert!(train.arg("--output").arg(&base).output().unwrap().status.success());
    let here = [
        ("\"distilbert-base-uncased\"", format!("{base:?}")),
        ("load_dataset(\"stanfordnlp/sst2\")", format!("load_dataset(\"csv\", data_files={files}, sep=\"\\t\")")),
        ("num_train_epochs=2", "num_train_epochs=1".to_owned()),
    ];
    for (there, here) in here {
        assert_eq!(program.matches(there).count(), 1, "{there} in\n{program}");
        program = program.replace(there, &here);
    }
    let mut run = Command::new(python);
    run.args(["-c", &program]).current_dir(&directory).env("HF_HUB_OFFLINE", "1").env("HF_HOME", directory.path());
    let output = run.output().unwrap();
    assert!(output.status.success(), "{program}\n{}", String::from_utf8_lossy(&output.stderr));
    // 160 rows are five steps of 32
    let run = directory.path().join("runs/sst2");
    let state = std::fs::read(run.join("checkpoint-5/trainer_state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let loss = state["log_history"].as_array().unwrap().iter().find_map(|line| line["eval_loss"].as_f64()).unwrap();
    // ln 2 is chance
    assert!(loss < 0.75, "{loss}");
    let said = predictions(&run, &["a charming film"]);
    assert_eq!(said[0]["logits"].as_array().map(Vec::len), Some(2), "{said:?}");
}
