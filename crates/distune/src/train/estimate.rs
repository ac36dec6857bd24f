//! How much memory a training will take. Called by `distune info`.

use distune_kernels::low_rank_width;
use serde::Serialize;

use crate::engine::StepOptions;
use crate::model::Config;
use crate::model::lora::Layer;
use crate::model::thawed::Thawed;
use crate::model::weights::{Group, Tensor};

/// Bytes of everything that a training step holds, beside the program, the texts and what is kept of frozen blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrainingMemory {
    /// All weights.
    pub weights: usize,
    /// Gradients of what trains.
    pub gradients: usize,
    /// What the optimizer keeps of what trains: Adam's two moments or SGD's momentum, and the weights' average where there is one.
    pub moments: usize,
    /// What the forward pass leaves for the backward pass, and the buffers of both.
    pub activations: usize,
}

impl TrainingMemory {
    /// For batches of `rows` texts of `length` tokens each that are computed at once.
    pub fn estimate(config: &Config, thawed: &Thawed, options: &StepOptions, rows: usize, length: usize) -> Self {
        let table = thawed.table();
        let float = size_of::<f32>();
        let elements = |of: &dyn Fn(&Tensor) -> bool| -> usize {
            table.tensors().iter().filter(|tensor| of(tensor)).map(|tensor| tensor.range.len()).sum()
        };
        let [first, second] = options.optimizer.moments();
        let kept = usize::from(first) + usize::from(second) + usize::from(options.ema_decay > 0.0);
        let activations = activations(config, thawed, rows, rows * length);
        Self {
            weights: float * table.len(),
            gradients: float * elements(&|tensor| thawed.has_gradient(tensor)),
            moments: float * kept * elements(&|tensor| thawed.trains(tensor)),
            activations: float * activations,
        }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> usize {
        self.weights + self.gradients + self.moments + self.activations
    }
}

/// Elements of the arrays of `model/activations.rs` and of the backward pass, for B sequences of T tokens.
fn activations(config: &Config, thawed: &Thawed, b: usize, t: usize) -> usize {
    let (d, f, n) = (config.dim, config.hidden_dim, config.n_layers);
    // what the last block has in place of keys and values
    let folded = if thawed.table().folds_keys() { 2 * config.n_heads * b * d } else { 0 };
    let last_kv = if folded > 0 { folded } else { 2 * t * d };
    // input and kv for all tokens; q, context, two normalized rows, hidden and two of the feed-forward network for Q rows
    let attended = |i| t * d + if i + 1 == n { last_kv } else { 2 * t * d };
    let block = |i, q: usize| attended(i) + q * (5 * d + 2 * f + 2);
    let frozen = thawed.frozen_blocks();
    let queries = |i| if i + 1 == n { b } else { t };
    let kept: usize = (frozen..n).map(|i| block(i, queries(i)) + projections(thawed, i, queries(i), t)).sum();
    // the blocks below what trains share one place, where the last one's attention needs more than the others'
    let shared = match frozen {
        0 => 0,
        1 if n == 1 => block(0, b),
        _ if frozen == n => block(0, t) + folded,
        _ => block(0, t),
    };
    let embeddings = 2 * t * d + t;
    let backward = match thawed.lowest() {
        Group::Head => b * d,
        // gradients of a block's output, feed-forward network, attention and of queries, keys and values
        Group::Embeddings if n == 1 => 2 * t * d + last_kv + b * (3 * d + f),
        _ if frozen + 1 == n => last_kv + b * (3 * d + f),
        _ => t * (6 * d + f) + folded,
    };
    let projected = (frozen..n).map(|i| projections(thawed, i, queries(i), t)).max().unwrap_or(0);
    embeddings + kept + shared + backward + projected + 3 * b * d
}

/// Elements of what the adapters of a block keep, for `q` query rows and `t` tokens.
fn projections(thawed: &Thawed, block: usize, q: usize, t: usize) -> usize {
    let Some(lora) = thawed.table().lora() else { return 0 };
    let rows = |layer| if matches!(layer, Layer::Key | Layer::Value) { t } else { q };
    let adapted = Layer::ALL.into_iter().filter(|&layer| lora.layers[block][layer as usize]);
    adapted.map(rows).sum::<usize>() * low_rank_width(lora.rank)
}
