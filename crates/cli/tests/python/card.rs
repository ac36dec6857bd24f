//! `huggingface_hub` reads the model card of a run, as it does before a push.

use std::process::Command;

use serde_json::Value;

use crate::{python_with, some_reviews};

/// Loads a card strictly, takes its results apart and puts them together again. What the hub asks for besides is checked by hand: its own
/// check of a card is a request.
const SCRIPT: &str = r#"
import json, re, sys
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
card = ModelCard.load(sys.argv[1], ignore_metadata_errors=False)
data = card.data.to_dict()
name, results = model_index_to_eval_results(data["model-index"])
assert results and results == card.data.eval_results
assert eval_results_to_model_index(name, results) == data["model-index"]
for result in results:
    assert re.fullmatch(r"[\w.-]+(/[\w.-]+)?", result.dataset_type), result
    assert isinstance(result.metric_value, float), result
    assert result.dataset_split, result
assert data["pipeline_tag"] == "text-classification" and data["library_name"] == "transformers"
print(json.dumps(data))
"#;

#[test]
fn the_hub_library_reads_a_card() {
    let Some(python) = python_with("huggingface_hub, yaml") else { return };
    let (directory, _) = some_reviews();
    let run = directory.path().join("yes");
    let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
    train.args(["train", "--unfreeze", "head", "--epochs", "1", "--quiet", "--data"]).arg(directory.path());
    assert!(train.arg("--output").arg(&run).status().unwrap().success());
    let mut script = Command::new(&python);
    let output = script.args(["-c", SCRIPT]).arg(run.join("README.md")).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(data["base_model"], "sentence-transformers/all-MiniLM-L6-v2");
    assert_eq!(data["license"], "apache-2.0");
    // to YAML 1.1, which Python reads, a bare yes is a truth
    assert_eq!(data["model-index"][0]["name"], "yes");
    // nobody said what these rows are
    assert!(data.get("datasets").is_none() && data.get("language").is_none(), "{data}");
}
