//! The forward pass. `backward.rs` is this file reversed.
//!
//! Legend: B sequences, T tokens, Q query rows (T, or B in the last block), D width, F feed-forward width, C classes.

use distune_kernels as k;
use distune_kernels::{Heads, Products, Real, Site, Weight, Words};

use crate::model::activations::{Activations, BlockActivations, Buffer, Pass};
use crate::model::lora::Layer;
use crate::model::weights::{Block, Embeddings, Head, Weights};

/// Computes `a.logits [B, C]`. The last block computes queries, attention output and feed-forward for first
/// tokens only, from weights of keys and values themselves where it can: the head reads nothing else.
pub fn forward<T: Real>(a: &mut Activations<T>, mut weights: Weights<T>, pass: Pass<T>) {
    let n_layers = pass.config.n_layers;
    a.blocks.resize_with(pass.slot(n_layers - 1) + 1, BlockActivations::default);
    match pass.frozen {
        None => {
            embeddings(a, weights.embeddings(), pass);
            blocks(a, &mut weights, pass, 0..n_layers);
        }
        Some((first, frozen)) => {
            a.output.sized(frozen.len()).copy_from_slice(frozen);
            blocks(a, &mut weights, pass, first..n_layers);
        }
    }
    head(a, weights.head(), pass);
}

/// Computes `a.output`, what the embeddings and so many of the first blocks put out: `[T, D]`, or `[B, D]` after the last block.
pub fn frozen_output<T: Real>(a: &mut Activations<T>, mut weights: Weights<T>, pass: Pass<T>, frozen_blocks: usize) {
    if a.blocks.is_empty() {
        a.blocks.push(BlockActivations::default());
    }
    embeddings(a, weights.embeddings(), pass);
    blocks(a, &mut weights, pass, 0..frozen_blocks);
}

/// `a.output`, from the input of the first of these blocks to the output of the last.
fn blocks<T: Real>(a: &mut Activations<T>, weights: &mut Weights<T>, pass: Pass<T>, blocks: std::ops::Range<usize>) {
    for i in blocks {
        let slot = &mut a.blocks[pass.slot(i)];
        std::mem::swap(&mut slot.input, &mut a.output);
        block(slot, &mut a.output, &mut a.products, weights.block(i), pass, i);
    }
}

/// `a.output [T, D] = dropout(layer_norm(word + position))`
fn embeddings<T: Real>(a: &mut Activations<T>, w: Embeddings<&[T], Words<T>>, pass: Pass<T>) {
    let Pass { config, batch, .. } = pass;
    let (tokens, d) = (batch.tokens(), config.dim);
    let sum = a.embeddings_normalized.sized(tokens * d);
    match pass.embedded {
        Some(embedded) => sum.copy_from_slice(embedded),
        None => k::embed(sum, &batch.ids, &batch.offsets, w.words, w.positions, d),
    }
    let (output, rstd) = (a.output.sized(tokens * d), a.embeddings_rstd.sized(tokens));
    k::layer_norm(output, sum, rstd, &[], w.norm.gamma, w.norm.beta);
    pass.dropout(0, Site::Embeddings, batch.tokens_before).apply(output, d);
}

