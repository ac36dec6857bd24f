//! Rows of any number: [`predict_rows`] says what each row alone says, in order; files keep the types of their columns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use distune::data::{Chunking, Columns, Input};
use distune::engine::{Cpu, Precision, Predict};
use distune::predict::{Output, Predicted, Row, Shape, bulk, logits, predict_rows, sorted_logits};
use distune::tokenize::{Combine, Tokenizer};
use distune::vocabulary::tokenizer_json;
use distune::{Error, Result};
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use support::*;

/// One of few words: the tiny model has ids for no more than 512.
fn tokenizer(max_length: usize) -> Tokenizer {
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n!\n?\n(\n)\n1\n2\n";
    let json = tokenizer_json((Path::new("vocab.txt"), words.as_bytes()), None).unwrap();
    Tokenizer::from_bytes(Path::new("tokenizer.json"), &json, max_length).unwrap()
}

/// Texts of 1 to 40 tokens.
fn text(row: usize) -> String {
    let letters = ["a", "b", "c", "!", "?", "(", ")", "1", "2"];
    (0..1 + row * 13 % 40).map(|i| letters[(row + i * i) % letters.len()]).collect::<Vec<_>>().join(" ")
}

fn engine() -> Cpu {
    Cpu::new(tiny(), Precision::F32)
}

/// The bits of a row do not depend on what it is computed with.
#[test]
fn rows_by_their_lengths_say_the_same() {
    let mut engine = engine();
    for tokenizer in [tokenizer(32), tokenizer(16).with_windows(None, Combine::Max).unwrap()] {
        let texts: Vec<String> = (0..300).map(text).collect();
        let encoded = tokenizer.encode(&texts).unwrap();
        let classes = engine.config().labels.len();
        let mut want: Vec<f32> = Vec::new();
        for text in &encoded {
            let mut windows: Vec<f32> = Vec::new();
            let alone: Vec<&[u32]> = text.windows().collect();
            for window in alone {
                logits(&mut engine, &[window], |rows| {
                    rows.for_each(|row| windows.extend(row));
                    Ok::<_, Error>(())
                })
                .unwrap();
            }
            want.extend(tokenizer.combine().logits(&windows, classes));
        }
        let got = sorted_logits(&mut engine, &encoded, tokenizer.combine(), |_, _| Ok::<_, Error>(())).unwrap();
        assert_eq!(got, want);

        let rows = texts.iter().map(|text| Ok(Row { text: text.clone(), pair: None }));
        let (mut seen, mut predicted) = (Vec::new(), Vec::new());
        predict_rows(&mut engine, &tokenizer, rows, |row, said| {
            seen.push(row.text);
            predicted.extend(said.logits);
            Ok(())
        })
        .unwrap();
        assert_eq!((seen, predicted), (texts, want));
    }
}

#[test]
fn an_error_ends_it_after_what_came_before() {
    let (mut engine, tokenizer) = (engine(), tokenizer(32));
    let failing = |row: usize| match row {
        9000 => Err(Error::file(Path::new("rows"), "cannot be read", "")),
        row => Ok(Row { text: text(row), pair: None }),
    };
    let mut taken = 0;
    let take = |_, _| {
        taken += 1;
        Ok(())
    };
    let error = predict_rows(&mut engine, &tokenizer, (0..).map(failing), take).unwrap_err();
    assert_eq!((error.to_string(), taken), ("rows: cannot be read".to_owned(), 8192));
    // one that takes no more ends what never ends
    let rows = || (0..).map(|row| Ok(Row { text: text(row), pair: None }));
    let full = |_: Row, _| Result::<()>::Err(Error::file(Path::new("disk"), "is full", ""));
    assert_eq!(predict_rows(&mut engine, &tokenizer, rows(), full).unwrap_err().to_string(), "disk: is full");
    let mixed = (0..2).map(|row| Ok(Row { text: text(row), pair: (row > 0).then(|| text(row)) }));
    let error = predict_rows(&mut engine, &tokenizer, mixed, |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("second text: expected of all rows or of none"), "{error}");
}

