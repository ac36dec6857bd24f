//! The contract between training or prediction and what computes: a [`Batch`] in, logits out; the parts of a training
//! step in, loss and gradient norm out. Coarse on purpose: another engine plugs in without a dispatch for each operation.

use distune_kernels::{LossOptions, Optimizer, OptimizerStep, gradient_norm, loss, optimizer_step};
use std::io::{Read, Write};

pub use distune_kernels::{
    Isa, LargePages, OperationProfile, Precision, Targets, inside_pool, int8_instructions, isa, peak, start_profile,
    stop_profile,
};

pub use crate::inference::{Inference, InferencePrecision};

use crate::data::Batch;
use crate::model::activations::{Activations, Buffer, DropoutRates, Pass, StepDropout};
use crate::model::backward::{Scratch, backward};
use crate::model::forward::{forward, frozen_output};
use crate::model::kept::Kept;
use crate::model::thawed::{Stage, Thawed};
use crate::model::weights::{Parameters, PendingStep, Rates, Tensor, Waiting, Weights};
use crate::model::{Config, Model};

/// What stays the same over all steps of a training.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// Seed of the dropout.
    pub seed: u64,
    /// How much is dropped, where it is not what the model says.
    pub dropout: DropoutRates,
    /// The optimizer with its constants.
    pub optimizer: Optimizer,
    /// Weight decay, for the tensors that the table marks as decayed.
    pub weight_decay: f64,
    /// Decay of the weights' moving average, which everything but training reads in their place; 0 for none.
    pub ema_decay: f64,
    /// What the learning rate shrinks by from each block to the one below it, and to the embeddings; 1 for nothing.
    pub layer_decay: f64,
    /// What the learning rate is multiplied by for the head.
    pub head_rate: f64,
    /// When each part begins to train, in gradual unfreezing; empty when all begin with the first step.
    pub stages: Vec<Stage>,
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

/// A batch, or the part of it that is computed at once.
#[derive(Clone, Copy, Debug)]
pub struct StepPart<'a> {
    /// Its token ids.
    pub batch: &'a Batch,
    /// What the frozen part puts out for it, as [`Engine::frozen_output`] gives it; without it, it is computed, with dropout.
    pub frozen: Option<&'a [f32]>,
    /// What its rows should be classified as.
    pub targets: Targets<'a>,
    /// [`LossOptions::total_weight`] of the whole batch.
    pub total_weight: f64,
}

/// Something that computes what a model says.
pub trait Predict {
    /// The model's configuration.
    fn config(&self) -> &Config;

    /// Logits `[B, C]` of a batch, without dropout.
    fn logits(&mut self, batch: &Batch) -> &[f32];

    /// Tokens of a batch with which many texts take the least time: enough to fill the cores, little enough to stay in the caches.
    fn batch_tokens(&self) -> usize {
        1024
    }
}

/// Something that also trains a model.
pub trait Engine: Predict {
    /// The model as it is now, with every step made; with [`StepOptions::ema_decay`], its average.
    fn model(&mut self) -> &Model;

    /// What lies below everything that ever trains puts out, without dropout: `[T, D]`, or `[B, D]` when only the head trains.
    fn frozen_output(&mut self, batch: &Batch) -> &[f32];

    /// Adds the gradients of a part of a step's batch to those of the parts before it; returns the part's share of the mean
    /// loss. `step` counts from 1.
    fn accumulate(&mut self, part: StepPart, step: u64, options: &StepOptions) -> f64;

    /// Ends a step: one optimizer step with the gradients of all its parts. Returns their global norm before clipping; when
    /// that is not finite, no weight is changed.
    fn update(&mut self, step: u64, learning_rate: f64, options: &StepOptions) -> f64;

    /// A step whose batch is computed at once.
    fn train_step(
        &mut self,
        batch: &Batch,
        targets: Targets,
        step: u64,
        learning_rate: f64,
        options: &StepOptions,
    ) -> StepOutcome {
        let part = StepPart { batch, frozen: None, targets, total_weight: options.loss.total_weight(targets) };
        let loss = self.accumulate(part, step, options);
        StepOutcome { loss, gradient_norm: self.update(step, learning_rate, options) }
    }

    /// Writes what training changes.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_trained(&mut self, to: &mut dyn Write) -> std::io::Result<()>;

    /// Reads back what [`Self::write_trained`] wrote.
    ///
    /// # Errors
    /// Those of the reader.
    fn read_trained(&mut self, from: &mut dyn Read) -> std::io::Result<()>;

    /// Writes everything that a step changes and the next one reads: what trains, and what the optimizer keeps of it.
    ///
    /// # Errors
    /// Those of the writer.
    fn write_state(&mut self, to: &mut dyn Write) -> std::io::Result<()>;

