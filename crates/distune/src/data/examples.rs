//! Labelled rows as token ids: what training and evaluation read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::data::{Answers, Dataset};
use crate::model::Config;
use crate::tokenize::{Encoded, Tokenizer};
use crate::{Error, Result};

/// Rows for the model. A row is tokenized when it is first asked for, or before, by another thread.
#[derive(Debug)]
pub struct Examples {
    dataset: Dataset,
    tokenizer: Tokenizer,
    config: Config,
    encoded: Vec<OnceLock<Encoded>>,
    windows: Option<WindowRows>,
}

/// The windows of all rows, each as a row of its own.
#[derive(Debug)]
struct WindowRows {
    /// Row of the data set, and which window of it.
    of: Vec<(usize, usize)>,
    /// What each of them should be classified as.
    answers: Answers,
}

/// Lengths of rows in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Rows that have been tokenized.
    pub rows: usize,
    /// Their tokens, in all windows.
    pub tokens: usize,
    /// Their windows: as many as rows, unless long texts are read in windows.
    pub windows: usize,
    /// How many of them were longer than the tokenizer's limit and are cut there.
    pub truncated: usize,
}

impl Examples {
    /// The rows of a data set, for a model.
    pub fn new(dataset: Dataset, tokenizer: &Tokenizer, config: &Config) -> Self {
        let encoded = (0..dataset.len()).map(|_| OnceLock::new()).collect();
        Self { dataset, tokenizer: tokenizer.clone(), config: config.clone(), encoded, windows: None }
    }

    /// The same, for a training: of a tokenizer that makes windows, each window is a row, with the labels of its text. All rows are tokenized
    /// for that. [`Self::dataset`] stays as it is.
    ///
    /// # Errors
    /// As [`Self::sequence`].
    pub fn for_training(mut self) -> Result<Self> {
        if self.tokenizer.windows().is_none() {
            return Ok(self);
        }
        let counts: Vec<usize> = self.texts()?.iter().map(|text| text.windows().len()).collect();
        let windows = |(row, &count): (usize, &usize)| (0..count).map(move |window| (row, window));
        let of: Vec<_> = counts.iter().enumerate().flat_map(windows).collect();
        let mut answers = Answers::none(self.dataset.answers.problem());
        of.iter().for_each(|&(row, _)| answers.push(self.dataset.answers.row(row).to_vec()));
        self.windows = Some(WindowRows { of, answers });
        Ok(self)
    }

    /// Refuses rows of which a training would see the first windows alone.
    pub(crate) fn check_for_training(&self) -> Result<()> {
        match (self.tokenizer.windows(), &self.windows) {
            (Some(_), None) => {
                Err(Error::value("training", "rows", "those of Examples::for_training", "texts in windows"))
            }
            _ => Ok(()),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.windows.as_ref().map_or(self.dataset.len(), |windows| windows.of.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// The rows as they were read.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// What makes tokens of their texts.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the rows should be classified as.
    pub fn answers(&self) -> &Answers {
        self.windows.as_ref().map_or(&self.dataset.answers, |windows| &windows.answers)
    }

    /// A checksum of the rows: texts and labels in their order.
    pub fn checksum(&self) -> u128 {
        let Dataset { texts, pairs, answers, .. } = &self.dataset;
        let texts = texts.iter().chain(pairs).map(String::as_bytes);
        let labels = (0..answers.len()).map(|row| bytemuck::cast_slice(answers.row(row)));
        crate::train::checksum(texts.chain(labels))
    }

    /// Token ids of a row, `[CLS]` and `[SEP]` included; of a text in windows that of the first one, unless each window is a row.
    ///
    /// # Errors
    /// [`Error::Row`] for a token id that the model has no embedding for, and all that [`Tokenizer::encode`] refuses.
    pub fn sequence(&self, row: usize) -> Result<&[u32]> {
        let (row, window) = self.windows.as_ref().map_or((row, 0), |windows| windows.of[row]);
        Ok(self.text(row)?.window(window).unwrap_or_default())
    }

    /// The tokens of a row of the data set.
    ///
    /// # Errors
    /// As [`Self::sequence`].
    pub fn text(&self, row: usize) -> Result<&Encoded> {
        let cell = &self.encoded[row];
        match cell.get() {
            Some(encoded) => Ok(encoded),
            None => {
                let encoded = match self.dataset.pairs.get(row) {
                    None => self.tokenizer.encode_one(&self.dataset.texts[row])?,
                    Some(second) => self.tokenizer.encode_pair(&self.dataset.texts[row], second)?,
                };
                check_text(&encoded, &self.config).map_err(|problem| {
                    let hint = "Use the tokenizer.json that belongs to the model";
                    Error::row(&self.dataset.path, self.dataset.lines[row], problem, hint)
                })?;
                // another thread may have been faster, with the same ids
                Ok(cell.get_or_init(|| encoded))
            }
        }
    }

    /// The tokens of every row of the data set, tokenizing on all threads what has not been yet.
    ///
    /// # Errors
    /// As [`Self::sequence`].
    pub fn texts(&self) -> Result<Vec<&Encoded>> {
        (0..self.dataset.len()).into_par_iter().map(|row| self.text(row)).collect()
    }

    /// Tokenizes rows on this thread, in this order, until `stop` is set. A row that cannot be is left to who asks for it.
    pub fn tokenize_ahead(&self, rows: &[usize], stop: &AtomicBool) {
        let _ =
            rows.iter().take_while(|_| !stop.load(Ordering::Relaxed)).try_for_each(|&row| self.sequence(row).map(drop));
    }

    /// The lengths of the rows that have been tokenized.
    pub fn lengths(&self) -> Lengths {
        let add = |sum: Lengths, encoded: &Encoded| Lengths {
            rows: sum.rows + 1,
            tokens: sum.tokens + encoded.tokens(),
            windows: sum.windows + encoded.windows().len(),
            truncated: sum.truncated + usize::from(encoded.truncated),
        };
        self.encoded.iter().filter_map(OnceLock::get).fold(Lengths::default(), add)
    }
}

/// Checks a text as [`check_ids`] does.
///
/// # Errors
/// Those of [`check_ids`].
pub fn check_text(text: &Encoded, config: &Config) -> Result<(), String> {
    text.windows().try_for_each(|ids| check_ids(ids, config))
}

/// Checks that there is a token, which the model reads first, and that it has an embedding for each; otherwise says what is lacking.
///
/// ```
/// let files = distune::sources::model("bundled", &mut ())?;
/// let config = distune::model::Config::from_json("config.json".as_ref(), &files.config)?;
/// let checked = |ids: &[u32]| distune::data::check_ids(ids, &config).is_ok();
/// assert!(checked(&[101, 102]) && !checked(&[101, 30_522]) && !checked(&[]));
/// # Ok::<(), distune::Error>(())
/// ```
///
/// # Errors
/// The sentence that describes the problem.
pub fn check_ids(ids: &[u32], config: &Config) -> Result<(), String> {
    if ids.is_empty() {
        return Err("the tokenizer gives this text no token, and has no special ones to put around it".into());
    }
    match ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        Some(id) => Err(format!(
            "the tokenizer gives token id {id}, but the model's vocabulary (vocab_size in config.json) has {} ids",
            config.vocab_size
        )),
        None => Ok(()),
    }
}
