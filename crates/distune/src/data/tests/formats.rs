//! Tests of the formats beside `.tsv` and `.csv`, of packed files, of what is written, and of bad rows.

use std::fs;
use std::io::Write;

use proptest::prelude::*;

use super::*;

/// Reads bytes, leaving out bad rows.
fn parse_good(name: &str, bytes: impl AsRef<[u8]>) -> Table {
    let columns = Columns { skip_bad: true, ..Columns::default() };
    read_bytes(Path::new(name), bytes.as_ref(), &columns, Labels::Required).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A table of texts and labels.
fn table(texts: &[&str], labels: &[&str]) -> Table {
    let own = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    Table {
        text_column: "text".into(),
        label_column: Some("label".into()),
        texts: own(texts),
        labels: own(labels),
        lines: (2..2 + texts.len() as u64).collect(),
        ..Table::default()
    }
}

/// The bytes of a table in the format of `name`.
fn written(name: &str, table: &Table) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    write_table(&directory.path().join(name), table, false).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
    fs::read(directory.path().join(name)).unwrap()
}

#[test]
fn json_lines() {
    let lines = "{\"id\": 7, \"text\": \"a \\\"b\\\"\\n\", \"label\": 1}\n\n{\"label\": 0, \"text\": \"c\", \"x\": {\"y\": [1]}}\n";
    let read = parse("a.jsonl", lines).unwrap();
    assert_eq!((read.texts, read.labels), (vec!["a \"b\"\n".to_owned(), "c".into()], vec!["1".to_owned(), "0".into()]));
    assert_eq!(read.lines, [1, 3]);
    for (label, name) in [("true", "true"), ("\"x\"", "x"), ("2.0", "2"), ("-1", "-1")] {
        assert_eq!(parse("a.ndjson", format!("{{\"text\": \"a\", \"label\": {label}}}")).unwrap().labels, [name]);
    }
}

#[test]
fn a_json_array_tells_lines() {
    let read = parse("a.json", "[{\"text\": \"a\", \"label\": 1},\n\n {\"text\": \"b\",\n \"label\": 0}]").unwrap();
    assert_eq!((read.texts.len(), read.lines), (2, vec![1, 3]));
    let error = message(parse("a.json", "[{\"text\": \"a\", \"label\": 1},\n {\"text\": \"\", \"label\": 1}]"));
    assert!(error.starts_with("a.json, line 2: the text in column \"text\" is empty"), "{error}");
    assert!(message(parse("a.json", "[{\"text\":\n")).starts_with("a.json, line 2: not JSON: "));
}

#[test]
fn bad_json_is_told_by_line() {
    let row = |row: &str| message(parse("a.jsonl", format!("{{\"text\": \"a\", \"label\": 1}}\n{row}\n")));
    assert!(row("{\"text\": \"a\"").starts_with("a.jsonl, line 2: not a JSON object: EOF while parsing an object"));
    assert!(row("[1]").starts_with("a.jsonl, line 2: not a JSON object: invalid type: sequence, expected an object"));
    assert!(
        row("{\"text\": 5, \"label\": 1}")
            .contains("line 2: the text in column \"text\" is the number 5, expected text")
    );
    assert!(row("{\"text\": \"a\"}").contains("line 2: there is no field \"label\" in this row"));
    assert!(row("{\"text\": \"a\", \"label\": {}}").contains("line 2: the label in column \"label\" is an object"));
    assert!(
        row("{\"text\": \"a\", \"text\": \"b\", \"label\": 1}")
            .contains("line 2: not a JSON object: two fields are called \"text\"")
    );
    assert!(message(parse("a.jsonl", "\n")).starts_with("a.jsonl: the file is empty. "));
    let broken = message(parse("a.jsonl", b"{\"text\": \"\xff\", \"label\": 1}\n"));
    assert!(broken.starts_with("a.jsonl, line 1: column \"text\" is not UTF-8, at byte "), "{broken}");
}

#[test]
fn labels_that_begin_in_a_later_row_are_not_lost() {
    let rows = b"{\"text\": \"a\"}\n{\"text\": \"b\", \"label\": 1}\n";
    let read = |columns| read_bytes(Path::new("a.jsonl"), rows, &columns, Labels::Optional);
    let error = message(read(Columns::default()));
    assert!(error.starts_with("a.jsonl, line 2: not a JSON object: the first row has no field \"label\""), "{error}");
    let named = Columns { label: Some("label".into()), skip_bad: true, ..Columns::default() };
    assert!(message(read(named)).contains("no column \"label\""));
}

