//! Data that cannot be used, and what the message says about it.

use crate::support::{Checkpoint, Sandbox, assert_says, table};

/// Trains on `bad.tsv` or `bad.csv` with these contents, which must fail; returns the message.
fn refused(name: &str, contents: impl AsRef<[u8]>) -> String {
    let sandbox = Sandbox::new();
    sandbox.write(name, contents);
    sandbox.fails(&format!("train --model model --data {name} --output out"))
}

#[test]
fn no_such_file() {
    let message = Sandbox::new().fails("train --model model --data nowhere.tsv --output out");
    assert_says(&message, &["nowhere.tsv: no such file", "Check the path"]);
}

#[test]
fn another_format() {
    let message = refused("rows.jsonl", "{}\n");
    assert_says(&message, &["rows.jsonl: no text column", "sentence, text", "columns found: none", "JSON"]);
    let message = refused("rows.xlsx", b"PK\x03\x04\x00");
    assert_says(&message, &["rows.xlsx: ", ".tsv, .csv, .jsonl"]);
}

#[test]
fn missing_column_lists_the_columns_found() {
    let sandbox = Sandbox::new();
    let found = r#"columns found: "sentence", "label""#;
    let message = sandbox.fails("train --model model --data data --output out --text-column nope");
    assert_says(&message, &["data/train.tsv: no column \"nope\"", found, "--text-column"]);
    let message = sandbox.fails("train --model model --data data --output out --label-column nope");
    assert_says(&message, &["data/train.tsv: no column \"nope\"", found, "--label-column"]);
}

#[test]
fn no_guessable_column() {
    let message = refused("bad.tsv", "words\tstars\nfine\t4\ndull\t1\n");
    assert_says(&message, &["bad.tsv: no text column", "sentence, text", r#""words", "stars""#, "--text-column NAME"]);
    let message = refused("bad.tsv", "text\tstars\nfine\t4\ndull\t1\n");
    assert_says(&message, &["bad.tsv: no label column", r#""text", "stars""#, "--label-column NAME"]);
}

#[test]
fn empty_files() {
    assert_says(&refused("bad.tsv", ""), &["bad.tsv: the file is empty", "Expected a line with the column names"]);
    let message = refused("bad.csv", "text,label\n");
    assert_says(&message, &["bad.csv: no rows", "Expected one row for each text"]);
}

#[test]
fn one_class() {
    let message = refused("bad.tsv", "text\tlabel\nfine\tgood\nvery fine\tgood\n");
    assert_says(&message, &["bad.tsv: found one class only, \"good\"", "at least two", "--label-column"]);
}

#[test]
fn broken_utf8() {
    let message = refused("bad.tsv", b"text\tlabel\nfine\t1\ndu\xffll\t0\n");
    assert_says(&message, &["bad.tsv, line 3: column \"text\" is not UTF-8", "first 2 bytes", "as UTF-8"]);
}

#[test]
fn empty_text_and_label() {
    let message = refused("bad.tsv", "text\tlabel\nfine\t1\n  \t0\n");
    assert_says(&message, &["bad.tsv, line 3: the text in column \"text\" is empty", "remove the row"]);
    let message = refused("bad.csv", "text,label\nfine,1\ndull,\n");
    assert_says(&message, &["bad.csv, line 3: the label in column \"label\" is empty", "remove the row"]);
}

#[test]
fn ragged_row() {
    let message = refused("bad.tsv", "text\tlabel\nfine\t1\ndull\tvery\t0\n");
    assert_says(&message, &["bad.tsv, line 3: expected 2 fields", "found 3", "one tab"]);
    let message = refused("bad.csv", "text,label\nfine,1\ndull, very,0\n");
    assert_says(&message, &["bad.csv, line 3: expected 2 fields", "found 3", "in quotes"]);
}

#[test]
fn directory_without_train_file() {
    let sandbox = Sandbox::new();
    sandbox.remove("data/train.tsv");
    let message = sandbox.fails("train --model model --data data --output out");
    assert_says(&message, &["data: no train file", r#"found: "dev.tsv", "test.tsv""#, "train.tsv, .csv, .jsonl"]);
}

#[test]
fn directory_without_validation_file() {
    let sandbox = Sandbox::new();
    sandbox.remove("data/dev.tsv");
    sandbox.write("data/train.tsv", table('\t', 0..4));
    let message = sandbox.fails("train --model model --data data --output out");
    assert_says(&message, &["data: ", "no validation rows", "too few rows", "--select-on dev"]);
}

#[test]
fn file_too_small_to_split() {
    let message = refused("bad.tsv", "text\tlabel\nfine\t1\ndull\t0\n");
    assert_says(&message, &["bad.tsv: ", "no validation rows", "too few"]);
}

#[test]
fn validation_label_that_train_lacks() {
    let sandbox = Sandbox::new();
    sandbox.write("data/dev.tsv", "sentence\tlabel\na good film\tpositive\na film\tneutral\n");
    let message = sandbox.fails("train --model model --data data --output out");
    let expected = r#"unknown label "neutral" in column "label", expected one of "negative", "positive""#;
    assert_says(&message, &["data/dev.tsv, line 3: ", expected, "Correct the row"]);
}

#[test]
fn label_that_the_model_does_not_know() {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    sandbox.write("other.csv", "text,label\nfine,positive\n\"dull,\nand more\",negative\nfilm,5\n");
    let message = sandbox.fails("eval --model classifier --data other.csv");
    // the second row has two lines
    assert_says(&message, &["other.csv, line 5: unknown label \"5\"", r#"one of "negative", "positive""#]);
}

#[test]
fn token_beyond_the_vocabulary() {
    let sandbox = Sandbox::new();
    let mut model = Checkpoint::classifier();
    model.config["vocab_size"] = 16.into();
    let words = model.tensors.get_mut("distilbert.embeddings.word_embeddings.weight").unwrap();
    words.0[0] = 16;
    words.1.truncate(16 * 16);
    model.write(&sandbox, "small");
    let facts = ["token id 16", "vocab_size in config.json) has 16 ids", "tokenizer.json that belongs to the model"];
    sandbox.write("data/dev.tsv", table('\t', 0..4) + "beyond\tpositive\n");
    let message = sandbox.fails("train --model small --data data --output out");
    assert_says(&message, &["data/dev.tsv, line 6: "]);
    assert_says(&message, &facts);
    let (message, stdout) = sandbox.fails_with("predict --model small", "film\nbeyond\n");
    assert_says(&message, &["standard input, line 2: "]);
    assert_says(&message, &facts);
    assert_eq!(stdout.lines().count(), 1, "the line before is answered");
}
