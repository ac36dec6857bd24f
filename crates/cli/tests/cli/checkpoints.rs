//! Every form of checkpoint, as `convert` and `train` meet it.

use std::path::Path;

use serde_json::json;

use crate::support::{Checkpoint, Sandbox, assert_says, tensors};

/// A directory `name` with files of the library's tiny BERT: what they are called there, and here.
fn bert(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../distune/tests/fixtures/bert");
    for (from, to) in files.iter().chain(&[("config.json", "config.json")]) {
        sandbox.write(&format!("{name}/{to}"), std::fs::read(fixtures.join(from)).unwrap());
    }
    let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "bad", "very"];
    sandbox.write(&format!("{name}/vocab.txt"), words.join("\n"));
}

#[test]
fn a_bert_is_converted_from_every_form() {
    let sandbox = Sandbox::new();
    let shards = ["model-00001-of-00004", "model-00002-of-00004", "model-00003-of-00004", "model-00004-of-00004"];
    let shards: Vec<String> = shards.iter().map(|name| format!("{name}.safetensors")).collect();
    let index = "model.safetensors.index.json".to_owned();
    let shards: Vec<(String, String)> =
        shards.into_iter().chain([index]).map(|n| (format!("sharded/{n}"), n)).collect();
    let shards: Vec<(&str, &str)> = shards.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    bert(&sandbox, "plain", &[("model.safetensors", "model.safetensors")]);
    bert(&sandbox, "shards", &shards);
    bert(&sandbox, "bin", &[("pytorch_model.bin", "pytorch_model.bin")]);
    bert(&sandbox, "old", &[("old.bin", "pytorch_model.bin")]);
    let mut all = Vec::new();
    for name in ["plain", "shards", "bin", "old"] {
        let ran = sandbox.succeeds(&format!("convert {name} out/{name}"));
        assert_says(&ran.stderr, &["A BERT encoder, computed exactly as a DistilBERT", "texts are lower-cased"]);
        assert_says(&ran.stdout, &["Wrote a DistilBERT encoder without a head of 6,", &format!("to out/{name}.")]);
        let config = sandbox.json(&format!("out/{name}/config.json"));
        assert_eq!((&config["model_type"], &config["dim"]), (&json!("distilbert"), &json!(16)));
        assert_eq!(config["architectures"], json!(["DistilBertModel"]));
        assert_eq!(sandbox.json(&format!("out/{name}/tokenizer.json"))["model"]["type"], "WordPiece");
        all.push(tensors(&sandbox.path(&format!("out/{name}/model.safetensors"))));
    }
    assert_eq!(all[0].len(), 4 + 2 * 16);
    assert!(all.iter().all(|tensors| *tensors == all[0]));
    // what was written is read and written the same
    sandbox.succeeds("convert out/bin again");
    assert_eq!(tensors(&sandbox.path("again/model.safetensors")), all[0]);
    assert_eq!(sandbox.read("again/config.json"), sandbox.read("out/bin/config.json"));
}

#[test]
fn a_classifier_keeps_its_head_and_its_config() {
    let sandbox = Sandbox::new();
    let mut model = Checkpoint::classifier();
    model.tensors.insert("vocab_projector.bias".into(), (vec![2], vec![0.0; 2]));
    let model = model.without_prefix();
    model.write(&sandbox, "m");
    let ran = sandbox.succeeds("convert m out --json");
    let result: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&result["head"], &result["output"]), (&json!(true), &json!("out")));
    let config = sandbox.json("out/config.json");
    assert_eq!(config["of_ours"], json!({"kept": [1, 2.5, null]}));
    assert_eq!(config["id2label"], json!({"0": "negative", "1": "positive"}));
    let written = tensors(&sandbox.path("out/model.safetensors"));
    assert!(written.contains_key("classifier.weight") && !written.contains_key("vocab_projector.bias"));
    assert_eq!(written.len(), 4 + 2 * 16 + 4);
    let texts = "predict --json --model";
    assert_eq!(
        sandbox.succeeds(&format!("{texts} m film")).stdout,
        sandbox.succeeds(&format!("{texts} out film")).stdout
    );
}

#[test]
fn convert_refuses() {
    let sandbox = Sandbox::new();
    assert_says(&sandbox.fails("convert model data"), &["data: the output directory exists", "--overwrite"]);
    assert_says(&sandbox.fails("convert model data --overwrite"), &["data: is not the directory of a model"]);
    assert_says(&sandbox.fails("convert nowhere out"), &["nowhere: no such model directory"]);
    sandbox.write("model/model.safetensors", "cut");
    assert_says(&sandbox.fails("convert model out"), &["model/model.safetensors: cut short"]);
    sandbox.remove("model/model.safetensors");
    sandbox.write("model/pytorch_model.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.");
    assert_says(&sandbox.fails("convert model out"), &["model/pytorch_model.bin: in the format of PyTorch before 1.6"]);
}

#[test]
fn a_bert_is_trained_and_has_no_head_before() {
    let sandbox = Sandbox::new();
    bert(&sandbox, "bert", &[("pytorch_model.bin", "pytorch_model.bin")]);
    for command in ["predict --model bert film", "eval --model bert --data data"] {
        assert_says(&sandbox.fails(command), &["bert: a BERT encoder", "no trained head", "distune train"]);
    }
    let ran = sandbox.succeeds("train --model bert --data data --output run --epochs 1");
    assert_says(&ran.stderr, &["A BERT encoder, computed exactly as a DistilBERT", "texts are lower-cased"]);
    assert_eq!(sandbox.json("run/config.json")["model_type"], "distilbert");
    sandbox.succeeds("predict --model run film");
}

