//! Recipe files: options win, runs repeat to the bit, faults are named; the files in `recipes/`.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Sandbox, assert_says, table};

fn recipe(sandbox: &Sandbox, path: &str) -> Value {
    toml::from_str(&String::from_utf8(sandbox.read(path)).unwrap()).unwrap()
}

#[test]
fn a_run_repeats_from_its_own_recipe() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.csv", table(',', 0..60).replace("sentence", "body"));
    sandbox.write("more.csv", table(',', 60..90).replace("sentence", "body"));
    sandbox.write("weights.json", r#"{"negative": 2, "positive": 0.5}"#);
    let options = "--model model --data rows.csv --data more.csv --text-column body --unfreeze blocks:1 --epochs 3 --batch-size 4 \
                   --gradient-accumulation-steps 2 --learning-rate 0.003 --warmup-steps 0.1 --weight-decay 0.02 --optimizer adam \
                   --max-grad-norm 0.5 --label-smoothing 0.05 --class-weights weights.json --r-drop 1 --layer-decay 0.9 \
                   --max-length 12 --lora-rank 3 --lora-alpha 5 --lora-targets all_linear --seed 9 --precision f32 --no-cache --new-head";
    sandbox.succeeds(&format!("train {options} --output first"));
    sandbox.succeeds("train first/recipe.toml --output second --threads 1");
    for file in ["model.safetensors", "config.json", "recipe.toml"] {
        assert!(sandbox.read(&format!("first/{file}")) == sandbox.read(&format!("second/{file}")), "{file}");
    }
}

#[test]
fn options_win_over_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "r.toml",
        "model = 'model'\ndata = 'data'\nepochs = 1\nwarmup_ratio = 0.5\nseed = 7\nprecision = 'f32'\nmax_seq_length = 9\n",
    );
    sandbox.succeeds("train r.toml --output a");
    let a = recipe(&sandbox, "a/recipe.toml");
    let values = |r: &Value| {
        ["num_train_epochs", "warmup_steps", "seed", "precision", "max_seq_length"].map(|key| r[key].clone())
    };
    assert_eq!(values(&a), [json!(1), json!(0.5), json!(7), json!("f32"), json!(9)]);
    assert_eq!(
        (&a["label_smoothing_factor"], &a["data"]),
        (&json!(0.1), &json!("data")),
        "what is not said is recommended"
    );
    sandbox.succeeds("train r.toml --output b --epochs 2 --warmup-steps 3 --seed 8 --precision bf16 --max-length 10");
    let b = recipe(&sandbox, "b/recipe.toml");
    assert_eq!(values(&b), [json!(2), json!(3.0), json!(8), json!("bf16"), json!(10)]);
}

#[test]
fn faults_name_file_and_key() {
    let sandbox = Sandbox::new();
    let refused = |text: &str| {
        sandbox.write("r.toml", text);
        sandbox.fails("train r.toml --model model --data data --output out")
    };
    assert_says(
        &refused("lerning_rate = 1"),
        &["r.toml: no such key: \"lerning_rate\", the nearest one is \"learning_rate\""],
    );
    assert_says(&refused("seed = 'x'"), &["r.toml: seed = \"x\": invalid type"]);
    assert_says(&refused("learning_rate = -1"), &["learning_rate: expected a number above 0, found -1"]);
    assert_says(&refused("momentum = 0.9"), &["momentum: expected 0 unless optim is sgd, found 0.9"]);
    assert_says(&refused("optim = 'sgd'\nadam_beta2 = 0.99"), &["adam_beta2: expected 0.999 unless optim is adamw"]);
    assert_says(&refused("seed = 1\n\nseed"), &["r.toml, line 3: not TOML"]);
    assert_says(&refused("unfreeze = 'blocks:9'"), &["unfreeze: expected blocks:1 to blocks:2"]);
    assert_says(&sandbox.fails("train nowhere.toml --output out"), &["nowhere.toml: no such file"]);
}

/// The recipes of the repository train on the tiny model; what they say is what is used.
#[test]
fn the_recipes_of_the_repository() {
    let sandbox = Sandbox::new();
    sandbox.remove("data/test.tsv");
    for (name, said) in [
        ("seed", json!({"unfreeze": "blocks:6", "learning_rate": 4e-5, "num_train_epochs": 10, "select_on": "dev"})),
        (
            "seed-blocks3",
            json!({"unfreeze": "blocks:3", "per_device_train_batch_size": 8, "label_smoothing_factor": 0.0}),
        ),
        ("sst2", json!({"model": "bundled", "r_drop": 3.0, "layer_decay": 0.8, "select_on": "auto"})),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(format!("{name}.toml"));
        sandbox.write("r.toml", std::fs::read(&path).unwrap());
        // of two blocks
        sandbox.succeeds(&format!(
            "train r.toml --model model --data data --unfreeze blocks:2 --epochs 1 --output {name}"
        ));
        let mut expected = said.clone();
        (expected["unfreeze"], expected["num_train_epochs"], expected["model"]) =
            (json!("blocks:2"), json!(1), json!("model"));
        let used = recipe(&sandbox, &format!("{name}/recipe.toml"));
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&used[key], value, "{name}: {key}");
        }
        let file: Value = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for (key, value) in said.as_object().unwrap() {
            assert!(file.get(key).is_none_or(|found| found.as_f64() == value.as_f64()), "{name}: {key}");
        }
    }
}
