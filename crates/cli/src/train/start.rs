//! What a training starts from: the options that say so, the rows, the model with its tokenizer. Used by `train` and `sweep`.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Args, Command, Id};
use distune::data::{Columns, Dataset, Examples, LabelMap, Splits, Table};
use distune::model::{Architecture, Config, Model, ModelFiles, ProblemType};
use distune::train::RecipeFile;
use distune::{Error, Result};

use super::recipe::RecipeArgs;
use crate::columns::ColumnArgs;
use crate::length::LengthArgs;
use crate::output::{note, thousands};
use crate::{Common, sources};

/// Names of classes that a note lists, at most.
const LABELS_SHOWN: usize = 20;

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
            model: model.or_else(|| Some(sources::BUNDLED.to_owned())),
            data: if data.is_empty() { vec![sources::REVIEWS.to_owned()] } else { data },
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

/// The files of the settings' model, and what it is.
pub(crate) fn open_model(settings: &RecipeFile, common: &Common) -> Result<(ModelFiles, Config)> {
    let files = sources::model(settings.model.as_deref().unwrap_or_default(), common)?;
    let config = Config::from_json(&files.file("config.json"), &files.config)?;
    sources::notes(&files, &config).iter().for_each(|text| note(common, text));
    Ok((files, config))
}

/// Refuses settings that thaw what a model has not got.
pub(crate) fn check_thawed(settings: &RecipeFile, config: &Config) -> Result<()> {
    settings.recipe.thawed(&settings.recipe.table(config)?).map(drop)
}

/// The rows of the settings' data, in the splits that a training wants.
pub(crate) fn read_rows(settings: &RecipeFile, common: &Common) -> Result<Splits> {
    let recipe = &settings.recipe;
    let splits = sources::splits(&settings.data, &settings.columns, common)?;
    // of the splits as they are, as `data check` tells them
    let problems = distune::data::audit::quick_check(&splits);
    let splits = Splits { problems, ..splits.complete(recipe.select_on, recipe.seed_of_split()) };
    splits.notes.iter().for_each(|text| note(common, text));
    splits.problems.iter().for_each(|text| note(common, text));
    Ok(splits)
}

/// All that a training starts from.
pub(crate) struct Start {
    pub(crate) model: Model,
    /// Whether its head is new, of the recipe's seed.
    pub(crate) new_head: bool,
    /// The tokenizer's files.
    pub(crate) tokenizer: Vec<(String, Vec<u8>)>,
    /// Where texts are cut, in tokens.
    pub(crate) max_length: usize,
    pub(crate) rows: Rows,
    /// How the data were read, and what is wrong with them.
    pub(crate) notes: Vec<String>,
    pub(crate) problems: Vec<String>,
}

/// The rows of a training.
pub(crate) struct Rows {
    pub(crate) train: Examples,
    pub(crate) validation: Examples,
    pub(crate) test: Option<Examples>,
    /// What the test rows are called.
    pub(crate) test_name: &'static str,
}

impl Rows {
    /// Each part by its name.
    pub(crate) fn parts(&self) -> Vec<(&'static str, &Examples)> {
        let test = self.test.as_ref().map(|test| (self.test_name, test));
        [("train", &self.train), ("validation", &self.validation)].into_iter().chain(test).collect()
    }
}

