//! A training with low-rank adapters does all that others do: it may be computed in parts, by any number of threads, with the cache of
//! frozen blocks, it keeps its best weights; and it ends in weights that say the same without adapters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use distune::data::Batch;
use distune::engine::{Cpu, Engine, Precision, Predict, Targets};
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Tensor, Weights};
use distune::model::{Model, ModelFiles, save};
use distune::train::{
    CacheLimits, LoraTargets, Optimizer, Outcome, Recipe, Storage, TrainingMemory, frozen_hash, parts, train,
};
use distune_kernels::{LossOptions, loss};
use support::training::*;
use support::*;

const BOTH: [LoraTargets; 2] = [LoraTargets::QueryValue, LoraTargets::AllLinear];

fn recipe(unfreeze: &str, lora_targets: LoraTargets) -> Recipe {
    Recipe {
        unfreeze: unfreeze.parse().unwrap(),
        lora_rank: 8,
        lora_targets,
        num_train_epochs: 2,
        per_device_train_batch_size: 16,
        learning_rate: 1e-3,
        ..Recipe::recommended()
    }
}

fn engine(recipe: &Recipe, precision: Precision) -> Cpu {
    let model = recipe.adapt(two_class_model()).unwrap();
    let thawed = recipe.thawed(model.weights.table()).unwrap();
    Cpu::for_training(model, thawed, precision)
}

/// A few steps on texts of several lengths.
fn steps(engine: &mut Cpu, recipe: &Recipe, numbers: std::ops::RangeInclusive<u64>) {
    let sequences: Vec<Vec<u32>> =
        [3, 40, 17, 2, 61].iter().map(|&n| (0..n).map(|i| 1000 + (i * 77 + n) % 20_000).collect()).collect();
    for step in numbers {
        engine.train_step(&batch(&sequences), Targets::Classes(&[0, 1, 1, 0, 1]), step, 1e-3, &recipe.step_options());
    }
}

fn trained_bytes(engine: &mut Cpu) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine.write_trained(&mut bytes).unwrap();
    bytes
}

/// New adapters change nothing: B is zero. A is uniform between plus and minus one over the root of its width, and the seed's.
#[test]
fn new_adapters() {
    let recipe = recipe("blocks:2", LoraTargets::AllLinear);
    let (base, model) = (two_class_model(), recipe.adapt(two_class_model()).unwrap());
    for tensor in model.weights.table().tensors().iter().filter(|tensor| tensor.is_adapter()) {
        let (values, width) = (model.weights.tensor(tensor), tensor.shape[1] as f64);
        assert_eq!(tensor.shape[0], 8);
        if tensor.name.contains("lora_B") {
            assert!(values.iter().all(|x| *x == 0.0), "{}", tensor.name);
            continue;
        }
        let largest = values.iter().fold(0.0_f64, |m, x| m.max(f64::from(x.abs())));
        let variance = values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64;
        assert!(largest <= width.sqrt().recip() && largest > 0.99 * width.sqrt().recip(), "{}: {largest}", tensor.name);
        // five standard errors of 3,072 squares of a uniform distribution
        assert!((variance * 3.0 * width - 1.0).abs() < 0.09, "{}: {variance}", tensor.name);
    }
    let adapters = |seed| {
        let model = Recipe { seed, ..recipe.clone() }.adapt(two_class_model()).unwrap();
        model.weights.from(Group::Block(4)).to_vec()
    };
    assert!(adapters(42) == model.weights.from(Group::Block(4)), "42 is the default seed");
    assert!(adapters(43) != adapters(42));
    let batch = Batch::new([&[101, 2023, 2003, 102][..], &[101, 102]]);
    let logits = |model| Cpu::new(model, Precision::F32).logits(&batch).to_vec();
    // with adapters the last block forms keys and values, without them it does not: the same sums in another order
    for (adapted, alone) in logits(model).into_iter().zip(logits(base)) {
        assert!((adapted - alone).abs() < 1e-6, "{adapted}, not {alone}");
    }
}

