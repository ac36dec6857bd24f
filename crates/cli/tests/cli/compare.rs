//! `compare`, `eval` of files of predictions, and whether a training helped.

use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says, table};

/// With a classifier whose weights are random in `classifier`, and another one in `other`.
fn with_two() -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    let mut other = Checkpoint::classifier();
    other.values("classifier.weight").iter_mut().for_each(|weight| *weight = -*weight);
    other.write(&sandbox, "other");
    sandbox
}

fn json_of(sandbox: &Sandbox, arguments: &str) -> Value {
    serde_json::from_str(&sandbox.succeeds(&format!("{arguments} --json")).stdout).unwrap()
}

/// Six rows of three classes as `rows.csv`, and predictions for them as `FORMAT` with the column names that it has.
fn rows(sandbox: &Sandbox) {
    sandbox.write("rows.csv", "text,label\none,a\ntwo,b\nthree,c\nfour,a\nfive,b\nsix,c\n");
}

#[test]
fn two_models_and_their_predictions() {
    let sandbox = with_two();
    let predicted = sandbox.succeeds("predict --model other --data data --json").stdout;
    sandbox.write("other.jsonl", &predicted);
    let of_models = json_of(&sandbox, "compare classifier other --data data");
    let of_file = json_of(&sandbox, "compare classifier other.jsonl --data data");
    assert_eq!((&of_models["rows"], &of_models["metric"]), (&json!(16), &json!("accuracy")));
    assert_eq!(of_models["pairs"][0]["differences"], of_file["pairs"][0]["differences"]);
    assert_eq!(of_models["groups"][0], of_file["groups"][0]);
    // a model's figures are those that eval tells
    for model in ["classifier", "other"] {
        let group = of_models["groups"].as_array().unwrap().iter().find(|group| group["name"] == model).unwrap();
        let eval = json_of(&sandbox, &format!("eval --model {model} --data data"));
        let figures = group["figures"].as_array().unwrap();
        assert!(figures.len() > 18, "{figures:?}");
        for figure in figures {
            let name = figure["metric"].as_str().unwrap();
            assert_eq!(figure["value"], eval[format!("eval_{name}")], "{name}");
            assert_eq!(figure["interval"]["low"], eval.get(format!("eval_{name}_low")).cloned().unwrap_or_default());
        }
    }
    let eval = json_of(&sandbox, "eval --predictions other.jsonl --data data");
    let model = json_of(&sandbox, "eval --model other --data data");
    for (key, value) in eval.as_object().unwrap() {
        if key != "predictions" {
            assert_eq!(value, &model[key], "{key}");
        }
    }
    let told = sandbox.succeeds("compare classifier other.jsonl --data data").stdout;
    assert_says(
        &told,
        &["data/test.tsv: 16 rows", "other.jsonl less classifier", "Rows that change: ", "95 % interval"],
    );
}

