//! How long a training lasts, how its learning rate runs, when it is judged and what it keeps.

use serde_json::{Value, json};

use crate::support::{Sandbox, assert_says};

/// The events of a training of 32 rows in batches of 8, which is 4 steps an epoch.
fn events(sandbox: &Sandbox, options: &str) -> Vec<Value> {
    let train = "train --model model --data data --batch-size 8 --output out --overwrite --json";
    let ran = sandbox.succeeds(&format!("{train} {options}"));
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// A value of each event of a kind.
fn values(events: &[Value], kind: &str, key: &str) -> Vec<f64> {
    of_kind(events, kind).iter().map(|event| event[key].as_f64().unwrap()).collect()
}

#[test]
fn steps_instead_of_epochs() {
    let sandbox = Sandbox::new();
    let six = events(&sandbox, "--max-steps 6");
    assert_eq!(values(&six, "step", "step"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(values(&six, "evaluation", "epoch"), [1.0, 1.5]);
    // of the linear schedule, the sixth of six steps after one of warmup
    assert!((values(&six, "step", "learning_rate")[5] - 1e-4 / 5.0).abs() < 1e-12);
    let state = sandbox.json("out/trainer_state.json");
    assert_eq!((&state["global_step"], &state["max_steps"], &state["epoch"]), (&json!(6), &json!(6), &json!(1.5)));
    assert_eq!(sandbox.json("out/train_results.json")["epoch"], 1.5);
    // the same rows in the same order as with epochs
    let epochs = events(&sandbox, "--epochs 2 --lr-scheduler constant");
    let steps = events(&sandbox, "--max-steps 8 --lr-scheduler constant");
    assert_eq!(values(&epochs, "step", "loss"), values(&steps, "step", "loss"));
}

#[test]
fn evaluations_between_epochs() {
    let sandbox = Sandbox::new();
    let each_three = events(&sandbox, "--epochs 2 --eval-steps 3");
    assert_eq!(values(&each_three, "evaluation", "step"), [3.0, 6.0, 8.0]);
    let log = sandbox.json("out/trainer_state.json")["log_history"].clone();
    let judged: Vec<&Value> = log.as_array().unwrap().iter().filter(|e| e.get("eval_loss").is_some()).collect();
    assert_eq!(judged.iter().map(|e| e["step"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 6, 8]);
    // evaluations in between change nothing
    let plain = events(&sandbox, "--epochs 2");
    assert_eq!(values(&each_three, "step", "loss"), values(&plain, "step", "loss"));
}

#[test]
fn schedules_run_as_they_are_called() {
    let sandbox = Sandbox::new();
    let rates = |options: &str| {
        let events = events(&sandbox, &format!("--epochs 2 --learning-rate 0.001 --warmup-steps 2 {options}"));
        values(&events, "step", "learning_rate").iter().map(|rate| (rate * 1e7).round() / 1e4).collect::<Vec<_>>()
    };
    assert_eq!(rates(""), [0.0, 0.5, 1.0, 0.8333, 0.6667, 0.5, 0.3333, 0.1667]);
    assert_eq!(rates("--lr-scheduler cosine"), [0.0, 0.5, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067]);
    assert_eq!(rates("--lr-scheduler constant"), [1.0; 8]);
    assert_eq!(rates("--lr-scheduler constant_with_warmup"), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let squared = rates("--lr-scheduler polynomial --lr-power 2");
    assert_eq!(squared, [0.0, 0.5, 1.0, 0.6945, 0.4445, 0.2501, 0.1112, 0.0279]);
    let cycle = rates("--lr-scheduler one_cycle");
    assert_eq!((cycle[0], cycle[1], cycle[7]), (0.04, 1.0, 0.0));
    let message = sandbox.fails("train --model model --data data --output x --lr-power 2");
    assert_says(&message, &["lr_power: expected 1 unless lr_scheduler_type is polynomial, found 2"]);
}

#[test]
fn the_learning_rate_falls_on_plateaus() {
    let sandbox = Sandbox::new();
    // nothing rises at such a rate
    let options = "--epochs 5 --learning-rate 1e-6 --warmup-steps 2 --lr-scheduler reduce_lr_on_plateau";
    let rates = |more: &str| {
        let events = events(&sandbox, &format!("{options} --metric-for-best-model accuracy {more}"));
        values(&events, "step", "learning_rate").iter().map(|rate| (rate * 1e9).round()).collect::<Vec<_>>()
    };
    let halves = [[0.0, 500.0, 1000.0, 1000.0], [1000.0; 4], [500.0; 4], [250.0; 4], [125.0; 4]].concat();
    assert_eq!(rates("--lr-patience 0 --lr-factor 0.5"), halves);
    assert_eq!(rates("--lr-patience 2")[4..], [[1000.0; 12].as_slice(), &[100.0; 4]].concat());
    assert_eq!(rates("")[4..], [1000.0; 16]);
    for (option, expected) in [
        ("--lr-factor 0.5", "lr_factor: expected 0.1 unless lr_scheduler_type is reduce_lr_on_plateau, found 0.5"),
        ("--lr-factor 1", "lr_factor: expected a number above 0 and below 1, found 1"),
        ("--lr-patience 3", "lr_patience: expected 10 unless lr_scheduler_type is reduce_lr_on_plateau, found 3"),
    ] {
        assert_says(&sandbox.fails(&format!("train --model model --data data --output x {option}")), &[expected]);
    }
}

#[test]
fn early_stopping() {
    let sandbox = Sandbox::new();
    // nothing is learnt at such a rate, so nothing rises
    let options = "--epochs 6 --learning-rate 1e-12 --early-stopping-patience 2 --metric-for-best-model accuracy";
    let stopped = events(&sandbox, options);
    assert_eq!(of_kind(&stopped, "evaluation").len(), 3);
    let result = of_kind(&stopped, "result")[0];
    assert_eq!((&result["stopped_early"], result["best_epoch"].as_f64().is_some()), (&json!(true), true));
    let state = sandbox.json("out/trainer_state.json");
    assert_eq!((&state["global_step"], &state["max_steps"]), (&json!(12), &json!(24)));
    let ran = sandbox.succeeds(&format!("train --model model --data data --batch-size 8 --output told {options}"));
    assert_says(&ran.stdout, &["ended early for want of progress"]);
    let patient = events(&sandbox, "--epochs 4 --learning-rate 1e-12");
    assert_eq!(
        (of_kind(&patient, "evaluation").len(), &of_kind(&patient, "result")[0]["stopped_early"]),
        (4, &json!(false))
    );
}

#[test]
fn the_metric_selects() {
    let sandbox = Sandbox::new();
    for (metric, key, sign) in [
        ("loss", "loss", -1.0),
        ("accuracy", "accuracy", 1.0),
        ("micro_f1", "accuracy", 1.0),
        ("macro_f1", "macro_f1", 1.0),
        ("f1_macro", "macro_f1", 1.0),
        ("eval_matthews_correlation", "matthews_corrcoef", 1.0),
        ("roc_auc_score", "roc_auc", 1.0),
        ("brier_score_loss", "brier_score_loss", -1.0),
    ] {
        let all = events(&sandbox, &format!("--epochs 5 --learning-rate 0.01 --metric-for-best-model {metric}"));
        let score = |e: &Value| {
            let judged = &e["validation"];
            let value =
                [judged, &judged["metrics"], &judged["probabilities"]].into_iter().find_map(|of| of[key].as_f64());
            sign * value.unwrap()
        };
        let evaluations = of_kind(&all, "evaluation");
        let highest = evaluations.iter().map(|e| score(e)).fold(f64::NEG_INFINITY, f64::max);
        let best_step = &of_kind(&all, "result")[0]["best_step"];
        let best = evaluations.iter().find(|e| &e["step"] == best_step).unwrap();
        assert_eq!(score(best), highest, "{metric}");
        let state = sandbox.json("out/trainer_state.json");
        assert_eq!(state["best_metric"].as_f64().unwrap(), sign * highest, "{metric}");
    }
    let ran = sandbox.distune("train --metric-for-best-model f2").output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert_says(&String::from_utf8(ran.stderr).unwrap(), &["expected loss, accuracy, balanced_accuracy, "]);
    let message = sandbox.fails("train --model model --data data --metric-for-best-model roc_auc_ovr");
    let expected = "metric_for_best_model: expected with 2 classes and one label a row one of loss, accuracy, balanced_accuracy, \
                    precision, recall, f1, ";
    assert_says(&message, &[expected, "found macro_roc_auc"]);
}
