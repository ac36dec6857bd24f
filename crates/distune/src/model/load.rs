//! Checkpoints in: safetensors of f32, f16 or bf16, with or without the `distilbert.` prefix, as f32.

use std::sync::Arc;

use half::{bf16, f16};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, SafeTensorError};

use crate::model::weights::{Group, Parameters, Table, Tensor};
use crate::model::{Config, Model, ModelFiles};
use crate::{Error, Result};

const WEIGHTS: &str = "model.safetensors";

impl Model {
    /// Loads a classifier as it was trained.
    ///
    /// # Errors
    /// [`Error::Value`] for the config; [`Error::File`] for an unreadable checkpoint; [`Error::Tensor`] for a tensor that
    /// is missing, of another shape or dtype than the config says, or not finite.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        let config = Config::from_json(&files.file("config.json"), &files.config)?;
        Self::read(files, config, Group::Head)
    }

    /// Loads an encoder under a new head for the classes `labels`: normal weights of the config's
    /// `initializer_range`, zero biases, as Transformers makes them.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_new_head(files: &ModelFiles, labels: Vec<String>, seed: u64) -> Result<Self> {
        let config = Config::from_json(&files.file("config.json"), &files.config)?.with_labels(labels);
        let last_block = Group::Block(config.n_layers - 1);
        let mut model = Self::read(files, config, last_block)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let deviation = model.config.initializer_range;
        let head = model.weights.head_mut();
        for weight in [head.pre_classifier.weight, head.classifier.weight] {
            weight.fill_with(|| (normal(&mut random) * deviation) as f32);
        }
        Ok(model)
    }

    /// A model of random weights, as Transformers makes them: normal of the config's `initializer_range`, zero biases,
    /// layer norms that change nothing. For measurements of speed.
    pub fn random(config: Config, seed: u64) -> Self {
        let mut weights = Parameters::zeros(&Arc::new(Table::new(&config)), Group::Embeddings);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let table = weights.table().clone();
        for tensor in table.tensors() {
            let values = weights.tensor_mut(tensor);
            match (tensor.decayed, tensor.name.ends_with(".weight")) {
                (true, _) => values.fill_with(|| (normal(&mut random) * config.initializer_range) as f32),
                (false, is_scale) => values.fill(if is_scale { 1.0 } else { 0.0 }),
            }
        }
        Self { config, weights }
    }

    /// Whether a checkpoint has a trained head: both of its weight matrices.
    ///
    /// # Errors
    /// [`Error::File`] for an unreadable checkpoint.
    pub fn has_head(files: &ModelFiles) -> Result<bool> {
        let tensors = parse(files)?;
        let has = |name: &str| tensors.tensor(name).is_ok();
        Ok(has("pre_classifier.weight") && has("classifier.weight"))
    }

    /// Reads the groups up to and including `last`.
    fn read(files: &ModelFiles, config: Config, last: Group) -> Result<Self> {
        let tensors = parse(files)?;
        let table = Arc::new(Table::new(&config));
        let specs: Vec<&Tensor> = table.tensors().iter().filter(|t| t.group <= last).collect();
        // All shapes are checked before the config's sizes are believed and memory is asked for.
        let views = specs.iter().map(|spec| find(files, &tensors, spec)).collect::<Result<Vec<_>>>()?;
        let mut weights = Parameters::zeros(&table, Group::Embeddings);
        for (spec, view) in specs.into_iter().zip(views) {
            convert(weights.tensor_mut(spec), &view);
            if let Some(at) = weights.tensor(spec).iter().position(|x| !x.is_finite()) {
                let found = format!("{} at element {at}", weights.tensor(spec)[at]);
                let hint = "The checkpoint is damaged, or its training diverged";
                return Err(Error::tensor(&files.file(WEIGHTS), &spec.name, "finite numbers", found, hint));
            }
        }
        Ok(Self { config, weights })
    }
}

fn parse(files: &ModelFiles) -> Result<SafeTensors<'_>> {
    SafeTensors::deserialize(files.weights()).map_err(|e| {
        let problem = match e {
            SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
                "cut short: it ends inside its header".into()
            }
            SafeTensorError::MetadataIncompleteBuffer => {
                "cut short or damaged: its header does not describe as many bytes as the file has".to_owned()
            }
            e => format!("damaged: its header is wrong ({e})"),
        };
        Error::file(&files.file(WEIGHTS), problem, "Copy or download it again")
    })
}

/// The tensor of a row of the table, by its name or without the prefix, checked.
fn find<'a>(files: &ModelFiles, tensors: &SafeTensors<'a>, spec: &Tensor) -> Result<TensorView<'a>> {
    let error = |found: String, hint: &str| {
        Error::tensor(&files.file(WEIGHTS), &spec.name, format!("shape {:?}", spec.shape), found, hint)
    };
    let bare = spec.name.strip_prefix("distilbert.").unwrap_or(&spec.name);
    let view = tensors.tensor(&spec.name).or_else(|_| tensors.tensor(bare)).map_err(|_| {
        let hint = match spec.group {
            Group::Head => "The model has no trained head: fine-tune it first, with distune train",
            _ => "The checkpoint does not fit its config.json",
        };
        error("no such tensor".into(), hint)
    })?;
    if view.shape() != spec.shape {
        return Err(error(format!("shape {:?}", view.shape()), "The checkpoint does not fit its config.json"));
    }
    if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        let (expected, found) = ("dtype F32, F16 or BF16", format!("{:?}", view.dtype()));
        return Err(Error::tensor(&files.file(WEIGHTS), &spec.name, expected, found, "Convert the checkpoint"));
    }
    Ok(view)
}

/// Little-endian f32, f16 or bf16 to f32.
fn convert(out: &mut [f32], view: &TensorView) {
    let bytes = view.data();
    let halves = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match view.dtype() {
        Dtype::F16 => out.iter_mut().zip(halves).for_each(|(x, bits)| *x = f16::from_bits(bits).to_f32()),
        Dtype::BF16 => out.iter_mut().zip(halves).for_each(|(x, bits)| *x = bf16::from_bits(bits).to_f32()),
        _ => {
            let words = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            out.iter_mut().zip(words).for_each(|(x, word)| *x = word);
        }
    }
}

/// A standard normal number (Box & Muller 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let (u, v) = (1.0 - uniform(), uniform());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
