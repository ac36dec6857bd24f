//! Settings and output directories that cannot be used, a training that diverges.

use crate::support::{Checkpoint, Sandbox, assert_says};

const TRAIN: &str = "train --model model --data data --output out";

#[test]
fn loss_that_is_not_a_number() {
    let options = "--learning-rate 1e30 --max-grad-norm 0 --warmup-steps 0 --batch-size 8";
    let message = Sandbox::new().fails(&format!("{TRAIN} {options}"));
    // the first step is taken with good weights
    assert_says(
        &message,
        &["step 2: the gradient norm is NaN at learning rate", "e29", "training stopped", "--learning-rate"],
    );
}

#[test]
fn last_step_that_leaves_no_numbers() {
    // one step: no later loss would show what it did
    let options = "--learning-rate 1e300 --warmup-steps 0 --batch-size 32 --epochs 1";
    let message = Sandbox::new().fails(&format!("{TRAIN} {options}"));
    assert_says(&message, &["step 1: ", "at learning rate 1e300", "--learning-rate"]);
}

#[test]
fn last_step_that_leaves_numbers_too_large() {
    // the weights are finite, but the products of the head's two layers are not
    let options = "--unfreeze head --learning-rate 1e30 --warmup-steps 0 --batch-size 32 --epochs 1";
    let message = Sandbox::new().fails(&format!("{TRAIN} {options}"));
    assert_says(&message, &["step 1: the validation loss is NaN at learning rate 1e30"]);
}

#[test]
fn existing_output() {
    let sandbox = Sandbox::new();
    sandbox.write("out/notes.txt", "mine");
    let message = sandbox.fails(TRAIN);
    assert_says(&message, &["out: the output directory exists", "--overwrite"]);
    assert_eq!(sandbox.read("out/notes.txt"), b"mine");
}

#[test]
fn overwrite_keeps_the_old_directory_until_the_new_one_is_there() {
    let sandbox = Sandbox::new();
    sandbox.write("out/notes.txt", "mine");
    sandbox.write("out/config.json", "{}");
    sandbox.fails(&format!("{TRAIN} --overwrite --epochs 0"));
    sandbox.fails(&format!("{TRAIN} --overwrite --learning-rate 1e30 --warmup-steps 0 --batch-size 8"));
    assert_eq!(sandbox.read("out/notes.txt"), b"mine");
    sandbox.succeeds(&format!("{TRAIN} --overwrite --epochs 1"));
    assert!(!sandbox.path("out/notes.txt").exists() && sandbox.path("out/model.safetensors").exists());
    let left = std::fs::read_dir(sandbox.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["data", "model", "out"]);
}

#[test]
fn overwrite_of_a_directory_that_is_no_model() {
    let sandbox = Sandbox::new();
    sandbox.write("out/notes.txt", "mine");
    let message = sandbox.fails(&format!("{TRAIN} --overwrite"));
    assert_says(&message, &["out: is not the directory of a model", "no config.json", "another --output"]);
    assert_eq!(sandbox.read("out/notes.txt"), b"mine");
}

#[test]
fn overwrite_of_the_model_that_is_trained() {
    let sandbox = Sandbox::trained();
    let before = sandbox.read("run/model.safetensors");
    sandbox.succeeds("train --model run --data data --output run --overwrite --epochs 1 --warmup-steps 0");
    assert!(sandbox.read("run/model.safetensors") != before);
    sandbox.succeeds("eval --model run --data data");
}

#[test]
fn output_that_is_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("out", "a file");
    for option in ["", "--overwrite"] {
        let message = sandbox.fails(&format!("{TRAIN} {option}"));
        assert_says(&message, &["out: exists and is not a directory", "another --output"]);
    }
    assert_eq!(sandbox.read("out"), b"a file");
}

#[test]
fn output_below_a_file() {
    let sandbox = Sandbox::new();
    for output in ["data/dev.tsv/out", "data/dev.tsv/deep/out"] {
        let message = sandbox.fails(&format!("train --model model --data data --output {output}"));
        assert_says(&message, &["data/dev.tsv", "cannot create the directory"]);
    }
}

#[test]
fn directories_above_the_output() {
    let sandbox = Sandbox::new();
    // `fails` sees whether those that were made are removed
    sandbox.fails("train --model model --data data --output some/where/out --epochs 0");
    sandbox.fails("train --model model --data data --learning-rate 1e30 --warmup-steps 0 --batch-size 8");
    sandbox.succeeds("train --model model --data data --output some/where/out --epochs 1");
    assert!(sandbox.path("some/where/out/model.safetensors").exists());
}

