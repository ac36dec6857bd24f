//! The backward pass: `forward.rs` reversed. Every function overwrites the gradients of its weights, or adds to them
//! (`pass.accumulate`). Gradients of frozen tensors are empty and not computed, and the pass ends with the lowest tensor that
//! trains.
//!
//! Legend: B sequences, T tokens, Q query rows (T, or B in the last block), D width, F feed-forward width, C classes.

use distune_kernels as k;
use distune_kernels::{FirstTokensGradient, Folded, Heads, Precision, Products, Real, Site};

use crate::model::activations::{Activations, BlockActivations, Buffer, Pass};
use crate::model::lora::{AdaptersBackward, Layer, Projections};
use crate::model::weights::{Block, Group, Head, Linear, Norm, Parameters};

/// Buffers of a backward pass, reused from step to step.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    /// The gradient of what the last visited part put out; of its input after the visit.
    d_output: Buffer<T>,
    d_feed_forward: Buffer<T>,
    d_activated: Buffer<T>,
    d_context: Buffer<T>,
    dq: Buffer<T>,
    dkv: Buffer<T>,
    d_folded: Folded<T>,
    /// What a block's adapters make of gradients.
    projections: Projections<T>,
    /// The sum of the squares of the gradients of all tensors that wait for their step (`Thawed::waits`).
    pub squares: f64,
    products: Products,
}

impl<T: Default> Scratch<T> {
    /// Empty, for linear layers of this precision.
    pub fn new(precision: Precision) -> Self {
        Self { products: Products::new(precision), ..Self::default() }
    }
}

impl<T> Scratch<T> {
    /// After a pass down to the embeddings, the gradient of their sums `[T, D]`, before the layer norm.
    pub fn input_gradient(&self) -> &[T] {
        &self.d_output
    }
}

/// Computes the gradients of every tensor of `pass.thawed`, given `dlogits [B, C]` and what the forward
/// pass left. Overwrites `gradients`, which have these tensors (`Thawed::has_gradient`), or adds to them.
pub fn backward<T: Real>(
    gradients: &mut Parameters<T>,
    scratch: &mut Scratch<T>,
    dlogits: &[T],
    a: &Activations<T>,
    weights: &Parameters<T>,
    pass: Pass<T>,
) {
    let Some(thawed) = pass.thawed else { return };
    let lowest = thawed.lowest();
    scratch.squares = 0.0;
    head(gradients.head_mut(), scratch, dlogits, a, weights.head(), pass);
    for i in (0..pass.config.n_layers).rev().filter(|&i| Group::Block(i) >= lowest) {
        let slot = &a.blocks[pass.slot(i)];
        let wanted = Wanted { input: Group::Block(i) > lowest, squares_of_kv: thawed.keys_as_values(i) };
        block(gradients.block_mut(i), scratch, slot, weights.block(i), pass, i, wanted);
    }
    if lowest == Group::Embeddings {
        embeddings(gradients, scratch, a, weights, pass);
    }
}

/// What a block's backward pass is for, beside the gradients of its tensors.
#[derive(Clone, Copy)]
struct Wanted {
    /// The gradient of its input.
    input: bool,
    /// The squares of the key and value weights' gradients: not where one of the two is frozen and its gradient is not used.
    squares_of_kv: bool,
}

impl<T> Linear<&mut [T]> {
    fn is_frozen(&self) -> bool {
        self.weight.is_empty() && self.bias.is_empty()
    }
}

impl<T> Norm<&mut [T]> {
    fn is_frozen(&self) -> bool {
        self.gamma.is_empty() && self.beta.is_empty()
    }
}

