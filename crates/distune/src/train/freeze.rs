//! Which parts of the model train, how that is said, and the proof that the rest did not change.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::weights::{Group, Parameters, Tensor};
use crate::{Error, Result};

/// The part of the model that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Unfreeze {
    /// `pre_classifier` and `classifier` only.
    Head,
    /// The head and this many of the last transformer blocks.
    Blocks(usize),
    /// Everything, the embeddings too.
    All,
}

impl Unfreeze {
    /// The lowest part that trains, in a model of `n_layers` blocks.
    pub fn lowest(self, n_layers: usize) -> Group {
        match self {
            Self::Head | Self::Blocks(0) => Group::Head,
            Self::Blocks(n) => Group::Block(n_layers.saturating_sub(n)),
            Self::All => Group::Embeddings,
        }
    }

    /// How many blocks lie below everything that trains.
    pub fn frozen_blocks(self, n_layers: usize) -> usize {
        match self.lowest(n_layers) {
            Group::Embeddings => 0,
            Group::Block(lowest) => lowest,
            Group::Head => n_layers,
        }
    }

    /// Whether a tensor trains.
    pub fn trains(self, tensor: &Tensor, n_layers: usize) -> bool {
        tensor.group >= self.lowest(n_layers)
    }

    /// Checks it against a model's depth.
    ///
    /// # Errors
    /// [`Error::Value`] when there are fewer blocks than should thaw.
    pub fn check(self, n_layers: usize) -> Result<()> {
        match self {
            Self::Blocks(n) if n > n_layers => {
                let expected = format!("blocks:1 to blocks:{n_layers} for this model of {n_layers} blocks");
                Err(Error::value("recipe", "unfreeze", expected, self))
            }
            _ => Ok(()),
        }
    }
}

impl Display for Unfreeze {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Blocks(n) => write!(f, "blocks:{n}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl From<Unfreeze> for String {
    fn from(unfreeze: Unfreeze) -> Self {
        unfreeze.to_string()
    }
}

impl FromStr for Unfreeze {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let blocks = text.strip_prefix("blocks:").and_then(|n| n.parse().ok()).filter(|&n: &usize| n > 0);
        match (text, blocks) {
            ("head", _) => Ok(Self::Head),
            ("all", _) => Ok(Self::All),
            (_, Some(n)) => Ok(Self::Blocks(n)),
            _ => Err(Error::value("recipe", "unfreeze", "head, blocks:N (N from 1) or all", format!("\"{text}\""))),
        }
    }
}

impl TryFrom<String> for Unfreeze {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// One line of the table that is shown before training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The group, or several blocks of one kind.
    pub part: String,
    /// Whether it trains.
    pub trains: bool,
    /// Its parameters.
    pub parameters: usize,
}

/// What trains and what is frozen, group by group.
pub fn parts(weights: &Parameters<f32>, unfreeze: Unfreeze, n_layers: usize) -> Vec<Part> {
    let mut parts: Vec<(Group, Part)> = Vec::new();
    for tensor in weights.table().tensors() {
        match parts.last_mut() {
            Some((group, part)) if *group == tensor.group => part.parameters += tensor.range.len(),
            _ => {
                let (part, trains) = (tensor.group.to_string(), unfreeze.trains(tensor, n_layers));
                parts.push((tensor.group, Part { part, trains, parameters: tensor.range.len() }));
            }
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// SHA-256 over the frozen tensors: names and little-endian bytes, in the order of the table.
pub fn frozen_hash(weights: &Parameters<f32>, unfreeze: Unfreeze, n_layers: usize) -> String {
    let mut hash = Sha256::new();
    for tensor in weights.table().tensors().iter().filter(|t| !unfreeze.trains(t, n_layers)) {
        hash.update(tensor.name.as_bytes());
        hash.update(bytemuck::cast_slice::<f32, u8>(weights.tensor(tensor)));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