#[test]
fn csv_delimiters_are_told_by_the_header() {
    for delimiter in [",", ";", "\t"] {
        let text =
            "id,text,label\n1,\"a, b; c\",x\n".replace("id,text,label", &["id", "text", "label"].join(delimiter));
        let text = text.replace("1,\"", &format!("1{delimiter}\"")).replace("\",x", &format!("\"{delimiter}x"));
        assert_eq!(parse("a.csv", text).unwrap().texts, ["a, b; c"]);
    }
    assert_eq!(parse("a.csv", "text;\"la,b,e,l\"\na;x\n".replace("\"la,b,e,l\"", "label")).unwrap().labels, ["x"]);
}

#[test]
fn wrong_quoting_is_told() {
    for (rows, problem) in [
        ("\"good\" film,1\n", "line 2: text follows the closing quote in column \"text\""),
        ("\"a \"good\" film\",1\n", "line 2: text follows the closing quote in column \"text\""),
        ("a,\"1\"0\n", "line 2: text follows the closing quote in column \"label\""),
        // two quotes that are not closed, and all between them would be one text
        (
            "a,1\n\"b,1\nc,0\n\"d\",1\n",
            "line 3: the quote that is opened in column \"text\" ends on line 5, and text follows it",
        ),
        ("a,1\n\"b,1\nc,0\n", "line 3: a quote is opened in column \"text\" and never closed"),
        ("a,\"1", "line 2: a quote is opened in column \"label\" and never closed"),
    ] {
        let error = message(parse("a.csv", format!("text,label\n{rows}")));
        assert!(error.starts_with(&format!("a.csv, {problem}. Inside quotes, a quote is written twice")), "{error}");
    }
    let error = message(parse("a.csv", "\"text\"s,label\na,1\n"));
    assert!(error.starts_with("a.csv, line 1: text follows the closing quote in column \"texts\""), "{error}");
    let sound = parse("a.csv", "text,label\r\n\"\"\"a\"\", b\",\"1\"\r\n5\" disk,0\n\"x\n\ny\",0").unwrap();
    assert_eq!(sound.texts, ["\"a\", b", "5\" disk", "x\n\ny"]);
    // such rows can be left out, but not all that a quote without an end swallows
    let good = parse_good("a.csv", "text,label\n\"a\" b,1\nc,0\n\"d\"e\"f,1\ng,1\n");
    assert_eq!((good.texts, good.skipped.len()), (vec!["c".to_owned(), "g".into()], 2));
    let columns = Columns { skip_bad: true, ..Columns::default() };
    let open = read_bytes(Path::new("a.csv"), b"text,label\na,1\n\"b\" c \n,\"d,1\ne,0\n", &columns, Labels::Required);
    assert!(message(open).contains("line 4: a quote is opened in column \"label\" and never closed"));
}

#[test]
fn a_header_may_be_missing_where_a_label_is_obvious() {
    for (rows, what) in [
        ("1\tgood film\n0\tbad one\n", ["label", "text"]),
        ("good film\tpositive\nbad one\tnegative\n", ["text", "label"]),
    ] {
        let read = parse("a.tsv", rows).unwrap();
        assert_eq!((read.texts, read.lines), (vec!["good film".to_owned(), "bad one".into()], vec![1, 2]));
        let note =
            format!("a.tsv: no header, so column 1 was taken as the {} and column 2 as the {}", what[0], what[1]);
        assert_eq!(read.notes, [note]);
    }
    // label first with a header is nothing special
    let read = parse("a.tsv", "label\tsentence\n1\tgood film\n").unwrap();
    assert_eq!((read.texts, read.notes.len()), (vec!["good film".to_owned()], 0));
}

#[test]
fn packed_files_are_unpacked_by_content_and_name() {
    let rows = b"text\tlabel\na\t1\n";
    let zstd = zstd::encode_all(&rows[..], 1).unwrap();
    for (name, bytes) in
        [("a.tsv.gz", gzip(rows)), ("a.tsv.zst", zstd.clone()), ("a.tsv", zstd), ("a.txt", rows.to_vec())]
    {
        assert_eq!(parse(name, bytes).unwrap().texts, ["a"], "{name}");
    }
    let error = message(parse("a.csv.gz", "text,label\n"));
    assert!(error.contains("a.csv.gz: is called Gzip-packed by its name, but its first bytes are not"), "{error}");
    let many: String = (0..50_000).map(|row| format!("text {} of many\t{}\n", row * 7919 % 50_021, row % 2)).collect();
    let whole = gzip(format!("text\tlabel\n{many}").as_bytes());
    let error = message(parse("a.tsv.gz", &whole[..whole.len() / 2]));
    assert!(error.contains(": the packed data end in the middle: the file is cut short"), "{error}");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2..].fill(0x55);
    let error = message(parse("a.tsv.gz", damaged));
    assert!(error.starts_with("a.tsv.gz"), "{error}");
}

