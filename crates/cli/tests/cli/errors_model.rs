//! Models that cannot be used.

use safetensors::Dtype;
use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says};

const WORDS: &str = "distilbert.embeddings.word_embeddings.weight";
const BIAS: &str = "distilbert.transformer.layer.1.attention.k_lin.bias";

/// Predicts with a model directory that has been changed, which must fail; returns the message.
fn refused(change: impl FnOnce(&Sandbox)) -> String {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "m");
    change(&sandbox);
    let message = sandbox.fails("predict --model m film");
    // whoever wants to train or evaluate is told the same
    assert_eq!(sandbox.fails("eval --model m --data data"), message);
    assert_eq!(sandbox.fails("train --model m --data data --output out"), message);
    message
}

/// As [`refused`], for changed tensors and config.
fn refused_checkpoint(change: impl FnOnce(&mut Checkpoint)) -> String {
    refused(|sandbox| {
        let mut model = Checkpoint::classifier();
        change(&mut model);
        model.write(sandbox, "m");
    })
}

#[test]
fn no_such_directory() {
    let sandbox = Sandbox::new();
    for command in ["train", "eval", "predict"] {
        let message = sandbox.fails(&format!("{command} --model ./nowhere"));
        assert_says(&message, &["./nowhere: no such model directory", "config.json and model.safetensors"]);
    }
    let message = sandbox.fails("predict --model data/dev.tsv film");
    assert_says(&message, &["data/dev.tsv: not a directory", "Name a directory"]);
}

#[test]
fn missing_files() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let message = refused(|sandbox| sandbox.remove(&format!("m/{name}")));
        let hint =
            "A model directory has config.json, tokenizer.json or vocab.txt, and model.safetensors (or its shards, or";
        assert_says(&message, &[&format!("m/{name}: no such file"), hint]);
    }
}

#[test]
fn missing_tensor() {
    let message = refused_checkpoint(|model| assert!(model.tensors.remove(BIAS).is_some()));
    let facts = ["m/model.safetensors: tensor ", BIAS, "expected shape [16]", "found no such tensor", "config.json"];
    assert_says(&message, &facts);
}

#[test]
fn missing_half_of_the_head() {
    let sandbox = Sandbox::new();
    let mut model = Checkpoint::classifier();
    model.tensors.remove("classifier.bias");
    model.write(&sandbox, "m");
    let message = sandbox.fails("predict --model m film");
    assert_says(&message, &["tensor classifier.bias: expected shape [2]", "no such tensor"]);
}

#[test]
fn wrong_shape() {
    let message = refused_checkpoint(|model| model.config["hidden_dim"] = json!(64));
    let tensor = "distilbert.transformer.layer.0.ffn.lin1.weight";
    assert_says(
        &message,
        &["m/model.safetensors", tensor, "expected shape [64, 16], found shape [32, 16]", "config.json"],
    );
    // as many numbers in another shape
    let message = refused_checkpoint(|model| model.tensors.get_mut(WORDS).unwrap().0.reverse());
    assert_says(&message, &[WORDS, "expected shape [17, 16], found shape [16, 17]"]);
}

#[test]
fn wrong_dtype() {
    let message = refused_checkpoint(|model| model.dtype = Dtype::I64);
    assert_says(&message, &["m/model.safetensors", WORDS, "expected dtype F32, F16 or BF16, found I64"]);
}

#[test]
fn not_finite() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let message = refused_checkpoint(|model| model.values(BIAS)[3] = value);
        let found = format!("expected finite numbers, found {name} at element 3");
        assert_says(&message, &["m/model.safetensors", BIAS, &found, "damaged"]);
    }
}

#[test]
fn cut_file() {
    let whole = Checkpoint::classifier().weights();
    let header = 8 + usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    for (length, place) in [(0, "header"), (5, "header"), (8, "header"), (header - 1, "header")] {
        let message = refused(|sandbox| sandbox.write("m/model.safetensors", &whole[..length]));
        assert_says(&message, &["m/model.safetensors: cut short", place, "download it again"]);
    }
    for length in [header, header + 1000, whole.len() - 1] {
        let message = refused(|sandbox| sandbox.write("m/model.safetensors", &whole[..length]));
        assert_says(&message, &["m/model.safetensors: cut short or damaged", "as many bytes", "download it again"]);
    }
}

