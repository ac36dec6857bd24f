//! Equal texts, labels and classes.

use super::*;
use crate::data::normalise::normalise;

fn normalised(text: &str) -> String {
    let mut out = String::new();
    normalise(text, &mut out);
    out
}

#[test]
fn only_letters_and_digits_count_when_normalised() {
    assert_eq!(normalised(" It's a -- GOOD 10/10 film . "), "itsagood1010film");
    assert_eq!(normalised("Änderung Ω é"), "änderungωé");
    assert_eq!(normalised("很好的电影。"), "很好的电影");
    // nothing is left of these, so they stand for themselves
    assert_eq!(normalised(" :-) "), ":-)");
    assert_ne!(normalised(":-)"), normalised(":-("));
}

#[test]
fn repeated_texts_are_counted_by_both_definitions() {
    let rows = [("a film", "0"), (" a film ", "0"), ("A film!", "0"), ("a film", "0"), ("another", "1")];
    let report = report(&[part("train", &rows)]);
    let finding = only(&report, Kind::RepeatedTexts);
    assert_eq!((finding.exact, finding.count, finding.of), (Some(2), 3, 5));
    assert_eq!(finding.level, Level::Problem);
    assert_eq!(lines(finding), (3, 2));
    let message = "train: 2 of 5 rows (40.0 %) repeat an earlier one; 3 when only letters and digits count";
    assert_eq!(finding.message, message);
    // an example of each definition
    let texts: Vec<&str> = finding.examples.iter().map(|e| e.row.as_ref().unwrap().text.as_str()).collect();
    assert_eq!(texts, ["a film", "a film", "A film!"]);
    assert_eq!(report.splits[0].distinct, 3);
}

#[test]
fn what_repeats_by_letters_alone_is_a_note() {
    let report = report(&[part("data", &[("fine film", "0"), ("Fine film.", "0"), ("dull", "1")])]);
    let finding = only(&report, Kind::RepeatedTexts);
    assert_eq!((finding.level, finding.exact, finding.count), (Level::Note, Some(0), 1));
    assert_eq!((report.problems, report.notes), (0, 1));
}

#[test]
fn contradictory_labels_are_problems() {
    let rows = [("good", "1"), ("good", "0"), ("good", "1"), ("bad", "0"), ("Bad!", "1"), ("ok", "1")];
    let report = report(&[part("train", &rows)]);
    let finding = only(&report, Kind::ContradictoryLabels);
    assert_eq!((finding.exact, finding.count, finding.level), (Some(1), 2, Level::Problem));
    assert_eq!(lines(finding), (3, 2));
    let labels = |e: &Example| [&e.row, &e.other].map(|place| place.as_ref().unwrap().label.clone().unwrap());
    assert_eq!(labels(&finding.examples[0]), ["0", "1"]);
}

#[test]
fn overlap_between_splits_is_found_with_its_labels() {
    let train = part("train", &[("one", "0"), ("two", "1"), ("three", "0")]);
    let validation = part("validation", &[("two", "1"), ("Three!", "1"), ("four", "0")]);
    let test = part("test", &[("four", "0"), ("five", "1")]);
    let report = report(&[train, validation, test]);
    let [first, second] = found(&report, Kind::Overlap)[..] else { panic!("{report:#?}") };
    assert_eq!((first.split.as_str(), first.other.as_deref()), ("validation", Some("train")));
    assert_eq!((first.exact, first.count, first.of, first.other_label), (Some(1), 2, 3, Some(1)));
    assert_eq!((second.split.as_str(), second.other.as_deref()), ("test", Some("validation")));
    assert_eq!((second.exact, second.count, second.other_label), (Some(1), 1, Some(0)));
    assert!(found(&report, Kind::ContradictoryLabels).is_empty(), "a contradiction is within a split");
    let place = first.examples[0].other.as_ref().unwrap();
    assert_eq!((place.file.to_str().unwrap(), place.line), ("train.tsv", 3));
}

#[test]
fn splits_without_labels_are_compared_too() {
    let train = part("train", &[("one", "0"), ("two", "1")]);
    let mut test = part("test", &[("two", ""), ("two", ""), ("three", "")]);
    test.tables[0].labels.clear();
    let unknown = part("test", &[("two", "-1"), ("two", "-1"), ("three", "-1")]);
    for test in [test, unknown] {
        let report = report(&[train.clone(), test]);
        assert!(report.splits[1].classes.is_empty());
        assert_eq!(only(&report, Kind::Overlap).other_label, Some(0));
        assert_eq!(only(&report, Kind::RepeatedTexts).split, "test");
        assert_eq!(report.problems, 2, "{report:#?}");
    }
}