/// Worked by hand: A is right on rows 1, 2, 4 and 5, B on 1, 3, 4, 5 and 6.
#[test]
fn rows_that_change() {
    let sandbox = Sandbox::new();
    rows(&sandbox);
    sandbox.write("a.csv", "text,predicted\none,a\ntwo,b\nthree,b\nfour,a\nfive,b\nsix,a\n");
    sandbox.write("b.csv", "predicted\na\na\nc\na\nb\nc\n");
    let result = json_of(&sandbox, "compare a.csv b.csv --data rows.csv --flips flips.jsonl");
    let pair = &result["pairs"][0];
    let changes = json!({"gained": 2, "lost": 1, "both_wrong": 0, "p_value": 1.0, "p_adjusted": 1.0});
    assert_eq!((&pair["changes"], &pair["finding"]), (&changes, &json!("chance")));
    let sentence = "b.csv is better by 16.7 points (1 row of 6); p = 1.00: this is within chance.";
    assert_eq!(pair["verdict"], sentence);
    assert_says(
        &sandbox.succeeds("compare a.csv b.csv --data rows.csv").stdout,
        &[
            sentence,
            "Rows that change: 2 right in b.csv alone, 1 in a.csv alone.",
            "line 3: b (a.csv: b, b.csv: a)  two",
        ],
    );
    let flips: Vec<Value> = String::from_utf8(sandbox.read("flips.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |line: u64, text: &str, [truth, a, b]: [&str; 3], flip: &str| {
        json!({"line": line, "text": text, "truth": [truth], "a": "a.csv", "a_predicts": [a], "b": "b.csv",
            "b_predicts": [b], "flip": flip})
    };
    let expected = [
        of(3, "two", ["b", "b", "a"], "lost"),
        of(4, "three", ["c", "b", "c"], "gained"),
        of(7, "six", ["c", "a", "c"], "gained"),
    ];
    assert_eq!(flips, expected);
    assert_eq!(result["flips"].as_array().unwrap(), &expected);
    let by_f1 = json_of(&sandbox, "compare a.csv b.csv --data rows.csv --metric f1_macro");
    assert_says(
        by_f1["pairs"][0]["verdict"].as_str().unwrap(),
        &["b.csv is better by ", " points in macro F1 (95 % interval "],
    );
}

#[test]
fn runs_of_one_recipe() {
    let sandbox = Sandbox::new();
    rows(&sandbox);
    for (name, predicted) in
        [("a1", "a\nb\nb\na\nb\na"), ("a2", "a\nb\nc\na\nb\na"), ("b1", "a\nb\nc\na\nb\nc"), ("b2", "a\nb\nc\na\na\nc")]
    {
        sandbox.write(&format!("{name}.csv"), format!("predicted\n{predicted}\n"));
    }
    let result = json_of(&sandbox, "compare a1.csv,a2.csv b1.csv,b2.csv --data rows.csv");
    let group = &result["groups"][0];
    assert_eq!((&group["name"], &group["runs"]), (&json!("a1.csv,a2.csv"), &json!(2)));
    let accuracy = &group["figures"][0];
    assert_eq!(accuracy["by_run"], json!([4.0 / 6.0, 5.0 / 6.0]));
    // the standard deviation of two values is their distance over the root of 2
    assert!((accuracy["spread"].as_f64().unwrap() - 1.0 / 6.0 / 2_f64.sqrt()).abs() < 1e-12);
    assert_eq!(result["pairs"][0]["changes"], Value::Null);
    let told = sandbox.succeeds("compare a1.csv,a2.csv b1.csv,b2.csv --data rows.csv").stdout;
    assert_says(&told, &["runs  spread", "b1.csv,b2.csv is better by 16.7 points (2 runs against 2, 95 % interval "]);

    let directories = with_two();
    for run in ["runs/1", "runs/2"] {
        Checkpoint::classifier().write(&directories, run);
    }
    let result = json_of(&directories, "compare other runs --data data");
    assert_eq!((&result["groups"][1]["runs"], &result["groups"][1]["figures"][0]["spread"]), (&json!(2), &json!(0.0)));
}

#[test]
fn models_that_call_their_classes_otherwise() {
    let sandbox = with_two();
    // the same model with its classes turned round
    let mut turned = Checkpoint::classifier();
    turned.config["id2label"] = json!({"0": "positive", "1": "negative"});
    for name in ["classifier.weight", "classifier.bias"] {
        let values = turned.values(name);
        let half = values.len() / 2;
        values.rotate_left(half);
    }
    turned.write(&sandbox, "turned");
    let result = json_of(&sandbox, "compare classifier turned --data data");
    assert_eq!(result["groups"][0]["figures"], result["groups"][1]["figures"]);
    assert_says(
        result["pairs"][0]["verdict"].as_str().unwrap(),
        &["the same accuracy and are right on the same of 16 rows"],
    );
}

/// The same predictions in every format, with and without probabilities.
#[test]
fn every_format_of_predictions() {
    let sandbox = Sandbox::new();
    rows(&sandbox);
    let head = "text,predicted,probability_b,probability_a,probability_c\n";
    sandbox.write("p.csv", head.to_owned() + "one,a,0.2,0.7,0.1\ntwo,a,0.3,0.4,0.3\nthree,c,0.1,0.1,0.8\nfour,a,0,1,0\nfive,b,0.5,0.4,0.1\nsix,b,0.6,0.2,0.2\n");
    let object = |text: &str, label: &str, [b, a, c]: [f64; 3]| {
        json!({"probabilities": {"b": b, "a": a, "c": c}, "text": text, "label": label}).to_string()
    };
    let objects = [
        object("one", "a", [0.2, 0.7, 0.1]),
        object("two", "a", [0.3, 0.4, 0.3]),
        object("three", "c", [0.1, 0.1, 0.8]),
        object("four", "a", [0.0, 1.0, 0.0]),
        object("five", "b", [0.5, 0.4, 0.1]),
        object("six", "b", [0.6, 0.2, 0.2]),
    ];
    sandbox.write("p.jsonl", objects.join("\n"));
    sandbox.write("p.json", format!("[{}]", objects.join(",\n")));
    sandbox.write(
        "p.tsv",
        head.replace(',', "\t").replace("text\tpredicted\t", "")
            + "0.2\t0.7\t0.1\n0.3\t0.4\t0.3\n0.1\t0.1\t0.8\n0\t1\t0\n0.5\t0.4\t0.1\n0.6\t0.2\t0.2\n",
    );
    let of = |name: &str| {
        let mut result = json_of(&sandbox, &format!("eval --predictions {name} --data rows.csv"));
        result["predictions"] = Value::Null;
        result
    };
    let csv = of("p.csv");
    assert_eq!(csv["eval_accuracy"], json!(4.0 / 6.0));
    assert!(csv["eval_macro_roc_auc"].is_f64() && csv["eval_log_loss"].is_f64() && csv.get("eval_loss").is_none());
    for name in ["p.jsonl", "p.json", "p.tsv"] {
        assert_eq!(of(name), csv, "{name}");
    }
    let quiet = sandbox.succeeds("data convert p.csv labels.parquet --label-column predicted").stdout;
    assert!(!quiet.contains("probability"));
    let labels = of("labels.parquet");
    assert_eq!((&labels["eval_macro_f1"], labels.get("eval_log_loss")), (&csv["eval_macro_f1"], None));
}

#[test]
fn a_file_that_tells_the_truth_too() {
    let sandbox = Sandbox::new();
    sandbox.write("p.csv", "label,predicted\nyes,yes\nno,yes\nno,no\n");
    let result = json_of(&sandbox, "eval --predictions p.csv");
    assert_eq!((&result["eval_samples"], &result["eval_recall"]), (&json!(3), &json!(1.0)));
    sandbox.write("q.csv", "label\nyes\nno\nno\n");
    assert_says(
        &sandbox.fails("eval --predictions q.csv"),
        &["q.csv: has no true labels beside the predicted ones", "--data"],
    );
}

#[test]
fn several_labels_and_thresholds() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", "{\"text\": \"one\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"two\", \"labels\": []}\n{\"text\": \"three\", \"labels\": [\"y\"]}\n");
    sandbox.write("p.jsonl", "{\"labels\": [\"x\"], \"probabilities\": {\"x\": 0.8, \"y\": 0.4}}\n{\"labels\": [], \"probabilities\": {\"x\": 0.3, \"y\": 0.2}}\n{\"labels\": [], \"probabilities\": {\"x\": 0.35, \"y\": 0.45}}\n");
    let of = |options: &str| json_of(&sandbox, &format!("eval --predictions p.jsonl --data rows.jsonl {options}"));
    let (plain, moved) = (of(""), of("--threshold y=0.4"));
    assert_eq!((&plain["eval_accuracy"], &plain["eval_hamming_loss"]), (&json!(1.0 / 3.0), &json!(2.0 / 6.0)));
    assert_eq!((&moved["eval_accuracy"], &moved["eval_hamming_loss"]), (&json!(1.0), &json!(0.0)));
    assert_eq!(plain["eval_log_loss"], moved["eval_log_loss"]);
    assert_eq!(of("--threshold 0.3")["eval_accuracy"], json!(1.0 / 3.0));
    let compared = json_of(&sandbox, "compare p.jsonl p.jsonl --data rows.jsonl");
    assert_eq!(compared["metric"], "micro_f1");
    let fails = |options: &str| sandbox.fails(&format!("eval --predictions p.jsonl --data rows.jsonl {options}"));
    assert_says(&fails("--threshold z=0.4"), &["--threshold: expected one of x, y, found z=0.4"]);
    assert_says(&fails("--threshold 4"), &["expected a number from 0 to 1, as 0.4 or LABEL=0.4, or saved, found 4"]);
    rows(&sandbox);
    sandbox.write("single.csv", "predicted\na\na\nc\na\nb\nc\n");
    assert_says(
        &sandbox.fails("eval --predictions single.csv --data rows.csv --threshold 0.4"),
        &["thresholds: predictions: expected probabilities"],
    );
}

