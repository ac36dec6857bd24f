//! `distune train`: from named model and data to a run directory, with a report.

pub(crate) mod lora;
mod recipe;
mod report;

use std::path::{Path, PathBuf};

use anyhow::bail;
use bytesize::ByteSize;
use clap::Args;
use distune::data::{Columns, Dataset, Examples, LabelMap, Splits, Table};
use distune::engine::Cpu;
use distune::eval::evaluate;
use distune::model::{Architecture, Config, Model, ModelFiles, ProblemType};
use distune::run::{Run, RunDirectory};
use distune::tensorboard::EventFile;
use distune::train::{CacheLimits, RecipeFile, Storage, frozen_hash, parts};
use distune::{Error, Result};

use self::recipe::RecipeArgs;
use self::report::{Watcher, adapters, report, show_parts};
use crate::columns::ColumnArgs;
use crate::output::{note, thousands};
use crate::{Common, memory, sources, stop};

/// Names of classes that a note lists, at most.
const LABELS_SHOWN: usize = 20;

/// Fine-tune a model on labelled texts; without arguments, the bundled encoder on the bundled movie reviews
#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// Recipe: a TOML file of settings, such as the recipe.toml of a run; options win over it
    #[arg(value_name = "RECIPE")]
    recipe_file: Option<PathBuf>,
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
    /// Directory to write [default: runs/DATA-1, or the next free number]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
    /// Start with a new head even if the model's own one fits the labels
    #[arg(long)]
    new_head: bool,
    /// Most memory and disk for what frozen blocks put out; a quarter of the free memory is used first, then a file
    #[arg(long, value_name = "SIZE", default_value = "8GB")]
    cache_limit: ByteSize,
    #[command(flatten)]
    recipe: RecipeArgs,
}

