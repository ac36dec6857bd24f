//! Tests of `read` and `columns`.

use proptest::prelude::*;

use super::*;

#[test]
fn tsv_is_glue() {
    let table = parse("SST-2/train.tsv", "sentence\tlabel\na \"lone quote  \t1\n\" \"\" it's, \t0\n").unwrap();
    assert_eq!(table.texts, ["a \"lone quote  ", "\" \"\" it's, "]);
    assert_eq!(table.labels, ["1", "0"]);
    assert_eq!(table.lines, [2, 3]);
    assert_eq!((table.text_column.as_str(), table.label_column.as_deref()), ("sentence", Some("label")));
    assert_eq!(table.path, Path::new("SST-2/train.tsv"));
}

#[test]
fn csv_is_quoted() {
    let table = parse("a.CSV", "id,text,label\n1,\"a, \"\"b\"\"\nc\", pos \n2,plain,neg\n").unwrap();
    assert_eq!(table.texts, ["a, \"b\"\nc", "plain"]);
    assert_eq!(table.labels, ["pos", "neg"]);
    assert_eq!(table.lines, [2, 4]);
}

#[test]
fn byte_order_mark_crlf_blank_lines_and_a_missing_last_line_end_are_accepted() {
    for (name, comma) in [("a.tsv", '\t'), ("a.csv", ',')] {
        let text = "\u{feff}text,label\r\na,0\r\n\r\n\r\nb,1\r\nc,0".replace(',', &comma.to_string());
        let table = parse(name, text).unwrap();
        assert_eq!(table.texts, ["a", "b", "c"]);
        assert_eq!(table.lines, [2, 5, 6]);
    }
    let table = parse("a.csv", "\n\ntext,label\n\n\"a\r\n\r\nb\",0\n\n\nc,1\n\n").unwrap();
    assert_eq!(table.lines, [5, 10]);
}

#[test]
fn columns_are_guessed_best_name_first_in_any_case() {
    let table = parse("a.tsv", "Title\tSENTIMENT\t Review \nt\tgood\tr\n").unwrap();
    assert_eq!((table.texts, table.labels), (vec!["r".to_owned()], vec!["good".to_owned()]));
    assert_eq!(table.text_column, "Review");
}

#[test]
fn named_columns_are_taken() {
    let bytes = b"text\tlabel\trating\tTEXT\na\t0\tgood\tb\n";
    let table = read_bytes(Path::new("a.tsv"), bytes, &columns("TEXT", "Rating"), Labels::Required).unwrap();
    assert_eq!((table.texts, table.labels), (vec!["b".to_owned()], vec!["good".to_owned()]));
}

#[test]
fn labels_are_optional_for_prediction() {
    let read = |columns: &Columns| read_bytes(Path::new("a.csv"), b"text\na\nb\n", columns, Labels::Optional);
    let table = read(&Columns::default()).unwrap();
    assert_eq!((table.texts.len(), table.labels.len(), table.label_column), (2, 0, None));
    let error = message(read(&columns("text", "stars")));
    assert!(error.starts_with("a.csv: no column \"stars\"; columns found: \"text\". "), "{error}");
}

#[test]
fn missing_columns_are_told() {
    let text = message(parse("a.tsv", "phrase\tscore\nx\t1\n"));
    assert!(text.starts_with("a.tsv: no text column found in the header (looked for sentence, text, "), "{text}");
    assert!(text.contains("columns found: \"phrase\", \"score\""), "{text}");
    assert!(text.contains("--text-column NAME"), "{text}");

    let label = message(parse("a.tsv", "text\tscore\nx\t1\n"));
    assert!(label.contains("no label column found"), "{label}");
    assert!(label.contains("--label-column NAME"), "{label}");

    let named = read_bytes(Path::new("a.tsv"), b"text\tlabel\nx\t1\n", &columns("body", "label"), Labels::Required);
    assert!(message(named).starts_with("a.tsv: no column \"body\"; columns found: \"text\", \"label\". "));

    let headless = message(parse("a.tsv", format!("{}\tx\n", "long ".repeat(100))));
    assert!(headless.len() < 400, "{headless}");
    assert!(headless.contains("must name the columns"), "{headless}");
}

