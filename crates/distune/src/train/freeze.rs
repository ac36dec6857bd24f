//! Which parts of the model train, how that is said, and the proof that the rest did not change.

use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;

use glob::Pattern;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::thawed::{Stage, Thawed};
use crate::model::weights::{Group, Parameters, Table};
use crate::{Error, Result};

/// What may be written.
const FORMS: &str = "parts joined with +: head, blocks:N (the last N, from 1), blocks:a,b (these, counted from 0; a single one is \
                     blocks:a,), embeddings, bias, all, or a pattern of tensor names such as *.attention.q_lin.*";
/// Characters by which a part is taken for a pattern: a word without any of them is a mistyped one.
const OF_PATTERNS: [char; 4] = ['.', '*', '?', '['];
/// Names that an error shows.
const NAMES_SHOWN: usize = 3;

/// What trains beside the head, which always does: as it is written, to be resolved against a model.
///
/// ```
/// use distune::prelude::*;
///
/// let last_three: Unfreeze = "blocks:3".parse()?;
/// assert_eq!(last_three, Unfreeze::blocks(3));
/// assert!("blocks:0,2+embeddings+*.attention.q_lin.*".parse::<Unfreeze>().is_ok());
/// assert!("blcoks:3".parse::<Unfreeze>().is_err());
/// # Ok::<(), distune::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Unfreeze(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `pre_classifier` and `classifier`.
    Head,
    /// So many of the last transformer blocks.
    LastBlocks(usize),
    /// These transformer blocks, counted from 0.
    Blocks(Vec<usize>),
    /// Word and position embeddings and their layer norm.
    Embeddings,
    /// All biases and layer norms.
    Bias,
    /// Everything.
    All,
    /// The tensors whose names match.
    Names(Pattern),
}

impl Unfreeze {
    /// The head alone.
    pub fn head() -> Self {
        Self(vec![Part::Head])
    }

    /// The head and so many of the last blocks.
    pub fn blocks(n: usize) -> Self {
        Self(vec![Part::LastBlocks(n)])
    }

    /// Everything.
    pub fn all() -> Self {
        Self(vec![Part::All])
    }

    /// The tensors of a model that it means.
    ///
    /// # Errors
    /// [`Error::Value`] for a block that the model has not got, or a pattern that matches nothing.
    pub fn resolve(&self, table: &Arc<Table>) -> Result<Thawed> {
        self.0.iter().try_for_each(|part| part.check(table))?;
        Ok(Thawed::new(table, |tensor| self.0.iter().any(|part| part.names(tensor, table.n_layers()))))
    }
}

impl Part {
    /// Whether it means this tensor.
    fn names(&self, tensor: &crate::model::weights::Tensor, n_layers: usize) -> bool {
        match (self, tensor.group) {
            (Self::All, _) => true,
            (Self::Head, group) => group == Group::Head,
            (Self::Embeddings, group) => group == Group::Embeddings,
            (Self::LastBlocks(n), Group::Block(block)) => block + n >= n_layers,
            (Self::Blocks(blocks), Group::Block(block)) => blocks.contains(&block),
            (Self::LastBlocks(_) | Self::Blocks(_), _) => false,
            (Self::Bias, _) => !tensor.decayed,
            (Self::Names(pattern), _) => pattern.matches(&tensor.name),
        }
    }