/// A packed file that is cut short is told with the line that could not be read.
#[test]
fn packed_files_that_end_early_tell_the_line() {
    for rows in [300, 30_000] {
        let row = |row: usize| format!("text {} of many", row * 7919 % 50_021);
        let tsv: String = (0..rows).map(|i| format!("{}\t{}\n", row(i), i % 2)).collect();
        let json: String = (0..rows).map(|i| format!("{{\"text\": \"{}\", \"label\": {}}}\n", row(i), i % 2)).collect();
        for (name, text) in [
            ("a.tsv.gz", format!("text\tlabel\n{tsv}")),
            ("a.csv.gz", format!("text,label\n{}", tsv.replace('\t', ","))),
            ("a.jsonl.gz", json),
        ] {
            let whole = gzip(text.as_bytes());
            for end in [whole.len() / 3, whole.len() * 2 / 3, whole.len() - 9] {
                let mut unpacked = Vec::new();
                let cut = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&whole[..end]), &mut unpacked);
                assert!(cut.is_err());
                let line = unpacked.iter().filter(|&&byte| byte == b'\n').count() + 1;
                let error = message(parse(name, &whole[..end]));
                let expected = format!("{name}, line {line}: the packed data end in the middle");
                assert!(error.starts_with(&expected), "{rows} rows, {end} bytes: {error}, expected {expected}");
            }
        }
    }
}

#[test]
fn contents_tell_what_names_do_not() {
    let json = "{\"text\": \"a\", \"label\": 1}\n";
    for (name, bytes) in
        [("data", json), ("data.txt", json), ("data", "text\tlabel\na\t1\n"), ("data", "text,label\na,1\n")]
    {
        assert_eq!(parse(name, bytes).unwrap().texts, ["a"], "{name}: {bytes}");
    }
    let parquet = written("a.parquet", &table(&["a"], &["1"]));
    assert_eq!(parse("a.csv", parquet).unwrap().texts, ["a"]);
}

#[test]
fn trees() {
    let trees = "(3 (2 It) (4 (2 's) (4 (3 -LRB-) (4 good))))\n\n(2 (2 so) (2 so))\n(0 bad)\n";
    let columns = |phrases, five_classes| Columns { trees: Trees { phrases, five_classes }, ..Columns::default() };
    let read =
        |columns: Columns| read_bytes(Path::new("train.txt"), trees.as_bytes(), &columns, Labels::Required).unwrap();
    let two = read(columns(false, false));
    assert_eq!(two.texts, ["It 's ( good", "bad"]);
    assert_eq!((two.labels, two.lines), (vec!["positive".to_owned(), "negative".into()], vec![1, 4]));
    assert_eq!(two.notes, ["train.txt: trees, read as sentences of 2 classes; 1 neutral ones were left out"]);
    let five = read(columns(false, true));
    assert_eq!(five.labels, ["positive", "neutral", "very negative"]);
    assert_eq!(five.classes.len(), 5);
    let phrases = read(columns(true, true));
    assert_eq!(phrases.texts[..3], ["It 's ( good", "It", "'s ( good"]);
    assert_eq!(phrases.len(), 7 + 3 + 1);
    for (tree, problem) in [
        ("(5 a)", "expected a label from 0 to 4 after a bracket"),
        ("(1 a", "a bracket is not closed"),
        ("(1 a))", "a bracket is closed that was not opened"),
        ("(1 a) (1 b)", "there is something behind its end"),
        ("(1 (2 ) (1 a))", "a phrase has no words"),
    ] {
        let error = message(parse("a.txt", format!("(1 ok)\n{tree}\n")));
        assert!(error.starts_with(&format!("a.txt, line 2: not a bracketed tree: {problem}. ")), "{error}");
    }
}

