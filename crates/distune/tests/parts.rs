//! A batch computed in parts, to bound the memory, changes results by rounding only, dropout included; a cache of what
//! frozen blocks put out changes nothing wherever it is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Predict, Targets};
use distune::model::Model;
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Weights};
use distune::train::{CacheLimits, Outcome, Recipe, Storage, Unfreeze, train};
use distune_kernels::{LossOptions, Real, loss};
use support::training::*;
use support::*;

const LENGTHS: [usize; 7] = [5, 1, 30, 2, 17, 40, 9];
const LABELS: [u32; 7] = [0, 2, 1, 1, 0, 2, 2];

/// Loss and gradients of all sequences, computed in these parts.
fn gradients<T: Real>(weights: &Parameters<T>, model: &Model, parts: &[Batch], p: Precision) -> (f64, Parameters<T>) {
    let (mut a, mut scratch) = (Activations::new(p), Scratch::new(p));
    let mut gradients = Parameters::zeros(weights.table(), Group::Embeddings);
    let options = LossOptions { class_weights: vec![0.5, 1.0, 2.0], label_smoothing: 0.1, ..LossOptions::default() };
    let total_weight = options.total_weight(Targets::Classes(&LABELS));
    let thawed = Thawed::from(weights.table(), Group::Embeddings);
    let mut sum = 0.0;
    for (i, batch) in parts.iter().enumerate() {
        let thawed = Some(&thawed);
        let pass = Pass { thawed, dropout: Some(DROPOUT), accumulate: i > 0, ..Pass::inference(&model.config, batch) };
        forward(&mut a, Weights::Ready(weights), pass);
        let mut dlogits = vec![T::ZERO; a.logits.len()];
        let labels = &LABELS[batch.sequences_before..][..batch.sequences()];
        sum += loss(&mut dlogits, &a.logits, Targets::Classes(labels), &options, total_weight);
        backward(&mut gradients, &mut scratch, &dlogits, &a, weights, pass);
    }
    (sum, gradients)
}

fn compare<T: Real>(weights: &Parameters<T>, model: &Model, precision: Precision, tolerance: f64) {
    let vocabulary = model.config.vocab_size;
    let sequences: Vec<Vec<u32>> =
        LENGTHS.iter().map(|&n| (0..n).map(|i| ((i * 7 + n) % vocabulary) as u32).collect()).collect();
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let split = |rows, tokens| gradients(weights, model, &Batch::parts(&sequences, rows, tokens), precision);
    let (want_loss, want) = split(7, usize::MAX);
    for (rows, tokens) in [(7, 40), (3, usize::MAX), (1, 1)] {
        let (got_loss, got) = split(rows, tokens);
        assert!((got_loss - want_loss).abs() <= tolerance, "loss {got_loss}, not {want_loss}");
        for tensor in weights.table().tensors() {
            // key biases have no gradient but rounding noise (parity.rs): measured against the query biases
            let twin = tensor.name.replace("k_lin.bias", "q_lin.bias");
            let twin = weights.table().tensors().iter().find(|t| t.name == twin).unwrap();
            let largest = want.tensor(twin).iter().fold(0.0_f64, |m, x| m.max(x.to_f64().abs()));
            for (got, want) in got.tensor(tensor).iter().zip(want.tensor(tensor)) {
                let difference = (got.to_f64() - want.to_f64()).abs();
                assert!(
                    difference <= tolerance * largest,
                    "{} at {rows} rows, {tokens} tokens: {difference}",
                    tensor.name
                );
            }
        }
    }
}

