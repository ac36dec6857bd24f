//! `errors`, and `predict --explain`.

use serde_json::{Value, json};

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, feed};

fn json_of(sandbox: &Sandbox, arguments: &str) -> Value {
    serde_json::from_str(&sandbox.succeeds(&format!("{arguments} --json")).stdout).unwrap()
}

/// With a classifier, whose weights are random, in `classifier`.
fn with_classifier() -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox
}

/// Forty rows from two sources, and predictions that are wrong on most rows of one of them.
fn with_predictions() -> Sandbox {
    let sandbox = Sandbox::new();
    let (mut rows, mut predictions) =
        ("text,label,source,stars\n".to_owned(), "text,predicted,probability_no,probability_yes\n".to_owned());
    for row in 0..40 {
        let (truth, source) = (["no", "yes"][row % 2], ["web", "mail"][row / 20]);
        let yes = if row >= 24 { 1 - row % 2 } else { row % 2 };
        let p = [0.9 - row as f64 / 100.0, 0.1 + row as f64 / 100.0];
        let [low, high] = [p[0].min(p[1]), p[0].max(p[1])];
        rows += &format!("text {row} {},{truth},{source},{row}.5\n", "word ".repeat(row % 4).trim());
        let (no, yes, name) = if yes == 1 { (low, high, "yes") } else { (high, low, "no") };
        predictions += &format!("text {row} {},{name},{no},{yes}\n", "word ".repeat(row % 4).trim());
    }
    sandbox.write("rows.csv", rows);
    sandbox.write("predictions.csv", predictions);
    sandbox
}

const ERRORS: &str = "errors --predictions predictions.csv --data rows.csv";

#[test]
fn wrong_rows_and_slices_of_a_file_of_predictions() {
    let sandbox = with_predictions();
    let result = json_of(&sandbox, &format!("{ERRORS} --slice-by source --slice-by stars --top 3"));
    assert_eq!((&result["rows"], &result["correct"], &result["wrong_rows"]), (&json!(40), &json!(24), &json!(16)));
    let wrong = result["wrong"].as_array().unwrap();
    // the probabilities move away from a half again after row 40
    let lines: Vec<u64> = wrong.iter().map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [26, 27, 28]);
    let first = &wrong[0];
    assert_eq!(
        (&first["text"], &first["truth"], &first["predicted"]),
        (&json!("text 24 "), &json!(["no"]), &json!(["yes"]))
    );
    assert_eq!((&first["label"], &first["row"]), (&json!("yes"), &json!(24)));

    let slices = result["slices"].as_array().unwrap();
    let by = |name: &str| slices.iter().filter(|slice| slice["by"] == name).collect::<Vec<_>>();
    assert_eq!((by("length in words").len(), by("true class").len(), by("stars").len()), (4, 2, 4));
    let source = by("source");
    let mail = source.iter().find(|slice| slice["value"] == "mail").unwrap();
    assert_eq!((&mail["rows"], &mail["correct"], &mail["rest_accuracy"]), (&json!(20), &json!(4), &json!(1.0)));
    assert_eq!(mail["finding"], "worse");
    assert_eq!(by("stars")[0]["value"], "0.5 to 9.5");

    let told = sandbox.succeeds(&format!("{ERRORS} --slice-by source")).stdout;
    assert_says(
        &told,
        &[
            "rows.csv: 16 of 40 rows are wrong, accuracy 60.00 % (95 % interval ",
            "no taken for yes 8, yes taken for no 8",
            "line 26: no, predicted yes (0.6600)  text 24",
            "worse than the rest",
            "95 % interval",
        ],
    );
}

#[test]
fn files_of_errors() {
    let sandbox = with_predictions();
    let ran = sandbox.succeeds(&format!("{ERRORS} --output found"));
    assert_says(&ran.stderr, &["Wrote found/wrong.csv", "Wrote found/label_issues.csv", "Wrote found/slices.csv"]);
    let text = |name: &str| String::from_utf8(sandbox.read(&format!("found/{name}"))).unwrap();
    let wrong = text("wrong.csv");
    assert_eq!(wrong.lines().count(), 17);
    assert!(
        wrong.starts_with("line,truth,predicted,label,confidence,text,pair\n26,no,yes,yes,0.66,text 24 ,\n"),
        "{wrong}"
    );
    assert!(text("slices.csv").contains("\ntrue class,no,20,12,0.6,"));
    assert!(text("label_issues.csv").starts_with("line,given,suggested,self_confidence,margin,text,pair\n"));
    // what was written is a table that the program reads
    sandbox.succeeds("data check found/wrong.csv --label-column truth");
    let message = sandbox.fails(&format!("{ERRORS} --output found"));
    assert_says(&message, &["found/wrong.csv: exists", "--overwrite"]);
    sandbox.succeeds(&format!("{ERRORS} --output found --overwrite"));
    assert_says(&sandbox.fails(&format!("{ERRORS} --output rows.csv")), &["rows.csv: is a file, expected a directory"]);
}

