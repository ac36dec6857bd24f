//! What trains and what does not: equality with PyTorch where parts are frozen (`fixtures/thaw/generate.py`), tensors that must not
//! change and tensors that must, gradual unfreezing, blocks that start anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Targets};
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Tensor};
use distune::model::{Model, ModelFiles};
use distune::train::{
    CacheLimits, CacheReport, Recipe, Scheduler, Storage, TrainingMemory, Unfreeze, frozen_hash, parts, stages, train,
};
use support::training::*;
use support::*;

/// Every form of what may be written, for a model of five blocks or more.
const MODES: [&str; 12] = [
    "head",
    "blocks:1",
    "blocks:3",
    "blocks:0,2",
    "blocks:1,",
    "embeddings",
    "bias",
    "all",
    "bias+blocks:1",
    "*.attention.v_lin.*",
    "*.[13].ffn.lin1.weight+*.4.attention.k_lin.bias",
    "*.layer.2.output_layer_norm.bias+*position*",
];

/// Five blocks of width 16, without dropout.
fn five_blocks() -> Model {
    let directory = model_directory(&fixture("thaw"));
    Model::load(&ModelFiles::open(directory.path()).unwrap()).unwrap()
}

fn unfreeze(text: &str) -> Unfreeze {
    text.parse().unwrap()
}

fn resolved(text: &str, table: &Arc<Table>) -> Thawed {
    unfreeze(text).resolve(table).unwrap()
}

/// The names of the tensors of which that is true.
fn names(table: &Table, of: impl Fn(&Tensor) -> bool) -> Vec<&str> {
    table.tensors().iter().filter(|tensor| of(tensor)).map(|tensor| tensor.name.as_str()).collect()
}

/// Losses, gradient norms and weights of AdamW steps with parts frozen are PyTorch's. In gradual unfreezing each part's moments begin with
/// its own first step, as PyTorch's do.
#[test]
fn steps_as_in_pytorch() {
    let cases = json(&fixture("thaw/cases.json"));
    let after = tensors(&fixture("thaw/after.safetensors"));
    let batches: Vec<Vec<Vec<u32>>> = cases["sequences"].as_array().unwrap().iter().map(sequences).collect();
    for case in cases["runs"].as_array().unwrap() {
        let (name, model) = (case["name"].as_str().unwrap(), five_blocks());
        let recipe = Recipe {
            unfreeze: unfreeze(case["unfreeze"].as_str().unwrap()),
            learning_rate: cases["learning_rate"].as_f64().unwrap(),
            head_learning_rate: case["head_learning_rate"].as_f64(),
            layer_decay: case["layer_decay"].as_f64().unwrap_or(1.0),
            weight_decay: cases["weight_decay"].as_f64().unwrap(),
            lr_scheduler_type: Scheduler::Constant,
            ..Recipe::default()
        };
        let table = model.weights.table().clone();
        let thawed = recipe.thawed(&table).unwrap();
        let mut options = recipe.step_options();
        if let Some(steps) = case["steps_per_epoch"].as_u64() {
            options.stages = stages(&thawed, steps as usize);
        }
        let (before, mut engine) = (model.weights.clone(), Cpu::for_training(model, thawed.clone(), Precision::F32));
        for (step, sequences) in batches.iter().enumerate() {
            let labels: Vec<u32> = floats(&cases["labels"][step]).into_iter().map(|x| x as u32).collect();
            let (targets, number) = (Targets::Classes(&labels), step as u64 + 1);
            let done = engine.train_step(&batch(sequences), targets, number, recipe.learning_rate, &options);
            for (key, got) in [("loss", done.loss), ("grad_norm", done.gradient_norm)] {
                let want = case[key][step].as_f64().unwrap();
                // f32 sums in another order, carried on for eight steps of a high learning rate
                assert!((got - want).abs() <= 2e-5 * want.max(1.0), "{name}, step {step}: {key} {got}, not {want}");
            }
        }
        let weights = engine.into_model().weights;
        let mut compared = 0;
        for tensor in table.tensors() {
            match after.get(&format!("{name}/{}", tensor.name)) {
                Some(want) => {
                    assert_close(&format!("{name}: {}", tensor.name), weights.tensor(tensor), want, 5e-5);
                    compared += 1;
                }
                None if !thawed.trains(tensor) => assert_eq!(weights.tensor(tensor), before.tensor(tensor)),
                None => {}
            }
        }
        assert_eq!(compared, after.keys().filter(|key| key.starts_with(&format!("{name}/"))).count(), "{name}");
        assert!(compared >= 3, "{name}");
    }
}