/// Buffers that have been used, by larger and smaller batches and for other tensors, give the bits of new ones.
#[test]
fn used_buffers_are_as_good_as_new() {
    fn gradients(
        a: &mut Activations<f32>,
        s: &mut Scratch<f32>,
        model: &Model,
        batch: &Batch,
        thawed: &Thawed,
    ) -> Vec<u32> {
        let mut gradients = Parameters::zeros_where(model.weights.table(), |tensor| thawed.has_gradient(tensor));
        let thawed = Some(thawed);
        let pass = Pass { thawed, dropout: Some(DROPOUT), ..Pass::inference(&model.config, batch) };
        forward(a, Weights::Ready(&model.weights), pass);
        let dlogits: Vec<f32> = a.logits.iter().map(|logit| logit - 0.5).collect();
        backward(&mut gradients, s, &dlogits, a, &model.weights, pass);
        let tensors = model.weights.table().tensors().iter();
        tensors.flat_map(|tensor| gradients.tensor(tensor)).map(|x| x.to_bits()).collect()
    }
    let model = tiny();
    let sequences: Vec<Vec<u32>> = LENGTHS.iter().map(|&n| (0..n).map(|i| (i * 5 + n) as u32 % 30).collect()).collect();
    for precision in [Precision::F32, Precision::Bf16] {
        let (mut a, mut s) = (Activations::new(precision), Scratch::new(precision));
        for (unfreeze, rows) in [
            ("all", 2..6),
            ("blocks:1", 0..7),
            ("all", 0..2),
            ("bias", 1..4),
            ("blocks:1", 3..5),
            ("all", 0..7),
            ("head", 5..7),
            ("*.k_lin.weight", 0..3),
            ("all", 4..7),
        ] {
            let batch: Vec<&[u32]> = sequences[rows.clone()].iter().map(Vec::as_slice).collect();
            let batch = Batch::new(batch);
            let thawed = unfreeze.parse::<Unfreeze>().unwrap().resolve(model.weights.table()).unwrap();
            let got = gradients(&mut a, &mut s, &model, &batch, &thawed);
            let (mut a, mut s) = (Activations::new(precision), Scratch::new(precision));
            let want = gradients(&mut a, &mut s, &model, &batch, &thawed);
            assert!(want.iter().any(|bits| *bits != 0));
            assert!(got == want, "{precision:?}, {unfreeze}, rows {rows:?}");
        }
    }
}

/// In f64 the parts' gradients are the whole's: the dropout is that of the whole batch, the loss is divided by its weight.
#[test]
fn parts_have_the_gradient_of_the_whole() {
    let model = tiny();
    compare(&in_f64(&model), &model, Precision::F32, 1e-12);
}

/// The bound that the documents state: 1e-5 of a tensor's largest gradient. Sums over tokens are made in another order; the
/// rounding of operands to bf16 is the same.
#[test]
fn parts_change_rounding_only() {
    let model = tiny();
    compare(&model.weights, &model, Precision::F32, 1e-5);
    compare(&model.weights, &model, Precision::Bf16, 1e-5);
}

/// The bytes of the trained weights, and what the training told.
fn two_epochs(unfreeze: &Unfreeze, storage: &Storage) -> (Vec<u8>, Outcome) {
    epochs(2, unfreeze, true, storage)
}

fn epochs(num_train_epochs: usize, unfreeze: &Unfreeze, cache_frozen: bool, storage: &Storage) -> (Vec<u8>, Outcome) {
    let recipe = Recipe {
        unfreeze: unfreeze.clone(),
        cache_frozen,
        num_train_epochs,
        per_device_train_batch_size: 16,
        ..Recipe::recommended()
    };
    trained(&recipe, storage)
}

fn trained(recipe: &Recipe, storage: &Storage) -> (Vec<u8>, Outcome) {
    let model = two_class_model();
    let (rows, validation) = (reviews(0..48, 64, &model), reviews(0..8, 64, &model));
    let thawed = recipe.thawed(model.weights.table()).unwrap();
    let mut engine = Cpu::for_training(model, thawed, Precision::F32);
    let outcome = train(&mut engine, &rows, &validation, recipe, storage, &mut Silent).unwrap();
    let mut weights = Vec::new();
    engine.write_trained(&mut weights).unwrap();
    (weights, outcome)
}

#[test]
fn the_cache_changes_no_bit_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let with = |limit, memory| Storage {
        directory: directory.path().to_owned(),
        cache: CacheLimits { limit, memory },
        checkpoints: None,
    };
    for unfreeze in [&Unfreeze::head(), &Unfreeze::blocks(1)] {
        let (want, in_memory) = two_epochs(unfreeze, &with(u64::MAX, u64::MAX));
        let report = in_memory.cache.unwrap();
        assert_eq!((report.rows_computed, report.rows_reused, report.file), (48, 48, 0));
        let size = report.memory;

        let (in_file, outcome) = two_epochs(unfreeze, &with(u64::MAX, 0));
        let report = outcome.cache.unwrap();
        assert_eq!((report.rows_reused, report.memory, report.file), (48, 0, size));
        assert_eq!(in_file, want, "{unfreeze}: in a file");

        let (in_both, outcome) = two_epochs(unfreeze, &with(size * 2 / 3, size / 3));
        let report = outcome.cache.unwrap();
        assert!(report.memory > 0 && report.file > 0 && report.memory + report.file <= size * 2 / 3, "{report:?}");
        assert!((1..48).contains(&report.rows_reused) && report.rows_computed > 48, "{report:?}");
        assert_eq!(in_both, want, "{unfreeze}: a third in memory, a third in a file, a third nowhere");

        let (without, outcome) = epochs(2, unfreeze, false, &with(u64::MAX, u64::MAX));
        assert_eq!(outcome.cache, None);
        assert_ne!(without, want, "without a cache, frozen blocks have dropout");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the file has no name");
    let (_, outcome) = epochs(1, &Unfreeze::head(), true, &with(u64::MAX, u64::MAX));
    assert_eq!(outcome.cache.unwrap().memory, 0, "a single epoch keeps nothing");
    // nothing frozen, nothing to keep
    assert_eq!(two_epochs(&Unfreeze::all(), &with(u64::MAX, u64::MAX)).1.cache, None);
}

