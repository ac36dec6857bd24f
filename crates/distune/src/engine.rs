//! The contract between training or prediction and what computes: a [`Batch`] in, logits out; a training step in, loss
//! and gradient norm out. Coarse on purpose: another engine plugs in without a dispatch for each operation.

pub use distune_kernels::Precision;
use distune_kernels::{Adam, Decay, LossOptions, Targets, adam_step, gradient_norm, loss};

use crate::data::Batch;
use crate::model::Model;
use crate::model::activations::{Activations, Pass, sized};
use crate::model::backward::{Scratch, backward};
use crate::model::forward::forward;
use crate::model::weights::Parameters;
use crate::train::Unfreeze;

/// What stays the same over all steps of a training.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// Seed of the dropout.
    pub seed: u64,
    /// Adam's first decay rate.
    pub beta1: f64,
    /// Adam's second decay rate.
    pub beta2: f64,
    /// Adam's epsilon.
    pub epsilon: f64,
    /// Weight decay, for the tensors that the table marks as decayed.
    pub weight_decay: f64,
    /// Adam or AdamW.
    pub decay: Decay,
    /// Gradients of a larger global norm are scaled down to this; 0 for no limit.
    pub max_grad_norm: f64,
    /// Class weights and label smoothing.
    pub loss: LossOptions,
}

/// What a training step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Mean loss of the batch, before the update.
    pub loss: f64,
    /// Global norm of the gradients, before clipping. When it is not finite, no weight was changed.
    pub gradient_norm: f64,
}

/// Something that computes a model.
pub trait Engine {
    /// The model as it is now.
    fn model(&self) -> &Model;

    /// Logits `[B, C]` of a batch, without dropout.
    fn logits(&mut self, batch: &Batch) -> &[f32];

    /// One optimizer step; `step` counts from 1.
    fn train_step(
        &mut self,
        batch: &Batch,
        targets: Targets,
        step: u64,
        learning_rate: f64,
        options: &StepOptions,
    ) -> StepOutcome;

    /// A copy of what training changes.
    fn snapshot(&self) -> Vec<f32>;

    /// Puts a copy back.
    fn restore(&mut self, snapshot: &[f32]);
}

/// The engine for CPUs, on all cores of the current rayon pool. Linear layers multiply in f32 or bf16; everything else is
/// f32.
#[derive(Debug)]
pub struct Cpu {
    model: Model,
    activations: Activations<f32>,
    training: Option<Training>,
}

/// What a training needs beside the model.
#[derive(Debug)]
struct Training {
    unfreeze: Unfreeze,
    gradients: Parameters<f32>,
    first_moments: Parameters<f32>,
    second_moments: Parameters<f32>,
    dlogits: Vec<f32>,
    scratch: Scratch<f32>,
}

impl Cpu {
    /// An engine that computes logits.
    pub fn new(model: Model, precision: Precision) -> Self {
        Self { model, activations: Activations::new(precision), training: None }
    }

    /// An engine that also trains the thawed part.
    pub fn for_training(model: Model, unfreeze: Unfreeze, precision: Precision) -> Self {
        let zeros = || Parameters::zeros(model.weights.table(), unfreeze.lowest(model.config.n_layers));
        let (gradients, first_moments, second_moments) = (zeros(), zeros(), zeros());
        let (dlogits, scratch) = (Vec::new(), Scratch::new(precision));
        let training = Training { unfreeze, gradients, first_moments, second_moments, dlogits, scratch };
        Self { model, activations: Activations::new(precision), training: Some(training) }
    }

    /// See [`Engine::train_step`].
    fn step(
        &mut self,
        batch: &Batch,
        targets: Targets,
        step: u64,
        learning_rate: f64,
        options: &StepOptions,
    ) -> StepOutcome {
        let Some(t) = &mut self.training else {
            return StepOutcome { loss: f64::NAN, gradient_norm: f64::NAN };
        };
        let loss = t.gradients(&self.model, &mut self.activations, batch, targets, step, options);
        let table = self.model.weights.table().clone();
        let trained = || table.tensors().iter().filter(|tensor| t.unfreeze.trains(tensor, self.model.config.n_layers));
        let gradient_norm = gradient_norm(&trained().map(|tensor| t.gradients.tensor(tensor)).collect::<Vec<_>>());
        let outcome = StepOutcome { loss, gradient_norm };
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return outcome;
        }
        let clipping = options.max_grad_norm > 0.0;
        // PyTorch's clip_grad_norm_: the small number keeps the quotient finite
        let gradient_scale = if clipping { (options.max_grad_norm / (gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        for tensor in trained() {
            let adam = Adam {
                learning_rate,
                beta1: options.beta1,
                beta2: options.beta2,
                epsilon: options.epsilon,
                weight_decay: if tensor.decayed { options.weight_decay } else { 0.0 },
                decay: options.decay,
                step,
                gradient_scale,
            };
            let (m, v) = (t.first_moments.tensor_mut(tensor), t.second_moments.tensor_mut(tensor));
            adam_step(self.model.weights.tensor_mut(tensor), m, v, t.gradients.tensor(tensor), &adam);
        }
        outcome
    }

    /// The model, when the work is done.
    pub fn into_model(self) -> Model {
        self.model
    }
}

/// Runs `work` on a thread of the current pool. Its many small parallel operations then start on that thread: from
/// outside, each would wait for the pool to wake, which on a busy machine costs far more than the work.
fn inside_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

impl Training {
    /// Loss of a batch; its gradients go to `self.gradients`.
    fn gradients(
        &mut self,
        model: &Model,
        activations: &mut Activations<f32>,
        batch: &Batch,
        targets: Targets,
        step: u64,
        options: &StepOptions,
    ) -> f64 {
        let lowest = Some(self.unfreeze.lowest(model.config.n_layers));
        let pass = Pass { config: &model.config, batch, dropout: Some((options.seed, step)), lowest };
        forward(activations, &model.weights, pass);
        let dlogits = sized(&mut self.dlogits, activations.logits.len());
        let loss = loss(dlogits, &activations.logits, targets, &options.loss);
        backward(&mut self.gradients, &mut self.scratch, dlogits, activations, &model.weights, pass);
        loss
    }
}

impl Engine for Cpu {
    fn model(&self) -> &Model {
        &self.model
    }

    fn logits(&mut self, batch: &Batch) -> &[f32] {
        let pass = Pass { config: &self.model.config, batch, dropout: None, lowest: None };
        inside_pool(|| forward(&mut self.activations, &self.model.weights, pass));
        &self.activations.logits
    }

    fn train_step(
        &mut self,
        batch: &Batch,
        targets: Targets,
        step: u64,
        learning_rate: f64,
        options: &StepOptions,
    ) -> StepOutcome {
        inside_pool(|| self.step(batch, targets, step, learning_rate, options))
    }

    fn snapshot(&self) -> Vec<f32> {
        let Some(t) = &self.training else { return Vec::new() };
        self.model.weights.from(t.unfreeze.lowest(self.model.config.n_layers)).to_vec()
    }

    fn restore(&mut self, snapshot: &[f32]) {
        if let Some(t) = &self.training {
            let lowest = t.unfreeze.lowest(self.model.config.n_layers);
            self.model.weights.from_mut(lowest).copy_from_slice(snapshot);
        }
    }
}
