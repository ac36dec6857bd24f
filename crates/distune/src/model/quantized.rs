//! Models of int8 weights: what `distune quantize` writes, out and in.
//!
//! A directory as every other, with `quantization_config` in `config.json`. In `model.safetensors`, the weights of linear layers but the
//! classifier are I8, and beside each is its `_scale` `[N]`, F32, one for each output; word embeddings are BF16, all else is F32.

use std::path::Path;

use distune_kernels::Quantized;
use safetensors::Dtype;

use crate::model::checkpoint::{Checkpoint, Stored};
use crate::model::packed::{Values, is_int8, rounded};
use crate::model::save::{Saved, save_tensors};
use crate::model::weights::{Table, Tensor};
use crate::model::{Config, Model};
use crate::{Error, Result};

/// What the name of a tensor of scales ends with.
const SCALE: &str = "_scale";
/// What to do with a checkpoint that is not as it was written.
const HINT: &str = "The checkpoint is damaged, or does not fit its config.json: quantize the model again";

/// Writes a model as int8 into an existing directory.
///
/// # Errors
/// [`Error::File`] when a file cannot be written.
pub fn save_quantized(directory: &Path, model: &Model, tokenizer: &[(String, Vec<u8>)]) -> Result<()> {
    if model.weights.table().lora().is_some() {
        return save_quantized(directory, &model.merged(), tokenizer);
    }
    let table = model.weights.table().clone();
    let values = |tensor: &Tensor| match model.weights.tensor(tensor) {
        w if is_int8(tensor) => Values::Int8(Quantized::new(w, tensor.shape[0])),
        w if tensor.index == 0 => Values::Bf16(rounded(w)),
        w => Values::F32(w.to_vec()),
    };
    let all: Vec<(&Tensor, Values)> = table.tensors().iter().map(|tensor| (tensor, values(tensor))).collect();
    let mut saved: Vec<Saved> = Vec::new();
    for (tensor, values) in &all {
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        match values {
            Values::F32(values) => saved.push((name, Dtype::F32, shape, bytemuck::cast_slice(values))),
            Values::Bf16(bits) => saved.push((name, Dtype::BF16, shape, bytemuck::cast_slice(bits))),
            Values::Int8(Quantized { values, scales }) => {
                saved.push((name.clone() + SCALE, Dtype::F32, vec![scales.len()], bytemuck::cast_slice(scales)));
                saved.push((name, Dtype::I8, shape, bytemuck::cast_slice(values)));
            }
        }
    }
    let config = model.config.quantized_to_json();
    let config =
        config.map_err(|e| Error::file(&directory.join("config.json"), format!("cannot be written: {e}"), ""))?;
    save_tensors(directory, saved, &config, tokenizer)
}

/// What a checkpoint has of a tensor.
pub(super) struct QuantizedTensor<'a, 'b> {
    name: String,
    pub(super) stored: &'b Stored<'a>,
    /// Of int8 weights.
    scales: Option<&'b Stored<'a>>,
}

/// All tensors of the table, their shapes and dtypes checked.
///
/// # Errors
/// [`Error::Tensor`] for one that is missing or is not what it should be; [`Error::File`] for a checkpoint that has less than the config
/// says.
pub(super) fn tensors<'a, 'b>(checkpoint: &'b Checkpoint<'a>, table: &Table) -> Result<Vec<QuantizedTensor<'a, 'b>>> {
    let find = |name: &str, dtype: Dtype, shape: &[usize]| {
        let error = |found: String| {
            Err(Error::tensor(&checkpoint.path, name, format!("{dtype:?} of shape {shape:?}"), found, HINT))
        };
        match checkpoint.find(&[name.to_owned()]) {
            None => error("no such tensor".into()),
            Some((stored, _)) if stored.dtype != dtype || stored.shape != shape => {
                error(format!("{:?} of shape {:?}", stored.dtype, stored.shape))
            }
            Some((stored, _)) => Ok(stored),
        }
    };
    let tensors = table.tensors().iter().map(|tensor| {
        let (name, int8) = (tensor.name.clone(), is_int8(tensor));
        let dtype = match tensor.index {
            _ if int8 => Dtype::I8,
            0 => Dtype::BF16,
            _ => Dtype::F32,
        };
        let scales = int8.then(|| find(&(name.clone() + SCALE), Dtype::F32, &tensor.shape[..1])).transpose()?;
        Ok(QuantizedTensor { stored: find(&name, dtype, &tensor.shape)?, name, scales })
    });
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    if tensors.iter().map(|tensor| tensor.stored.bytes()).sum::<usize>() > checkpoint.bytes {
        let problem = "has more numbers in its tensors than in the file: they overlap";
        return Err(Error::file(&checkpoint.path, problem, HINT));
    }
    Ok(tensors)
}

/// Products that a sum of 32 bits holds: of bytes up to 255 with weights up to 128.
const MOST_INPUTS: usize = 1 << 16;

/// Checks that sums of int8 products fit.
///
/// # Errors
/// [`Error::Value`] for a model that is too wide.
pub(super) fn check_width(path: &Path, config: &Config) -> Result<()> {
    let widest = config.dim.max(config.hidden_dim);
    if widest > MOST_INPUTS {
        let expected = format!("a width of at most {MOST_INPUTS} for int8");
        return Err(Error::value(path.display(), "config.json", expected, widest));
    }
    Ok(())
}

/// Reads neighbouring tensors, whose numbers must be finite.
///
/// # Errors
/// [`Error::Tensor`] for one that has others.
pub(super) fn read(tensors: &[QuantizedTensor]) -> Result<Values> {
    let (mut int8, mut f32s) = (Quantized { values: Vec::new(), scales: Vec::new() }, Vec::new());
    for QuantizedTensor { name, stored, scales } in tensors {
        if let Some(scales) = scales {
            int8.values.extend(bytemuck::cast_slice::<u8, i8>(stored.data));
            int8.scales.extend(numbers(scales, &format!("{name}{SCALE}"))?);
        } else if stored.dtype == Dtype::BF16 {
            return Ok(Values::Bf16(rounded(&numbers(stored, name)?)));
        } else {
            f32s.extend(numbers(stored, name)?);
        }
    }
    Ok(if int8.scales.is_empty() { Values::F32(f32s) } else { Values::Int8(int8) })
}

fn numbers(stored: &Stored, name: &str) -> Result<Vec<f32>> {
    let mut numbers = vec![0.0; stored.shape.iter().product()];
    super::load::read(&mut numbers, stored, name)?;
    Ok(numbers)
}
