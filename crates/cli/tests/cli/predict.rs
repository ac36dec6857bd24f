//! `predict` and `eval`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, end, feed, table};

/// With a classifier, whose weights are random, in `classifier`.
fn with_classifier() -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox
}

const PREDICT: &str = "predict --model classifier";

#[test]
fn texts_from_arguments() {
    let sandbox = with_classifier();
    let ran = Ran::new(feed(sandbox.distune(PREDICT).args(["a good film", "dull"]), b""));
    let next = "\nNext:\n  distune predict --model classifier --explain 'a good film'\n";
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), next));
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2);
    for (fields, text) in lines.iter().zip(["a good film", "dull"]) {
        let probability =
            |field: &str, name: &str| -> f64 { field.strip_prefix(name).unwrap().trim().parse().unwrap() };
        let (negative, positive) = (probability(fields[1], "negative"), probability(fields[2], "positive"));
        // four digits each
        assert!((negative + positive - 1.0).abs() < 1.1e-4, "{fields:?}");
        assert_eq!(fields[0], if positive > negative { "positive" } else { "negative" });
        assert_eq!((fields[3], fields.len()), (text, 4));
    }
}

#[test]
fn empty_argument() {
    let sandbox = with_classifier();
    let ran = Ran::new(feed(sandbox.distune(PREDICT).args(["film", " "]), b""));
    assert_eq!((ran.status, ran.stdout.lines().count()), (Some(1), 1));
    assert_says(&ran.message(), &["argument 2: ", "empty, expected a text"]);
}

#[test]
fn json_lines() {
    let sandbox = with_classifier();
    let ran = sandbox.succeeds_with(&format!("{PREDICT} --json"), "a \"good\" film\r\n dull\t\\ \nzażółć");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a \"good\" film", " dull\t\\ ", "zażółć"]);
    for line in &lines {
        let probabilities = line["probabilities"].as_object().unwrap();
        let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
        // computed in f64
        assert!((sum - 1.0).abs() < 1e-12, "{line}");
        let best = probabilities.iter().max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap()));
        assert_eq!(line["label"], best.unwrap().0.as_str());
        assert_eq!(line["truncated"], false);
    }
}

#[test]
fn many_lines_in_order_as_one_by_one() {
    let sandbox = with_classifier();
    // more than are read at once
    let texts: Vec<String> = (0..1100).map(|i| format!("film {i} {}", "good ".repeat(i % 7))).collect();
    let ran = sandbox.succeeds_with(PREDICT, texts.join("\n"));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), texts.len());
    for (line, text) in lines.iter().zip(&texts) {
        assert_eq!(line.split('\t').nth(3), Some(text.as_str()));
    }
    for at in [0, 600, 1099] {
        assert_eq!(sandbox.succeeds_with(PREDICT, &texts[at]).stdout.trim_end(), lines[at].trim_end());
    }
}

#[test]
fn no_lines() {
    let ran = with_classifier().succeeds_with(PREDICT, "");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn empty_line_is_named_and_those_before_are_answered() {
    let (message, stdout) = with_classifier().fails_with(PREDICT, "film\ndull\n  \nfine\n");
    assert_says(&message, &["standard input, line 3: empty, expected a text"]);
    assert_eq!(stdout.lines().count(), 2);
    // beyond the lines that are read at once
    let (message, stdout) = with_classifier().fails_with(PREDICT, "film\n".repeat(700) + "\n");
    assert_says(&message, &["standard input, line 701: empty"]);
    assert_eq!(stdout.lines().count(), 700);
}

#[test]
fn broken_utf8_line() {
    let (message, stdout) = with_classifier().fails_with(PREDICT, b"film\nd\xffull\nfine\n");
    assert_says(&message, &["standard input, line 2: not valid UTF-8", "to UTF-8"]);
    assert_eq!(stdout.lines().count(), 1);
}

#[test]
fn reader_that_leaves() {
    let sandbox = with_classifier();
    let mut command = sandbox.distune(PREDICT);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // more than a pipe holds, so that the program must still be writing; it may leave before it has read all
    let writer = std::thread::spawn(move || stdin.write_all(&b"a good film\n".repeat(20_000)));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with("a good film\n"));
    let ran = Ran::new(end(child));
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(141), ""));
    assert!(writer.join().unwrap().is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn full_disk_under_standard_output() {
    let sandbox = with_classifier();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ran = Ran::new(sandbox.distune(&format!("{PREDICT} film")).stdout(full).output().unwrap());
    assert_eq!(ran.status, Some(1));
    assert_says(&ran.message(), &["standard output", "No space left"]);
}

#[test]
fn eval_prints_figures() {
    let sandbox = with_classifier();
    let ran = sandbox.succeeds("eval --model classifier --data data/test.tsv");
    assert_says(&ran.stdout, &["data/test.tsv: accuracy ", "of 16 rows", "negative", "positive"]);
    let ran = sandbox.succeeds("eval --model classifier --data data/test.tsv --json");
    let results: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&results["model"], &results["data"]), (&"classifier".into(), &"data/test.tsv".into()));
    assert_eq!(results["eval_samples"], 16);
    let confusion: u64 = results["eval_confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()))
        .sum();
    assert_eq!(confusion, 16);
    let accuracy = results["eval_accuracy"].as_f64().unwrap();
    assert!(results["eval_accuracy_low"].as_f64().unwrap() <= accuracy && accuracy <= 1.0);
}

#[test]
fn eval_of_splits() {
    let sandbox = with_classifier();
    let rows = |options: &str| -> Value {
        let ran = sandbox.succeeds(&format!("eval --model classifier --json {options}"));
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["eval_samples"].clone()
    };
    for (option, expected) in [("train", 32), ("validation", 12), ("dev", 12), ("test", 16)] {
        assert_eq!(rows(&format!("--data data --split {option}")), expected, "{option}");
    }
    assert_eq!(rows("--data data"), 16, "test is the default");
    sandbox.remove("data/test.tsv");
    assert_eq!(rows("--data data"), 12, "else validation");
    let message = sandbox.fails("eval --model classifier --data data --split test");
    assert_says(&message, &["data: has no test split"]);
    let message = sandbox.fails("eval --model classifier --data data/dev.tsv --split test");
    assert_says(&message, &["data/dev.tsv: is one file and has no splits", "Leave out --split"]);
}

#[test]
fn quiet_prints_no_notes() {
    let sandbox = with_classifier();
    sandbox.write("long.csv", table(',', 0..4).replace("film", &"film ".repeat(100)));
    let eval = "eval --model classifier --data long.csv";
    let ran = sandbox.succeeds(eval);
    assert_says(&ran.stderr, &["4 of 4 texts are longer than 64 tokens and were cut there"]);
    let quiet = sandbox.succeeds(&format!("{eval} --quiet"));
    assert_eq!((quiet.stdout, quiet.stderr), (ran.stdout, String::new()));
}

#[cfg(feature = "bundled")]
#[test]
fn bundled_reviews() {
    let sandbox = with_classifier();
    let ran = sandbox.succeeds("eval --model classifier --data reviews --split validation --max-length 8 --json");
    let results: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(results["data"], "reviews/validation.tsv");
    assert!(results["eval_samples"].as_u64().unwrap() > 100);
}