#[test]
fn labels_of_any_kind() {
    let several = parse("a.csv", "text,label\na,x|y\nb,\nc, y | x |y\n").unwrap();
    assert!(several.multi_label);
    assert_eq!(several.labels, ["x|y", "", "y|x"]);
    assert_eq!(several.notes, ["a.csv: some rows of column \"label\" have several labels, with | between them"]);
    let lists = parse(
        "a.jsonl",
        "{\"text\":\"a\",\"label\":[\"x\",\"y\"]}\n{\"text\":\"b\",\"label\":[]}\n{\"text\":\"c\",\"label\":null}\n",
    )
    .unwrap();
    assert_eq!((lists.multi_label, lists.labels), (true, vec!["x|y".to_owned(), String::new(), String::new()]));
    let error = message(parse("a.jsonl", "{\"text\":\"a\",\"label\":[\"x|y\"]}\n"));
    assert!(
        error.contains("line 1: a label in the list of column \"label\" is \"x|y\", which is blank or has a | in it"),
        "{error}"
    );

    assert_eq!(parse("a.csv", "text,label\na,1.0\nb,-2.000\nc,v1.5\n").unwrap().labels, ["1", "-2", "v1.5"]);
    assert_eq!(
        parse("a.csv", "text,label\na,10\nb,.0\nc,1e3\nd,nan\ne,1e999\n").unwrap().labels,
        ["10", ".0", "1e3", "nan", "1e999"]
    );
    for fraction in ["1e-3", ".5", "-.5", "+0.5", "2.5E0"] {
        let error = message(parse("a.csv", format!("text,label\na,{fraction}\n")));
        assert!(error.contains(&format!("label\" is {fraction}, a number with a fraction")), "{error}");
    }
    let error = message(parse("a.csv", "text,label\na,1\nb,0.73\n"));
    assert!(
        error.starts_with("a.csv, line 3: the label in column \"label\" is 0.73, a number with a fraction; "),
        "{error}"
    );
    let error = message(parse("a.jsonl", "{\"text\":\"a\",\"label\":0.5}"));
    assert!(error.contains("is 0.5, a number with a fraction"), "{error}");
}

#[test]
fn pairs_and_groups() {
    let columns = Columns { pair: Some("b".into()), group: Some("user".into()), ..Columns::default() };
    let read = |text: &str| read_bytes(Path::new("a.csv"), text.as_bytes(), &columns, Labels::Required);
    let table = read("text,b,label,user\nx,y,1,u1\n").unwrap();
    assert_eq!((table.pairs, table.groups), (vec!["y".to_owned()], vec!["u1".to_owned()]));
    assert!(message(read("text,b,label,user\nx,,1,u1\n")).contains("line 2: the second text in column \"b\" is empty"));
    assert!(message(read("text,label\nx,1\n")).contains("no column \"b\"; columns found"));
    let same = Columns { pair: Some("text".into()), ..Columns::default() };
    let error = message(read_bytes(Path::new("a.csv"), b"text,label\na,1\n", &same, Labels::Required));
    assert!(error.contains("column \"text\" is asked for as both text and pair"), "{error}");
}

#[test]
fn bad_rows_are_left_out_and_listed() {
    let table = parse_good("a.csv", b"text,label\na,1\nb\n\xff,0\n,1\nc,\nd,0.5\ne,0\n");
    assert_eq!((&table.texts[..], table.lines), (&["a".to_owned(), "e".into()][..], vec![2, 8]));
    let about = [
        "line 3: expected 2 fields",
        "line 4: column \"text\" is not UTF-8",
        "line 5: the text",
        "line 7: the label",
        "line 6: the label",
    ];
    assert_eq!(table.skipped.len(), about.len(), "{:?}", table.skipped);
    for (message, about) in table.skipped.iter().zip(about) {
        assert!(message.contains(about), "{message}");
    }
    let json = parse_good("a.jsonl", "{\"text\":\"a\",\"label\":1}\nnonsense\n{\"text\":\"b\",\"label\":0}\n");
    assert_eq!((json.len(), json.skipped.len()), (2, 1));
    let columns = Columns { skip_bad: true, ..Columns::default() };
    let none = read_bytes(Path::new("a.csv"), b"text,label\na\nb\n", &columns, Labels::Required);
    assert!(message(none).contains("a.csv: all its 2 rows are bad, the first one: a.csv, line 2: expected 2 fields"));
}

#[test]
fn a_million_characters_are_a_text() {
    let long = "long ".repeat(200_000);
    for (name, file) in
        [("a.csv", format!("text,label\n\"{long}\",1\n")), ("a.jsonl", format!("{{\"text\":\"{long}\",\"label\":1}}"))]
    {
        assert_eq!(parse(name, file).unwrap().texts, [long.as_str()]);
    }
}

