//! Where a model comes from: a Hugging Face directory, or files compiled into the program. Checkpoints are mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use crate::model::{Architecture, Config};
use crate::vocabulary::tokenizer_json;
use crate::{Error, Result};

/// The file with all tensors.
const SAFETENSORS: &str = "model.safetensors";
/// The file that says which of several files has a tensor.
const INDEX: &str = "model.safetensors.index.json";
/// The file with all tensors, as PyTorch writes it.
const TORCH: &str = "pytorch_model.bin";
/// What a model directory has, for messages.
const EXPECTED: &str = "A model directory has config.json, tokenizer.json or vocab.txt, and model.safetensors (or its shards, or \
                        pytorch_model.bin)";
const TOKENIZER: &str = "tokenizer.json";
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
    /// `tokenizer.json`, which is made of `vocab.txt` where there is none, and its companions: names and contents.
    pub tokenizer: Vec<(String, Vec<u8>)>,
    /// What the user should be told about how the files were read.
    pub notes: Vec<String>,
    /// Names and contents of the files with the tensors.
    weights: Vec<(String, Bytes)>,
    /// The file of each tensor, where there are several.
    index: Option<BTreeMap<String, String>>,
}

#[derive(Debug)]
enum Bytes {
    Embedded(&'static [u8]),
    Mapped(Mapped),
}

/// A file that stays open, so that it is there for as long as the map is, whatever becomes of its name.
#[derive(Debug)]
struct Mapped {
    map: Mmap,
    file: fs::File,
    /// Its size and time when it was mapped.
    opened: Option<(u64, SystemTime)>,
}

impl Mapped {
    /// Size and time of the file now; nothing where the system does not tell.
    fn state(file: &fs::File) -> Option<(u64, SystemTime)> {
        let metadata = file.metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }
}

impl ModelFiles {
    /// Opens a directory. Of several forms of the weights, `model.safetensors` is preferred, then its shards, then
    /// `pytorch_model.bin`.
    ///
    /// # Errors
    /// [`Error::File`] when the directory or one of `config.json`, the tokenizer, the weights is not there or cannot be read.
    pub fn open(directory: &Path) -> Result<Self> {
        if !directory.is_dir() {
            let problem = if directory.exists() { "not a directory" } else { "no such model directory" };
            return Err(Error::file(
                directory,
                problem,
                "Name a directory with config.json and model.safetensors, or \"bundled\"",
            ));
        }
        let config = read(directory, "config.json")?;
        Architecture::check(&directory.join("config.json"), &config)?;
        let (tokenizer, notes) = tokenizer_files(directory)?;
        let (weights, index) = open_weights(directory)?;
        Ok(Self { path: directory.to_owned(), config, tokenizer, notes, weights, index })
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
        let (config, weights) = (required("config.json")?.to_vec(), Bytes::Embedded(required(SAFETENSORS)?));
        let weights = vec![(SAFETENSORS.to_owned(), weights)];
        Ok(Self { path, config, tokenizer, notes: Vec::new(), weights, index: None })
    }

    /// What its `config.json` says.
    ///
    /// # Errors
    /// As [`Config::from_json`].
    pub fn config(&self) -> Result<Config> {
        Config::from_json(&self.file("config.json"), &self.config)
    }

    /// Names and contents of the files with the tensors; nothing after [`Self::forget_weights`].
    pub fn weight_files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.weights.iter().map(|(name, bytes)| {
            let bytes = match bytes {
                Bytes::Embedded(bytes) => bytes,
                Bytes::Mapped(mapped) => &mapped.map[..],
            };
            (name.as_str(), bytes)
        })
    }

    /// Checks that the files with the tensors are as they were when they were opened. Other files in their places change nothing: those
    /// that were opened are still there.
    ///
    /// # Errors
    /// [`Error::File`] for a file that was written over.
    pub fn check_weights_unchanged(&self) -> Result<()> {
        let changed =
            |bytes: &Bytes| matches!(bytes, Bytes::Mapped(mapped) if Mapped::state(&mapped.file) != mapped.opened);
        match self.weights.iter().find(|(_, bytes)| changed(bytes)) {
            None => Ok(()),
            Some((name, _)) => Err(Error::file(
                &self.file(name),
                "written over since it was opened",
                "Open the model again; put a new file in the place of an old one by renaming it",
            )),
        }
    }

    /// The file of each tensor, where there are several.
    pub fn index(&self) -> Option<&BTreeMap<String, String>> {
        self.index.as_ref()
    }

    /// The file with the tensors, or the index of several; for messages.
    pub fn weights_path(&self) -> PathBuf {
        match (&self.index, self.weights.first()) {
            (None, Some((name, _))) => self.file(name),
            _ => self.file(INDEX),
        }
    }

