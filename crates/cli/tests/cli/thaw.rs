//! What trains, as it is told before and after a training.

use serde_json::{Value, json};

use crate::support::{Sandbox, assert_says};

const TRAIN: &str = "train --model model --data data --output out --overwrite --warmup-steps 0";

#[test]
fn the_table_tells_what_trains() {
    let sandbox = Sandbox::new();
    // width 16, feed-forward width 32
    let (block, norms) = (4 * 16 * 17 + 4 * 16 + 32 * 17 + 16 * 33, 4 * 16);
    let (embeddings, head) = ((17 + 64 + 2) * 16, 16 * 17 + 2 * 17);
    let biases = 4 * 16 + norms + 32 + 16;
    for (unfreeze, trained) in [
        ("head", [0, 0, 0]),
        ("blocks:0,", [0, block, 0]),
        ("embeddings", [embeddings, 0, 0]),
        ("bias", [2 * 16, biases, biases]),
        ("bias+blocks:1", [2 * 16, biases, block]),
        ("*.[01].attention.[qv]_lin.weight", [0, 512, 512]),
        ("all", [embeddings, block, block]),
    ] {
        let ran = sandbox.succeeds(&format!("{TRAIN} --epochs 1 --json --unfreeze {unfreeze}"));
        let start: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        let parts = start["parts"].as_array().unwrap();
        let told: Vec<usize> = parts.iter().map(|part| part["trained"].as_u64().unwrap() as usize).collect();
        assert_eq!(told, [&trained[..], &[head]].concat(), "{unfreeze}");
        assert!(parts.iter().all(|p| p["trains"] == json!(p["trained"] != json!(0))), "{unfreeze}: {parts:?}");
        let all = embeddings + 2 * block + head;
        let trained = trained.iter().sum::<usize>() + head;
        let of = |n: usize| if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) };
        assert_says(&ran.stderr, &[&format!("{}  of {} parameters train", of(trained), of(all))]);
        let recipe: Value = toml::from_str(&String::from_utf8(sandbox.read("out/recipe.toml")).unwrap()).unwrap();
        assert_eq!(recipe["unfreeze"], unfreeze);
    }
    let ran = sandbox.succeeds(&format!("{TRAIN} --epochs 1 --unfreeze bias"));
    assert_says(&ran.stderr, &["176 of them train", "head", "trains"]);
    assert_says(&ran.stdout, &["Frozen tensors did not change"]);
}

#[test]
fn gradual_unfreezing_is_told_and_repeated() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds(&format!("{TRAIN} --gradual-unfreezing --epochs 4 --head-learning-rate 1e-3"));
    assert_says(&ran.stderr, &["trains from epoch 2 on", "trains from epoch 3 on", "trains from epoch 4 on"]);
    let weights = sandbox.read("out/model.safetensors");
    let recipe = String::from_utf8(sandbox.read("out/recipe.toml")).unwrap();
    assert_says(&recipe, &["gradual_unfreezing = true", "head_learning_rate = 0.001"]);
    sandbox.succeeds("train out/recipe.toml --output again");
    assert!(sandbox.read("again/model.safetensors") == weights, "a run's own recipe repeats it");
    sandbox.succeeds(&format!("{TRAIN} --epochs 4 --head-learning-rate 1e-3"));
    assert!(sandbox.read("out/model.safetensors") != weights, "another training");
}

#[test]
fn blocks_that_start_anew_are_told() {
    let sandbox = Sandbox::new();
    let train = format!("{TRAIN} --epochs 1 --unfreeze blocks:1 --learning-rate 1e-9");
    let ran = sandbox.succeeds(&format!("{train} --reinit-blocks 1"));
    assert_says(&ran.stderr, &["Blocks that start anew, with random weights: the last 1."]);
    let anew = sandbox.read("out/model.safetensors");
    sandbox.succeeds(&train);
    assert!(sandbox.read("out/model.safetensors") != anew);
    sandbox.write(
        "r.toml",
        "reinit_blocks = 1\nunfreeze = 'blocks:1'\nlearning_rate = 1e-9\nnum_train_epochs = 1\nwarmup_steps = 0\n",
    );
    sandbox.succeeds("train r.toml --model model --data data --output out --overwrite");
    assert!(sandbox.read("out/model.safetensors") == anew);
}