/// The table and the estimate count adapters and head alone; so do the weights that are kept.
#[test]
fn gradients_and_moments_of_adapters_and_head_alone() {
    let (d, f, head) = (384, 1536, 384 * 385 + 2 * 385);
    for (targets, of_a_block) in
        [(LoraTargets::QueryValue, 2 * 8 * 2 * d), (LoraTargets::AllLinear, 4 * 8 * 2 * d + 2 * 8 * (d + f))]
    {
        for (unfreeze, blocks) in [("all", 6), ("blocks:2", 2), ("blocks:0,3,4", 3)] {
            let recipe = recipe(unfreeze, targets);
            let config = two_class_model().config;
            let table = recipe.table(&config).unwrap();
            let thawed = recipe.thawed(&table).unwrap();
            let trained = blocks * of_a_block + head;
            let memory = TrainingMemory::estimate(&config, &thawed, &recipe.step_options(), 32, 64);
            assert_eq!((memory.gradients, memory.moments), (4 * trained, 8 * trained), "{unfreeze}");
            assert_eq!(memory.weights, 4 * (Table::new(&config).len() + blocks * of_a_block));
            let full = Thawed::from(&Arc::new(Table::new(&config)), thawed.lowest());
            let full = TrainingMemory::estimate(&config, &full, &recipe.step_options(), 32, 64);
            // s · x · Aᵀ and s · dy · B, which are small beside what every training keeps
            let more = memory.activations - full.activations;
            assert!(more > 0 && more < full.activations / 10, "{more} of {}", full.activations);
            let told: usize = parts(&table, &thawed, false).iter().map(|part| part.trained).sum();
            assert_eq!(told, trained);
            assert_eq!(trained_bytes(&mut engine(&recipe, Precision::F32)).len(), 4 * trained);
        }
    }
}

/// Loss and gradients of what trains, computed in these parts.
fn gradients(weights: &Parameters<f64>, model: &Model, parts: &[Batch], labels: &[u32]) -> Parameters<f64> {
    let (mut a, mut scratch) = (Activations::default(), Scratch::default());
    let thawed = Thawed::new(weights.table(), Tensor::is_adapter);
    let mut gradients = Parameters::zeros_where(weights.table(), |tensor| thawed.has_gradient(tensor));
    for (i, batch) in parts.iter().enumerate() {
        let (thawed, dropout, accumulate) = (Some(&thawed), Some(DROPOUT), i > 0);
        let pass = Pass { thawed, dropout, accumulate, ..Pass::inference(&model.config, batch) };
        forward(&mut a, Weights::Ready(weights), pass);
        let mut dlogits = vec![0.0; a.logits.len()];
        let targets = Targets::Classes(&labels[batch.sequences_before..][..batch.sequences()]);
        loss(&mut dlogits, &a.logits, targets, &LossOptions::default(), labels.len() as f64);
        backward(&mut gradients, &mut scratch, &dlogits, &a, weights, pass);
    }
    gradients
}

#[test]
fn parts_have_the_gradient_of_the_whole() {
    for targets in BOTH {
        let model = Recipe { lora_rank: 5, ..recipe("blocks:2", targets) }.adapt(tiny()).unwrap();
        let mut weights = Parameters::zeros(model.weights.table(), Group::Embeddings);
        for tensor in model.weights.table().tensors() {
            let values = model.weights.tensor(tensor).iter().map(|&x| f64::from(x)).enumerate();
            // B too, so that A has a gradient
            let values = values.map(|(i, x)| if x == 0.0 { (i % 13) as f64 / 100.0 - 0.05 } else { x });
            weights.tensor_mut(tensor).iter_mut().zip(values).for_each(|(w, x)| *w = x);
        }
        let sequences: Vec<Vec<u32>> =
            [5, 1, 30, 2, 17, 40, 9].iter().map(|&n| (0..n).map(|i| (i * 7 + n) % 512).collect()).collect();
        let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        let split =
            |rows, tokens| gradients(&weights, &model, &Batch::parts(&sequences, rows, tokens), &[0, 2, 1, 1, 0, 2, 2]);
        let want = split(7, usize::MAX);
        for (rows, tokens) in [(7, 40), (3, usize::MAX), (1, 1)] {
            let got = split(rows, tokens);
            for tensor in weights.table().tensors().iter().filter(|tensor| tensor.is_adapter()) {
                let largest = want.tensor(tensor).iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let pairs = got.tensor(tensor).iter().zip(want.tensor(tensor));
                let difference = pairs.fold(0.0_f64, |m, (got, want)| m.max((got - want).abs()));
                // sums over tokens in another order
                assert!(largest > 0.0 && difference <= 1e-12 * largest, "{}: {difference}", tensor.name);
            }
        }
    }
}

#[test]
fn threads_and_readers_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        for targets in BOTH {
            let recipe = recipe("blocks:3", targets);
            let run = |threads: usize, read: bool| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut engine = engine(&recipe, precision);
                    for step in 1..=3 {
                        steps(&mut engine, &recipe, step..=step);
                        if read {
                            engine.logits(&Batch::new([&[101, 2023, 102][..]]));
                            engine.model();
                        }
                    }
                    trained_bytes(&mut engine)
                })
            };
            let want = run(1, false);
            assert!(run(2, true) == want, "{precision}, {targets:?}: two threads, with readers");
            assert!(run(3, false) == want, "{precision}, {targets:?}: three threads");
        }
    }
}