impl TrainArgs {
    /// What the options say, for the rest what the recipe file says, and for the rest what is recommended.
    fn settings(&self) -> Result<RecipeFile> {
        let file = self.recipe_file.as_deref().map_or_else(|| Ok(RecipeFile::default()), RecipeFile::read)?;
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
}

pub(crate) fn run(args: &TrainArgs, common: &Common) -> anyhow::Result<()> {
    // cheapest checks first
    let mut settings = args.settings()?;
    let precision = common.precision_over(settings.precision.as_deref());
    settings.precision = Some(precision.to_string());
    let (model_name, data_names) = (settings.model.clone().unwrap_or_default(), settings.data.clone());
    let output = args.output.clone().unwrap_or_else(|| next_free(&data_names[0]));
    let directory = RunDirectory::create(&output, args.overwrite)?;
    stop::unfinished(Some(directory.path().to_owned()));
    let mut files = sources::model(&model_name, common)?;
    let config = Config::from_json(&files.file("config.json"), &files.config)?;
    sources::notes(&files, &config).iter().for_each(|text| note(common, text));
    args.recipe.fit(&mut settings.recipe, &config)?;
    let recipe = &settings.recipe;
    let splits = sources::splits(&data_names, &settings.columns, common)?;
    // of the splits as they are, as `data check` tells them
    let problems = distune::data::audit::quick_check(&splits);
    let splits = splits.complete(recipe.select_on, recipe.seed);
    splits.notes.iter().for_each(|text| note(common, text));
    problems.iter().for_each(|text| note(common, text));

    let (model, labels) = model_for(&settings, &files, &config, &splits, common)?;
    files.forget_weights();
    let (Some(train), Some(validation)) = (splits.train, splits.validation) else {
        bail!(no_validation(Path::new(&data_names[0])));
    };
    if !train.pairs.is_empty() && config.architecture != Architecture::DistilBert {
        note(
            common,
            "Pairs: BERT's mark of the second text (its second token type) is left out, as DistilBERT has none.",
        );
    }
    let others = [Some(&validation), splits.test.as_ref()];
    record_columns(&mut settings.columns, &train, others);
    let tokenizer = sources::tokenizer(&files, &model.config, Some(recipe.max_seq_length))?;
    if !train.pairs.is_empty() {
        tokenizer.check_pairs()?;
    }
    let examples = |table: Table| -> Result<Examples> {
        Ok(Examples::new(Dataset::new(table, &labels)?, &tokenizer, &model.config))
    };
    let (train, validation) = (examples(train)?, examples(validation)?);
    let (test, test_name) = (splits.test.map(examples).transpose()?, if splits.test_is_dev { "dev" } else { "test" });
    for (name, examples) in [("train", Some(&train)), ("validation", Some(&validation)), (test_name, test.as_ref())] {
        examples.into_iter().for_each(|rows| note(common, format!("{name:<10} {:>9} rows", thousands(rows.len()))));
    }

    note(common, format!("Linear layers in {}, {} threads.", precision, rayon::current_num_threads()));
    let mut model = recipe.adapt(model)?;
    let table = model.weights.table().clone();
    let thawed = recipe.thawed(&table)?;
    if recipe.reinit_blocks > 0 {
        model.reinitialise_blocks(recipe.reinit_blocks, recipe.seed);
        note(common, format!("Blocks that start anew, with random weights: the last {}.", recipe.reinit_blocks));
    }
    if let Some(lora) = table.lora() {
        note(common, adapters(lora));
    }
    show_parts(common, &parts(&table, &thawed, recipe.gradual_unfreezing))?;
    let before = frozen_hash(&model.weights, &thawed);
    let mut engine = Cpu::for_training(model, thawed.clone(), precision);
    let cache = CacheLimits { limit: args.cache_limit.as_u64(), memory: memory::available() / 4 };
    if recipe.cache_frozen && recipe.num_train_epochs > 1 && thawed.frozen_blocks() > 0 {
        let limit = args.cache_limit.display().si();
        note(common, format!("Frozen blocks run once for each row; what they put out is kept, up to {limit}."));
    }
    // temporary files lie beside the run that is being written
    let storage = Storage { directory: directory.path().to_owned(), cache };
    let mut watcher = Watcher::new(common, tokenizer.max_length(), EventFile::create(directory.path())?);
    let outcome = distune::train::train(&mut engine, &train, &validation, recipe, &storage, &mut watcher)?;
    let mut model = engine.into_model();
    let after = frozen_hash(&model.weights, &thawed);
    if before != after {
        bail!("frozen tensors changed during training (SHA-256 {before} before, {after} after): please report this");
    }
    if table.lora().is_some() {
        model = model.merged();
        watcher.progress.note("The adapters have become part of the weights.");
    }
    // of the weights that are saved
    let mut engine = Cpu::new(model, precision);
    let test = test.map(|test| evaluate(&mut engine, &test, &mut watcher)).transpose()?;
    watcher.finish();
    let model = engine.into_model();
    let run = Run {
        model: &model,
        tokenizer: &files.tokenizer,
        settings: &settings,
        train_rows: train.len(),
        outcome: &outcome,
        test: test.as_ref(),
    };
    run.write(directory.path())?;
    stop::unfinished(None);
    directory.finish()?;
    let frozen = table.tensors().iter().any(|tensor| !thawed.trains(tensor));
    let next = match (&settings.columns.text, &settings.columns.pair) {
        (Some(text), Some(second)) => format!("--data FILE --text-column {text:?} --pair-column {second:?}"),
        _ => "\"your text\"".to_owned(),
    };
    report(common, &output, &outcome, (test_name, test.as_ref()), frozen.then_some(&before), &next)?;
    Ok(())
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

/// `runs/NAME-1`, or the first number that is free.
fn next_free(data: &str) -> PathBuf {
    let name = match data {
        "-" => "stdin".to_owned(),
        data => Path::new(data).file_stem().and_then(|s| s.to_str()).unwrap_or("run").replace([':', '@'], "-"),
    };
    let mut number = 1;
    loop {
        let path = Path::new("runs").join(format!("{name}-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

/// The model to start from: with its own head if that has been trained for these labels, else with a new one.
fn model_for(
    settings: &RecipeFile,
    files: &ModelFiles,
    config: &Config,
    splits: &Splits,
    common: &Common,
) -> Result<(Model, LabelMap)> {
    let tables: Vec<&Table> = splits.train.iter().collect();
    let fresh = sources::class_names(&settings.data[0], &tables)?;
    if !settings.new_head && Model::has_head(files)? {
        let own = LabelMap::of_model(config);
        if fresh.problem() == own.problem() && fresh.names().iter().all(|name| own.id(name).is_some()) {
            let pairs: Vec<String> = fresh.names().iter().map(|name| named_alike(name, &own)).collect();
            let pairs = first_names(&pairs);
            note(common, format!("Goes on from the model's trained head ({pairs}); --new-head starts a new one."));
            return Ok((Model::load(files)?, own));
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
    Ok((Model::load_with_new_head(files, &fresh, settings.recipe.seed)?, fresh))
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