    /// Lets go of the memory of a part of the checkpoint that has been read; read again, it comes from the file again.
    #[allow(unsafe_code)]
    pub(crate) fn release(&self, part: &[u8]) {
        #[cfg(unix)]
        for (_, bytes) in &self.weights {
            if let Bytes::Mapped(Mapped { map, .. }) = bytes
                && map.as_ptr_range().contains(&part.as_ptr())
            {
                let offset = part.as_ptr() as usize - map.as_ptr() as usize;
                // SAFETY: the mapping is of a file and only read, so its pages can always be had again. A failure changes nothing.
                let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, part.len()) };
            }
        }
        #[cfg(not(unix))]
        let _ = part;
    }

    /// Lets go of the memory of the whole checkpoint, which stays open; read again, it comes from the files again.
    pub fn release_weights(&self) {
        self.weight_files().for_each(|(_, bytes)| self.release(bytes));
    }

    /// Unmaps the checkpoint, once it has been loaded: its pages would count as memory of this process.
    pub fn forget_weights(&mut self) {
        self.weights.clear();
    }

    /// The path of a file of this model, for messages.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Names and contents of files.
type Contents = Vec<(String, Vec<u8>)>;

/// `tokenizer.json`, its companions, and what to tell the user.
fn tokenizer_files(directory: &Path) -> Result<(Contents, Vec<String>)> {
    let mut files = Contents::new();
    for name in TOKENIZER_FILES {
        if directory.join(name).exists() {
            files.push((name.to_owned(), read(directory, name)?));
        }
    }
    let mut notes = Vec::new();
    let file = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, contents)| contents.as_slice());
    let tokenizer = match file("vocab.txt") {
        Some(vocabulary) if !directory.join(TOKENIZER).exists() => {
            let config = file("tokenizer_config.json");
            if config.is_none() {
                notes.push(
                    "No tokenizer_config.json beside vocab.txt: texts are lower-cased (\"do_lower_case\": false in one says \
                     otherwise)."
                        .to_owned(),
                );
            }
            let paths = ["vocab.txt", "tokenizer_config.json"].map(|name| directory.join(name));
            tokenizer_json((&paths[0], vocabulary), config.map(|config| (paths[1].as_path(), config)))?
        }
        _ => read(directory, TOKENIZER)?,
    };
    // the `tokenizers` crate panics at some files that are cut short
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&tokenizer) {
        let hint = "Expected the tokenizer.json of a fast Hugging Face tokenizer";
        return Err(Error::file(&directory.join(TOKENIZER), format!("not a readable tokenizer: {error}"), hint));
    }
    files.insert(0, (TOKENIZER.to_owned(), tokenizer));
    Ok((files, notes))
}

/// The files with the tensors, and which of them has each tensor where there are several.
type Weights = (Vec<(String, Bytes)>, Option<BTreeMap<String, String>>);

fn open_weights(directory: &Path) -> Result<Weights> {
    let one = |name: &str| Ok((vec![(name.to_owned(), Bytes::Mapped(map(directory, name)?))], None));
    match [SAFETENSORS, INDEX, TORCH].into_iter().find(|name| directory.join(name).exists()) {
        Some(INDEX) => open_shards(directory),
        Some(name) => one(name),
        None => one(SAFETENSORS),
    }
}

fn open_shards(directory: &Path) -> Result<Weights> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let path = directory.join(INDEX);
    let index: Index = serde_json::from_slice(&read(directory, INDEX)?)
        .map_err(|e| Error::file(&path, format!("not an index of shards: {e}"), "Copy or download it again"))?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    let mut shards = Vec::new();
    for name in names {
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_str()) {
            let problem = format!("names the shard {name:?}, which is not a file of this directory");
            return Err(Error::file(&path, problem, "Nothing outside is read: download the model again"));
        }
        let shard = directory.join(name);
        if !shard.exists() {
            let problem = format!("no such file, but {INDEX} names it");
            return Err(Error::file(&shard, problem, "Copy or download this part of the model too"));
        }
        shards.push((name.clone(), Bytes::Mapped(map(directory, name)?)));
    }
    Ok((shards, Some(index.weight_map)))
}

fn read(directory: &Path, name: &str) -> Result<Vec<u8>> {
    let path = directory.join(name);
    fs::read(&path).map_err(|e| missing(&path, &e))
}

fn missing(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::file(path, "no such file", EXPECTED),
        _ => Error::io(path, "read", error),
    }
}

#[allow(unsafe_code)]
fn map(directory: &Path, name: &str) -> Result<Mapped> {
    let path = directory.join(name);
    let file = fs::File::open(&path).map_err(|e| missing(&path, &e))?;
    let opened = Mapped::state(&file);
    // SAFETY: the file is only read. Another process that writes it in place meanwhile could change the bytes, which
    // are numbers of any value, or cut it, which ends the program; saving never writes in place.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, "map", &e))?;
    Ok(Mapped { map, file, opened })
}