#[test]
fn lying_header() {
    let tensor = |offsets: [u64; 2]| json!({"dtype": "F32", "shape": [2], "data_offsets": offsets});
    let huge = u64::from(u32::MAX) << 31;
    let cases = [
        ("a length beyond the file", u64::MAX.to_le_bytes().to_vec()),
        ("not JSON", [&12_u64.to_le_bytes()[..], b"not JSON!!!!", &[0; 64]].concat()),
        ("not UTF-8", [&4_u64.to_le_bytes()[..], b"{\xff\xff}", &[0; 64]].concat()),
        ("a list", file(&json!([1, 2]), 16)),
        ("no offsets", file(&json!({"a": {"dtype": "F32", "shape": [2]}}), 8)),
        ("overlapping", file(&json!({"a": tensor([0, 8]), "b": tensor([4, 12])}), 12)),
        ("beyond the end", file(&json!({"a": tensor([0, 8]), "b": tensor([8, 16])}), 12)),
        ("backwards", file(&json!({"a": tensor([8, 0])}), 8)),
        ("too few bytes for the shape", file(&json!({"a": tensor([0, 4])}), 4)),
        ("a shape that overflows", {
            file(&json!({"a": {"dtype": "F32", "shape": [huge, huge], "data_offsets": [0, 8]}}), 8)
        }),
        ("an unknown dtype", file(&json!({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}), 8)),
        ("text", b"<!DOCTYPE html><html><body>Not Found</body></html>".to_vec()),
        ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let message = refused(|sandbox| sandbox.write("m/model.safetensors", &bytes));
        assert!(message.starts_with("m/model.safetensors: "), "{what}: {message}");
        assert!(message.contains("damaged") || message.contains("cut short"), "{what}: {message}");
        assert_says(&message, &["Copy or download it again"]);
    }
}

/// A file with a header of its own and this many bytes of data.
fn file(header: &Value, data: usize) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; data]].concat()
}

#[test]
fn config_that_is_no_object() {
    for text in ["{\"dim\": 16,", "[]", "", "\u{feff}{}"] {
        let message = refused(|sandbox| sandbox.write("m/config.json", text));
        assert_says(&message, &["m/config.json: not a JSON object", "line 1", "download the model again"]);
    }
}

#[test]
fn config_values() {
    let cases = [
        ("model_type", json!("roberta"), "expected \"distilbert\" or \"bert\" (DistilBERT, or BERT and its family"),
        ("model_type", Value::Null, "sentence-transformers), found null"),
        ("activation", json!("relu"), "expected \"gelu\", found \"relu\""),
        (
            "problem_type",
            json!("regression"),
            "expected \"single_label_classification\" or \"multi_label_classification\", found \"regression\"",
        ),
        ("dim", json!("16"), "expected a whole number from 1 to 1048576, found \"16\""),
        ("dim", json!(-16), "found -16"),
        ("n_heads", json!(0), "expected a whole number"),
        ("n_heads", json!(3), "expected a divisor of dim (16), found 3"),
        ("n_layers", json!(u64::MAX), "expected a whole number"),
        // so many names of tensors would fill the memory
        ("n_layers", json!(1_000_000), "expected a whole number from 1 to 1024, found 1000000"),
        ("vocab_size", json!(17.5), "found 17.5"),
        ("dropout", json!(1.0), "expected a probability below 1, found 1.0"),
        ("id2label", json!({"0": "a", "1": "a"}), "expected an object that names every class id"),
        ("id2label", json!({"1": "a", "2": "b"}), "expected an object that names every class id"),
    ];
    for (key, value, expected) in cases {
        let message = refused_checkpoint(|model| model.config[key] = value);
        assert_says(&message, &[&format!("m/config.json: {key}: "), expected]);
    }
}

#[test]
fn config_without_a_size() {
    let message = refused_checkpoint(|model| {
        model.config.as_object_mut().unwrap().remove("dim");
    });
    assert_says(&message, &["m/config.json: dim: expected a whole number", "found nothing"]);
}

/// Such a model may have a tokenizer of other files, which is not what should be told.
#[test]
fn another_architecture() {
    let message = refused(|sandbox| {
        sandbox.write("m/config.json", "{\"model_type\": \"roberta\"}");
        sandbox.remove("m/tokenizer.json");
    });
    assert_says(&message, &["m/config.json: model_type: expected \"distilbert\" or \"bert\"", "found \"roberta\""]);
}

#[test]
fn broken_tokenizer() {
    // the last one is cut short in its decoder
    for text in ["", "{}", "{\"version\": \"1.0\"", "[1, 2]", "{\"decoder\": {\"type\": \"WordPie"] {
        let message = refused(|sandbox| sandbox.write("m/tokenizer.json", text));
        assert_says(&message, &["m/tokenizer.json: not a readable tokenizer", "tokenizer.json of a fast"]);
    }
}

#[test]
fn model_without_head() {
    let sandbox = Sandbox::new();
    for command in ["predict --model model film", "eval --model model --data data"] {
        let message = sandbox.fails(command);
        assert_says(&message, &["model/model.safetensors: ", "no trained head", "distune train"]);
    }
}

#[cfg(feature = "bundled")]
#[test]
fn bundled_encoder_has_no_head() {
    let sandbox = Sandbox::new();
    for command in ["predict --model bundled film", "eval --model bundled", "eval --model bundled --data data"] {
        let message = sandbox.fails(command);
        assert_says(&message, &["bundled/model.safetensors: ", "no trained head", "distune train"]);
    }
}
