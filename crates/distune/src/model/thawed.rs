//! Which tensors of a model train. Resolved by `train/freeze.rs`; the passes and the engine read it.

use std::sync::Arc;

use crate::model::weights::{Group, Table, Tensor};

/// The tensors that train. The head always does.
#[derive(Clone, Debug)]
pub struct Thawed {
    table: Arc<Table>,
    /// By tensor of the table.
    trains: Vec<bool>,
}

/// Gradual unfreezing: from this step on, these parts train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Counted from 1.
    pub first_step: u64,
    /// The lowest of them; all above it train too, as far as they ever do.
    pub lowest: Group,
}

impl Thawed {
    /// The head, and the tensors of which that is true.
    pub fn new(table: &Arc<Table>, trains: impl Fn(&Tensor) -> bool) -> Self {
        let trains = table.tensors().iter().map(|tensor| tensor.group == Group::Head || trains(tensor)).collect();
        Self { table: table.clone(), trains }
    }

    /// The table that they are of.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Every tensor from a group on.
    pub fn from(table: &Arc<Table>, group: Group) -> Self {
        Self::new(table, |tensor| tensor.group >= group)
    }

    /// The least with which a backward pass goes down to the sums of embeddings: the head, which always trains, and the bias of
    /// their layer norm.
    pub fn least_from_embeddings(table: &Arc<Table>) -> Self {
        Self::new(table, |tensor| tensor.name.ends_with("embeddings.LayerNorm.bias"))
    }

    /// What of it trains in a step; without stages, all.
    pub fn at(&self, step: u64, stages: &[Stage]) -> Self {
        let begun = stages.iter().filter(|stage| stage.first_step <= step);
        match begun.map(|stage| stage.lowest).min() {
            Some(lowest) => Self::new(&self.table, |tensor| tensor.group >= lowest && self.trains(tensor)),
            None => self.clone(),
        }
    }

    /// Whether a tensor trains.
    pub fn trains(&self, tensor: &Tensor) -> bool {
        self.trains[tensor.index]
    }

    /// The tensors that train, in the order of the table.
    pub fn tensors(&self) -> impl DoubleEndedIterator<Item = &Tensor> {
        self.table.tensors().iter().filter(|tensor| self.trains(tensor))
    }

    /// The lowest part that has any of them.
    pub fn lowest(&self) -> Group {
        self.tensors().next().map_or(Group::Head, |tensor| tensor.group)
    }

    /// How many blocks lie below everything that trains.
    pub fn frozen_blocks(&self) -> usize {
        match self.lowest() {
            Group::Embeddings => 0,
            Group::Block(lowest) => lowest,
            Group::Head => self.table.n_layers(),
        }
    }

    /// Whether the backward pass computes a tensor's gradient: it trains, or it is one of keys and values, which are one
    /// product, and the other one trains.
    pub fn has_gradient(&self, tensor: &Tensor) -> bool {
        self.trains(tensor) || self.trains[partner(tensor)]
    }

    /// Whether a tensor's step waits for the product that reads it, which is one of whole linear layers that train: weights,
    /// and of keys and values both; never where attention reads them itself ([`Table::is_folded`]). The backward pass sums up the squares of these gradients.
    pub fn waits(&self, tensor: &Tensor) -> bool {
        tensor.is_linear() && self.trains(tensor) && self.trains[partner(tensor)] && !self.table.is_folded(tensor)
    }

    /// Whether the key and value weights of a block both train, or neither.
    pub fn keys_as_values(&self, block: usize) -> bool {
        let weights =
            self.table.tensors_from(Group::Block(block)).iter().take_while(|t| t.group == Group::Block(block));
        weights.filter(|tensor| tensor.is_linear()).all(|tensor| self.trains(tensor) == self.trains[partner(tensor)])
    }
}

/// The tensor beside a key or value tensor with which it makes one product; for others, itself.
fn partner(tensor: &Tensor) -> usize {
    if tensor.name.contains(".k_lin.") {
        tensor.index + 1
    } else if tensor.name.contains(".v_lin.") {
        tensor.index - 1
    } else {
        tensor.index
    }
}
