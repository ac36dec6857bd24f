//! Low-rank adapters: what is told of them, what they change, and that nothing of them is left in a run.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says, table, tensors};

const TRAIN: &str = "train --model model --data data --output out --overwrite --warmup-steps 0 --learning-rate 0.01";

#[test]
fn adapters_are_told_and_merged() {
    let sandbox = Sandbox::new();
    let start = tensors(&sandbox.path("model/model.safetensors"));
    let head = 16 * 17 + 2 * 17;
    // rank 4; width 16, feed-forward width 32
    let (query_value, all_linear) = (2 * 4 * 32, 4 * 4 * 32 + 2 * 4 * 48);
    for (options, trained, targets) in [
        ("--unfreeze all", [0, query_value, query_value, head], &["q_lin.weight", "v_lin.weight"][..]),
        (
            "--unfreeze blocks:1 --lora-targets all_linear",
            [0, 0, all_linear, head],
            &["lin.weight", "lin1.weight", "lin2.weight"],
        ),
    ] {
        let ran = sandbox.succeeds(&format!("{TRAIN} --lora-rank 4 --json {options}"));
        assert_says(
            &ran.stderr,
            &["Adapters of rank 4 (LoRA) beside", "everything else stays frozen, also embeddings"],
        );
        assert_says(&ran.stderr, &["of them train", "The adapters have become part of the weights."]);
        let told: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        let told = told["parts"].as_array().unwrap().iter().map(|part| part["trained"].as_u64().unwrap() as usize);
        assert_eq!(told.collect::<Vec<_>>(), trained, "{options}");

        let end = tensors(&sandbox.path("out/model.safetensors"));
        assert_eq!(end.len(), start.len() + 4, "the encoder's tensors and the head");
        let changed: BTreeSet<&String> = start.keys().filter(|name| start[*name] != end[*name]).collect();
        let blocks = start.keys().filter(|name| name.contains(".layer.1.") || !options.contains("blocks:1"));
        let expected = blocks.filter(|name| targets.iter().any(|target| name.ends_with(target))).collect();
        assert_eq!(changed, expected, "{options}");
    }
    let ran = sandbox.succeeds(&format!("{TRAIN} --lora-rank 4"));
    assert_says(&ran.stdout, &["Frozen tensors did not change in training"]);
}

#[test]
fn gradual_unfreezing_adds_the_adapters_of_a_block() {
    let sandbox = Sandbox::new();
    let all_at_once = format!("{TRAIN} --lora-rank 4 --epochs 3");
    sandbox.succeeds(&all_at_once);
    let weights = sandbox.read("out/model.safetensors");
    let ran = sandbox.succeeds(&format!("{all_at_once} --gradual-unfreezing"));
    assert_says(&ran.stderr, &["256 of them train from epoch 2 on", "256 of them train from epoch 3 on"]);
    assert!(sandbox.read("out/model.safetensors") != weights);
}

/// The figures of the test rows are those of the weights that are saved, and those of the best epoch are but for rounding.
#[test]
fn figures_are_those_of_the_saved_model() {
    let sandbox = Sandbox::new();
    let options =
        "--lora-rank 4 --lora-alpha 16 --lora-targets all_linear --epochs 12 --label-smoothing 0 --precision f32";
    sandbox.succeeds(&format!("{TRAIN} {options}"));
    let told = sandbox.json("out/eval_results.json");
    assert_eq!(told["test_accuracy"], json!(1.0), "good and bad can be told apart");
    for (key, split, tolerance) in [("test_loss", "test", 0.0), ("eval_loss", "validation", 1e-5)] {
        let ran = sandbox.succeeds(&format!("eval --model out --data data --split {split} --precision f32 --json"));
        let judged: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        let [got, want] = [&judged["eval_loss"], &told[key]].map(|loss| loss.as_f64().unwrap());
        assert!((got - want).abs() <= tolerance, "{split}: {got} in the saved model, {want} in training");
    }
}

#[test]
fn rank_alpha_and_targets_decide() {
    let sandbox = Sandbox::new();
    let trained = |options: &str| {
        sandbox.succeeds(&format!("{TRAIN} --epochs 2 {options}"));
        sandbox.read("out/model.safetensors")
    };
    let runs = [
        "--lora-rank 4",
        "--lora-rank 5",
        "--lora-rank 4 --lora-alpha 9",
        "--lora-rank 4 --lora-targets all_linear",
        "",
    ];
    let weights: BTreeSet<Vec<u8>> = runs.into_iter().map(trained).collect();
    assert_eq!(weights.len(), runs.len(), "each is another training");
    let defaults = trained("--lora-rank 4 --lora-alpha 8 --lora-targets query_value --seed 42");
    assert!(defaults == trained("--lora-rank 4"));
    assert!(defaults != trained("--lora-rank 4 --seed 43"));

    // rank 0 takes back what a recipe says
    sandbox.write("r.toml", "lora_rank = 4\nlora_alpha = 16\nlora_targets = 'all_linear'\n");
    let train = TRAIN.replace("train", "train r.toml");
    sandbox.succeeds(&format!("{train} --epochs 2 --lora-rank 0"));
    assert!(sandbox.read("out/model.safetensors") == trained(""));
    sandbox.succeeds(&format!("{train} --epochs 2"));
    let recipe: Value = toml::from_str(&String::from_utf8(sandbox.read("out/recipe.toml")).unwrap()).unwrap();
    let keys = ["lora_rank", "lora_alpha", "lora_targets"].map(|key| recipe[key].clone());
    assert_eq!(keys, [json!(4), json!(16.0), json!("all_linear")]);
    sandbox.write("r.toml", "lora_alpha = 16\n");
    let message = sandbox.fails(&train.replace("--overwrite", "").replace("--output out", "--output other"));
    assert_says(&message, &["lora_alpha: expected lora_rank of 1 or more beside it, found 16"]);
}

#[test]
fn threads_do_not_matter() {
    let sandbox = Sandbox::new();
    // wide and long enough for every kernel to divide its work
    Checkpoint::encoder(96, 384).write(&sandbox, "model");
    sandbox.write("data/train.tsv", table('\t', 0..64).replace("was", &"the plot and the actors were ".repeat(5)));
    let trained = |threads: usize| {
        let options = "--batch-size 32 --epochs 2 --lora-rank 20 --lora-targets all_linear";
        sandbox.succeeds(&format!("{TRAIN} {options} --threads {threads}"));
        sandbox.read("out/model.safetensors")
    };
    let one = trained(1);
    for threads in [2, 3] {
        assert!(trained(threads) == one, "{threads} threads, other bytes");
    }
}