/// Two rows of sixty have the other label: these are to be checked.
#[test]
fn labels_to_check() {
    let sandbox = Sandbox::new();
    let mut rows = "text,label,predicted,probability_a,probability_b\n".to_owned();
    for row in 0..60 {
        let is_a = row % 2 == 0;
        let (p, predicted) = if is_a { (0.95, "a") } else { (0.03, "b") };
        let label = if row == 7 || row == 30 { ["a", "b"][usize::from(is_a)] } else { predicted };
        rows += &format!("row {row},{label},{predicted},{p},{}\n", 1.0 - p);
    }
    sandbox.write("both.csv", rows);
    let result = json_of(&sandbox, "errors --predictions both.csv");
    let found = &result["label_issues"];
    assert_eq!((&found["rows"], &found["labels"]), (&json!(2), &json!(2)));
    let lines: Vec<&Value> = found["issues"].as_array().unwrap().iter().map(|issue| &issue["line"]).collect();
    // the most doubtful one first
    assert_eq!(lines, [&json!(9), &json!(32)]);
    assert_eq!((&found["issues"][0]["given"], &found["issues"][0]["suggested"]), (&json!(["a"]), &json!(["b"])));
    let told = sandbox.succeeds("errors --predictions both.csv").stdout;
    assert_says(
        &told,
        &[
            "Labels to check: those of 2 rows are probably wrong (a that should be b 1, b that should be a 1)",
            "line 9: a (0.0300), probably b  row 7",
        ],
    );
    sandbox.write("labels.csv", "text,label,predicted\nx,a,a\ny,a,b\n");
    let told = sandbox.succeeds("errors --predictions labels.csv").stdout;
    assert_says(
        &told,
        &["line 3: a, predicted b  y", "Labels to check: not to be told from predictions without probabilities."],
    );
}

#[test]
fn errors_of_a_model() {
    let sandbox = with_classifier();
    let result = json_of(&sandbox, "errors --model classifier --data data --explain --top 2");
    let eval = json_of(&sandbox, "eval --model classifier --data data");
    assert_eq!((&result["accuracy"], &result["rows"]), (&eval["eval_accuracy"], &json!(16)));
    assert_eq!(result["slices"][0]["by"], "length in tokens");
    for row in result["wrong"].as_array().unwrap() {
        let attribution = &row["attribution"];
        assert_eq!((&attribution["label"], &attribution["complete"]), (&row["label"], &json!(true)));
    }
    assert!(result["wrong"].as_array().unwrap().len() == 2);
    let told = sandbox.succeeds("errors --model classifier --data data --explain --top 1").stdout;
    assert_says(&told, &["\n    for ", " in all:\n    "]);
    assert!(!told.contains('\x1b'), "colours where there is no terminal");
}

#[test]
fn rows_of_the_training() {
    let sandbox = Sandbox::trained();
    let said = |options: &str| sandbox.succeeds(&format!("errors --model run {options}")).stderr;
    assert_says(&said("--data data --split train"), &["Note: these are training rows."]);
    assert!(!said("--data data").contains("Note: these"));
    let options = "--epochs 1 --seed 1 --unfreeze head";
    sandbox.succeeds(&format!("train --model model --data data/train.tsv --output other {options}"));
    let said = sandbox.succeeds("errors --model other --data data/train.tsv").stderr;
    assert_says(&said, &["the model was trained on rows of data/train.tsv"]);
}

#[test]
fn several_labels() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", "{\"text\": \"one\", \"labels\": [\"x\", \"y\"], \"from\": 3}\n{\"text\": \"two\", \"labels\": [], \"from\": null}\n{\"text\": \"three\", \"labels\": [\"y\"]}\n");
    sandbox.write("p.jsonl", "{\"labels\": [\"x\"], \"probabilities\": {\"x\": 0.8, \"y\": 0.4}}\n{\"labels\": [], \"probabilities\": {\"x\": 0.3, \"y\": 0.2}}\n{\"labels\": [\"x\"], \"probabilities\": {\"x\": 0.7, \"y\": 0.45}}\n");
    let result = json_of(&sandbox, "errors --predictions p.jsonl --data rows.jsonl --slice-by from");
    let wrong = result["wrong"].as_array().unwrap();
    let told: Vec<_> = wrong.iter().map(|row| (row["line"].clone(), row["label"].clone())).collect();
    assert_eq!(told, [(json!(3), json!("x")), (json!(1), json!("y"))]);
    let slices = result["slices"].as_array().unwrap();
    let values = |by: &str| -> Vec<&str> {
        slices.iter().filter(|slice| slice["by"] == by).map(|slice| slice["value"].as_str().unwrap()).collect()
    };
    assert_eq!(values("true class"), ["x", "y", "no label"]);
    assert_eq!(values("from"), ["3", "(empty)"]);
    let told = sandbox.succeeds("errors --predictions p.jsonl --data rows.jsonl").stdout;
    assert_says(&told, &["line 1: x|y, predicted x (y 0.6000)  one"]);
}

