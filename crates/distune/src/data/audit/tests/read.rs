//! Reading for a check, and its end by the user.

use std::fs;

use super::*;
use crate::data::Columns;

/// A directory with the files given.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(directory.path().join(name), bytes).unwrap());
    directory
}

#[test]
fn rows_that_cannot_be_read_are_listed() {
    let train = b"text\tlabel\nfine\t1\ndull\tvery\t0\n \t0\nbad \xff\t0\nbad\t\nbad\t0\n";
    let directory = directory(&[("train.tsv", train), ("test.tsv", b"index\ttext\n0\tfine\n")]);
    let (parts, notes) = read_parts(&[directory.path().to_owned()], &Columns::default()).unwrap();
    let report = report(&parts);
    assert_eq!(report.splits.iter().map(|split| (split.rows, split.unreadable)).collect::<Vec<_>>(), [(2, 4), (1, 0)]);
    let finding = only(&report, Kind::UnreadableRows);
    assert_eq!((finding.count, finding.of, finding.level), (4, 6, Level::Problem));
    let problems: Vec<&str> = finding.examples.iter().map(|e| e.problem.as_deref().unwrap()).collect();
    for (problem, about) in problems.iter().zip(["line 3: expected 2", "line 4: the text", "line 5: column", "line 6:"])
    {
        assert!(problem.contains(about), "{about} is not in {problem}");
    }
    // the test file has no labels, and the text of a training row
    assert!(report.splits[1].classes.is_empty());
    assert_eq!(only(&report, Kind::Overlap).split, "test");
    assert!(notes.iter().all(|note| !note.contains("skipped") && !note.contains("left out")), "{notes:?}");
}

#[test]
fn several_files_are_one_part_and_each_row_has_its_own_file() {
    let rows = b"text,label\nfine,1\ndull,0\n";
    let directory = directory(&[("a.csv", rows), ("b.csv", rows)]);
    let paths = ["a.csv", "b.csv"].map(|name| directory.path().join(name));
    let (parts, _) = read_parts(&paths, &Columns::default()).unwrap();
    let report = report(&parts);
    assert_eq!((report.splits[0].split.as_str(), report.splits[0].rows), ("data", 4));
    let example = &only(&report, Kind::RepeatedTexts).examples[0];
    let file = |place: &Option<Place>| place.as_ref().unwrap().file.file_name().unwrap().to_owned();
    assert_eq!((file(&example.row), file(&example.other)), ("b.csv".into(), "a.csv".into()));
}

#[test]
fn what_cannot_be_read_at_all_is_an_error() {
    let empty = directory(&[("notes.txt", b"")]);
    let message = |path: PathBuf| read_parts(&[path], &Columns::default()).unwrap_err().to_string();
    assert!(message(empty.path().to_owned()).contains("no train file"));
    assert!(message("nowhere.csv".into()).contains("no such file"));
    assert!(read_parts(&[], &Columns::default()).is_err());
}

/// Asks to stop in one part of the work.
struct Stop(&'static str, bool);

impl Watcher for Stop {
    fn progress(&mut self, work: &'static str, done: usize, total: usize) {
        assert!(done <= total, "{work}: {done} of {total}");
        self.1 |= work == self.0;
    }

    fn stop_requested(&self) -> bool {
        self.1
    }
}

#[test]
fn the_user_ends_it() {
    let parts = [part("data", &[("a long enough text to be compared", "0"), ("another one of the same kind", "1")])];
    for (after, doing) in [("comparing texts", "signatures"), ("taking MinHash signatures", "near duplicates")] {
        let error = check(&parts, &Options::default(), &mut Stop(after, false)).unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }) && error.to_string().contains(doing), "{error}");
    }
    let error = check(&parts, &Options::default(), &mut Stop("", true)).unwrap_err();
    assert!(error.to_string().contains("while comparing texts; a check writes nothing"), "{error}");
}
