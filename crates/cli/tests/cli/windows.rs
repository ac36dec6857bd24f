//! Long texts in windows: the same in training, evaluation and prediction.

use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says, table};

/// 14 tokens of text.
const LONG: &str = "the film the plot the actors good very good not dull a fine film";

fn with_classifier() -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox
}

fn predicted(sandbox: &Sandbox, command: &str, texts: &str) -> Vec<Value> {
    let ran = sandbox.succeeds_with(&format!("predict --json --logits {command}"), texts);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn logits_are_those_of_the_windows_combined() {
    let sandbox = with_classifier();
    let model = "--model classifier --precision f32 --max-length 8";
    // windows of six tokens, of which one is that of the window before
    let parts = ["the film the plot the actors", "actors good very good not dull", "dull a fine film"];
    let alone: Vec<Vec<f64>> =
        predicted(&sandbox, model, &parts.join("\n")).iter().map(|row| numbers(&row["logits"])).collect();
    assert_ne!(alone[0], alone[1]);
    let mean: Vec<f64> = (0..2).map(|c| alone.iter().map(|logits| logits[c]).sum::<f64>() / 3.0).collect();
    let max: Vec<f64> = (0..2).map(|c| alone.iter().map(|logits| logits[c]).fold(f64::MIN, f64::max)).collect();
    let of = |options: &str| -> Value {
        predicted(&sandbox, &format!("{model} --long windows --window-overlap 1 {options}"), LONG).remove(0)
    };
    for (options, want) in [("", &mean), ("--window-combine mean", &mean), ("--window-combine max", &max)] {
        let row = of(options);
        // f32 rounds the mean once
        let close = numbers(&row["logits"]).iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close, "{options}: {row} {want:?}");
        assert_eq!(row["truncated"], json!(false));
    }
    let cut = predicted(&sandbox, model, LONG).remove(0);
    assert_eq!((numbers(&cut["logits"]), &cut["truncated"]), (alone[0].clone(), &json!(true)));
}

#[test]
fn explained() {
    let sandbox = with_classifier();
    let command = "--model classifier --precision f32 --max-length 8 --long windows --explain";
    let row = predicted(&sandbox, command, LONG).remove(0);
    let attribution = &row["attribution"];
    let words: Vec<&str> =
        attribution["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
    assert_eq!(words.join(" "), LONG);
    let class = usize::from(row["label"] == "positive");
    assert!((attribution["logit"].as_f64().unwrap() - numbers(&row["logits"])[class]).abs() < 1e-4, "{row}");
}

#[test]
fn a_run_remembers_its_windows() {
    let sandbox = Sandbox::new();
    let long =
        |rows: std::ops::Range<usize>| table('\t', rows).replace("the film", &"the film and the plot ".repeat(3));
    for (split, rows) in [("train", 0..32), ("dev", 32..44), ("test", 44..60)] {
        sandbox.write(&format!("data/{split}.tsv"), long(rows));
    }
    let train = "train --model model --data data --epochs 2 --learning-rate 0.01 --max-length 10 --precision f32";
    let windows = "--long windows --window-overlap 2 --window-combine max";
    let ran = sandbox.succeeds(&format!("{train} --output run {windows} --unfreeze blocks:1"));
    assert_says(&ran.stderr, &["Trains on 1", "windows of the train rows, each with the labels of its text."]);
    let samples = sandbox.json("run/train_results.json")["train_samples"].as_u64().unwrap();
    assert!((96..192).contains(&samples), "{samples} windows of 32 rows");
    assert_eq!(sandbox.json("run/eval_results.json")["test_samples"], json!(16), "rows are judged, not windows");
    let recipe: toml::Table = toml::from_str(&String::from_utf8(sandbox.read("run/recipe.toml")).unwrap()).unwrap();
    let of = ["long", "window_overlap", "window_combine"].map(|key| recipe[key].clone());
    assert_eq!(of, ["windows".into(), 2.into(), "max".into()]);

    // the same figure as at the end of the training, without being told
    let eval = |options: &str| -> Value {
        let ran = sandbox.succeeds(&format!("eval --model run --data data --json --precision f32 {options}"));
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let told = &sandbox.json("run/eval_results.json")["test_loss"];
    assert_eq!(&eval("")["eval_loss"], told);
    assert_eq!(&eval(windows)["eval_loss"], told);
    assert_ne!(&eval("--window-combine mean")["eval_loss"], told);
    assert_ne!(&eval("--long truncate")["eval_loss"], told);
    // and what predict says is what it rests on
    let probability = |row: &Value, label: &str| row["probabilities"][label].as_f64().unwrap();
    let rows = predicted(&sandbox, "--model run --data data --split test --precision f32", "");
    assert!(rows.iter().all(|row| row["truncated"] == json!(false)));
    let truth = (44..60).map(|row| if row % 2 == 0 { "positive" } else { "negative" });
    let loss: f64 = rows.iter().zip(truth).map(|(row, label)| -probability(row, label).ln()).sum();
    assert!((loss / 16.0 - told.as_f64().unwrap()).abs() < 1e-9);
    let ran = sandbox.succeeds("eval --model run --data data");
    assert_says(&ran.stderr, &["16 texts were read in ", "windows of up to 10 tokens"]);
    // killed and gone on with, threads and the cache are those of any training: windows are rows
    let cached = sandbox.succeeds(&format!("{train} --output cached {windows} --unfreeze head --json"));
    let result = cached.stdout.lines().last().unwrap();
    let cache = &serde_json::from_str::<Value>(result).unwrap()["cache"];
    assert_eq!(cache["rows_computed"].as_u64(), Some(samples));
    assert_eq!(cache["rows_reused"].as_u64(), Some(samples));
}

#[test]
fn what_cannot_be() {
    let sandbox = with_classifier();
    let message = sandbox.fails("predict --model classifier --max-length 8 --long windows --window-overlap 4 film");
    assert_says(&message, &["window_overlap: expected at most 3, half of a window's 6 tokens of text, found 4"]);
    let message = sandbox.fails("predict --model classifier --window-overlap 4 film");
    assert_says(&message, &["--window-overlap, --window-combine: expected with --long windows"]);
    let message = sandbox.fails("train --model model --data data --output out --window-overlap 4");
    assert_says(&message, &["recipe: window_overlap: expected nothing unless long is windows, found 4"]);
    let message = sandbox.fails("train --model model --data data --output out --window-combine max");
    assert_says(&message, &["recipe: window_combine: expected nothing unless long is windows, found max"]);
}
