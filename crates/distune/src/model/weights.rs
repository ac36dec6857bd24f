//! The one weight table, and parameters laid out by it.
//!
//! All parameters lie in one array in the order of the table: embeddings, blocks from the first to the last, head.
//! Gradients and moments are arrays of what trains alone, in the same order. Key and value weights are neighbours, so that
//! one multiplication serves both.

use std::ops::Range;
use std::sync::Arc;

use distune_kernels::{OptimizerStep, Real, Update, Weight, Words};
use rayon::iter::{ParallelIterator, repeat_n};

use crate::model::Config;
use crate::model::kept::Kept;
use crate::model::lora::{Adapters, Layer, Lora};
use crate::model::packed::Packed;
use crate::model::thawed::{Stage, Thawed};

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
    /// Its place in the table.
    pub index: usize,
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
        self.group > Group::Embeddings && self.shape.len() == 2 && !self.is_adapter()
    }

    /// Whether it is one of the two matrices of a low-rank adapter.
    pub fn is_adapter(&self) -> bool {
        self.name.contains(".lora_")
    }
}

/// Every tensor of a model, in the order of their elements.
#[derive(Debug)]
pub struct Table {
    tensors: Vec<Tensor>,
    n_layers: usize,
    lora: Option<Lora>,
}

impl Table {
    /// The table of a DistilBERT classifier.
    pub fn new(config: &Config) -> Self {
        Self::build(config, None)
    }

    /// As [`Self::new`], with adapters: in each block after its own tensors, for each layer A `[R, K]` and the transposed B
    /// `[R, N]`, under PEFT's names.
    pub fn with_adapters(config: &Config, lora: Lora) -> Self {
        Self::build(config, Some(lora))
    }

    fn build(config: &Config, lora: Option<Lora>) -> Self {
        let mut table = Self { tensors: Vec::new(), n_layers: config.n_layers, lora };
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
            table.push_adapters(i, config);
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
        let (index, name) = (self.tensors.len(), name.to_owned());
        self.tensors.push(Tensor { index, name, shape: shape.to_vec(), decayed, group, range });
    }

    /// The adapters of a block.
    fn push_adapters(&mut self, i: usize, config: &Config) {
        let Some(Lora { rank, layers, .. }) = self.lora.clone() else { return };
        for layer in Layer::ALL.into_iter().filter(|&layer| layers[i][layer as usize]) {
            let ([n, k], layer) = (layer.shape(config), layer.name());
            for (matrix, width) in [("A", k), ("B", n)] {
                let name = format!("distilbert.transformer.layer.{i}.{layer}.lora_{matrix}.weight");
                self.push(Group::Block(i), &name, &[rank, width]);
            }
        }
    }

    /// Its low-rank adapters, where it has some.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// Depth of the model.
    pub fn n_layers(&self) -> usize {
        self.n_layers
    }

    /// Whether attention of first tokens, in the last block, forms no keys and values, but goes through their weights itself: not where
    /// one of them has an adapter.
    pub fn folds_keys(&self) -> bool {
        let adapted =
            |lora: &Lora| [Layer::Key, Layer::Value].map(|layer| lora.layers[self.n_layers - 1][layer as usize]);
        !self.lora.as_ref().is_some_and(|lora| adapted(lora).contains(&true))
    }

    /// Whether it is weights that attention of first tokens goes through itself.
    pub fn is_folded(&self, tensor: &Tensor) -> bool {
        let name = &tensor.name;
        tensor.group == Group::Block(self.n_layers - 1)
            && (name.ends_with(".k_lin.weight") || name.ends_with(".v_lin.weight"))
            && self.folds_keys()
    }

    /// All tensors, in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensors from `group` on.
    pub fn tensors_from(&self, group: Group) -> &[Tensor] {
        &self.tensors[self.first(group)..]
    }

