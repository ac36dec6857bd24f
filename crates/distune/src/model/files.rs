//! Where a model comes from: a Hugging Face directory, or files compiled into the program. Checkpoints are mapped.

use std::fs;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::{Error, Result};

/// Files of a tokenizer that are copied to the output beside `tokenizer.json`.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "added_tokens.json"];

/// A model compiled into the program.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// What it is called on the command line.
    pub name: &'static str,
    /// File names and contents, as in a Hugging Face directory.
    pub files: &'static [(&'static str, &'static [u8])],
}

/// The files of a model.
#[derive(Debug)]
pub struct ModelFiles {
    /// The directory, or the name of an embedded model; for messages and records.
    pub path: PathBuf,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json` and its companions: names and contents.
    pub tokenizer: Vec<(String, Vec<u8>)>,
    weights: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Embedded(&'static [u8]),
    Mapped(Mmap),
}

impl ModelFiles {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`Error::File`] when the directory or one of `config.json`, `tokenizer.json`, `model.safetensors` is not there.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.is_dir() {
            let problem = if directory.exists() { "not a directory" } else { "no such model directory" };
            return Err(Error::file(
                directory,
                problem,
                "Name a directory with config.json and model.safetensors, or \"bundled\"",
            ));
        }
        let mut tokenizer = vec![("tokenizer.json".to_owned(), read(directory, "tokenizer.json")?)];
        for name in TOKENIZER_FILES {
            if directory.join(name).exists() {
                tokenizer.push((name.to_owned(), read(directory, name)?));
            }
        }
        let weights = Bytes::Mapped(map(directory, "model.safetensors")?);
        Ok(Self { path: directory.to_owned(), config: read(directory, "config.json")?, tokenizer, weights })
    }

    /// The files of an embedded model.
    ///
    /// # Errors
    /// [`Error::File`] when the program was built without one of them.
    pub fn embedded(model: &Embedded) -> Result<Self> {
        let path = PathBuf::from(model.name);
        let file = |name: &str| model.files.iter().find(|(n, _)| *n == name).map(|(_, bytes)| *bytes);
        let required = |name: &str| file(name).ok_or_else(|| Error::file(&path, format!("has no {name}"), ""));
        let mut tokenizer = vec![("tokenizer.json".to_owned(), required("tokenizer.json")?.to_vec())];
        let more = TOKENIZER_FILES.into_iter().filter_map(|name| Some((name.to_owned(), file(name)?.to_vec())));
        tokenizer.extend(more);
        let (config, weights) = (required("config.json")?.to_vec(), Bytes::Embedded(required("model.safetensors")?));
        Ok(Self { path, config, tokenizer, weights })
    }

    /// The contents of `model.safetensors`; nothing after [`Self::forget_weights`].
    pub fn weights(&self) -> &[u8] {
        match &self.weights {
            Bytes::Embedded(bytes) => bytes,
            Bytes::Mapped(map) => map,
        }
    }

    /// Unmaps the checkpoint, once it has been loaded: its pages would count as memory of this process.
    pub fn forget_weights(&mut self) {
        self.weights = Bytes::Embedded(&[]);
    }

    /// The path of a file of this model, for messages.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn read(directory: &Path, name: &str) -> Result<Vec<u8>> {
    let path = directory.join(name);
    fs::read(&path).map_err(|e| missing(&path, &e))
}

fn missing(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::file(path, "no such file", "A model directory has config.json, tokenizer.json and model.safetensors")
        }
        _ => Error::io(path, "read", error),
    }
}

#[allow(unsafe_code)]
fn map(directory: &Path, name: &str) -> Result<Mmap> {
    let path = directory.join(name);
    let file = fs::File::open(&path).map_err(|e| missing(&path, &e))?;
    // SAFETY: the file is only read. Another process that writes it in place meanwhile could change the bytes, which
    // are numbers of any value, or cut it, which ends the program; saving never writes in place.
    unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, "map", &e))
}
