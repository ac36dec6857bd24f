//! `distune bench`, and the options of training that have to do with speed and memory.

use serde_json::Value;

use crate::support::{Checkpoint, Sandbox, assert_says, table};

#[test]
fn bench_accounts_for_the_time_of_a_step() {
    let sandbox = Sandbox::new();
    let common = "bench --model model --data data --batch-size 8 --steps 3 --quiet";
    for unfreeze in ["head", "blocks:1", "all"] {
        let ran = sandbox.succeeds(&format!("{common} --json --unfreeze {unfreeze}"));
        let bench: Value = serde_json::from_str(&ran.stdout).unwrap();
        for name in ["samples_per_s", "tokens_per_s", "step_s", "gflops", "peak_gflops", "share_of_peak"] {
            assert!(bench[name].as_f64().unwrap() > 0.0, "{name} in {bench:#}");
        }
        let operations = bench["operations"].as_array().unwrap();
        let shares: f64 = operations.iter().map(|o| o["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6, "shares of the time add up to {shares}");
        let names: Vec<&str> = operations.iter().map(|o| o["operation"].as_str().unwrap()).collect();
        assert_eq!(names.contains(&"attention backward"), unfreeze != "head", "{unfreeze}: {names:?}");
    }
    let ran = sandbox.succeeds(&format!("{common} --lora-rank 2"));
    assert_says(&ran.stdout, &["low-rank adapters"]);
    let ran = sandbox.succeeds(&format!("{common} --length 16"));
    assert_says(&ran.stdout, &["texts/s", "samples/s", "of the peak", "linear backward, weight", "optimizer"]);
}

#[test]
fn bench_refuses_what_it_cannot_measure() {
    let sandbox = Sandbox::new();
    let fails = |options: &str| sandbox.fails(&format!("bench --model model --data data {options}"));
    assert_says(&fails("--unfreeze blocks:9"), &["unfreeze", "blocks:9", "2 blocks"]);
    assert_says(&fails("--lora-rank 17"), &["lora_rank: expected at most 16", "found 17"]);
    assert_says(&fails("--lora-alpha 8"), &["lora_alpha: expected lora_rank of 1 or more beside it, found 8"]);
    assert_says(&fails("--length 1000"), &["at most 64"]);
    assert_says(&fails("--length 2"), &["3 or more"]);
    sandbox.write("data/train.tsv", "text\tlabel\na film\t0\nthe plot\t1\n");
    assert_says(&fails("--length 60"), &["data", "fewer than 60 tokens", "smaller --length"]);
}

#[test]
fn what_the_cache_saved_is_said() {
    let sandbox = Sandbox::new();
    let train = "train --model model --data data --output out --overwrite --epochs 3 --batch-size 8";
    let ran = sandbox.succeeds(&format!("{train} --unfreeze blocks:1"));
    assert_says(&ran.stderr, &["Frozen blocks run once for each row"]);
    assert_says(&ran.stdout, &["ran 32 times", "spared 64 times", "in memory"]);
    let ran = sandbox.succeeds(&format!("{train} --unfreeze blocks:1 --cache-limit 3KB"));
    assert!(!ran.stdout.contains("ran 32 times") && ran.stdout.contains("spared"), "{}", ran.stdout);
    for options in ["--unfreeze blocks:1 --no-cache", "--unfreeze blocks:2", "--unfreeze all"] {
        let ran = sandbox.succeeds(&format!("{train} {options}"));
        assert!(!(ran.stdout + &ran.stderr).contains("spared"), "{options}");
    }
}

/// Losses of the steps of a training.
fn losses(sandbox: &Sandbox, options: &str) -> Vec<f64> {
    let train =
        "train --model model --data data --output out --overwrite --json --quiet --unfreeze all --precision f32";
    let ran = sandbox.succeeds(&format!("{train} --epochs 2 {options}"));
    let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|e| e["event"] == "step").map(|e| e["loss"].as_f64().unwrap()).collect()
}

#[test]
fn a_step_in_parts_is_the_same_step() {
    let sandbox = Sandbox::new();
    Checkpoint::encoder(48, 96).write(&sandbox, "model");
    sandbox.write("data/train.tsv", table('\t', 0..40));
    let whole = losses(&sandbox, "--batch-size 16");
    assert_eq!(whole.len(), 6, "40 rows, two epochs");
    for options in ["--batch-size 4 --gradient-accumulation-steps 4", "--batch-size 16 --max-batch-tokens 20"] {
        let parts = losses(&sandbox, options);
        assert_eq!(parts.len(), whole.len(), "{options}");
        for (part, whole) in parts.iter().zip(&whole) {
            assert!((part - whole).abs() < 1e-4, "{options}: loss {part}, not {whole}");
        }
    }
    let fails = |option: &str| sandbox.fails(&format!("train --model model --data data --output no {option}"));
    assert_says(&fails("--gradient-accumulation-steps 0"), &["gradient_accumulation_steps", "1 or more"]);
    assert_says(&fails("--max-batch-tokens 0"), &["max_batch_tokens", "1 or more"]);
}

#[test]
fn cached_bits_do_not_depend_on_threads() {
    let sandbox = Sandbox::new();
    Checkpoint::encoder(96, 384).write(&sandbox, "model");
    for precision in ["f32", "auto"] {
        let trained = |threads: usize, more: &str| {
            let options = format!("--threads {threads} --precision {precision} --unfreeze blocks:1 {more}");
            sandbox.succeeds(&format!("train --model model --data data --output out --overwrite --quiet {options}"));
            sandbox.read("out/model.safetensors")
        };
        let one = trained(1, "");
        for (threads, more) in [(2, ""), (3, ""), (2, "--cache-limit 0B")] {
            assert!(trained(threads, more) == one, "{precision}, {threads} threads {more}: other bytes");
        }
    }
}
