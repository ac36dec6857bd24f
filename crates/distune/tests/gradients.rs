//! The gradient of the whole model, every tensor, by finite differences in f64, with dropout and ragged lengths.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use distune::data::Batch;
use distune::model::Config;
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::weights::{Group, Parameters, Table, Weights};
use distune_kernels::{LossOptions, Targets, loss};
use support::*;

const LENGTHS: [usize; 5] = [1, 2, 63, 64, 65];
const LABELS: [u32; 5] = [0, 2, 1, 1, 0];

fn number(i: usize) -> f64 {
    ((i * 7919 + 12345) % 2003) as f64 / 1001.0 - 1.0
}

fn setup() -> (Config, Parameters<f64>, Vec<Vec<u32>>) {
    let config = small_config([12, 3, 20, 2, 65, 23, 3]);
    let mut weights = Parameters::zeros(&Arc::new(Table::new(&config)), Group::Embeddings);
    weights.from_mut(Group::Embeddings).iter_mut().enumerate().for_each(|(i, w)| *w = number(i) * 0.5);
    let sequences = LENGTHS.iter().map(|&n| (0..n).map(|i| (i * 7 + n) as u32 % 23).collect()).collect();
    (config, weights, sequences)
}

fn loss_of(a: &mut Activations<f64>, weights: &Parameters<f64>, pass: Pass<f64>, dlogits: &mut Vec<f64>) -> f64 {
    forward(a, Weights::Ready(weights), pass);
    dlogits.resize(a.logits.len(), 0.0);
    let options = LossOptions { class_weights: vec![0.5, 1.0, 2.0], label_smoothing: 0.1, r_drop: 0.0 };
    let targets = Targets::Classes(&LABELS);
    loss(dlogits, &a.logits, targets, &options, options.total_weight(targets))
}

/// The gradients from `lowest` on.
fn gradients(weights: &Parameters<f64>, config: &Config, batch: &Batch, lowest: Group) -> Parameters<f64> {
    let pass = Pass { dropout: Some((5, 9)), lowest: Some(lowest), ..Pass::inference(config, batch) };
    let (mut a, mut dlogits) = (Activations::default(), Vec::new());
    loss_of(&mut a, weights, pass, &mut dlogits);
    let mut gradients = Parameters::zeros(weights.table(), lowest);
    // whatever was there before is overwritten
    gradients.from_mut(lowest).fill(f64::NAN);
    backward(&mut gradients, &mut Scratch::default(), &dlogits, &a, weights, pass);
    gradients
}

#[test]
fn every_tensor_of_the_model() {
    let (config, mut weights, sequences) = setup();
    let batch = batch(&sequences);
    let all = gradients(&weights, &config, &batch, Group::Embeddings);
    let pass = Pass { dropout: Some((5, 9)), ..Pass::inference(&config, &batch) };
    let mut a = Activations::default();
    let mut loss_at = |weights: &Parameters<f64>| loss_of(&mut a, weights, pass, &mut Vec::new());
    let table = weights.table().clone();
    for tensor in table.tensors() {
        for i in (0..tensor.range.len()).step_by((tensor.range.len() / 12).max(1)) {
            let (before, step) = (weights.tensor(tensor)[i], 1e-5);
            weights.tensor_mut(tensor)[i] = before + step;
            let up = loss_at(&weights);
            weights.tensor_mut(tensor)[i] = before - step;
            let want = (up - loss_at(&weights)) / (2.0 * step);
            weights.tensor_mut(tensor)[i] = before;
            let got = all.tensor(tensor)[i];
            // the difference quotient is right to about 1e-9; gradients here are up to 0.1
            assert!((got - want).abs() < 1e-8, "{}[{i}]: {got} by hand, {want} by differences", tensor.name);
        }
    }
}

/// What trains gets the same gradient, to the bit, whether what lies below is thawed or not.
#[test]
fn freezing_changes_no_gradient_above() {
    let (config, weights, sequences) = setup();
    let batch = batch(&sequences);
    let all = gradients(&weights, &config, &batch, Group::Embeddings);
    for lowest in [Group::Block(0), Group::Block(1), Group::Head] {
        let part = gradients(&weights, &config, &batch, lowest);
        assert_eq!(part.from(lowest), all.from(lowest), "from {lowest} on");
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
