//! What an engine gives out of itself and takes back, and trainings that go on from it: to the same bits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use distune::Error;
use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Targets};
use distune::train::{
    CacheLimits, Checkpoints, Metric, Observer, Optimizer, Origin, Outcome, Recipe, StepRecord, Storage, Unfreeze,
    checkpoint_steps, train,
};
use support::training::*;

fn state(engine: &mut Cpu) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.write_state(&mut bytes).unwrap();
    bytes
}

/// One step of a batch that differs from step to step.
fn step(engine: &mut Cpu, recipe: &Recipe, step: u64) {
    let ids: Vec<u32> = (0..6).map(|i| 1000 + 13 * i + step as u32).collect();
    let batch = Batch::new([&ids[..], &ids[2..4]]);
    engine.train_step(&batch, Targets::Classes(&[0, 1]), step, 1e-3, &recipe.step_options());
}

/// Recipes, with how many arrays as large as the weights their optimizers keep.
fn recipes() -> Vec<(Recipe, usize)> {
    let recipe = |unfreeze: &str| Recipe { unfreeze: unfreeze.parse().unwrap(), ..Recipe::recommended() };
    let sgd = |momentum| Recipe { optim: Optimizer::Sgd, momentum, weight_decay: 0.0, ..recipe("blocks:1") };
    vec![
        (recipe("head"), 2),
        (recipe("blocks:2"), 2),
        (recipe("bias"), 2),
        (recipe("all"), 2),
        (Recipe { ema_decay: 0.9, ..recipe("blocks:1") }, 3),
        (Recipe { ema_decay: 0.9, ..sgd(0.0) }, 1),
        (sgd(0.0), 0),
        (sgd(0.9), 1),
        (Recipe { lora_rank: 2, ..recipe("all") }, 2),
    ]
}

#[test]
fn a_state_that_is_read_back_goes_on_to_the_same_bits() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (recipe, kept) in recipes() {
            let engine = || {
                let model = recipe.adapt(two_class_model()).unwrap();
                let thawed = recipe.thawed(model.weights.table()).unwrap();
                Cpu::for_training(model, thawed, precision)
            };
            let (mut whole, mut first) = (engine(), engine());
            (1..=5).for_each(|i| step(&mut whole, &recipe, i));
            // writing it makes the step that waits, which must change nothing
            (1..=3).for_each(|i| {
                step(&mut first, &recipe, i);
                state(&mut first);
            });
            let bytes = state(&mut first);
            let mut second = engine();
            // something that waits in the engine which reads is forgotten
            step(&mut second, &recipe, 1);
            second.read_state(&mut &bytes[..]).unwrap();
            assert!(state(&mut second) == bytes, "{recipe:?}: what is read is what was written");
            let mut trained = Vec::new();
            second.write_trained(&mut trained).unwrap();
            // three bytes say what is kept
            assert_eq!(bytes.len(), 3 + trained.len() * (1 + kept), "{recipe:?}");
            (4..=5).for_each(|i| step(&mut second, &recipe, i));
            assert!(state(&mut second) == state(&mut whole), "{recipe:?} in {precision}");
            assert!(second.read_state(&mut &bytes[..bytes.len() - 1]).is_err(), "{recipe:?}: a byte is missing");
        }
    }
}

/// Stops after some steps of its process.
struct Stopping {
    left: usize,
    resumed: Option<usize>,
}

impl Observer for Stopping {
    fn step(&mut self, _record: &StepRecord, _rows: usize, _total_rows: usize) {
        self.left -= 1;
    }

    fn resumed(&mut self, _checkpoint: &Path, step: usize, _rows: usize, _total_rows: usize) {
        self.resumed = Some(step);
    }

    fn stop_requested(&self) -> bool {
        self.left == 0
    }
}

/// Trains in a process that ends after so many steps; returns the trained weights, the outcome, and where it began.
fn some_steps(
    recipe: &Recipe,
    directory: &Path,
    checkpoints: bool,
    steps: usize,
) -> Result<(Vec<u8>, Outcome, Option<usize>), Error> {
    let model = two_class_model();
    let (rows, validation) = (reviews(0..22, 32, &model), reviews(22..34, 32, &model));
    let splits = [("train", &rows), ("validation", &validation)];
    let origin = Origin::new(&model, Precision::F32, &[], &splits, recipe);
    let storage = Storage {
        directory: directory.to_owned(),
        cache: CacheLimits { limit: u64::MAX, memory: 1000 },
        checkpoints: checkpoints.then(|| Checkpoints { directory: directory.to_owned(), origin }),
    };
    let thawed = recipe.thawed(model.weights.table()).unwrap();
    let mut engine = Cpu::for_training(model, thawed, Precision::F32);
    let mut observer = Stopping { left: steps, resumed: None };
    let outcome = train(&mut engine, &rows, &validation, recipe, &storage, &mut observer)?;
    let mut weights = Vec::new();
    engine.write_trained(&mut weights).unwrap();
    Ok((weights, outcome, observer.resumed))
}

/// Steps, evaluations and which of them was best, without times.
fn records(outcome: &Outcome) -> String {
    let evaluations = outcome.evaluations.iter().map(|e| {
        let validation = (e.validation.loss, &e.validation.metrics);
        format!("{} {} {} {} {validation:?}\n", e.epoch, e.step, e.train_loss, e.best)
    });
    let cache = outcome.cache.as_ref().map(|cache| cache.rows_computed > 0);
    format!("{:#?}\n{}{} {cache:?}", outcome.steps, evaluations.collect::<String>(), outcome.stopped_early)
}

#[test]
fn a_training_in_many_processes_is_the_training_in_one() {
    let recipe = Recipe {
        num_train_epochs: 3,
        per_device_train_batch_size: 5,
        // high, so that the last weights are not the best
        learning_rate: 5e-3,
        metric_for_best_model: Metric::Loss,
        ..Recipe::recommended()
    };
    let mut best_before_the_end = 0;
    for (recipe, lives) in [
        (Recipe { unfreeze: Unfreeze::blocks(1), ..recipe.clone() }, [1, 1, 3, 5, 2]),
        (Recipe { unfreeze: Unfreeze::blocks(2), gradual_unfreezing: true, ..recipe.clone() }, [3, 4, 1, 3, 1]),
        (Recipe { unfreeze: Unfreeze::head(), eval_steps: 4, r_drop: 1.0, ..recipe.clone() }, [4, 1, 1, 2, 4]),
        (Recipe { unfreeze: Unfreeze::all(), eval_steps: 2, save_steps: 3, ..recipe }, [2, 2, 5, 1, 1]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (want, whole, _) = some_steps(&recipe, directory.path(), false, usize::MAX).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "no checkpoints where none are wanted");
        best_before_the_end += usize::from(whole.best().unwrap().step < whole.steps.len());
        let mut done = 0;
        for steps in lives {
            let message = some_steps(&recipe, directory.path(), true, steps).unwrap_err().to_string();
            done += steps;
            let expected = format!("interrupted after step {done} of 15; saved in ");
            assert!(message.starts_with(&expected), "{message}, expected {expected}");
            assert_eq!(checkpoint_steps(directory.path())[0], done);
        }
        let (got, outcome, resumed) = some_steps(&recipe, directory.path(), true, usize::MAX).unwrap();
        assert_eq!(resumed, Some(12.min(done)));
        assert_eq!(records(&outcome), records(&whole));
        assert!(got == want, "{}", recipe.unfreeze);
        assert!(checkpoint_steps(directory.path()).len() <= 2, "save_total_limit");
    }
    assert!(best_before_the_end > 0, "the best weights of one at least come from a checkpoint");
}