#[test]
fn both_texts_of_a_pair_must_be_the_same() {
    let mut pairs = part("data", &[("a", "0"), ("a", "1"), ("a", "0")]);
    pairs.tables[0].pairs = vec!["b".into(), "c".into(), "b ".into()];
    let report = report(&[pairs]);
    assert_eq!(only(&report, Kind::RepeatedTexts).exact, Some(1));
    assert!(found(&report, Kind::ContradictoryLabels).is_empty());
    assert_eq!(only(&report, Kind::RepeatedTexts).examples[0].row.as_ref().unwrap().text, "a | b");
}

#[test]
fn classes_are_counted_and_odd_ones_noted() {
    let mut rows = vec![("x", "10"); 20];
    rows.extend([("y", "9"), ("y", "10")]);
    let report = report(&[part("train", &rows), part("validation", &[("z", "11"), ("w", "9")])]);
    let classes: Vec<_> = report.splits[0].classes.iter().map(|class| (class.label.as_str(), class.rows)).collect();
    assert_eq!(classes, [("9", 1), ("10", 21)]);
    assert_eq!(only(&report, Kind::Imbalance).level, Level::Note);
    let unknown = only(&report, Kind::UnknownLabels);
    assert_eq!((unknown.count, unknown.level, unknown.split.as_str()), (1, Level::Problem, "validation"));
    assert!(unknown.message.ends_with(r#"has a label that the train split has not got: "11""#), "{}", unknown.message);

    let one = super::report(&[part("data", &[("x", "a"), ("y", "a")])]);
    assert_eq!(only(&one, Kind::OneClass).level, Level::Problem);
}

#[test]
fn several_labels_are_sets() {
    let mut table = part("data", &[("x", "joy|fear"), ("x", "fear|joy"), ("y", "joy"), ("y", "")]);
    table.tables[0].multi_label = true;
    let report = report(&[table]);
    assert_eq!(only(&report, Kind::ContradictoryLabels).exact, Some(1), "the order of names is no contradiction");
    let classes: Vec<_> = report.splits[0].classes.iter().map(|class| (class.label.as_str(), class.rows)).collect();
    assert_eq!((&classes[..], report.splits[0].unlabelled), (&[("fear", 2), ("joy", 3)][..], 1));
}

#[test]
fn texts_without_letters_are_noted_and_not_taken_for_each_other() {
    let report = report(&[part("data", &[("?!", "0"), ("...", "1"), ("fine", "1")])]);
    let finding = only(&report, Kind::NoLetters);
    assert_eq!((finding.count, finding.level), (2, Level::Note));
    assert_eq!(report.findings.len(), 1, "{report:#?}");
}

#[test]
fn bundled_texts_are_found_as_a_note() {
    let bundled = [part("train", &[("A fine film.", "1"), ("Dull", "0")])];
    let data =
        [part("train", &[("other", "0"), ("more", "1")]), part("validation", &[("a fine film", "1"), ("fine", "1")])];
    let options = Options { max_length: 128, bundled: Some(&bundled), ..Options::default() };
    let report = check(&data, &options, &mut ()).unwrap();
    let finding = only(&report, Kind::BundledOverlap);
    assert_eq!((finding.split.as_str(), finding.count, finding.of), ("validation", 1, 2));
    assert_eq!((finding.level, lines(finding)), (Level::Note, (2, 2)));
}

#[test]
fn clean_data_give_an_empty_report() {
    let report = report(&[part("train", &[("one film", "0"), ("two films", "1")]), part("test", &[("three", "1")])]);
    assert!(report.findings.is_empty(), "{report:#?}");
    assert_eq!(report.splits[1].rows, 1);
}

#[test]
fn a_training_is_warned_in_a_line_each() {
    let [train, validation] = [
        part("train", &[("good", "1"), ("good", "0"), ("bad", "0")]),
        part("validation", &[("bad", "0"), ("fine", "1")]),
    ]
    .map(|part| part.tables.into_iter().next());
    let splits = Splits { train, validation, ..Splits::default() };
    let lines = quick_check(&splits);
    assert_eq!(
        lines,
        [
            "Data: train: 1 of 2 texts (50.0 %) has several labels.",
            "Data: train: 1 of 3 rows (33.3 %) repeats an earlier one.",
            "Data: validation: 1 of 2 rows (50.0 %) is in train too. \"distune data check\" lists them.",
        ]
    );
    assert!(quick_check(&Splits::default()).is_empty());
}

#[test]
fn one_label_may_have_a_bar_in_its_name() {
    let report = report(&[part("data", &[("x", "a|b"), ("y", "a")])]);
    let classes: Vec<_> = report.splits[0].classes.iter().map(|class| class.label.as_str()).collect();
    assert_eq!(classes, ["a", "a|b"]);
}
