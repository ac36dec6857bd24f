//! Low-rank adapters: gradients by finite differences in f64, and steps equal to PEFT's (`fixtures/lora/generate.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Predict, Targets};
use distune::model::Config;
use distune::model::lora::Lora;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Tensor};
use distune::train::{LoraTargets, Optimizer, Recipe, Schedule};
use support::differences::*;
use support::*;

/// A recipe with adapters.
fn recipe(unfreeze: &str, rank: usize, targets: LoraTargets) -> Recipe {
    let recipe = Recipe { unfreeze: unfreeze.parse().unwrap(), lora_rank: rank, ..Recipe::recommended() };
    Recipe { lora_targets: targets, ..recipe }
}

fn lora(config: &Config, unfreeze: &str, rank: usize, targets: LoraTargets) -> Lora {
    recipe(unfreeze, rank, targets).lora(&Arc::new(Table::new(config))).unwrap().unwrap()
}

fn setup(unfreeze: &str, targets: LoraTargets) -> (Config, Parameters<f64>, Batch) {
    let config = config();
    let table = Arc::new(Table::with_adapters(&config, lora(&config, unfreeze, 5, targets)));
    (config, weights(&table), batch(&ragged_sequences()))
}

/// Everything at once: dA and dB of each layer, and through them dx, for all that lies below trains too.
#[test]
fn every_tensor_by_finite_differences() {
    for targets in [LoraTargets::QueryValue, LoraTargets::AllLinear] {
        let (config, weights, batch) = setup("all", targets);
        let table = weights.table().clone();
        let (all, _) = gradients(&weights, &config, &batch, &Thawed::from(&table, Group::Embeddings), false);
        for (tensor, want) in table.tensors().iter().zip(differences(&config, weights, &batch)) {
            for (i, want) in want {
                let got = all.tensor(tensor)[i];
                // the difference quotient is right to about 1e-9; gradients here are up to 0.1
                assert!((got - want).abs() < 1e-8, "{}[{i}]: {got} by hand, {want} by differences", tensor.name);
            }
        }
        for tensor in table.tensors().iter().filter(|tensor| tensor.is_adapter()) {
            let largest = all.tensor(tensor).iter().fold(0.0_f64, |m, g| m.max(g.abs()));
            assert!(largest > 1e-6, "{}: {largest} is too small for the bound above", tensor.name);
        }
    }
}

/// Frozen weights around them change no bit of the adapters' gradients, wherever adapters sit.
#[test]
fn frozen_weights_change_no_gradient_of_adapters() {
    for (unfreeze, targets) in [
        ("all", LoraTargets::QueryValue),
        ("blocks:2", LoraTargets::AllLinear),
        ("blocks:0,2", LoraTargets::QueryValue),
        ("*.1.ffn.lin2.*", LoraTargets::AllLinear),
        ("*.1.ffn.lin1.*", LoraTargets::AllLinear),
        ("*.1.attention.out_lin.*", LoraTargets::AllLinear),
        ("*.2.attention.k_lin.*", LoraTargets::AllLinear),
    ] {
        let (config, weights, batch) = setup(unfreeze, targets);
        let all = gradients(&weights, &config, &batch, &Thawed::from(weights.table(), Group::Embeddings), false).0;
        let thawed = Thawed::new(weights.table(), Tensor::is_adapter);
        let (some, _) = gradients(&weights, &config, &batch, &thawed, false);
        assert!(thawed.tensors().any(Tensor::is_adapter), "{unfreeze}");
        for tensor in weights.table().tensors() {
            let want = if thawed.trains(tensor) { all.tensor(tensor) } else { &[] };
            assert!(some.tensor(tensor) == want, "{unfreeze}: {}", tensor.name);
        }
    }
}

/// `[rows, columns]`, read the other way.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| values.iter().skip(c).step_by(columns).copied()).collect()
}

/// Adapters as a fixture has them; B lies there as PEFT keeps it.
fn of_fixture(name: &str, tensor: &Tensor, tensors: &std::collections::HashMap<String, Vec<f32>>) -> Vec<f32> {
    let values = &tensors[&format!("{name}.{}", tensor.name)];
    if tensor.name.contains("lora_B") { transposed(values, tensor.shape[0]) } else { values.clone() }
}

