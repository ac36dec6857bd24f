//! The options of low-rank adapters, which `train` and `bench` share.

use clap::Args;
use distune::Result;
use distune::train::{LoraTargets, Recipe};

use super::recipe::named;

/// Changes to what a recipe says of adapters.
#[derive(Args, Debug)]
pub(crate) struct LoraArgs {
    /// Rank of low-rank adapters, which train instead of the weights that --unfreeze names and become part of them in the saved model; 0 for
    /// none [default: 0]
    #[arg(long, value_name = "N")]
    lora_rank: Option<usize>,
    /// What adapters add is multiplied by this over the rank [default: 8]
    #[arg(long, value_name = "X")]
    lora_alpha: Option<f64>,
    /// Layers that get adapters: query_value or all_linear [default: query_value]
    #[arg(long, value_name = "NAME", value_parser = targets)]
    lora_targets: Option<LoraTargets>,
}

fn targets(name: &str) -> Result<LoraTargets, String> {
    named(&LoraTargets::NAMES, name)
}

impl LoraArgs {
    /// What the options say, and for the rest what the recipe says.
    pub(crate) fn over(&self, recipe: Recipe) -> Result<Recipe> {
        recipe.with_lora(self.lora_rank, self.lora_alpha, self.lora_targets)
    }
}