/// What is kept is read back to the bit, and the frozen tensors stay as they are, whatever the optimizer keeps.
#[test]
fn the_best_weights_come_back() {
    let plain = recipe("blocks:3", LoraTargets::QueryValue);
    for recipe in [
        recipe("blocks:3", LoraTargets::AllLinear),
        Recipe { ema_decay: 0.5, ..plain.clone() },
        Recipe { optim: Optimizer::Sgd, momentum: 0.9, ..plain.clone() },
        plain,
    ] {
        let mut engine = engine(&recipe, Precision::F32);
        let batch = Batch::new([&[101, 2023, 2003, 102][..], &[101, 102]]);
        let table = engine.model().weights.table().clone();
        let thawed = recipe.thawed(&table).unwrap();
        let frozen = frozen_hash(&engine.model().weights, &thawed);
        steps(&mut engine, &recipe, 1..=2);
        let (kept, logits) = (trained_bytes(&mut engine), engine.logits(&batch).to_vec());
        steps(&mut engine, &recipe, 3..=4);
        assert_ne!(engine.logits(&batch), logits, "adapters are seen");
        engine.read_trained(&mut kept.as_slice()).unwrap();
        assert_eq!(engine.logits(&batch), logits);
        assert_eq!(frozen_hash(&engine.into_model().weights, &thawed), frozen);
    }
}

fn trained(recipe: &Recipe, limit: u64, memory: u64) -> (Vec<u8>, Outcome) {
    let directory = tempfile::tempdir().unwrap();
    let (path, cache) = (directory.path().to_owned(), CacheLimits { limit, memory });
    let storage = Storage { directory: path, cache, checkpoints: None };
    let (rows, validation) = (reviews(0..48, 64, &two_class_model()), reviews(0..8, 64, &two_class_model()));
    let mut engine = engine(recipe, Precision::F32);
    let outcome = train(&mut engine, &rows, &validation, recipe, &storage, &mut Silent).unwrap();
    (trained_bytes(&mut engine), outcome)
}

/// What lies below the lowest adapter is kept, and where it is kept changes no bit; R-Drop's second pass too.
#[test]
fn the_cache_ends_below_the_lowest_adapter() {
    for (unfreeze, cached) in [("all", false), ("blocks:1", true), ("blocks:2,5", true), ("*.4.ffn.*", true)] {
        let recipe = Recipe { r_drop: 1.0, ..recipe(unfreeze, LoraTargets::AllLinear) };
        let (want, outcome) = trained(&recipe, u64::MAX, u64::MAX);
        let report = outcome.cache.filter(|_| cached);
        assert_eq!(report.is_some(), cached, "{unfreeze}");
        let Some(report) = report else { continue };
        // each row twice in an epoch; the second time in the first epoch it is the first one's
        assert_eq!((report.rows_computed, report.rows_reused), (48, 3 * 48), "{unfreeze}");
        let (got, outcome) = trained(&recipe, report.memory / 2, report.memory / 4);
        assert!(outcome.cache.unwrap().rows_computed > 48, "{unfreeze}: half of the rows have no place");
        assert!(got == want, "{unfreeze}");
        let (without, outcome) = trained(&Recipe { cache_frozen: false, ..recipe }, u64::MAX, u64::MAX);
        assert!(outcome.cache.is_none() && without != want, "frozen blocks have dropout without a cache");
    }
}