#[test]
fn duplicate_columns_are_refused_only_where_used() {
    let error = message(parse("a.csv", "text,label,text\na,0,b\n"));
    assert!(error.starts_with("a.csv: 2 columns are called \"text\", expected one. "), "{error}");
    assert!(parse("a.csv", "text,label,x,x\na,0,b,c\n").is_ok());
    let same = read_bytes(Path::new("a.csv"), b"text,label\na,0\n", &columns("text", "text"), Labels::Required);
    assert!(message(same).contains("column \"text\" is asked for as both text and label"));
}

#[test]
fn empty_files_are_refused() {
    for bytes in ["", "\u{feff}", "\n\r\n"] {
        assert!(message(parse("a.csv", bytes)).starts_with("a.csv: the file is empty. "));
    }
    assert!(message(parse("a.tsv", "text\tlabel\n")).starts_with("a.tsv: no rows. "));
}

#[test]
fn broken_utf8_is_told_by_line_and_column() {
    let error = message(parse("a.tsv", b"text\tlabel\nfine\t0\nna\xefve\t1\n"));
    assert!(error.starts_with("a.tsv, line 3: column \"text\" is not UTF-8 after its first 2 bytes. "), "{error}");
    let error = message(parse("a.tsv", b"te\xefxt\tlabel\nfine\t0\n"));
    assert!(error.starts_with("a.tsv, line 1: the header is not UTF-8. "), "{error}");
}

#[test]
fn empty_texts_and_labels_are_refused() {
    for text in ["", "  ", "\u{a0}\u{2003}"] {
        let error = message(parse("a.tsv", format!("text\tlabel\na\t0\n{text}\t1\n")));
        assert!(error.starts_with("a.tsv, line 3: the text in column \"text\" is empty. "), "{error}");
    }
    let error = message(parse("a.csv", "text,label\n\"a\nb\",0\nc, \n"));
    assert!(error.starts_with("a.csv, line 4: the label in column \"label\" is empty. "), "{error}");
}

/// In a file of texts alone a blank line is an empty text, not nothing: the rows must not shift silently.
#[test]
fn a_blank_line_between_bare_texts_is_an_empty_text() {
    let read = |text: &str| read_bytes(Path::new("a.tsv"), text.as_bytes(), &Columns::default(), Labels::Optional);
    assert_eq!(read("text\r\na\r\nb\r\n\r\n").unwrap().lines, [2, 3]);
    let error = message(read("text\r\na\r\n\r\nb\r\n"));
    assert!(error.starts_with("a.tsv, line 3: the text in column \"text\" is empty. "), "{error}");
}

#[test]
fn ragged_rows_are_refused() {
    let error = message(parse("a.tsv", "text\tlabel\na\t0\nb\tc\t1\n"));
    assert!(error.starts_with("a.tsv, line 3: expected 2 fields as in the header, found 3. "), "{error}");
    let error = message(parse("a.csv", "text,label\r\na\r\n"));
    assert!(error.starts_with("a.csv, line 2: expected 2 fields as in the header, found 1. "), "{error}");
}

#[test]
fn a_quote_that_is_never_closed_is_refused() {
    let unclosed = "text,label\na,0\nb,\"1\nc,0\nd,1\n";
    for text in [unclosed, unclosed.trim_end()] {
        let error = message(parse("a.csv", text));
        assert!(
            error.starts_with("a.csv, line 3: a quote is opened in column \"label\" and never closed. "),
            "{error}"
        );
    }
    assert_eq!(parse("a.csv", "text,label\na,\"0\n1\"\n").unwrap().labels, ["0\n1"]);
}

#[test]
fn other_formats_and_missing_files_are_refused() {
    let error = message(parse("data.docx", ""));
    assert!(error.starts_with("data.docx: expected .tsv, .csv, .jsonl, .json, .parquet or .txt"), "{error}");
    assert!(error.contains("found .docx. "), "{error}");
    let read = |path: &Path| message(read_file(path, &Columns::default(), Labels::Required));
    assert_eq!(read(Path::new("nowhere/a.tsv")), "nowhere/a.tsv: no such file or directory. Check the path");
    let directory = tempfile::tempdir().unwrap();
    assert!(read(directory.path()).contains("this is a directory, expected a file: .tsv, "));
    let file = directory.path().join("a.xlsx");
    std::fs::write(&file, "x").unwrap();
    assert!(read(&file).contains("found .xlsx"));
}