#[test]
fn errors_that_cannot_be_analysed() {
    let sandbox = with_predictions();
    let fails = |arguments: &str, parts: &[&str]| assert_says(&sandbox.fails(arguments), parts);
    fails(
        &format!("{ERRORS} --slice-by sauce"),
        &["rows.csv: no column \"sauce\"; columns found: \"text\", \"label\", \"source\", \"stars\". Name one of them"],
    );
    fails(&format!("{ERRORS} --slice-by label"), &["column \"label\" is asked for twice, or is one of text and label"]);
    fails(&format!("{ERRORS} --slice-by stars --slice-by Stars"), &["column \"Stars\" is asked for twice"]);
    fails("errors --predictions predictions.csv", &["predictions.csv: has no true labels beside the predicted ones"]);
    sandbox.write("lists.jsonl", "{\"text\": \"one\", \"label\": \"a\", \"of\": [1]}\n");
    sandbox.write("p.csv", "predicted\na\n");
    fails(
        "errors --predictions p.csv --data lists.jsonl --slice-by of",
        &["lists.jsonl, line 1: column \"of\" is a list, expected text or a number"],
    );
    let ran = sandbox.distune("errors --data data").output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}

/// A column is read alike in every format.
#[test]
fn columns_in_every_format() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.csv", "text,label,n\none,a,7\ntwo,b,\nthree,b,7\n");
    sandbox.write("rows.tsv", "text\tlabel\tn\none\ta\t7\ntwo\tb\t\nthree\tb\t7\n");
    sandbox.write("rows.jsonl", "{\"text\": \"one\", \"label\": \"a\", \"n\": 7}\n{\"text\": \"two\", \"label\": \"b\", \"n\": null}\n{\"label\": \"b\", \"n\": \"7\", \"text\": \"three\"}\n");
    sandbox.write("p.csv", "predicted\na\nb\na\n");
    let of = |name: &str| {
        json_of(&sandbox, &format!("errors --predictions p.csv --data {name} --slice-by n"))["slices"].clone()
    };
    let csv = of("rows.csv");
    assert!(
        csv.as_array().unwrap().iter().any(|slice| slice["by"] == "n" && slice["value"] == "7" && slice["rows"] == 2)
    );
    assert_eq!((of("rows.tsv"), of("rows.jsonl")), (csv.clone(), csv));
    sandbox.write("full.csv", "text,label,n\none,a,7\ntwo,b,8\nthree,b,7\n");
    sandbox.succeeds("data convert full.csv full.parquet --group-column n");
    assert_eq!(of("full.parquet"), of("full.csv"));
}

#[test]
fn explained_predictions() {
    let sandbox = with_classifier();
    let ran = Ran::new(feed(
        sandbox.distune("predict --model classifier --explain --json").args(["a good  film", "dull, very dull"]),
        b"",
    ));
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let number = |value: &Value| value.as_f64().unwrap();
    for line in &lines {
        let attribution = &line["attribution"];
        assert_eq!(attribution["label"], line["label"]);
        let sum: f64 = attribution["tokens"].as_array().unwrap().iter().map(|token| number(&token["score"])).sum();
        assert!((sum - number(&attribution["sum"])).abs() < 1e-12);
        let gap = (sum - number(&attribution["logit_difference"])).abs();
        assert!((gap - number(&attribution["completeness_gap"])).abs() < 1e-12 && attribution["complete"] == true);
    }
    let words: Vec<_> = lines[0]["attribution"]["words"].as_array().unwrap().iter().collect();
    let told: Vec<_> = words.iter().map(|word| (word["word"].as_str().unwrap(), number(&word["start"]))).collect();
    assert_eq!(told, [("a", 0.0), ("good", 2.0), ("film", 8.0)]);
    // the same prediction as without
    let command = &mut sandbox.distune("predict --model classifier --json");
    let plain = Ran::new(feed(command.args(["a good  film", "dull, very dull"]), b""));
    let plain: Value = serde_json::from_str(plain.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(plain["probabilities"], lines[0]["probabilities"]);
}

#[test]
fn explained_labels_and_rows() {
    let sandbox = with_classifier();
    let explained = |label: &str| {
        let command = &mut sandbox.distune(&format!("predict --model classifier --explain{label}"));
        Ran::new(feed(command.arg("a good film"), b"")).stdout
    };
    let (positive, negative) = (explained("=positive"), explained("=negative"));
    assert_says(&positive, &["\ta good film\n    for positive, ", "good "]);
    assert_says(&negative, &["    for negative, "]);
    assert!([positive, negative].contains(&explained("")));
    let message = sandbox.fails("predict --model classifier --explain=neutral film");
    assert_says(&message, &["--explain: expected one of negative, positive, found neutral"]);
    let rows = sandbox.succeeds("predict --model classifier --data data --explain --json").stdout;
    assert_eq!((rows.lines().count(), rows.matches("completeness_gap").count()), (16, 16));
    let told = sandbox.succeeds("predict --model classifier --data data --explain").stdout;
    assert_eq!(told.matches("\n    for ").count(), 16);
}