#[test]
fn recipe_values() {
    let sandbox = Sandbox::new();
    for (options, expected) in [
        ("--unfreeze blocks:9", "unfreeze: expected blocks:1 to blocks:2 for this model of 2 blocks, found blocks:9"),
        (
            "--unfreeze bias+blocks:0,2",
            "unfreeze: expected blocks from 0 to 1 for this model of 2 blocks, found block 2 in blocks:0,2",
        ),
        (
            "--unfreeze distilbert.transformer.layer.1.attention.query.*",
            "expected a pattern that matches one of the model's 40 tensors, such as distilbert.transformer.layer.1.attention.",
        ),
        ("--reinit-blocks 3", "reinit_blocks: expected at most the model's 2 blocks, found 3"),
        (
            "--reinit-blocks 2 --unfreeze blocks:1",
            "reinit_blocks: expected blocks that train as a whole: random weights that stay frozen are of no use, found 2, with \
             distilbert.transformer.layer.0.attention.q_lin.weight frozen by unfreeze = blocks:1",
        ),
        (
            "--gradual-unfreezing --epochs 3",
            "num_train_epochs: expected 4 or more, since gradual_unfreezing thaws one of 4 parts in each; or name fewer parts in \
             unfreeze, found 3",
        ),
        ("--head-learning-rate=-1", "head_learning_rate: expected a number above 0, found -1"),
        ("--lora-rank 17", "lora_rank: expected at most 16, the width of the model"),
        ("--lora-rank 4 --unfreeze head", "layers that get adapters (query_value), or lora_rank = 0, found head"),
        ("--lora-rank 4 --lora-alpha 0", "lora_alpha: expected a number above 0, found 0"),
        ("--lora-alpha 8", "lora_alpha: expected lora_rank of 1 or more beside it, found 8"),
        ("--lora-targets query_value", "lora_targets: expected lora_rank of 1 or more beside it, found query_value"),
        ("--lora-rank 0 --lora-alpha 4", "lora_alpha: expected lora_rank of 1 or more beside it, found 4"),
        ("--lora-rank 4 --reinit-blocks 1", "reinit_blocks: expected 0 with lora_rank: "),
        ("--epochs 0", "num_train_epochs: expected 1 or more, found 0"),
        ("--batch-size 0", "per_device_train_batch_size: expected 1 or more, found 0"),
        ("--learning-rate 0", "learning_rate: expected a number above 0, found 0"),
        ("--learning-rate nan", "learning_rate: expected a number above 0, found NaN"),
        ("--warmup-steps=-1", "warmup_steps: expected 0 or more, found -1"),
        ("--weight-decay inf", "weight_decay: expected 0 or more, found inf"),
        ("--max-grad-norm=-1", "max_grad_norm: expected 0 or more, found -1"),
        ("--label-smoothing 1", "label_smoothing_factor: expected 0 or more and below 1, found 1"),
        ("--momentum 0.9", "momentum: expected 0 unless optim is sgd, found 0.9"),
        ("--optimizer sgd --momentum 1", "momentum: expected 0 or more and below 1, found 1"),
        ("--optimizer sgd --adam-beta1 0.8", "adam_beta1: expected 0.9 unless optim is adamw or adam, found 0.8"),
        ("--optimizer sgd --adam-beta2 0.99", "adam_beta2: expected 0.999 unless optim is adamw or adam, found 0.99"),
        ("--optimizer sgd --adam-epsilon 1", "adam_epsilon: expected 0.00000001 unless optim is adamw or adam"),
        ("--ema-decay 1", "ema_decay: expected 0 or more and below 1, found 1"),
        ("--focal-gamma=-1", "focal_gamma: expected 0 or more, found -1"),
        ("--dropout 1", "dropout: expected 0 or more and below 1, found 1"),
        ("--attention-dropout=-0.1", "attention_dropout: expected 0 or more and below 1, found -0.1"),
        ("--seq-classif-dropout nan", "seq_classif_dropout: expected 0 or more and below 1, found NaN"),
        ("--r-drop=-1", "r_drop: expected 0 or more, found -1"),
        ("--layer-decay 0", "layer_decay: expected a number above 0, up to 1, found 0"),
        ("--max-length 2", "max_seq_length: expected 3 or more, found 2"),
        ("--max-length 1000", "max length: expected at most 64, the positions that the model has, found 1000"),
    ] {
        let message = sandbox.fails(&format!("{TRAIN} {options}"));
        assert_says(&message, &[expected]);
    }
    Checkpoint::classifier().write(&sandbox, "classifier");
    let message = sandbox.fails("predict --model classifier --max-length 65 film");
    assert_says(&message, &["classifier: max length: expected at most 64", "found 65"]);
}

#[test]
fn wrong_command_lines() {
    let sandbox = Sandbox::new();
    let before = sandbox.paths();
    for (arguments, says) in [
        ("train --unfreeze blocks", "blocks:N (the last N, from 1)"),
        ("train --unfreeze blocks:0", "blocks:N (the last N, from 1)"),
        ("train --unfreeze head+*.[q", "expected a pattern of tensor names, found \"*.[q\""),
        ("train --epochs -3", "'-3'"),
        ("train --epochs many", "'many'"),
        ("train --optimizer adagrad", "expected adamw, adam, sgd"),
        ("train --lora-rank 4 --lora-targets all", "expected query_value, all_linear"),
        ("train --nope", "'--nope'"),
        ("train --cache-limit much", "'much'"),
        ("bench --steps 0", "1 or more"),
        ("bench --batch-size 0", "1 or more"),
        ("train --threads 0", "'0'"),
        // so many would fill the memory with their stacks
        ("train --threads 65535", "'65535'"),
        ("eval", "--model"),
        ("eval --model model --split nope", "'nope'"),
        ("predict film", "--model"),
        ("nope", "'nope'"),
    ] {
        let output = sandbox.distune(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert_says(&stderr, &[says, "--help"]);
    }
    assert_eq!(sandbox.paths(), before);
}