#[test]
fn predictions_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    rows(&sandbox);
    let fails = |contents: &str, parts: &[&str]| {
        let name = if contents.starts_with('{') { "p.jsonl" } else { "p.csv" };
        sandbox.write(name, contents);
        let message = sandbox.fails(&format!("eval --predictions {name} --data rows.csv"));
        assert_says(&message, parts);
        sandbox.remove(name);
    };
    fails("predicted\na\nb\n", &["p.csv: 2 rows, but rows.csv has 6. Predict all rows"]);
    fails(
        "text,predicted\none,a\ntwo,b\nthree,c\nfour,a\nfive,b\n6,c\n",
        &["p.csv, line 7: the text is \"6\", but that of line 7 of rows.csv is \"six\""],
    );
    fails(
        "text,score\none,1\n",
        &["p.csv: no predictions found; columns found: \"text\", \"score\"", "probability_NAME"],
    );
    fails(
        "predicted\nx\ny\nx\ny\nx\ny\n",
        &["its labels (\"x\", \"y\") are none of those of rows.csv (\"a\", \"b\", \"c\")"],
    );
    fails("predicted,text\na,one\n,two\n", &["p.csv: 2 rows"]);
    fails(
        "predicted,text\na,one\n,two\nc,three\na,four\nb,five\nc,six\n",
        &["p.csv, line 3: has 0 labels, but a row has one of them"],
    );
    fails(
        "probability_a,probability_b\n0.5,1.5\n",
        &["p.csv, line 2: the probability of \"b\" is 1.5, expected a number from 0 to 1"],
    );
    fails(
        "probability_a,probability_b\n0.5,much\n",
        &["line 2: column \"probability_b\" has \"much\", expected a number"],
    );
    fails(
        "probability_a,probability_b\n1,0\n1,0\n1,0\n1,0\n1,0\n1,0\n",
        &["rows.csv, line 4: unknown label \"c\"", "expected one of \"a\", \"b\""],
    );
    fails(
        "{\"probabilities\": {\"a\": 1, \"b\": 0}}\n{\"probabilities\": {\"a\": 1}}\n",
        &["p.jsonl, line 2: no probability of \"b\""],
    );
    fails(
        "{\"probabilities\": {\"a\": 1, \"b\": 0}}\n{\"probabilities\": {\"a\": 1, \"z\": 0}}\n",
        &["p.jsonl, line 2: a probability of \"z\", which the first row has not got"],
    );
    fails(
        "{\"probabilities\": {\"a\": 1, \"b\": 0}}\n{\"label\": \"a\"}\n",
        &["p.jsonl, line 2: no probability of \"a\""],
    );
    fails(
        "{\"probabilities\": [0.5, 0.5]}\n",
        &[
            "p.jsonl, line 1: not a JSON object: invalid type: sequence, expected an object of class names and probabilities",
        ],
    );
    fails("{\"label\": \"a\"}\n{\"text\": \"x\"}\n", &["p.jsonl, line 2: there is no field \"label\" in this row"]);
}

