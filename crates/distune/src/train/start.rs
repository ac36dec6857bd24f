//! What a training starts from: the rows in their splits, the model with its tokenizer. Called by [`crate::FineTuning`] and by sweeps.

use std::path::Path;

use crate::data::audit::thousands;
use crate::data::{Columns, Dataset, Examples, LabelMap, Splits, Table};
use crate::hub::Observer;
use crate::model::{Architecture, Config, Model, ModelFiles, ProblemType};
use crate::sources::{self, Reading};
use crate::train::RecipeFile;
use crate::{Error, Result};

/// Names of classes that a note lists, at most.
const LABELS_SHOWN: usize = 20;

/// The files of the settings' model, and what it is.
///
/// # Errors
/// A model that is not there or not one.
pub fn open_model(settings: &RecipeFile, observer: &mut dyn Observer) -> Result<(ModelFiles, Config)> {
    let files = sources::model(settings.model.as_deref().unwrap_or_default(), observer)?;
    let config = files.config()?;
    sources::notes(&files, &config).iter().for_each(|text| observer.note(text));
    Ok((files, config))
}

/// Refuses settings that thaw what a model has not got.
///
/// # Errors
/// The setting, and what the model has.
pub fn check_thawed(settings: &RecipeFile, config: &Config) -> Result<()> {
    settings.recipe.thawed(&settings.recipe.table(config)?).map(drop)
}

/// The rows of the settings' data, in the splits that a training wants.
///
/// # Errors
/// Data that are not there or cannot be read.
pub fn read_rows(settings: &RecipeFile, observer: &mut dyn Observer) -> Result<Splits> {
    let splits = sources::splits(&settings.data, &settings.columns, observer)?;
    Ok(complete_rows(settings, splits, observer))
}

/// Rows in the splits that a training wants: what is missing is made, as the settings say, and what is wrong with them is told.
pub(crate) fn complete_rows(settings: &RecipeFile, splits: Splits, observer: &mut dyn Observer) -> Splits {
    let recipe = &settings.recipe;
    // of the splits as they are, as `data check` tells them
    let problems = crate::data::audit::quick_check(&splits);
    let splits = Splits { problems, ..splits.complete(recipe.select_on, recipe.seed_of_split()) };
    splits.notes.iter().for_each(|text| observer.note(text));
    splits.problems.iter().for_each(|text| observer.note(text));
    splits
}

/// All that a training starts from.
pub struct Start {
    /// The model, with a head for the labels.
    pub model: Model,
    /// Whether its head is new, of the recipe's seed.
    pub new_head: bool,
    /// The tokenizer's files.
    pub tokenizer: Vec<(String, Vec<u8>)>,
    /// Where texts are cut, in tokens.
    pub max_length: usize,
    /// The rows in their splits.
    pub rows: Rows,
    /// How the data were read, a sentence each.
    pub notes: Vec<String>,
    /// What is wrong with them, likewise.
    pub problems: Vec<String>,
}

/// The rows of a training.
pub struct Rows {
    /// Trained on.
    pub train: Examples,
    /// Choose the epoch.
    pub validation: Examples,
    /// Judged once, at the end, where there are some.
    pub test: Option<Examples>,
    /// What the test rows are called.
    pub test_name: &'static str,
}

impl Rows {
    /// Each part by its name.
    pub fn parts(&self) -> Vec<(&'static str, &Examples)> {
        let test = self.test.as_ref().map(|test| (self.test_name, test));
        [("train", &self.train), ("validation", &self.validation)].into_iter().chain(test).collect()
    }
}

impl Start {
    /// Loads the model and gives it the rows. The columns that were read are entered in the settings.
    ///
    /// # Errors
    /// A model that cannot be loaded; no validation rows; labels or pairs that cannot be used.
    pub fn new(
        settings: &mut RecipeFile,
        mut files: ModelFiles,
        config: &Config,
        splits: Splits,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let (model, labels, new_head) = model_for(settings, &files, config, &splits, observer)?;
        files.forget_weights();
        let Splits { train, validation, test, test_is_dev, notes, problems } = splits;
        let (Some(train), Some(validation)) = (train, validation) else {
            return Err(no_validation(Path::new(data_name(settings))));
        };
        if !train.pairs.is_empty() && config.architecture != Architecture::DistilBert {
            observer.note(
                "Pairs: BERT's mark of the second text (its second token type) is left out, as DistilBERT has none.",
            );
        }
        let others = [Some(&validation), test.as_ref()];
        record_columns(&mut settings.columns, &train, others);
        let tokenizer = Reading::of_recipe(&settings.recipe).tokenizer(&files, &model.config)?;
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
            observer.note(&format!("{name:<10} {:>9} rows", thousands(examples.len())));
        }
        let rows = Rows { train: rows.train.for_training()?, ..rows };
        if tokenizer.windows().is_some() {
            let windows = thousands(rows.train.len());
            observer.note(&format!("Trains on {windows} windows of the train rows, each with the labels of its text."));
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

/// What the rows are called; of several files the first.
fn data_name(settings: &RecipeFile) -> &str {
    settings.data.first().map_or("the data", String::as_str)
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
    observer: &mut dyn Observer,
) -> Result<(Model, LabelMap, bool)> {
    let tables: Vec<&Table> = splits.train.iter().collect();
    let fresh = sources::class_names(data_name(settings), &tables)?;
    if !settings.new_head && Model::has_head(files)? {
        let own = LabelMap::of_model(config);
        if fresh.problem() == own.problem() && fresh.names().iter().all(|name| own.id(name).is_some()) {
            let pairs: Vec<String> = fresh.names().iter().map(|name| named_alike(name, &own)).collect();
            let pairs = first_names(&pairs);
            observer.note(&format!("Goes on from the model's trained head ({pairs}); --new-head starts a new one."));
            return Ok((Model::load(files)?, own, false));
        }
        let why = match fresh.problem() == own.problem() {
            true => format!("The model's labels ({}) are not those of the data", shown(&own)),
            false if own.problem() == ProblemType::MultiLabel => {
                "The model tells any number of labels a row, the data have one".to_owned()
            }
            false => "The model tells one label a row, the data have any number of them".to_owned(),
        };
        observer.note(&format!("{why}: starts a new head."));
    }
    let several = if fresh.problem() == ProblemType::MultiLabel { ", any number of them a row" } else { "" };
    observer.note(&format!("New head for the labels {}{several}.", shown(&fresh)));
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