/// R-Drop's second pass of a row takes what the cache has of it, or what the first pass computed: no bit depends on which.
#[test]
fn r_drop_with_a_cache() {
    let directory = tempfile::tempdir().unwrap();
    let storage = |limit, memory| Storage {
        directory: directory.path().to_owned(),
        cache: CacheLimits { limit, memory },
        checkpoints: None,
    };
    let recipe = Recipe {
        unfreeze: Unfreeze::blocks(1),
        num_train_epochs: 2,
        per_device_train_batch_size: 16,
        r_drop: 2.0,
        ..Recipe::recommended()
    };
    let (want, outcome) = trained(&recipe, &storage(u64::MAX, u64::MAX));
    let size = outcome.cache.unwrap().memory;
    let (got, outcome) = trained(&recipe, &storage(size / 2, size / 4));
    let report = outcome.cache.unwrap();
    assert!(report.memory > 0 && report.file > 0 && report.rows_computed > 48, "{report:?}");
    assert!(got == want);
    let (without, _) = trained(&Recipe { r_drop: 0.0, ..recipe }, &storage(u64::MAX, u64::MAX));
    assert!(without != want, "R-Drop changes the training");
}

/// Layer-wise decay leaves the head's steps as they are and shrinks those below, more with each block.
#[test]
fn layer_decay_slows_lower_blocks() {
    let moved = |layer_decay| {
        let model = two_class_model();
        let before = model.weights.clone();
        let thawed = Thawed::from(model.weights.table(), Group::Embeddings);
        let mut engine = Cpu::for_training(model, thawed, Precision::F32);
        let batch = Batch::new([&[101, 2023, 102][..], &[101, 102]]);
        let options = Recipe { layer_decay, weight_decay: 0.0, ..Recipe::recommended() }.step_options();
        engine.train_step(&batch, Targets::Classes(&[0, 1]), 1, 1e-3, &options);
        let after = engine.into_model().weights;
        // Adam's first step has the size of the learning rate wherever the gradient is not zero
        move |group| {
            let pairs = before.from(group).iter().zip(after.from(group)).take(100_000);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max)
        }
    };
    let (even, decayed) = (moved(1.0), moved(0.5));
    for (group, factor) in
        [(Group::Head, 1.0), (Group::Block(5), 1.0), (Group::Block(4), 0.5), (Group::Block(0), 0.03125)]
    {
        let ratio = decayed(group) / even(group);
        // differences of rounded weights: a part in a thousand of a step of 1e-3
        assert!((ratio - factor).abs() < 0.002, "{group}: {ratio}, not {factor}");
    }
}

/// Weights of linear layers wait for their step until something reads them: reading them early must change no bit.
#[test]
fn a_step_that_waits_is_the_step_made_at_once() {
    for unfreeze in ["head", "blocks:2", "all", "blocks:0,4", "bias", "*.v_lin.*+*.2.ffn.lin1.weight"] {
        let unfreeze: Unfreeze = unfreeze.parse().unwrap();
        let run = |read: bool| {
            let model = two_class_model();
            let thawed = unfreeze.resolve(model.weights.table()).unwrap();
            let mut engine = Cpu::for_training(model, thawed, Precision::F32);
            let (batch, options) =
                (Batch::new([&[101, 2023, 102][..], &[101, 102]]), Recipe::recommended().step_options());
            for step in 1..=3 {
                engine.train_step(&batch, Targets::Classes(&[0, 1]), step, 1e-3, &options);
                if read {
                    engine.logits(&batch);
                    engine.model();
                }
            }
            let mut weights = Vec::new();
            engine.write_trained(&mut weights).unwrap();
            let logits: Vec<u32> = engine.logits(&batch).iter().map(|x| x.to_bits()).collect();
            (weights, logits, engine.into_model().weights.from(Group::Embeddings).to_vec())
        };
        assert!(run(true) == run(false), "{unfreeze}");
    }
}