#[test]
fn what_cannot_be_compared() {
    let sandbox = with_two();
    let ran = sandbox.distune("compare classifier --data data").output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert_says(&sandbox.fails("compare classifier nothing --data data"), &["nothing"]);
    assert_says(
        &sandbox.fails("compare classifier data --data data"),
        &["data: is neither a model's directory nor one of run directories"],
    );
    let auc = sandbox.fails("compare classifier other --data data --metric macro_roc_auc");
    assert_says(
        &auc,
        &["comparison: metric: expected one that all tell", "macro_roc_auc is not defined for classifier"],
    );
    let ran = sandbox.distune("compare classifier other --data data --metric f2").output().unwrap();
    assert_says(&String::from_utf8(ran.stderr).unwrap(), &["expected loss, accuracy, "]);
    let mut renamed = Checkpoint::classifier();
    renamed.config["id2label"] = json!({"0": "no", "1": "yes"});
    renamed.write(&sandbox, "renamed");
    sandbox.write("ids.tsv", table('\t', 0..8).replace("positive", "1").replace("negative", "0"));
    assert_eq!(json_of(&sandbox, "compare classifier renamed --data ids.tsv")["pairs"][0]["changes"]["gained"], 0);
    let message = sandbox.fails("compare classifier renamed --data data");
    assert_says(&message, &["renamed: its class \"no\" is none of the others' classes, \"negative\", \"positive\""]);
}

/// A run is trained further, on the test rows of the data, and without test rows on the validation rows.
#[test]
fn whether_training_helped() {
    let sandbox = Sandbox::trained();
    let options = "--epochs 2 --learning-rate 0.01 --seed 1 --unfreeze blocks:2";
    let told = sandbox.succeeds(&format!("train --model run --data data --output further {options}")).stdout;
    assert_says(&told, &["The starting model and The trained model have the same accuracy"]);
    let ran = sandbox.succeeds(&format!("train --model run --data data --output again {options} --json")).stdout;
    let result: Value = serde_json::from_str(ran.lines().last().unwrap()).unwrap();
    assert_eq!((&result["event"], &result["comparison"]["finding"]), (&json!("result"), &json!("chance")));
    // the accuracy of the starting model plus the difference is that of the trained one
    let start = json_of(&sandbox, "eval --model run --data data")["eval_accuracy"].as_f64().unwrap();
    let difference = result["comparison"]["differences"][0]["value"].as_f64().unwrap();
    assert!((start + difference - result["test_accuracy"].as_f64().unwrap()).abs() < 1e-12);
    // a new head was not trained before
    let fresh = sandbox.succeeds(&format!("train --model run --data data --output fresh {options} --new-head")).stdout;
    assert!(!fresh.contains("starting model"), "{fresh}");

    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox.remove("data/test.tsv");
    let dev = format!("train --model classifier --data data --output dev {options} --select-on dev");
    let told = sandbox.succeeds(&dev).stdout;
    assert_says(&told, &["These rows also chose the epoch, which favours the trained model."]);
}
