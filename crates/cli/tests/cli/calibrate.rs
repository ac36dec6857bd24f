//! `calibrate`, what `eval` and `predict` make of a model's probabilities, and baselines.

use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says};

fn json_of(sandbox: &Sandbox, arguments: &str) -> Value {
    serde_json::from_str(&sandbox.succeeds(&format!("{arguments} --json")).stdout).unwrap()
}

fn lines_of(sandbox: &Sandbox, arguments: &str) -> Vec<Value> {
    let told = sandbox.succeeds(&format!("{arguments} --json")).stdout;
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A classifier with random weights, far too sure of itself, which is often wrong.
fn with_sure_classifier() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut sure = Checkpoint::classifier();
    sure.values("classifier.weight").iter_mut().for_each(|weight| *weight *= 6.0);
    sure.write(&sandbox, "sure");
    sandbox
}

#[test]
fn fitted_and_used() {
    let sandbox = with_sure_classifier();
    let before = json_of(&sandbox, "eval --model sure --data data --split dev");
    let told = json_of(&sandbox, "calibrate --model sure --data data");
    let saved = sandbox.json("sure/calibration.json");
    let temperature = saved["temperature"].as_f64().unwrap();
    assert!(temperature > 1.0, "{temperature}");
    for key in ["labels", "temperature", "thresholds", "fitted"] {
        assert_eq!(told[key], saved[key], "{key}");
    }
    let decisions =
        |bins: &Value| bins.as_array().unwrap().iter().map(|bin| bin["decisions"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((decisions(&told["reliability"]["before"]), decisions(&told["reliability"]["after"])), (12, 12));
    assert_eq!(told["abstention"]["points"].as_array().unwrap().last().unwrap()["coverage"], 1.0);

    // on the same rows, eval tells what was written
    let after = json_of(&sandbox, "eval --model sure --data data --split dev --calibrated");
    assert_eq!(before["eval_log_loss"], saved["fitted"]["before"]["log_loss"]);
    assert_eq!(after["eval_log_loss"], saved["fitted"]["after"]["log_loss"]);
    assert!(after["eval_log_loss"].as_f64() < before["eval_log_loss"].as_f64());
    assert_eq!(after["eval_expected_calibration_error"], saved["fitted"]["after"]["expected_calibration_error"]);
    assert_eq!(after["eval_confusion"], before["eval_confusion"]);
    let thresholds = json_of(&sandbox, "eval --model sure --data data --split dev --threshold saved");
    assert_eq!(thresholds["eval_f1"], saved["thresholds"][0]["f1"]);
    assert_eq!(thresholds["eval_log_loss"], after["eval_log_loss"]);

    // predict tells the same probabilities, and the labels of the thresholds
    let plain = lines_of(&sandbox, "predict --model sure --data data --split dev");
    let decided = lines_of(&sandbox, "predict --model sure --data data --split dev --threshold saved");
    let threshold = saved["thresholds"][0]["threshold"].as_f64().unwrap();
    let label = saved["thresholds"][0]["label"].as_str().unwrap();
    assert_eq!(plain.len(), 12);
    for (plain, decided) in plain.iter().zip(&decided) {
        let of = |line: &Value, label: &str| line["probabilities"][label].as_f64().unwrap();
        let odds = |line| (of(line, "positive") / of(line, "negative")).ln();
        // logits are divided by the temperature
        assert!((odds(plain) / temperature - odds(decided)).abs() < 1e-6, "{plain} {decided}");
        assert_eq!(decided["label"] == label, of(decided, label) >= threshold, "{decided} {threshold}");
    }
    assert!(saved["recall"].is_null() && saved["test"].is_null());
}

#[test]
fn precision_at_a_recall() {
    let sandbox = with_sure_classifier();
    let all = json_of(&sandbox, "calibrate --model sure --data data --split train --recall 1");
    assert_eq!((&all["recall"], &all["thresholds"][0]["recall"]), (&json!(1.0), &json!(1.0)));
    let some = json_of(&sandbox, "calibrate --model sure --data data --split train --recall 0.1");
    assert!(some["thresholds"][0]["precision"].as_f64() >= all["thresholds"][0]["precision"].as_f64());
    let told = sandbox.succeeds("calibrate --model sure --data data --recall 0.5").stdout;
    assert_says(
        &told,
        &[
            "data/dev.tsv: 12 rows, temperature ",
            "log loss",
            "Thresholds by the best precision with a recall of 0.5 or more",
            "answered  accuracy  --abstain-below",
            "Saved to sure/calibration.json",
        ],
    );
    assert_says(
        &sandbox.fails("calibrate --model sure --data data --recall 2"),
        &["--recall: expected a number from 0 to 1, found 2"],
    );
    assert_says(&sandbox.fails("calibrate --model nothing --data data"), &["nothing"]);
    sandbox.write("one.csv", "text,label\ngood,positive\ngreat,positive\n");
    assert_says(
        &sandbox.fails("calibrate --model sure --data one.csv"),
        &["one.csv: all rows are of one class", "all classes"],
    );
}

#[test]
fn rows_left_unanswered() {
    let sandbox = with_sure_classifier();
    let plain = json_of(&sandbox, "eval --model sure --data data");
    let curve = plain["eval_abstention"]["points"].as_array().unwrap();
    let point = &curve[curve.len() / 2];
    let threshold = point["threshold"].as_f64().unwrap();
    let eval = json_of(&sandbox, &format!("eval --model sure --data data --abstain-below {threshold}"));
    let answered = &eval["eval_answered"];
    assert_eq!((&answered["answered"], &answered["accuracy"]), (&point["rows"], &point["accuracy"]));
    // figures of all rows stay
    assert_eq!(eval["eval_accuracy"], plain["eval_accuracy"]);
    let lines = lines_of(&sandbox, &format!("predict --model sure --data data --abstain-below {threshold}"));
    let kept = lines.iter().filter(|line| line["abstained"] == false).count();
    assert_eq!(json!(kept), answered["answered"]);
    assert!(lines.iter().all(|line| line["label"].is_null() == (line["abstained"] == true)));
    let text = sandbox.succeeds(&format!("predict --model sure --data data --abstain-below {threshold}")).stdout;
    assert_eq!(text.lines().filter(|line| !line.starts_with('\t')).count(), kept);
    let told = sandbox.succeeds(&format!("eval --model sure --data data --abstain-below {threshold}")).stdout;
    assert_says(&told, &[&format!("answered {kept} of 16 rows ("), "right: "]);
    let none = sandbox.succeeds("eval --model sure --data data --abstain-below 1").stdout;
    assert_says(&none, &["answered 0 of 16 rows (0.0 %)\n"]);
    assert_says(
        &sandbox.fails("eval --model sure --data data --abstain-below 1.5"),
        &["--abstain-below: expected a number from 0 to 1"],
    );
}

#[test]
fn several_labels_have_a_threshold_each() {
    let sandbox = Sandbox::new();
    let row = |i: usize| {
        let labels = match i % 4 {
            0 => "[\"x\"]",
            1 => "[\"x\", \"y\"]",
            2 => "[]",
            _ => "[\"y\"]",
        };
        let word = ["good", "good bad", "film", "bad"][i % 4];
        format!("{{\"text\": \"the {word} film {i}\", \"labels\": {labels}}}\n")
    };
    for (split, rows) in [("train", 0..48), ("validation", 48..64), ("test", 64..80)] {
        sandbox.write(&format!("labels/{split}.jsonl"), rows.map(row).collect::<String>());
    }
    sandbox.succeeds("train --model model --data labels --output run --epochs 1");
    let saved = sandbox.json("run/calibration.json");
    let of: Vec<&Value> = saved["thresholds"].as_array().unwrap().iter().map(|threshold| &threshold["label"]).collect();
    assert_eq!(of, ["x", "y"]);
    assert_eq!(saved["test"]["rows"], 16);
    let eval = json_of(&sandbox, "eval --model run --data labels --split validation --threshold saved");
    for (class, threshold) in
        eval["eval_classes"].as_array().unwrap().iter().zip(saved["thresholds"].as_array().unwrap())
    {
        assert_eq!((&class["f1"], &class["recall"]), (&threshold["f1"], &threshold["recall"]));
    }
    let table = sandbox.json("run/baselines.json");
    let named: Vec<&str> =
        table["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(named, ["majority class", "TF-IDF, logistic regression", "trained model"]);
    let predicted = sandbox.succeeds("predict --model run --threshold 0 --json good").stdout;
    assert_says(&predicted, &["\"labels\":[\"x\",\"y\"]"]);
}

#[test]
fn a_training_ends_with_it() {
    let sandbox = Sandbox::trained();
    let saved = sandbox.json("run/calibration.json");
    assert_eq!((&saved["fitted"]["rows"], &saved["test"]["rows"]), (&json!(12), &json!(16)));
    // the same fit again, by hand
    let again = json_of(&sandbox, "calibrate --model run --data data");
    assert_eq!((&again["temperature"], &again["thresholds"]), (&saved["temperature"], &saved["thresholds"]));
    // the table has the figures of the run and of the model that it started from
    let ran = sandbox.succeeds("train --model run --data data --output further --epochs 1 --seed 1 --json").stdout;
    let result: Value = serde_json::from_str(ran.lines().last().unwrap()).unwrap();
    let table = sandbox.json("further/baselines.json");
    assert_eq!((&table["split"], &table["rows"], &result["baselines"]), (&json!("test"), &json!(16), &table));
    let models = table["models"].as_array().unwrap();
    let figure = |at: usize, name: &str| {
        let figures = models[at]["figures"].as_array().unwrap();
        figures.iter().find(|figure| figure["metric"] == name).unwrap()["value"].clone()
    };
    assert_eq!(models.len(), 4);
    assert_eq!(figure(3, "log_loss"), result["test_log_loss"]);
    assert_eq!(figure(2, "accuracy"), json_of(&sandbox, "eval --model run --data data")["eval_accuracy"]);
    assert!(models[3]["seconds"].is_f64() && models[2]["seconds"].is_null());
    // half of the rows are of either class, and the words tell them
    assert_eq!((figure(0, "accuracy"), figure(1, "accuracy")), (json!(0.5), json!(1.0)));
    assert_eq!(result["baseline_comparison"]["a"], "TF-IDF, logistic regression");

    let told = sandbox.succeeds("train --model model --data data --output text --epochs 1").stdout;
    assert_says(
        &told,
        &["Calibrated on validation: temperature ", "test: 16 rows\nmodel ", "majority class ", " the baseline"],
    );
    let without = sandbox.succeeds("train --model model --data data --output without --epochs 1 --no-baselines").stdout;
    assert!(!without.contains("majority class") && !sandbox.path("without/baselines.json").exists(), "{without}");
}

#[test]
fn baselines_beside_models() {
    let sandbox = with_sure_classifier();
    let result = json_of(&sandbox, "compare sure sure --data data");
    let figures = result["baselines"].as_array().unwrap();
    let accuracy = |at: usize| &figures[at]["figures"][0]["value"];
    assert_eq!(
        (&figures[0]["name"], &figures[1]["name"]),
        (&json!("majority class"), &json!("TF-IDF, logistic regression"))
    );
    assert_eq!((accuracy(0), accuracy(1)), (&json!(0.5), &json!(1.0)));
    let told = sandbox.succeeds("compare sure sure --data data").stdout;
    assert_says(&told, &["majority class ", "TF-IDF, logistic regression "]);
    for options in ["--data data --no-baselines", "--data data --split train", "--data data/test.tsv"] {
        assert_eq!(json_of(&sandbox, &format!("compare sure sure {options}"))["baselines"], json!([]), "{options}");
    }
    // a train split that cannot be used does not stop a comparison
    sandbox.write("data/train.tsv", "sentence\tlabel\ngood\tneither\n");
    let ran = sandbox.succeeds("compare sure sure --data data");
    assert_says(&ran.stderr, &["No baselines: ", "unknown label \"neither\""]);
    assert!(!ran.stdout.contains("majority class"));
}

#[test]
fn calibrations_that_cannot_be_used() {
    let sandbox = with_sure_classifier();
    let missing = sandbox.fails("predict --model sure --calibrated good");
    assert_says(&missing, &["sure/calibration.json: no such file", "distune calibrate --model sure --data VALIDATION"]);
    sandbox.succeeds("calibrate --model sure --data data");
    let whole = String::from_utf8(sandbox.read("sure/calibration.json")).unwrap();
    let with = |contents: &str, parts: &[&str]| {
        sandbox.write("sure/calibration.json", contents);
        assert_says(&sandbox.fails("eval --model sure --data data --threshold saved"), parts);
    };
    with(&whole[..whole.len() / 3], &["sure/calibration.json: ", "EOF", "distune calibrate"]);
    with(
        &whole.replacen("\"temperature\": ", "\"temperature\": -", 1),
        &["temperature: expected a number from 0.01 to 100, found -"],
    );
    with(
        &whole.replacen("\"threshold\": ", "\"threshold\": 7", 1),
        &["thresholds[0].threshold: expected a number from 0 to 1, found 7"],
    );
    with(&whole.replacen("\"negative\"", "\"no\"", 1), &["labels: expected those of config.json"]);
    with(&whole.replacen("\"recall\"", "\"recal\"", 1), &["unknown field `recal`"]);
    sandbox.write("sure/calibration.json", &whole);
    sandbox.write("p.csv", "text,predicted,probability_negative,probability_positive\ngood,negative,0.6,0.4\n");
    sandbox.write("rows.csv", "text,label\ngood,positive\n");
    let of_file = "eval --predictions p.csv --data rows.csv";
    assert_says(
        &sandbox.fails(&format!("{of_file} --calibrated")),
        &["--calibrated: expected a --model", "a file of predictions"],
    );
    assert_says(
        &sandbox.fails("predict --model sure --threshold saved --threshold 0.4 good"),
        &["either saved or numbers"],
    );
    assert_says(&sandbox.fails("predict --model sure --threshold negative=0.4 good"), &["expected one of positive"]);
    assert_eq!(json_of(&sandbox, &format!("{of_file} --threshold positive=0.4"))["eval_accuracy"], 1.0);
}
