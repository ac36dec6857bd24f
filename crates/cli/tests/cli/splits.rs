//! What is held out, and the commands that divide and rewrite data.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Sandbox, assert_says, table};

const TRAIN: &str = "train --model model --epochs 1 --data data --output";

#[test]
fn dev_alone_is_judged_once() {
    let sandbox = Sandbox::new();
    sandbox.remove("data/test.tsv");
    let ran = sandbox.succeeds(&format!("{TRAIN} held"));
    let held = "data/train.tsv: 3 of its 32 rows are held out to select the best epoch by";
    assert_says(&ran.stderr, &[held, "data/dev.tsv: judged once, at the end (--select-on dev"]);
    assert_says(&ran.stdout, &["validation: accuracy", "dev: accuracy"]);
    let results = sandbox.json("held/eval_results.json");
    assert_eq!((&results["eval_samples"], &results["test_samples"]), (&3.into(), &12.into()));
    assert_eq!(sandbox.json("held/train_results.json")["train_samples"], 29);

    let ran = sandbox.succeeds(&format!("{TRAIN} seed --select-on dev"));
    assert_says(&ran.stderr, &["data/dev.tsv: selects the best epoch and judges it too: its figure is optimistic"]);
    let results = sandbox.json("seed/eval_results.json");
    assert_eq!((&results["eval_samples"], results.get("test_samples")), (&12.into(), None));
    assert_eq!(sandbox.json("seed/train_results.json")["train_samples"], 32);
    assert_says(&String::from_utf8(sandbox.read("seed/recipe.toml")).unwrap(), &["select_on = \"dev\""]);
}

#[test]
fn with_test_rows_dev_selects() {
    let sandbox = Sandbox::new();
    let samples = |options: &str, output: &str| {
        let ran = sandbox.succeeds(&format!("{TRAIN} {output} {options}"));
        let results = sandbox.json(&format!("{output}/eval_results.json"));
        assert!(!ran.stderr.contains("optimistic"));
        [results["eval_samples"].as_u64().unwrap(), results["test_samples"].as_u64().unwrap()]
    };
    assert_eq!(samples("", "a"), [12, 16]);
    assert_eq!(samples("--select-on dev", "b"), [12, 16]);
    assert_eq!(samples("--select-on held-out", "c"), [3, 16]);
    sandbox.remove("data/dev.tsv");
    assert_eq!(samples("", "d"), [3, 16]);
    sandbox.remove("data/test.tsv");
    let ran = sandbox.succeeds(&format!("{TRAIN} e"));
    assert_says(&ran.stderr, &["data/train.tsv: its 32 rows were split at random"]);
}

/// The values of a column of all rows of a file of JSON lines.
fn values(sandbox: &Sandbox, file: &str, column: &str) -> Vec<String> {
    let text = String::from_utf8(sandbox.read(file)).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()[column].as_str().unwrap().to_owned()).collect()
}

#[test]
fn groups_and_equal_texts_stay_together() {
    let sandbox = Sandbox::new();
    let mut rows = "text,label,author\n".to_owned();
    for row in 0..300 {
        // a text occurs twice, with other letters
        let text = if row % 30 == 1 { format!("Text {}!", row - 1) } else { format!("text {row}") };
        rows += &format!("{text},{},author {}\n", ["a", "b"][usize::from(row % 3 == 0)], row * 7 % 60);
    }
    sandbox.write("rows.csv", rows);
    let split = "data split rows.csv out --group-column author --validation 0.2";
    let ran = sandbox.succeeds(split);
    assert_says(&ran.stdout, &["Wrote", "out/train.jsonl", "out/validation.jsonl", "out/test.jsonl"]);
    let part = |name: &str, column: &str| values(&sandbox, &format!("out/{name}.jsonl"), column);
    let counts = ["train", "validation", "test"].map(|name| part(name, "text").len());
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert!(counts[1].abs_diff(60) <= 10 && counts[2].abs_diff(30) <= 10, "{counts:?}");
    let same = |text: &str| text.to_lowercase().replace('!', "");
    for (column, plain) in [("author", false), ("text", true)] {
        let sets = ["train", "validation", "test"].map(|name| -> BTreeSet<String> {
            part(name, column).iter().map(|value| if plain { same(value) } else { value.clone() }).collect()
        });
        assert!(
            sets[0].is_disjoint(&sets[1]) && sets[0].is_disjoint(&sets[2]) && sets[1].is_disjoint(&sets[2]),
            "{column}"
        );
    }
    assert_says(&sandbox.fails(split), &["out/train.jsonl: exists", "--overwrite"]);
    // all files or none: one that exists stops the others
    sandbox.write("half/test.jsonl", "");
    let message = sandbox.fails(&split.replace(" out ", " half "));
    assert_says(&message, &["half/test.jsonl: exists"]);
    sandbox.succeeds("train --model model --data out --output run --epochs 1");
    assert_eq!(sandbox.json("run/eval_results.json")["test_samples"], counts[2]);
    // the same of one file, split in training
    let ran = sandbox.succeeds("train --model model --data rows.csv --group-column author --output whole --epochs 1");
    assert_says(&ran.stderr, &["rows.csv: its 300 rows were split at random"]);
    let message = sandbox.fails("train --model model --data rows.csv --group-column label --output one");
    assert_says(&message, &["column \"label\" is asked for as both label and group"]);
}

#[test]
fn shares_that_cannot_be() {
    let sandbox = Sandbox::new();
    for (options, expected) in [
        ("--validation 1", "--validation: expected a part of the rows, 0 or more and below 1, found 1"),
        ("--test -0.1", "--test: expected a part of the rows"),
        ("--test 0.6 --validation 0.5", "--validation and --test together: expected below 1"),
        ("--format docx", "train.docx: expected .tsv, .csv"),
    ] {
        let message =
            sandbox.fails(&format!("data split data/train.tsv out {}", options.replace("--test -", "--test=-")));
        assert_says(&message, &[expected]);
    }
    assert_says(&sandbox.fails("data split data out"), &["data: has splits already, expected one file"]);
}

#[test]
fn convert_and_sample() {
    let sandbox = Sandbox::new();
    sandbox.succeeds("data convert data/train.tsv a.parquet");
    sandbox.succeeds("data convert a.parquet b.csv.gz");
    sandbox.succeeds("data convert b.csv.gz c.tsv");
    assert_eq!(sandbox.read("c.tsv"), sandbox.read("data/train.tsv"));
    sandbox.succeeds("data convert data all --format jsonl.zst");
    for (split, rows) in [("train", 32), ("validation", 12), ("test", 16)] {
        let ran = sandbox.succeeds(&format!("data convert all/{split}.jsonl.zst {split}.jsonl --json"));
        assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["rows"], rows);
    }
    let ran = sandbox.succeeds_with("data convert - d.jsonl", table(',', 0..8));
    assert_says(&ran.stdout, &["Wrote 8 rows to d.jsonl."]);
    sandbox.succeeds("data sample data/train.tsv e.jsonl -n 10");
    let labels = values(&sandbox, "e.jsonl", "label");
    assert_eq!((labels.len(), labels.iter().filter(|label| *label == "positive").count()), (10, 5));
    assert_says(&sandbox.fails("data convert data/train.tsv e.jsonl"), &["e.jsonl: exists", "--overwrite"]);
}
