//! Models out: a directory that Transformers loads.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};

use crate::model::Model;
use crate::model::weights::Group;
use crate::{Error, Result};

/// Writes `config.json`, `model.safetensors` (f32) and the tokenizer's files into an existing directory. Adapters become part of the
/// weights.
///
/// # Errors
/// [`Error::File`] when a file cannot be written.
pub fn save(directory: &Path, model: &Model, tokenizer: &[(String, Vec<u8>)]) -> Result<()> {
    save_parts(directory, model, Group::Head, &model.config.to_json(), tokenizer)
}

/// As [`save`], without the head.
///
/// # Errors
/// As [`save`].
pub fn save_encoder(directory: &Path, model: &Model, tokenizer: &[(String, Vec<u8>)]) -> Result<()> {
    let last_block = Group::Block(model.config.n_layers - 1);
    save_parts(directory, model, last_block, &model.config.encoder_to_json(), tokenizer)
}

/// The tensors up to and including the group `last`.
fn save_parts(
    directory: &Path,
    model: &Model,
    last: Group,
    config: &str,
    tokenizer: &[(String, Vec<u8>)],
) -> Result<()> {
    if model.weights.table().lora().is_some() {
        return save_parts(directory, &model.merged(), last, config, tokenizer);
    }
    let tensors = model.weights.table().tensors().iter().filter(|tensor| tensor.group <= last);
    let stored = tensors.map(|tensor| {
        // safetensors are little-endian; so is every machine that this has been run on
        let bytes = bytemuck::cast_slice(model.weights.tensor(tensor));
        (tensor.name.clone(), Dtype::F32, tensor.shape.clone(), bytes)
    });
    save_tensors(directory, stored.collect(), config, tokenizer)
}

/// A tensor to write: name, dtype, shape, bytes.
pub(super) type Saved<'a> = (String, Dtype, Vec<usize>, &'a [u8]);

/// Writes `model.safetensors`, `config.json` and the tokenizer's files.
pub(super) fn save_tensors(
    directory: &Path,
    tensors: Vec<Saved>,
    config: &str,
    tokenizer: &[(String, Vec<u8>)],
) -> Result<()> {
    let path = directory.join("model.safetensors");
    let failed = |e: &dyn std::fmt::Display| Error::file(&path, format!("cannot write: {e}"), "Check the free space");
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        views.push((name, TensorView::new(dtype, shape, bytes).map_err(|e| failed(&e))?));
    }
    // Transformers refuses a file without this key
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize_to_file(views, Some(metadata), &path).map_err(|e| failed(&e))?;
    File::open(&path).and_then(|f| f.sync_all()).map_err(|e| Error::io(&path, "write", &e))?;
    let config_path = directory.join("config.json");
    write(&config_path, config.as_bytes())?;
    // the crate makes a file that only its owner may read
    let readable = std::fs::metadata(&config_path).and_then(|like| std::fs::set_permissions(&path, like.permissions()));
    readable.map_err(|e| Error::io(&path, "write", &e))?;
    for (name, contents) in tokenizer {
        write(&directory.join(name), contents)?;
    }
    Ok(())
}

/// What the name of a file ends with that is being written.
pub(crate) const PART: &str = ".part";

/// Writes a whole file under another name, waits until it is on the disk, and renames it.
///
/// # Errors
/// [`Error::File`] that names it.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    let result = File::create(&part).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    });
    result.map_err(|e| Error::io(path, "write", &e))
}