    /// The first tensor of a group.
    fn first(&self, group: Group) -> usize {
        self.tensors.partition_point(|t| t.group < group)
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

/// Values for tensors of the table: for all of them (weights), or for some (gradients, moments). What it has no values for is empty.
#[derive(Clone, Debug)]
pub struct Parameters<T> {
    table: Arc<Table>,
    /// Where each tensor lies in `data`.
    ranges: Vec<Range<usize>>,
    data: Vec<T>,
}

impl<T: Copy + Default + Send + Sync> Parameters<T> {
    /// Zeros for every tensor from `group` on.
    pub fn zeros(table: &Arc<Table>, group: Group) -> Self {
        Self::zeros_where(table, |tensor| tensor.group >= group)
    }

    /// Zeros for these tensors.
    pub fn zeros_where(table: &Arc<Table>, has: impl Fn(&Tensor) -> bool) -> Self {
        let mut len = 0;
        let range = |tensor: &Tensor| {
            let start = len;
            len += if has(tensor) { tensor.range.len() } else { 0 };
            start..len
        };
        let ranges = table.tensors.iter().map(range).collect();
        // on all threads: the system clears each page when it is touched first
        Self { table: table.clone(), ranges, data: repeat_n(T::default(), len).collect() }
    }
}

impl<T: Copy + Default> Parameters<T> {
    /// The table that says what is where.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Whether it has values for no tensor.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements of a tensor.
    pub fn tensor(&self, tensor: &Tensor) -> &[T] {
        &self.data[self.ranges[tensor.index].clone()]
    }

    /// As [`Self::tensor`], to write.
    pub fn tensor_mut(&mut self, tensor: &Tensor) -> &mut [T] {
        &mut self.data[self.ranges[tensor.index].clone()]
    }

    /// All elements from `group` on.
    pub fn from(&self, group: Group) -> &[T] {
        &self.data[self.ranges[self.table.first(group)].start..]
    }

    /// As [`Self::from`], to write.
    pub fn from_mut(&mut self, group: Group) -> &mut [T] {
        &mut self.data[self.ranges[self.table.first(group)].start..]
    }

    /// The elements of each tensor, in the order of the table.
    pub fn tensors(&self) -> Vec<&[T]> {
        let mut take = self.taker(Group::Embeddings);
        self.ranges.iter().map(|_| take(1)).collect()
    }

    /// As [`Self::tensors`], to write.
    pub fn tensors_mut(&mut self) -> Vec<&mut [T]> {
        let tensors = self.ranges.len();
        let mut take = self.taker_mut(Group::Embeddings);
        (0..tensors).map(|_| take(1)).collect()
    }

    /// The embeddings' tensors.
    pub fn embeddings(&self) -> Embeddings<&[T]> {
        Embeddings::new(self.taker(Group::Embeddings))
    }

    /// As [`Self::embeddings`], to write.
    pub fn embeddings_mut(&mut self) -> Embeddings<&mut [T]> {
        Embeddings::new(self.taker_mut(Group::Embeddings))
    }

    /// A block's tensors.
    pub fn block(&self, i: usize) -> Block<&[T]> {
        Block::new(self.taker(Group::Block(i)), self.table.lora(), i)
    }

    /// As [`Self::block`], to write.
    pub fn block_mut(&mut self, i: usize) -> Block<&mut [T]> {
        let table = self.table.clone();
        Block::new(self.taker_mut(Group::Block(i)), table.lora(), i)
    }

    /// The head's tensors.
    pub fn head(&self) -> Head<&[T]> {
        Head::new(self.taker(Group::Head))
    }

    /// As [`Self::head`], to write.
    pub fn head_mut(&mut self) -> Head<&mut [T]> {
        Head::new(self.taker_mut(Group::Head))
    }

    /// Takes the elements of tensors, so many at a time, from the first of `group` on.
    fn taker<'a>(&'a self, group: Group) -> impl FnMut(usize) -> &'a [T] {
        let mut rest = self.from(group);
        let mut ranges = &self.ranges[self.table.first(group)..];
        move |tensors| {
            let (part, tail) = rest.split_at(elements(&mut ranges, tensors));
            rest = tail;
            part
        }
    }

