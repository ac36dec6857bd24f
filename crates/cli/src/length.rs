//! The options that say how texts are read that are longer than a limit, and the tokenizer that reads them so, as [`Reading`] means them. Used by everything that
//! predicts.

use clap::Args;
use distune::Result;
use distune::model::{Config, ModelFiles};
use distune::sources::Reading;
use distune::tokenize::{Combine, Long, Tokenizer};

/// How texts are read, where it is not as in the model's training.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LengthArgs {
    /// Longest text in tokens [default: as in the model's training, else all that it has positions for]
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
    /// What becomes of longer texts: truncate cuts them, windows reads them in overlapping pieces of that length and combines the logits
    /// [default: as in training, else truncate]
    #[arg(long, value_name = "truncate|windows", value_parser = long)]
    pub(crate) long: Option<Long>,
    /// Tokens that a window has in common with the one before [default: as in training, else a quarter of what it has room for]
    #[arg(long, value_name = "N")]
    pub(crate) window_overlap: Option<usize>,
    /// What becomes of the logits of windows: their mean, or the largest one of each class, max [default: as in training, else mean]
    #[arg(long, value_name = "mean|max", value_parser = combine)]
    pub(crate) window_combine: Option<Combine>,
}

pub(crate) fn long(name: &str) -> Result<Long, String> {
    crate::train::named(&Long::NAMES, name)
}

pub(crate) fn combine(name: &str) -> Result<Combine, String> {
    crate::train::named(&Combine::NAMES, name)
}

impl LengthArgs {
    /// The same for the library.
    pub(crate) fn reading(&self) -> Reading {
        let Self { max_length, long, window_overlap, window_combine } = *self;
        Reading { max_length, long, window_overlap, window_combine }
    }

    /// A model's tokenizer.
    pub(crate) fn tokenizer(&self, files: &ModelFiles, config: &Config) -> Result<Tokenizer> {
        self.reading().tokenizer(files, config)
    }
}
