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
    /// What to take of a treebank of bracketed trees; phrases are for training alone [default: sentences]
    #[arg(long, value_enum)]
    trees: Option<TreesChoice>,
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
        self.over(Columns::default())
    }

    /// What the options say, and for the rest what `base` says.
    pub(crate) fn over(&self, base: Columns) -> Columns {
        use TreesChoice as T;
        let trees = self.trees.map(|choice| Trees {
            phrases: matches!(choice, T::Phrases | T::Phrases5),
            five_classes: matches!(choice, T::Sentences5 | T::Phrases5),
        });
        Columns {
            text: self.text_column.clone().or(base.text),
            label: self.label_column.clone().or(base.label),
            pair: self.pair_column.clone().or(base.pair),
            group: self.group_column.clone().or(base.group),
            skip_bad: self.skip_bad || base.skip_bad,
            others: base.others,
            several_labels: false,
            trees: trees.unwrap_or(base.trees),
        }
    }
}
