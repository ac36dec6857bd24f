//! What a training began with: a checkpoint goes on only where all of it is the same. Made by who calls [`super::train()`].

use std::collections::BTreeMap;
use std::path::Path;

use distune_kernels::{Precision, isa};
use serde::{Deserialize, Serialize};
use twox_hash::xxhash3_128::Hasher;

use crate::data::Examples;
use crate::model::Model;
use crate::train::Recipe;
use crate::{Error, Result};

/// Settings, rows, tokenizer and starting weights of a training, as values or checksums, and the machine that computes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What must be the same, by what it is called in a message.
    same: BTreeMap<String, String>,
    /// What should be the same for the same bits: the program, the instructions, the CPU.
    machine: String,
}

impl Origin {
    /// For a model as it is before the first step, the files of its tokenizer, and its rows: those of train, validation and the like.
    pub fn new(
        model: &Model,
        precision: Precision,
        tokenizer: &[(String, Vec<u8>)],
        rows: &[(&str, &Examples)],
        recipe: &Recipe,
    ) -> Self {
        let mut same = BTreeMap::new();
        let settings = serde_json::to_value(recipe).unwrap_or_default();
        for (key, value) in settings.as_object().into_iter().flatten() {
            same.insert(format!("setting {key}"), value.to_string());
        }
        same.insert("precision".into(), precision.to_string());
        let labels = &model.config.labels;
        let sum = checksum(labels.iter().map(String::as_bytes));
        same.insert("labels".into(), format!("{} (checksum {sum:032x})", crate::data::quoted(labels, 20)));
        for (name, rows) in rows {
            same.insert(format!("{name} rows"), format!("{} (checksum {:032x})", rows.len(), rows.checksum()));
        }
        let files = tokenizer.iter().flat_map(|(name, contents)| [name.as_bytes(), contents.as_slice()]);
        same.insert("tokenizer".into(), format!("files of checksum {:032x}", checksum(files)));
        let tensors = model.weights.table().tensors();
        let bytes = tensors.iter().map(|tensor| bytemuck::cast_slice(model.weights.tensor(tensor)));
        let weights = checksum(bytes.chain([model.config.to_json().as_bytes()]));
        same.insert("starting model".into(), format!("config and weights of checksum {weights:032x}"));
        let machine = format!("distune {}, {}, {}", env!("CARGO_PKG_VERSION"), isa().name(), cpu());
        Self { same, machine }
    }

    /// What must be the same beside the settings, by what it is called: checksums of the rows, the tokenizer and the weights.
    pub fn checksums(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.same.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        all.filter(|(key, _)| !key.starts_with("setting ") && *key != "precision")
    }

    /// Checks that a checkpoint is of this training. Returns what the user should know about it all the same.
    ///
    /// # Errors
    /// [`Error::File`] that names the first thing that is another.
    pub(super) fn check(&self, saved: &Self, checkpoint: &Path) -> Result<Option<String>> {
        let keys: std::collections::BTreeSet<&String> = self.same.keys().chain(saved.same.keys()).collect();
        let of = |origin: &Self, key| origin.same.get(key).map_or("none", String::as_str).to_owned();
        if let Some(key) = keys.into_iter().find(|&key| self.same.get(key) != saved.same.get(key)) {
            let (was, is) = (of(saved, key), of(self, key));
            let problem = format!("is of another training: {key} was {was}, is {is}");
            let hint =
                "Go on with the model, the data and the recipe.toml that it began with, or start anew with --overwrite";
            return Err(Error::file(checkpoint, problem, hint));
        }
        let (was, is) = (&saved.machine, &self.machine);
        let note = format!("The checkpoint was written by {was}; this is {is}: bits may differ from here on.");
        Ok((was != is).then_some(note))
    }
}

/// A checksum of byte strings, each with its length.
pub(crate) fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish_128()
}

/// What the system calls the CPU.
pub(crate) fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}
