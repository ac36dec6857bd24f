//! A saved run loads in Transformers without complaint and gives the same logits; a converted BERT gives the same hidden states.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{python_with, small_bert, some_reviews};

/// Reads texts, one JSON array, and prints label and logits of each; on standard error, what Transformers has to say.
const SCRIPT: &str = r#"
import json, sys, torch, transformers
transformers.logging.set_verbosity_info()
m, info = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[1], output_loading_info=True)
assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
m.eval()
tok = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
out = []
with torch.no_grad():
    for t in json.load(sys.stdin):
        x = tok(*([t] if isinstance(t, str) else t), truncation=True, max_length=128, return_tensors="pt")
        logits = m(input_ids=x["input_ids"], attention_mask=x["attention_mask"]).logits[0]
        several = m.config.problem_type == "multi_label_classification"
        p = logits.sigmoid() if several else logits.softmax(0)
        labels = [m.config.id2label[i] for i in range(len(p)) if p[i] >= 0.5]
        out.append({"label": None if several else m.config.id2label[int(logits.argmax())], "logits": logits.tolist(),
                    "labels": labels if several else None, "probabilities": dict(zip(m.config.id2label.values(), p.tolist()))})
print(json.dumps(out))
"#;

/// Last hidden states of a BERT and of the DistilBERT that it was converted to: prints the largest difference, and what a
/// classifier finds missing.
const CONVERTED: &str = r#"
import json, sys, torch, transformers
bert, converted = sys.argv[1:3]
a = transformers.BertModel.from_pretrained(bert).eval()
b, info = transformers.AutoModel.from_pretrained(converted, output_loading_info=True)
assert type(b).__name__ == "DistilBertModel" and not any(info.values()), info
b.eval()
tok, old = (transformers.AutoTokenizer.from_pretrained(path) for path in (converted, bert))
largest = 0
with torch.no_grad():
    for text in json.load(sys.stdin):
        x = tok(text, return_tensors="pt", truncation=True, max_length=40)
        ids = {k: x[k] for k in ("input_ids", "attention_mask")}
        assert x["input_ids"].tolist() == [old(text, truncation=True, max_length=40)["input_ids"]], text
        largest = max(largest, float((a(**ids).last_hidden_state - b(**ids).last_hidden_state).abs().max()))
c, info = transformers.AutoModelForSequenceClassification.from_pretrained(converted, output_loading_info=True)
missing = sorted(info["missing_keys"])
assert not info["unexpected_keys"] and not info["mismatched_keys"], info
print(json.dumps({"largest": largest, "missing": missing}))
"#;

#[test]
fn a_converted_bert_loads_in_transformers() {
    let Some(python) = python_with("torch, transformers") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (bert, out) = (small_bert(directory.path()), directory.path().join("out"));
    let mut convert = Command::new(env!("CARGO_BIN_EXE_distune"));
    assert!(convert.arg("convert").arg(&bert).arg(&out).arg("--quiet").status().unwrap().success());

    let texts =
        ["", "A charming film!", "dull, lifeless and far too long to be of any interest at all", "caf\u{e9} \u{65e5}x"];
    let mut script = Command::new(&python);
    script.args(["-c", CONVERTED]).arg(&bert).arg(&out).env("HF_HUB_OFFLINE", "1");
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(script.stdin.take().unwrap(), &texts).unwrap();
    let output = script.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    // position and token type are added in another order
    assert!(result["largest"].as_f64().unwrap() < 1e-4, "{result}");
    let head = ["classifier.bias", "classifier.weight", "pre_classifier.bias", "pre_classifier.weight"];
    assert_eq!(result["missing"], serde_json::json!(head));
}

