//! The gradient of a small model in f64, by hand and by finite differences, with dropout and ragged lengths.

use std::sync::Arc;

use distune::data::Batch;
use distune::model::Config;
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Tensor, Weights};
use distune_kernels::{LossOptions, Targets, loss};

use super::{DROPOUT, small_config};

const LENGTHS: [usize; 5] = [1, 2, 63, 64, 65];
const LABELS: [u32; 5] = [0, 2, 1, 1, 0];

/// Three blocks, and three classes.
pub fn config() -> Config {
    small_config([12, 3, 20, 3, 65, 23, 3])
}

/// Numbers between -1 and 1.
pub fn number(i: usize) -> f64 {
    ((i * 7919 + 12345) % 2003) as f64 / 1001.0 - 1.0
}

/// Weights in any layout.
pub fn weights(table: &Arc<Table>) -> Parameters<f64> {
    let mut weights = Parameters::zeros(table, Group::Embeddings);
    weights.from_mut(Group::Embeddings).iter_mut().enumerate().for_each(|(i, w)| *w = number(i) * 0.5);
    weights
}

pub fn ragged_sequences() -> Vec<Vec<u32>> {
    LENGTHS.iter().map(|&n| (0..n).map(|i| (i * 7 + n) as u32 % 23).collect()).collect()
}

fn loss_of(a: &mut Activations<f64>, weights: &Parameters<f64>, pass: Pass<f64>, dlogits: &mut Vec<f64>) -> f64 {
    forward(a, Weights::Ready(weights), pass);
    dlogits.resize(a.logits.len(), 0.0);
    let options = LossOptions { class_weights: vec![0.5, 1.0, 2.0], label_smoothing: 0.1, ..LossOptions::default() };
    let targets = Targets::Classes(&LABELS);
    loss(dlogits, &a.logits, targets, &options, options.total_weight(targets))
}

/// The gradients of what trains, and the sum of the squares of those whose tensors wait for their step.
pub fn gradients(
    weights: &Parameters<f64>,
    config: &Config,
    batch: &Batch,
    thawed: &Thawed,
    accumulate: bool,
) -> (Parameters<f64>, f64) {
    let dropout = Some(DROPOUT);
    let pass = Pass { dropout, thawed: Some(thawed), accumulate, ..Pass::inference(config, batch) };
    let (mut a, mut dlogits, mut scratch) = (Activations::default(), Vec::new(), Scratch::default());
    loss_of(&mut a, weights, pass, &mut dlogits);
    let mut gradients = Parameters::zeros_where(weights.table(), |tensor| thawed.has_gradient(tensor));
    // whatever was there before is overwritten, or added to
    gradients.from_mut(Group::Embeddings).fill(if accumulate { 1.0 } else { f64::NAN });
    backward(&mut gradients, &mut scratch, &dlogits, &a, weights, pass);
    (gradients, scratch.squares)
}

/// Of every tensor, some elements and the gradient there by finite differences.
pub fn differences(config: &Config, mut weights: Parameters<f64>, batch: &Batch) -> Vec<Vec<(usize, f64)>> {
    let pass = Pass { dropout: Some(DROPOUT), ..Pass::inference(config, batch) };
    let mut a = Activations::default();
    let mut loss_at = |weights: &Parameters<f64>| loss_of(&mut a, weights, pass, &mut Vec::new());
    let table = weights.table().clone();
    let of = |tensor: &Tensor| -> Vec<(usize, f64)> {
        let some = (0..tensor.range.len()).step_by((tensor.range.len() / 12).max(1));
        let quotient = |i: usize| {
            let (before, step) = (weights.tensor(tensor)[i], 1e-5);
            weights.tensor_mut(tensor)[i] = before + step;
            let up = loss_at(&weights);
            weights.tensor_mut(tensor)[i] = before - step;
            let down = loss_at(&weights);
            weights.tensor_mut(tensor)[i] = before;
            (i, (up - down) / (2.0 * step))
        };
        some.map(quotient).collect()
    };
    table.tensors().iter().map(of).collect()
}
