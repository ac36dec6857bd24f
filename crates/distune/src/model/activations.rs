//! What a forward pass leaves for the backward pass. Buffers are reused from step to step.

use std::ops::{Deref, DerefMut};

use distune_kernels::{Dropout, FirstTokens, Folded, Precision, Products, Site};
use rayon::iter::{ParallelExtend, repeat_n};

use crate::data::Batch;
use crate::model::Config;
use crate::model::lora::Projections;
use crate::model::thawed::Thawed;

/// Legend: B sequences, T tokens, Q query rows (T, or B in the last block), D width, F feed-forward width, C classes.
#[derive(Debug, Default)]
pub struct Activations<T> {
    /// The embeddings' normalized rows `[T, D]`, kept by the layer norm.
    pub embeddings_normalized: Buffer<T>,
    /// `[T]`
    pub embeddings_rstd: Buffer<T>,
    /// One for each block whose backward pass will run, and a first one that all blocks below share.
    pub blocks: Vec<BlockActivations<T>>,
    /// The output of the block that ran last; `[B, D]`, the first tokens, after the last.
    pub output: Buffer<T>,
    /// After `pre_classifier` and ReLU `[B, D]`.
    pub pooled: Buffer<T>,
    /// `pooled` after dropout `[B, D]`.
    pub dropped: Buffer<T>,
    /// `[B, C]`
    pub logits: Buffer<T>,
    /// How linear layers multiply.
    pub products: Products,
}

impl<T: Default> Activations<T> {
    /// Empty, for linear layers of this precision.
    pub fn new(precision: Precision) -> Self {
        Self { products: Products::new(precision), ..Self::default() }
    }
}

/// An array whose length changes from step to step. What it once grew to stays, so that growing again writes nothing.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    values: Vec<T>,
    len: usize,
}

impl<T: Copy + Default + Send + Sync> Buffer<T> {
    /// Makes it hold `len` elements, to be overwritten.
    pub fn sized(&mut self, len: usize) -> &mut [T] {
        if len > self.values.capacity() {
            // room to grow: pages that are not touched cost nothing, and what is there need not be copied
            self.values = Vec::new();
            self.values.reserve_exact(len + len / 2);
        }
        if let Some(more) = len.checked_sub(self.values.len()) {
            // on all threads: the system clears each page when it is touched first
            self.values.par_extend(repeat_n(T::default(), more));
        }
        self.len = len;
        &mut self.values[..len]
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[..self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.len]
    }
}

/// What a block leaves.
#[derive(Debug, Default)]
pub struct BlockActivations<T> {
    /// The block's input `[T, D]`.
    pub input: Buffer<T>,
    /// In the last block, the rows of `input` that are first tokens `[B, D]`; else empty.
    pub first: Buffer<T>,
    /// The query rows of each sequence `[B + 1]`.
    pub queries: Vec<usize>,
    /// `[Q, D]`
    pub q: Buffer<T>,
    /// Keys, then values `[T, 2D]`; not where `folds`.
    pub kv: Buffer<T>,
    /// Whether attention formed no keys and values, as in the last block.
    pub folds: bool,
    /// What it left then.
    pub folded: Folded<T>,
    /// `[Q, D]`
    pub context: Buffer<T>,
    /// Normalized rows of the attention's layer norm `[Q, D]`.
    pub attention_normalized: Buffer<T>,
    /// `[Q]`
    pub attention_rstd: Buffer<T>,
    /// Output of the attention's layer norm `[Q, D]`.
    pub hidden: Buffer<T>,
    /// The slope of GELU at its input `[Q, F]`.
    pub gelu_slope: Buffer<T>,
    /// After GELU `[Q, F]`.
    pub activated: Buffer<T>,
    /// Normalized rows of the output's layer norm `[Q, D]`.
    pub output_normalized: Buffer<T>,
    /// `[Q]`
    pub output_rstd: Buffer<T>,
    /// What adapters make of their inputs.
    pub projections: Projections<T>,
}

impl<T> BlockActivations<T> {
    /// The rows that queries are computed for `[Q, D]`.
    pub fn query_input(&self) -> &[T] {
        if self.first.is_empty() { &self.input } else { &self.first }
    }
}

/// The dropout of a training step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDropout {
    /// Seed of the training.
    pub seed: u64,
    /// The step, counted from 1.
    pub step: u64,
    /// How much is dropped.
    pub rates: DropoutRates,
}

/// Dropout probabilities of a training, each one instead of the model's own where it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropoutRates {
    /// After the embeddings and after the feed-forward networks, `dropout`.
    pub hidden: Option<f64>,
    /// On the attention weights, `attention_dropout`.
    pub attention: Option<f64>,
    /// Before the classifier, `seq_classif_dropout`.
    pub classifier: Option<f64>,
}

/// One pass of a batch through the model: what is computed and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a, T> {
    /// The model's shape.
    pub config: &'a Config,
    /// What goes through it.
    pub batch: &'a Batch,
    /// Without it nothing is dropped.
    pub dropout: Option<StepDropout>,
    /// Sums of word and position embeddings `[T, D]` in place of those of the batch's tokens.
    pub embedded: Option<&'a [T]>,
    /// What the parts below this block put out for this batch, `[T, D]` (`[B, D]` after the last block); without it they
    /// are computed.
    pub frozen: Option<(usize, &'a [T])>,
    /// What the backward pass will compute gradients of; without it nothing is kept for one.
    pub thawed: Option<&'a Thawed>,
    /// Whether the backward pass adds to the gradients, or overwrites them.
    pub accumulate: bool,
}

impl<'a, T> Pass<'a, T> {
    /// Without dropout, from the tokens on, keeping nothing for a backward pass.
    pub fn inference(config: &'a Config, batch: &'a Batch) -> Self {
        Self { config, batch, dropout: None, embedded: None, frozen: None, thawed: None, accumulate: false }
    }

    /// The lowest block with parameters that train, or the depth when only the head has.
    pub fn first_trained_block(&self) -> usize {
        self.thawed.map_or(self.config.n_layers, Thawed::frozen_blocks)
    }

    /// Where a block's activations are kept.
    pub fn slot(&self, block: usize) -> usize {
        (block + 1).saturating_sub(self.first_trained_block())
    }

    /// What attention of first tokens is of, without keys and values.
    pub fn first_tokens<'b>(&self, q: &'b [T], x: &'b [T], weight: &'b [T], bias: &'b [T]) -> FirstTokens<'b, T>
    where
        'a: 'b,
    {
        FirstTokens { q, x, weight, bias, tokens: &self.batch.offsets, heads: self.config.n_heads }
    }

    /// The dropout at a site of a layer: blocks are layers 1, 2, ..., everything else is layer 0. `first_row` is the number
    /// of the batch's first row in the whole batch that it is a part of.
    pub fn dropout(&self, layer: usize, site: Site, first_row: usize) -> Dropout {
        let Some(StepDropout { seed, step, rates }) = self.dropout else { return Dropout::NONE };
        let probability = match site {
            Site::Embeddings | Site::FeedForward => rates.hidden.unwrap_or(self.config.dropout),
            Site::Attention => rates.attention.unwrap_or(self.config.attention_dropout),
            Site::Classifier => rates.classifier.unwrap_or(self.config.seq_classif_dropout),
        };
        Dropout::new(probability, seed, step, layer as u64, site).starting_at(first_row)
    }
}
