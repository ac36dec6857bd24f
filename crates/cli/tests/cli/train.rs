//! What a training writes, and that it loads again.

use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::support::{Checkpoint, Sandbox, assert_says, feed, table, tensors};

/// The names that a JSON object must have.
#[track_caller]
fn assert_has(object: &Value, names: &[&str]) {
    for name in names {
        assert!(object.get(name).is_some_and(|v| !v.is_null()), "no {name} in {object:#}");
    }
}

#[test]
fn writes_a_hugging_face_directory() {
    let sandbox = Sandbox::trained();
    let mut names: Vec<_> =
        std::fs::read_dir(sandbox.path("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let events = names.remove(5).into_string().unwrap();
    let seconds = events.strip_prefix("events.out.tfevents.").and_then(|rest| rest.strip_suffix(".distune"));
    assert!(seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{events}");
    assert_eq!(
        names,
        [
            "README.md",
            "baselines.json",
            "calibration.json",
            "config.json",
            "eval_results.json",
            "learning_curves.svg",
            "model.safetensors",
            "recipe.toml",
            "report.html",
            "tokenizer.json",
            "tokenizer_config.json",
            "train_results.json",
            "trainer_state.json",
        ]
    );

    let config = sandbox.json("run/config.json");
    assert_eq!(config["id2label"], json!({"0": "negative", "1": "positive"}));
    assert_eq!(config["label2id"], json!({"negative": 0, "positive": 1}));
    assert_eq!(config["architectures"], json!(["DistilBertForSequenceClassification"]));
    let before = sandbox.json("model/config.json");
    for (key, value) in before.as_object().unwrap() {
        assert_eq!(&config[key], value, "{key}");
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(sandbox.read(&format!("run/{name}")), sandbox.read(&format!("model/{name}")), "{name}");
    }
}

#[test]
fn writes_tensors_that_transformers_reads() {
    let sandbox = Sandbox::trained();
    let bytes = sandbox.read("run/model.safetensors");
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let written = tensors(&sandbox.path("run/model.safetensors"));
    let mut expected: Vec<(String, Vec<usize>)> =
        Checkpoint::classifier().tensors.into_iter().map(|(name, (shape, _))| (name, shape)).collect();
    expected.sort();
    let written: Vec<(String, Vec<usize>)> = written.into_iter().map(|(name, (shape, _))| (name, shape)).collect();
    assert_eq!(written, expected);
}

#[test]
fn writes_results() {
    let sandbox = Sandbox::trained();
    let train = sandbox.json("run/train_results.json");
    assert_has(&train, &["train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second"]);
    assert_eq!((&train["epoch"], &train["train_samples"]), (&json!(4.0), &json!(32)));

    let eval = sandbox.json("run/eval_results.json");
    for prefix in ["eval", "test"] {
        for name in ["loss", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "runtime", "classes"] {
            assert_has(&eval, &[&format!("{prefix}_{name}")]);
        }
    }
    assert_eq!((&eval["eval_samples"], &eval["test_samples"]), (&json!(12), &json!(16)));

    let state = sandbox.json("run/trainer_state.json");
    assert_has(&state, &["best_global_step", "is_world_process_zero", "train_batch_size"]);
    assert_eq!(
        (&state["global_step"], &state["max_steps"], &state["num_train_epochs"]),
        (&json!(32), &json!(32), &json!(4)),
        "eight steps an epoch"
    );
    assert_eq!(state["best_metric"], eval["eval_accuracy"]);
    let log = state["log_history"].as_array().unwrap();
    assert_has(&log[0], &["step", "epoch", "loss", "grad_norm", "learning_rate"]);
    assert_eq!(log.iter().filter(|entry| entry.get("eval_accuracy").is_some()).count(), 4, "one for each epoch");

    assert!(log.iter().all(|entry| entry.as_object().unwrap().values().all(Value::is_number)), "short");
    #[cfg(unix)]
    {
        let mode = |name: &str| std::os::unix::fs::MetadataExt::mode(&sandbox.path(name).metadata().unwrap());
        assert_eq!(mode("run/model.safetensors"), mode("run/config.json"), "readable by the same people");
    }

    let recipe: Value = toml::from_str(&String::from_utf8(sandbox.read("run/recipe.toml")).unwrap()).unwrap();
    assert_eq!((&recipe["model"], &recipe["data"]), (&json!("model"), &json!("data")));
    assert_eq!((&recipe["seed"], &recipe["unfreeze"]), (&json!(1), &json!("blocks:2")));
    assert_eq!((&recipe["num_train_epochs"], &recipe["max_seq_length"]), (&json!(4), &json!(64)));
}

#[test]
fn report_and_notes() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds("train --model model --data data --output out --unfreeze blocks:2");
    assert_says(&ran.stdout, &["Frozen tensors did not change", "validation: accuracy", "test: accuracy", "out"]);
    assert_says(&ran.stderr, &["New head for the labels negative, positive.", "train", "32 rows", "block 1", "frozen"]);
    let ran = sandbox.succeeds("train --model model --data data --output out --overwrite --quiet --unfreeze all");
    assert!(!ran.stdout.contains("Frozen"), "nothing was frozen: {}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn json_events() {
    let sandbox = Sandbox::new();
    let ran =
        sandbox.succeeds("train --model model --data data --output out --epochs 2 --json --quiet --unfreeze head");
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "step", "evaluation", "step", "evaluation", "result"]);
    assert_has(&events[5], &["output", "best_epoch", "frozen_sha256", "eval_accuracy", "test_accuracy"]);
}

#[test]
fn learns_and_loads_again_from_elsewhere() {
    let sandbox = Sandbox::trained();
    let results = sandbox.json("run/eval_results.json");
    assert_eq!(results["test_accuracy"], json!(1.0), "good and bad can be told apart");
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |command: &str, more: &[&str]| -> Value {
        let mut command = sandbox.distune(command);
        command.arg("--json").arg("--model").arg(sandbox.path("run")).args(more).current_dir(elsewhere.path());
        let output = feed(&mut command, b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let data = sandbox.path("data");
    for (split, prefix) in [("test", "test"), ("validation", "eval")] {
        let eval = run("eval", &["--data", data.to_str().unwrap(), "--split", split]);
        for name in ["loss", "accuracy", "samples", "confusion"] {
            assert_eq!(eval[format!("eval_{name}")], results[format!("{prefix}_{name}")], "{split} {name}");
        }
    }
    assert_eq!(run("predict", &["the film number 3 was very good"])["label"], "positive");
    assert_eq!(run("predict", &["the film number 3 was very bad"])["label"], "negative");
}

#[test]
fn one_file_is_split() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.csv", table(',', 0..60));
    let ran = sandbox.succeeds("train --model model --data rows.csv --output out --epochs 1");
    let note = "rows.csv: its 60 rows were split at random within each class (seed 42): 48 train, 6 \
                validation, 6 test";
    assert_says(&ran.stderr, &[note, "text column \"sentence\", label column \"label\""]);
    assert_eq!(sandbox.json("out/train_results.json")["train_samples"], 48);
    assert_eq!(sandbox.json("out/eval_results.json")["test_samples"], 6);
}

#[test]
fn default_output_is_the_next_free_number() {
    let sandbox = Sandbox::new();
    for expected in ["runs/data-1", "runs/data-2"] {
        let ran = sandbox.succeeds("train --model model --data data --epochs 1");
        assert_says(&ran.stdout, &[&format!("Saved to {expected}.")]);
        assert!(sandbox.path(expected).join("model.safetensors").exists());
    }
}

#[test]
fn checkpoints_of_every_kind_are_the_same_model() {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "f32");
    Checkpoint::classifier().without_prefix().write(&sandbox, "bare");
    for (dtype, name) in [(Dtype::F16, "f16"), (Dtype::BF16, "bf16")] {
        Checkpoint { dtype, ..Checkpoint::classifier() }.write(&sandbox, name);
    }
    let predict = |model: &str| sandbox.succeeds_with(&format!("predict --json --model {model}"), "a good film\nbad\n");
    let expected = predict("f32").stdout;
    assert_eq!(expected.lines().count(), 2);
    for model in ["bare", "f16", "bf16"] {
        assert_eq!(predict(model).stdout, expected, "{model}");
    }
    for model in ["f32", "bare", "f16", "bf16"] {
        // the values are kept exactly, so is the outcome of a training
        sandbox
            .succeeds(&format!("train --model {model} --data data --output {model}-run --epochs 1 --warmup-steps 0"));
        let weights = |model: &str| sandbox.read(&format!("{model}-run/model.safetensors"));
        assert!(weights(model) == weights("f32"), "{model}");
    }
}

#[test]
fn goes_on_from_a_trained_head() {
    let sandbox = Sandbox::trained();
    let again = "train --model run --data data --unfreeze head --epochs 1 --learning-rate 1e-9";
    let ran = sandbox.succeeds(&format!("{again} --output again"));
    assert_says(&ran.stderr, &["Goes on from the model's trained head (negative, positive)"]);
    assert_eq!(sandbox.json("again/eval_results.json")["test_accuracy"], json!(1.0));

    let ran = sandbox.succeeds(&format!("{again} --output fresh --new-head"));
    assert_says(&ran.stderr, &["New head for the labels negative, positive."]);
    let classifier = |run: &str| tensors(&sandbox.path(run))["classifier.weight"].clone();
    assert_ne!(classifier("fresh/model.safetensors"), classifier("run/model.safetensors"));

    sandbox.write("stars.csv", table(',', 0..60).replace("positive", "5").replace("negative", "-1"));
    let ran = sandbox.succeeds("train --model run --data stars.csv --output stars --epochs 1");
    assert_says(&ran.stderr, &["(negative, positive) are not those of the data", "New head for the labels -1, 5."]);
    assert_eq!(sandbox.json("stars/config.json")["id2label"], json!({"0": "-1", "1": "5"}));
}

#[test]
fn length_of_texts_is_remembered() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds("train --model model --data data --output out --epochs 1 --max-length 8");
    assert_says(&ran.stderr, &["texts cut at 8 tokens"]);
    let text = "the very very very very good film";
    let truncated = |options: &str| -> Value {
        let ran = sandbox.succeeds_with(&format!("predict --model out --json {options}"), text);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["truncated"].clone()
    };
    assert_eq!(truncated(""), json!(true));
    assert_eq!(truncated("--max-length 9"), json!(false));
}
