//! The options that say how texts are read that are longer than a limit, and the tokenizer that reads them so. Used by everything that
//! predicts, and by `train` through its recipe.

use clap::Args;
use distune::model::{Config, ModelFiles};
use distune::tokenize::{Combine, Long, Tokenizer};
use distune::train::Recipe;
use distune::{Error, Result};

use crate::sources::trained_with;

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
    /// As a recipe says.
    pub(crate) fn of_recipe(recipe: &Recipe) -> Self {
        Self {
            max_length: Some(recipe.max_seq_length),
            long: Some(recipe.long),
            window_overlap: recipe.window_overlap,
            window_combine: (recipe.long == Long::Windows).then_some(recipe.window_combine),
        }
    }

    /// A model's tokenizer. What is not said is as it was in its training; without one, texts are cut where its position embeddings end.
    pub(crate) fn tokenizer(&self, files: &ModelFiles, config: &Config) -> Result<Tokenizer> {
        let limit = config.max_position_embeddings;
        let max_length = self.max_length.or_else(|| trained_number(files, "max_seq_length")).unwrap_or(limit);
        if max_length > limit {
            let expected = format!("at most {limit}, the positions that the model has");
            return Err(Error::value(files.path.display(), "max length", expected, max_length));
        }
        let (name, json) = &files.tokenizer[0];
        let tokenizer = Tokenizer::from_bytes(&files.file(name), json, max_length)?;
        match self.long.or_else(|| trained_name(files, "long", &Long::NAMES)).unwrap_or_default() {
            Long::Windows => {
                let overlap = self.window_overlap.or_else(|| trained_number(files, "window_overlap"));
                let combine = self.window_combine.or_else(|| trained_name(files, "window_combine", &Combine::NAMES));
                tokenizer.with_windows(overlap, combine.unwrap_or_default())
            }
            Long::Truncate if self.window_overlap.is_some() || self.window_combine.is_some() => {
                let expected = "with --long windows, or a model that was trained with it";
                Err(Error::value(
                    "command line",
                    "--window-overlap, --window-combine",
                    expected,
                    "long texts that are cut",
                ))
            }
            Long::Truncate => Ok(tokenizer),
        }
    }
}

/// A setting of the model's training that is a number, if its directory tells.
fn trained_number(files: &ModelFiles, key: &str) -> Option<usize> {
    trained_with(files, key)?.as_u64()?.try_into().ok()
}

/// One that is a name.
fn trained_name<T: Copy>(files: &ModelFiles, key: &str, names: &[(&str, T)]) -> Option<T> {
    let name = trained_with(files, key)?;
    crate::train::named(names, name.as_str()?).ok()
}
