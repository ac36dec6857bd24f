//! The backward pass: `forward.rs` reversed. Every function overwrites the gradients of its weights, or adds to them
//! (`pass.accumulate`).
//!
//! Legend: B sequences, T tokens, Q query rows (T, or B in the last block), D width, F feed-forward width, C classes.

use distune_kernels as k;
use distune_kernels::{Heads, Precision, Products, Real, Site};

use crate::model::activations::{Activations, BlockActivations, Buffer, Pass};
use crate::model::weights::{Block, Group, Head, Parameters};

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
    /// The sum of the squares of the gradients of all linear layers' weights.
    pub squares: f64,
    products: Products,
}

impl<T: Default> Scratch<T> {
    /// Empty, for linear layers of this precision.
    pub fn new(precision: Precision) -> Self {
        Self { products: Products::new(precision), ..Self::default() }
    }
}

/// Computes the gradients of every tensor from `pass.lowest` on, given `dlogits [B, C]` and what the forward
/// pass left. Overwrites `gradients`, which begin there, or adds to them.
pub fn backward<T: Real>(
    gradients: &mut Parameters<T>,
    scratch: &mut Scratch<T>,
    dlogits: &[T],
    a: &Activations<T>,
    weights: &Parameters<T>,
    pass: Pass<T>,
) {
    let Some(lowest) = pass.lowest else { return };
    scratch.squares = 0.0;
    head(gradients.head_mut(), scratch, dlogits, a, weights.head(), pass);
    for i in (0..pass.config.n_layers).rev().filter(|&i| Group::Block(i) >= lowest) {
        let slot = &a.blocks[pass.slot(i)];
        let input_wanted = Group::Block(i) > lowest;
        block(gradients.block_mut(i), scratch, slot, weights.block(i), pass, i, input_wanted);
    }
    if lowest == Group::Embeddings {
        embeddings(gradients, scratch, a, weights, pass);
    }
}

/// `s.d_output [B, D]` becomes the gradient of the first tokens.
fn head<T: Real>(
    d: Head<&mut [T]>,
    s: &mut Scratch<T>,
    dlogits: &[T],
    a: &Activations<T>,
    w: Head<&[T]>,
    pass: Pass<T>,
) {
    let (config, more) = (pass.config, pass.accumulate);
    s.squares +=
        k::linear_backward_weight(&mut s.products, d.classifier.weight, d.classifier.bias, dlogits, &a.dropped, more);
    let d_pooled = s.d_context.sized(a.pooled.len());
    k::linear_backward_input(&mut s.products, d_pooled, dlogits, w.classifier.weight, config.labels.len(), false);
    let dropout = pass.dropout(config.seq_classif_dropout, 0, Site::Classifier, pass.batch.sequences_before);
    dropout.apply(d_pooled, config.dim);
    k::relu_backward(d_pooled, &a.pooled);
    s.squares += k::linear_backward_weight(
        &mut s.products,
        d.pre_classifier.weight,
        d.pre_classifier.bias,
        d_pooled,
        &a.output,
        more,
    );
    let d_output = s.d_output.sized(a.output.len());
    k::linear_backward_input(&mut s.products, d_output, d_pooled, w.pre_classifier.weight, config.dim, false);
}

/// `s.d_output`, the gradient of the block's output `[Q, D]`, becomes the gradient of its input `[T, D]`, when that is
/// wanted.
#[allow(clippy::too_many_arguments)] // gradients, buffers, activations, weights and where in the model this is
fn block<T: Real>(
    d: Block<&mut [T]>,
    s: &mut Scratch<T>,
    a: &BlockActivations<T>,
    w: Block<&[T]>,
    pass: Pass<T>,
    i: usize,
    input_wanted: bool,
) {
    let Pass { config, batch, accumulate: more, .. } = pass;
    let (width, f) = (config.dim, config.hidden_dim);

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
    let first_row = if a.first.is_empty() { batch.tokens_before } else { batch.sequences_before };
    let dropout = pass.dropout(config.dropout, i + 1, Site::FeedForward, first_row);
    dropout.apply_to(s.d_feed_forward.sized(d_sum.len()), d_sum, width);
    s.squares +=
        k::linear_backward_weight(&mut s.products, d.lin2.weight, d.lin2.bias, &s.d_feed_forward, &a.activated, more);
    let d_lin1 = s.d_activated.sized(a.activated.len());
    k::linear_backward_input(&mut s.products, d_lin1, &s.d_feed_forward, w.lin2.weight, width, false);
    k::gelu_backward(d_lin1, &a.gelu_slope);
    s.squares += k::linear_backward_weight(&mut s.products, d.lin1.weight, d.lin1.bias, d_lin1, &a.hidden, more);
    k::linear_backward_input(&mut s.products, d_sum, d_lin1, w.lin1.weight, f, true);

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
    s.squares += k::linear_backward_weight(&mut s.products, d.out.weight, d.out.bias, d_sum, &a.context, more);
    let d_context = s.d_context.sized(a.context.len());
    k::linear_backward_input(&mut s.products, d_context, d_sum, w.out.weight, width, false);
    let heads = Heads { queries: &a.queries, keys: &batch.offsets, count: config.n_heads, width };
    let dropout = pass.dropout(config.attention_dropout, i + 1, Site::Attention, batch.tokens_before * config.n_heads);
    let (dq, dkv) = (s.dq.sized(a.q.len()), s.dkv.sized(a.kv.len()));
    k::attention_backward(dq, dkv, d_context, &a.q, &a.kv, heads, &dropout);
    s.squares += k::linear_backward_weight(&mut s.products, d.q.weight, d.q.bias, dq, a.query_input(), more);
    s.squares += k::linear_backward_weight(&mut s.products, d.kv.weight, d.kv.bias, dkv, &a.input, more);
    if !input_wanted {
        return;
    }
    k::linear_backward_input(&mut s.products, d_sum, dq, w.q.weight, width, true);
    if a.first.is_empty() {
        k::linear_backward_input(&mut s.products, d_sum, dkv, w.kv.weight, 2 * width, true);
    } else {
        let d_input = s.d_context.sized(a.input.len());
        k::linear_backward_input(&mut s.products, d_input, dkv, w.kv.weight, 2 * width, false);
        k::scatter_add_rows(d_input, d_sum, &batch.offsets[..batch.sequences()], width);
        std::mem::swap(&mut s.d_output, &mut s.d_context);
    }
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
    pass.dropout(config.dropout, 0, Site::Embeddings, batch.tokens_before).apply(d_sum, config.dim);
    let gamma = weights.embeddings().norm.gamma;
    k::layer_norm_backward(d_sum, d.norm.gamma, d.norm.beta, &a.embeddings_normalized, &a.embeddings_rstd, gamma, more);
    k::embed_backward(d.words, d.positions, d_sum, &batch.ids, &batch.offsets, config.dim, more);
}
