//! What takes seconds instead of a transformer, judged on the same rows: the majority class, and logistic regression on TF-IDF. Called
//! at the end of `train` and by `compare`.

mod logistic;
mod matrix;
mod table;
mod tfidf;

use std::time::Instant;

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use self::logistic::Logistic;
pub use self::table::{ModelFigures, ModelTable};
use self::tfidf::TfIdf;
use crate::data::audit::thousands;
use crate::data::{Answers, Dataset};
use crate::eval::Predictions;
use crate::{Error, Result};

/// The name of [`majority`].
pub const MAJORITY: &str = "majority class";
/// The name of [`tfidf_logistic_regression`].
pub const TFIDF: &str = "TF-IDF, logistic regression";
/// Bytes of text that TF-IDF is made of, at most.
const MOST_BYTES: usize = 32 << 20;
/// Numbers that are fitted, at most: terms times classes.
const MOST_WEIGHTS: usize = 2 << 20;
/// Products of an entry of a row with a weight in one pass over the rows, at most, as estimated by the bytes of text.
const MOST_PRODUCTS: usize = 200 << 20;
/// Probabilities that are kept for the rows of one fit, at most.
const MOST_PROBABILITIES: usize = 16 << 20;

/// Seed of the rows that are drawn where there are too many.
const SEED: u64 = 42;

/// What a simple model predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// What it is called.
    pub name: &'static str,
    /// Its predictions for the rows that are judged.
    pub predictions: Predictions,
    /// Seconds that it took to train and to predict.
    pub seconds: f64,
    /// What was left out of the training, to spare memory and time.
    pub note: Option<String>,
}

/// Trains all baselines on some rows and predicts others.
///
/// # Errors
/// No rows to train on, and a fit that fails.
pub fn baselines(train: &Dataset, judged: &Dataset, names: &[String]) -> Result<Vec<Baseline>> {
    Ok(vec![majority(train, judged, names)?, tfidf_logistic_regression(train, judged, names)?])
}

/// The same for each row, the share of the training rows that each class has: so the most frequent class is predicted, and with
/// several labels a row those that at least half of the rows have.
///
/// # Errors
/// No rows to train on.
pub fn majority(train: &Dataset, judged: &Dataset, names: &[String]) -> Result<Baseline> {
    let start = Instant::now();
    check(train)?;
    let rows = train.len() as f64;
    let shares: Vec<f64> = train.answers.counts(names.len()).into_iter().map(|count| count as f64 / rows).collect();
    let mut predictions = Predictions::none(train.answers.problem());
    (0..judged.len()).for_each(|_| predictions.push(&shares));
    Ok(Baseline { name: MAJORITY, predictions, seconds: start.elapsed().as_secs_f64(), note: None })
}

/// Logistic regression on the TF-IDF of words and pairs of neighbouring words, as scikit-learn's
/// `TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))` and `LogisticRegression()` with their other defaults: softmax for three
/// classes and more, a sigmoid for two and for each of several labels. Terms of the second texts of pairs are terms of their own; a
/// Chinese or Japanese character is a word.
///
/// Of more than 32 MB of text (less with more than 18 classes), half of the rows are used, a third and so on, drawn at random; of more
/// terms than two million divided by the classes, the most frequent ones.
///
/// # Errors
/// No rows to train on, and a fit that fails.
pub fn tfidf_logistic_regression(train: &Dataset, judged: &Dataset, names: &[String]) -> Result<Baseline> {
    let start = Instant::now();
    check(train)?;
    let rows = some_rows(train, names.len());
    let mut answers = Answers::none(train.answers.problem());
    rows.iter().for_each(|&row| answers.push(train.answers.row(row).to_vec()));
    let (vectors, matrix, found) = TfIdf::fit(train, &rows, MOST_WEIGHTS / names.len().max(1));
    let model = Logistic::fit(&matrix, &answers, names.len())?;
    drop(matrix);
    let probabilities = model.probabilities(&vectors.transform(judged));
    let mut predictions = Predictions::none(train.answers.problem());
    probabilities.chunks_exact(names.len()).for_each(|row| predictions.push(row));
    let [used, all, terms, found_terms] = [rows.len(), train.len(), vectors.terms(), found].map(thousands);
    let of_rows = (rows.len() < train.len()).then(|| format!("trained on {used} of {all} rows"));
    let of_terms = (found > vectors.terms()).then(|| format!("the {terms} most frequent of {found_terms} terms"));
    let note: Vec<String> = of_rows.into_iter().chain(of_terms).collect();
    let note = (!note.is_empty()).then(|| note.join(", "));
    Ok(Baseline { name: TFIDF, predictions, seconds: start.elapsed().as_secs_f64(), note })
}

fn check(train: &Dataset) -> Result<()> {
    match train.is_empty() {
        true => Err(Error::value("baseline", "number of training rows", "at least one", 0)),
        false => Ok(()),
    }
}

/// The rows that are used, in their order: as many as can be, drawn at random, as files may have a pattern in their order.
fn some_rows(train: &Dataset, classes: usize) -> Vec<usize> {
    let bytes: usize = train.texts.iter().chain(&train.pairs).map(String::len).sum();
    // a word is about six bytes and two terms
    let products = bytes / 3 * classes;
    let probabilities = train.len() * classes;
    let over = [(bytes, MOST_BYTES), (products, MOST_PRODUCTS), (probabilities, MOST_PROBABILITIES)];
    let parts = over.into_iter().map(|(found, most)| found.div_ceil(most)).max().unwrap_or(1).max(1);
    let mut rows = sample(&mut ChaCha8Rng::seed_from_u64(SEED), train.len(), train.len().div_ceil(parts)).into_vec();
    rows.sort_unstable();
    rows
}