/// Eight steps with clipping and weight decay, of AdamW, and of Adam with layer decay and a rate of the head: losses, norms, adapters, head, merged weights and logits as PEFT has them.
#[test]
fn steps_are_those_of_peft() {
    let cases = json(&fixture("lora/cases.json"));
    let of_tiny = json(&fixture("tiny/cases.json"));
    let (sequences, labels) = (sequences(&of_tiny["sequences"]), floats(&of_tiny["labels"]));
    let (query_value, all_linear) = (LoraTargets::QueryValue, LoraTargets::AllLinear);
    for (name, unfreeze, targets, merged_tensors) in [
        ("query_value", "blocks:2", query_value, 2),
        ("all_linear", "all", all_linear, 6),
        ("adam", "all", query_value, 2),
    ] {
        let (case, tensors) = (&cases[name], tensors(&fixture(&format!("lora/{name}.safetensors"))));
        let peak = cases["peak_lr"].as_f64().unwrap();
        let (optim, layer_decay, head) =
            if name == "adam" { (Optimizer::Adam, 0.5, 2.0) } else { (Optimizer::AdamW, 1.0, 1.0) };
        let recipe = Recipe {
            optim,
            layer_decay,
            learning_rate: peak,
            head_learning_rate: Some(head * peak),
            lora_alpha: cases["alpha"].as_f64().unwrap(),
            weight_decay: cases["weight_decay"].as_f64().unwrap(),
            label_smoothing_factor: 0.0,
            ..recipe(unfreeze, cases["rank"].as_u64().unwrap() as usize, targets)
        };
        let mut model = recipe.adapt(tiny()).unwrap();
        let thawed = recipe.thawed(model.weights.table()).unwrap();
        for tensor in thawed.tensors().filter(|tensor| tensor.is_adapter()) {
            model.weights.tensor_mut(tensor).copy_from_slice(&of_fixture("before", tensor, &tensors));
        }
        let before = model.weights.clone();
        let mut engine = Cpu::for_training(model, thawed.clone(), Precision::F32);
        let schedule = Schedule::linear(peak, 2, 8);
        for step in 0..8 {
            let rows: Vec<usize> = floats(&case["batches"][step]).into_iter().map(|row| row as usize).collect();
            let batch = Batch::new(rows.iter().map(|&row| sequences[row].as_slice()));
            let classes: Vec<u32> = rows.iter().map(|&row| labels[row] as u32).collect();
            let rate = schedule.learning_rate(step);
            let targets = Targets::Classes(&classes);
            let done = engine.train_step(&batch, targets, step as u64 + 1, rate, &recipe.step_options());
            for (what, got) in [("loss", done.loss), ("grad_norm", done.gradient_norm)] {
                let want = case[what][step].as_f64().unwrap();
                assert!((got - want).abs() <= 1e-5 * want.max(1.0), "{name}, step {step}: {what} {got}, not {want}");
            }
        }
        let all = batch(&sequences);
        // sums of f32 in another order, moved by Adam's steps of up to 5e-3
        assert_close(&format!("{name}: logits"), engine.logits(&all), &tensors["logits"], 5e-5);
        let model = engine.into_model();
        for tensor in model.weights.table().tensors() {
            let got = model.weights.tensor(tensor);
            if thawed.trains(tensor) {
                assert_close(&format!("{name}: {}", tensor.name), got, &of_fixture("after", tensor, &tensors), 2e-5);
            } else {
                assert!(got == before.tensor(tensor), "{name}: {} has changed", tensor.name);
            }
        }
        let merged = model.merged();
        let table = merged.weights.table().clone();
        assert!(table.tensors().iter().all(|tensor| !tensor.is_adapter()));
        let mut compared = 0;
        for tensor in table.tensors() {
            if let Some(want) = tensors.get(&format!("merged.{}", tensor.name)) {
                assert_close(&format!("{name}: merged {}", tensor.name), merged.weights.tensor(tensor), want, 2e-5);
                compared += 1;
            }
        }
        assert_eq!(compared, merged_tensors, "{name}");
        let mut engine = Cpu::new(merged, Precision::F32);
        assert_close(&format!("{name}: logits, merged"), engine.logits(&all), &tensors["logits"], 5e-5);
    }
}
