//! The options that say what a training is of. Used by `train` and `sweep`.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Command, Id};
use distune::Result;
use distune::model::Config;
use distune::sources::{BUNDLED, REVIEWS};
use distune::train::RecipeFile;

use super::recipe::RecipeArgs;
use crate::columns::ColumnArgs;

/// The model, the data and the settings of a training.
#[derive(Args, Debug)]
pub(crate) struct SettingArgs {
    /// Recipe: a TOML file of settings, such as the recipe.toml of a run; options win over it
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe_file: Option<PathBuf>,
    /// "bundled", a directory with config.json, tokenizer.json and model.safetensors, or a name of the Hugging Face hub,
    /// such as distilbert-base-uncased or ORG/NAME@REVISION
    /// [default: bundled]
    #[arg(long, short)]
    model: Option<String>,
    /// "reviews", a directory with train, validation (or dev) and test files (.tsv, .csv, .jsonl, .parquet, also .gz or .zst), one
    /// such file, which is split, "-" for standard input, or a name of the Hugging Face hub, such as stanfordnlp/sst2 or
    /// nyu-mll/glue:sst2. Several: files that are read as one
    /// [default: reviews]
    #[arg(long, short)]
    data: Vec<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Start with a new head even if the model's own one fits the labels
    #[arg(long)]
    new_head: bool,
    /// Most memory and disk for what frozen blocks put out; a quarter of the free memory is used first, then a file
    #[arg(long, value_name = "SIZE", default_value = "8GB")]
    pub(crate) cache_limit: ByteSize,
    #[command(flatten)]
    recipe: RecipeArgs,
}

impl SettingArgs {
    /// What `--resume` does not go with: the options that a training or a sweep which goes on has had, and these.
    pub(crate) fn ids_and(others: &[&'static str]) -> Vec<Id> {
        let options = Self::augment_args(Command::new("settings"));
        let ids = options.get_arguments().map(|option| option.get_id().clone()).filter(|id| id != "cache_limit");
        ids.chain(others.iter().map(|name| Id::from(*name))).collect()
    }

    /// What the options say, for the rest what the recipe file says, and for the rest what is recommended.
    pub(crate) fn settings(&self) -> Result<RecipeFile> {
        self.over(self.recipe_file.as_deref().map_or_else(|| Ok(RecipeFile::default()), RecipeFile::read)?)
    }

    /// What the options say, and for the rest what `file` says.
    pub(crate) fn over(&self, file: RecipeFile) -> Result<RecipeFile> {
        let data = if self.data.is_empty() { file.data } else { self.data.clone() };
        let model = self.model.clone().or(file.model);
        Ok(RecipeFile {
            model: model.or_else(|| Some(BUNDLED.to_owned())),
            data: if data.is_empty() { vec![REVIEWS.to_owned()] } else { data },
            precision: file.precision,
            new_head: self.new_head || file.new_head,
            columns: self.columns.over(file.columns),
            recipe: self.recipe.over(file.recipe)?,
        })
    }

    /// Without `--max-length`, texts are no longer than the model's positions.
    pub(crate) fn fit(&self, settings: &mut RecipeFile, config: &Config) {
        self.recipe.fit(&mut settings.recipe, config);
    }
}
