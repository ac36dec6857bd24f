//! BERT encoders load exactly as DistilBERT, from every form of checkpoint: the hidden states are those of Transformers'
//! `BertModel`, whose numbers `fixtures/bert/generate.py` made (versions in `fixtures/versions.json`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use distune::data::LabelMap;
use distune::model::activations::{Activations, Pass};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Weights};
use distune::model::{Architecture, Config, Model, ModelFiles};
use serde_json::{Value, json};
use support::*;

/// A model directory of the BERT's config and tokenizer and of other files: names, and what they are called there.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let copy = |from, to: &str| std::fs::copy(from, directory.path().join(to)).unwrap();
    copy(fixture("bert/config.json"), "config.json");
    copy(asset("encoder/tokenizer.json"), "tokenizer.json");
    for (from, to) in files {
        copy(fixture("bert").join(from), to);
    }
    directory
}

/// The last hidden states of every token: one more block, whatever it does, makes the last one compute all tokens.
fn hidden_states(model: &Model) -> Vec<f32> {
    let mut config: Value = serde_json::from_str(&model.config.to_json()).unwrap();
    config["n_layers"] = 3.into();
    let config = Config::from_json("config.json".as_ref(), config.to_string().as_bytes()).unwrap();
    let mut weights = Parameters::zeros(&std::sync::Arc::new(Table::new(&config)), Group::Embeddings);
    let head = model.weights.table().start(Group::Head);
    weights.from_mut(Group::Embeddings)[..head].copy_from_slice(&model.weights.from(Group::Embeddings)[..head]);
    let sequences = sequences(&json(&fixture("bert/cases.json"))["sequences"]);
    let (batch, mut a) = (batch(&sequences), Activations::default());
    let thawed = Thawed::from(weights.table(), Group::Embeddings);
    let pass = Pass { thawed: Some(&thawed), ..Pass::inference(&config, &batch) };
    forward(&mut a, Weights::Ready(&weights), pass);
    a.blocks[3].input.to_vec()
}

fn check(files: &[(&str, &str)], expected: &str) {
    let directory = directory(files);
    let model = Model::load_encoder(&ModelFiles::open(directory.path()).unwrap()).unwrap();
    assert_eq!(model.config.architecture, Architecture::DistilBert);
    // f32 sums in another order, of hidden states up to 4
    let want = &tensors(&fixture("bert/expected.safetensors"))[expected];
    assert_close(&format!("{files:?}"), &hidden_states(&model), want, 1e-5);
}

#[test]
fn hidden_states_equal_those_of_transformers() {
    check(&[("model.safetensors", "model.safetensors")], "hidden");
    check(&[("mixed.safetensors", "model.safetensors")], "mixed");
}

#[test]
fn of_pytorch_files() {
    check(&[("pytorch_model.bin", "pytorch_model.bin")], "hidden");
    // gamma and beta, a prefix, parameters, other models' tensors, transposed and shared storages
    check(&[("old.bin", "pytorch_model.bin")], "hidden");
    // safetensors are preferred
    check(&[("old.bin", "pytorch_model.bin"), ("mixed.safetensors", "model.safetensors")], "mixed");
}

