//! The options that say which columns and rows of a file are read.

use clap::{Args, ValueEnum};
use distune::data::{Columns, Trees};

/// Which columns to read.
#[derive(Args, Debug)]
pub(crate) struct ColumnArgs {
    /// Column with the text [default: guessed from its name]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column with the label [default: guessed from its name]
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Column with the second text of a pair [default: guessed where both names are those of a pair, as sentence1 and sentence2]
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    /// Column whose rows of one value (an author, a thread) a split keeps together
    #[arg(long, value_name = "NAME")]
    group_column: Option<String>,
    /// Leave out rows that cannot be read, and list them, instead of stopping
    #[arg(long)]
    skip_bad: bool,
    /// What to take of a treebank of bracketed trees; phrases are for training alone
    #[arg(long, value_enum, default_value_t = TreesChoice::Sentences)]
    trees: TreesChoice,
}

/// What `--trees` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TreesChoice {
    /// Sentences, positive or negative; neutral ones are left out
    Sentences,
    /// All phrases, positive or negative
    Phrases,
    /// Sentences of five classes
    Sentences5,
    /// All phrases, of five classes
    Phrases5,
}

impl ColumnArgs {
    pub(crate) fn resolve(&self) -> Columns {
        use TreesChoice as T;
        let trees = Trees {
            phrases: matches!(self.trees, T::Phrases | T::Phrases5),
            five_classes: matches!(self.trees, T::Sentences5 | T::Phrases5),
        };
        Columns {
            text: self.text_column.clone(),
            label: self.label_column.clone(),
            pair: self.pair_column.clone(),
            group: self.group_column.clone(),
            skip_bad: self.skip_bad,
            several_labels: false,
            trees,
        }
    }
}
