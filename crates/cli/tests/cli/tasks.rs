//! Several labels a row, pairs of texts, class weights, many classes.

use serde_json::{Value, json};

use crate::support::{Sandbox, assert_says, table};

const TRAIN: &str = "train --model model --output out --batch-size 8 --seed 1 --label-smoothing 0";

/// 80 rows of any of two labels.
fn several_labels() -> String {
    let mut rows = String::new();
    for row in 0..80 {
        let (text, labels) = [
            ("good plot", json!(["plot", "praise"])),
            ("dull plot", json!(["plot"])),
            ("good", json!(["praise"])),
            ("dull", json!([])),
        ][row % 4]
            .clone();
        rows += &json!({"text": format!("{text} of film {row}"), "labels": labels}).to_string();
        rows.push('\n');
    }
    rows
}

#[test]
fn several_labels_a_row() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", several_labels());
    let ran = sandbox.succeeds(&format!("{TRAIN} --data rows.jsonl --r-drop 0.1 --epochs 20 --learning-rate 0.005"));
    assert_says(&ran.stderr, &["New head for the labels plot, praise, any number of them a row."]);
    assert_says(&ran.stdout, &["micro F1 100.00 %, macro F1 100.00 %, all labels of a row right 100.00 %"]);
    let (config, results) = (sandbox.json("out/config.json"), sandbox.json("out/eval_results.json"));
    assert_eq!(config["problem_type"], "multi_label_classification");
    assert_eq!(config["id2label"], json!({"0": "plot", "1": "praise"}));
    assert_eq!((&results["test_micro_f1"], results.get("test_confusion")), (&json!(1.0), None));

    let texts = "good plot of film 7\ndull of film 8\ndull plot of film 9\n";
    let ran = sandbox.succeeds_with("predict --model out --json", texts);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let labels: Vec<&Value> = rows.iter().map(|row| &row["labels"]).collect();
    assert_eq!(labels, [&json!(["plot", "praise"]), &json!([]), &json!(["plot"])]);
    let sum: f64 = rows[0]["probabilities"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    assert!(sum > 1.0 && rows[0].get("label").is_none(), "each label has a probability of its own: {sum}");
    let ran = sandbox.succeeds_with("predict --model out", texts);
    let first: Vec<&str> = ran.stdout.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(first, ["plot|praise", "", "plot"]);

    // goes on from its own head, from another format too
    let more: String = (0..8).map(|row| format!("good {row},praise\ndull plot {row},plot\n")).collect();
    sandbox.write("more.csv", "text,labels\na good plot,plot|praise\na dull film,\n".to_owned() + &more);
    let ran = sandbox.succeeds("train --model out --data more.csv --output more --epochs 1");
    assert_says(&ran.stderr, &["Goes on from the model's trained head (plot, praise)", "have several labels, with |"]);
    let ran = sandbox.succeeds("eval --model out --data more.csv --json");
    let results: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&results["eval_samples"], &results["eval_classes"][0]["support"]), (&json!(18), &json!(9)));
    // a row may have none even where no row has several
    sandbox.write("few.csv", "text,labels\na good plot,plot\na dull film,\n");
    let ran = sandbox.succeeds("eval --model out --data few.csv");
    assert_says(&ran.stdout, &["micro F1", "of 2 rows"]);
    sandbox.write("single.csv", format!("text,labels\n{more}"));
    let ran = sandbox.succeeds("train --model out --data single.csv --output single --epochs 1");
    assert_says(&ran.stderr, &["The model tells any number of labels a row, the data have one: starts a new head."]);
    sandbox.write("data/wrong.csv", "text,labels\ngood,negative|positive\ndull,negative\n");
    sandbox.succeeds("train --model model --data data --output one --epochs 1");
    let message = sandbox.fails("eval --model one --data data/wrong.csv");
    assert_says(&message, &["data/wrong.csv, line 2: several labels a row (\"negative|positive\")", "one label a row"]);
}