#[test]
fn info_of_a_classifier() {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "m");
    let ran = sandbox.succeeds("info m --json");
    let info: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    // 17 words and 64 positions of width 16, a layer norm
    let (embeddings, head) = ((17 + 64 + 2) * 16, 16 * 17 + 2 * 17);
    // four linear layers, two layer norms, the feed-forward network of width 32
    let block = 4 * 16 * 17 + 2 * 2 * 16 + 32 * 17 + 16 * 33;
    let total = embeddings + 2 * block + head;
    assert_eq!(info["parameters"], json!({"embeddings": embeddings, "block": block, "head": head, "total": total}));
    assert_eq!(info["labels"], json!(["negative", "positive"]));
    let written = sandbox.read("m/model.safetensors").len();
    let checkpoint = json!({"format": "safetensors", "files": 1, "bytes": written, "tensors": {"F32": 40}});
    assert_eq!(info["checkpoint"], checkpoint);
    assert_eq!(info["tokenizer"], json!({"kind": "WordPiece, from tokenizer.json", "cased": false}));
    assert_eq!(
        (&info["architecture"], &info["layers"], &info["positions"]),
        (&json!("distilbert"), &json!(2), &json!(64))
    );
    let memory = info["training"]["memory"].as_array().unwrap();
    let parts: Vec<&str> = memory.iter().map(|m| m["unfreeze"].as_str().unwrap()).collect();
    assert_eq!(parts, ["all", "blocks:2", "head", "all"]);
    // A and B of rank 8 beside query and value of both blocks
    let adapters = 2 * 2 * 8 * (16 + 16);
    let trained = [(total, 0), (total - embeddings, 0), (head, 0), (head + adapters, adapters)];
    for (m, (trained, adapters)) in memory.iter().zip(trained) {
        assert_eq!(m["lora_rank"], json!(if adapters > 0 { 8 } else { 0 }));
        assert_eq!((&m["weights"], &m["gradients"]), (&json!(4 * (total + adapters)), &json!(4 * trained)));
        assert_eq!(m["moments"], json!(8 * trained));
    }
    assert!(info["training"]["seconds_of_1000_rows"].as_f64().unwrap() > 0.0);
}

#[test]
fn info_of_what_is_found() {
    let sandbox = Sandbox::new();
    bert(&sandbox, "bert", &[("pytorch_model.bin", "pytorch_model.bin")]);
    sandbox.write("bert/tokenizer_config.json", r#"{"do_lower_case": false}"#);
    let text = sandbox.succeeds("info bert").stdout;
    assert_says(
        &text,
        &["BERT, which is computed exactly as a DistilBERT", "2 blocks, width 16, 2 heads", "96 tokens"],
    );
    assert_says(
        &text,
        &["none: the model has no trained head", "checkpoint    PyTorch, ", "cased WordPiece, from vocab.txt"],
    );
    assert_says(
        &text,
        &[
            "training memory, batches of 32 rows of 40 tokens",
            "blocks:2",
            "all, LoRA 8",
            "training time on this machine",
        ],
    );
    assert_says(&sandbox.fails("info nowhere"), &["nowhere: no such model directory"]);
    let mut config = sandbox.json("bert/config.json");
    config["model_type"] = json!("roberta");
    sandbox.write("bert/config.json", config.to_string());
    let expected = ["bert/config.json: model_type: expected \"distilbert\" or \"bert\"", "MiniLM", "found \"roberta\""];
    assert_says(&sandbox.fails("info bert"), &expected);
}

/// The memory that `info` foretells is what a training step takes, but for the program, the tokenizer and the texts.
#[cfg(all(feature = "bundled", target_os = "linux"))]
#[test]
fn info_foretells_the_memory() {
    use distune::model::{Config, weights::Table};
    use distune::train::{LoraTargets, Recipe, TrainingMemory, Unfreeze};
    let sandbox = Sandbox::new();
    let info: serde_json::Value = serde_json::from_str(&sandbox.succeeds("info --json").stdout).unwrap();
    let told = info["training"]["memory"].as_array().unwrap().iter();
    let told = told.map(|m| {
        let options = format!("{} --lora-rank {}", m["unfreeze"].as_str().unwrap(), m["lora_rank"]);
        (options, m["total"].as_u64().unwrap())
    });
    // what `info` does not show, but foretells in the same way
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/encoder/config.json");
    let config = Config::from_json(&path, &std::fs::read(&path).unwrap()).unwrap();
    let options = Recipe::recommended().step_options();
    let others = ["bias", "blocks:1,", "embeddings", "*.layer.3.attention.v_lin.weight"].map(|text| {
        let thawed = text.parse::<Unfreeze>().unwrap().resolve(&Table::new(&config).into()).unwrap();
        (text.to_owned(), TrainingMemory::estimate(&config, &thawed, &options, 32, 128).total() as u64)
    });
    let (unfreeze, lora_targets) = ("blocks:4".parse().unwrap(), LoraTargets::AllLinear);
    let recipe = Recipe { unfreeze, lora_rank: 64, lora_targets, ..Recipe::default() };
    let thawed = recipe.thawed(&recipe.table(&config).unwrap()).unwrap();
    let adapters = (
        "blocks:4 --lora-rank 64 --lora-targets all_linear".to_owned(),
        TrainingMemory::estimate(&config, &thawed, &options, 32, 128).total() as u64,
    );
    for (part, bytes) in told.chain(others).chain([adapters]) {
        let foretold = bytes as f64 / f64::from(1 << 20);
        let bench = format!("bench --length 128 --steps 1 --json --unfreeze {part}");
        let bench: serde_json::Value = serde_json::from_str(&sandbox.succeeds(&bench).stdout).unwrap();
        let beside = bench["peak_mb"].as_f64().unwrap() - foretold;
        assert!((20.0..180.0).contains(&beside), "{part}: {foretold} MiB and {beside} MiB beside");
    }
}