/// `output [Q, D]` of block `i`, whose input is `a.input [T, D]`.
fn block<T: Real>(
    a: &mut BlockActivations<T>,
    output: &mut Buffer<T>,
    p: &mut Products,
    w: Block<Weight<T>>,
    pass: Pass<T>,
    i: usize,
) {
    let Pass { config, batch, .. } = pass;
    let (d, f, tokens) = (config.dim, config.hidden_dim, batch.tokens());
    let last = i + 1 == config.n_layers;
    if last {
        let firsts = &batch.offsets[..batch.sequences()];
        k::gather_rows(a.first.sized(firsts.len() * d), &a.input, firsts, d);
        a.queries = (0..=batch.sequences()).collect();
    } else {
        a.first.sized(0);
        a.queries.clone_from(&batch.offsets);
    }
    let residual = if a.first.is_empty() { &a.input } else { &a.first };
    let rows = residual.len() / d;

    // attention
    k::linear(p, a.q.sized(rows * d), residual, w.q.weight, w.q.bias.values());
    w.adapters.forward(Layer::Query, &mut a.q, residual, &mut a.projections);
    let dropout = pass.dropout(i + 1, Site::Attention, batch.tokens_before * config.n_heads);
    let context = a.context.sized(rows * d);
    a.folds = false;
    if let Weight::Ready(weight) = w.kv.weight
        && last
        && !w.adapters.any(&[Layer::Key, Layer::Value])
    {
        a.folds = true;
        let input = pass.first_tokens(&a.q, &a.input, weight, w.kv.bias.values());
        k::first_token_attention(context, &mut a.folded, input, &dropout);
    } else {
        k::linear(p, a.kv.sized(tokens * 2 * d), &a.input, w.kv.weight, w.kv.bias.values());
        w.adapters.forward(Layer::Key, &mut a.kv, &a.input, &mut a.projections);
        w.adapters.forward(Layer::Value, &mut a.kv, &a.input, &mut a.projections);
        let heads = Heads { queries: &a.queries, keys: &batch.offsets, count: config.n_heads, width: d };
        k::attention(context, &a.q, &a.kv, heads, &dropout);
    }
    let sum = a.attention_normalized.sized(rows * d);
    k::linear(p, sum, &a.context, w.out.weight, w.out.bias.values());
    w.adapters.forward(Layer::Out, sum, &a.context, &mut a.projections);
    let (hidden, rstd) = (a.hidden.sized(rows * d), a.attention_rstd.sized(rows));
    k::layer_norm(hidden, sum, rstd, residual, w.attention_norm.gamma.values(), w.attention_norm.beta.values());

    // feed-forward network
    let (lin1, sum) = (a.gelu_slope.sized(rows * f), a.output_normalized.sized(rows * d));
    if let (Weight::Packed(w1), Weight::Packed(w2)) = (&w.lin1.weight, &w.lin2.weight) {
        // no backward pass wants the slope, and adapters are merged
        k::feed_forward(p, [sum, lin1], &a.hidden, [(w1, w.lin1.bias.values()), (w2, w.lin2.bias.values())]);
    } else {
        let activated = a.activated.sized(rows * f);
        k::linear(p, lin1, &a.hidden, w.lin1.weight, w.lin1.bias.values());
        w.adapters.forward(Layer::Lin1, lin1, &a.hidden, &mut a.projections);
        k::gelu(activated, lin1);
        k::linear(p, sum, activated, w.lin2.weight, w.lin2.bias.values());
        w.adapters.forward(Layer::Lin2, sum, activated, &mut a.projections);
    }
    let first_row = if last { batch.sequences_before } else { batch.tokens_before };
    pass.dropout(i + 1, Site::FeedForward, first_row).apply(sum, d);
    let (output, rstd) = (output.sized(rows * d), a.output_rstd.sized(rows));
    k::layer_norm(output, sum, rstd, &a.hidden, w.output_norm.gamma.values(), w.output_norm.beta.values());
}

/// `a.logits [B, C] = classifier(dropout(relu(pre_classifier(first tokens))))`
fn head<T: Real>(a: &mut Activations<T>, w: Head<Weight<T>>, pass: Pass<T>) {
    let config = pass.config;
    let pooled = a.pooled.sized(a.output.len());
    k::linear(&mut a.products, pooled, &a.output, w.pre_classifier.weight, w.pre_classifier.bias.values());
    k::relu(pooled);
    a.dropped.sized(a.pooled.len()).copy_from_slice(&a.pooled);
    let dropout = pass.dropout(0, Site::Classifier, pass.batch.sequences_before);
    dropout.apply(&mut a.dropped, config.dim);
    let logits = a.logits.sized(a.output.len() / config.dim * config.labels.len());
    k::linear(&mut a.products, logits, &a.dropped, w.classifier.weight, w.classifier.bias.values());
}