#[test]
fn a_run_loads_in_transformers() {
    let Some(python) = python_with("torch, transformers") else { return };
    let (directory, some) = some_reviews();
    for options in [&[][..], &["--lora-rank", "8", "--lora-targets", "all_linear", "--learning-rate", "1e-3"]] {
        let run = tempfile::tempdir().unwrap();
        let run = run.path().join("run");
        let mut train = Command::new(env!("CARGO_BIN_EXE_distune"));
        train.args(["train", "--epochs", "1", "--quiet", "--data"]).arg(directory.path()).arg("--output").arg(&run);
        assert!(train.args(options).status().unwrap().success());
        let texts: Vec<&str> = some[1..41].iter().map(|row| row.split('\t').next().unwrap()).collect();
        same_as_in_transformers(&python, &run, &serde_json::json!(texts), &predictions(&run, &texts));
    }
}

/// What the program says of texts.
pub(crate) fn predictions(run: &std::path::Path, texts: &[&str]) -> Vec<Value> {
    let mut predict = Command::new(env!("CARGO_BIN_EXE_distune"));
    let predict = predict.args(["predict", "--json", "--logits", "--precision", "f32", "--model"]).arg(run).args(texts);
    let lines = String::from_utf8(predict.output().unwrap().stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Pairs of texts with any number of labels.
#[test]
fn a_run_of_several_labels_loads_in_transformers() {
    let Some(python) = python_with("torch, transformers") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (data, run) = (directory.path().join("rows.jsonl"), directory.path().join("run"));
    let words = ["a charming film", "dull", "far too long, caf\u{e9}", "it works"];
    let pairs: Vec<[&str; 2]> = (0..80).map(|row| [words[row % 4], words[row / 4 % 4]]).collect();
    let labels = [vec![], vec!["good"], vec!["long", "good"], vec!["odd"]];
    let rows = pairs.iter().enumerate().map(|(row, [text, second])| {
        serde_json::json!({"text": format!("{text} {row}"), "second": second, "labels": labels[row % 4]}).to_string()
            + "\n"
    });
    std::fs::write(&data, rows.collect::<String>()).unwrap();
    let distune = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distune"));
        command.args(arguments).args(["--pair-column", "second", "--data"]).arg(&data);
        command
    };
    let mut train = distune(&["train", "--epochs", "1", "--quiet", "--output", run.to_str().unwrap()]);
    assert!(train.status().unwrap().success());
    let mut predict =
        distune(&["predict", "--json", "--logits", "--precision", "f32", "--model", run.to_str().unwrap()]);
    let lines = String::from_utf8(predict.output().unwrap().stdout).unwrap();
    let ours: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<Value> = ours.iter().map(|row| serde_json::json!([row["text"], row["pair"]])).collect();
    assert_eq!(texts.len(), 80);
    same_as_in_transformers(&python, &run, &serde_json::json!(texts), &ours);
}

/// Compares predictions with those of Transformers, which must load the run without complaint.
fn same_as_in_transformers(python: &str, run: &std::path::Path, texts: &Value, ours: &[Value]) {
    let mut script = Command::new(python);
    script.args(["-c", SCRIPT]).arg(run).env("HF_HUB_OFFLINE", "1");
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    serde_json::to_writer(script.stdin.take().unwrap(), texts).unwrap();
    let output = script.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for complaint in ["newly initialized", "not used", "MISSING", "UNEXPECTED"] {
        assert!(!said.contains(complaint), "{said}");
    }
    let theirs: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let numbers = |x: &Value| -> Vec<f64> {
        let probabilities = x["probabilities"].as_object().unwrap().values();
        x["logits"].as_array().unwrap().iter().chain(probabilities).map(|x| x.as_f64().unwrap()).collect()
    };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for key in ["label", "labels"] {
            assert_eq!(ours.get(key).unwrap_or(&Value::Null), &theirs[key]);
        }
        for (x, y) in numbers(ours).iter().zip(numbers(theirs)) {
            // f32 sums in another order
            assert!((x - y).abs() < 1e-4, "{ours}\n{theirs}");
        }
    }
}