#[test]
fn parquet_with_class_names() {
    let bytes = parquet_with_classes(&["negative", "positive"], &[0, 1, -1]);
    let read = parse("train-00000-of-00001.parquet", &bytes).unwrap();
    assert_eq!(read.texts, ["hide new secretions ", "of saucy", "good"]);
    assert_eq!(read.labels, ["negative", "positive", "-1"]);
    assert_eq!((read.classes, read.lines), (vec!["negative".to_owned(), "positive".into()], vec![1, 2, 3]));
    for cut in [5, bytes.len() / 2, bytes.len() - 1] {
        let error = message(parse("a.parquet", &bytes[..cut]));
        assert!(error.starts_with("a.parquet: not a whole Parquet file ("), "{error}");
    }
    let named = read_bytes(Path::new("a.parquet"), &bytes, &columns("sentence", "stars"), Labels::Required);
    assert!(
        message(named).starts_with("a.parquet: no column \"stars\"; columns found: \"idx\", \"sentence\", \"label\". ")
    );
    // names that would mean something else as labels
    let read = parse("a.parquet", parquet_with_classes(&["0.5", "a|b"], &[0, 1, 0])).unwrap();
    assert_eq!((read.multi_label, &read.labels[..]), (false, &["0.5".to_owned(), "a|b".into(), "0.5".into()][..]));
    let error = message(parse("a.parquet", parquet_with_classes(&["no", "yes"], &[0, 7, 1])));
    assert!(error.starts_with("a.parquet, line 2: the label in column \"label\" is 7, but the file names 2 classes"));
}

#[test]
fn damaged_parquet_is_an_error() {
    let bytes = parquet_with_classes(&["negative", "positive"], &[0, 1, -1]);
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            // a panic would end this test
            let _ = parse("a.parquet", damaged);
        }
    }
}

#[test]
fn parquet_is_read_however_it_is_packed() {
    use ::parquet::basic::Compression as C;
    let packed = |codec| parse("a.parquet", parquet(codec, &["no", "yes"], &[0, 1, 0]));
    for codec in [C::UNCOMPRESSED, C::SNAPPY, C::LZ4_RAW, C::GZIP(Default::default()), C::ZSTD(Default::default())] {
        assert_eq!(packed(codec).unwrap().labels, ["no", "yes", "no"], "{codec}");
    }
}

/// The bytes of a Parquet file of three rows as the hub's `datasets` library writes it.
fn parquet_with_classes(classes: &[&str], labels: &[i64]) -> Vec<u8> {
    parquet(::parquet::basic::Compression::SNAPPY, classes, labels)
}

fn parquet(codec: ::parquet::basic::Compression, classes: &[&str], labels: &[i64]) -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter};
    let schema = "message m { required int32 idx; required binary sentence (UTF8); required int64 label; }";
    let schema = std::sync::Arc::new(::parquet::schema::parser::parse_message_type(schema).unwrap());
    let feature = serde_json::json!({"names": classes, "_type": "ClassLabel"});
    let info = serde_json::json!({"info": {"features": {"label": feature}}}).to_string();
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_key_value_metadata(Some(vec![KeyValue::new("huggingface".into(), info)]));
    let mut file = SerializedFileWriter::new(Vec::new(), schema, properties.build().into()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<::parquet::data_type::Int32Type>().write_batch(&[0, 1, 2], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts = ["hide new secretions ", "of saucy", "good"].map(ByteArray::from);
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(labels, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.into_inner().unwrap()
}

#[test]
fn several_files_are_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).unwrap();
        directory.path().join(name)
    };
    let (a, b) = (at("a.csv", "text,label\na,1\n"), at("b.jsonl", "{\"text\": \"b\", \"label\": 0}\n"));
    let all = read_files(&[a.clone(), b], &Columns::default(), Labels::Required).unwrap();
    assert_eq!((all.texts, all.lines), (vec!["a".to_owned(), "b".into()], vec![2, 1]));
    let bare = at("c.csv", "text\nc\n");
    let error = message(read_files(&[a, bare], &Columns::default(), Labels::Optional));
    assert!(error.contains("cannot be read as one: only one of them has labels"), "{error}");
}

