//! The engine that only predicts: as fast as the CPU can, in as little memory as it can. [`crate::engine::Cpu`] trains.

use distune_kernels::inside_pool;

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
}

impl Inference {
    /// Loads a trained classifier, tensor by tensor: it is never in memory in f32 as a whole.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(files: &ModelFiles, precision: impl Into<InferencePrecision>) -> Result<Self> {
        let (config, weights) = Model::load_packed(files, precision.into())?;
        Ok(Self { config, weights, activations: Activations::new(Precision::F32) })
    }

    /// An engine for a model that is in memory; adapters become part of the weights.
    pub fn new(model: &Model, precision: impl Into<InferencePrecision>) -> Self {
        if model.weights.table().lora().is_some() {
            return Self::new(&model.merged(), precision);
        }
        let (config, weights) = (model.config.clone(), Packed::of(&model.weights, precision.into()));
        Self { config, weights, activations: Activations::new(Precision::F32) }
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
}
