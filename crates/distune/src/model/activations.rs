//! What a forward pass leaves for the backward pass. Buffers are reused from step to step.

use distune_kernels::{Dropout, Precision, Products, Site};

use crate::data::Batch;
use crate::model::Config;
use crate::model::weights::Group;

/// Legend: B sequences, T tokens, Q query rows (T, or B in the last block), D width, F feed-forward width, C classes.
#[derive(Debug, Default)]
pub struct Activations<T> {
    /// The embeddings' normalized rows `[T, D]`, kept by the layer norm.
    pub embeddings_normalized: Vec<T>,
    /// `[T]`
    pub embeddings_rstd: Vec<T>,
    /// One for each block whose backward pass will run, and a first one that all blocks below share.
    pub blocks: Vec<BlockActivations<T>>,
    /// The output of the block that ran last; `[B, D]`, the first tokens, after the last.
    pub output: Vec<T>,
    /// After `pre_classifier` and ReLU `[B, D]`.
    pub pooled: Vec<T>,
    /// `pooled` after dropout `[B, D]`.
    pub dropped: Vec<T>,
    /// `[B, C]`
    pub logits: Vec<T>,
    /// How linear layers multiply.
    pub products: Products,
}

impl<T: Default> Activations<T> {
    /// Empty, for linear layers of this precision.
    pub fn new(precision: Precision) -> Self {
        Self { products: Products::new(precision), ..Self::default() }
    }
}

/// What a block leaves.
#[derive(Debug, Default)]
pub struct BlockActivations<T> {
    /// The block's input `[T, D]`.
    pub input: Vec<T>,
    /// In the last block, the rows of `input` that are first tokens `[B, D]`; else empty.
    pub first: Vec<T>,
    /// The query rows of each sequence `[B + 1]`.
    pub queries: Vec<usize>,
    /// `[Q, D]`
    pub q: Vec<T>,
    /// Keys, then values `[T, 2D]`.
    pub kv: Vec<T>,
    /// `[Q, D]`
    pub context: Vec<T>,
    /// Normalized rows of the attention's layer norm `[Q, D]`.
    pub attention_normalized: Vec<T>,
    /// `[Q]`
    pub attention_rstd: Vec<T>,
    /// Output of the attention's layer norm `[Q, D]`.
    pub hidden: Vec<T>,
    /// Before GELU `[Q, F]`.
    pub lin1: Vec<T>,
    /// After GELU `[Q, F]`.
    pub activated: Vec<T>,
    /// Normalized rows of the output's layer norm `[Q, D]`.
    pub output_normalized: Vec<T>,
    /// `[Q]`
    pub output_rstd: Vec<T>,
}

impl<T> BlockActivations<T> {
    /// The rows that queries are computed for `[Q, D]`.
    pub fn query_input(&self) -> &[T] {
        if self.first.is_empty() { &self.input } else { &self.first }
    }
}

/// One pass of a batch through the model: what is computed and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a, T> {
    /// The model's shape.
    pub config: &'a Config,
    /// What goes through it.
    pub batch: &'a Batch,
    /// (seed, step) of the dropout; without it nothing is dropped.
    pub dropout: Option<(u64, u64)>,
    /// What the parts below `lowest` put out for this batch, `[T, D]` (`[B, D]` when only the head trains); without it they
    /// are computed.
    pub frozen: Option<&'a [T]>,
    /// The lowest part whose gradients the backward pass will compute; without it nothing is kept for one.
    pub lowest: Option<Group>,
    /// Whether the backward pass adds to the gradients, or overwrites them.
    pub accumulate: bool,
}

impl<'a, T> Pass<'a, T> {
    /// Without dropout, from the tokens on, keeping nothing for a backward pass.
    pub fn inference(config: &'a Config, batch: &'a Batch) -> Self {
        Self { config, batch, dropout: None, frozen: None, lowest: None, accumulate: false }
    }

    /// The lowest block with parameters that train, or the depth when only the head has.
    pub fn first_trained_block(&self) -> usize {
        match self.lowest {
            Some(Group::Embeddings) => 0,
            Some(Group::Block(lowest)) => lowest,
            Some(Group::Head) | None => self.config.n_layers,
        }
    }

    /// Where a block's activations are kept.
    pub fn slot(&self, block: usize) -> usize {
        (block + 1).saturating_sub(self.first_trained_block())
    }

    /// The dropout at a site of a layer: blocks are layers 1, 2, ..., everything else is layer 0. `first_row` is the number
    /// of the batch's first row in the whole batch that it is a part of.
    pub fn dropout(&self, probability: f64, layer: usize, site: Site, first_row: usize) -> Dropout {
        match self.dropout {
            Some((seed, step)) => Dropout::new(probability, seed, step, layer as u64, site).starting_at(first_row),
            None => Dropout::NONE,
        }
    }
}

/// Makes `x` hold `len` elements to be overwritten.
pub fn sized<T: Copy + Default>(x: &mut Vec<T>, len: usize) -> &mut [T] {
    x.resize(len, T::default());
    x
}