/// `s.d_output [B, D]` becomes the gradient of the first tokens, when something below the head trains.
fn head<T: Real>(
    d: Head<&mut [T]>,
    s: &mut Scratch<T>,
    dlogits: &[T],
    a: &Activations<T>,
    w: Head<&[T]>,
    pass: Pass<T>,
) {
    let (config, more) = (pass.config, pass.accumulate);
    let (classes, width) = (config.labels.len(), config.dim);
    s.squares += weight_gradient(&mut s.products, d.classifier, dlogits, &a.dropped, classes, more);
    let d_pooled = s.d_context.sized(a.pooled.len());
    k::linear_backward_input(&mut s.products, d_pooled, dlogits, w.classifier.weight, classes, false);
    let dropout = pass.dropout(0, Site::Classifier, pass.batch.sequences_before);
    dropout.apply(d_pooled, width);
    k::relu_backward(d_pooled, &a.pooled);
    s.squares += weight_gradient(&mut s.products, d.pre_classifier, d_pooled, &a.output, width, more);
    if pass.thawed.is_some_and(|thawed| thawed.lowest() < Group::Head) {
        let d_output = s.d_output.sized(a.output.len());
        k::linear_backward_input(&mut s.products, d_output, d_pooled, w.pre_classifier.weight, width, false);
    }
}

/// The gradients of a linear layer of `n` outputs; returns the sum of the squares of its weights' gradient.
fn weight_gradient<T: Real>(p: &mut Products, d: Linear<&mut [T]>, dy: &[T], x: &[T], n: usize, more: bool) -> f64 {
    k::linear_backward_weight(p, [d.weight, d.bias], dy, x, n, more)
}