    /// As [`Self::taker`], to write.
    fn taker_mut<'a>(&'a mut self, group: Group) -> impl FnMut(usize) -> &'a mut [T] {
        let first = self.table.first(group);
        let mut ranges = &self.ranges[first..];
        let mut rest = &mut self.data[ranges[0].start..];
        move |tensors| {
            let (part, tail) = std::mem::take(&mut rest).split_at_mut(elements(&mut ranges, tensors));
            rest = tail;
            part
        }
    }
}

/// Takes the ranges of so many tensors off the front; returns how many elements they have together.
fn elements(ranges: &mut &[Range<usize>], tensors: usize) -> usize {
    let (taken, rest) = ranges.split_at(tensors);
    *ranges = rest;
    taken.iter().map(Range::len).sum()
}

/// The weights that a forward pass reads.
#[derive(Debug)]
pub enum Weights<'a, T: Real> {
    /// As they are.
    Ready(&'a Parameters<T>),
    /// Arranged for inference.
    Packed(&'a Packed<T>),
    /// Those of linear layers still wait for a step of the optimizer, which is made when they are read; for a pass that visits
    /// everything that trains.
    Waiting(Waiting<'a, T>),
}

/// A step of the optimizer that the weights of linear layers wait for.
#[derive(Debug)]
pub struct Waiting<'a, T> {
    /// All weights.
    pub weights: &'a mut Parameters<T>,
    /// What the optimizer keeps of what trains.
    pub kept: &'a mut Kept<T>,
    /// Gradients of what trains.
    pub gradients: &'a Parameters<T>,
    /// The step.
    pub step: &'a PendingStep,
}

/// A step of the optimizer: its settings, and what it moves.
#[derive(Clone, Debug)]
pub struct PendingStep {
    /// The same for all tensors.
    pub optimizer: OptimizerStep,
    /// How fast each part moves.
    pub rates: Rates,
    /// What trains in this step.
    pub thawed: Thawed,
    /// The step's number, counted from 1.
    pub number: u64,
}

impl PendingStep {
    /// The step for a tensor.
    pub fn update<'a, T>(&self, tensor: &Tensor, [w, m, v, average]: [&'a mut [T]; 4], g: &'a [T]) -> Update<'a, T> {
        let weight_decay = if tensor.decayed { self.rates.weight_decay } else { 0.0 };
        let step = self.number - self.rates.first_step(tensor.group) + 1;
        Update { w, m, v, average, g, weight_decay, rate: self.rates.of(tensor.group), step }
    }
}

/// How fast each part of the model moves, and from which step on.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Weight decay of what is decayed.
    pub weight_decay: f64,
    /// What the learning rate shrinks by from each block to the one below it, and to the embeddings.
    pub layer_decay: f64,
    /// What the learning rate is multiplied by for the head.
    pub head: f64,
    /// Depth.
    pub n_layers: usize,
    /// When each part begins to train, in gradual unfreezing; without any, all begin with the first step.
    pub stages: Vec<Stage>,
}

impl Rates {
    /// What the learning rate is multiplied by for a part; 1 for the last block.
    pub fn of(&self, group: Group) -> f64 {
        match group {
            Group::Embeddings => self.layer_decay.powi(self.n_layers as i32),
            Group::Block(i) => self.layer_decay.powi((self.n_layers - 1 - i) as i32),
            Group::Head => self.head,
        }
    }

    /// The first step that moves a part.
    pub fn first_step(&self, group: Group) -> u64 {
        self.stages.iter().filter(|stage| stage.lowest <= group).map(|stage| stage.first_step).min().unwrap_or(1)
    }
}

