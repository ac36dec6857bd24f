//! Checkpoints in: tensors of f32, f16 or bf16 under the names of their architecture, as f32.

use std::sync::Arc;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::Dtype;

use crate::data::LabelMap;
use crate::model::checkpoint::{Checkpoint, Stored};
use crate::model::names::candidates;
use crate::model::packed::{InferencePrecision, Packed, Values};
use crate::model::quantized;
use crate::model::weights::{Group, Parameters, Table, Tensor};
use crate::model::{Architecture, Config, Model, ModelFiles};
use crate::{Error, Result};

impl Model {
    /// Loads a classifier as it was trained.
    ///
    /// # Errors
    /// [`Error::Value`] for the config; [`Error::File`] for an unreadable checkpoint; [`Error::Tensor`] for a tensor that
    /// is missing, of another shape or dtype than the config says, or not finite.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        Self::read(files, Self::classifier(files)?, Group::Head)
    }

    /// Loads a classifier as [`Self::load`], its weights arranged for inference.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_packed(files: &ModelFiles, precision: InferencePrecision) -> Result<(Config, Packed<f32>)> {
        let config = Self::classifier(files)?;
        let checkpoint = Checkpoint::open(files)?;
        let table = Arc::new(Table::new(&config));
        if precision == InferencePrecision::Int8 {
            quantized::check_width(&files.path, &config)?;
        }
        if config.is_quantized() {
            let tensors = quantized::tensors(&checkpoint, &table)?;
            let weights = Packed::new(&table, precision, |part| {
                let values = quantized::read(&tensors[part[0].index..][..part.len()]);
                part.iter().for_each(|tensor| files.release(tensors[tensor.index].stored.data));
                values
            })?;
            return Ok((config, weights));
        }
        let tensors = tensors(&checkpoint, &config, &table, Group::Head)?;
        let weights = Packed::new(&table, precision, |part| {
            let mut values = vec![0.0; part.iter().map(|tensor| tensor.range.len()).sum()];
            let mut rest = &mut values[..];
            for tensor in part {
                let (_, stored, name) = &tensors[tensor.index];
                let (out, tail) = std::mem::take(&mut rest).split_at_mut(tensor.range.len());
                rest = tail;
                read(out, stored, name)?;
                files.release(stored.data);
            }
            Ok(Values::F32(values))
        })?;
        Ok((config, weights))
    }

    /// Checks all that [`Self::load`] checks but the numbers, which are not read.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check(files: &ModelFiles) -> Result<()> {
        let config = Self::classifier(files)?;
        let (checkpoint, table) = (Checkpoint::open(files)?, Table::new(&config));
        if config.is_quantized() {
            return quantized::tensors(&checkpoint, &table).map(drop);
        }
        tensors(&checkpoint, &config, &table, Group::Head).map(drop)
    }

    /// The config of a classifier as it was trained.
    fn classifier(files: &ModelFiles) -> Result<Config> {
        let config = files.config()?;
        if config.architecture != Architecture::DistilBert {
            let problem = "a BERT encoder, and a head of BERT's (pooler and classifier) is of another form than DistilBERT's: \
                           the model has no trained head";
            return Err(Error::file(
                &files.path,
                problem,
                "Fine-tune it first, with distune train, which gives it one",
            ));
        }
        Ok(config)
    }

    /// Loads the encoder alone: the head's weights are zeros.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_encoder(files: &ModelFiles) -> Result<Self> {
        let config = files.config()?;
        let last_block = Group::Block(config.n_layers - 1);
        Self::read(files, config, last_block)
    }

    /// Loads an encoder under a new head for these classes: normal weights of the config's
    /// `initializer_range`, zero biases, as Transformers makes them.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_new_head(files: &ModelFiles, labels: &LabelMap, seed: u64) -> Result<Self> {
        let config = files.config()?;
        let config = config.with_labels(labels.names().to_vec(), labels.problem());
        let last_block = Group::Block(config.n_layers - 1);
        let mut model = Self::read(files, config, last_block)?;
        model.start_head(seed);
        Ok(model)
    }

    /// Lets the head start anew, as in [`Self::load_with_new_head`].
    pub fn start_head(&mut self, seed: u64) {
        self.start_anew(&mut ChaCha8Rng::seed_from_u64(seed), |group| group == Group::Head);
    }

    /// A model of random weights, as Transformers makes them: normal of the config's `initializer_range`, zero biases,
    /// layer norms that change nothing. For measurements of speed.
    pub fn random(config: Config, seed: u64) -> Self {
        let weights = Parameters::zeros(&Arc::new(Table::new(&config)), Group::Embeddings);
        let mut model = Self { config, weights };
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        model.start_anew(&mut random, |_| true);
        model
    }

    /// Lets so many of the last blocks start anew, with weights as in [`Self::random`]; what a block starts with does not depend on
    /// how many others do.
    pub fn reinitialise_blocks(&mut self, blocks: usize, seed: u64) {
        for block in (0..self.config.n_layers).rev().take(blocks) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            // a new head has the first stream, the epochs have the next ones
            random.set_stream(u64::MAX - block as u64);
            self.start_anew(&mut random, |group| group == Group::Block(block));
        }
    }

    /// Random weights for some groups.
    fn start_anew(&mut self, random: &mut impl Rng, which: impl Fn(Group) -> bool) {
        let (table, deviation) = (self.weights.table().clone(), self.config.initializer_range);
        for tensor in table.tensors().iter().filter(|tensor| which(tensor.group)) {
            let values = self.weights.tensor_mut(tensor);
            match (tensor.decayed, tensor.name.ends_with(".weight")) {
                (true, _) => values.fill_with(|| (normal(random) * deviation) as f32),
                (false, is_scale) => values.fill(if is_scale { 1.0 } else { 0.0 }),
            }
        }
    }

    /// Whether a checkpoint has a trained head: both of its weight matrices.
    ///
    /// # Errors
    /// [`Error::File`] for an unreadable checkpoint.
    pub fn has_head(files: &ModelFiles) -> Result<bool> {
        let checkpoint = Checkpoint::open(files)?;
        let has = |name: &str| checkpoint.find(&[name.to_owned()]).is_some();
        Ok(has("pre_classifier.weight") && has("classifier.weight"))
    }

    /// Reads the groups up to and including `last`.
    fn read(files: &ModelFiles, mut config: Config, last: Group) -> Result<Self> {
        if config.is_quantized() {
            let problem =
                "an int8 model, as distune quantize writes it: it predicts, and has no f32 weights for anything else";
            return Err(Error::file(&files.path, problem, "Use the model that it was made of"));
        }
        let checkpoint = Checkpoint::open(files)?;
        let table = Arc::new(Table::new(&config));
        let tensors = tensors(&checkpoint, &config, &table, last)?;
        let mut weights = Parameters::zeros(&table, Group::Embeddings);
        for (spec, stored, name) in &tensors {
            read(weights.tensor_mut(spec), stored, name)?;
        }
        if let Architecture::Bert { token_types } = config.architecture {
            add_token_type(&mut weights, &checkpoint, &config, token_types)?;
            config.architecture = Architecture::DistilBert;
        }
        Ok(Self { config, weights })
    }
}

