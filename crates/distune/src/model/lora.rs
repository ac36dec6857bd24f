//! Low-rank adapters (LoRA, Hu et al. 2021): where they sit, what they add to the forward and backward pass, and how they become
//! part of the weights. `forward.rs` and `backward.rs` call them beside the product of the layer that they adapt.
//!
//! An adapter adds `s · (x · Aᵀ) · Bᵀ` to the output of a frozen linear layer `[N, K]`, with A `[R, K]` and B `[N, R]`. B is kept
//! transposed, see `kernels/src/low_rank.rs`. The weights stay as they are until [`Model::merged`].

use std::fmt::{Display, Formatter};
use std::sync::Arc;

use distune_kernels as k;
use distune_kernels::{Columns, Real, Weight, low_rank_width};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::model::activations::Buffer;
use crate::model::weights::{Group, Parameters, Table, Tensor};
use crate::model::{Config, Model};

/// The stream of the generator that adapters start from; a new head and the shuffling have others.
const STREAM: u64 = u64::MAX;

/// A linear layer of a block, which may have an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// `q_lin`
    Query,
    /// `k_lin`
    Key,
    /// `v_lin`
    Value,
    /// `out_lin`
    Out,
    /// `lin1`
    Lin1,
    /// `lin2`
    Lin2,
}

impl Layer {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 6] = [Self::Query, Self::Key, Self::Value, Self::Out, Self::Lin1, Self::Lin2];

    /// Its name within a block, in Hugging Face's files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "attention.q_lin",
            Self::Key => "attention.k_lin",
            Self::Value => "attention.v_lin",
            Self::Out => "attention.out_lin",
            Self::Lin1 => "ffn.lin1",
            Self::Lin2 => "ffn.lin2",
        }
    }

    /// Its outputs and inputs: the shape of its weights.
    pub fn shape(self, config: &Config) -> [usize; 2] {
        let (d, f) = (config.dim, config.hidden_dim);
        match self {
            Self::Lin1 => [f, d],
            Self::Lin2 => [d, f],
            _ => [d, d],
        }
    }

    /// Which columns its `width` outputs are of what its product puts out: keys and values are one product.
    fn outputs(self, width: usize) -> Columns {
        match self {
            Self::Key => Columns::half(width, 0),
            Self::Value => Columns::half(width, 1),
            _ => Columns::all(width),
        }
    }
}

impl Display for Lora {
    /// Where they sit.
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let layers = self.layers.iter().flatten().filter(|has| **has).count();
        let blocks = self.layers.iter().filter(|layers| layers.contains(&true)).count();
        write!(
            f,
            "Adapters of rank {} (LoRA) beside {layers} linear layers of {blocks} blocks. They and the head train; everything else \
             stays frozen, also embeddings, biases and layer norms.",
            self.rank
        )
    }
}

/// The adapters of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// R, 1 or more.
    pub rank: usize,
    /// s, the factor of what they add: alpha / rank.
    pub scale: f64,
    /// Which layers of each block have one, in the order of [`Layer::ALL`].
    pub layers: Vec<[bool; Layer::ALL.len()]>,
}

/// A layer's adapter.
#[derive(Debug)]
pub struct Adapter<S> {
    /// `[R, K]`
    a: S,
    /// Transposed, `[R, N]`.
    b: S,
}

/// The adapters of a block.
#[derive(Debug)]
pub struct Adapters<S> {
    rank: usize,
    scale: f64,
    layers: [Option<Adapter<S>>; Layer::ALL.len()],
}

/// What each adapter of a block makes of its input, or of a gradient, `[M, R]`: for the products that follow.
pub type Projections<T> = [Buffer<T>; Layer::ALL.len()];

impl<S> Adapters<S> {
    /// Those of a block, whose tensors are taken in the order of the table.
    pub(super) fn new(lora: Option<&Lora>, block: usize, mut take: impl FnMut() -> S) -> Self {
        let Some(lora) = lora else { return Self { rank: 0, scale: 0.0, layers: [const { None }; 6] } };
        let layers = lora.layers[block].map(|has| has.then(|| Adapter { a: take(), b: take() }));
        Self { rank: lora.rank, scale: lora.scale, layers }
    }

    /// Whether one of these layers has one.
    pub fn any(&self, layers: &[Layer]) -> bool {
        layers.iter().any(|&layer| self.get(layer).is_some())
    }

    fn get(&self, layer: Layer) -> Option<&Adapter<S>> {
        self.layers[layer as usize].as_ref()
    }
}

impl<T: Real> Adapters<Weight<'_, T>> {
    /// `y += s · (x · Aᵀ) · Bᵀ`, where the layer has an adapter; leaves `s · x · Aᵀ` for the backward pass.
    pub fn forward(&self, layer: Layer, y: &mut [T], x: &[T], projections: &mut Projections<T>) {
        let Some(adapter) = self.get(layer) else { return };
        let (a, b) = (adapter.a.values(), adapter.b.values());
        let [inputs, outputs] = [a.len(), b.len()].map(|len| len / self.rank);
        let p = projections[layer as usize].sized(x.len() / inputs * low_rank_width(self.rank));
        k::low_rank_down(p, x, Columns::all(inputs), a, self.scale);
        k::low_rank_up(y, layer.outputs(outputs), p, b);
    }
}

