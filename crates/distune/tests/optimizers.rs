//! SGD, the moving average of the weights and the dropout of a training, in the engine: what moves, what readers find, what is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Predict, StepOptions, StepPart, Targets};
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::kept::Kept;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Weights};
use distune::model::{Config, Model};
use distune::train::{Optimizer, Recipe, TrainingMemory, Unfreeze, frozen_hash};
use distune_kernels::loss;
use support::*;

/// What trains: everything, whole blocks, and tensors here and there, some of which never wait for their step.
const MODES: [&str; 4] = ["all", "blocks:1", "bias+blocks:1", "*.attention.v_lin.*"];
const RATE: f64 = 0.02;

/// The tiny model's sequences and labels, as one batch.
fn batch_of_all() -> (Batch, Vec<u32>) {
    let cases = json(&fixture("tiny/cases.json"));
    (batch(&sequences(&cases["sequences"])), floats(&cases["labels"]).into_iter().map(|x| x as u32).collect())
}

fn thawed(mode: &str, model: &Model) -> Thawed {
    mode.parse::<Unfreeze>().unwrap().resolve(model.weights.table()).unwrap()
}

fn sgd(momentum: f64) -> Recipe {
    Recipe { optim: Optimizer::Sgd, momentum, ..Recipe::default() }
}

fn averaged(recipe: Recipe) -> Recipe {
    Recipe { ema_decay: 0.9, ..recipe }
}

/// The dropout does not matter here.
fn options(recipe: &Recipe) -> StepOptions {
    let zero = Some(0.0);
    let recipe = Recipe { dropout: zero, attention_dropout: zero, seq_classif_dropout: zero, ..recipe.clone() };
    recipe.check().unwrap();
    recipe.step_options()
}

/// A step goes down the gradient, and no further than the learning rate says.
#[test]
fn sgd_moves_against_the_gradient() {
    let (model, (batch, labels)) = (tiny(), batch_of_all());
    let options = options(&Recipe { max_grad_norm: 0.0, ..sgd(0.9) });
    let targets = Targets::Classes(&labels);
    let all = Thawed::from(model.weights.table(), Group::Embeddings);
    let pass = Pass { thawed: Some(&all), ..Pass::inference(&model.config, &batch) };
    let mut a = Activations::default();
    forward(&mut a, Weights::Ready(&model.weights), pass);
    let mut dlogits = vec![0.0; a.logits.len()];
    loss(&mut dlogits, &a.logits, targets, &options.loss, labels.len() as f64);
    let mut gradients = Parameters::zeros(model.weights.table(), Group::Embeddings);
    backward(&mut gradients, &mut Scratch::default(), &dlogits, &a, &model.weights, pass);

    let before = model.weights.clone();
    let mut engine = Cpu::for_training(model, all.clone(), Precision::F32);
    engine.train_step(&batch, targets, 1, RATE, &options);
    let after = engine.into_model().weights;
    for tensor in before.table().tensors() {
        let want: Vec<f32> =
            before.tensor(tensor).iter().zip(gradients.tensor(tensor)).map(|(w, g)| w - RATE as f32 * g).collect();
        // one rounding of a weight of up to 1
        assert_close(&tensor.name, after.tensor(tensor), &want, 1.2e-7);
    }
    assert!(gradients.from(Group::Embeddings).iter().any(|g| g.abs() > 0.01), "something moves");
}

#[test]
fn what_an_optimizer_keeps() {
    let model = tiny();
    let thawed = thawed("bias+blocks:1", &model);
    let trained: usize = thawed.tensors().map(|tensor| tensor.range.len()).sum();
    for (recipe, arrays) in [
        (Recipe::default(), [true, true, false]),
        (averaged(Recipe::default()), [true, true, true]),
        (sgd(0.9), [true, false, false]),
        (averaged(sgd(0.0)), [false, false, true]),
        (sgd(0.0), [false; 3]),
    ] {
        let options = recipe.step_options();
        let kept = Kept::new(&model.weights, &thawed, options.optimizer.moments(), options.ema_decay > 0.0);
        let sizes = [&kept.first_moments, &kept.second_moments, &kept.average].map(|p| p.from(Group::Embeddings).len());
        assert_eq!(sizes, arrays.map(|there| if there { trained } else { 0 }));
        let estimate = TrainingMemory::estimate(&model.config, &thawed, &options, 8, 16).moments;
        assert_eq!(estimate, size_of::<f32>() * sizes.iter().sum::<usize>());
    }
}

/// The losses of some steps; after each, what readers of the weights found.
fn steps(recipe: &Recipe, mode: &str, read: bool) -> (Vec<u64>, Vec<Vec<f32>>, Model) {
    let (model, (batch, labels)) = (tiny(), batch_of_all());
    let thawed = thawed(mode, &model);
    let hash = frozen_hash(&model.weights, &thawed);
    let mut engine = Cpu::for_training(model, thawed.clone(), Precision::F32);
    let (mut losses, mut found) = (Vec::new(), Vec::new());
    for step in 1..=4 {
        let outcome = engine.train_step(&batch, Targets::Classes(&labels), step, RATE, &options(recipe));
        losses.push(outcome.loss.to_bits());
        if read {
            engine.logits(&batch);
            found.push(engine.model().weights.from(Group::Embeddings).to_vec());
        }
    }
    let model = engine.into_model();
    assert_eq!(frozen_hash(&model.weights, &thawed), hash, "{mode}: what is frozen does not change");
    (losses, found, model)
}