#[test]
fn hub_directories_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let write = |name: &str, texts: &[&str], labels: &[&str]| {
        write_table(&data.join(name), &table(texts, labels), false).unwrap()
    };
    write("train-00000-of-00002.parquet", &["a"], &["0"]);
    write("validation-00000-of-00001-0123abcd.parquet", &["c"], &["1"]);
    write("test-00000-of-00001.parquet", &["d"], &["-1"]);
    let read = || read_splits(directory.path(), &Columns::default());
    let error = message(read());
    assert!(error.contains("the train split has 2 parts, found \"train-00000-of-00002.parquet\""), "{error}");
    write("train-00001-of-00002.parquet", &["b"], &["1"]);
    let splits = read().unwrap();
    assert_eq!(splits.train.unwrap().texts, ["a", "b"]);
    assert_eq!((splits.validation.unwrap().texts, splits.test), (vec!["c".to_owned()], None));
}

#[test]
fn what_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let to = |name: &str, table: &Table| message(write_table(&directory.path().join(name), table, false));
    let tab = table(&["a", "b\tc"], &["1", "0"]);
    assert!(
        to("a.tsv", &tab)
            .contains("line 3: column \"text\" has a tab or a line end, which .tsv cannot hold. Write .csv")
    );
    assert!(to("a.xls", &tab).contains("expected .tsv, .csv, .jsonl"));
    assert!(to("a", &tab).contains("found no extension"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    write_table(&directory.path().join("a.csv"), &tab, false).unwrap();
    assert!(to("a.csv", &tab).contains("a.csv: exists. Choose another name, or add --overwrite"));
    write_table(&directory.path().join("a.csv"), &tab, true).unwrap();
}

/// Text, second text, label, labels and group of a row.
type Everything = (String, String, String, std::collections::BTreeSet<String>, String);

/// Rows with everything, of strings that are not blank.
fn tables(text: &'static str) -> impl Strategy<Value = Table> {
    let filled = text.prop_filter("blank", |text: &String| !text.trim().is_empty());
    let name = "[a-z0-9é\"',;]{1,6}";
    let row = (filled.clone(), filled.clone(), name, prop::collection::btree_set(name, 0..3), filled);
    (prop::collection::vec(row, 1..8), any::<[bool; 3]>()).prop_map(|(rows, [pairs, multi_label, groups])| {
        let labels = |(_, _, label, set, _): &Everything| match multi_label {
            true => set.iter().cloned().collect::<Vec<_>>().join("|"),
            false => label.clone(),
        };
        let all = |with: bool, pick: &dyn Fn(&Everything) -> String| {
            if with { rows.iter().map(pick).collect() } else { Vec::new() }
        };
        Table {
            text_column: "text".into(),
            pair_column: pairs.then(|| "second".into()),
            label_column: Some("label".into()),
            group_column: groups.then(|| "group".into()),
            texts: all(true, &|row| row.0.clone()),
            pairs: all(pairs, &|row| row.1.clone()),
            labels: rows.iter().map(labels).collect(),
            groups: all(groups, &|row| row.4.clone()),
            multi_label,
            ..Table::default()
        }
    })
}

/// What a table is when it is read again from a file that it was written to.
fn read_back(name: &str, table: &Table) -> Table {
    let columns = Columns { pair: table.pair_column.clone(), group: table.group_column.clone(), ..Columns::default() };
    let read = read_bytes(Path::new(name), &written(name, table), &columns, Labels::Required).unwrap();
    Table { path: table.path.clone(), lines: Vec::new(), notes: Vec::new(), ..read }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_table_reads_back(table in tables("(?s:.{0,12})|[\", \r\n\0|a]{0,6}|\u{1F600}{1,2}|(ab){3000}"), packing in 0..3_usize) {
        for format in ["csv", "jsonl", "parquet"] {
            let name = format!("a.{format}{}", ["", ".gz", ".zst"][packing]);
            prop_assert_eq!(&read_back(&name, &table), &table, "{}", name);
        }
    }

    #[test]
    fn any_table_without_tabs_reads_back_from_tsv(table in tables("[^\t\n\r]{0,12}|[\" ,a]{0,6}")) {
        prop_assert_eq!(&read_back("a.tsv.gz", &table), &table);
    }

    /// Whatever the bytes, there is a table or a message.
    #[test]
    fn any_bytes_are_read_or_refused_in_any_format(bytes in prop::collection::vec(any::<u8>(), 0..80), damage in 0..200_usize) {
        for name in ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.txt", "a.csv.gz", "a.zst"] {
            let _ = parse(name, &bytes);
        }
        let mut parquet = written("a.parquet", &table(&["a", "b"], &["x", "y"]));
        for (at, &byte) in bytes.iter().enumerate() {
            let at = (damage * 7 + at * 13) % parquet.len();
            parquet[at] = byte;
        }
        let _ = parse("a.parquet", parquet);
    }
}
