//! The one weight table, and parameters laid out by it.
//!
//! All parameters lie in one array in the order of the table: embeddings, blocks from the first to the last, head.
//! So whatever lies above the lowest trainable block is one contiguous part, and gradients and moments are arrays of
//! that part alone. Key and value weights are neighbours, so that one multiplication serves both.

use std::ops::Range;
use std::sync::Arc;

use distune_kernels::{Adam, Update, Weight};
use rayon::iter::{ParallelIterator, repeat_n};

use crate::model::Config;

/// A part of the model that is frozen or thawed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Word and position embeddings and their layer norm.
    Embeddings,
    /// A transformer block, counted from 0.
    Block(usize),
    /// `pre_classifier` and `classifier`.
    Head,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Embeddings => f.write_str("embeddings"),
            Self::Block(i) => write!(f, "block {i}"),
            Self::Head => f.write_str("head"),
        }
    }
}

/// One row of the weight table.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Hugging Face name.
    pub name: String,
    /// Shape, rows first.
    pub shape: Vec<usize>,
    /// Whether weight decay applies: not to biases and layer norms.
    pub decayed: bool,
    /// The part of the model it belongs to.
    pub group: Group,
    /// Where its elements lie in the array of all parameters.
    pub range: Range<usize>,
}

impl Tensor {
    /// Whether it is the weights of a linear layer.
    pub fn is_linear(&self) -> bool {
        self.group > Group::Embeddings && self.shape.len() == 2
    }
}

/// Every tensor of a model, in the order of their elements.
#[derive(Debug)]
pub struct Table {
    tensors: Vec<Tensor>,
    config: Config,
}

impl Table {
    /// The table of a DistilBERT classifier.
    pub fn new(config: &Config) -> Self {
        let mut table = Self { tensors: Vec::new(), config: config.clone() };
        let (d, f) = (config.dim, config.hidden_dim);
        let group = Group::Embeddings;
        table.push(group, "distilbert.embeddings.word_embeddings.weight", &[config.vocab_size, d]);
        table.push(group, "distilbert.embeddings.position_embeddings.weight", &[config.max_position_embeddings, d]);
        table.push(group, "distilbert.embeddings.LayerNorm.weight", &[d]);
        table.push(group, "distilbert.embeddings.LayerNorm.bias", &[d]);
        for i in 0..config.n_layers {
            for (name, shape) in [
                ("attention.q_lin.weight", &[d, d][..]),
                ("attention.k_lin.weight", &[d, d]),
                ("attention.v_lin.weight", &[d, d]),
                ("attention.q_lin.bias", &[d]),
                ("attention.k_lin.bias", &[d]),
                ("attention.v_lin.bias", &[d]),
                ("attention.out_lin.weight", &[d, d]),
                ("attention.out_lin.bias", &[d]),
                ("sa_layer_norm.weight", &[d]),
                ("sa_layer_norm.bias", &[d]),
                ("ffn.lin1.weight", &[f, d]),
                ("ffn.lin1.bias", &[f]),
                ("ffn.lin2.weight", &[d, f]),
                ("ffn.lin2.bias", &[d]),
                ("output_layer_norm.weight", &[d]),
                ("output_layer_norm.bias", &[d]),
            ] {
                table.push(Group::Block(i), &format!("distilbert.transformer.layer.{i}.{name}"), shape);
            }
        }
        table.push(Group::Head, "pre_classifier.weight", &[d, d]);
        table.push(Group::Head, "pre_classifier.bias", &[d]);
        table.push(Group::Head, "classifier.weight", &[config.labels.len(), d]);
        table.push(Group::Head, "classifier.bias", &[config.labels.len()]);
        table
    }

    fn push(&mut self, group: Group, name: &str, shape: &[usize]) {
        let start = self.len();
        let decayed = !name.ends_with(".bias") && !name.contains("LayerNorm") && !name.contains("layer_norm");
        let range = start..start + shape.iter().product::<usize>();
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec(), decayed, group, range });
    }

    /// All tensors, in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensors from `group` on.
    pub fn tensors_from(&self, group: Group) -> &[Tensor] {
        &self.tensors[self.tensors.partition_point(|t| t.group < group)..]
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |t| t.range.end)
    }

    /// Whether it has none; it always has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a group's elements begin.
    pub fn start(&self, group: Group) -> usize {
        self.tensors.iter().find(|t| t.group == group).map_or(0, |t| t.range.start)
    }
}

/// Values for every tensor of the table from one group on: weights, gradients or moments.
#[derive(Clone, Debug)]
pub struct Parameters<T> {
    table: Arc<Table>,
    /// The element of the table that `data[0]` is.
    start: usize,
    data: Vec<T>,
}

impl<T: Copy + Default + Send + Sync> Parameters<T> {
    /// Zeros for every tensor from `group` on.
    pub fn zeros(table: &Arc<Table>, group: Group) -> Self {
        let start = table.start(group);
        // on all threads: the system clears each page when it is touched first
        Self { table: table.clone(), start, data: repeat_n(T::default(), table.len() - start).collect() }
    }
}

