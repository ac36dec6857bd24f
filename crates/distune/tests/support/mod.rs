//! What several test files need: fixtures, assets, comparisons.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

pub mod differences;
pub mod training;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use distune::data::{Batch, Columns, Dataset, Examples, LabelMap, Labels, read_file};
use distune::model::activations::{DropoutRates, StepDropout};
use distune::model::weights::{Group, Parameters, Table};
use distune::model::{Config, Model, ModelFiles};
use distune::tokenize::Tokenizer;
use safetensors::SafeTensors;
use serde_json::Value;

/// The model's own dropout, in some step.
pub const DROPOUT: StepDropout =
    StepDropout { seed: 5, step: 9, rates: DropoutRates { hidden: None, attention: None, classifier: None } };

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name)
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn floats(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

pub fn sequences(value: &Value) -> Vec<Vec<u32>> {
    let ids = |s: &Value| s.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    value.as_array().unwrap().iter().map(ids).collect()
}

/// All f32 tensors of a file.
pub fn tensors(path: &Path) -> HashMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    file.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect()
}

/// A directory of files with a tokenizer added, so that it opens as a model.
pub fn model_directory(from: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), directory.path().join(name)).unwrap();
    }
    std::fs::copy(asset("encoder/tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
    directory
}

pub fn tiny() -> Model {
    let directory = model_directory(&fixture("tiny"));
    Model::load(&ModelFiles::open(directory.path()).unwrap()).unwrap()
}

pub fn bundled() -> ModelFiles {
    ModelFiles::open(&asset("encoder")).unwrap()
}

pub fn batch(sequences: &[Vec<u32>]) -> Batch {
    Batch::new(sequences.iter().map(Vec::as_slice))
}

/// A model's weights in f64, to check gradients by finite differences.
pub fn in_f64(model: &Model) -> Parameters<f64> {
    let table = std::sync::Arc::new(Table::new(&model.config));
    let mut weights = Parameters::zeros(&table, Group::Embeddings);
    for tensor in table.tensors() {
        let values = model.weights.tensor(tensor).iter().map(|&x| f64::from(x));
        weights.tensor_mut(tensor).iter_mut().zip(values).for_each(|(w, x)| *w = x);
    }
    weights
}

/// A small config of the given sizes.
pub fn small_config([dim, heads, hidden, layers, positions, vocabulary, labels]: [usize; 7]) -> Config {
    let config = serde_json::json!({
        "model_type": "distilbert", "dim": dim, "n_heads": heads, "hidden_dim": hidden, "n_layers": layers,
        "max_position_embeddings": positions, "vocab_size": vocabulary, "num_labels": labels,
        "dropout": 0.1, "attention_dropout": 0.2, "seq_classif_dropout": 0.3,
    });
    Config::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap()
}

/// The largest difference, and where.
pub fn largest_difference(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter()
        .zip(want)
        .map(|(g, w)| f64::from((g - w).abs()))
        .fold(0.0, |a, b| if b.is_nan() { b } else { f64::max(a, b) })
}

#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f64) {
    let difference = largest_difference(got, want);
    assert!(difference <= tolerance, "{what}: differs by {difference:e}, more than {tolerance:e}");
}

/// The bundled encoder with the fixtures' head.
pub fn encoder_with_head() -> Model {
    let labels = vec!["0".to_owned(), "1".to_owned()];
    let mut model = Model::load_with_new_head(&bundled(), &LabelMap::from_names(labels), 0).unwrap();
    let head = tensors(&fixture("encoder/head.safetensors"));
    let table = model.weights.table().clone();
    for tensor in table.tensors().iter().filter(|t| t.group == Group::Head) {
        model.weights.tensor_mut(tensor).copy_from_slice(&head[&tensor.name]);
    }
    model
}

pub fn review_sequences(split: &str, rows: usize, config: &Config) -> (Vec<Vec<u32>>, Vec<u32>) {
    let path = asset(&format!("reviews/{split}.tsv"));
    let mut table = read_file(&path, &Columns::default(), Labels::Required).unwrap();
    table.texts.truncate(rows);
    table.labels.truncate(rows);
    table.lines.truncate(rows);
    let map = LabelMap::of_model(config);
    let json = std::fs::read(asset("encoder/tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_bytes("tokenizer.json".as_ref(), &json, 128).unwrap();
    let examples = Examples::new(Dataset::new(table, &map).unwrap(), &tokenizer, config);
    let sequences = (0..examples.len()).map(|row| examples.sequence(row).unwrap().to_vec()).collect();
    (sequences, (0..examples.len()).map(|row| examples.answers().row(row)[0]).collect())
}