const SCHEMA: &str = "message m {
    required binary text (UTF8);
    optional int32 day (DATE);
    required int64 at (TIMESTAMP_MICROS);
    optional float share;
    required double x;
    required boolean seen;
    optional int32 price (DECIMAL(9, 2));
    optional int32 small (UINT_8);
    required group tags (LIST) { repeated group list { required binary element (UTF8); } }
}";

/// Three rows of many types.
fn write_rows(path: &Path) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    macro_rules! column {
        ($kind:ty, $values:expr, $defined:expr, $repeated:expr) => {
            let mut to = group.next_column().unwrap().unwrap();
            to.typed::<$kind>().write_batch(&$values, $defined, $repeated).unwrap();
            to.close().unwrap();
        };
    }
    column!(ByteArrayType, ["a b", "c", "a ! b"].map(|text| text.into()), None, None);
    column!(Int32Type, [20_000, -3], Some(&[1, 0, 1]), None);
    column!(Int64Type, [1, 2_000_000, -5], None, None);
    column!(FloatType, [0.1], Some(&[0, 1, 0]), None);
    column!(DoubleType, [0.1, f64::MIN_POSITIVE, 3.0], None, None);
    column!(BoolType, [true, false, true], None, None);
    column!(Int32Type, [1999, 5], Some(&[1, 1, 0]), None);
    column!(Int32Type, [255, 0, 7], Some(&[1, 1, 1]), None);
    column!(ByteArrayType, ["x", "y"].map(|tag| tag.into()), Some(&[1, 1, 0, 0]), Some(&[0, 1, 0, 0]));
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_keeps_its_types() {
    let directory = tempfile::tempdir().unwrap();
    let [from, to] = ["in.parquet", "out.parquet"].map(|name| directory.path().join(name));
    write_rows(&from);
    let shape = Shape { classes: vec!["no".into(), "yes".into()], several: true, ..Shape::default() };
    let mut output = Output::open(&to, shape, &BTreeMap::new(), false, false).unwrap();
    let mut work = |chunk: &distune::data::Chunk, _: &[_], _| {
        let row = |text: &String| Predicted {
            labels: if text == "c" { Vec::new() } else { vec!["no".into(), "yes".into()] },
            probabilities: vec![0.25, text.len() as f64],
            ..Predicted::default()
        };
        Ok(chunk.table.texts.iter().map(row).collect())
    };
    let chunking = Chunking { rows: 2, ..Chunking::default() };
    let inputs = [Input::File(from.clone())];
    bulk(&inputs, &Columns::default(), chunking, &tokenizer(16), &mut output, &mut work, &mut |_| ()).unwrap();
    assert_eq!(output.done(), (3, 0));
    output.finish().unwrap();
    let open = |path: &Path| SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let (before, after) = (open(&from), open(&to));
    let fields =
        |reader: &SerializedFileReader<std::fs::File>| reader.metadata().file_metadata().schema().get_fields().to_vec();
    // all but the list, which is told as JSON
    assert_eq!(fields(&after)[..8], fields(&before)[..8]);
    assert_eq!(after.metadata().num_row_groups(), 2);
    let rows = |reader: &SerializedFileReader<std::fs::File>| -> Vec<Vec<String>> {
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| field.to_string()).collect()).collect()
    };
    let (before, after) = (rows(&before), rows(&after));
    assert_eq!(after.len(), 3);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after[..8], before[..8]);
    }
    let told: Vec<&[String]> = after.iter().map(|row| &row[8..]).collect();
    assert_eq!(told[0], [r#""["x","y"]""#, r#"["no", "yes"]"#, "0.25", "3.0", "false"]);
    assert_eq!(told[1], [r#""[]""#, "[]", "0.25", "1.0", "false"]);
}
