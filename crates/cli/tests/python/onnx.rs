//! An exported model is one that ONNX's checker takes, and gives the same logits in ONNX Runtime: one text at a time and in padded batches.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::transformers::predictions;
use crate::{python_with, small_bert, some_reviews};

/// Reads texts, one JSON array, and prints their logits one by one and in one batch, and what the file says of itself.
const SCRIPT: &str = r#"
import json, sys, onnx, onnxruntime, transformers
path = sys.argv[1] + "/model.onnx"
onnx.checker.check_model(onnx.load(path), full_check=True)
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
assert [(i.name, i.type) for i in session.get_inputs()] == [("input_ids", "tensor(int64)"), ("attention_mask", "tensor(int64)")]
assert [o.name for o in session.get_outputs()] == ["logits"]
meta = session.get_modelmeta().custom_metadata_map
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
config = transformers.AutoConfig.from_pretrained(sys.argv[1])
assert {int(k): v for k, v in json.loads(meta["id2label"]).items()} == config.id2label
assert meta["problem_type"] == config.problem_type
def run(texts):
    x = tokenizer(texts, padding=True, truncation=True, max_length=int(meta["max_length"]), return_tensors="np")
    x = {name: x[name].astype("int64") for name in ("input_ids", "attention_mask")}
    return session.run(None, x)[0].tolist(), x["input_ids"].shape[1]
texts = json.load(sys.stdin)
batch, longest = run(texts)
print(json.dumps({"single": [run([text])[0][0] for text in texts], "batch": batch, "longest": longest}))
"#;

/// Exports a run, and compares what ONNX Runtime makes of texts, some short and some long, with our logits; returns the tokens of the
/// longest.
fn same_in_onnx_runtime(python: &str, run: &Path, texts: &[&str]) -> u64 {
    let exported = run.with_extension("onnx");
    let mut export = Command::new(env!("CARGO_BIN_EXE_distune"));
    assert!(
        export
            .args(["export", "--quiet", "--model"])
            .arg(run)
            .arg("--output")
            .arg(&exported)
            .status()
            .unwrap()
            .success()
    );
    let mut script = Command::new(python);
    script.args(["-c", SCRIPT]).arg(&exported).env("HF_HUB_OFFLINE", "1");
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(script.stdin.take().unwrap(), &json!(texts)).unwrap();
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = predictions(run, texts);
    assert_eq!(ours.len(), texts.len());
    for way in ["single", "batch"] {
        for (row, ours) in ours.iter().enumerate() {
            let (ours, theirs) = (ours["logits"].as_array().unwrap(), theirs[way][row].as_array().unwrap());
            assert_eq!(ours.len(), theirs.len());
            for (x, y) in ours.iter().zip(theirs) {
                // f32 sums in another order
                assert!(
                    (x.as_f64().unwrap() - y.as_f64().unwrap()).abs() < 1e-4,
                    "{way}, row {row}: {ours:?} {theirs:?}"
                );
            }
        }
    }
    theirs["longest"].as_u64().unwrap()
}

/// A run of the BERT fixture, whose positions hold its token types.
#[test]
fn a_run_of_a_bert_gives_the_same_logits() {
    let Some(python) = python_with("onnx, onnxruntime, transformers") else { return };
    let (directory, some) = some_reviews();
    let (bert, run) = (small_bert(directory.path()), directory.path().join("run"));
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train.args(["train", "--epochs", "1", "--learning-rate", "1e-2", "--max-length", "40", "--quiet", "--model"]);
    assert!(train.arg(&bert).arg("--data").arg(directory.path()).arg("--output").arg(&run).status().unwrap().success());
    let texts: Vec<&str> = some[1..21].iter().map(|row| row.split('\t').next().unwrap()).chain(["a"]).collect();
    assert_eq!(same_in_onnx_runtime(&python, &run, &texts), 40);
}

/// The bundled encoder with three labels, of which a row may have any number, and texts that are cut at 128 tokens.
#[test]
fn a_run_of_several_labels_gives_the_same_logits() {
    let Some(python) = python_with("onnx, onnxruntime, transformers") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (directory.path().join("rows.jsonl"), directory.path().join("run"));
    let words = ["a charming film", "dull", "far too long, caf\u{e9}", "it works"];
    let labels = [vec![], vec!["good"], vec!["long", "good"], vec!["odd"]];
    let row =
        |row: usize| json!({"text": format!("{} {row}", words[row % 4]), "labels": labels[row % 4]}).to_string() + "\n";
    std::fs::write(&data, (0..40).map(row).collect::<String>()).unwrap();
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train.args(["train", "--epochs", "1", "--quiet", "--unfreeze", "blocks:1", "--data"]).arg(&data);
    assert!(train.arg("--output").arg(&run).status().unwrap().success());
    let long = "far too long ".repeat(80);
    let texts = ["a", "it works", "a charming and often affecting journey", &long];
    assert_eq!(same_in_onnx_runtime(&python, &run, &texts), 128);
}