impl<T: Real> Weights<'_, T> {
    fn values(&self) -> &Parameters<T> {
        match self {
            Self::Ready(weights) => weights,
            Self::Packed(packed) => packed.others(),
            Self::Waiting(waiting) => waiting.weights,
        }
    }

    /// The embeddings' tensors, which never wait.
    pub fn embeddings(&self) -> Embeddings<&[T], Words<'_, T>> {
        let Embeddings { words, positions, norm } = self.values().embeddings();
        let words = if let Self::Packed(packed) = self { packed.words() } else { Words::Full(words) };
        Embeddings { words, positions, norm }
    }

    /// A block's tensors.
    pub fn block(&mut self, i: usize) -> Block<Weight<'_, T>> {
        let table = self.values().table.clone();
        Block::new(self.taker(Group::Block(i)), table.lora(), i)
    }

    /// The head's tensors.
    pub fn head(&mut self) -> Head<Weight<'_, T>> {
        Head::new(self.taker(Group::Head))
    }

    fn taker<'b>(&'b mut self, group: Group) -> Box<dyn FnMut(usize) -> Weight<'b, T> + 'b> {
        match self {
            Self::Ready(weights) => {
                let mut w = weights.taker(group);
                Box::new(move |tensors| Weight::Ready(w(tensors)))
            }
            Self::Packed(packed) => {
                let mut linear = packed.linear_from(group).iter();
                let mut others = packed.others().taker(group);
                Box::new(move |tensors| match others(tensors) {
                    // what has no values here is weights of a linear layer
                    [] => linear.next().map_or(Weight::Ready(&[]), Weight::Packed),
                    other => Weight::Ready(other),
                })
            }
            Self::Waiting(waiting) => {
                let mut rest = waiting.gradients.table.tensors_from(group);
                let mut w = waiting.weights.taker_mut(group);
                let mut m = waiting.kept.first_moments.taker_mut(group);
                let mut v = waiting.kept.second_moments.taker_mut(group);
                let mut average = waiting.kept.average.taker_mut(group);
                let mut g = waiting.gradients.taker(group);
                let step = waiting.step;
                Box::new(move |tensors| {
                    let arrays = [w(tensors), m(tensors), v(tensors), average(tensors)];
                    let g = g(tensors);
                    let tensor = &rest[0];
                    rest = &rest[tensors..];
                    if step.thawed.waits(tensor) {
                        Weight::Waiting(step.update(tensor, arrays, g), &step.optimizer)
                    } else {
                        let [w, ..] = arrays;
                        Weight::Ready(w)
                    }
                })
            }
        }
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
pub struct Embeddings<S, W = S> {
    /// `[V, D]`
    pub words: W,
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
    /// Beside the linear layers.
    pub adapters: Adapters<S>,
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
    fn new(take: &mut impl FnMut(usize) -> S) -> Self {
        Self { weight: take(1), bias: take(1) }
    }
}

impl<S> Norm<S> {
    fn new(take: &mut impl FnMut(usize) -> S) -> Self {
        Self { gamma: take(1), beta: take(1) }
    }
}

// The order of each struct's parts is the order of `Table::new`; `take` takes so many tensors.

impl<S> Embeddings<S> {
    fn new(mut take: impl FnMut(usize) -> S) -> Self {
        Self { words: take(1), positions: take(1), norm: Norm::new(&mut take) }
    }
}

impl<S> Block<S> {
    fn new(mut take: impl FnMut(usize) -> S, lora: Option<&Lora>, i: usize) -> Self {
        let (q, kv) = (take(1), take(2));
        Self {
            q: Linear { weight: q, bias: take(1) },
            kv: Linear { weight: kv, bias: take(2) },
            out: Linear::new(&mut take),
            attention_norm: Norm::new(&mut take),
            lin1: Linear::new(&mut take),
            lin2: Linear::new(&mut take),
            output_norm: Norm::new(&mut take),
            adapters: Adapters::new(lora, i, || take(1)),
        }
    }
}

impl<S> Head<S> {
    fn new(mut take: impl FnMut(usize) -> S) -> Self {
        Self { pre_classifier: Linear::new(&mut take), classifier: Linear::new(&mut take) }
    }
}