impl Start {
    /// Loads the model and gives it the rows. The columns that were read are entered in the settings.
    pub(crate) fn new(
        settings: &mut RecipeFile,
        mut files: ModelFiles,
        config: &Config,
        splits: Splits,
        common: &Common,
    ) -> Result<Self> {
        let (model, labels, new_head) = model_for(settings, &files, config, &splits, common)?;
        files.forget_weights();
        let Splits { train, validation, test, test_is_dev, notes, problems } = splits;
        let (Some(train), Some(validation)) = (train, validation) else {
            return Err(no_validation(Path::new(&settings.data[0])));
        };
        if !train.pairs.is_empty() && config.architecture != Architecture::DistilBert {
            note(
                common,
                "Pairs: BERT's mark of the second text (its second token type) is left out, as DistilBERT has none.",
            );
        }
        let others = [Some(&validation), test.as_ref()];
        record_columns(&mut settings.columns, &train, others);
        let tokenizer = LengthArgs::of_recipe(&settings.recipe).tokenizer(&files, &model.config)?;
        if !train.pairs.is_empty() {
            tokenizer.check_pairs()?;
        }
        let examples = |table: Table| -> Result<Examples> {
            Ok(Examples::new(Dataset::new(table, &labels)?, &tokenizer, &model.config))
        };
        let (train, validation) = (examples(train)?, examples(validation)?);
        let (test, test_name) = (test.map(examples).transpose()?, if test_is_dev { "dev" } else { "test" });
        let rows = Rows { train, validation, test, test_name };
        for (name, examples) in rows.parts() {
            note(common, format!("{name:<10} {:>9} rows", thousands(examples.len())));
        }
        let rows = Rows { train: rows.train.for_training()?, ..rows };
        if tokenizer.windows().is_some() {
            let windows = thousands(rows.train.len());
            note(common, format!("Trains on {windows} windows of the train rows, each with the labels of its text."));
        }
        let max_length = tokenizer.max_length();
        Ok(Self { model, new_head, tokenizer: files.tokenizer, max_length, rows, notes, problems })
    }
}

/// Names the columns of text, pair and label for the run's records, unless other splits call them otherwise.
fn record_columns(columns: &mut Columns, train: &Table, others: [Option<&Table>; 2]) {
    let of = |table: &Table| [Some(table.text_column.clone()), table.pair_column.clone(), table.label_column.clone()];
    if others.into_iter().flatten().all(|table| of(table) == of(train)) {
        [columns.text, columns.pair, columns.label] = of(train);
    }
}

/// The error for data without a second split.
fn no_validation(data: &Path) -> Error {
    let hint = "It has too few rows, or with --group-column too few groups, to hold some out of them: add rows, or name a \
                directory with a train and a validation (or dev) file, with --select-on dev";
    Error::file(data, "has no validation rows, by which the best epoch is chosen", hint)
}

/// The model to start from: with its own head if that has been trained for these labels, else with a new one, which is said too.
fn model_for(
    settings: &RecipeFile,
    files: &ModelFiles,
    config: &Config,
    splits: &Splits,
    common: &Common,
) -> Result<(Model, LabelMap, bool)> {
    let tables: Vec<&Table> = splits.train.iter().collect();
    let fresh = sources::class_names(&settings.data[0], &tables)?;
    if !settings.new_head && Model::has_head(files)? {
        let own = LabelMap::of_model(config);
        if fresh.problem() == own.problem() && fresh.names().iter().all(|name| own.id(name).is_some()) {
            let pairs: Vec<String> = fresh.names().iter().map(|name| named_alike(name, &own)).collect();
            let pairs = first_names(&pairs);
            note(common, format!("Goes on from the model's trained head ({pairs}); --new-head starts a new one."));
            return Ok((Model::load(files)?, own, false));
        }
        let why = match fresh.problem() == own.problem() {
            true => format!("The model's labels ({}) are not those of the data", shown(&own)),
            false if own.problem() == ProblemType::MultiLabel => {
                "The model tells any number of labels a row, the data have one".to_owned()
            }
            false => "The model tells one label a row, the data have any number of them".to_owned(),
        };
        note(common, format!("{why}: starts a new head."));
    }
    let several = if fresh.problem() == ProblemType::MultiLabel { ", any number of them a row" } else { "" };
    note(common, format!("New head for the labels {}{several}.", shown(&fresh)));
    Ok((Model::load_with_new_head(files, &fresh, settings.recipe.seed)?, fresh, true))
}

/// The names of the classes, of many the first ones.
fn shown(labels: &LabelMap) -> String {
    first_names(labels.names())
}

/// Some of many names.
fn first_names(names: &[String]) -> String {
    let first = names[..names.len().min(LABELS_SHOWN)].join(", ");
    if names.len() > LABELS_SHOWN { format!("{first} and {} more", names.len() - LABELS_SHOWN) } else { first }
}

/// A label of the data, with the model's name for it where that is another one.
fn named_alike(label: &str, own: &LabelMap) -> String {
    match own.id(label).map(|id| &own.names()[id as usize]) {
        Some(name) if name != label => format!("{label} = {name}"),
        _ => label.to_owned(),
    }
}
