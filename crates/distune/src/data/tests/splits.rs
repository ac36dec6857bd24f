//! Tests of `splits`.

use std::collections::{HashMap, HashSet};
use std::fs;

use proptest::prelude::*;

use super::*;

const SEED: u64 = 42;

/// A directory with the files given.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Reads a directory with the files given, columns guessed.
fn read(files: &[(&str, &str)]) -> crate::Result<Splits> {
    read_splits(directory(files).path(), &Columns::default())
}

const ROWS: &str = "sentence\tlabel\na\t0\nb\t1\n";

#[test]
fn a_glue_directory_is_read_and_its_bare_test_file_skipped() {
    let test = ("test.tsv", "index\tsentence\n0\ta\n");
    let splits = read(&[("train.tsv", ROWS), ("dev.tsv", ROWS), test, ("README.md", "")]).unwrap();
    assert_eq!(splits.train.unwrap().len(), 2);
    assert_eq!(splits.validation.unwrap().len(), 2);
    assert_eq!(splits.test, None);
    let [guess, skipped] = &splits.notes[..] else { unreachable!("{:?}", splits.notes) };
    assert!(guess.ends_with("train.tsv: text column \"sentence\", label column \"label\", from the header"), "{guess}");
    assert!(skipped.ends_with("test.tsv: skipped, it has no label column"), "{skipped}");
}

#[test]
fn test_rows_of_unknown_label_are_skipped() {
    let splits = read(&[("train.tsv", ROWS), ("test.csv", "sentence,label\na,-1\nb,-1\n")]).unwrap();
    assert_eq!((splits.validation, splits.test), (None, None));
    assert!(splits.notes[1].contains("all its labels are -1"), "{:?}", splits.notes);
}

#[test]
fn other_names_and_columns_are_read() {
    for name in ["validation.csv", "val.csv", "dev.csv"] {
        let splits = read(&[("train.tsv", ROWS), (name, "text,label\na,0\n"), ("test.tsv", ROWS)]).unwrap();
        assert_eq!((splits.validation.unwrap().len(), splits.test.unwrap().len()), (1, 2));
        assert!(splits.notes[1].contains("text column \"text\""), "{:?}", splits.notes);
    }
    let named = read_splits(directory(&[("train.tsv", ROWS)]).path(), &columns("sentence", "label")).unwrap();
    assert!(named.notes.is_empty(), "{:?}", named.notes);
}

#[test]
fn directories_that_cannot_be_used() {
    let missing = message(read_splits(Path::new("nowhere"), &Columns::default()));
    assert_eq!(missing, "nowhere: no such file or directory. Check the path");
    let bare = message(read(&[("training.tsv", ROWS), ("b.txt", "")]));
    assert!(bare.contains("no train file; found: \"b.txt\", \"training.tsv\". Looked for train.tsv"), "{bare}");
    assert!(message(read(&[])).contains("no train file; found: the directory is empty"));
    let two = message(read(&[("train.tsv", ROWS), ("dev.tsv", ROWS), ("val.csv", ROWS)]));
    assert!(two.contains("\"dev.tsv\", \"val.csv\" are all the validation split, expected one file"), "{two}");
    let unlabelled = message(read(&[("train.tsv", ROWS), ("dev.tsv", "sentence\tx\na\tb\n")]));
    assert!(unlabelled.contains("dev.tsv: no label column found"), "{unlabelled}");
}

/// 300 rows in three classes of 200, 90 and 10; every tenth text occurs twice in a row, once with another label.
fn reviews() -> String {
    let mut file = "text\tlabel\n".to_owned();
    for row in 0..300 {
        let text = if row % 10 == 1 { row - 1 } else { row };
        let label = ["common", "rare", "odd"][usize::from(row >= 200) + usize::from(row >= 290)];
        file += &format!("text {text}\t{}\n", if row == 11 { "rare" } else { label });
    }
    file
}

/// The three tables of a split file.
fn split_reviews(seed: u64) -> [Table; 3] {
    let directory = directory(&[("reviews.tsv", &reviews())]);
    let splits = read_splits(&directory.path().join("reviews.tsv"), &Columns::default()).unwrap();
    let splits = splits.complete(SelectOn::Auto, seed);
    assert!(splits.notes[1].contains("its 300 rows were split at random within each class"), "{:?}", splits.notes);
    [splits.train.unwrap(), splits.validation.unwrap(), splits.test.unwrap()]
}

#[test]
fn one_file_is_split_by_class() {
    let tables = split_reviews(SEED);
    assert_eq!(tables.each_ref().map(Table::len), [240, 30, 30]);
    for (table, of_ten) in tables.iter().zip([8, 1, 1]) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        table.labels.iter().for_each(|label| *counts.entry(label).or_default() += 1);
        // One row has a label other than its text's class.
        assert!(counts["common"].abs_diff(20 * of_ten) <= 1, "{counts:?}");
        assert!(counts["rare"].abs_diff(9 * of_ten) <= 1, "{counts:?}");
        assert_eq!(counts["odd"], of_ten);
    }
    let mut lines: Vec<u64> = tables.iter().flat_map(|table| table.lines.clone()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (2..302).collect::<Vec<_>>(), "every row is in one split");
    let all = reviews();
    let written: Vec<&str> = all.lines().collect();
    for table in &tables {
        assert!(table.lines.is_sorted());
        for ((text, label), &line) in table.texts.iter().zip(&table.labels).zip(&table.lines) {
            assert_eq!(format!("{text}\t{label}"), written[line as usize - 1]);
        }
    }
}

