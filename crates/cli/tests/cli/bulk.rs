//! `predict --data FILE --output FILE`: formats, columns, order, parts of the work, processes that are killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use distune::data::PredictionFile;
use serde_json::{Value, json};

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, end, feed};

const PREDICT: &str = "predict --model classifier --precision f32";

/// With a classifier, whose weights are random, and rows with further columns.
fn with_rows(rows: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox.write("rows.csv", csv(0..rows));
    sandbox
}

/// Texts of many lengths.
fn text(row: usize) -> String {
    let words = ["good", "bad", "very", "dull", "plot", "fine"];
    let some: Vec<&str> = (0..1 + row * 7 % 23).map(|i| words[(row + i * i) % words.len()]).collect();
    format!("film {}", some.join(" "))
}

fn csv(rows: std::ops::Range<usize>) -> String {
    let row = |row: usize| format!("{row},{},\"a, \"\"{row}\"\"\",{}\n", text(row), ["negative", "positive"][row % 2]);
    format!("id,text,note,label\n{}", rows.map(row).collect::<String>())
}

/// The printed predictions of the same rows.
fn printed(sandbox: &Sandbox, options: &str) -> Vec<Value> {
    let ran = sandbox.succeeds(&format!("{PREDICT} --json {options}"));
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks that a file has these predictions.
#[track_caller]
fn assert_predictions(sandbox: &Sandbox, name: &str, want: &[Value]) {
    let file = PredictionFile::read(&sandbox.path(name)).unwrap();
    assert_eq!(file.len(), want.len(), "{name}");
    for (row, want) in want.iter().enumerate() {
        assert_eq!(file.texts[row], want["text"], "{name}");
        let p = &file.probabilities[row * file.classes..][..file.classes];
        for (name, p) in file.names.iter().zip(p) {
            assert_eq!(want["probabilities"][name], json!(p), "row {row}");
        }
        let label = file.predicted.as_ref().unwrap().row(row)[0] as usize;
        assert_eq!(want["label"], json!(file.names[label]), "{name}");
    }
}

#[test]
fn any_format_into_any() {
    let sandbox = with_rows(50);
    let want = printed(&sandbox, "--data rows.csv");
    let objects: Vec<String> = (0..50).map(|i| json!({"id": i, "text": text(i)}).to_string()).collect();
    sandbox.write("rows.jsonl", objects.join("\n"));
    sandbox.write("rows.json", format!("[{}]", objects.join(",\n ")));
    sandbox.write("rows.tsv", (0..50).fold("text\tn\n".to_owned(), |all, i| format!("{all}{}\t{i}\n", text(i))));
    for name in ["rows.parquet", "rows.csv.gz", "rows.jsonl.zst"] {
        sandbox.succeeds_with(&format!("data convert rows.csv {name}"), "");
    }
    for from in ["rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "rows.parquet", "rows.csv.gz", "rows.jsonl.zst"] {
        for to in ["out.csv", "out.jsonl", "out.parquet"] {
            let ran = sandbox.succeeds(&format!("{PREDICT} --data {from} --output {to}"));
            assert_says(&ran.stdout, &[&format!("{to}: 50 rows, in ")]);
            assert_predictions(&sandbox, to, &want);
            sandbox.remove(to);
        }
    }
    for name in ["rows.csv", "rows.jsonl", "rows.parquet"] {
        let command = format!("{PREDICT} --data - --output out.parquet --overwrite --json");
        let ran = sandbox.succeeds_with(&command, sandbox.read(name));
        assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["rows"], json!(50));
        assert_predictions(&sandbox, "out.parquet", &want);
    }
    let leftovers: Vec<_> = sandbox.paths().into_iter().filter(|path| path.ends_with("unfinished")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

#[test]
fn all_columns_are_kept() {
    let sandbox = with_rows(3);
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output out.csv"));
    let out = String::from_utf8(sandbox.read("out.csv")).unwrap();
    let mut lines = out.lines();
    let header = "id,text,note,label,predicted,probability_negative,probability_positive,truncated";
    assert_eq!(lines.next(), Some(header));
    for (line, own) in lines.zip(csv(0..3).lines().skip(1)) {
        let rest = line.strip_prefix(own).unwrap_or_else(|| panic!("{line} {own}"));
        let fields: Vec<&str> = rest.split(',').collect();
        assert_eq!((fields.len(), fields[4]), (5, "false"), "{line}");
    }
    // objects stay as they are, whatever fields they have
    let own = [
        r#"{"a": [1, {"b":null}], "text": "a \u00e9 film", "n": 12345678901234567890123, "x": 1.0}"#,
        r#"{"text":"dull","y":"z"}"#,
    ];
    sandbox.write("rows.jsonl", format!("{}\n\n{}\n", own[0], own[1]));
    sandbox.succeeds(&format!("{PREDICT} --data rows.jsonl --output out.jsonl"));
    let out = String::from_utf8(sandbox.read("out.jsonl")).unwrap();
    for (line, own) in out.lines().zip(own) {
        assert!(line.starts_with(&format!("{}, \"predicted\": \"", own.strip_suffix('}').unwrap())), "{line}");
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["truncated"], json!(false));
    }
    assert_eq!(out.lines().count(), 2);
    // what a table cannot hold is told with its line
    let message = sandbox.fails(&format!("{PREDICT} --data rows.jsonl --output out.parquet"));
    assert_says(&message, &["rows.jsonl, line 3: a field \"y\", which the first row has not got", "write .jsonl"]);
    sandbox.write("kinds.jsonl", "{\"text\": \"dull\", \"n\": 1}\n{\"text\": \"dull\", \"n\": null}\n");
    sandbox.succeeds(&format!("{PREDICT} --data kinds.jsonl --output kinds.parquet"));
    sandbox.succeeds(&format!("{PREDICT} --data kinds.jsonl --output kinds.csv"));
    assert_says(&String::from_utf8(sandbox.read("kinds.csv")).unwrap(), &["text,n,predicted", "dull,1,", "dull,,"]);
}

#[test]
fn names_that_are_taken() {
    let sandbox = with_rows(3);
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output out.csv"));
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output out.jsonl"));
    for to in ["again.csv", "again.parquet"] {
        let message = sandbox.fails(&format!("{PREDICT} --data out.csv --output {to}"));
        assert_says(&message, &["out.csv: has a column \"predicted\" already", "Rename or remove it"]);
    }
    let message = sandbox.fails(&format!("{PREDICT} --data out.jsonl --output again.jsonl"));
    assert_says(&message, &["out.jsonl, line 1: has a field \"predicted\" already", "Rename or remove the field"]);
    assert!(!message.contains("write .jsonl"), "it is one: {message}");
}

/// What is predicted for labelled rows is a file that can be judged, without naming the rows again.
#[test]
fn labelled_rows_are_judged() {
    let sandbox = with_rows(40);
    let figures = |options: &str| -> Value {
        let ran = sandbox.succeeds(&format!("eval --json {options}"));
        let all: Value = serde_json::from_str(&ran.stdout).unwrap();
        json!([all["eval_accuracy"], all["eval_log_loss"], all["eval_samples"]])
    };
    let want = figures("--model classifier --precision f32 --data rows.csv");
    for to in ["out.csv", "out.jsonl", "out.parquet"] {
        sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output {to}"));
        assert_eq!(figures(&format!("--predictions {to}")), want, "{to}");
        assert_eq!(figures(&format!("--predictions {to} --data rows.csv")), want, "{to}");
    }
}

#[test]
fn options_are_those_of_printing() {
    let sandbox = with_rows(20);
    let cut = "--max-length 12";
    let sure = |row: &Value| {
        let p = ["negative", "positive"].map(|label| row["probabilities"][label].as_f64().unwrap());
        p[0].max(p[1])
    };
    let mut confidences: Vec<f64> = printed(&sandbox, &format!("--data rows.csv {cut}")).iter().map(sure).collect();
    confidences.sort_by(f64::total_cmp);
    // about half of the rows are less sure
    let least = confidences[10];
    let all = format!("--logits --threshold 0.5001 --abstain-below {least} --explain=positive {cut}");
    let want = printed(&sandbox, &format!("--data rows.csv {all}"));
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv {all} --output out.jsonl"));
    let out = String::from_utf8(sandbox.read("out.jsonl")).unwrap();
    assert_eq!(out.lines().count(), 20);
    for (line, want) in out.lines().zip(&want) {
        let got: Value = serde_json::from_str(line).unwrap();
        assert_eq!(got["predicted"], want["label"]);
        for key in ["probabilities", "abstained", "truncated", "logits", "attribution"] {
            assert_eq!(got[key], want[key], "{key}");
        }
    }
    assert!(want.iter().any(|row| row["truncated"] == true) && want.iter().any(|row| row["abstained"] == true));
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv {all} --output out.csv"));
    let header = "id,text,note,label,predicted,probability_negative,probability_positive,abstained,truncated,\
                  logit_negative,logit_positive,attribution";
    assert_eq!(String::from_utf8(sandbox.read("out.csv")).unwrap().lines().next(), Some(header));
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv {all} --output out.parquet"));
    // windows, too
    let windows = "--max-length 8 --long windows --window-combine max";
    let want = printed(&sandbox, &format!("--data rows.csv {windows}"));
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv {windows} --output windows.csv"));
    assert_predictions(&sandbox, "windows.csv", &want);
    let message = sandbox.fails(&format!("{PREDICT} --logits film"));
    assert_says(&message, &["--logits: expected with --json or --output"]);
}

#[test]
fn several_labels_a_row() {
    let sandbox = with_rows(20);
    let mut model = Checkpoint::classifier();
    model.config["problem_type"] = json!("multi_label_classification");
    model.write(&sandbox, "classifier");
    let want = printed(&sandbox, "--data rows.csv");
    for to in ["out.csv", "out.jsonl", "out.parquet"] {
        sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output {to}"));
        let file = PredictionFile::read(&sandbox.path(to)).unwrap();
        for (row, want) in want.iter().enumerate() {
            let mut names: Vec<&str> = want["labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
            let ids = file.predicted.as_ref().unwrap().row(row);
            let mut got: Vec<&str> = ids.iter().map(|&id| file.names[id as usize].as_str()).collect();
            names.sort_unstable();
            got.sort_unstable();
            assert_eq!(got, names, "{to}, row {row}");
        }
    }
}

#[test]
fn parts_of_the_work_are_the_whole() {
    let sandbox = with_rows(50);
    sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output whole.csv"));
    let lines = |name: &str| -> Vec<String> {
        String::from_utf8(sandbox.read(name)).unwrap().lines().map(str::to_owned).collect()
    };
    let whole = lines("whole.csv");
    let mut parts = Vec::new();
    for i in 1..=3 {
        sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output part{i}.csv --shard {i}/3"));
        let mut part = lines(&format!("part{i}.csv"));
        assert_eq!(part.remove(0), whole[0]);
        parts.push(part.into_iter());
    }
    let union: Vec<String> = (0..50).map(|row| parts[row % 3].next().unwrap()).collect();
    assert_eq!(union, whole[1..]);
    assert!(parts.iter_mut().all(|part| part.next().is_none()));
    // a part may have no rows
    for to in ["none.csv", "none.jsonl", "none.parquet"] {
        sandbox.succeeds(&format!("{PREDICT} --data rows.csv --output {to} --shard 60/60"));
    }
    assert_eq!(lines("none.csv"), [whole[0].clone()]);
    // rows of other parts are not looked at
    sandbox.write("bad.csv", format!("text,n\n{},0\n,1\n", text(0)));
    sandbox.succeeds(&format!("{PREDICT} --data bad.csv --output good.csv --shard 1/2"));
    let message = sandbox.fails(&format!("{PREDICT} --data bad.csv --output bad.out.csv --shard 2/2"));
    assert_says(&message, &["bad.csv, line 3: the text in column \"text\" is empty"]);
    for bad in ["0/3", "4/3", "1", "a/b"] {
        let ran =
            Ran::new(feed(&mut sandbox.distune(&format!("{PREDICT} --data rows.csv -o x.csv --shard {bad}")), b""));
        assert_eq!(ran.status, Some(2), "{bad}");
    }
}

#[test]
fn bad_rows() {
    let sandbox = with_rows(2);
    let good = csv(0..20_000);
    let [empty, broken] = ["5,,x,negative\n".as_bytes(), b"6,\xff,x,negative\n"];
    for (bad, says) in [(empty, "line 20002: the text in column \"text\" is empty"), (broken, "line 20002: column ")] {
        let rows = [good.as_bytes(), bad, b"7,fine,x,negative\n"].concat();
        sandbox.write("bad.csv", &rows);
        let command = format!("{PREDICT} --data bad.csv --output out.csv");
        let ran = Ran::new(feed(&mut sandbox.distune(&command), b""));
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""));
        assert_says(&ran.stderr, &["16,384 rows are kept in out.csv.unfinished; to go on, add --resume", says]);
        assert!(!sandbox.path("out.csv").exists());
        let message = Ran::new(feed(&mut sandbox.distune(&format!("{command} --quiet")), b"")).message();
        assert_says(&message, &["out.csv.unfinished: predictions that are not finished are there", "--resume"]);
        // once it is repaired, the rows before it are not predicted again
        sandbox.write("bad.csv", [good.as_bytes(), b"5,good film,x,negative\n7,fine,x,negative\n"].concat());
        let ran = sandbox.succeeds(&format!("{command} --resume"));
        assert_says(&ran.stderr, &["Goes on behind 16,384 rows"]);
        let resumed = sandbox.read("out.csv");
        sandbox.succeeds(&format!("{command} --overwrite"));
        assert!(resumed == sandbox.read("out.csv"), "other bytes");
        sandbox.remove("out.csv");
        // or left out
        sandbox.write("bad.csv", &rows);
        let ran = sandbox.succeeds(&format!("{command} --skip-bad"));
        assert_says(&ran.stderr, &["left out: bad.csv, line 20002: "]);
        assert_says(&ran.stdout, &["out.csv: 20,001 rows"]);
        sandbox.remove("out.csv");
    }
    // what is printed has no other columns
    sandbox.write("broken.csv", b"text,n\nfine,\xff\n");
    assert_eq!(printed(&sandbox, "--data broken.csv").len(), 1);
    let message = sandbox.fails(&format!("{PREDICT} --data broken.csv --output broken.jsonl"));
    assert_says(&message, &["broken.csv, line 2: column number 2 is not UTF-8"]);
    let message = sandbox.fails(&format!("{PREDICT} --data rows.csv --text-column body --output out.csv"));
    assert_says(&message, &["rows.csv: no column \"body\"; columns found: \"id\", \"text\", \"note\", \"label\""]);
    let message = sandbox.fails(&format!("{PREDICT} --data rows.csv --output out.xlsx"));
    assert_says(&message, &["out.xlsx: predictions are written as .csv, .jsonl or .parquet"]);
    sandbox.write("out.csv", "kept");
    let message = sandbox.fails(&format!("{PREDICT} --data rows.csv --output out.csv"));
    assert_says(&message, &["out.csv: exists", "--overwrite"]);
    let message = sandbox.fails(&format!("{PREDICT} --data rows.csv --output data"));
    assert_says(&message, &["predictions are written as"]);
    assert_eq!(sandbox.read("out.csv"), b"kept");
}