    /// Whether the model has what it means.
    fn check(&self, table: &Table) -> Result<()> {
        let n = table.n_layers();
        match self {
            Self::LastBlocks(blocks) if *blocks > n => {
                let expected = format!("blocks:1 to blocks:{n} for this model of {n} blocks");
                Err(Error::value("recipe", "unfreeze", expected, self))
            }
            Self::Blocks(blocks) => match blocks.iter().find(|&&block| block >= n) {
                Some(block) => {
                    let expected = format!("blocks from 0 to {} for this model of {n} blocks", n - 1);
                    Err(Error::value("recipe", "unfreeze", expected, format!("block {block} in {self}")))
                }
                None => Ok(()),
            },
            Self::Names(pattern) if !table.tensors().iter().any(|t| pattern.matches(&t.name)) => {
                let mut names: Vec<&str> = table.tensors().iter().map(|t| t.name.as_str()).collect();
                let nearness = |name: &str| strsim::jaro_winkler(name, pattern.as_str());
                names.sort_by(|a, b| nearness(b).total_cmp(&nearness(a)));
                let expected = format!(
                    "a pattern that matches one of the model's {} tensors, such as {}",
                    names.len(),
                    names[..NAMES_SHOWN.min(names.len())].join(", ")
                );
                Err(Error::value("recipe", "unfreeze", expected, format!("{self}, which matches none")))
            }
            _ => Ok(()),
        }
    }
}

impl Display for Unfreeze {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let parts: Vec<String> = self.0.iter().map(Part::to_string).collect();
        f.write_str(&parts.join("+"))
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::LastBlocks(n) => write!(f, "blocks:{n}"),
            Self::Blocks(blocks) => {
                let numbers: Vec<String> = blocks.iter().map(usize::to_string).collect();
                write!(f, "blocks:{}{}", numbers.join(","), if blocks.len() == 1 { "," } else { "" })
            }
            Self::Embeddings => f.write_str("embeddings"),
            Self::Bias => f.write_str("bias"),
            Self::All => f.write_str("all"),
            Self::Names(pattern) => f.write_str(pattern.as_str()),
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
        text.split('+').map(|part| part.trim().parse()).collect::<Result<_>>().map(Self)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::value("recipe", "unfreeze", FORMS, format!("\"{text}\""));
        match text {
            "head" => Ok(Self::Head),
            "embeddings" => Ok(Self::Embeddings),
            "bias" => Ok(Self::Bias),
            "all" => Ok(Self::All),
            _ => match text.strip_prefix("blocks:") {
                Some(numbers) => blocks(numbers).ok_or_else(unknown),
                None if text.contains(OF_PATTERNS) => Pattern::new(text).map(Self::Names).map_err(|error| {
                    Error::value(
                        "recipe",
                        "unfreeze",
                        "a pattern of tensor names",
                        format!("\"{text}\": {}", error.msg),
                    )
                }),
                None => Err(unknown()),
            },
        }
    }
}

/// What follows `blocks:`.
fn blocks(numbers: &str) -> Option<Part> {
    match numbers.contains(',') {
        true => {
            let numbers = numbers.strip_suffix(',').unwrap_or(numbers).split(',');
            numbers.map(|number| number.parse().ok()).collect::<Option<_>>().map(Part::Blocks)
        }
        false => numbers.parse().ok().filter(|&n| n > 0).map(Part::LastBlocks),
    }
}

impl TryFrom<String> for Unfreeze {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// The stages of gradual unfreezing: the head in the first epoch, and in each one more the next part below it that has anything that
/// trains.
pub fn stages(thawed: &Thawed, steps_per_epoch: usize) -> Vec<Stage> {
    let first_step = |epoch: usize| (epoch * steps_per_epoch) as u64 + 1;
    parts_downwards(thawed)
        .into_iter()
        .enumerate()
        .map(|(epoch, lowest)| Stage { first_step: first_step(epoch), lowest })
        .collect()
}

/// The parts that have anything that trains, from the head down.
pub(super) fn parts_downwards(thawed: &Thawed) -> Vec<Group> {
    let mut groups: Vec<Group> = thawed.tensors().rev().map(|tensor| tensor.group).collect();
    groups.dedup();
    groups
}

/// SHA-256 over the frozen tensors: names and little-endian bytes, in the order of the table.
pub fn frozen_hash(weights: &Parameters<f32>, thawed: &Thawed) -> String {
    let mut hash = Sha256::new();
    for tensor in weights.table().tensors().iter().filter(|tensor| !thawed.trains(tensor)) {
        hash.update(tensor.name.as_bytes());
        hash.update(bytemuck::cast_slice::<f32, u8>(weights.tensor(tensor)));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