#[test]
fn equal_texts_stay_together() {
    for seed in 0..20 {
        let [train, validation, test] =
            split_reviews(seed).map(|table| table.texts.into_iter().collect::<HashSet<_>>());
        assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
    }
}

#[test]
fn the_seed_decides() {
    assert_eq!(split_reviews(1).map(|table| table.lines), split_reviews(1).map(|table| table.lines));
    assert_ne!(split_reviews(1)[1].lines, split_reviews(2)[1].lines);
}

/// This seed's lines, so that an update of a crate cannot change everyone's splits unnoticed.
#[test]
fn the_split_is_the_same_on_every_machine() {
    assert_eq!(split_reviews(SEED)[1].lines[..5], [5, 32, 33, 42, 43]);
}

#[test]
fn classes_keep_rows_to_train_on() {
    let path = |directory: &tempfile::TempDir| directory.path().join("a.tsv");
    let few = directory(&[("a.tsv", ROWS)]);
    let splits = read_splits(&path(&few), &Columns::default()).unwrap().complete(SelectOn::Auto, SEED);
    assert_eq!((splits.train.unwrap().len(), splits.validation, splits.test), (2, None, None));

    // A class that is one text, many times over, cannot be divided; nor does the other class make up for it.
    let same = format!("text\tlabel\n{}{}", "same\tbad\n".repeat(500), "good\tgood\n".repeat(5));
    let rows: String = (0..20).map(|row| format!("{row}\tgood\n")).collect();
    let same = directory(&[("a.tsv", &(same + &rows))]);
    let splits = read_splits(&path(&same), &Columns::default()).unwrap().complete(SelectOn::Auto, SEED);
    let (validation, test) = (splits.validation.unwrap(), splits.test.unwrap());
    assert!(validation.len() <= 3 && test.len() <= 3 && validation.labels[0] == "good");
    assert_eq!(splits.train.unwrap().len(), 525 - validation.len() - test.len());
}