/// Strings that are not blank.
fn filled(strings: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    strings.prop_filter("blank", |string| !string.trim().is_empty())
}

/// Names of one class: not several with a `|` between them, and no number with a fraction.
fn names(strings: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    strings.prop_filter("no name", |string| !string.contains(['|', '.']))
}

/// Rows of text, label and another field.
fn rows(alphabet: &'static str) -> impl Strategy<Value = Vec<[String; 3]>> {
    let row = (filled(alphabet), names(filled(alphabet)), alphabet.prop_map(|other| other));
    prop::collection::vec(row.prop_map(|(text, label, other)| [text, label, other]), 1..8)
}

/// Checks what was read against what was written.
fn same(table: &Table, rows: &[[String; 3]]) -> Result<(), TestCaseError> {
    let texts: Vec<&String> = rows.iter().map(|row| &row[0]).collect();
    let labels: Vec<&str> = rows.iter().map(|row| row[1].trim()).collect();
    prop_assert_eq!(table.texts.iter().collect::<Vec<_>>(), texts);
    prop_assert_eq!(&table.labels, &labels);
    Ok(())
}

proptest! {
    #[test]
    fn any_tsv_reads_back(rows in rows("[^\t\n\r]{0,12}|[\" ,a]{0,6}"), crlf: bool) {
        let end = if crlf { "\r\n" } else { "\n" };
        let lines = rows.iter().map(|[text, label, other]| format!("{other}\t{text}\t{label}"));
        let file = ["other\ttext\tlabel".to_owned()].into_iter().chain(lines).map(|line| line + end);
        let table = parse("a.tsv", file.collect::<String>()).unwrap();
        same(&table, &rows)?;
        prop_assert_eq!(table.lines, (2..rows.len() as u64 + 2).collect::<Vec<_>>());
    }

    #[test]
    fn any_csv_reads_back(rows in rows("(?s:.{0,12})|[\", \r\na]{0,6}"), crlf: bool) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        writer.write_record(["text", "label", "other"]).unwrap();
        let mut lines = vec![2];
        for row in &rows {
            writer.write_record(row).unwrap();
            let inside = row.iter().map(|field| field.matches('\n').count() as u64).sum::<u64>();
            lines.push(lines[lines.len() - 1] + inside + 1);
        }
        let table = parse("a.csv", writer.into_inner().unwrap()).unwrap();
        same(&table, &rows)?;
        lines.pop();
        prop_assert_eq!(table.lines, lines);
    }

    /// Whatever the bytes, there is a table or a message, and no row is without its parts.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(prop::sample::select(b"\",\t\r\nab\xff\xc3\xa9".to_vec()), 0..60)) {
        for (name, header) in [("a.csv", "text,label\n"), ("a.tsv", "text\tlabel\n")] {
            if let Ok(table) = parse(name, [header.as_bytes(), &bytes].concat()) {
                prop_assert!(!table.is_empty());
                prop_assert_eq!((table.texts.len(), table.lines.len()), (table.labels.len(), table.labels.len()));
            }
        }
    }
}

#[test]
fn pairs_are_guessed_by_both_names() {
    for (header, pair) in [
        ("index\tsentence1\tsentence2\tlabel", Some("sentence2")),
        ("Premise\tidx\tHypothesis\tlabel", Some("Hypothesis")),
        ("sentence\tlabel\tquestion\tx", Some("sentence")),
        ("sentence\tlabel\tsentence2\tx", None),
    ] {
        let table = parse("a.tsv", format!("{header}\na\tb\tc\td\n")).unwrap();
        assert_eq!(table.pair_column.as_deref(), pair, "{header}");
        assert_eq!(table.pairs.len(), usize::from(pair.is_some()));
    }
    // a named text column is a single text
    let table = read_bytes(
        Path::new("a.csv"),
        b"sentence1,sentence2,label\na,b,c\n",
        &columns("sentence1", "label"),
        Labels::Required,
    );
    assert_eq!(table.unwrap().pair_column, None);
}