    /// Reads back what [`Self::write_state`] wrote.
    ///
    /// # Errors
    /// Those of the reader.
    fn read_state(&mut self, from: &mut dyn Read) -> std::io::Result<()>;
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
    /// All that ever trains.
    thawed: Thawed,
    gradients: Parameters<f32>,
    /// Whether `gradients` holds those of a part of the step under way.
    accumulated: bool,
    /// The step that the weights of linear layers still wait for. The next forward pass of a training
    /// step makes it when it reads them, which saves a way through the memory; everything else that reads them makes it first.
    waiting: Option<PendingStep>,
    /// From the first step on.
    kept: Option<Kept<f32>>,
    dlogits: Buffer<f32>,
    scratch: Scratch<f32>,
}

impl Cpu {
    /// An engine that computes logits.
    pub fn new(model: Model, precision: Precision) -> Self {
        Self { model, activations: Activations::new(precision), training: None }
    }

    /// An engine that also trains the thawed part.
    pub fn for_training(model: Model, thawed: Thawed, precision: Precision) -> Self {
        let table = model.weights.table();
        let (dlogits, scratch) = (Buffer::default(), Scratch::new(precision));
        let training = Training {
            gradients: Parameters::zeros_where(table, |tensor| thawed.has_gradient(tensor)),
            accumulated: false,
            waiting: None,
            kept: None,
            thawed,
            dlogits,
            scratch,
        };
        Self { model, activations: Activations::new(precision), training: Some(training) }
    }

    /// The model, when the work is done.
    pub fn into_model(mut self) -> Model {
        self.settle();
        self.model
    }

    /// Every array that a step changes and the next one reads, in the order of a checkpoint: weights as readers find them, what the
    /// optimizer keeps of them.
    fn state(&mut self) -> Vec<&mut [f32]> {
        self.settle();
        let Some(t) = &mut self.training else { return Vec::new() };
        let trains: Vec<bool> =
            self.model.weights.table().tensors().iter().map(|tensor| t.thawed.trains(tensor)).collect();
        let kept = t.kept.iter_mut().flat_map(Kept::arrays);
        let arrays = std::iter::once(&mut self.model.weights).chain(kept).map(Parameters::tensors_mut);
        let trained = |tensors: Vec<_>| tensors.into_iter().zip(&trains).filter(|(_, trains)| **trains);
        arrays.flat_map(trained).map(|(tensor, _)| tensor).collect()
    }

    /// Makes the weights what readers should find; see [`Training::settle`].
    fn settle(&mut self) {
        if let Some(training) = &mut self.training
            && !training.settled()
        {
            inside_pool(|| training.settle(&mut self.model));
        }
    }
}

impl Training {
    /// Whether the weights are what readers should find.
    fn settled(&self) -> bool {
        self.waiting.is_none() && self.kept.as_ref().is_none_or(Kept::shows_average)
    }

    /// Makes the step that weights still wait for, and puts their average in their place, where one is kept.
    fn settle(&mut self, model: &mut Model) {
        if let Some(step) = self.waiting.take() {
            self.step_tensors(model, &step, |tensor| step.thawed.waits(tensor));
        }
        if let Some(kept) = &mut self.kept {
            kept.show_average(&mut model.weights, true);
        }
    }

    /// Puts the weights themselves in their place, and makes room for what the optimizer keeps of them.
    fn unsettle(&mut self, model: &mut Model, options: &StepOptions) {
        let (moments, average) = (options.optimizer.moments(), options.ema_decay > 0.0);
        let kept = self.kept.get_or_insert_with(|| Kept::new(&model.weights, &self.thawed, moments, average));
        kept.show_average(&mut model.weights, false);
    }

    /// See [`Engine::accumulate`].
    fn accumulate(
        &mut self,
        model: &mut Model,
        activations: &mut Activations<f32>,
        part: StepPart,
        step: u64,
        options: &StepOptions,
    ) -> f64 {
        self.unsettle(model, options);
        let StepPart { batch, frozen, targets, total_weight } = part;
        let thawed = self.thawed.at(step, &options.stages);
        let frozen = frozen.map(|frozen| (self.thawed.frozen_blocks(), frozen));
        let dropout = Some(StepDropout { seed: options.seed, step, rates: options.dropout });
        let accumulate = self.accumulated;
        let pass = Pass { dropout, frozen, thawed: Some(&thawed), accumulate, ..Pass::inference(&model.config, batch) };
        let waiting = self.waiting.take();
        let weights = match (&waiting, &mut self.kept) {
            (Some(step), Some(kept)) => {
                Weights::Waiting(Waiting { weights: &mut model.weights, kept, gradients: &self.gradients, step })
            }
            _ => Weights::Ready(&model.weights),
        };
        forward(activations, weights, pass);
        let dlogits = self.dlogits.sized(activations.logits.len());
        let loss = loss(dlogits, &activations.logits, targets, &options.loss, total_weight);
        backward(&mut self.gradients, &mut self.scratch, dlogits, activations, &model.weights, pass);
        self.accumulated = true;
        loss
    }