#[test]
fn pairs_of_texts() {
    let sandbox = Sandbox::new();
    let mut rows = "question,answer,label\n".to_owned();
    for row in 0..60 {
        let (answer, label) = if row % 2 == 0 { ("good", "yes") } else { ("bad", "no") };
        rows += &format!("the film {row},very {answer} {row},{label}\n");
    }
    sandbox.write("rows.csv", rows);
    let pair = "--text-column question --pair-column answer";
    let ran = sandbox.succeeds(&format!("{TRAIN} --epochs 10 --learning-rate 0.01 --data rows.csv {pair}"));
    // the labels follow from the second texts alone
    let next = "predict --model out --data FILE --text-column \"question\" --pair-column \"answer\"";
    assert_says(&ran.stdout, &["test: accuracy 100.00 %"]);
    assert_says(&ran.stderr, &[next]);
    let recipe = String::from_utf8(sandbox.read("out/recipe.toml")).unwrap();
    assert_says(&recipe, &["text_column = \"question\"", "pair_column = \"answer\"", "label_column = \"label\""]);
    // without the second texts the answers would mean nothing
    for command in ["predict --data rows.csv --text-column question", "eval --data rows.csv --text-column question"] {
        let message = sandbox.fails(&format!("{command} --model out"));
        assert_says(
            &message,
            &["rows.csv: single texts, but the model was trained on pairs", "--pair-column \"answer\""],
        );
    }
    let (message, _) = sandbox.fails_with("predict --model out film", "");
    assert_says(&message, &["the arguments: single texts, but the model was trained on pairs"]);
    sandbox.write("new.tsv", "question\tanswer\nthe film 70\tvery good 70\nthe film 71\tvery bad 71\n");
    let ran = sandbox.succeeds(&format!("predict --model out --data new.tsv {pair} --json"));
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = rows.iter().map(|row| [&row["text"], &row["pair"], &row["label"]]).collect();
    assert_eq!(
        found,
        [
            [&json!("the film 70"), &json!("very good 70"), &json!("yes")],
            [&json!("the film 71"), &json!("very bad 71"), &json!("no")]
        ]
    );
    let message = sandbox.fails(&format!("{TRAIN} --overwrite --data rows.csv {pair} --max-length 4"));
    assert_says(&message, &["max_length: expected 5 or more, room for the 3 special tokens of a pair"]);
}

#[test]
fn rows_of_a_file_are_predicted() {
    let sandbox = Sandbox::trained();
    sandbox.write("new.jsonl", "{\"text\": \"very good\\nfilm\"}\n{\"text\": \"very bad\"}\n");
    let ran = sandbox.succeeds("predict --model run --data new.jsonl");
    let ends: Vec<&str> = ran.stdout.lines().map(|line| line.rsplit('\t').next().unwrap()).collect();
    assert_eq!(ends, ["very good film", "very bad"]);
    let ran = sandbox.succeeds("predict --model run --data data --split dev");
    assert_eq!(ran.stdout.lines().count(), 12);
    // labels are not needed, whatever they are
    for labels in ["", "0.5"] {
        sandbox.write("labels.csv", format!("text,label\na film,{labels}\nthe plot,\n"));
        assert_eq!(sandbox.succeeds("predict --model run --data labels.csv").stdout.lines().count(), 2);
    }
    sandbox.write("labels.jsonl", "{\"text\": \"a film\"}\n{\"text\": \"the plot\", \"label\": 1}\n");
    assert_eq!(sandbox.succeeds("predict --model run --data labels.jsonl").stdout.lines().count(), 2);
    sandbox.write("glue/test.tsv", "index\tsentence\n0\tthe plot of the test split\n");
    let ran = sandbox.succeeds("predict --model run --data glue");
    assert!(ran.stdout.ends_with("\tthe plot of the test split\n"), "{}", ran.stdout);
    sandbox.write("pairs.csv", "sentence1,sentence2\na,b\n");
    let message = sandbox.fails("predict --model run --data pairs.csv");
    assert_says(
        &message,
        &["pairs.csv: pairs of texts, but the model was trained on single ones", "--text-column NAME"],
    );
    sandbox.write("bad.tsv", "text\nfine\n \n");
    let (message, _) = sandbox.fails_with("predict --model run --data bad.tsv", "");
    assert_says(&message, &["bad.tsv, line 3: the text in column \"text\" is empty"]);
    let ran = sandbox.succeeds("predict --model run --data bad.tsv --skip-bad");
    assert_says(&ran.stderr, &["left out: bad.tsv, line 3: the text in column \"text\" is empty"]);
}

