//! `data convert` and `data sample`.

use crate::support::*;

/// Rows with what formats find hard: quotes, commas, semicolons and letters beyond ASCII.
const ROWS: &str = "{\"text\":\"it \\\"is\\\"; good, naïve \",\"label\":1}\n{\"text\":\"dull\",\"label\":0}\n";

#[test]
fn every_format_from_every_other() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", ROWS);
    let names = ["a.jsonl", "a.tsv", "a.csv", "a.parquet", "a.json.gz", "a.tsv.zst", "a.parquet.gz", "a.csv.gz"];
    for from in names {
        for (i, to) in names.into_iter().enumerate() {
            let to = format!("{from}-{i}/{to}");
            if !sandbox.path(from).exists() {
                sandbox.succeeds(&format!("data convert a.jsonl {from}"));
            }
            let ran = sandbox.succeeds(&format!("data convert {from} {to} --json --quiet"));
            let written = format!("{{\"event\":\"written\",\"output\":\"{to}\",\"rows\":2}}\n");
            assert_eq!((ran.stdout, ran.stderr.as_str()), (written, ""));
            assert_eq!(sandbox.succeeds(&format!("data convert {to} -")).stdout, ROWS, "{from} to {to}");
        }
    }
    // from standard input to standard output
    let packed = sandbox.read("a.parquet.gz");
    let csv = sandbox.succeeds_with("data convert - - --format csv", packed).stdout;
    assert_eq!(csv, "text,label\n\"it \"\"is\"\"; good, naïve \",1\ndull,0\n");
}

#[test]
fn what_cannot_be_written_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", ROWS);
    let fails = |to: &str| sandbox.fails(&format!("data convert a.jsonl {to}"));
    let formats = "expected .tsv, .csv, .jsonl, .json or .parquet, each also with .gz or .zst, found";
    assert_says(&fails("b.txt"), &["b.txt: ", formats, "found .txt. Choose another name"]);
    assert_says(&fails("b"), &[formats, "no extension"]);
    assert_says(&fails("- --format docx"), &["standard output.docx: ", formats]);
    assert_says(&fails("a.jsonl"), &["a.jsonl: exists. Choose another name, or add --overwrite"]);
    sandbox.write("b.csv/x", "");
    assert_says(&fails("b.csv --overwrite"), &["b.csv: exists and is no file that could be replaced"]);
    sandbox.write("tabs.jsonl", "{\"text\":\"a\\tb\",\"label\":1}\n");
    let message = sandbox.fails("data convert tabs.jsonl c.tsv");
    assert_says(&message, &["tabs.jsonl, line 1: column \"text\" has a tab", "Write .csv, .jsonl or .parquet"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_not_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", ROWS);
    std::os::unix::fs::symlink("/dev/null", sandbox.path("null.csv")).unwrap();
    let message = sandbox.fails("data convert a.jsonl null.csv --overwrite");
    assert_says(&message, &["null.csv: exists and is no file that could be replaced"]);
    assert!(sandbox.path("null.csv").is_symlink());
    // a reader that has seen enough is no error to tell
    let mut command = sandbox.distune("data convert a.jsonl -");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).arg("--quiet").output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), &b""[..]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", ROWS);
    for format in ["csv", "jsonl", "tsv.gz", "csv.zst", "parquet"] {
        let mut command = sandbox.distune(&format!("data convert a.jsonl - --quiet --format {format}"));
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::new(command.stdout(full).output().unwrap());
        assert_eq!(ran.status, Some(1));
        assert_says(&ran.message(), &["standard output", "No space left on device", "Free some space and try again"]);
    }
}

#[test]
fn splits_are_written_all_or_none() {
    let sandbox = Sandbox::new();
    sandbox.succeeds("data convert data out --format csv.gz");
    for split in ["train", "validation", "test"] {
        assert!(sandbox.path(&format!("out/{split}.csv.gz")).exists());
    }
    sandbox.write("half/validation.csv", "text,label\n");
    let message = sandbox.fails("data convert data half --format csv");
    assert_says(&message, &["half/validation.csv: exists. Choose another name, or add --overwrite"]);
    assert_says(&sandbox.fails("data convert data out.csv"), &["data is read as splits", "Name a directory"]);
    assert_says(&sandbox.fails("data convert data -"), &["data is read as splits"]);
    assert_says(&sandbox.fails("data convert data other --format docx"), &["other/train.docx: expected .tsv"]);
}

#[test]
fn a_sample_keeps_the_shares_of_the_labels() {
    let sandbox = Sandbox::new();
    let rows: String = (0..40).map(|i| format!("text {i},{}\n", if i % 4 == 0 { "rare" } else { "often" })).collect();
    sandbox.write("a.csv", format!("text,label\n{rows}"));
    let sample = |seed: u32| sandbox.succeeds(&format!("data sample a.csv - -n 8 --seed {seed} --format csv")).stdout;
    let first = sample(1);
    assert_eq!((first.matches("rare").count(), first.matches("often").count()), (2, 6));
    assert_eq!(first, sample(1));
    assert_ne!(first, sample(2));
    assert_eq!(sandbox.succeeds("data sample a.csv - -n 100").stdout.lines().count(), 40);
}