/// A saved model has the layout of every other, says what the one with adapters says, and has all other weights to the bit.
#[test]
fn saved_models_are_merged() {
    for targets in BOTH {
        let recipe = Recipe { lora_alpha: 16.0, ..recipe("blocks:3", targets) };
        let mut engine = engine(&recipe, Precision::F32);
        steps(&mut engine, &recipe, 1..=4);
        let batch = Batch::new([&[101, 2023, 2003, 1037, 2204, 102][..], &[101, 102]]);
        let (logits, model) = (engine.logits(&batch).to_vec(), engine.into_model());

        let directory = tempfile::tempdir().unwrap();
        let json = std::fs::read(asset("encoder/tokenizer.json")).unwrap();
        save(directory.path(), &model, &[("tokenizer.json".to_owned(), json)]).unwrap();
        let saved = Model::load(&ModelFiles::open(directory.path()).unwrap()).unwrap();
        assert_eq!(saved.weights.from(Group::Embeddings), model.merged().weights.from(Group::Embeddings));
        let of_file = tensors(&directory.path().join("model.safetensors"));
        assert_eq!(of_file.len(), saved.weights.table().tensors().len(), "nothing else in the file");

        let (before, mut moved) = (two_class_model(), 0);
        for tensor in before.weights.table().tensors().iter().filter(|tensor| tensor.group < Group::Head) {
            let (was, is) = (before.weights.tensor(tensor), saved.weights.tensor(tensor));
            let adapter = |matrix: &str| {
                let name = tensor.name.replace(".weight", &format!(".lora_{matrix}.weight"));
                let tensors = model.weights.table().tensors();
                tensors.iter().find(|t| t.is_adapter() && t.name == name).map(|t| model.weights.tensor(t))
            };
            let (Some(a), Some(b)) = (adapter("A"), adapter("B")) else {
                assert!(was == is, "{}", tensor.name);
                continue;
            };
            let [outputs, inputs] = [tensor.shape[0], tensor.shape[1]];
            for (n, k) in [(0, 0), (1, 2), (outputs - 1, 0), (outputs - 2, inputs - 1), (outputs / 2, inputs / 3)] {
                let product = |r: usize| f64::from(b[r * outputs + n]) * f64::from(a[r * inputs + k]);
                // alpha over the rank is 2
                let want = f64::from(was[n * inputs + k]) + 2.0 * (0..8).map(product).sum::<f64>();
                let got = f64::from(is[n * inputs + k]);
                // rounded once
                assert!((got - want).abs() <= f64::from(f32::EPSILON) * want.abs(), "{}: {got}, {want}", tensor.name);
            }
            assert!(was != is, "{}", tensor.name);
            moved += 1;
        }
        assert_eq!(moved, if targets == LoraTargets::AllLinear { 18 } else { 6 });
        // sums in another order
        assert_close("logits", Cpu::new(saved, Precision::F32).logits(&batch), &logits, 2e-5);
    }
}

/// What cannot be meant, with the key that says it.
#[test]
fn faults_are_named() {
    let table = Arc::new(Table::new(&two_class_model().config));
    let fault = |recipe: Recipe| recipe.check().and_then(|()| recipe.lora(&table).map(drop)).unwrap_err().to_string();
    let good = recipe("blocks:2", LoraTargets::QueryValue);
    for unfreeze in ["head", "bias", "embeddings", "*.ffn.*"] {
        let message = fault(Recipe { unfreeze: unfreeze.parse().unwrap(), ..good.clone() });
        let want =
            "recipe: unfreeze: expected all, blocks:N or another part with layers that get adapters (query_value), ";
        assert!(message.starts_with(want) && message.ends_with(&format!("found {unfreeze}")), "{message}");
        assert!(message.contains("lora_rank = 0"), "{message}");
    }
    assert_eq!(
        fault(Recipe { lora_rank: 385, ..good.clone() }),
        "recipe: lora_rank: expected at most 384, the width of the model: an adapter of more is larger than the layer, found 385"
    );
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = fault(Recipe { lora_alpha: alpha, ..good.clone() });
        assert_eq!(message, format!("recipe: lora_alpha: expected a number above 0, found {alpha}"));
    }
    let without = "expected lora_rank of 1 or more beside it, found";
    let rank_0 = Recipe { lora_rank: 0, ..good.clone() };
    assert_eq!(fault(Recipe { lora_alpha: 16.0, ..rank_0.clone() }), format!("recipe: lora_alpha: {without} 16"));
    let all_linear = Recipe { lora_targets: LoraTargets::AllLinear, ..rank_0.clone() };
    assert_eq!(fault(all_linear.clone()), format!("recipe: lora_targets: {without} all_linear"));
    assert!(fault(Recipe { reinit_blocks: 1, ..good.clone() }).contains("reinit_blocks: expected 0 with lora_rank"));
    // an engine without the adapters that the recipe asks for would train something else
    let message = good.thawed(&table).unwrap_err().to_string();
    assert_eq!(message, "recipe: lora_rank: expected 0 for a model without adapters, found 8");

    // given beside a recipe, as options are
    let given = |alpha, targets| rank_0.clone().with_lora(None, alpha, targets).unwrap_err().to_string();
    assert_eq!(given(Some(8.0), None), format!("recipe: lora_alpha: {without} 8"));
    assert_eq!(given(None, Some(LoraTargets::QueryValue)), format!("recipe: lora_targets: {without} query_value"));
    let taken_back =
        Recipe { lora_alpha: 16.0, ..recipe("all", LoraTargets::AllLinear) }.with_lora(Some(0), None, None);
    let Recipe { lora_rank, lora_alpha, lora_targets, .. } = taken_back.unwrap();
    assert_eq!((lora_rank, lora_alpha, lora_targets), (0, 8.0, LoraTargets::QueryValue));
    let given = good.with_lora(Some(4), None, Some(LoraTargets::AllLinear)).unwrap();
    assert_eq!((given.lora_rank, given.lora_alpha, given.lora_targets), (4, 8.0, LoraTargets::AllLinear));
}