/// What may be written means these tensors, and always the head.
#[test]
fn what_the_words_mean() {
    let model = five_blocks();
    let table = model.weights.table();
    let block = |name: &str, i: usize| name.contains(&format!(".layer.{i}."));
    type Means = Box<dyn Fn(&str) -> bool>;
    let expected: [(&str, Means); 9] = [
        ("head", Box::new(|_| false)),
        ("blocks:2", Box::new(move |n| block(n, 3) || block(n, 4))),
        ("blocks:0,2,", Box::new(move |n| block(n, 0) || block(n, 2))),
        ("blocks:1,", Box::new(move |n| block(n, 1))),
        ("embeddings", Box::new(|n| n.contains(".embeddings."))),
        ("bias", Box::new(|n| n.ends_with(".bias") || n.to_lowercase().contains("norm"))),
        ("all", Box::new(|_| true)),
        ("embeddings + blocks:1", Box::new(move |n| n.contains(".embeddings.") || block(n, 4))),
        ("*.layer.[!4].*.q_lin.bias", Box::new(move |n| n.ends_with("q_lin.bias") && !block(n, 4))),
    ];
    for (text, means) in expected {
        let thawed = resolved(text, table);
        let want = names(table, |t| {
            means(&t.name) || t.name.starts_with("pre_classifier") || t.name.starts_with("classifier")
        });
        assert_eq!(names(table, |t| thawed.trains(t)), want, "{text}");
    }
    for text in MODES {
        assert_eq!(unfreeze(text).to_string(), text);
        assert!(names(table, |t| resolved(text, table).trains(t)).contains(&"classifier.weight"), "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_named() {
    let table = five_blocks().weights.table().clone();
    let message = |text: &str| match text.parse::<Unfreeze>() {
        Ok(unfreeze) => unfreeze.resolve(&table).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    for (text, says) in [
        ("tail", "blocks:N (the last N, from 1)"),
        ("", "found \"\""),
        ("head+", "found \"\""),
        ("blocks:", "found \"blocks:\""),
        ("blocks:0", "found \"blocks:0\""),
        ("blocks:,", "found \"blocks:,\""),
        ("blocks:1,x", "found \"blocks:1,x\""),
        ("bias+classifer", "found \"classifer\""),
        ("*.layer.[45", "expected a pattern of tensor names, found \"*.layer.[45\""),
        ("blocks:6", "expected blocks:1 to blocks:5 for this model of 5 blocks, found blocks:6"),
        ("head+blocks:0,5", "expected blocks from 0 to 4 for this model of 5 blocks, found block 5 in blocks:0,5"),
        (
            "pre_classifer.weight",
            "matches one of the model's 88 tensors, such as pre_classifier.weight, pre_classifier.bias",
        ),
        ("*.query.*", "found *.query.*, which matches none"),
    ] {
        let message = message(text);
        assert!(message.starts_with("recipe: unfreeze: ") && message.contains(says), "{text}: {message}");
    }
}

/// The biases of keys add the same to all scores of a query, which a softmax does not see. In the last block, where no keys are formed,
/// their gradient is zero; in others it is what rounding leaves.
fn has_no_effect(tensor: &Tensor, table: &Table) -> bool {
    tensor.group == Group::Block(table.n_layers() - 1) && tensor.name.ends_with(".k_lin.bias")
}

/// In every mode: frozen tensors stay as they are, to the bit, and every tensor that trains changes.
#[test]
fn frozen_tensors_stay_and_others_change() {
    for precision in [Precision::F32, Precision::Bf16] {
        for mode in MODES {
            let model = five_blocks();
            let (before, table) = (model.weights.clone(), model.weights.table().clone());
            let thawed = resolved(mode, &table);
            let hash = frozen_hash(&before, &thawed);
            let mut engine = Cpu::for_training(model, thawed.clone(), precision);
            // a large weight decay, which must not reach what is frozen
            let options = Recipe { weight_decay: 0.5, ..Recipe::default() }.step_options();
            for step in 1..=3 {
                let batch = Batch::new([&[1, 2, 3, 4][..], &[5, 6], &[7]]);
                engine.train_step(&batch, Targets::Classes(&[0, 1, 2]), step, 1e-3, &options);
            }
            let weights = engine.into_model().weights;
            assert_eq!(frozen_hash(&weights, &thawed), hash, "{mode}");
            let same = names(&table, |t| weights.tensor(t) == before.tensor(t));
            assert_eq!(same, names(&table, |t| !thawed.trains(t) || has_no_effect(t, &table)), "{mode}");
        }
    }
}

/// What the program tells before training is what it holds.
#[test]
fn parts_and_memory() {
    let model = five_blocks();
    let table = model.weights.table();
    for mode in MODES {
        let thawed = resolved(mode, table);
        let trained: usize = thawed.tensors().map(|tensor| tensor.range.len()).sum();
        let told = parts(table, &thawed, false);
        assert_eq!(told.iter().map(|part| part.trained).sum::<usize>(), trained, "{mode}");
        assert_eq!(told.iter().map(|part| part.parameters).sum::<usize>(), table.len(), "{mode}");
        assert!(told.iter().all(|part| part.trains == (part.trained > 0) && part.from_epoch.is_none()), "{mode}");
        let memory = TrainingMemory::estimate(&model.config, &thawed, &Recipe::default().step_options(), 8, 16);
        assert_eq!(memory.moments, 8 * trained, "{mode}");
        let more = if mode.contains("v_lin") || mode.contains("k_lin") { 4 * table.len() } else { 0 };
        assert!((4 * trained..=4 * trained + more).contains(&memory.gradients), "{mode}: {}", memory.gradients);
    }
    let gradual = parts(table, &resolved("embeddings+blocks:1,3", table), true);
    let epochs: Vec<Option<usize>> = gradual.iter().map(|part| part.from_epoch).collect();
    assert_eq!(epochs, [Some(4), None, Some(3), None, Some(2), None, Some(1)]);
}

/// A training of the bundled encoder on 16 rows, 2 steps an epoch; weights before and after, and what the cache did.
fn trained(recipe: &Recipe, memory: u64) -> (Parameters<f32>, Parameters<f32>, Option<CacheReport>) {
    let model = two_class_model();
    let recipe = Recipe {
        per_device_train_batch_size: 8,
        warmup_steps: 0.0,
        lr_scheduler_type: Scheduler::Constant,
        metric_for_best_model: distune::train::Metric::Loss,
        ..recipe.clone()
    };
    let (rows, before) = (reviews(0..16, 24, &model), model.weights.clone());
    let thawed = recipe.thawed(model.weights.table()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let cache = CacheLimits { limit: memory, memory };
    let storage = Storage { directory: directory.path().to_owned(), cache, checkpoints: None };
    let mut engine = Cpu::for_training(model, thawed, Precision::F32);
    let outcome = train(&mut engine, &rows, &rows, &recipe, &storage, &mut Silent).unwrap();
    // the rows judge themselves at a small rate, so that the last epoch is the best
    assert!(outcome.evaluations.last().unwrap().best, "{:?}", outcome.evaluations);
    (before, engine.into_model().weights, outcome.cache)
}

/// After each epoch of gradual unfreezing, exactly what has thawed by then has changed; the cache holds what lies below all of it.
#[test]
fn gradual_unfreezing_thaws_a_part_an_epoch() {
    let recipe = |num_train_epochs: usize| Recipe {
        unfreeze: unfreeze("blocks:3,5"),
        gradual_unfreezing: true,
        // by steps, since fewer epochs than parts are refused
        max_steps: 2 * num_train_epochs as i64,
        num_train_epochs: 3,
        learning_rate: 1e-5,
        ..Recipe::recommended()
    };
    let parts = [Group::Head, Group::Block(5), Group::Block(3)];
    for epochs in 1..=3 {
        let (before, after, cache) = trained(&recipe(epochs), u64::MAX);
        let table = before.table();
        let changed = names(table, |t| after.tensor(t) != before.tensor(t));
        let begun = |t: &Tensor| parts[..epochs].contains(&t.group) && !has_no_effect(t, table);
        assert_eq!(changed, names(table, begun), "{epochs} epochs");
        let cache = cache.unwrap();
        assert_eq!((cache.rows_computed, cache.rows_reused), (16, 16 * (epochs - 1)));
        // blocks 0 to 2 put out every token
        assert!(cache.memory > 16 * 384 * 2 * 8, "{cache:?}");
        let (_, without, _) = trained(&recipe(epochs), 0);
        let same = |t| after.tensor(t) == without.tensor(t);
        assert!(table.tensors().iter().all(same), "{epochs} epochs: the cache changes bits");
    }
    let refused = Recipe { max_steps: -1, num_train_epochs: 2, ..recipe(3) };
    let table = two_class_model().weights.table().clone();
    let message = refused.thawed(&table).unwrap_err().to_string();
    assert!(message.starts_with("recipe: num_train_epochs: expected 3 or more, since gradual_unfreezing"), "{message}");
}

/// Frozen blocks between thawed ones, and above them, run in every step; what is below is cached: the same bits with and without room.
#[test]
fn cache_below_the_lowest_tensor_that_trains() {
    for (mode, blocks) in [("blocks:2,", 2), ("*.layer.4.ffn.lin1.bias", 4), ("blocks:3,5", 3)] {
        let recipe =
            Recipe { unfreeze: unfreeze(mode), num_train_epochs: 2, learning_rate: 1e-5, ..Recipe::recommended() };
        let (before, after, cache) = trained(&recipe, u64::MAX);
        assert_eq!(cache.as_ref().map(|cache| (cache.rows_computed, cache.rows_reused)), Some((16, 16)), "{mode}");
        let (table, thawed) = (before.table(), recipe.thawed(before.table()).unwrap());
        assert_eq!(thawed.frozen_blocks(), blocks);
        let moved = names(table, |t| thawed.trains(t) && !has_no_effect(t, table));
        assert_eq!(names(table, |t| after.tensor(t) != before.tensor(t)), moved, "{mode}");
        let (_, without, _) = trained(&recipe, 0);
        assert!(table.tensors().iter().all(|t| after.tensor(t) == without.tensor(t)), "{mode}");
    }
}

/// The head has its own learning rate; the rest does not notice.
#[test]
fn head_learning_rate_moves_the_head_alone() {
    let moved = |head_learning_rate| {
        let model = five_blocks();
        let before = model.weights.clone();
        let recipe = Recipe { head_learning_rate, learning_rate: 1e-3, layer_decay: 0.5, ..Recipe::default() };
        let thawed = recipe.thawed(before.table()).unwrap();
        let mut engine = Cpu::for_training(model, thawed, Precision::F32);
        let batch = Batch::new([&[1, 2, 3][..], &[4, 5]]);
        engine.train_step(&batch, Targets::Classes(&[0, 1]), 1, recipe.learning_rate, &recipe.step_options());
        let after = engine.into_model().weights;
        // Adam's first step has the size of the learning rate
        [Group::Head, Group::Block(4), Group::Block(3)].map(|group| {
            let of_group = before.table().tensors().iter().filter(|t| t.group == group && t.is_linear());
            let pairs = of_group.flat_map(|t| before.tensor(t).iter().zip(after.tensor(t)));
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max)
        })
    };
    // differences of rounded weights: a part in a thousand
    let near = |got: [f32; 3], want: [f32; 3]| got.iter().zip(want).all(|(g, w)| (g / w - 1.0).abs() < 2e-3);
    let [without, with] = [moved(None), moved(Some(4e-3))];
    assert!(near(without, [1e-3, 1e-3, 5e-4]) && near(with, [4e-3, 1e-3, 5e-4]), "{without:?}, {with:?}");
}

#[test]
fn blocks_start_anew() {
    let anew = |blocks, seed| {
        let mut model = five_blocks();
        model.reinitialise_blocks(blocks, seed);
        model.weights
    };
    let (before, table) = (five_blocks().weights, five_blocks().weights.table().clone());
    let (one, two) = (anew(1, 7), anew(2, 7));
    assert_eq!(
        names(&table, |t| two.tensor(t) != before.tensor(t)),
        names(&table, |t| { matches!(t.group, Group::Block(3 | 4)) })
    );
    assert_eq!(one.block(4).q.weight, two.block(4).q.weight, "whatever the other blocks do");
    assert_ne!(two.block(3).q.weight, two.block(4).q.weight);
    assert_ne!(anew(1, 8).block(4).q.weight, one.block(4).q.weight, "another seed");
    assert!(one.block(4).lin1.bias.iter().chain(one.block(4).output_norm.beta).all(|&x| x == 0.0));
    assert!(one.block(4).attention_norm.gamma.iter().all(|&x| x == 1.0));
    let weights = one.block(4).lin1.weight;
    let deviation = (weights.iter().map(|x| x * x).sum::<f32>() / weights.len() as f32).sqrt();
    // 512 normal numbers of deviation 0.02: three standard errors are 0.0019
    assert!((deviation - 0.02).abs() < 0.0019, "{deviation}");

    let message = |unfreeze: &str, reinit_blocks| {
        let recipe = Recipe { unfreeze: unfreeze.parse().unwrap(), reinit_blocks, ..Recipe::default() };
        recipe.thawed(&table).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!((message("all", 5), message("blocks:2", 2), message("blocks:3,4", 1)), (Ok(()), Ok(()), Ok(())));
    for (unfreeze, blocks, says) in [
        ("all", 6, "reinit_blocks: expected at most the model's 5 blocks, found 6"),
        (
            "blocks:1",
            2,
            "found 2, with distilbert.transformer.layer.3.attention.q_lin.weight frozen by unfreeze = blocks:1",
        ),
        ("bias", 1, "layer.4.attention.q_lin.weight frozen by unfreeze = bias"),
    ] {
        let message = message(unfreeze, blocks).unwrap_err();
        assert!(message.contains(says), "{message}");
    }
}