impl<T: Copy + Default> Parameters<T> {
    /// The table that says what is where.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The elements of a tensor, or nothing when it lies below the first group.
    pub fn tensor(&self, tensor: &Tensor) -> &[T] {
        tensor.range.start.checked_sub(self.start).map_or(&[], |at| &self.data[at..][..tensor.range.len()])
    }

    /// As [`Self::tensor`], to write.
    pub fn tensor_mut(&mut self, tensor: &Tensor) -> &mut [T] {
        match tensor.range.start.checked_sub(self.start) {
            Some(at) => &mut self.data[at..][..tensor.range.len()],
            None => &mut [],
        }
    }

    /// The elements from `group` on; the group must not lie below the first one.
    pub fn from(&self, group: Group) -> &[T] {
        &self.data[self.table.start(group) - self.start..]
    }

    /// As [`Self::from`], to write.
    pub fn from_mut(&mut self, group: Group) -> &mut [T] {
        &mut self.data[self.table.start(group) - self.start..]
    }

    /// The elements of each tensor from `group` on, which must not lie below the first one.
    pub fn tensors_from(&self, group: Group) -> Vec<&[T]> {
        let mut take = taker(self.from(group));
        self.table.tensors_from(group).iter().map(|tensor| take(tensor.range.len())).collect()
    }

    /// As [`Self::tensors_from`], to write.
    pub fn tensors_from_mut(&mut self, group: Group) -> Vec<&mut [T]> {
        let table = self.table.clone();
        let mut take = taker_mut(self.from_mut(group));
        table.tensors_from(group).iter().map(|tensor| take(tensor.range.len())).collect()
    }

    /// The embeddings' tensors.
    pub fn embeddings(&self) -> Embeddings<&[T]> {
        Embeddings::new(&self.table.config, taker(self.from(Group::Embeddings)))
    }

    /// As [`Self::embeddings`], to write.
    pub fn embeddings_mut(&mut self) -> Embeddings<&mut [T]> {
        let table = self.table.clone();
        Embeddings::new(&table.config, taker_mut(self.from_mut(Group::Embeddings)))
    }

    /// A block's tensors.
    pub fn block(&self, i: usize) -> Block<&[T]> {
        Block::new(&self.table.config, taker(self.from(Group::Block(i))))
    }

    /// As [`Self::block`], to write.
    pub fn block_mut(&mut self, i: usize) -> Block<&mut [T]> {
        let table = self.table.clone();
        Block::new(&table.config, taker_mut(self.from_mut(Group::Block(i))))
    }

    /// The head's tensors.
    pub fn head(&self) -> Head<&[T]> {
        Head::new(&self.table.config, taker(self.from(Group::Head)))
    }

    /// As [`Self::head`], to write.
    pub fn head_mut(&mut self) -> Head<&mut [T]> {
        let table = self.table.clone();
        Head::new(&table.config, taker_mut(self.from_mut(Group::Head)))
    }
}

/// The weights that a forward pass reads.
#[derive(Debug)]
pub enum Weights<'a, T> {
    /// As they are.
    Ready(&'a Parameters<T>),
    /// Those of linear layers still wait for a step of the optimizer, which is made when they are read; for a pass that visits
    /// everything that trains.
    Waiting(Waiting<'a, T>),
}

/// A step of the optimizer that the weights of linear layers wait for.
#[derive(Debug)]
pub struct Waiting<'a, T> {
    /// All weights.
    pub weights: &'a mut Parameters<T>,
    /// First moments of what trains.
    pub first_moments: &'a mut Parameters<T>,
    /// Second moments of what trains.
    pub second_moments: &'a mut Parameters<T>,
    /// Gradients of what trains.
    pub gradients: &'a Parameters<T>,
    /// The step.
    pub adam: &'a Adam,
    /// How fast each part moves; the weights of linear layers are all decayed.
    pub rates: Rates,
}

/// How fast each part of the model moves in a step.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Weight decay of what is decayed.
    pub weight_decay: f64,
    /// What the learning rate shrinks by from each block to the one below it, and to the embeddings.
    pub layer_decay: f64,
    /// Depth.
    pub n_layers: usize,
}

impl Rates {
    /// What the learning rate is multiplied by for a part; 1 for the head and the last block.
    pub fn of(&self, group: Group) -> f64 {
        let below_the_last = match group {
            Group::Embeddings => self.n_layers,
            Group::Block(i) => self.n_layers - 1 - i,
            Group::Head => 0,
        };
        self.layer_decay.powi(below_the_last as i32)
    }
}

