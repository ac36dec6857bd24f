//! `pytorch_model.bin`: a zip archive of a pickle, which says what the tensors are, and of their numbers. Called by `checkpoint.rs`.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::model::checkpoint::Stored;
use crate::model::pickle::{Described, state_dict};
use crate::{Error, Result};

/// The largest pickle that is read, in bytes: one of BERT-large has 40,000.
const LARGEST_PICKLE: usize = 4 << 20;
/// How files begin that PyTorch wrote before version 1.6: a pickled number.
const OLD: [u8; 6] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc];
const AGAIN: &str = "Copy or download it again, or use a model.safetensors";

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// The tensors of a file; `path` is for messages.
///
/// # Errors
/// [`Error::File`] for a file that is damaged, of another format, or has something else than tensors; [`Error::Tensor`] for a
/// tensor that lies outside its storage.
pub(super) fn tensors<'a>(path: &Path, bytes: &'a [u8]) -> Result<HashMap<String, Stored<'a>>> {
    if bytes.starts_with(&OLD) {
        let hint = "Load it in PyTorch and save it again, or save the model with save_pretrained";
        return Err(Error::file(path, "in the format of PyTorch before 1.6, which is not read", hint));
    }
    let error = |problem: String| Error::file(path, problem, AGAIN);
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| error(format!("not a file of PyTorch's, or damaged or cut short: {e}")))?;
    let is_pickle = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
    let pickle = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).find(|name| is_pickle(name));
    let pickle = pickle.ok_or_else(|| error("not a file of PyTorch's: there is no data.pkl in it".into()))?;
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    if archive.index_for_name(&format!("{root}byteorder")).is_some() {
        let order = entry(&mut archive, bytes, &format!("{root}byteorder")).map_err(error)?;
        if order != b"little" {
            return Err(error("its numbers are big-endian".into()));
        }
    }
    let pickle = entry(&mut archive, bytes, &pickle).map_err(error)?;
    if pickle.len() > LARGEST_PICKLE {
        return Err(error(format!("its pickle has {} bytes, more than any model needs", pickle.len())));
    }
    let hint = "Only tensors are read from a .bin file: save the model's state dict alone, or as safetensors";
    let described = state_dict(pickle).map_err(|problem| Error::file(path, problem, hint))?;
    let (mut storages, mut total) = (HashMap::new(), 0_usize);
    let mut tensors = HashMap::new();
    for (name, tensor) in described {
        if !storages.contains_key(tensor.storage) {
            let storage = entry(&mut archive, bytes, &format!("{root}data/{}", tensor.storage)).map_err(error)?;
            total = total.saturating_add(storage.len());
            if total > bytes.len() {
                return Err(error("damaged: its storages overlap".into()));
            }
            storages.insert(tensor.storage, storage);
        }
        let storage: &[u8] = storages.get(tensor.storage).copied().unwrap_or_default();
        let stored = place(path, &tensor, storage)
            .map_err(|(expected, found)| Error::tensor(path, name, expected, found, AGAIN))?;
        tensors.insert(name.to_owned(), stored);
    }
    Ok(tensors)
}

/// The contents of an entry, which must be stored as they are, with the checksum that the archive says.
fn entry<'a>(archive: &mut Archive, bytes: &'a [u8], name: &str) -> Result<&'a [u8], String> {
    let failed = |e: &dyn std::fmt::Display| format!("damaged or cut short: {name} in it cannot be read ({e})");
    let mut entry = archive.by_name(name).map_err(|e| failed(&e))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("{name} in it is compressed, which PyTorch does not do"));
    }
    let mut read = [0; 1 << 14];
    while entry.read(&mut read).map_err(|e| failed(&e))? > 0 {}
    let range = entry.data_start().and_then(|start| {
        let start = usize::try_from(start).ok()?;
        Some(start..start.checked_add(usize::try_from(entry.size()).ok()?)?)
    });
    range.and_then(|range| bytes.get(range)).ok_or_else(|| failed(&"it ends outside the file"))
}

/// A tensor in its storage, every bound checked; else what was expected and found.
fn place<'a>(path: &Path, tensor: &Described<'_>, storage: &'a [u8]) -> Result<Stored<'a>, (String, String)> {
    let size = tensor.dtype.bitsize() / 8;
    let len = storage.len() / size.max(1);
    if tensor.storage_len != len || len * size != storage.len() {
        let expected = format!("a storage of {} numbers of {size} bytes", tensor.storage_len);
        return Err((expected, format!("one of {} bytes", storage.len())));
    }
    let (shape, strides) = (&tensor.shape, &tensor.strides);
    if shape.len() != strides.len() {
        let found = format!("{} dimensions and {} strides", shape.len(), strides.len());
        return Err(("a stride for each dimension".into(), found));
    }
    let elements = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(tensor.offset, |at, (n, stride)| at.checked_add(n.saturating_sub(1).checked_mul(*stride)?));
    // a tensor that repeats elements of its storage is none of a model's weights, and could be of any size
    let inside = match (elements, last) {
        (Some(0), _) => tensor.offset <= len,
        (Some(elements), Some(last)) => elements <= len && last < len,
        _ => false,
    };
    let data = tensor.offset.checked_mul(size).and_then(|start| storage.get(start..)).filter(|_| inside);
    let Some(data) = data else {
        let found = format!("shape {shape:?} with strides {strides:?} at {}", tensor.offset);
        return Err((format!("elements inside its storage of {len}"), found));
    };
    let mut next = 1;
    let in_order = shape.iter().zip(strides).rev().all(|(n, stride)| {
        let fits = *n == 1 || *stride == next;
        next = next.saturating_mul(*n);
        fits
    });
    let strides = (!in_order).then(|| strides.clone());
    Ok(Stored { path: path.to_owned(), dtype: tensor.dtype, shape: shape.clone(), strides, data })
}
