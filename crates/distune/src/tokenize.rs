//! Texts to token ids, by the model's own `tokenizer.json`. Called by `train`, `eval`, prediction and serving.

mod windows;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{Encoding, PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

pub use windows::{Combine, Long, Windows};

use crate::{Error, Result};

/// A text, or a pair of texts, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids with the special ones, at least those and at most the maximum length. Of a text in windows, those of the first one.
    pub ids: Vec<u32>,
    /// Those of the other windows, with a tokenizer that makes windows.
    pub further: Vec<Vec<u32>>,
    /// Whether some of the text was cut off.
    pub truncated: bool,
}

impl Encoded {
    /// The token ids of each window: of one, unless a tokenizer makes windows and the text is long.
    pub fn windows(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        (0..1 + self.further.len()).map(|window| self.window(window).unwrap_or_default())
    }

    /// The token ids of a window, if there is such a one.
    pub fn window(&self, window: usize) -> Option<&[u32]> {
        match window {
            0 => Some(&self.ids),
            window => self.further.get(window - 1).map(Vec::as_slice),
        }
    }

    /// The tokens of all windows.
    pub fn tokens(&self) -> usize {
        self.windows().map(<[u32]>::len).sum()
    }
}

/// A text, or a pair of texts, as tokens that know where they are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The text, or both texts.
    pub texts: Vec<String>,
    /// All its tokens.
    pub tokens: Vec<Token>,
    /// What the model reads at once: all of the tokens, or of a long text some of them in each window.
    pub windows: Vec<TracedWindow>,
    /// How the logits of the windows become those of the text.
    pub combine: Combine,
    /// As [`Encoded::truncated`].
    pub truncated: bool,
}

/// What the model reads at once of a [`Traced`] text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedWindow {
    /// As [`Encoded::ids`].
    pub ids: Vec<u32>,
    /// Which one of [`Traced::tokens`] each of them is.
    pub tokens: Vec<usize>,
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

/// Which side of a text that is too long is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// Its beginning.
    Left,
    /// Its end.
    #[default]
    Right,
    /// Nothing: the text stays longer than a model may take.
    Nothing,
}

