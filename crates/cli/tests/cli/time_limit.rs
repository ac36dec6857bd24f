//! `--max-time`: a whole schedule in a given time.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Sandbox, assert_same_run, assert_says, end, records};

const TRAIN: &str = "train --model model --data data --batch-size 8 --json --quiet";

fn events(sandbox: &Sandbox, options: &str) -> Vec<Value> {
    let ran = sandbox.succeeds(&format!("{TRAIN} {options}"));
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

fn recipe(sandbox: &Sandbox, run: &str) -> Value {
    toml::from_str(&String::from_utf8(sandbox.read(&format!("{run}/recipe.toml"))).unwrap()).unwrap()
}

#[test]
fn a_whole_schedule_fits_into_the_time() {
    let sandbox = Sandbox::new();
    for unfreeze in ["all", "blocks:1"] {
        let start = Instant::now();
        let options =
            format!("--max-time 3s --epochs 10000000 --eval-steps 100 --unfreeze {unfreeze} --output {unfreeze}");
        let events = events(&sandbox, &options);
        // the machine may be slower than it was while it was measured; without a limit it would take days
        assert!(start.elapsed().as_secs_f64() < 12.0, "{:?}", start.elapsed());
        let fitted = of_kind(&events, "max_time")[0];
        assert_eq!((&fitted["max_time"], &fitted["steps_asked_for"]), (&json!("3s"), &json!(40_000_000)));
        assert!(fitted["seconds"].as_f64().unwrap() <= 3.0 * 0.95, "{fitted}");
        let steps = of_kind(&events, "step");
        assert_eq!(steps.len() as u64, fitted["steps"].as_u64().unwrap());
        assert!(steps.len() > 100, "{fitted}");
        // what frozen blocks put out is kept while the speed is measured too
        assert_eq!(fitted["seconds_a_frozen_row"].as_f64().unwrap() > 0.0, unfreeze == "blocks:1", "{fitted}");
        // of a linear schedule over exactly these steps
        let rates: Vec<f64> = steps.iter().map(|step| step["learning_rate"].as_f64().unwrap()).collect();
        let warmup = (0.06 * steps.len() as f64).ceil();
        let last = 1e-4 / (steps.len() as f64 - warmup);
        assert!(rates[0] == 0.0 && rates[warmup as usize] == 1e-4 && (rates[steps.len() - 1] - last).abs() < 1e-12);
        // the recipe says how many there were, and gives the same bits without measuring
        let recipe = recipe(&sandbox, unfreeze);
        assert_eq!((&recipe["max_steps"], recipe.get("max_time")), (&fitted["steps"], None));
        sandbox.succeeds(&format!("train {unfreeze}/recipe.toml --output again --overwrite --quiet"));
        let weights = |run: &str| sandbox.read(&format!("{run}/model.safetensors"));
        assert!(weights(unfreeze) == weights("again"), "--unfreeze {unfreeze}");
    }
}

#[test]
fn never_longer_than_asked_for() {
    let sandbox = Sandbox::new();
    let limited = events(&sandbox, "--max-time 1h --epochs 3 --unfreeze blocks:1 --output limited");
    assert_eq!(of_kind(&limited, "step").len(), 12);
    assert_eq!(of_kind(&limited, "max_time")[0]["steps"], 12);
    assert_eq!(recipe(&sandbox, "limited")["max_steps"], -1);
    // what was measured leaves no trace
    events(&sandbox, "--epochs 3 --unfreeze blocks:1 --output plain");
    assert!(sandbox.read("limited/model.safetensors") == sandbox.read("plain/model.safetensors"));
    let ran = sandbox.succeeds("train --model model --data data --output told --max-time 1h --epochs 1");
    assert_says(&ran.stderr, &["1h: all 1 steps fit, ", " ms a step, "]);
}

/// The number of steps is chosen once: a training that goes on has it from its settings.
#[test]
fn a_training_that_goes_on_keeps_its_number_of_steps() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.distune(&format!("{TRAIN} --max-time 4s --epochs 10000000 --save-steps 50 --output out"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let fitted = lines.find(|line| line.contains("\"event\":\"max_time\"")).unwrap();
    lines.find(|line| line.contains("\"event\":\"checkpoint\"")).unwrap();
    child.kill().unwrap();
    lines.for_each(drop);
    end(child);
    let fitted: Value = serde_json::from_str(&fitted).unwrap();
    sandbox.succeeds("train --resume out --quiet");
    assert_eq!(sandbox.json("out/trainer_state.json")["global_step"], fitted["steps"]);
    sandbox.succeeds("train out/recipe.toml --output again --quiet");
    assert_same_run(&sandbox, "out", &records(&sandbox, "again"), "without measuring and interruption");
}

#[test]
fn times_that_cannot_be() {
    let sandbox = Sandbox::new();
    let message = sandbox.fails("train --model model --data data --output out --max-time 1us");
    assert_says(&message, &["recipe: max_time: expected at least ", "s, for one step and an evaluation, found 1us"]);
    sandbox.write("r.toml", "max_time = 'soon'");
    let message = sandbox.fails("train r.toml --model model --data data --output out");
    assert_says(&message, &["max_time: expected a time such as 90s, 10m or 1h 30m, found \"soon\""]);
    let ran = sandbox.distune("train --max-time 10").output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
}
