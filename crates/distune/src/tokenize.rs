//! Texts to token ids, by the model's own `tokenizer.json`. Called by `train`, `eval`, prediction and serving.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::{Error, Result};

/// A text, or a pair of texts, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids with the special ones, at least those and at most the maximum length.
    pub ids: Vec<u32>,
    /// Whether the end of the text was cut off.
    pub truncated: bool,
}

/// A text, or a pair of texts, as tokens that know where they are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The text, or both texts.
    pub texts: Vec<String>,
    /// As [`Encoded::ids`].
    pub ids: Vec<u32>,
    /// What each of them is.
    pub tokens: Vec<Token>,
    /// As [`Encoded::truncated`].
    pub truncated: bool,
}

/// A token, and where it is in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// As in the vocabulary.
    pub token: String,
    /// Which text it is of: 0, or 1 for the second of a pair; none for a special token.
    pub text: Option<usize>,
    /// Which word of that text it is of, where the tokenizer tells.
    pub word: Option<u32>,
    /// Where it begins and ends in that text, in characters.
    pub place: Range<usize>,
}

/// A tokenizer that cuts texts at a maximum length and never pads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    inner: Arc<tokenizers::Tokenizer>,
    max_length: usize,
}

impl Tokenizer {
    /// Reads the bytes of a `tokenizer.json`; `path` is for messages. Truncation and padding written in the file give
    /// way to ours: the end is cut off so that at most `max_length` tokens remain, special ones included.
    ///
    /// # Errors
    /// A file that is no tokenizer; a `max_length` below 3, or that leaves no room between the special tokens.
    pub fn from_bytes(path: &Path, tokenizer_json: &[u8], max_length: usize) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(tokenizer_json).map_err(|error| {
            let hint = "Expected the tokenizer.json of a fast Hugging Face tokenizer";
            Error::file(path, format!("not a readable tokenizer: {error}"), hint)
        })?;
        let special = inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        let least = special.saturating_add(1).max(3);
        if max_length < least {
            let expected = format!("{least} or more, room for the {special} special tokens and one of the text");
            return Err(Error::value("recipe", "max_length", expected, max_length));
        }
        inner.with_padding(None);
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        inner
            .with_truncation(Some(truncation))
            .map_err(|error| Error::file(path, format!("cannot truncate at {max_length} tokens: {error}"), ""))?;
        Ok(Self { path: path.to_owned(), inner: Arc::new(inner), max_length })
    }

    /// Encodes texts on all threads, in order.
    ///
    /// # Errors
    /// A text that the tokenizer has no ids for, not even that of an unknown word: the file is damaged.
    pub fn encode(&self, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<Encoded>> {
        texts.par_iter().map(|text| self.encode_one(text.as_ref())).collect()
    }

    /// Encodes pairs of texts likewise: `[CLS] a [SEP] b [SEP]`. Of a pair that is too long, the longer text is cut first.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_pairs(&self, texts: &[String], pairs: &[String]) -> Result<Vec<Encoded>> {
        texts.par_iter().zip(pairs).map(|(text, pair)| self.encode_pair(text, pair)).collect()
    }

    /// Checks that pairs of texts can be encoded.
    ///
    /// # Errors
    /// A tokenizer that leaves the second text out, or a maximum length without room for a token of each.
    pub fn check_pairs(&self) -> Result<()> {
        let special = self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        if self.max_length < special + 2 {
            let expected = format!(
                "{} or more, room for the {special} special tokens of a pair and one of each text",
                special + 2
            );
            return Err(Error::value("recipe", "max_length", expected, self.max_length));
        }
        if self.encode_pair("a", "b")?.ids.len() <= self.encode_one("a")?.ids.len() {
            let problem = "its template of a pair leaves the second text out";
            return Err(Error::file(&self.path, problem, "Use the tokenizer.json of a model that takes pairs"));
        }
        Ok(())
    }

    /// Tokens of an encoded text, at most.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Encodes one text.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_one(&self, text: &str) -> Result<Encoded> {
        self.encoded(self.inner.encode_fast(text, true))
    }

    /// Encodes a pair of texts.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_pair(&self, text: &str, second: &str) -> Result<Encoded> {
        self.encoded(self.inner.encode_fast((text, second), true))
    }

    /// Encodes one text, or a pair of texts, and finds its tokens in it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn trace(&self, text: &str, second: Option<&str>) -> Result<Traced> {
        let encoding = match second {
            None => self.inner.encode_char_offsets(text, true),
            Some(second) => self.inner.encode_char_offsets((text, second), true),
        };
        let encoding = encoding.map_err(|error| self.cannot_encode(&error))?;
        let (texts, special) = (encoding.get_sequence_ids(), encoding.get_special_tokens_mask());
        let tokens = encoding.get_tokens().iter().enumerate().map(|(i, token)| {
            let (start, end) = encoding.get_offsets()[i];
            let text = if special[i] == 1 { None } else { Some(texts[i].unwrap_or(0)) };
            Token { token: token.clone(), text, word: encoding.get_word_ids()[i], place: start..end }
        });
        Ok(Traced {
            texts: [Some(text), second].into_iter().flatten().map(str::to_owned).collect(),
            ids: encoding.get_ids().to_vec(),
            tokens: tokens.collect(),
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }

    fn cannot_encode(&self, error: &tokenizers::Error) -> Error {
        Error::file(&self.path, format!("cannot encode a text: {error}"), "Check that the file is complete")
    }

    fn encoded(&self, encoding: tokenizers::Result<tokenizers::Encoding>) -> Result<Encoded> {
        let encoding = encoding.map_err(|error| self.cannot_encode(&error))?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), truncated: !encoding.get_overflowing().is_empty() })
    }
}
