//! The model: its config, the weight table, loading and saving, forward and backward pass.

pub mod activations;
mod architecture;
pub mod backward;
mod checkpoint;
mod config;
mod files;
pub mod forward;
pub mod kept;
mod load;
pub mod lora;
mod names;
pub mod packed;
mod pickle;
mod quantized;
mod save;
pub mod thawed;
mod torch_file;
pub mod weights;

pub use architecture::Architecture;
pub use checkpoint::CheckpointSummary;
pub use config::{Config, ProblemType};
pub use files::{Embedded, ModelFiles};
pub use quantized::save_quantized;
pub(crate) use save::PART;
pub use save::{save, save_encoder, write};

use weights::Parameters;

/// A DistilBERT classifier in f32.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its shape and class names.
    pub config: Config,
    /// Its parameters.
    pub weights: Parameters<f32>,
}
