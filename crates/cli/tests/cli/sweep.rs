//! Sweeps: what varies, what is written, how they are gone on with, what they refuse.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, end, table};

const SWEEP: &str = "sweep r.toml --model model --data data --precision f32";

/// A sandbox with a recipe.
fn sandbox(recipe: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("r.toml", recipe);
    sandbox
}

/// The results of a sweep without what differs from one run to the next.
fn results(sandbox: &Sandbox, sweep: &str) -> Vec<Value> {
    let text = String::from_utf8(sandbox.read(&format!("{sweep}/results.jsonl"))).unwrap();
    let mut results: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for done in results.iter_mut().filter_map(|result| result.get_mut("done")) {
        for name in ["seconds", "train_seconds", "samples_per_second", "peak_memory", "cache"] {
            done.as_object_mut().unwrap().remove(name).expect(name);
        }
    }
    results
}

/// The table of a sweep without the columns of time and memory.
fn table_of(sandbox: &Sandbox, sweep: &str) -> String {
    let text = String::from_utf8(sandbox.read(&format!("{sweep}/table.md"))).unwrap();
    let line = |line: &str| match line.starts_with('|') {
        true => {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            cells[..cells.len() - 4].join("|")
        }
        false => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn values(results: &[Value], key: &str) -> Vec<Value> {
    results.iter().map(|result| result["values"][key].clone()).collect()
}

fn same_weights(sandbox: &Sandbox, a: &str, b: &str) {
    let weights = |run: &str| sandbox.read(&format!("{run}/model.safetensors"));
    assert!(weights(a) == weights(b), "{a} {b}");
}

#[test]
fn a_grid_leaves_a_table_and_the_best_run() {
    let sandbox = sandbox(
        "unfreeze = 'head'\nlabel_smoothing = 0\n[sweep]\nseeds = [1, 2]\nlearning_rate = [0.0001, 0.1]\nepochs = [2, 8]\n",
    );
    let ran = sandbox.succeeds(&format!("{SWEEP} --output out"));
    assert_says(&ran.stdout, &["8 of 8 trials done; seeds 1, 2.", "| best | 0.1", "The run of trial", "out/best"]);
    assert_says(&ran.stdout, &["validation: 12 rows. They chose", "test: 16 rows. They chose nothing", "spared"]);
    assert_says(
        &ran.stderr,
        &["8 trials in out.", "trial 8 of 8: learning_rate 0.1, num_train_epochs 8, seed 2: validation"],
    );
    let found = results(&sandbox, "out");
    assert_eq!(values(&found, "num_train_epochs"), [2, 2, 8, 8, 2, 2, 8, 8].map(|n| json!(n)));
    assert_eq!(found[0]["done"]["validation"]["rows"], 12);
    let table = String::from_utf8(sandbox.read("out/table.md")).unwrap();
    assert!(table.starts_with("# Sweep of learning_rate, num_train_epochs on data\n"), "{table}");
    let svg = String::from_utf8(sandbox.read("out/sweep.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("learning_rate"), "{svg}");
    let mut names: Vec<_> =
        std::fs::read_dir(sandbox.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["best", "results.jsonl", "sweep.svg", "sweep.toml", "table.md", "trials"]);
    for name in ["recipe.toml", "trainer_state.json", "learning_curves.svg"] {
        assert!(sandbox.path(&format!("out/trials/3/{name}")).exists(), "{name}");
    }
    assert!(!sandbox.path("out/trials/3/model.safetensors").exists());

    // the best is a run like any other, and its recipe gives it again
    sandbox.succeeds("predict --model out/best --json good");
    sandbox.succeeds("train out/best/recipe.toml --output again");
    same_weights(&sandbox, "out/best", "again");
    let files = |run: &str| -> Vec<String> {
        let entries = std::fs::read_dir(sandbox.path(run)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("events.out.tfevents."));
        names.sort();
        names
    };
    assert_eq!(files("out/best"), files("again"));
    assert_eq!(sandbox.json("out/best/eval_results.json")["test_samples"], 16);
    // the same as before, but for nothing to do
    let before = table_of(&sandbox, "out");
    let ran = sandbox.succeeds("sweep --resume out");
    assert_says(&ran.stdout, &["8 of 8 trials done", "out/best"]);
    assert_eq!(table_of(&sandbox, "out"), before);
}

/// Rows that are split at random are the same for all seeds, whose trials take frozen outputs from one another; the last trial is
/// to the bit what it is alone.
#[test]
fn seeds_share_rows_and_frozen_outputs() {
    let sandbox = sandbox("");
    sandbox.write("rows.csv", table(',', 0..60));
    let options = "--model model --data rows.csv --unfreeze blocks:1 --epochs 1 --precision f32";
    let ran = sandbox.succeeds(&format!("sweep {options} --seeds 3 --seed 5 --output out"));
    assert_says(
        &ran.stdout,
        &["3 of 3 trials done; seeds 5, 6, 7.", "The frozen blocks ran 48 times and were spared 96 times"],
    );
    let found = results(&sandbox, "out");
    assert_eq!(found.iter().map(|result| result["seed"].clone()).collect::<Vec<_>>(), [json!(5), json!(6), json!(7)]);
    let losses: Vec<f64> = found.iter().map(|result| result["done"]["validation"]["loss"].as_f64().unwrap()).collect();
    assert!(losses[0] != losses[1] && losses[1] != losses[2], "{losses:?}");
    for (trial, loss) in losses.iter().enumerate() {
        let run = format!("alone-{trial}");
        sandbox.succeeds(&format!("train out/trials/{}/recipe.toml --output {run}", trial + 1));
        assert_eq!(
            sandbox.json(&format!("{run}/eval_results.json"))["eval_loss"].as_f64(),
            Some(*loss),
            "trial {trial}"
        );
    }
    // another split
    sandbox.succeeds(&format!("train {options} --seed 6 --output other"));
    assert_ne!(sandbox.json("other/eval_results.json")["eval_loss"].as_f64(), Some(losses[1]));
    sandbox.succeeds(&format!("train {options} --seed 6 --split-seed 5 --output same"));
    assert_eq!(sandbox.json("same/eval_results.json")["eval_loss"].as_f64(), Some(losses[1]));
}

#[test]
fn random_and_tpe_repeat() {
    for method in ["random", "tpe"] {
        let recipe = format!(
            "unfreeze = 'head'\nnum_train_epochs = 1\n[sweep]\nmethod = '{method}'\ntrials = 10\n\
             learning_rate = {{ min = 1e-5, max = 0.1, log = true }}\nbatch_size = {{ min = 4, max = 32 }}\n"
        );
        let sandbox = sandbox(&recipe);
        for (output, options) in [("a", ""), ("b", "--threads 1"), ("c", "--seed 7")] {
            sandbox.succeeds(&format!("{SWEEP} --output {output} {options}"));
        }
        let a = results(&sandbox, "a");
        assert_eq!(a.len(), 10);
        assert_eq!(a, results(&sandbox, "b"));
        assert_eq!(table_of(&sandbox, "a"), table_of(&sandbox, "b"));
        assert_ne!(values(&a, "learning_rate"), values(&results(&sandbox, "c"), "learning_rate"));
    }
}

#[test]
fn layers_in_one_command() {
    let sandbox = Sandbox::new();
    let ran = sandbox.succeeds("sweep --layers --model model --data data --epochs 1 --seeds 1 --output out");
    assert_says(&ran.stdout, &["4 of 4 trials done; seed 42.", "each trial was judged on them once"]);
    let found = results(&sandbox, "out");
    assert_eq!(values(&found, "unfreeze"), ["head", "blocks:1", "blocks:2", "all"].map(|part| json!(part)));
    let trained: Vec<u64> = found.iter().map(|r| r["done"]["trained_parameters"].as_u64().unwrap()).collect();
    let blocks = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16;
    let head = 16 * 16 + 16 + 2 * 16 + 2;
    assert_eq!(trained, [head, head + blocks, head + 2 * blocks, head + 2 * blocks + (17 + 64 + 2) * 16]);
    assert!(found.iter().all(|result| result["done"]["test"]["rows"] == 16));
    let rows: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(rows.iter().filter(|row| row.contains("best")).count(), 1, "{rows:?}");
    // what frozen blocks put out is not taken from a trial with others
    for (at, result) in found.iter().enumerate() {
        sandbox.succeeds(&format!("train out/trials/{}/recipe.toml --output alone-{at}", at + 1));
        let alone = sandbox.json(&format!("alone-{at}/eval_results.json"));
        assert_eq!(alone["eval_loss"], result["done"]["validation"]["loss"], "{result}");
        assert_eq!(alone["test_accuracy"], result["done"]["test"]["accuracy"], "{result}");
    }
    let ran = sandbox.succeeds("sweep --layers --model model --data data --epochs 1");
    assert_says(&ran.stdout, &["runs/sweep-data-1/best"]);
}

#[test]
fn models_lengths_and_precisions_vary_too() {
    let sandbox = sandbox(
        "epochs = 1\nunfreeze = 'head'\n[sweep]\nmodel = ['model', 'wide']\nmax_length = [5, 64]\nprecision = ['f32', 'bf16']\n",
    );
    Checkpoint::encoder(32, 32).write(&sandbox, "wide");
    sandbox.succeeds("sweep r.toml --data data --output out");
    let found = results(&sandbox, "out");
    assert_eq!(found.len(), 8);
    let losses: std::collections::BTreeSet<String> =
        found.iter().map(|result| result["done"]["validation"]["loss"].to_string()).collect();
    assert_eq!(losses.len(), 8, "each makes a difference");
    let models = values(&found, "model");
    assert_eq!(models.windows(2).filter(|pair| pair[0] != pair[1]).count(), 1, "{models:?}");
}

/// Adapters are judged and saved as part of the weights.
#[test]
fn adapters_vary_too() {
    let sandbox =
        sandbox("epochs = 2\nlearning_rate = 0.01\n[sweep]\nlora_rank = [0, 2]\nlora_alpha = [8.0]\ntest = 'all'\n");
    sandbox.succeeds(&format!("{SWEEP} --output out"));
    let found = results(&sandbox, "out");
    let trained = |at: usize| found[at]["done"]["trained_parameters"].as_u64().unwrap();
    assert!(trained(1) < trained(0), "{found:?}");
    sandbox.succeeds("train out/trials/2/recipe.toml --output alone");
    let alone = sandbox.json("alone/eval_results.json");
    assert_eq!(alone["test_loss"], found[1]["done"]["test"]["loss"]);
    assert_eq!(alone["eval_loss"], found[1]["done"]["validation"]["loss"]);
}

/// A rate at which nothing is a number any more.
#[test]
fn a_failed_trial_does_not_end_the_sweep() {
    let sandbox = sandbox("epochs = 2\n[sweep]\nlearning_rate = [1e30, 0.001]\n");
    let ran = sandbox.succeeds(&format!("{SWEEP} --warmup-steps 0 --output out"));
    assert_says(&ran.stdout, &["2 of 2 trials done, 1 of them failed", "Trial 1 failed: step ", "| best | 0.001"]);
    let found = results(&sandbox, "out");
    assert_says(found[0]["failed"].as_str().unwrap(), &["is NaN at learning rate "]);

    sandbox.write("r.toml", "epochs = 2\n[sweep]\nlearning_rate = [1e30, 1e31]\n");
    let ran = Ran::new(sandbox.distune(&format!("{SWEEP} --warmup-steps 0 --output all --quiet")).output().unwrap());
    assert_eq!(ran.status, Some(1));
    assert_says(&ran.message(), &["all: no trial ended well; the first: step "]);
    assert!(sandbox.path("all/table.md").exists() && !sandbox.path("all/best").exists());
}

#[test]
fn faults_are_told_before_anything_is_written() {
    let sandbox = sandbox("[sweep]\nlerning_rate = [1e-4]\n");
    let fails = |recipe: &str, options: &str| {
        sandbox.write("r.toml", recipe);
        sandbox.fails(&format!("{SWEEP} --output out {options}"))
    };
    let message = fails("[sweep]\nlerning_rate = [1e-4]\n", "");
    assert_says(&message, &["r.toml: no such key: \"lerning_rate\", the nearest one is \"learning_rate\""]);
    let rates = "[sweep]\nlearning_rate = [1e-4, 1e-5]\n";
    let both = "expected either values in the sweep or an option, found both";
    assert_says(&fails(rates, "--learning-rate 1e-4"), &["sweep: learning_rate: ", both]);
    assert_says(&fails("[sweep]\ncache_frozen = [true, false]\n", "--no-cache"), &["sweep: cache_frozen: ", both]);
    assert_says(&fails("[sweep]\nprecision = ['bf16']\n", ""), &["sweep: precision: ", both]);
    assert_says(&fails("", "--layers --unfreeze head"), &["sweep: unfreeze: ", both]);
    let message = fails("[sweep]\nunfreeze = ['head', 'blocks:9']\n", "");
    assert_says(&message, &["unfreeze: expected blocks:1 to blocks:2 for this model of 2 blocks, found blocks:9"]);
    assert_says(
        &fails("[sweep]\nlr_power = [2.0]\n", ""),
        &["lr_power: expected 1 unless lr_scheduler_type is polynomial"],
    );
    assert_says(&fails("max_time = '5m'", ""), &["sweep: max_time: expected none, as how many steps fit"]);
    sandbox.write("r.toml", "[sweep]\nmodel = ['nowhere']\n");
    assert_says(&sandbox.fails("sweep r.toml --data data --output out"), &["nowhere"]);
    let train = sandbox.fails("train r.toml --data data --output out");
    assert_says(&train, &["r.toml: describes a sweep, not one training. Run it with distune sweep"]);
    assert_says(&sandbox.fails("sweep --resume data"), &["data: is not the directory of a sweep"]);
    assert_says(
        &sandbox.fails("sweep --model model --data data --output data"),
        &["data: the output directory exists"],
    );
    for options in ["--resume out --epochs 3", "--resume out --layers", "--seeds 0", "--budget soon"] {
        let ran = Ran::new(sandbox.distune(&format!("sweep {options}")).output().unwrap());
        assert_eq!(ran.status, Some(2), "{options}: {}", ran.stderr);
    }
}

/// Trials of some tenths of a second.
const SLOW: &str = "unfreeze = 'head'\nepochs = 400\n[sweep]\nseeds = 2\nlearning_rate = [1e-5, 1e-4, 1e-3]\n";

/// Waits until a sweep has so many results.
fn wait_for(sandbox: &Sandbox, sweep: &str, results: usize) {
    let start = Instant::now();
    let lines = || {
        std::fs::read(sandbox.path(&format!("{sweep}/results.jsonl")))
            .map(|b| b.iter().filter(|b| **b == b'\n').count())
    };
    while lines().map_or(true, |lines| lines < results) {
        assert!(start.elapsed() < Duration::from_secs(50), "it does not come to {results} results");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_and_gone_on_with() {
    let sandbox = sandbox(SLOW);
    sandbox.succeeds(&format!("{SWEEP} --output whole"));
    let expected = (results(&sandbox, "whole"), table_of(&sandbox, "whole"));
    for (done, later) in [(0, 0), (0, 30), (1, 0), (3, 5), (5, 60)] {
        let output = format!("out-{done}-{later}");
        let mut command = sandbox.distune(&format!("{SWEEP} --output {output} --quiet"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for(&sandbox, &output, done);
        std::thread::sleep(Duration::from_millis(later));
        // SIGKILL
        child.kill().unwrap();
        child.wait().unwrap();
        let ran = sandbox.succeeds(&format!("sweep --resume {output}"));
        assert_says(&ran.stderr, &["of 6 trials are done."]);
        assert_eq!((results(&sandbox, &output), table_of(&sandbox, &output)), expected, "{output}");
        same_weights(&sandbox, &format!("{output}/best"), "whole/best");
        let hidden = std::fs::read_dir(sandbox.path(&output)).unwrap();
        assert!(hidden.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')), "{output}");
    }
}

#[test]
fn a_trial_goes_on_from_its_checkpoint() {
    let sandbox = sandbox("unfreeze = 'head'\nepochs = 1500\nsave_steps = 100\n[sweep]\nseeds = 2\n");
    sandbox.succeeds(&format!("{SWEEP} --output whole"));
    let mut command = sandbox.distune(&format!("{SWEEP} --output out --quiet"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !sandbox.path("out/trials/2/checkpoint-300").exists() {
        assert!(start.elapsed() < Duration::from_secs(50), "no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = sandbox.succeeds("sweep --resume out");
    assert_says(&ran.stderr, &["1 of 2 trials are done.", "trial 2 of 2 goes on after step "]);
    assert_eq!(
        (results(&sandbox, "out"), table_of(&sandbox, "out")),
        (results(&sandbox, "whole"), table_of(&sandbox, "whole"))
    );
    same_weights(&sandbox, "out/best", "whole/best");
    let left = sandbox.paths().into_iter().filter(|path| path.to_string_lossy().contains("/checkpoint-")).count();
    assert_eq!(left, 0, "checkpoints go when their trial has ended");
}

#[cfg(unix)]
#[test]
fn an_interrupt_says_how_to_go_on() {
    let sandbox = sandbox(SLOW);
    let mut command = sandbox.distune(&format!("{SWEEP} --output out --quiet"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&sandbox, "out", 2);
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert_says(
        &ran.message(),
        &["interrupted after ", " of 6 trials; they are kept. Go on with: distune sweep --resume out"],
    );
    assert!(sandbox.path("out/best/model.safetensors").exists(), "the best so far");
    let ran = sandbox.succeeds("sweep --resume out");
    assert_says(&ran.stdout, &["6 of 6 trials done"]);
}

#[test]
fn a_budget_ends_it_with_what_is_done() {
    let sandbox = sandbox(&SLOW.replace("[sweep]", "[sweep]\nbudget = '30m'").replace("400", "3000"));
    let start = Instant::now();
    let mut command = sandbox.distune(&format!("{SWEEP} --output out --quiet"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&sandbox, "out", 1);
    let one = start.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    // time for one or two of six
    let budget = (one * 2).as_millis();
    let ran = sandbox.succeeds(&format!("{SWEEP} --output out --budget {budget}ms"));
    let done = results(&sandbox, "out").len();
    assert!((1..6).contains(&done), "{done}");
    assert_says(&ran.stdout, &[&format!("{done} of 6 trials done"), "out/best"]);
    assert_says(
        &ran.stderr,
        &[&format!("The budget ended after {done} of 6 trials. Go on with: distune sweep --resume out")],
    );
    let ran = Ran::new(sandbox.distune(&format!("{SWEEP} --output none --budget 1ms --quiet")).output().unwrap());
    assert_eq!(ran.status, Some(1));
    assert_says(&ran.message(), &["the budget ended before the first trial did: give more with --budget"]);
}

#[test]
fn json_and_quiet() {
    let sandbox = sandbox("epochs = 1\n[sweep]\nunfreeze = ['head', 'all']\n");
    let ran = sandbox.succeeds(&format!("{SWEEP} --output out --json --quiet"));
    assert_eq!(ran.stderr, "");
    let events: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["trial", "trial", "result"]);
    assert_eq!(events[0]["done"]["validation"]["rows"], 12);
    let result = &events[2];
    assert_eq!((&result["output"], &result["best"], &result["done"]), (&json!("out"), &json!("out/best"), &json!(2)));
    assert_eq!(result["settings"].as_array().unwrap().iter().filter(|setting| setting["best"] == true).count(), 1);
    let ran = sandbox.succeeds(&format!("{SWEEP} --output quiet --quiet"));
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("| best |"));
}