/// A tokenizer that cuts texts at a maximum length, or lays windows of that length over them, and never pads.
///
/// ```
/// # let files = distune::sources::model("bundled", &mut ())?;
/// # let config = distune::model::Config::from_json("config.json".as_ref(), &files.config)?;
/// let tokenizer = distune::sources::Reading::cut_at(6).tokenizer(&files, &config)?;
/// let encoded = tokenizer.encode_one("a charming and often affecting journey")?;
/// assert!(encoded.ids.len() == 6 && encoded.truncated);
/// # Ok::<(), distune::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tokenizer {
    path: PathBuf,
    /// Neither cuts nor pads: it would keep all parts that it cuts off, and of two texts every pair of such parts.
    inner: Arc<tokenizers::Tokenizer>,
    max_length: usize,
    windows: Option<Windows>,
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
        let uncut = inner.with_truncation(None).map(drop);
        uncut.map_err(|error| Error::file(path, format!("cannot leave texts uncut: {error}"), ""))?;
        Ok(Self { path: path.to_owned(), inner: Arc::new(inner), max_length, windows: None })
    }

    /// The same with windows over long texts instead of a cut, each with `overlap` tokens in common with the one before; without a number, a
    /// quarter of what it has room for. Of a pair, windows lie over the first text, and each has the whole second one, of which no more is
    /// read than half of the room.
    ///
    /// # Errors
    /// More overlap than half of the room in a window.
    pub fn with_windows(mut self, overlap: Option<usize>, combine: Combine) -> Result<Self> {
        let room = self.room(false);
        if let Some(found) = overlap.filter(|&overlap| overlap > room / 2) {
            let expected = format!("at most {}, half of a window's {room} tokens of text", room / 2);
            return Err(Error::value("recipe", "window_overlap", expected, found));
        }
        self.windows = Some(Windows { overlap: overlap.unwrap_or(room / 4), combine });
        Ok(self)
    }

    /// The windows that are laid over long texts, if they are.
    pub fn windows(&self) -> Option<Windows> {
        self.windows
    }

    /// How the logits of the windows of a text become those of the text.
    pub fn combine(&self) -> Combine {
        self.windows.map(|windows| windows.combine).unwrap_or_default()
    }

    /// Tokens beside the special ones, at most.
    fn room(&self, pair: bool) -> usize {
        let special = self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair));
        self.max_length.saturating_sub(special)
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
        if self.encode_pair("a", "b")?.tokens() <= self.encode_one("a")?.tokens() {
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
        Ok(self.encode_cutting(text, None, Cut::Right)?.0)
    }

    /// Encodes a pair of texts.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_pair(&self, text: &str, second: &str) -> Result<Encoded> {
        Ok(self.encode_cutting(text, Some(second), Cut::Right)?.0)
    }

    /// Encodes one text, or a pair of texts, cut on the side that is asked for, and counts the tokens that it has uncut. Windows, where the
    /// tokenizer makes them, need no cut but that of the second text.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_cutting(&self, text: &str, second: Option<&str>, cut: Cut) -> Result<(Encoded, usize)> {
        let fast = |text: &str| self.encoded(self.inner.encode_fast(text, false));
        let (text, second) = (fast(text)?, second.map(fast).transpose()?);
        let length = self.length(&text, second.as_ref());
        if let Some(windows) = self.windows.filter(|_| cut != Cut::Nothing) {
            let InWindows { parts, truncated, .. } = self.in_windows(text, second, windows, false)?;
            let mut ids = parts.iter().map(|part| part.get_ids().to_vec());
            let encoded = Encoded { ids: ids.next().unwrap_or_default(), further: ids.collect(), truncated };
            return Ok((encoded, length));
        }
        let (encoding, truncated) = self.cut(text, second, cut)?;
        Ok((Encoded { ids: encoding.get_ids().to_vec(), further: Vec::new(), truncated }, length))
    }

    /// Encodes one text, or a pair of texts, and finds its tokens in it.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn trace(&self, text: &str, second: Option<&str>) -> Result<Traced> {
        self.trace_cutting(text, second, Cut::Right)
    }

    /// As [`Self::trace`], cut as by [`Self::encode_cutting`].
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn trace_cutting(&self, text: &str, second: Option<&str>, cut: Cut) -> Result<Traced> {
        let texts = [Some(text), second].into_iter().flatten().map(str::to_owned).collect();
        let traced = |whole: &Encoding, windows, truncated| {
            let tokens = kinds(whole).into_iter().enumerate().map(|(i, text)| token(whole, i, text)).collect();
            Traced { texts, tokens, windows, combine: self.combine(), truncated }
        };
        let encode = |text: &str| self.encoded(self.inner.encode_char_offsets(text, false));
        let (text, second) = (encode(text)?, second.map(encode).transpose()?);
        if let Some(windows) = self.windows.filter(|_| cut != Cut::Nothing) {
            let InWindows { parts, step, whole, truncated } = self.in_windows(text, second, windows, true)?;
            let whole = whole.unwrap_or_default();
            let kinds = kinds(&whole);
            let windows = (0..).zip(&parts).map(|(window, part)| TracedWindow {
                ids: part.get_ids().to_vec(),
                tokens: places(&self::kinds(part), &kinds, window * step),
            });
            return Ok(traced(&whole, windows.collect(), truncated));
        }
        let (encoding, truncated) = self.cut(text, second, cut)?;
        let window = TracedWindow { ids: encoding.get_ids().to_vec(), tokens: (0..encoding.len()).collect() };
        Ok(traced(&encoding, vec![window], truncated))
    }

    /// The text that token ids stand for, with or without the special ones.
    ///
    /// # Errors
    /// Ids that the tokenizer cannot put together.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|error| {
            Error::file(&self.path, format!("cannot decode token ids: {error}"), "Use ids of this model")
        })
    }

    /// Tokens of texts that were encoded without special tokens, with those.
    fn length(&self, text: &Encoding, second: Option<&Encoding>) -> usize {
        text.len() + second.map_or(0, Encoding::len) + self.max_length - self.room(second.is_some())
    }

    /// Cuts texts that were encoded without special tokens, and puts these around them; whether something was cut off. Of a pair that is too
    /// long, the longer text is cut first.
    fn cut(&self, mut text: Encoding, mut second: Option<Encoding>, cut: Cut) -> Result<(Encoding, bool)> {
        let truncated = cut != Cut::Nothing && self.length(&text, second.as_ref()) > self.max_length;
        if truncated {
            let params = TruncationParams {
                direction: if cut == Cut::Left { TruncationDirection::Left } else { TruncationDirection::Right },
                max_length: self.room(second.is_some()),
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            };
            (text, second) = self.encoded(truncate_encodings(text, second, &params))?;
            drop((text.take_overflowing(), second.as_mut().map(Encoding::take_overflowing)));
        }
        Ok((self.encoded(self.inner.post_process(text, second, true))?, truncated))
    }

    /// Lays windows over a text that was encoded without special tokens, as was the second one of a pair.
    fn in_windows(
        &self,
        mut text: Encoding,
        mut second: Option<Encoding>,
        windows: Windows,
        with_whole: bool,
    ) -> Result<InWindows> {
        let room = self.room(second.is_some());
        let mut truncated = false;
        let mut taken = 0;
        if let Some(second) = &mut second {
            truncated = second.len() > room / 2;
            second.truncate(room / 2, 0, TruncationDirection::Right);
            drop(second.take_overflowing());
            taken = second.len();
        }
        let room = room - taken;
        let overlap = windows.overlap.min(room / 2);
        let with_special = |text: Encoding| self.encoded(self.inner.post_process(text, second.clone(), true));
        let whole = with_whole.then(|| with_special(text.clone())).transpose()?;
        text.truncate(room, overlap, TruncationDirection::Right);
        let further = text.take_overflowing();
        let parts = [text].into_iter().chain(further).map(with_special).collect::<Result<_>>()?;
        Ok(InWindows { parts, step: room - overlap, whole, truncated })
    }

    fn encoded<T>(&self, encoded: tokenizers::Result<T>) -> Result<T> {
        encoded.map_err(|error| {
            Error::file(&self.path, format!("cannot encode a text: {error}"), "Check that the file is complete")
        })
    }
}

