//! `data check`: what it says, as text and as JSON, and how it ends.

use serde_json::Value;

use crate::support::{Ran, Sandbox, assert_says, feed};

/// Rows with a contradiction, a repetition and two that cannot be read.
const BAD: &str = "text,label\n\"fine, really\",1\ndull,very,0\n ,0\n\"fine, really\",0\nbad,0\n";

/// A check with the tiny model, which must end with this status and leave no files.
fn check(sandbox: &Sandbox, arguments: &str, input: &str, status: i32) -> Ran {
    let before = sandbox.paths();
    let arguments = format!("data check --model model {arguments}");
    let ran = Ran::new(feed(&mut sandbox.distune(&arguments), input.as_bytes()));
    assert_eq!(ran.status, Some(status), "{arguments}\n{}{}", ran.stdout, ran.stderr);
    assert_eq!(sandbox.paths(), before);
    ran
}

/// The JSON of a check, which ends with status 0.
fn json(sandbox: &Sandbox, arguments: &str, input: &str) -> Value {
    let ran = check(sandbox, &format!("{arguments} --json --quiet"), input, 0);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The kinds of the findings with their counts.
fn kinds(report: &Value) -> Vec<(&str, u64)> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| (f["kind"].as_str().unwrap(), f["count"].as_u64().unwrap())).collect()
}

#[test]
fn bad_rows_are_counted_and_listed() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.csv", BAD);
    let ran = check(&sandbox, "bad.csv", "", 0);
    let expected = [
        "data: bad.csv\n  3 rows, 2 left out, 2 different texts\n  2 classes: 0 2 (66.7 %), 1 1 (33.3 %)\n  tokens a row: ",
        "PROBLEM  data: 2 of 5 rows (40.0 %) are empty or cannot be read.\n         Correct them",
        "bad.csv, line 3: expected 2 fields",
        "bad.csv, line 4: the text in column \"text\" is empty",
        "PROBLEM  data: 1 of 2 texts (50.0 %) has several labels.",
        "PROBLEM  data: 1 of 3 rows (33.3 %) repeats an earlier one.",
        "           bad.csv:5 (0): \"fine, really\"\n             as bad.csv:2 (1)\n",
        "\n3 problems, 0 notes.\n",
    ];
    assert_says(&ran.stdout, &expected);
    assert_says(&ran.stderr, &["bad.csv: text column \"text\", label column \"label\""]);
}

#[test]
fn strict_ends_with_status_1_for_problems_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.csv", BAD);
    let ran = check(&sandbox, "bad.csv --strict --quiet", "", 1);
    assert_says(&ran.stdout, &["3 problems"]);
    assert_eq!(ran.stderr, "", "the report says it all");
    let ran = check(&sandbox, "bad.csv --strict --quiet --json", "", 1);
    assert!(ran.stdout.starts_with('{'));

    sandbox.write("noted.csv", "text,label\nfine film,1\nFine film!,1\ndull,0\n");
    let ran = check(&sandbox, "noted.csv --strict", "", 0);
    assert_says(
        &ran.stdout,
        &["note     data: 1 of 3 rows (33.3 %) is repeated, when only letters", "No problems, 1 note."],
    );
    sandbox.write("clean.csv", "text,label\nfine,1\ndull,0\n");
    assert_says(&check(&sandbox, "clean.csv --strict", "", 0).stdout, &["\n\nNothing found.\n"]);
}

#[test]
fn a_directory_is_checked_split_by_split() {
    let sandbox = Sandbox::new();
    let row = "the film number 0 was very good";
    sandbox.write("data/dev.tsv", format!("sentence\tlabel\n{row}\tnegative\nthe plot\tpositive\n"));
    sandbox.write("data/test.tsv", format!("index\tsentence\n0\t{row}!\n1\tthe actors\n"));
    let report = json(&sandbox, "data", "");
    assert_eq!(report["event"], "check");
    let splits: Vec<_> = report["splits"].as_array().unwrap().iter().map(|s| (&s["split"], &s["rows"])).collect();
    assert_eq!(
        format!("{splits:?}"),
        r#"[(String("train"), Number(32)), (String("validation"), Number(2)), (String("test"), Number(2))]"#
    );
    assert_eq!(report["splits"][2]["classes"], serde_json::json!([]));
    let overlaps: Vec<_> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == "overlap").collect();
    let of = |at: usize| [&overlaps[at]["split"], &overlaps[at]["other"]].map(|name| name.as_str().unwrap());
    assert_eq!([of(0), of(1), of(2)], [["validation", "train"], ["test", "train"], ["test", "validation"]]);
    assert_eq!((&overlaps[0]["exact"], &overlaps[0]["other_label"]), (&1.into(), &1.into()));
    assert_eq!((&overlaps[1]["exact"], &overlaps[1]["count"]), (&0.into(), &1.into()));
    assert_eq!(overlaps[0]["examples"][0]["other"]["file"], "data/train.tsv");
    assert_eq!(overlaps[0]["examples"][0]["other"]["line"], 2);
    check(&sandbox, "data --strict", "", 1);
}

#[test]
fn rows_without_a_label_are_of_no_class() {
    let sandbox = Sandbox::new();
    sandbox.write("several/train.csv", "text,label\na,x|y\nb,x\nc,y\n");
    sandbox.write("several/dev.csv", "text,label\nd,x\ne,\n");
    let report = json(&sandbox, "several", "");
    assert_eq!(kinds(&report), [], "none is unreadable, and no label is no label that train has not got");
    assert_eq!(report["splits"][1]["unlabelled"], 1);
    let ran = check(&sandbox, "several", "", 0);
    assert_says(&ran.stdout, &["1 class: x 1 (50.0 %); 1 rows without a label"]);
}