impl<T: Copy + Default> Weights<'_, T> {
    fn values(&self) -> &Parameters<T> {
        match self {
            Self::Ready(weights) => weights,
            Self::Waiting(waiting) => waiting.weights,
        }
    }

    /// The embeddings' tensors, which never wait.
    pub fn embeddings(&self) -> Embeddings<&[T]> {
        self.values().embeddings()
    }

    /// A block's tensors.
    pub fn block(&mut self, i: usize) -> Block<Weight<'_, T>> {
        let table = self.values().table.clone();
        Block::new(&table.config, self.taker(Group::Block(i)))
    }

    /// The head's tensors.
    pub fn head(&mut self) -> Head<Weight<'_, T>> {
        let table = self.values().table.clone();
        Head::new(&table.config, self.taker(Group::Head))
    }

    fn taker<'b>(&'b mut self, group: Group) -> Box<dyn FnMut(usize) -> Weight<'b, T> + 'b> {
        match self {
            Self::Ready(weights) => ready(weights.from(group)),
            Self::Waiting(waiting) => {
                if waiting.weights.table.start(group) < waiting.gradients.start {
                    return ready(waiting.weights.from(group));
                }
                let mut w = taker_mut(waiting.weights.from_mut(group));
                let mut m = taker_mut(waiting.first_moments.from_mut(group));
                let mut v = taker_mut(waiting.second_moments.from_mut(group));
                let mut g = taker(waiting.gradients.from(group));
                let (adam, weight_decay, rate) = (waiting.adam, waiting.rates.weight_decay, waiting.rates.of(group));
                Box::new(move |n| {
                    Weight::Waiting(Update { w: w(n), m: m(n), v: v(n), g: g(n), weight_decay, rate }, adam)
                })
            }
        }
    }
}

fn ready<'a, T>(values: &'a [T]) -> Box<dyn FnMut(usize) -> Weight<'a, T> + 'a> {
    let mut values = taker(values);
    Box::new(move |n| Weight::Ready(values(n)))
}

/// Takes parts off the front of a slice, one after another.
fn taker<'a, T>(mut rest: &'a [T]) -> impl FnMut(usize) -> &'a [T] {
    move |n| {
        let (part, tail) = rest.split_at(n);
        rest = tail;
        part
    }
}

/// As [`taker`], to write.
fn taker_mut<'a, T>(mut rest: &'a mut [T]) -> impl FnMut(usize) -> &'a mut [T] {
    move |n| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(n);
        rest = tail;
        part
    }
}

/// `y = x · weightᵀ + bias`: weight `[N, K]`, bias `[N]`.
#[derive(Debug)]
pub struct Linear<S> {
    /// `[N, K]`
    pub weight: S,
    /// `[N]`
    pub bias: S,
}

/// A layer norm.
#[derive(Debug)]
pub struct Norm<S> {
    /// `[D]`, `weight` in files.
    pub gamma: S,
    /// `[D]`, `bias` in files.
    pub beta: S,
}

/// The tensors of [`Group::Embeddings`].
#[derive(Debug)]
pub struct Embeddings<S> {
    /// `[V, D]`
    pub words: S,
    /// `[P, D]`
    pub positions: S,
    /// `[D]`
    pub norm: Norm<S>,
}

/// The tensors of a [`Group::Block`].
#[derive(Debug)]
pub struct Block<S> {
    /// Queries, `[D, D]`.
    pub q: Linear<S>,
    /// Keys, then values: `[2D, D]`.
    pub kv: Linear<S>,
    /// The attention's output, `[D, D]`.
    pub out: Linear<S>,
    /// After the attention's residual.
    pub attention_norm: Norm<S>,
    /// `[F, D]`
    pub lin1: Linear<S>,
    /// `[D, F]`
    pub lin2: Linear<S>,
    /// After the feed-forward network's residual.
    pub output_norm: Norm<S>,
}

/// The tensors of [`Group::Head`].
#[derive(Debug)]
pub struct Head<S> {
    /// `[D, D]`
    pub pre_classifier: Linear<S>,
    /// `[C, D]`
    pub classifier: Linear<S>,
}

impl<S> Linear<S> {
    fn new([n, k]: [usize; 2], take: &mut impl FnMut(usize) -> S) -> Self {
        Self { weight: take(n * k), bias: take(n) }
    }
}

impl<S> Norm<S> {
    fn new(d: usize, take: &mut impl FnMut(usize) -> S) -> Self {
        Self { gamma: take(d), beta: take(d) }
    }
}

// The order of each struct's parts is the order of `Table::new`.

impl<S> Embeddings<S> {
    fn new(c: &Config, mut take: impl FnMut(usize) -> S) -> Self {
        let (words, positions) = (take(c.vocab_size * c.dim), take(c.max_position_embeddings * c.dim));
        Self { words, positions, norm: Norm::new(c.dim, &mut take) }
    }
}

impl<S> Block<S> {
    fn new(c: &Config, mut take: impl FnMut(usize) -> S) -> Self {
        let (d, f) = (c.dim, c.hidden_dim);
        let (q, kv) = (take(d * d), take(2 * d * d));
        Self {
            q: Linear { weight: q, bias: take(d) },
            kv: Linear { weight: kv, bias: take(2 * d) },
            out: Linear::new([d, d], &mut take),
            attention_norm: Norm::new(d, &mut take),
            lin1: Linear::new([f, d], &mut take),
            lin2: Linear::new([d, f], &mut take),
            output_norm: Norm::new(d, &mut take),
        }
    }
}

impl<S> Head<S> {
    fn new(c: &Config, mut take: impl FnMut(usize) -> S) -> Self {
        Self {
            pre_classifier: Linear::new([c.dim, c.dim], &mut take),
            classifier: Linear::new([c.labels.len(), c.dim], &mut take),
        }
    }
}
