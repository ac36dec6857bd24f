//! The programs of `examples/` that show how the library is used run to their end and come to what they say.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

#[path = "../examples/custom_loop.rs"]
mod custom_loop;
#[path = "../examples/freeze_and_cache.rs"]
mod freeze_and_cache;
#[path = "../examples/from_transformers.rs"]
mod from_transformers;
#[path = "../examples/multi_label.rs"]
mod multi_label;
#[path = "../examples/own_csv.rs"]
mod own_csv;
#[path = "../examples/quick_start.rs"]
mod quick_start;
mod support;

use distune::data::Splits;
use distune::prelude::*;

#[test]
fn quick_start_on_a_few_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let all = std::fs::read_to_string(support::asset("reviews/train.tsv")).unwrap();
    let rows: String = all.lines().take(200).map(|line| format!("{line}\n")).collect();
    std::fs::write(path("reviews.tsv"), rows).unwrap();
    let prediction = quick_start::run("bundled", &path("reviews.tsv"), &path("run")).unwrap();
    assert_eq!(prediction.probabilities.len(), 2);
    assert!((prediction.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9 && !prediction.truncated);
    // a run as the program leaves it, but for what it records as it goes
    for name in ["model.safetensors", "tokenizer.json", "recipe.toml", "report.html", "README.md", "calibration.json"] {
        assert!(directory.path().join("run").join(name).is_file(), "{name}");
    }
    // and nothing is overwritten
    let again = quick_start::run("bundled", &path("reviews.tsv"), &path("run")).unwrap_err().to_string();
    assert!(again.contains("the output directory exists"), "{again}");
}

#[test]
fn own_csv_file() {
    let directory = tempfile::tempdir().unwrap();
    let trained = own_csv::run(directory.path()).unwrap();
    assert_eq!(trained.model().config.labels, ["billing", "web"]);
    // the rows are easy: 12 of 12 test rows
    assert_eq!(trained.evaluation().metrics.accuracy, 1.0);
    let run = directory.path().join("run").display().to_string();
    let mut classifier = Classifier::open(&run).unwrap();
    assert_eq!(classifier.predict(&["Hello, the invoice is wrong"]).unwrap()[0].label(), "billing");
    let file = directory.path().join("tickets.csv").display().to_string();
    let columns = Columns { text: Some("message".into()), label: Some("team".into()), ..Columns::default() };
    let judged = classifier.evaluate_columns(&file, None, &columns, &mut ()).unwrap();
    assert_eq!((judged.metrics.rows, judged.metrics.accuracy), (120, 1.0));
    // columns that cannot be guessed are asked for
    let unknown = classifier.evaluate(&file, None).unwrap_err().to_string();
    assert!(unknown.contains("no label column found") && unknown.contains("message"), "{unknown}");
}

#[test]
fn several_labels_a_row() {
    let (judged, predictions) = multi_label::run(tempfile::tempdir().unwrap().path()).unwrap();
    // each word is the label's own
    assert!(judged.metrics.micro_f1 > 0.9, "{}", judged.metrics);
    assert_eq!(predictions[0].labels, ["food", "noise"]);
}

#[test]
fn frozen_blocks_are_kept() {
    let trained = freeze_and_cache::run(tempfile::tempdir().unwrap().path()).unwrap();
    let cache = trained.outcome().cache.as_ref().unwrap();
    // 128 rows to train on; four of five epochs find what the first has left
    assert_eq!((cache.rows_computed, cache.rows_reused), (128, 4 * 128));
    assert_eq!(trained.frozen().map(str::len), Some(64));
    assert_eq!(trained.evaluation().metrics.accuracy, 1.0);
}

#[test]
fn a_loop_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let (losses, judged) = custom_loop::run(directory.path()).unwrap();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[25..]));
    assert!(losses.len() == 30 && last < first - 0.1, "{losses:?}");
    // with chance at a half, 200 rows have a standard error of 3.5 points
    assert!(judged.metrics.accuracy > 0.65, "{}", judged.metrics);
    let mut classifier = Classifier::open(&directory.path().display().to_string()).unwrap();
    assert_eq!(classifier.predict(&["dull"]).unwrap().len(), 1);
}

#[test]
fn what_a_trainer_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let all = std::fs::read_to_string(support::asset("reviews/train.tsv")).unwrap();
    let rows: String = all.lines().take(100).map(|line| format!("{line}\n")).collect();
    std::fs::write(path("reviews.tsv"), rows).unwrap();
    let judged = from_transformers::run("bundled", &path("reviews.tsv"), &path("run")).unwrap();
    // a tenth of 99 rows
    assert_eq!(judged.metrics.rows, 10);
    assert!(directory.path().join("run/model.safetensors").is_file());
}

#[test]
fn rows_that_are_at_hand() {
    let row = |i: usize| ["a good film", "a dull film"][i % 2].to_owned() + &format!(" number {i}");
    let labels = (0..60).map(|i| ["good", "dull"][i % 2].to_owned()).collect();
    let rows = Table { texts: (0..60).map(row).collect(), labels, lines: (1..=60).collect(), ..Table::default() };
    let splits = Splits { train: Some(rows.sample(40, 1)), ..Splits::default() };
    // without a name for the rows too
    let mut settings = RecipeFile { data: Vec::new(), ..RecipeFile::new("bundled", "") };
    settings.recipe = Recipe { unfreeze: Unfreeze::head(), num_train_epochs: 1, ..settings.recipe };
    let training = FineTuning::with_rows(settings.clone(), splits, &mut ()).unwrap();
    // 80/10/10
    let of = |examples: &Examples| examples.len();
    let rows = training.rows();
    assert_eq!((of(&rows.train), of(&rows.validation), rows.test.as_ref().map(of)), (32, 4, Some(4)));
    let directory = tempfile::tempdir().unwrap();
    let trained = training.run(None, &mut ()).unwrap();
    trained.save(directory.path().join("run")).unwrap();
    assert_eq!(trained.evaluation().metrics.rows, 4);
    // and what cannot be trained on is refused as in a file
    let none = FineTuning::with_rows(settings, Splits::default(), &mut ()).map(drop).unwrap_err().to_string();
    assert!(none.contains("no validation rows") || none.contains("classes"), "{none}");
}