    /// See [`Engine::update`].
    fn update(&mut self, model: &mut Model, step: u64, learning_rate: f64, options: &StepOptions) -> f64 {
        self.accumulated = false;
        self.unsettle(model, options);
        let thawed = self.thawed.at(step, &options.stages);
        let others: Vec<&[f32]> =
            thawed.tensors().filter(|t| !thawed.waits(t)).map(|tensor| self.gradients.tensor(tensor)).collect();
        let gradient_norm = gradient_norm(&others, self.scratch.squares);
        if !gradient_norm.is_finite() {
            return gradient_norm;
        }
        let clipping = options.max_grad_norm > 0.0;
        // PyTorch's clip_grad_norm_: the small number keeps the quotient finite
        let gradient_scale = if clipping { (options.max_grad_norm / (gradient_norm + 1e-6)).min(1.0) } else { 1.0 };
        let (optimizer, average_decay) = (options.optimizer, options.ema_decay);
        let optimizer = OptimizerStep { optimizer, learning_rate, gradient_scale, average_decay };
        let rates = Rates {
            weight_decay: options.weight_decay,
            layer_decay: options.layer_decay,
            head: options.head_rate,
            n_layers: model.config.n_layers,
            stages: options.stages.clone(),
        };
        let step = PendingStep { optimizer, rates, thawed, number: step };
        self.step_tensors(model, &step, |tensor| !step.thawed.waits(tensor));
        self.waiting = Some(step);
        gradient_norm
    }

    /// One optimizer step for some of the tensors that train.
    fn step_tensors(&mut self, model: &mut Model, step: &PendingStep, which: impl Fn(&Tensor) -> bool) {
        let table = model.weights.table().clone();
        let Some(kept) = &mut self.kept else { return };
        let (w, g) = (model.weights.tensors_mut(), self.gradients.tensors());
        let (m, v) = (kept.first_moments.tensors_mut(), kept.second_moments.tensors_mut());
        let all = table.tensors().iter().zip(w).zip(m).zip(v).zip(kept.average.tensors_mut()).zip(g);
        let moved = all.filter(|(((((tensor, _), _), _), _), _)| step.thawed.trains(tensor) && which(tensor));
        let updates = moved.map(|(((((tensor, w), m), v), average), g)| step.update(tensor, [w, m, v, average], g));
        optimizer_step(updates.collect(), &step.optimizer);
    }
}

impl Predict for Cpu {
    fn config(&self) -> &Config {
        &self.model.config
    }

    fn logits(&mut self, batch: &Batch) -> &[f32] {
        self.settle();
        let pass = Pass::inference(&self.model.config, batch);
        inside_pool(|| forward(&mut self.activations, Weights::Ready(&self.model.weights), pass));
        &self.activations.logits
    }
}

impl Engine for Cpu {
    fn model(&mut self) -> &Model {
        self.settle();
        &self.model
    }

    fn frozen_output(&mut self, batch: &Batch) -> &[f32] {
        let config = &self.model.config;
        let blocks = self.training.as_ref().map_or(config.n_layers, |t| t.thawed.frozen_blocks());
        let (a, pass) = (&mut self.activations, Pass::inference(config, batch));
        inside_pool(|| frozen_output(a, Weights::Ready(&self.model.weights), pass, blocks));
        &self.activations.output
    }

    fn accumulate(&mut self, part: StepPart, step: u64, options: &StepOptions) -> f64 {
        let Some(training) = &mut self.training else { return f64::NAN };
        inside_pool(|| training.accumulate(&mut self.model, &mut self.activations, part, step, options))
    }

    fn update(&mut self, step: u64, learning_rate: f64, options: &StepOptions) -> f64 {
        let Some(training) = &mut self.training else { return f64::NAN };
        inside_pool(|| training.update(&mut self.model, step, learning_rate, options))
    }

    fn write_trained(&mut self, to: &mut dyn Write) -> std::io::Result<()> {
        self.settle();
        let Some(t) = &self.training else { return Ok(()) };
        t.thawed.tensors().try_for_each(|tensor| to.write_all(bytemuck::cast_slice(self.model.weights.tensor(tensor))))
    }

    fn read_trained(&mut self, from: &mut dyn Read) -> std::io::Result<()> {
        // with an average, it is what was written
        self.settle();
        let Some(t) = &mut self.training else { return Ok(()) };
        let mut read = |tensor| from.read_exact(bytemuck::cast_slice_mut(self.model.weights.tensor_mut(tensor)));
        t.thawed.tensors().try_for_each(&mut read)
    }

    fn write_state(&mut self, to: &mut dyn Write) -> std::io::Result<()> {
        let kinds = self.training.as_ref().and_then(|t| t.kept.as_ref()).map_or([false; 3], Kept::kinds);
        to.write_all(&kinds.map(u8::from))?;
        self.state().into_iter().try_for_each(|array| to.write_all(bytemuck::cast_slice(array)))
    }

    fn read_state(&mut self, from: &mut dyn Read) -> std::io::Result<()> {
        let mut kinds = [0; 3];
        from.read_exact(&mut kinds)?;
        let [first, second, average] = kinds.map(|kind| kind != 0);
        if let Some(t) = &mut self.training {
            t.waiting = None;
            let kept = || Kept::new(&self.model.weights, &t.thawed, [first, second], average);
            t.kept = (first || second || average).then(kept);
        }
        self.state().into_iter().try_for_each(|array| from.read_exact(bytemuck::cast_slice_mut(array)))
    }
}