/// The backward pass of a block's adapters.
#[derive(Debug)]
pub struct AdaptersBackward<'a, T> {
    w: Adapters<&'a [T]>,
    d: Adapters<&'a mut [T]>,
    /// `s · x · Aᵀ`, as the forward pass left it.
    p: &'a Projections<T>,
    /// `s · dy · B`, from [`Self::weights`] for [`Self::input`].
    q: &'a mut Projections<T>,
    accumulate: bool,
}

impl<'a, T: Real> AdaptersBackward<'a, T> {
    /// Of adapters `w`, with gradients that are overwritten, or added to.
    pub fn new(
        w: Adapters<&'a [T]>,
        d: Adapters<&'a mut [T]>,
        (p, q): (&'a Projections<T>, &'a mut Projections<T>),
        accumulate: bool,
    ) -> Self {
        Self { w, d, p, q, accumulate }
    }

    /// The gradients of a layer's adapter, where it has one, from those of the layer's output and from its input.
    pub fn weights(&mut self, layer: Layer, dy: &[T], x: &[T]) {
        let (Some(w), Some(d)) = (self.w.get(layer), &mut self.d.layers[layer as usize]) else { return };
        let [inputs, outputs] = [w.a.len(), w.b.len()].map(|len| len / self.w.rank);
        let (p, outputs) = (&self.p[layer as usize], layer.outputs(outputs));
        let q = self.q[layer as usize].sized(p.len());
        k::low_rank_gradient(d.b, p, dy, outputs, self.accumulate);
        k::low_rank_down(q, dy, outputs, w.b, self.w.scale);
        k::low_rank_gradient(d.a, q, x, Columns::all(inputs), self.accumulate);
    }

    /// Adds what goes through a layer's adapter, where it has one, to the gradient of the layer's input.
    pub fn input(&self, layer: Layer, dx: &mut [T]) {
        let Some(w) = self.w.get(layer) else { return };
        k::low_rank_up(dx, Columns::all(w.a.len() / self.w.rank), &self.q[layer as usize], w.a);
    }
}

impl Model {
    /// The model with new adapters, as PEFT starts them: A uniform between plus and minus one over the root of its width
    /// (Kaiming's, with the slope of a linear layer of PyTorch), B zero, so that they change nothing yet.
    #[must_use]
    pub fn with_adapters(self, lora: Lora, seed: u64) -> Self {
        let table = Arc::new(Table::with_adapters(&self.config, lora));
        let mut weights = Parameters::zeros(&table, Group::Embeddings);
        copy_tensors(&mut weights, &self.weights);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(STREAM);
        for tensor in table.tensors().iter().filter(|tensor| tensor.name.ends_with(".lora_A.weight")) {
            let bound = 1.0 / (tensor.shape[1] as f64).sqrt();
            weights.tensor_mut(tensor).fill_with(|| ((2.0 * random.random::<f64>() - 1.0) * bound) as f32);
        }
        Self { config: self.config, weights }
    }

    /// The model with its adapters made part of the weights, `W + s · B · A`, in the layout of every other model. All else stays
    /// as it is, to the bit.
    #[must_use]
    pub fn merged(&self) -> Self {
        let table = Arc::new(Table::new(&self.config));
        let mut weights = Parameters::zeros(&table, Group::Embeddings);
        copy_tensors(&mut weights, &self.weights);
        let lora = self.weights.table().lora();
        for tensor in table.tensors() {
            if let (Some(lora), Some([a, b])) = (lora, self.adapter_of(tensor)) {
                add_product(weights.tensor_mut(tensor), a, b, lora);
            }
        }
        Self { config: self.config.clone(), weights }
    }

    /// A and the transposed B of the layer whose weights these are.
    fn adapter_of(&self, tensor: &Tensor) -> Option<[&[f32]; 2]> {
        let layer = tensor.name.strip_suffix(".weight")?;
        let tensors = self.weights.table().tensors_from(tensor.group);
        let mut found =
            tensors.iter().filter(|t| t.name.strip_prefix(layer).is_some_and(|rest| rest.starts_with(".lora_")));
        Some([self.weights.tensor(found.next()?), self.weights.tensor(found.next()?)])
    }
}

/// `w [N, K] += s · bᵀ · a`, for `a [R, K]` and `b [R, N]`: summed in f64 and rounded once.
fn add_product(w: &mut [f32], a: &[f32], b: &[f32], lora: &Lora) {
    let [inputs, outputs] = [a.len(), b.len()].map(|len| len / lora.rank);
    w.par_chunks_exact_mut(inputs).enumerate().for_each(|(n, w)| {
        let mut sums = vec![0.0_f64; inputs];
        for (a, b) in a.chunks_exact(inputs).zip(b.chunks_exact(outputs)) {
            let b = lora.scale * f64::from(b[n]);
            sums.iter_mut().zip(a).for_each(|(sum, a)| *sum += b * f64::from(*a));
        }
        w.iter_mut().zip(sums).for_each(|(w, sum)| *w = (f64::from(*w) + sum) as f32);
    });
}

/// Copies the tensors that both have.
fn copy_tensors(to: &mut Parameters<f32>, from: &Parameters<f32>) {
    let (from_table, to_table) = (from.table().clone(), to.table().clone());
    let [from_tensors, to_tensors] =
        [&from_table, &to_table].map(|table| table.tensors().iter().filter(|tensor| !tensor.is_adapter()));
    for (source, target) in from_tensors.zip(to_tensors) {
        to.tensor_mut(target).copy_from_slice(from.tensor(source));
    }
}
