//! The engine that only predicts: what int8 costs, and models that are saved as int8.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use distune::engine::{Cpu, Engine, Inference, InferencePrecision, Predict};
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Tensor};
use distune::model::{Model, ModelFiles, save, save_quantized};
use distune::train::{Recipe, Schedule};
use distune_kernels::{Precision, Targets};
use support::*;

/// The bundled encoder after 60 steps of 16 rows.
fn trained() -> Model {
    let model = encoder_with_head();
    let (train, labels) = review_sequences("train", 960, &model.config);
    let thawed = Thawed::from(model.weights.table(), Group::Block(0));
    let mut engine = Cpu::for_training(model, thawed, Precision::F32);
    let schedule = Schedule::linear(1e-4, 6, 60);
    for step in 0..60 {
        let rows = step * 16..step * 16 + 16;
        let (batch, classes) = (batch(&train[rows.clone()]), Targets::Classes(&labels[rows]));
        let rate = schedule.learning_rate(step);
        engine.train_step(&batch, classes, step as u64 + 1, rate, &Recipe::default().step_options());
    }
    engine.into_model()
}

fn logits(engine: &mut dyn Predict, sequences: &[Vec<u32>]) -> Vec<f32> {
    let mut all = Vec::new();
    distune::predict::logits(engine, sequences, |rows| {
        rows.for_each(|row| all.extend_from_slice(row));
        Ok::<_, ()>(())
    })
    .unwrap();
    all
}

/// Rows whose larger logit is that of their label, in percent.
fn accuracy(logits: &[f32], labels: &[u32]) -> f64 {
    let right = logits.chunks_exact(2).zip(labels).filter(|(row, label)| u32::from(row[1] > row[0]) == **label).count();
    100.0 * right as f64 / labels.len() as f64
}

#[test]
fn int8_costs_little_accuracy() {
    let model = trained();
    let (rows, labels) = review_sequences("test", usize::MAX, &model.config);
    let exact = logits(&mut Inference::new(&model, Precision::F32), &rows);
    let int8 = logits(&mut Inference::new(&model, InferencePrecision::Int8), &rows);
    let [before, after] = [&exact, &int8].map(|logits| accuracy(logits, &labels));
    assert!(before > 70.0, "not trained: {before} %");
    assert!(before - after <= 0.3, "{after} %, not {before} %");
    // a step of 8 bits is 1/255 of the widest input of a row; through six blocks that is some hundredths of the logits, which are
    // between -2 and 2 here
    let differences: f64 = exact.iter().zip(&int8).map(|(a, b)| f64::from((a - b).abs())).sum();
    let mean = differences / exact.len() as f64;
    assert!(mean < 0.03, "logits differ by {mean} on average");
    assert!(largest_difference(&int8, &exact) < 0.3, "{}", largest_difference(&int8, &exact));
}

/// What is saved as int8 gives the very bits of the model that is rounded when it is loaded, at any number of threads.
#[test]
fn saved_and_loaded() {
    let (model, directory) = (encoder_with_head(), tempfile::tempdir().unwrap());
    let tokenizer = [("tokenizer.json".to_owned(), std::fs::read(asset("encoder/tokenizer.json")).unwrap())];
    save_quantized(directory.path(), &model, &tokenizer).unwrap();
    let files = ModelFiles::open(directory.path()).unwrap();
    Model::check(&files).unwrap();
    let (rows, _) = review_sequences("validation", 40, &model.config);
    let want = logits(&mut Inference::new(&model, InferencePrecision::Int8), &rows);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut engine = Inference::load(&files, InferencePrecision::Int8).unwrap();
        assert!(pool.install(|| logits(&mut engine, &rows)) == want, "{threads} threads");
    }
    // keys and values that are not formed are not rounded: a difference of a tenth of these small logits, with zeros as weights of nine tenths
    let largest = want.iter().fold(0.0_f64, |m, x| m.max(f64::from(x.abs())));
    for precision in [InferencePrecision::F32, InferencePrecision::Bf16] {
        let difference = largest_difference(&logits(&mut Inference::load(&files, precision).unwrap(), &rows), &want);
        assert!(difference < 0.2 * largest, "{precision}: {difference} of {largest}");
    }
    let message = Model::load(&files).unwrap_err().to_string();
    assert!(message.contains("int8 model") && message.contains("that it was made of"), "{message}");
}

/// Weights of a bf16 engine take half of those in f32, of int8 a quarter; in f32 stay those that attention of first tokens reads.
#[test]
fn memory_of_the_weights() {
    let (model, directory) = (encoder_with_head(), tempfile::tempdir().unwrap());
    let tokenizer = [("tokenizer.json".to_owned(), std::fs::read(asset("encoder/tokenizer.json")).unwrap())];
    save(directory.path(), &model, &tokenizer).unwrap();
    let files = ModelFiles::open(directory.path()).unwrap();
    let parameters = model.weights.table().len() as f64;
    let table = model.weights.table();
    let sum = |of: &dyn Fn(&Tensor) -> bool| -> f64 {
        table.tensors().iter().filter(|tensor| of(tensor)).map(|tensor| tensor.range.len() as f64).sum()
    };
    let (linear, folded) = (sum(&|tensor| tensor.is_linear()), sum(&|tensor| table.is_folded(tensor)));
    let words = (model.config.vocab_size * model.config.dim) as f64;
    for (precision, bytes) in [
        (InferencePrecision::F32, 4.0 * parameters),
        (InferencePrecision::Bf16, 4.0 * parameters - 2.0 * (linear - folded + words)),
        (InferencePrecision::Int8, 4.0 * parameters - 2.0 * words - 3.0 * linear),
    ] {
        let ratio = Inference::load(&files, precision).unwrap().weight_bytes() as f64 / bytes;
        // panels of 48 outputs are filled up with zeros
        assert!((0.99..1.02).contains(&ratio), "{precision}: {ratio} of what was expected");
    }
}
