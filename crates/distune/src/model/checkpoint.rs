//! The tensors of a checkpoint, whatever its files are. Opened by `load.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::tensor::{SafeTensors, TensorView};
use safetensors::{Dtype, SafeTensorError};

use crate::model::{ModelFiles, torch_file};
use crate::{Error, Result};

/// Numbers that a thread reads at once.
const PART: usize = 1 << 16;

/// All tensors by name; their numbers stay in the files.
#[derive(Debug)]
pub(super) struct Checkpoint<'a> {
    tensors: HashMap<String, Stored<'a>>,
    /// What is at fault when a tensor is not there: the one file, or the index of several.
    pub(super) path: PathBuf,
    /// Bytes of all files.
    pub(super) bytes: usize,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    /// The file, for messages.
    pub(super) path: PathBuf,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Distances between neighbours of each dimension, in elements; none when elements lie in the order of the shape.
    pub(super) strides: Option<Vec<usize>>,
    /// Its little-endian numbers, the first one first.
    pub(super) data: &'a [u8],
}

/// What a model's weight files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// "safetensors" or "PyTorch".
    pub format: &'static str,
    /// How many files.
    pub files: usize,
    /// Their size.
    pub bytes: usize,
    /// How many tensors of each dtype there are, those too that are not used.
    pub dtypes: BTreeMap<String, usize>,
}

impl CheckpointSummary {
    /// Reads the tables of contents.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Tensor`] for an unreadable checkpoint.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let checkpoint = Checkpoint::open(files)?;
        let mut dtypes = BTreeMap::new();
        for tensor in checkpoint.tensors.values() {
            *dtypes.entry(format!("{:?}", tensor.dtype)).or_default() += 1;
        }
        let torch = files.weight_files().any(|(name, _)| name.ends_with(".bin"));
        let format = if torch { "PyTorch" } else { "safetensors" };
        Ok(Self { format, files: files.weight_files().count(), bytes: checkpoint.bytes, dtypes })
    }
}

impl<'a> Checkpoint<'a> {
    /// Reads the tables of contents of a model's weight files.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is cut or damaged, [`Error::Tensor`] for one that is in another shard than the index says.
    pub(super) fn open(files: &'a ModelFiles) -> Result<Self> {
        let bytes = files.weight_files().map(|(_, bytes)| bytes.len()).sum();
        let path = files.weights_path();
        let mut parts = BTreeMap::new();
        for (name, bytes) in files.weight_files() {
            let path = files.file(name);
            let tensors =
                if name.ends_with(".bin") { torch_file::tensors(&path, bytes)? } else { safetensors(path, bytes)? };
            parts.insert(name, tensors);
        }
        let Some(index) = files.index() else {
            return Ok(Self { tensors: parts.into_values().flatten().collect(), path, bytes });
        };
        let mut tensors = HashMap::new();
        for (tensor, shard) in index {
            let found = parts.get_mut(shard.as_str()).and_then(|part| part.remove(tensor));
            let stored = found.ok_or_else(|| {
                let other = parts.iter().find(|(_, part)| part.contains_key(tensor));
                let found = other.map_or_else(|| "none of that name".to_owned(), |(shard, _)| format!("it in {shard}"));
                Error::tensor(&path, tensor, format!("it in {shard}"), found, "Copy or download the model again")
            })?;
            tensors.insert(tensor.clone(), stored);
        }
        Ok(Self { tensors, path, bytes })
    }

    /// The first tensor that has one of these names.
    pub(super) fn find(&self, names: &[String]) -> Option<(&Stored<'a>, String)> {
        names.iter().find_map(|name| Some((self.tensors.get(name)?, name.clone())))
    }
}

fn safetensors<'a>(path: PathBuf, bytes: &'a [u8]) -> Result<HashMap<String, Stored<'a>>> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|e| {
        let problem = match e {
            SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
                "cut short: it ends inside its header".into()
            }
            SafeTensorError::MetadataIncompleteBuffer => {
                "cut short or damaged: its header does not describe as many bytes as the file has".to_owned()
            }
            e => format!("damaged: its header is wrong ({e})"),
        };
        Error::file(&path, problem, "Copy or download it again")
    })?;
    let stored = |view: &TensorView<'a>| {
        let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data());
        Stored { path: path.clone(), dtype, shape, strides: None, data }
    };
    Ok(parsed.tensors().into_iter().map(|(name, view)| (name, stored(&view))).collect())
}

impl Stored<'_> {
    /// Bytes of its elements.
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// Its elements as f32, in the order of its shape. Only of f32, f16 and bf16.
    pub(super) fn read(&self, out: &mut [f32]) {
        match self.dtype {
            Dtype::F16 => self.fill(out, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => self.fill(out, |b| bf16::from_le_bytes(b).to_f32()),
            _ => self.fill(out, f32::from_le_bytes),
        }
    }

    fn fill<const N: usize>(&self, out: &mut [f32], number: impl Fn([u8; N]) -> f32 + Sync) {
        let (numbers, _) = self.data.as_chunks::<N>();
        let Some(strides) = &self.strides else {
            let parts = out.par_chunks_mut(PART).zip(numbers.par_chunks(PART));
            parts.for_each(|(out, numbers)| out.iter_mut().zip(numbers).for_each(|(x, bytes)| *x = number(*bytes)));
            return;
        };
        for (i, x) in out.iter_mut().enumerate() {
            let (mut rest, mut at) = (i, 0);
            for (size, stride) in self.shape.iter().zip(strides).rev() {
                at += rest % size * stride;
                rest /= size;
            }
            // the bounds were checked when the strides were read
            if let Some(bytes) = numbers.get(at) {
                *x = number(*bytes);
            }
        }
    }
}