/// Starts a prediction and kills it after `blocks` blocks; false if it was done before.
fn kill_after(sandbox: &Sandbox, command: &str, unfinished: &Path, blocks: usize, delay: Duration) -> bool {
    let mut child =
        sandbox.distune(command).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let done = || {
        let state: Option<Value> =
            std::fs::read(unfinished.join("state.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        state.and_then(|state| state["blocks"].as_u64()).unwrap_or(0) as usize >= blocks
    };
    while !done() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    end(child);
    running
}

#[test]
fn a_killed_process_is_gone_on_with() {
    let sandbox = with_rows(70_000);
    for to in ["out.csv", "out.jsonl", "out.parquet"] {
        let command = format!("{PREDICT} --data rows.csv --quiet --output {to}");
        sandbox.succeeds(&command);
        let want = sandbox.read(to);
        sandbox.remove(to);
        let unfinished = sandbox.path(&format!("{to}.unfinished"));
        let mut killed = 0;
        for (blocks, delay) in [(0, 40), (1, 0), (2, 3), (3, 11), (5, 1), (6, 23), (8, 0)] {
            let resume = format!("{command} --resume");
            killed += usize::from(kill_after(&sandbox, &resume, &unfinished, blocks, Duration::from_millis(delay)));
            assert!(!sandbox.path(to).exists() || !unfinished.join("rows").exists(), "half of it has the name");
        }
        assert!(killed >= 4, "{killed} times");
        if !sandbox.path(to).exists() {
            sandbox.succeeds(&format!("{command} --resume"));
        }
        assert!(sandbox.read(to) == want, "{to}: other bytes than without interruption");
        assert!(!unfinished.exists());
        sandbox.remove(to);
    }
}

#[test]
fn another_job_is_not_gone_on_with() {
    let sandbox = with_rows(30_000);
    let command = format!("{PREDICT} --data rows.csv --quiet --output out.csv");
    let unfinished = sandbox.path("out.csv.unfinished");
    assert!(kill_after(&sandbox, &command, &unfinished, 1, Duration::ZERO));
    let resume = format!("{command} --resume");
    for (options, says) in [
        ("--max-length 9", "another --max-length: it was begun with 64, not with 9"),
        ("--logits", "another --logits: it was begun with false, not with true"),
        ("--shard 1/2", "another --shard: it was begun with 1 of 1, not with 1 of 2"),
        ("--abstain-below 0.9", "another choice of calibration, thresholds and abstention"),
        ("--text-column note", "another choice of columns"),
        ("--long windows", "another choice of windows"),
    ] {
        let message = Ran::new(feed(&mut sandbox.distune(&format!("{resume} {options}")), b"")).message();
        assert_says(&message, &["out.csv.unfinished: cannot go on with ", says, "--overwrite"]);
    }
    let rows = String::from_utf8(sandbox.read("rows.csv")).unwrap();
    sandbox.write("rows.csv", rows.replacen("film good", "film dull", 1));
    let message = Ran::new(feed(&mut sandbox.distune(&resume), b"")).message();
    assert_says(&message, &["rows.csv: its first rows, of which ", "are not those that they were", "--overwrite"]);
    sandbox.write("rows.csv", csv(0..10));
    let message = Ran::new(feed(&mut sandbox.distune(&resume), b"")).message();
    assert_says(&message, &["rows.csv: its first rows"]);
    sandbox.write("rows.csv", rows);
    let mut other = Checkpoint::classifier();
    other.values("classifier.bias")[0] += 0.25;
    other.write(&sandbox, "classifier");
    let message = Ran::new(feed(&mut sandbox.distune(&resume), b"")).message();
    assert_says(&message, &["cannot go on with another model"]);
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox.succeeds(&resume);
    assert!(!unfinished.exists());
}

#[test]
fn interrupted() {
    let sandbox = with_rows(70_000);
    let command = format!("{PREDICT} --data rows.csv --quiet --output out.jsonl");
    let child = sandbox.distune(&command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let state = sandbox.path("out.jsonl.unfinished/state.json");
    while !state.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert_says(&ran.message(), &["interrupted while rows were predicted; ", " rows are kept in out.jsonl.unfinished"]);
    sandbox.succeeds(&format!("{command} --resume"));
    let resumed = sandbox.read("out.jsonl");
    sandbox.succeeds(&format!("{command} --overwrite"));
    assert!(resumed == sandbox.read("out.jsonl"));
}

/// A limit on the size of files is met as a full disk is: with an error of the system.
#[cfg(target_os = "linux")]
#[test]
fn full_disk() {
    let sandbox = with_rows(20_000);
    let program = sandbox.distune("");
    for (to, limit) in [("out.csv", 1200), ("out.parquet", 8)] {
        let script = format!(
            "trap '' XFSZ; ulimit -f {limit}; exec {} {PREDICT} --data rows.csv --quiet --output {to}",
            program.get_program().to_str().unwrap()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(sandbox.path("")).env("HF_HUB_OFFLINE", "1");
        let ran = Ran::new(feed(&mut command, b""));
        assert_eq!(ran.status, Some(1), "{}", ran.stderr);
        assert_says(&ran.message(), &[&format!("{to}.unfinished"), "File too large"]);
        assert!(!sandbox.path(to).exists());
        let resumed = sandbox.succeeds(&format!("{PREDICT} --data rows.csv --quiet --output {to} --resume"));
        assert_says(&resumed.stdout, &[&format!("{to}: 20,000 rows")]);
        let got = sandbox.read(to);
        sandbox.succeeds(&format!("{PREDICT} --data rows.csv --quiet --output {to} --overwrite"));
        assert!(got == sandbox.read(to));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_rows() {
    let sandbox = with_rows(1);
    let peak = |rows: usize, to: &str| -> u64 {
        sandbox.write("many.csv", csv(0..rows));
        let ran = sandbox.succeeds(&format!("{PREDICT} --data many.csv --output {to} --overwrite --quiet --json"));
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["peak_memory"].as_u64().unwrap()
    };
    for to in ["out.csv", "out.jsonl", "out.parquet"] {
        // ten blocks fill the line, forty are as many again three times over
        let (some, many) = (peak(80_000, to), peak(320_000, to));
        assert!(many < some + (24 << 20), "{to}: {some} bytes, with four times the rows {many}");
    }
}

#[test]
fn pairs() {
    let sandbox = with_rows(3);
    sandbox.write(
        "pairs.csv",
        (0..30).fold("text,other\n".to_owned(), |all, i| format!("{all}{},{}\n", text(i), text(i + 1))),
    );
    let options = "--data pairs.csv --text-column text --pair-column other";
    let want = printed(&sandbox, options);
    sandbox.succeeds(&format!("{PREDICT} {options} --output out.csv"));
    assert_predictions(&sandbox, "out.csv", &want);
    let windows = "--max-length 16 --long windows";
    let want = printed(&sandbox, &format!("{options} {windows}"));
    sandbox.succeeds(&format!("{PREDICT} {options} {windows} --output windows.csv"));
    assert_predictions(&sandbox, "windows.csv", &want);
}
