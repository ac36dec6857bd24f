//! Tests of `labels`.

use distune_kernels::Targets;

use super::*;
use crate::model::ProblemType;

/// A table with these labels, in a file `a.tsv`.
fn labelled(labels: &[&str]) -> Table {
    let rows: String = labels.iter().map(|label| format!("text\t{label}\n")).collect();
    parse("a.tsv", format!("text\tlabel\n{rows}")).unwrap()
}

/// A table of rows with any number of labels, `|` between them.
fn several(labels: &[&str]) -> Table {
    Table {
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        multi_label: true,
        ..labelled(&vec!["x"; labels.len()])
    }
}

#[test]
fn rows_of_several_labels() {
    let table = several(&["b|a", "", "a"]);
    let map = LabelMap::from_tables(&[&table]).unwrap();
    assert_eq!((map.names(), map.problem()), (&["a".to_owned(), "b".into()][..], ProblemType::MultiLabel));
    let answers = Dataset::new(table.clone(), &map).unwrap().answers;
    assert_eq!(answers, Answers::Several(vec![vec![0, 1], vec![], vec![0]]));
    assert_eq!((answers.counts(2), answers.len()), (vec![2, 1], 3));
    let targets = answers.pick(&[2, 1, 0], 2);
    let PickedTargets::MultiLabel { holds, classes: 2 } = &targets else { unreachable!("{targets:?}") };
    assert_eq!(holds, &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let Targets::MultiLabel { holds, classes: 2 } = targets.of(1..3) else { unreachable!() };
    assert_eq!(holds, [0.0, 0.0, 1.0, 1.0]);
    // one class is enough: it holds or not
    assert_eq!(LabelMap::from_tables(&[&several(&["a", ""])]).unwrap().len(), 1);
    assert!(message(LabelMap::from_tables(&[&several(&["", ""])])).contains("found no labels"));
    // a row of one label is a row of several, but not the other way round
    let one = Dataset::new(labelled(&["a", "b"]), &map).unwrap();
    assert_eq!(one.answers, Answers::Several(vec![vec![0], vec![1]]));
    let error = message(Dataset::new(table, &LabelMap::from_names(vec!["a".into(), "b".into()])));
    assert!(
        error.starts_with("a.tsv, line 2: several labels a row (\"b|a\"), but the model tells one label a row"),
        "{error}"
    );
    let error = message(Dataset::new(several(&["a", "a|c"]), &map));
    assert!(error.starts_with("a.tsv, line 3: unknown label \"c\" in column \"label\""), "{error}");
}

#[test]
fn classes_that_a_file_names_keep_their_ids() {
    let said = Table { classes: vec!["z".into(), "a".into(), "m".into()], ..labelled(&["a", "z"]) };
    assert_eq!(LabelMap::from_tables(&[&said]).unwrap().names(), ["z", "a", "m"]);
    let others = Table { labels: vec!["a".into(), "b".into()], ..said };
    assert_eq!(LabelMap::from_tables(&[&others]).unwrap().names(), ["a", "b"]);
}

/// A map of these names.
fn map(names: &[&str]) -> LabelMap {
    LabelMap::from_names(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn classes_are_ordered() {
    let names = |labels: &[&str]| LabelMap::from_tables(&[&labelled(labels)]).unwrap().names().to_vec();
    assert_eq!(names(&["10", "2", "-1", "2"]), ["-1", "2", "10"]);
    assert_eq!(names(&["10", "2", "x"]), ["10", "2", "x"]);
    assert_eq!(names(&["pos", "neg", "Zed"]), ["Zed", "neg", "pos"]);
    let both = LabelMap::from_tables(&[&labelled(&["b"]), &labelled(&["a", "c"])]).unwrap();
    assert_eq!((both.len(), both.is_empty(), both.names()), (3, false, map(&["a", "b", "c"]).names()));
}

#[test]
fn one_class_is_refused() {
    let error = message(LabelMap::from_tables(&[&labelled(&["1", "1"])]));
    assert!(error.starts_with("a.tsv: found one class only, \"1\"; at least two classes expected. "), "{error}");
    assert!(message(LabelMap::from_tables(&[])).contains("found no labels; at least two classes expected"));
}

#[test]
fn labels_find_their_class() {
    let sentiment = map(&["negative", "positive"]);
    for label in ["positive", "Positive", "LABEL_1", "1"] {
        assert_eq!(sentiment.id(label), Some(1), "{label}");
    }
    for label in ["neutral", "2", "-1", "LABEL_2", "LABEL_", ""] {
        assert_eq!(sentiment.id(label), None, "{label}");
    }
    // What is written exactly so comes first, and what is written in two ways is none of them.
    assert_eq!(map(&["US", "us"]).id("us"), Some(1));
    assert_eq!(map(&["US", "us"]).id("Us"), None);
    assert_eq!(map(&["LABEL_0", "LABEL_1"]).id("1"), Some(1));
}

/// A label 0 for a model of 1 to 3 must not become the class "1".
#[test]
fn integers_are_not_ids_where_names_are_integers() {
    let stars = map(&["1", "2", "3"]);
    assert_eq!((stars.id("1"), stars.id("3"), stars.id("0")), (Some(0), Some(2), None));
    assert_eq!(stars.id("LABEL_0"), Some(0));
}

#[test]
fn a_dataset_has_ids() {
    let table = labelled(&["1", "0", "POSITIVE"]);
    let dataset = Dataset::new(table.clone(), &map(&["negative", "positive"])).unwrap();
    assert_eq!(dataset.answers, Answers::One(vec![1, 0, 1]));
    assert_eq!((dataset.len(), dataset.is_empty()), (3, false));
    assert_eq!((dataset.path, dataset.texts, dataset.lines), (table.path, table.texts, table.lines));
}

#[test]
fn unknown_labels_are_refused() {
    let error = message(Dataset::new(labelled(&["a", "b", "x"]), &map(&["a", "b"])));
    let expected = "a.tsv, line 4: unknown label \"x\" in column \"label\", expected one of \"a\", \"b\". ";
    assert!(error.starts_with(expected), "{error}");
    let many: Vec<String> = (0..12).map(|name| format!("c{name}")).collect();
    let error = message(Dataset::new(labelled(&["x"]), &LabelMap::from_names(many)));
    assert!(error.contains("\"c9\" and 2 more") && !error.contains("c10"), "{error}");

    let bare = read_bytes(Path::new("a.tsv"), b"text\na\n", &Columns::default(), Labels::Optional).unwrap();
    assert!(message(Dataset::new(bare, &map(&["a", "b"]))).starts_with("a.tsv: no label column, expected labels. "));
}