/// A table of texts, labels and groups.
fn grouped(rows: &[(u8, u8, u8)], groups: bool, several: bool) -> Table {
    let column = |of: &dyn Fn(&(u8, u8, u8)) -> String| rows.iter().map(of).collect::<Vec<_>>();
    Table {
        text_column: "text".into(),
        texts: column(&|row| format!("Text {}{}", row.0, ["", "!", " ?"][usize::from(row.2 % 3)])),
        labels: column(&|row| if several { format!("{}|{}", row.1, row.1 / 2) } else { row.1.to_string() }),
        groups: if groups { column(&|row| row.2.to_string()) } else { Vec::new() },
        lines: (0..rows.len() as u64).collect(),
        multi_label: several,
        ..Table::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every row is in one part, the parts have their sizes, and nothing that belongs together is divided.
    #[test]
    fn partitions(
        rows in prop::collection::vec((0..200_u8, 0..4_u8, 0..40_u8), 1..400),
        [groups, several] in any::<[bool; 2]>(),
        (validation, test) in (0.0..0.4, 0.0..0.4),
        seed in any::<u64>(),
    ) {
        let table = grouped(&rows, groups, several);
        let parts = partition(&table, Shares { validation, test }, seed);
        let lines = |part: &Option<Table>| part.as_ref().map(|part| part.lines.clone()).unwrap_or_default();
        let mut all: Vec<u64> = parts.iter().flat_map(lines).collect();
        all.sort_unstable();
        prop_assert_eq!(&all, &table.lines);
        for (part, share) in parts[1..].iter().zip([validation, test]) {
            // each class may be rounded up once; of groups that are all too large, one is taken whole
            let fits = lines(part).len() as f64 <= share * rows.len() as f64 + 4.0;
            prop_assert!(fits || groups && lines(part).len() <= lines(&parts[0]).len() + lines(&parts[2]).len());
        }
        let trained: HashSet<&str> = parts[0].iter().flat_map(Table::label_names).collect();
        prop_assert!(table.label_names().all(|name| trained.contains(name)), "rows of each class to train on");
        let of = |pick: &dyn Fn(&(u8, u8, u8)) -> u8| -> Vec<HashSet<u8>> {
            parts.iter().map(|part| lines(part).iter().map(|&line| pick(&rows[line as usize])).collect()).collect()
        };
        let divided = |sets: &[HashSet<u8>]| (0..3).any(|i| (i + 1..3).any(|j| !sets[i].is_disjoint(&sets[j])));
        prop_assert!(!divided(&of(&|row| row.0)), "texts");
        prop_assert!(!groups || !divided(&of(&|row| row.2)), "groups");
        prop_assert_eq!(partition(&table, Shares { validation, test }, seed), parts);
    }
}

#[test]
fn groups_of_any_size_are_divided() {
    // five authors of a fifth of the rows each: none fits into a tenth of a class, one into what the classes leave together
    let rows: Vec<(u8, u8, u8)> = (0..200).map(|row| (row, u8::from(row % 40 == 0), row / 20)).collect();
    let [train, validation, test] = partition(&grouped(&rows, true, false), Shares::default(), 1);
    let rows = |table: Option<Table>| table.map_or(0, |table| table.len());
    assert_eq!([rows(train), rows(validation), rows(test)], [160, 20, 20]);
}

#[test]
fn groups_that_are_all_too_large() {
    let sizes = |groups: &[u8], labels: &dyn Fn(usize) -> u8| {
        let rows: Vec<(u8, u8, u8)> = (0..).zip(groups).map(|(row, &group)| (row, labels(row.into()), group)).collect();
        partition(&grouped(&rows, true, false), Shares::default(), 1).map(|table| table.map_or(0, |table| table.len()))
    };
    let groups = [[0; 100].as_slice(), &[1; 40], &[2; 30], &[3; 30]].concat();
    assert_eq!(sizes(&groups, &|row| (row % 2) as u8), [140, 30, 30], "the smallest ones");
    assert_eq!(sizes(&groups, &|row| u8::from(row >= 170)), [130, 30, 40], "group 3 is all of a class");
    assert_eq!(sizes(&[0, 0, 0, 1, 1], &|row| u8::from(row >= 3)), [5, 0, 0], "each group is a class");
}

#[test]
fn rows_without_a_label_are_good_where_another_file_has_rows_of_several() {
    let (several, none) = ("text,label\na,x|y\nb,\n", "text,label\nc,x\nd,\n");
    let splits = read(&[("train.csv", several), ("dev.csv", none), ("test.csv", none)]).unwrap();
    let [dev, test] = [splits.validation, splits.test].map(Option::unwrap);
    assert_eq!((&dev.labels[..], dev.multi_label), (&["x".to_owned(), String::new()][..], true));
    assert_eq!(test.labels, dev.labels);
    let files = directory(&[("1.csv", several), ("2.csv", none)]);
    let paths = ["1.csv", "2.csv"].map(|name| files.path().join(name));
    assert_eq!(read_files(&paths, &Columns::default(), Labels::Required).unwrap().labels, ["x|y", "", "x", ""]);
    let message = read(&[("train.csv", none)]).unwrap_err().to_string();
    assert!(message.contains("train.csv, line 3: the label in column \"label\" is empty"), "{message}");
}

#[test]
fn one_split_is_read_without_the_others() {
    let bare = "index\tsentence\n0\tc\n1\td\n";
    let files = directory(&[("train.tsv", "not rows"), ("dev.tsv", ROWS), ("test.tsv", bare)]);
    let read = |split, labels| read_split(files.path(), split, &Columns::default(), labels);
    let (table, notes) = read(None, Labels::Required).unwrap();
    assert_eq!((table.texts, table.labels), (vec!["a".to_owned(), "b".into()], vec!["0".to_owned(), "1".into()]));
    assert!(notes[0].ends_with("test.tsv: skipped, it has no label column"), "{notes:?}");
    let (table, notes) = read(None, Labels::Ignored).unwrap();
    assert_eq!((table.texts, table.labels.len()), (vec!["c".to_owned(), "d".into()], 0));
    assert!(notes[0].ends_with("test.tsv: text column \"sentence\", no labels, from the header"), "{notes:?}");
    let message = read(Some("test"), Labels::Required).unwrap_err().to_string();
    assert!(message.contains("no rows to judge by; ") && message.contains("no label column"), "{message}");
    let alone = directory(&[("dev.tsv", ROWS)]);
    let of = |split| read_split(alone.path(), split, &Columns::default(), Labels::Required);
    assert_eq!(of(None).unwrap().0.len(), 2);
    assert!(of(Some("test")).unwrap_err().to_string().contains("has no test split"));
}

#[test]
fn splits_in_directories_and_with_longer_names() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("text,label\n{text},0\nno {text},1\n")).unwrap();
    };
    let texts = || {
        let splits = read_splits(directory.path(), &Columns::default()).unwrap();
        let of = |table: Option<Table>| table.map_or(0, |table| table.len());
        [of(splits.train), of(splits.validation), of(splits.test)]
    };
    write("train_data.csv", "a");
    write("test-2020.csv", "b");
    assert_eq!(texts(), [2, 0, 2]);
    for name in ["train/0000.csv", "train/0001.csv", "dev/x.csv", "other/y.csv"] {
        write(name, name);
    }
    std::fs::write(directory.path().join("train/README.txt"), "not rows").unwrap();
    assert_eq!(texts(), [4, 2, 0]);
    write("train.csv", "c");
    assert_eq!(texts(), [2, 2, 0]);
}