/// A text in windows, with special tokens.
struct InWindows {
    parts: Vec<Encoding>,
    /// How many tokens of the text, or of the first text of a pair, lie between the beginnings of two windows.
    step: usize,
    /// What the text would be in a single window, where that is wanted.
    whole: Option<Encoding>,
    /// Whether the end of the second text of a pair was cut off.
    truncated: bool,
}

/// Which text each token is of; none for a special one.
fn kinds(encoding: &Encoding) -> Vec<Option<usize>> {
    let special = encoding.get_special_tokens_mask();
    let kind = |(text, special): (Option<usize>, &u32)| (*special == 0).then_some(text.unwrap_or(0));
    encoding.get_sequence_ids().into_iter().zip(special).map(kind).collect()
}

fn token(encoding: &Encoding, i: usize, text: Option<usize>) -> Token {
    let (start, end) = encoding.get_offsets()[i];
    let (token, word) = (encoding.get_tokens()[i].clone(), encoding.get_word_ids()[i]);
    Token { token, text, word, place: start..end }
}

/// Where the tokens of a window are in the whole text, of whose first text the window has the tokens from `first` on: the second text and
/// the special tokens are the same in both.
fn places(window: &[Option<usize>], whole: &[Option<usize>], first: usize) -> Vec<usize> {
    let of_kind = |kind| (0..whole.len()).filter(move |&i| whole[i] == kind);
    let (mut special, mut text, mut second) = (of_kind(None), of_kind(Some(0)).skip(first), of_kind(Some(1)));
    let next = |kind: &Option<usize>| match kind {
        None => special.next(),
        Some(0) => text.next(),
        Some(_) => second.next(),
    };
    window.iter().filter_map(next).collect()
}
