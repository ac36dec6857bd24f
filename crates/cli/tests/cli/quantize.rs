//! `quantize`, and what `--precision` means where models predict.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::support::{Checkpoint, Sandbox, assert_says};

const WEIGHT: &str = "distilbert.transformer.layer.1.ffn.lin2.weight";

fn quantized() -> Sandbox {
    let sandbox = Sandbox::trained();
    sandbox.succeeds("quantize --model run --output small");
    sandbox
}

#[test]
fn predicts_as_the_model_that_is_rounded_when_it_is_loaded() {
    let sandbox = quantized();
    for command in ["predict --data data --json --logits", "eval --data data --json", "errors --data data --json"] {
        let told = |model: &str| {
            let mut told: Value = Value::Array(
                sandbox
                    .succeeds(&format!("{command} {model}"))
                    .stdout
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect(),
            );
            for line in told.as_array_mut().unwrap() {
                let line = line.as_object_mut().unwrap();
                line.retain(|key, _| key != "model" && !key.ends_with("runtime") && !key.ends_with("per_second"));
            }
            told
        };
        let want = told("--model run --precision int8");
        assert_eq!(told("--model small"), want, "{command}");
        assert_eq!(told("--model small --precision int8 --threads 1"), want, "{command}");
    }
    sandbox.succeeds("compare run small --data data");
    // what cannot be done is not suggested
    let next = |model: &str| sandbox.succeeds(&format!("predict --model {model} good")).stderr;
    assert!(next("run").contains("--explain") && !next("small").contains("--explain"));
    // how texts were read in training comes along
    assert_eq!(sandbox.read("small/recipe.toml"), sandbox.read("run/recipe.toml"));
    assert_eq!(sandbox.read("small/tokenizer.json"), sandbox.read("run/tokenizer.json"));
    assert_eq!(sandbox.json("small/config.json")["quantization_config"]["quant_method"], "distune");
    let bytes = sandbox.read("small/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let dtype = |name: &str| file.tensor(name).unwrap().dtype();
    assert_eq!((dtype(WEIGHT), dtype(&format!("{WEIGHT}_scale"))), (Dtype::I8, Dtype::F32));
    assert_eq!((dtype("classifier.weight"), dtype("pre_classifier.weight")), (Dtype::F32, Dtype::I8));
    assert_eq!(dtype("distilbert.embeddings.word_embeddings.weight"), Dtype::BF16);
}

#[test]
fn a_calibration_comes_along() {
    let sandbox = Sandbox::trained();
    sandbox.succeeds("calibrate --model run --data data");
    sandbox.succeeds("quantize --model run --output small");
    assert_eq!(sandbox.read("small/calibration.json"), sandbox.read("run/calibration.json"));
    sandbox.succeeds("predict --model small --calibrated film");
}

#[test]
fn what_needs_f32_weights_says_what_to_use() {
    let sandbox = quantized();
    for command in [
        "train --model small --data data --output out",
        "convert small out",
        "quantize --model small --output out",
        "predict --model small --explain film",
        "errors --model small --data data --explain",
    ] {
        assert_says(&sandbox.fails(command), &["small: an int8 model", "Use the model that it was made of"]);
    }
    for precision in ["f32", "bf16"] {
        let message = sandbox.fails(&format!("predict --model small film --precision {precision}"));
        assert_says(&message, &["small: an int8 model", "Leave out --precision"]);
    }
}

#[test]
fn info_tells_what_it_is() {
    let sandbox = quantized();
    let info: serde_json::Value = serde_json::from_str(&sandbox.succeeds("info small --json").stdout).unwrap();
    assert!(info["training"].is_null() && info["checkpoint"]["tensors"]["I8"].as_u64().unwrap() > 0, "{info}");
    let told = sandbox.succeeds("info small");
    assert!(!told.stderr.contains("distune train"), "{}", told.stderr);
    assert_says(&told.stdout, &["2 classes", " I8", "an int8 model, which predicts"]);
    sandbox.write("small/model.safetensors", "short");
    assert_says(&sandbox.fails("info small"), &["model.safetensors"]);
}

#[test]
fn training_has_no_int8() {
    let sandbox = Sandbox::new();
    for command in ["train --model model --data data --output out", "bench --model model --data data", "info model"] {
        let message = sandbox.fails(&format!("{command} --precision int8"));
        assert_says(&message, &["--precision: expected auto, bf16 or f32 for training", "found int8"]);
    }
}

#[test]
fn output_is_whole_or_not_at_all() {
    let sandbox = quantized();
    assert_says(&sandbox.fails("quantize --model run --output small"), &["small", "exists"]);
    sandbox.succeeds("quantize --model run --output small --overwrite");
    assert_says(&sandbox.fails("quantize --model ./nowhere --output out"), &["./nowhere: no such model directory"]);
    let mut damaged = Checkpoint::classifier();
    damaged.values("classifier.bias")[0] = f32::NAN;
    damaged.write(&sandbox, "damaged");
    assert_says(
        &sandbox.fails("quantize --model damaged --output out"),
        &["classifier.bias", "expected finite numbers"],
    );
}

/// The tensors of the saved model, changed.
fn refused(change: impl Fn(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) -> String {
    let sandbox = quantized();
    let bytes = sandbox.read("small/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    change(&mut tensors);
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    sandbox.write("small/model.safetensors", safetensors::serialize(views, None).unwrap());
    let message = sandbox.fails("predict --model small film");
    assert_eq!(sandbox.fails("eval --model small --data data"), message);
    message
}

#[test]
fn damaged_models_are_refused() {
    let scale = format!("{WEIGHT}_scale");
    let message = refused(|tensors| tensors.retain(|tensor| tensor.0 != scale));
    assert_says(
        &message,
        &[
            "small/model.safetensors",
            &scale,
            "expected F32 of shape [16], found no such tensor",
            "quantize the model again",
        ],
    );
    let message = refused(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == scale).unwrap();
        (tensor.2, tensor.3) = (vec![15], vec![0; 60]);
    });
    assert_says(&message, &[&scale, "expected F32 of shape [16], found F32 of shape [15]"]);
    let message = refused(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == scale).unwrap();
        tensor.3[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert_says(&message, &[&scale, "expected finite numbers, found NaN at element 2"]);
    let message = refused(|tensors| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.0 == WEIGHT).unwrap();
        (tensor.1, tensor.3) = (Dtype::F32, vec![0; 4 * 16 * 32]);
    });
    assert_says(&message, &[WEIGHT, "expected I8 of shape [16, 32], found F32 of shape [16, 32]"]);
    let sandbox = quantized();
    let bytes = sandbox.read("small/model.safetensors");
    sandbox.write("small/model.safetensors", &bytes[..bytes.len() - 9]);
    assert_says(&sandbox.fails("predict --model small film"), &["small/model.safetensors: cut short or damaged"]);
}