/// The tensors of the groups up to and including `last`, each with what the checkpoint has of it and its name there. All shapes are checked
/// before the config's sizes are believed and memory is asked for.
fn tensors<'a, 'b, 'c>(
    checkpoint: &'b Checkpoint<'a>,
    config: &Config,
    table: &'c Table,
    last: Group,
) -> Result<Vec<(&'c Tensor, &'b Stored<'a>, String)>> {
    let wanted = table.tensors().iter().filter(|tensor| tensor.group <= last);
    let found = wanted.map(|tensor| {
        let (stored, name) = find(checkpoint, config.architecture, tensor, &tensor.shape)?;
        Ok((tensor, stored, name))
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    if found.iter().map(|(_, stored, _)| stored.bytes()).sum::<usize>() > checkpoint.bytes {
        let problem = "has more numbers in its tensors than in the file: they overlap";
        return Err(Error::file(&checkpoint.path, problem, "The checkpoint is damaged: download it again"));
    }
    Ok(found)
}

/// Adds BERT's first token type, that of every token of a single text, to every position.
fn add_token_type(
    weights: &mut Parameters<f32>,
    checkpoint: &Checkpoint,
    config: &Config,
    token_types: usize,
) -> Result<()> {
    let positions = &weights.table().tensors()[1];
    let spec = Tensor { name: "distilbert.embeddings.token_type_embeddings.weight".into(), ..positions.clone() };
    let shape = [token_types, config.dim];
    let (stored, name) = find(checkpoint, config.architecture, &spec, &shape)?;
    let mut types = vec![0.0; token_types * config.dim];
    read(&mut types, stored, &name)?;
    for position in weights.embeddings_mut().positions.chunks_exact_mut(config.dim) {
        position.iter_mut().zip(&types).for_each(|(x, t)| *x += t);
    }
    Ok(())
}

/// The tensor of a row of the table, checked, and its name in the checkpoint.
fn find<'a, 'b>(
    checkpoint: &'b Checkpoint<'a>,
    architecture: Architecture,
    spec: &Tensor,
    shape: &[usize],
) -> Result<(&'b Stored<'a>, String)> {
    let names = candidates(architecture, &spec.name);
    let Some((stored, name)) = checkpoint.find(&names) else {
        let hint = match spec.group {
            Group::Head => "The model has no trained head: fine-tune it first, with distune train",
            _ => "The checkpoint does not fit its config.json",
        };
        return Err(Error::tensor(&checkpoint.path, &names[0], format!("shape {shape:?}"), "no such tensor", hint));
    };
    let error = |expected, found, hint| Err(Error::tensor(&stored.path, &name, expected, found, hint));
    if stored.shape != shape {
        let (expected, found) = (format!("shape {shape:?}"), format!("shape {:?}", stored.shape));
        return error(expected, found, "The checkpoint does not fit its config.json");
    }
    if !matches!(stored.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return error("dtype F32, F16 or BF16".into(), format!("{:?}", stored.dtype), "Convert the checkpoint");
    }
    Ok((stored, name))
}

/// Reads a tensor's numbers, which must be finite.
pub(super) fn read(out: &mut [f32], stored: &Stored, name: &str) -> Result<()> {
    stored.read(out);
    // without an early end inside of a part, so that it vectorizes
    let all_finite = |part: &[f32]| part.iter().fold(true, |finite, x| finite & x.is_finite());
    if out.par_chunks(1 << 16).all(all_finite) {
        return Ok(());
    }
    match out.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let found = format!("{} at element {at}", out[at]);
            let hint = "The checkpoint is damaged, or its training diverged";
            Err(Error::tensor(&stored.path, name, "finite numbers", found, hint))
        }
    }
}

/// A standard normal number (Box & Muller 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let (u, v) = (1.0 - uniform(), uniform());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