#[test]
fn of_shards() {
    let files: Vec<(String, String)> = std::fs::read_dir(fixture("bert/sharded"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (format!("sharded/{name}"), name))
        .collect();
    assert!(files.len() > 3, "{files:?}");
    let files: Vec<(&str, &str)> = files.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    check(&files, "hidden");
}

#[test]
fn the_config_becomes_a_distilberts() {
    let directory = directory(&[("model.safetensors", "model.safetensors")]);
    let files = ModelFiles::open(directory.path()).unwrap();
    let model =
        Model::load_with_new_head(&files, &LabelMap::from_names(vec!["a".into(), "b".into(), "c".into()]), 0).unwrap();
    let config: Value = serde_json::from_str(&model.config.to_json()).unwrap();
    for (key, value) in [
        ("model_type", json!("distilbert")),
        ("dim", json!(16)),
        ("hidden_dim", json!(24)),
        ("n_heads", json!(2)),
        ("n_layers", json!(2)),
        ("max_position_embeddings", json!(40)),
        ("vocab_size", json!(96)),
        ("dropout", json!(0.2)),
        ("attention_dropout", json!(0.3)),
        ("seq_classif_dropout", json!(0.4)),
        ("id2label", json!({"0": "a", "1": "b", "2": "c"})),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    assert!(config.get("hidden_size").is_none() && config.get("layer_norm_eps").is_none());
}

/// The message for a changed config.
fn refused(key: &str, value: Value) -> String {
    let mut config = json(&fixture("bert/config.json"));
    config[key] = value;
    Config::from_json("m/config.json".as_ref(), config.to_string().as_bytes()).expect_err("an error").to_string()
}

#[test]
fn what_no_distilbert_computes_is_refused() {
    for (key, value, expected) in [
        ("model_type", json!("roberta"), "expected \"distilbert\" or \"bert\" (DistilBERT, or BERT and its family"),
        ("model_type", json!("electra"), "found \"electra\""),
        ("model_type", Value::Null, "found null"),
        ("hidden_act", json!("gelu_new"), "expected \"gelu\", the only one"),
        ("position_embedding_type", json!("relative_key"), "expected \"absolute\", the only one"),
        ("layer_norm_eps", json!(1e-5), "found 0.00001"),
        ("is_decoder", json!(true), "expected false"),
        ("type_vocab_size", json!(0), "expected a whole number"),
        ("hidden_size", json!("x"), "expected a whole number from 1 to 1048576, found \"x\""),
        ("num_attention_heads", json!(5), "expected a divisor of hidden_size (16), found 5"),
    ] {
        let message = refused(key, value);
        assert!(message.starts_with(&format!("m/config.json: {key}: ")) && message.contains(expected), "{message}");
    }
}

#[test]
fn a_config_without_a_model_type_is_that_of_a_bert_if_it_has_two_token_types() {
    let mut config = json(&fixture("bert/config.json"));
    config.as_object_mut().unwrap().remove("model_type");
    let read = |config: &Value| Config::from_json("config.json".as_ref(), config.to_string().as_bytes());
    assert_eq!(read(&config).unwrap().architecture, Architecture::Bert { token_types: 2 });
    config["type_vocab_size"] = 1.into();
    assert!(read(&config).unwrap_err().to_string().contains("model_type: expected "));
}

#[test]
fn there_is_no_head() {
    let directory = directory(&[("model.safetensors", "model.safetensors")]);
    let files = ModelFiles::open(directory.path()).unwrap();
    assert!(!Model::has_head(&files).unwrap());
    let message = Model::load(&files).unwrap_err().to_string();
    assert!(
        message.contains("BERT") && message.contains("no trained head") && message.contains("distune train"),
        "{message}"
    );
}

/// What loading shards says when their directory has been changed.
fn shards(change: impl FnOnce(&std::path::Path, &mut Value)) -> String {
    let directory = directory(&[]);
    for entry in std::fs::read_dir(fixture("bert/sharded")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let index = directory.path().join("model.safetensors.index.json");
    let mut value = json(&index);
    change(directory.path(), &mut value);
    std::fs::write(&index, value.to_string()).unwrap();
    let model = ModelFiles::open(directory.path()).and_then(|files| Model::load_encoder(&files));
    model.expect_err("an error").to_string()
}

#[test]
fn wrong_shards() {
    let word = "embeddings.word_embeddings.weight";
    let first = |index: &Value| index["weight_map"][word].as_str().unwrap().to_owned();
    let message = shards(|path, index| std::fs::remove_file(path.join(first(index))).unwrap());
    assert!(message.contains("no such file, but model.safetensors.index.json names it"), "{message}");
    for outside in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "", ".."] {
        let message = shards(|_, index| index["weight_map"][word] = outside.into());
        assert!(message.contains(&format!("names the shard {outside:?}, which is not a file of this")), "{message}");
    }
    let query = "encoder.layer.1.attention.self.query.weight";
    let message = shards(|_, index| index["weight_map"][query] = first(index).into());
    assert!(message.contains(&format!("tensor {query}: expected it in model-00001-of-")), "{message}");
    assert!(message.contains("found it in model-0000"), "{message}");
    let message = shards(|_, index| index["weight_map"]["nothing"] = first(index).into());
    assert!(message.contains("tensor nothing: expected it in ") && message.contains("found none of that"), "{message}");
    let message = shards(|_, index| drop(index["weight_map"].as_object_mut().unwrap().remove(word)));
    assert!(message.contains(&format!("index.json: tensor bert.{word}: ")), "{message}");
    assert!(message.contains("found no such tensor"), "{message}");
    let message = shards(|_, index| *index = json!({"weight_map": [1]}));
    assert!(message.contains("not an index of shards"), "{message}");
}