/// `s.d_output`, the gradient of the block's output `[Q, D]`, becomes the gradient of its input `[T, D]`, when that is
/// wanted; otherwise it ends with the lowest tensor of the block that trains.
#[allow(clippy::too_many_arguments)] // gradients, buffers, activations, weights and where in the model this is
fn block<T: Real>(
    d: Block<&mut [T]>,
    s: &mut Scratch<T>,
    a: &BlockActivations<T>,
    w: Block<&[T]>,
    pass: Pass<T>,
    i: usize,
    wanted: Wanted,
) {
    let Pass { config, batch, accumulate: more, .. } = pass;
    let (width, f) = (config.dim, config.hidden_dim);
    // what lies below each of these parts, and is still to be computed
    let trains = |linear: &Linear<&mut [T]>, layers: &[Layer]| !linear.is_frozen() || d.adapters.any(layers);
    let below_out = wanted.input || trains(&d.q, &[Layer::Query]) || trains(&d.kv, &[Layer::Key, Layer::Value]);
    let below_attention_norm = below_out || trains(&d.out, &[Layer::Out]);
    let below_lin1 = below_attention_norm || !d.attention_norm.is_frozen();
    let below_lin2 = below_lin1 || trains(&d.lin1, &[Layer::Lin1]);
    let below_output_norm = below_lin2 || trains(&d.lin2, &[Layer::Lin2]);
    let mut adapters = AdaptersBackward::new(w.adapters, d.adapters, (&a.projections, &mut s.projections), more);

    // feed-forward network: `d_sum` is the gradient of both parts of each residual sum
    let d_sum = &mut s.d_output;
    let norm = d.output_norm;
    k::layer_norm_backward(
        d_sum,
        norm.gamma,
        norm.beta,
        &a.output_normalized,
        &a.output_rstd,
        w.output_norm.gamma,
        more,
    );
    if !below_output_norm {
        return;
    }
    let first_row = if a.first.is_empty() { batch.tokens_before } else { batch.sequences_before };
    let dropout = pass.dropout(i + 1, Site::FeedForward, first_row);
    dropout.apply_to(s.d_feed_forward.sized(d_sum.len()), d_sum, width);
    s.squares += weight_gradient(&mut s.products, d.lin2, &s.d_feed_forward, &a.activated, width, more);
    adapters.weights(Layer::Lin2, &s.d_feed_forward, &a.activated);
    if !below_lin2 {
        return;
    }
    let d_lin1 = s.d_activated.sized(a.activated.len());
    k::linear_backward_input(&mut s.products, d_lin1, &s.d_feed_forward, w.lin2.weight, width, false);
    adapters.input(Layer::Lin2, d_lin1);
    k::gelu_backward(d_lin1, &a.gelu_slope);
    s.squares += weight_gradient(&mut s.products, d.lin1, d_lin1, &a.hidden, f, more);
    adapters.weights(Layer::Lin1, d_lin1, &a.hidden);
    if !below_lin1 {
        return;
    }
    k::linear_backward_input(&mut s.products, d_sum, d_lin1, w.lin1.weight, f, true);
    adapters.input(Layer::Lin1, d_sum);

    // attention
    let norm = d.attention_norm;
    k::layer_norm_backward(
        d_sum,
        norm.gamma,
        norm.beta,
        &a.attention_normalized,
        &a.attention_rstd,
        w.attention_norm.gamma,
        more,
    );
    if !below_attention_norm {
        return;
    }
    s.squares += weight_gradient(&mut s.products, d.out, d_sum, &a.context, width, more);
    adapters.weights(Layer::Out, d_sum, &a.context);
    if !below_out {
        return;
    }
    let d_context = s.d_context.sized(a.context.len());
    k::linear_backward_input(&mut s.products, d_context, d_sum, w.out.weight, width, false);
    adapters.input(Layer::Out, d_context);
    let dropout = pass.dropout(i + 1, Site::Attention, batch.tokens_before * config.n_heads);
    let (dq, dkv) = (s.dq.sized(a.q.len()), s.dkv.sized(a.kv.len()));
    if a.folds {
        // the feed-forward network no longer needs this buffer
        let d_input = s.d_feed_forward.sized(if wanted.input { a.input.len() } else { 0 });
        let input = pass.first_tokens(&a.q, &a.input, w.kv.weight, w.kv.bias);
        let gradient = FirstTokensGradient { q: dq, x: d_input, weight: d.kv.weight, bias: d.kv.bias };
        k::first_token_attention_backward(gradient, &mut s.d_folded, d_context, input, &a.folded, &dropout, more);
    } else {
        let heads = Heads { queries: &a.queries, keys: &batch.offsets, count: config.n_heads, width };
        k::attention_backward(dq, dkv, d_context, &a.q, &a.kv, heads, &dropout);
        let squares_of_kv = weight_gradient(&mut s.products, d.kv, dkv, &a.input, 2 * width, more);
        if wanted.squares_of_kv {
            s.squares += squares_of_kv;
        }
        adapters.weights(Layer::Key, dkv, &a.input);
        adapters.weights(Layer::Value, dkv, &a.input);
    }
    s.squares += weight_gradient(&mut s.products, d.q, dq, a.query_input(), width, more);
    adapters.weights(Layer::Query, dq, a.query_input());
    if !wanted.input {
        return;
    }
    k::linear_backward_input(&mut s.products, d_sum, dq, w.q.weight, width, true);
    adapters.input(Layer::Query, d_sum);
    if a.first.is_empty() {
        k::linear_backward_input(&mut s.products, d_sum, dkv, w.kv.weight, 2 * width, true);
        adapters.input(Layer::Key, d_sum);
        adapters.input(Layer::Value, d_sum);
        return;
    }
    if !a.folds {
        let d_input = s.d_feed_forward.sized(a.input.len());
        k::linear_backward_input(&mut s.products, d_input, dkv, w.kv.weight, 2 * width, false);
        adapters.input(Layer::Key, d_input);
        adapters.input(Layer::Value, d_input);
    }
    k::scatter_add_rows(&mut s.d_feed_forward, d_sum, &batch.offsets[..batch.sequences()], width);
    std::mem::swap(&mut s.d_output, &mut s.d_feed_forward);
}

/// From `s.d_output [T, D]`, the gradient of the embeddings' output.
fn embeddings<T: Real>(
    gradients: &mut Parameters<T>,
    s: &mut Scratch<T>,
    a: &Activations<T>,
    weights: &Parameters<T>,
    pass: Pass<T>,
) {
    let Pass { config, batch, accumulate: more, .. } = pass;
    let d = gradients.embeddings_mut();
    let d_sum = &mut s.d_output;
    pass.dropout(0, Site::Embeddings, batch.tokens_before).apply(d_sum, config.dim);
    let gamma = weights.embeddings().norm.gamma;
    k::layer_norm_backward(d_sum, d.norm.gamma, d.norm.beta, &a.embeddings_normalized, &a.embeddings_rstd, gamma, more);
    k::embed_backward(d.words, d.positions, d_sum, &batch.ids, &batch.offsets, config.dim, more);
}
