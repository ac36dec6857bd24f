//! A model's parameters arranged for inference: the weights of linear layers packed, word embeddings rounded where the products
//! are. Made by [`crate::engine::Inference`], tensor by tensor, so that a model need not be in memory in f32 as a whole.

use std::convert::Infallible;
use std::sync::Arc;

use distune_kernels::{PackedWeights, Precision, Quantized, Real, Words};
use rayon::prelude::*;

use crate::model::weights::{Group, Parameters, Table, Tensor};

/// Parameters that only predict.
#[derive(Debug)]
pub struct Packed<T: Real> {
    words: OwnedWords<T>,
    /// One for each product, in the order of the table.
    linear: Vec<T::Packed>,
    /// Positions, norms and biases, and where they are folded the weights of the last block's keys and values.
    others: Parameters<T>,
}

/// Word embeddings `[V, D]`.
#[derive(Debug)]
enum OwnedWords<T> {
    Full(Vec<T>),
    Bf16(Vec<u16>),
}

/// Products of a block; the last one may have fewer.
const PRODUCTS: usize = 5;
/// Products of the head.
const PRODUCTS_OF_HEAD: usize = 2;

/// What the weights of linear layers are rounded to for inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InferencePrecision {
    /// Not rounded.
    F32,
    /// bfloat16; word embeddings too. Weights of keys and values in the last block, which attention reads itself, stay f32.
    Bf16,
    /// s8 with a scale for each output, and the inputs u8 with a scale for each row; word embeddings bfloat16. The classifier, which is
    /// small and the last, stays f32.
    Int8,
}

impl From<Precision> for InferencePrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

impl std::fmt::Display for InferencePrecision {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// What a checkpoint has of a tensor, or of neighbours whose product is one.
#[derive(Debug)]
pub enum Values {
    /// Numbers.
    F32(Vec<f32>),
    /// Numbers of word embeddings, as bits.
    Bf16(Vec<u16>),
    /// Weights of linear layers.
    Int8(Quantized),
}

/// Whether a tensor is of int8 in a model that is.
pub fn is_int8(tensor: &Tensor) -> bool {
    tensor.is_linear() && tensor.name != "classifier.weight"
}

impl Packed<f32> {
    /// Packs weights without adapters.
    pub fn of(weights: &Parameters<f32>, precision: InferencePrecision) -> Self {
        let copy = |tensors: &[Tensor]| {
            let values = tensors.iter().flat_map(|tensor| weights.tensor(tensor));
            Ok::<_, Infallible>(Values::F32(values.copied().collect()))
        };
        match Self::new(weights.table(), precision, copy) {
            Ok(packed) => packed,
            Err(never) => match never {},
        }
    }

    /// Packs the tensors of a table without adapters, which `read` gives: one of them at a time, keys and values together.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn new<E>(
        table: &Arc<Table>,
        precision: InferencePrecision,
        mut read: impl FnMut(&[Tensor]) -> Result<Values, E>,
    ) -> Result<Self, E> {
        let is_words = |tensor: &Tensor| tensor.index == 0;
        let is_packed =
            |tensor: &Tensor| tensor.is_linear() && (precision == InferencePrecision::Int8 || !table.is_folded(tensor));
        let mut others = Parameters::zeros_where(table, |tensor| !is_words(tensor) && !is_packed(tensor));
        let (mut words, mut linear) = (OwnedWords::Full(Vec::new()), Vec::new());
        // keys and values are one product
        let one_product =
            |a: &Tensor, b: &Tensor| a.name.ends_with(".k_lin.weight") && b.name.ends_with(".v_lin.weight");
        for tensors in table.tensors().chunk_by(one_product) {
            let (tensor, values) = (&tensors[0], read(tensors)?);
            if is_words(tensor) {
                words = OwnedWords::new(values, precision);
            } else if is_packed(tensor) {
                let outputs = tensors.iter().map(|tensor| tensor.shape[0]).sum();
                let precision = if is_int8(tensor) { precision } else { precision.of_the_classifier() };
                linear.push(values.packed(outputs, precision));
            } else {
                let numbers = values.numbers();
                let mut rest = &numbers[..];
                for tensor in tensors {
                    let (values, tail) = rest.split_at(tensor.range.len());
                    others.tensor_mut(tensor).copy_from_slice(values);
                    rest = tail;
                }
            }
        }
        Ok(Self { words, linear, others })
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        let words = match &self.words {
            OwnedWords::Full(words) => size_of_val(&words[..]),
            OwnedWords::Bf16(words) => size_of_val(&words[..]),
        };
        let linear: usize = self.linear.iter().map(PackedWeights::bytes).sum();
        words + linear + size_of_val(self.others.from(Group::Embeddings))
    }
}

impl InferencePrecision {
    fn of_the_classifier(self) -> Self {
        if self == Self::Int8 { Self::F32 } else { self }
    }
}

impl Values {
    /// Weights of `outputs` outputs.
    fn packed(self, outputs: usize, precision: InferencePrecision) -> PackedWeights {
        match (self, precision) {
            (Self::F32(w), InferencePrecision::F32) => PackedWeights::new(&w, outputs, Precision::F32),
            (Self::F32(w), InferencePrecision::Bf16) => PackedWeights::new(&w, outputs, Precision::Bf16),
            (Self::F32(w), InferencePrecision::Int8) => PackedWeights::quantized(&Quantized::new(&w, outputs)),
            (Self::Int8(weights), _) => PackedWeights::quantized(&weights),
            (Self::Bf16(bits), _) => Self::F32(widened(&bits)).packed(outputs, precision),
        }
    }

    /// As they are, in f32.
    fn numbers(self) -> Vec<f32> {
        match self {
            Self::F32(numbers) => numbers,
            Self::Int8(weights) => weights.numbers(),
            Self::Bf16(bits) => widened(&bits),
        }
    }
}

/// The numbers of bf16.
fn widened(bits: &[u16]) -> Vec<f32> {
    bits.iter().map(|&bits| half::bf16::from_bits(bits).to_f32()).collect()
}

/// Numbers as bf16.
pub fn rounded(values: &[f32]) -> Vec<u16> {
    values.par_iter().with_min_len(1 << 16).map(|&x| half::bf16::from_f32(x).to_bits()).collect()
}

impl OwnedWords<f32> {
    fn new(values: Values, precision: InferencePrecision) -> Self {
        match (values, precision) {
            (Values::F32(values), InferencePrecision::F32) => Self::Full(values),
            (Values::F32(values), _) => Self::Bf16(rounded(&values)),
            (Values::Bf16(bits), _) => Self::Bf16(bits),
            // never of int8
            (Values::Int8(_), _) => Self::Full(Vec::new()),
        }
    }
}

impl<T: Real> Packed<T> {
    /// The word embeddings.
    pub fn words(&self) -> Words<'_, T> {
        match &self.words {
            OwnedWords::Full(words) => Words::Full(words),
            OwnedWords::Bf16(words) => Words::Bf16(words),
        }
    }

    /// The weights of the products from `group` on.
    pub fn linear_from(&self, group: Group) -> &[T::Packed] {
        let first = match group {
            Group::Embeddings => 0,
            Group::Block(i) => PRODUCTS * i,
            Group::Head => self.linear.len() - PRODUCTS_OF_HEAD,
        };
        &self.linear[first..]
    }

    /// What is neither words nor packed; nothing for these tensors.
    pub fn others(&self) -> &Parameters<T> {
        &self.others
    }
}