#[test]
fn class_weights() {
    let sandbox = Sandbox::new();
    // three of four rows are positive
    let rare: String = table('\t', 0..32)
        .lines()
        .enumerate()
        .filter(|(i, _)| i % 4 != 2)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    sandbox.write("data/train.tsv", rare);
    sandbox.write("weights.json", r#"{"negative": 4, "positive": 0.5}"#);
    let train = |options: &str, output: &str| {
        sandbox.succeeds(&format!("train --model model --data data --epochs 1 --output {output} {options}"));
        (
            sandbox.read(&format!("{output}/model.safetensors")),
            String::from_utf8(sandbox.read(&format!("{output}/recipe.toml"))).unwrap(),
        )
    };
    let (none, none_recipe) = train("", "none");
    let (balanced, balanced_recipe) = train("--class-weights balanced", "balanced");
    let (named, named_recipe) = train("--class-weights weights.json", "named");
    assert!(none != balanced && none != named && balanced != named, "each changes the weights");
    assert_says(&none_recipe, &["class_weights = \"none\""]);
    assert_says(&balanced_recipe, &["class_weights = \"balanced\""]);
    assert_says(&named_recipe, &["[class_weights]", "negative = 4.0", "positive = 0.5"]);
    let refused = |contents: &str| {
        sandbox.write("bad.json", contents);
        sandbox.fails("train --model model --data data --output out --class-weights bad.json")
    };
    assert_says(
        &refused(r#"{"negative": 1}"#),
        &["class weights: positive: expected a weight for each class, found none"],
    );
    assert_says(
        &refused(r#"{"negative": 1, "other": 2}"#),
        &["other: expected a class of the model (\"negative\", \"positive\")"],
    );
    assert_says(&refused(r#"["a"]"#), &["bad.json: not a JSON object of numbers", "Expected an object such as"]);
    let message = sandbox.fails("train --model model --data data --output out --class-weights nowhere.json");
    assert_says(&message, &["nowhere.json: no such file"]);
}

#[test]
fn a_thousand_classes() {
    let sandbox = Sandbox::new();
    let rows = |classes: usize| -> String {
        (0..3 * classes).map(|row| format!("film number {row}\t{}\n", row % classes)).collect()
    };
    sandbox.write("rows.tsv", "text\tlabel\n".to_owned() + &rows(1000));
    let ran = sandbox.succeeds("train --model model --data rows.tsv --output out --epochs 1");
    assert_says(&ran.stderr, &["0, 1, 2, 3,", "and 980 more."]);
    assert_says(&ran.stdout, &["... and 970 classes with no more rows than these"]);
    assert_eq!(sandbox.json("out/config.json")["id2label"]["999"], "999");
    assert_eq!(sandbox.json("out/eval_results.json").get("eval_confusion"), None);
    let ran = sandbox.succeeds("train --model out --data rows.tsv --output again --epochs 1 --unfreeze head");
    assert_says(&ran.stderr, &["Goes on from the model's trained head (0, 1, 2, 3,", " and 980 more);"]);
    sandbox.write("weights.json", "{\"nothing\": 1}");
    let message = sandbox.fails("train --model out --data rows.tsv --output more --class-weights weights.json");
    assert_says(&message, &["expected a class of the model (\"0\", \"1\"", "and 990 more"]);
    let ran = sandbox.succeeds_with("predict --model out", "a film\n");
    assert_eq!(ran.stdout.trim_end().split('\t').count(), 1 + 5 + 1, "the five most probable: {}", ran.stdout);
    sandbox.write("rows.tsv", "text\tlabel\n".to_owned() + &rows(1001));
    let message = sandbox.fails("train --model model --data rows.tsv --output more");
    assert_says(&message, &["rows.tsv: found 1001 classes", "at most 1000 expected", "--label-column"]);
}
