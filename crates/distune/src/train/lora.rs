//! What a recipe says about low-rank adapters, and where they go in a model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::lora::{Layer, Lora};
use crate::model::thawed::Thawed;
use crate::model::weights::{Group, Table};
use crate::model::{Config, Model};
use crate::train::Recipe;
use crate::{Error, Result};

/// What the other keys of adapters want.
pub(super) const WITH_LORA_RANK: &str = "lora_rank of 1 or more beside it";

/// Which linear layers get adapters, `lora_targets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraTargets {
    /// Queries and values, PEFT's choice for DistilBERT.
    #[default]
    QueryValue,
    /// All six of a block.
    AllLinear,
}

impl LoraTargets {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 2] = [("query_value", Self::QueryValue), ("all_linear", Self::AllLinear)];

    /// Its name in a recipe.
    pub fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, targets)| *targets == self).map_or("", |(name, _)| name)
    }

    fn has(self, layer: Layer) -> bool {
        self == Self::AllLinear || matches!(layer, Layer::Query | Layer::Value)
    }
}

impl Recipe {
    /// With these settings of adapters, where there are such.
    ///
    /// # Errors
    /// [`Error::Value`] for alpha or targets without a rank, which would do nothing.
    pub fn with_lora(self, rank: Option<usize>, alpha: Option<f64>, targets: Option<LoraTargets>) -> Result<Self> {
        let lora_rank = rank.unwrap_or(self.lora_rank);
        let given =
            [("lora_alpha", alpha.map(|x| x.to_string())), ("lora_targets", targets.map(|x| x.name().to_owned()))];
        if lora_rank == 0
            && let Some((key, Some(found))) = given.into_iter().find(|(_, found)| found.is_some())
        {
            return Err(Error::value("recipe", key, WITH_LORA_RANK, found));
        }
        // rank 0 takes back what the recipe says of adapters
        let before = if lora_rank == 0 && rank.is_some() { Self::default() } else { self.clone() };
        let (lora_alpha, lora_targets) = (alpha.unwrap_or(before.lora_alpha), targets.unwrap_or(before.lora_targets));
        Ok(Self { lora_rank, lora_alpha, lora_targets, ..self })
    }

    /// The adapters that it asks for in a model, of whose tensors this is the table: beside each layer of the targets whose weights
    /// `unfreeze` names, which stay frozen themselves.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key when there is no such layer, or the rank is larger than one of them.
    pub fn lora(&self, table: &Arc<Table>) -> Result<Option<Lora>> {
        let rank = self.lora_rank;
        if rank == 0 {
            return Ok(None);
        }
        let named = self.unfreeze.resolve(table)?;
        let layers: Vec<_> = (0..table.n_layers())
            .map(|block| {
                Layer::ALL.map(|layer| self.lora_targets.has(layer) && weights_are_named(&named, block, layer))
            })
            .collect();
        if !layers.iter().flatten().any(|has| *has) {
            let targets = self.lora_targets.name();
            let expected =
                format!("all, blocks:N or another part with layers that get adapters ({targets}), or lora_rank = 0");
            return Err(Error::value("recipe", "unfreeze", expected, &self.unfreeze));
        }
        let adapted = table.tensors().iter().filter(|tensor| tensor.is_linear() && tensor.group < Group::Head);
        let width = adapted.flat_map(|tensor| tensor.shape.iter().copied()).min().unwrap_or(0);
        if rank > width {
            let expected =
                format!("at most {width}, the width of the model: an adapter of more is larger than the layer");
            return Err(Error::value("recipe", "lora_rank", expected, rank));
        }
        Ok(Some(Lora { rank, scale: self.lora_alpha / rank as f64, layers }))
    }

    /// The tensors of a model of this shape as the recipe trains it: with its adapters.
    ///
    /// # Errors
    /// Those of [`Self::lora`].
    pub fn table(&self, config: &Config) -> Result<Arc<Table>> {
        let table = Arc::new(Table::new(config));
        Ok(self.lora(&table)?.map_or(table, |lora| Arc::new(Table::with_adapters(config, lora))))
    }

    /// A model as the recipe trains it: with new adapters, where it asks for some.
    ///
    /// # Errors
    /// Those of [`Self::lora`].
    pub fn adapt(&self, model: Model) -> Result<Model> {
        Ok(match self.lora(model.weights.table())? {
            Some(lora) => model.with_adapters(lora, self.seed),
            None => model,
        })
    }
}

/// Whether the weights of a layer of a block are among the tensors that are named.
fn weights_are_named(named: &Thawed, block: usize, layer: Layer) -> bool {
    let name = format!(".{block}.{}.weight", layer.name());
    named.tensors().any(|tensor| tensor.group == Group::Block(block) && tensor.name.ends_with(&name))
}