#[test]
fn files_and_standard_input_are_checked_whole() {
    let sandbox = Sandbox::new();
    let expected = [("unreadable_rows", 2), ("contradictory_labels", 1), ("repeated_texts", 1)];
    let report = json(&sandbox, "-", BAD);
    assert_eq!(kinds(&report), expected);
    assert_eq!((&report["problems"], &report["splits"][0]["rows"]), (&3.into(), &3.into()));

    for name in ["a.csv", "b.csv"] {
        sandbox.write(name, "text,label\nfine,1\ndull,0\n");
    }
    let report = json(&sandbox, "a.csv b.csv", "");
    assert_eq!(kinds(&report), [("repeated_texts", 2)]);
    assert_eq!(report["findings"][0]["examples"][0]["row"]["file"], "b.csv");
}

#[test]
fn lengths_are_those_of_the_model_and_cut_where_asked() {
    let sandbox = Sandbox::new();
    let long = "good ".repeat(80);
    sandbox.write("long.csv", format!("text,label\n{long},1\ndull,0\n"));
    // the tiny model has 64 positions
    let report = json(&sandbox, "long.csv", "");
    assert_eq!((&report["max_length"], kinds(&report)), (&64.into(), vec![("truncated_rows", 1)]));
    assert_eq!(report["splits"][0]["lengths"]["max"], 82);
    let text = check(&sandbox, "long.csv --max-length 10", "", 0).stdout;
    assert_says(
        &text,
        &["1 longer than 10\n", "65 to 128             1  ███", "cut at 10 tokens", "long.csv:2 (1) 82 tokens: \"good"],
    );
    let message = sandbox.fails("data check --model model long.csv --max-length 65");
    assert_says(&message, &["max length", "at most 64", "found 65"]);
}

#[cfg(feature = "bundled")]
#[test]
fn the_bundled_reviews_are_clean_and_known() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds("data check reviews --strict");
    assert_says(&ran.stdout, &["7,670 rows", "Nothing found."]);
    sandbox.write("own.csv", "text,label\n\"a BLAND , pretentious mess\",0\nmine,1\n");
    let ran = check(&sandbox, "own.csv --strict", "", 0);
    let never = "Never score a model on these rows that was trained on the bundled reviews";
    assert_says(
        &ran.stdout,
        &["1 of 2 rows (50.0 %) is among the bundled reviews", never, "as reviews/validation.tsv:2 (0)"],
    );
}

#[test]
fn what_cannot_be_checked() {
    let sandbox = Sandbox::new();
    let message = |arguments: &str| sandbox.fails(&format!("data check --model model {arguments}"));
    assert_says(&message("nowhere.csv"), &["nowhere.csv: no such file"]);
    sandbox.write("empty/notes.txt", "");
    assert_says(&message("empty"), &["empty: no train file"]);
    sandbox.write("bad.csv", "text,label\n,1\n,0\n");
    assert_says(&message("bad.csv"), &["bad.csv: all its 2 rows are bad", "bad.csv, line 2"]);
    sandbox.write("quote.csv", "text,label\nfine,1\n\"dull,0\nbad,0\n");
    assert_says(&message("quote.csv"), &["quote.csv, line 3", "never closed"]);
    assert_says(&message("data --text-column nope"), &["no column \"nope\""]);
    assert_says(&sandbox.fails("data check --model nowhere data"), &["nowhere"]);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_wait_for_rows() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let sandbox = Sandbox::new();
    let mut command = sandbox.distune("data check --model model -");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"text,label\nfine,1\ndull,0\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    // where it came before the wait began, the check is ended as soon as the rows are there
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(stdin);
    let ran = Ran::new(crate::support::end(child));
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(130), ""), "{}", ran.stderr);
    assert_says(&ran.message(), &["interrupted while "]);
}

#[test]
fn a_training_warns() {
    let sandbox = Sandbox::new();
    let train = String::from_utf8(sandbox.read("data/train.tsv")).unwrap();
    sandbox.write(
        "data/train.tsv",
        format!("{train}the film number 34 was very good\tnegative\nthe film number 0 was very good\tnegative\n"),
    );
    let ran = sandbox.succeeds("train --model model --data data --output run --epochs 1");
    let expected = [
        "Data: train: 1 of 33 texts (3.0 %) has several labels.\n",
        "Data: train: 1 of 34 rows (2.9 %) repeats an earlier one. \"distune data check\" lists them.\n",
    ];
    assert_says(&ran.stderr, &expected);
    // the same figures where rows are held out and dev is judged at the end
    let row = "the film number 0 was very good";
    sandbox.write("data/dev.tsv", format!("sentence\tlabel\n{row}\tpositive\nthe plot\tnegative\n"));
    sandbox.remove("data/test.tsv");
    let ran = sandbox.succeeds("train --model model --data data --output held --epochs 1");
    let overlap = "Data: validation: 1 of 2 rows (50.0 %) is in train too. \"distune data check\" lists";
    assert_says(&ran.stderr, &["Data: train: 1 of 34 rows (2.9 %) repeats an earlier one.\n", overlap]);
    let quiet = sandbox.succeeds("train --model model --data data --output quiet --epochs 1 --quiet");
    assert!(!quiet.stderr.contains("Data:"), "{}", quiet.stderr);
}
