//! Labelled rows as token ids: what training and evaluation read.

use crate::data::Dataset;
use crate::model::Config;
use crate::tokenize::Tokenizer;
use crate::{Error, Result};

/// Rows ready for the model.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Token ids of each row, `[CLS]` and `[SEP]` included.
    pub sequences: Vec<Vec<u32>>,
    /// Class id of each row.
    pub labels: Vec<u32>,
    /// How many rows were longer than the tokenizer's limit and are cut there.
    pub truncated: usize,
}

impl Examples {
    /// Tokenizes a data set for a model.
    ///
    /// # Errors
    /// [`Error::Row`] for a token id that the model has no embedding for.
    pub fn new(dataset: &Dataset, tokenizer: &Tokenizer, config: &Config) -> Result<Self> {
        let encoded = tokenizer.encode(&dataset.texts)?;
        let truncated = encoded.iter().filter(|e| e.truncated).count();
        let sequences: Vec<Vec<u32>> = encoded.into_iter().map(|e| e.ids).collect();
        for (ids, &line) in sequences.iter().zip(&dataset.lines) {
            check_ids(ids, config).map_err(|problem| {
                Error::row(&dataset.path, line, problem, "Use the tokenizer.json that belongs to the model")
            })?;
        }
        Ok(Self { sequences, labels: dataset.labels.clone(), truncated })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Number of tokens over all rows.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

/// Checks that the model has an embedding for each token; otherwise says which it lacks.
///
/// # Errors
/// The sentence that describes the problem.
pub fn check_ids(ids: &[u32], config: &Config) -> Result<(), String> {
    match ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        Some(id) => Err(format!(
            "the tokenizer gives token id {id}, but the model's vocabulary (vocab_size in config.json) has {} ids",
            config.vocab_size
        )),
        None => Ok(()),
    }
}