/// Readers find the average of the weights after each step, with the decay of that step; training goes on from the weights, whether
/// somebody reads or not.
#[test]
fn readers_find_the_average() {
    for (recipe, mode) in [Recipe::default(), sgd(0.9), sgd(0.0)].iter().flat_map(|r| MODES.map(|mode| (r, mode))) {
        let (losses, raw, _) = steps(recipe, mode, true);
        let averaged = averaged(recipe.clone());
        let (with_average, found, model) = steps(&averaged, mode, true);
        assert_eq!(with_average, losses, "{mode}: training itself is as without an average");
        let (unread, _, unread_model) = steps(&averaged, mode, false);
        assert_eq!(unread, losses, "{mode}");
        let all = |model: &Model| model.weights.from(Group::Embeddings).to_vec();
        assert!(
            all(&model) == all(&unread_model) && Some(&all(&model)) == found.last(),
            "{mode}: reading changes no bit"
        );

        let mut want: Vec<f64> = tiny().weights.from(Group::Embeddings).iter().map(|&w| f64::from(w)).collect();
        for (step, (raw, found)) in (1..).zip(raw.iter().zip(&found)) {
            let decay = (1.0 + f64::from(step)) / (10.0 + f64::from(step));
            want.iter_mut().zip(raw).for_each(|(want, &w)| *want = decay * *want + (1.0 - decay) * f64::from(w));
            let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            // four roundings of weights of up to 1.5
            assert_close(&format!("{mode}, step {step}"), found, &want, 5e-7);
        }
        assert!(raw.last() != found.last(), "{mode}");
    }
}

/// The best weights are kept and put back while the training's own weights stay what they are.
#[test]
fn averages_are_written_and_read() {
    let ((batch, labels), options) = (batch_of_all(), options(&averaged(Recipe::default())));
    let targets = Targets::Classes(&labels);
    let run = |read_back: bool| {
        let model = tiny();
        let thawed = thawed("blocks:1", &model);
        let mut engine = Cpu::for_training(model, thawed, Precision::F32);
        let step = |engine: &mut Cpu, number| engine.train_step(&batch, targets, number, RATE, &options).loss.to_bits();
        step(&mut engine, 1);
        step(&mut engine, 2);
        let (mut written, logits) = (Vec::new(), engine.logits(&batch).to_vec());
        engine.write_trained(&mut written).unwrap();
        step(&mut engine, 3);
        if read_back {
            engine.read_trained(&mut written.as_slice()).unwrap();
            assert!(engine.logits(&batch) == logits);
            let mut again = Vec::new();
            engine.write_trained(&mut again).unwrap();
            assert!(again == written);
        }
        step(&mut engine, 4)
    };
    assert_eq!(run(true), run(false), "training goes on from its own weights");
}

/// Reading between the parts of a step changes nothing either.
#[test]
fn averages_are_read_within_a_step() {
    let ((batch, labels), options) = (batch_of_all(), options(&averaged(sgd(0.9))));
    let targets = Targets::Classes(&labels);
    let run = |read: bool| {
        let model = tiny();
        let thawed = thawed("all", &model);
        let mut engine = Cpu::for_training(model, thawed, Precision::F32);
        for step in 1..=3 {
            for _ in 0..2 {
                let total_weight = 2.0 * labels.len() as f64;
                engine.accumulate(StepPart { batch: &batch, frozen: None, targets, total_weight }, step, &options);
                if read {
                    engine.model();
                }
            }
            engine.update(step, RATE, &options);
        }
        engine.into_model().weights.from(Group::Embeddings).to_vec()
    };
    assert!(run(true) == run(false));
}

/// A recipe's dropout is used as if it were the model's own.
#[test]
fn dropout_of_the_recipe() {
    let (batch, labels) = batch_of_all();
    let run = |config: &dyn Fn(&mut Config), recipe: Recipe| {
        let mut model = tiny();
        config(&mut model.config);
        let thawed = thawed("all", &model);
        let mut engine = Cpu::for_training(model, thawed, Precision::F32);
        let options = recipe.step_options();
        for step in 1..=2 {
            engine.train_step(&batch, Targets::Classes(&labels), step, RATE, &options);
        }
        engine.into_model().weights.from(Group::Embeddings).to_vec()
    };
    let none = Recipe::default();
    let own = run(&|_| (), none.clone());
    let rate = Some(0.35);
    type Change = fn(&mut Config);
    let changes: [(Change, Recipe); 3] = [
        (|c| c.dropout = 0.35, Recipe { dropout: rate, ..none.clone() }),
        (|c| c.attention_dropout = 0.35, Recipe { attention_dropout: rate, ..none.clone() }),
        (|c| c.seq_classif_dropout = 0.35, Recipe { seq_classif_dropout: rate, ..none.clone() }),
    ];
    for (change, recipe) in changes {
        let want = run(&change, none.clone());
        assert!(run(&|_| (), recipe) == want && want != own);
    }
}
