//! Seeds, threads, frozen tensors.

use std::collections::BTreeSet;

use crate::support::{Checkpoint, Sandbox, table, tensors};

/// Trains with options; returns the bytes of `model.safetensors`.
fn trained(sandbox: &Sandbox, options: &str) -> Vec<u8> {
    sandbox.succeeds(&format!("train --model model --data data --output out --overwrite --quiet {options}"));
    sandbox.read("out/model.safetensors")
}

#[test]
fn seed_decides() {
    let sandbox = Sandbox::new();
    let options = "--batch-size 8 --unfreeze all";
    let first = trained(&sandbox, options);
    assert!(trained(&sandbox, options) == first, "the same seed, other bytes");
    assert!(trained(&sandbox, &format!("{options} --seed 42")) == first, "42 is the default");
    assert!(trained(&sandbox, &format!("{options} --seed 43")) != first, "another seed, the same bytes");
}

#[test]
fn threads_do_not_matter() {
    let sandbox = Sandbox::new();
    // wide and long enough for every kernel to divide its work
    Checkpoint::encoder(96, 384).write(&sandbox, "model");
    sandbox.write("data/train.tsv", table('\t', 0..64).replace("was", &"the plot and the actors were ".repeat(5)));
    for unfreeze in ["all", "bias+*.v_lin.weight"] {
        let options = format!("--batch-size 32 --epochs 1 --warmup-steps 0 --unfreeze {unfreeze}");
        let one = trained(&sandbox, &format!("{options} --threads 1"));
        for threads in [2, 3] {
            let bytes = trained(&sandbox, &format!("{options} --threads {threads}"));
            assert!(bytes == one, "{unfreeze}: {threads} threads, other bytes");
        }
    }
}

#[test]
fn frozen_tensors_stay_bit_for_bit() {
    let sandbox = Sandbox::new();
    let start = tensors(&sandbox.path("model/model.safetensors"));
    let block = |i: usize| format!("distilbert.transformer.layer.{i}.");
    for (unfreeze, frozen) in [
        ("head", vec!["distilbert.".to_owned()]),
        ("blocks:1", vec!["distilbert.embeddings.".to_owned(), block(0)]),
        ("blocks:2", vec!["distilbert.embeddings.".to_owned()]),
        ("all", vec![]),
        ("blocks:0,", vec!["distilbert.embeddings.".to_owned(), block(1)]),
        ("embeddings+blocks:1", vec![block(0)]),
        (
            "*.layer.1.ffn.*",
            vec![
                "distilbert.embeddings.".to_owned(),
                block(0),
                block(1) + "attention",
                block(1) + "sa_",
                block(1) + "out",
            ],
        ),
    ] {
        trained(&sandbox, &format!("--unfreeze {unfreeze} --warmup-steps 0"));
        let end = tensors(&sandbox.path("out/model.safetensors"));
        let unchanged: BTreeSet<&String> = start.keys().filter(|name| start[*name] == end[*name]).collect();
        // the biases of the last block's keys have no effect, and no gradient
        let stays = |name: &String| {
            frozen.iter().any(|prefix| name.starts_with(prefix)) || *name == block(1) + "attention.k_lin.bias"
        };
        let expected: BTreeSet<&String> = start.keys().filter(|name| stays(name)).collect();
        assert_eq!(unchanged, expected, "--unfreeze {unfreeze}");
    }
}
