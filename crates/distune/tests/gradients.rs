//! The gradient of the whole model, every tensor, by finite differences in f64, with dropout and ragged lengths.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use distune::model::Config;
use distune::model::activations::{Activations, Pass};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Weights};
use distune::train::Unfreeze;
use support::batch;
use support::differences::*;

fn setup() -> (Config, Parameters<f64>, Vec<Vec<u32>>) {
    let config = config();
    let weights = weights(&Arc::new(Table::new(&config)));
    (config, weights, ragged_sequences())
}

/// Each way to say what trains: gradients are those of finite differences, nothing else is computed but a frozen partner of keys or
/// values, and the gradient norm is that of what trains.
#[test]
fn every_tensor_that_trains() {
    let (config, weights, sequences) = setup();
    let batch = batch(&sequences);
    let want = differences(&config, weights.clone(), &batch);
    for mode in [
        "all",
        "head",
        "blocks:1",
        "blocks:2",
        "blocks:0,2",
        "blocks:1,",
        "embeddings",
        "bias",
        "bias+blocks:1",
        "*.q_lin.*",
        "*.v_lin.*",
        "*.k_lin.weight+*.[12].attention.v_lin.bias",
        "*.layer.1.output_layer_norm.bias",
        "*.layer.1.ffn.lin2.*",
        "*.ffn.lin1.bias",
        "*.layer.[02].sa_layer_norm.weight",
        "*.layer.2.attention.out_lin.weight",
        "*.position_embeddings.*",
        "*word_embeddings*",
    ] {
        let thawed = mode.parse::<Unfreeze>().unwrap().resolve(weights.table()).unwrap();
        for accumulate in [false, true] {
            let (got, squares) = gradients(&weights, &config, &batch, &thawed, accumulate);
            let mut sum = 0.0;
            for (tensor, want) in weights.table().tensors().iter().zip(&want) {
                let got = got.tensor(tensor);
                assert_eq!(got.is_empty(), !thawed.has_gradient(tensor), "{mode}: {}", tensor.name);
                if !thawed.trains(tensor) {
                    let partner = tensor.name.contains(".k_lin.") || tensor.name.contains(".v_lin.");
                    assert!(got.is_empty() || partner, "{mode}: {} is frozen", tensor.name);
                    continue;
                }
                for &(i, want) in want {
                    let got = got[i] - f64::from(u8::from(accumulate));
                    // the difference quotient is right to about 1e-9; gradients here are up to 0.1
                    let (name, good) = (&tensor.name, (got - want).abs() < 1e-8);
                    assert!(good, "{mode}: {name}[{i}]: {got} by hand, {want} by differences");
                }
                if thawed.waits(tensor) {
                    sum += got.iter().map(|g| g * g).sum::<f64>();
                }
            }
            // two orders of one sum
            assert!((squares - sum).abs() <= 1e-12 * sum, "{mode}: {squares} is not the sum of squares {sum}");
        }
    }
}

/// What trains gets the same gradient, to the bit, whether what lies below is thawed or not.
#[test]
fn freezing_changes_no_gradient_above() {
    let (config, weights, sequences) = setup();
    let batch = batch(&sequences);
    let from = |lowest| gradients(&weights, &config, &batch, &Thawed::from(weights.table(), lowest), false).0;
    let all = from(Group::Embeddings);
    for lowest in [Group::Block(0), Group::Block(1), Group::Head] {
        assert_eq!(from(lowest).from(lowest), all.from(lowest), "from {lowest} on");
    }
}

/// A sequence in a batch gives the same logits as alone.
#[test]
fn a_row_in_a_batch_equals_the_row_alone() {
    let (config, weights, sequences) = setup();
    let logits = |sequences: &[Vec<u32>]| {
        let batch = batch(sequences);
        let mut a = Activations::default();
        forward(&mut a, Weights::Ready(&weights), Pass::inference(&config, &batch));
        a.logits
    };
    let together = logits(&sequences);
    for (b, sequence) in sequences.iter().enumerate() {
        let alone = logits(std::slice::from_ref(sequence));
        for (x, y) in alone.iter().zip(&together[b * 3..]) {
            // the matrix product of another shape may add in another order
            assert!((x - y).abs() < 1e-12, "sequence {b}: {x} alone, {y} in the batch");
        }
    }
}
