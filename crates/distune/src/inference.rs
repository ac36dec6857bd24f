//! The engine that only predicts: as fast as the CPU can, in as little memory as it can. [`crate::engine::Cpu`] trains.

use distune_kernels::{Isa, inside_pool, isa};

use crate::Result;
use crate::data::Batch;
use crate::engine::{Precision, Predict};
use crate::model::activations::{Activations, Pass};
use crate::model::forward::forward;
pub use crate::model::packed::InferencePrecision;
use crate::model::packed::Packed;
use crate::model::weights::Weights;
use crate::model::{Config, Model, ModelFiles};

/// A model whose weights are arranged for inference, on all cores of the current rayon pool.
#[derive(Debug)]
pub struct Inference {
    config: Config,
    weights: Packed<f32>,
    activations: Activations<f32>,
    batch_tokens: usize,
}

/// Width of a model up to which AMX is faster on larger batches: its products then write so little that more of them stays in the caches.
const NARROW: usize = 512;

impl Inference {
    /// Loads a trained classifier, tensor by tensor: it is never in memory in f32 as a whole.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(files: &ModelFiles, precision: impl Into<InferencePrecision>) -> Result<Self> {
        let precision = precision.into();
        let (config, weights) = Model::load_packed(files, precision)?;
        Ok(Self::of(config, weights, precision))
    }

    /// An engine for a model that is in memory; adapters become part of the weights.
    pub fn new(model: &Model, precision: impl Into<InferencePrecision>) -> Self {
        if model.weights.table().lora().is_some() {
            return Self::new(&model.merged(), precision);
        }
        let precision = precision.into();
        Self::of(model.config.clone(), Packed::of(&model.weights, precision), precision)
    }

    fn of(config: Config, weights: Packed<f32>, precision: InferencePrecision) -> Self {
        let larger = isa() == Isa::Amx && precision == InferencePrecision::Bf16 && config.dim <= NARROW;
        let batch_tokens = if larger { 2048 } else { 1024 };
        Self { config, weights, activations: Activations::new(Precision::F32), batch_tokens }
    }

    /// Memory that the weights take.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }
}

impl Predict for Inference {
    fn config(&self) -> &Config {
        &self.config
    }

    fn logits(&mut self, batch: &Batch) -> &[f32] {
        let pass = Pass::inference(&self.config, batch);
        inside_pool(|| forward(&mut self.activations, Weights::Packed(&self.weights), pass));
        &self.activations.logits
    }

    fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }
}
