//! The baselines: probabilities equal to scikit-learn's on the cases of `fixtures/baselines/generate.py`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::path::Path;

use distune::baselines::{MAJORITY, TFIDF, baselines, tfidf_logistic_regression};
use distune::data::{Answers, Columns, Dataset, LabelMap, Labels, read_file};
use distune::eval::{Evaluation, Metrics};
use distune::model::ProblemType;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    reviews: Reviews,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Reviews {
    labels: Vec<String>,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    train: Texts,
    labels: Ids,
    judged: Texts,
    probabilities: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    Single(Vec<String>),
    Pairs(Vec<[String; 2]>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(Vec<u32>),
    Several(Vec<Vec<u32>>),
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/baselines/cases.json.gz");
    let mut json = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn dataset(texts: Texts, answers: Answers) -> Dataset {
    let (texts, pairs) = match texts {
        Texts::Single(texts) => (texts, Vec::new()),
        Texts::Pairs(pairs) => pairs.into_iter().map(|[a, b]| (a, b)).unzip(),
    };
    Dataset { path: "rows".into(), lines: (1..=texts.len() as u64).collect(), texts, pairs, answers }
}

/// Both fits end near the same minimum: ours where the gradient of the mean loss is below 1e-6, and its values are rounded to f32.
const TOLERANCE: f64 = 5e-5;

#[track_caller]
fn assert_close(ours: &[f64], theirs: &[Vec<f64>], what: &str) {
    assert_eq!(ours.len(), theirs.iter().map(Vec::len).sum::<usize>(), "{what}");
    let off = ours.iter().zip(theirs.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < TOLERANCE, "{what}: {off}");
}

fn reviews(split: &str, labels: &LabelMap) -> Dataset {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../assets/reviews/{split}.tsv"));
    Dataset::new(read_file(&path, &Columns::default(), Labels::Required).unwrap(), labels).unwrap()
}

#[test]
fn the_reviews_as_scikit_learn() {
    let fixture = fixture().reviews;
    // the file's labels are 0 and 1, as scikit-learn sorts them
    let labels = LabelMap::from_names(fixture.labels);
    let (train, test) = (reviews("train", &labels), reviews("test", &labels));
    let found = baselines(&train, &test, labels.names()).unwrap();
    assert_eq!(found.iter().map(|baseline| baseline.name).collect::<Vec<_>>(), [MAJORITY, TFIDF]);
    let accuracy =
        |at: usize| Metrics::new(&test.answers, &found[at].predictions.answers, labels.names()).unwrap().accuracy;
    assert_close(found[1].predictions.probabilities.as_ref().unwrap(), &fixture.probabilities, "reviews");
    assert!(accuracy(0) < 0.55 && accuracy(1) > 0.7, "{} {}", accuracy(0), accuracy(1));
    assert_eq!(found[1].note, None);
}

#[test]
fn other_tasks_as_scikit_learn() {
    let cases = fixture().cases;
    assert_eq!(cases.len(), 5);
    for case in cases {
        let answers = match case.labels {
            Ids::One(ids) => Answers::One(ids),
            Ids::Several(rows) => Answers::Several(rows),
        };
        let names: Vec<String> = (0..case.probabilities[0].len()).map(|id| id.to_string()).collect();
        let mut unknown = Answers::none(answers.problem());
        (0..case.probabilities.len()).for_each(|_| unknown.push(vec![0]));
        let (train, judged) = (dataset(case.train, answers), dataset(case.judged, unknown));
        let found = tfidf_logistic_regression(&train, &judged, &names).unwrap().predictions;
        assert_close(found.probabilities.as_ref().unwrap(), &case.probabilities, &case.name);
    }
}

fn few(labels: Answers) -> Dataset {
    let texts = ["good film", "bad film", "good plot", "dull"].map(str::to_owned).to_vec();
    dataset(Texts::Single(texts), labels)
}

#[test]
fn the_majority() {
    let names = ["a", "b", "c"].map(str::to_owned);
    let train = few(Answers::One(vec![1, 1, 0, 1]));
    let majority = &baselines(&train, &train, &names).unwrap()[0].predictions;
    assert_eq!(majority.answers, Answers::One(vec![1; 4]));
    assert_eq!(majority.probabilities.as_ref().unwrap(), &[0.25, 0.75, 0.0].repeat(4));
    let several = few(Answers::Several(vec![vec![0, 2], vec![0], vec![2], vec![]]));
    let majority = &baselines(&several, &several, &names).unwrap()[0].predictions;
    assert_eq!(majority.answers, Answers::Several(vec![vec![0, 2]; 4]));
    Evaluation::new(&several.answers, majority, &names).unwrap();
}

#[test]
fn rows_that_tell_nothing() {
    let names = ["a", "b"].map(str::to_owned);
    let none = dataset(Texts::Single(Vec::new()), Answers::none(ProblemType::SingleLabel));
    let one = few(Answers::One(vec![1; 4]));
    assert!(baselines(&none, &one, &names).unwrap_err().to_string().contains("number of training rows"));
    // one class alone, and texts without a word
    let certain = tfidf_logistic_regression(&one, &one, &names).unwrap().predictions;
    assert_eq!(certain.probabilities.unwrap(), [0.0, 1.0].repeat(4));
    let texts = Texts::Single(["!", "?", "...", ""].map(str::to_owned).to_vec());
    let wordless = dataset(texts, Answers::One(vec![0, 1, 1, 1]));
    let shares = tfidf_logistic_regression(&wordless, &one, &names).unwrap().predictions;
    // the intercept alone
    assert!(shares.probabilities.unwrap().chunks(2).all(|row| (row[1] - 0.75).abs() < 1e-4));
}

/// 40 MB of text, of which half the rows are used; every second one is of the same class.
#[test]
fn rows_in_turn() {
    let names = ["a", "b"].map(str::to_owned);
    let filler = "and so on ".repeat(10_000);
    let texts = (0..400).map(|row| format!("{} {filler}", ["good", "dull"][row % 2])).collect();
    let train = dataset(Texts::Single(texts), Answers::One((0..400).map(|row| row % 2).collect()));
    let judged = dataset(Texts::Single(vec!["good".into(), "dull".into()]), Answers::One(vec![0, 1]));
    let found = tfidf_logistic_regression(&train, &judged, &names).unwrap();
    assert_eq!(found.note.as_deref(), Some("trained on 200 of 400 rows"));
    assert_eq!(found.predictions.answers, judged.answers);
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    let labels = LabelMap::from_names(fixture().reviews.labels);
    let (train, test) = (reviews("validation", &labels), reviews("test", &labels));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| tfidf_logistic_regression(&train, &test, labels.names()).unwrap().predictions)
    };
    assert_eq!(with(1), with(3));
}
