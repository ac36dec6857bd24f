//! Names resolved: a model (`bundled`, a directory or a name of the hub), data (`reviews`, a directory, a file or a name of the hub),
//! and how a model reads texts. Called by the command line, [`crate::FineTuning`] and [`crate::Classifier`].
//!
//! What is fetched from the hub, and what the user should be told, goes to a [`crate::hub::Observer`]; `&mut ()` is one that says nothing.

use std::path::{Path, PathBuf};

use crate::data::audit::{Part, read_parts};
use crate::data::{
    Columns, Input, LabelMap, Labels, Splits, Table, note_table, read_as_one, read_file, read_split, read_splits,
    read_train, split_files,
};
use crate::hub::{Hub, Kind, Observer, Repository, Settings};
use crate::model::{Architecture, Config, ModelFiles};
use crate::report::Source;
use crate::tokenize::{Combine, Long, Tokenizer};
use crate::train::Recipe;
use crate::{Error, Result};

/// The name of the bundled encoder.
pub const BUNDLED: &str = "bundled";
/// The name of the bundled data.
pub const REVIEWS: &str = "reviews";

#[cfg(feature = "bundled")]
mod assets {
    pub(super) static ENCODER: crate::model::Embedded = crate::model::Embedded {
        name: super::BUNDLED,
        files: &[
            ("config.json", include_bytes!("../../../assets/encoder/config.json")),
            ("model.safetensors", include_bytes!("../../../assets/encoder/model.safetensors")),
            ("tokenizer.json", include_bytes!("../../../assets/encoder/tokenizer.json")),
            ("tokenizer_config.json", include_bytes!("../../../assets/encoder/tokenizer_config.json")),
        ],
    };
    pub(super) static REVIEWS: [(&str, &[u8]); 3] = [
        ("reviews/train.tsv", include_bytes!("../../../assets/reviews/train.tsv")),
        ("reviews/validation.tsv", include_bytes!("../../../assets/reviews/validation.tsv")),
        ("reviews/test.tsv", include_bytes!("../../../assets/reviews/test.tsv")),
    ];
}

/// Whether the bundled encoder and reviews are compiled in (the feature `bundled`).
pub const HAS_BUNDLED: bool = cfg!(feature = "bundled");

/// The path that a name stands for: itself if it exists or cannot be a name of the hub, else the directory in the hub's cache.
///
/// # Errors
/// As [`Hub::fetch`].
pub fn path(kind: Kind, name: &str, observer: &mut dyn Observer) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    // a program without the bundled files asks nobody else for them
    let bundled = [BUNDLED, REVIEWS].contains(&name);
    match Repository::parse(kind, name) {
        Some(repository) if !path.exists() && !bundled => {
            let fetched = Hub::new(Settings::from_env()?).fetch(&repository, observer);
            fetched.map_err(|error| no_path_either(&repository, error))
        }
        _ => Ok(path),
    }
}

/// Says that the name is no path, where it may have been meant as one.
fn no_path_either(repository: &Repository, error: Error) -> Error {
    let name = repository.to_string();
    match error {
        Error::Hub { name: about, problem, hint } if about == name => {
            let path = match repository.kind {
                Kind::Model => "no such model directory",
                Kind::Dataset => "no such file or directory",
            };
            Error::Hub { name, problem: format!("{path}, and as a name of the hub: {problem}"), hint }
        }
        error => error,
    }
}

/// What a page and a card tell of a model or of data by its name.
pub fn source(kind: Kind, name: &str) -> Source {
    let path = Path::new(name);
    let english = Some("en".to_owned());
    match (kind, Repository::parse(kind, name)) {
        (Kind::Model, _) if name == BUNDLED => Source {
            name: "the bundled encoder".to_owned(),
            converted_from: Some("sentence-transformers/all-MiniLM-L6-v2".to_owned()),
            about: Some("6 layers, 384 wide, converted exactly from all-MiniLM-L6-v2".to_owned()),
            license: Some("apache-2.0".to_owned()),
            language: english,
            ..Source::default()
        },
        (Kind::Dataset, _) if name == REVIEWS => Source {
            name: "reviews".to_owned(),
            about: Some(
                "the bundled movie reviews: the ground truth of VADER, Hutto and Gilbert, ICWSM 2014".to_owned(),
            ),
            language: english,
            ..Source::default()
        },
        (_, Some(repository)) if !path.exists() => Source::of_hub(&repository),
        _ => Source::local(path),
    }
}

/// The files of a model by its name.
///
/// # Errors
/// A model that is not there or not one; those of [`path`].
pub fn model(name: &str, observer: &mut dyn Observer) -> Result<ModelFiles> {
    #[cfg(feature = "bundled")]
    if name == BUNDLED {
        return ModelFiles::embedded(&assets::ENCODER);
    }
    ModelFiles::open(&path(Kind::Model, name, observer)?)
}

/// What the user should be told about how a model's files are read.
pub fn notes(files: &ModelFiles, config: &Config) -> Vec<String> {
    let bert = "A BERT encoder, computed exactly as a DistilBERT: its first token type is added to every position, its pooler \
                and its head are left out.";
    let bert = (config.architecture != Architecture::DistilBert).then(|| bert.to_owned());
    bert.into_iter().chain(files.notes.iter().cloned()).collect()
}

/// Data by its name, in the splits that there are; several names are files that are read as one.
///
/// # Errors
/// Data that are not there or cannot be read; those of [`path`].
pub fn splits(names: &[String], columns: &Columns, observer: &mut dyn Observer) -> Result<Splits> {
    #[cfg(feature = "bundled")]
    if names == [REVIEWS] {
        let read = |i: usize| {
            let (file, bytes) = assets::REVIEWS[i];
            crate::data::read_bytes(Path::new(file), bytes, columns, Labels::Required).map(Some)
        };
        return Ok(Splits { train: read(0)?, validation: read(1)?, test: read(2)?, ..Splits::default() });
    }
    let paths: Vec<_> = names.iter().map(|name| path(Kind::Dataset, name, observer)).collect::<Result<_>>()?;
    match &paths[..] {
        [path] => read_splits(path, columns),
        paths => read_as_one(paths, columns),
    }
}

/// Data by its name for a check: splits as they are, or files as one part; and what was assumed.
///
/// # Errors
/// As [`splits`].
pub fn parts(names: &[String], columns: &Columns, observer: &mut dyn Observer) -> Result<(Vec<Part>, Vec<String>)> {
    #[cfg(feature = "bundled")]
    if names == [REVIEWS] {
        return Ok((bundled_reviews()?, Vec::new()));
    }
    let paths: Vec<_> = names.iter().map(|name| path(Kind::Dataset, name, observer)).collect::<Result<_>>()?;
    read_parts(&paths, columns)
}

/// The bundled reviews; nothing where they are not compiled in.
///
/// # Errors
/// None, unless the program was built from other files.
pub fn bundled_reviews() -> Result<Vec<Part>> {
    #[cfg(not(feature = "bundled"))]
    return Ok(Vec::new());
    #[cfg(feature = "bundled")]
    ["train", "validation", "test"]
        .into_iter()
        .zip(assets::REVIEWS)
        .map(|(split, (file, bytes))| {
            let path = Path::new(file);
            let table = crate::data::read_bytes(path, bytes, &Columns::default(), Labels::Required)?;
            Ok(Part { split: split.to_owned(), tables: vec![table] })
        })
        .collect()
}

/// The rows of a file; nothing where the name stands for several splits.
///
/// # Errors
/// As [`splits`].
pub fn file(name: &str, columns: &Columns, labels: Labels, observer: &mut dyn Observer) -> Result<Option<Table>> {
    if name == REVIEWS {
        return Ok(None);
    }
    let path = self::path(Kind::Dataset, name, observer)?;
    if path.is_dir() {
        return Ok(None);
    }
    let table = read_file(&path, columns, labels)?;
    say(columns, &table, observer);
    Ok(Some(table))
}

/// Says what was assumed about a file.
pub fn say(columns: &Columns, table: &Table, observer: &mut dyn Observer) {
    let mut notes = Vec::new();
    note_table(&mut notes, columns, table, None);
    notes.iter().for_each(|text| observer.note(text));
}

/// The rows of `data` to evaluate or to predict: those of one split, or all of a file.
///
/// # Errors
/// As [`splits`]; a split that is not there.
pub fn table(
    name: &str,
    split: Option<&str>,
    columns: &Columns,
    labels: Labels,
    observer: &mut dyn Observer,
) -> Result<Table> {
    #[cfg(feature = "bundled")]
    if name == REVIEWS {
        let (file, bytes) = bundled_split(split);
        return crate::data::read_bytes(Path::new(file), bytes, columns, labels);
    }
    let path = self::path(Kind::Dataset, name, observer)?;
    if path.is_dir() {
        let (table, notes) = read_split(&path, split, columns, labels)?;
        notes.iter().for_each(|text| observer.note(text));
        return Ok(table);
    }
    if split.is_some() {
        return Err(one_file(&path));
    }
    let table = read_file(&path, columns, labels)?;
    say(columns, &table, observer);
    Ok(table)
}

/// What is read of `data` where it is read in chunks: the files of one split, or a file.
///
/// # Errors
/// As [`table`], but for what is in the files.
pub fn inputs(name: &str, split: Option<&str>, observer: &mut dyn Observer) -> Result<Vec<Input>> {
    #[cfg(feature = "bundled")]
    if name == REVIEWS {
        let (file, bytes) = bundled_split(split);
        return Ok(vec![Input::Bytes(file, bytes)]);
    }
    let path = self::path(Kind::Dataset, name, observer)?;
    match (path.is_dir(), split) {
        (true, split) => Ok(split_files(&path, split)?.into_iter().map(Input::File).collect()),
        (false, None) => Ok(vec![Input::File(path)]),
        (false, Some(_)) => Err(one_file(&path)),
    }
}

fn one_file(path: &Path) -> Error {
    Error::file(path, "is one file and has no splits", "Leave out --split")
}

/// A split of the bundled reviews; without a name, test.
#[cfg(feature = "bundled")]
fn bundled_split(split: Option<&str>) -> (&'static str, &'static [u8]) {
    let at = ["train", "validation", "test"].iter().position(|known| Some(*known) == split);
    assets::REVIEWS[at.unwrap_or(if split.is_none() { 2 } else { 1 })]
}

/// Whether data has splits of which one can be named.
///
/// # Errors
/// Those of [`path`].
pub fn has_splits(name: &str, observer: &mut dyn Observer) -> Result<bool> {
    Ok(name == REVIEWS || path(Kind::Dataset, name, observer)?.is_dir())
}

/// The rows of the train split of `data`; nothing where it has none.
///
/// # Errors
/// As [`splits`].
pub fn train_table(name: &str, columns: &Columns, observer: &mut dyn Observer) -> Result<Option<Table>> {
    if name != REVIEWS {
        let path = self::path(Kind::Dataset, name, observer)?;
        return if path.is_dir() { read_train(&path, columns) } else { Ok(None) };
    }
    table(name, Some("train"), columns, Labels::Required, observer).map(Some)
}

/// Names for the classes of a new head.
///
/// # Errors
/// As [`LabelMap::from_tables`].
pub fn class_names(data: &str, tables: &[&Table]) -> Result<LabelMap> {
    if data == REVIEWS {
        return Ok(LabelMap::from_names(vec!["negative".into(), "positive".into()]));
    }
    LabelMap::from_tables(tables)
}

/// A setting in the recipe of a run directory.
pub fn trained_with(files: &ModelFiles, key: &str) -> Option<serde_json::Value> {
    let recipe = std::fs::read_to_string(files.file("recipe.toml")).ok()?;
    let mut recipe: serde_json::Value = toml::from_str(&recipe).ok()?;
    recipe.get_mut(key).map(serde_json::Value::take)
}

/// How texts are read that are longer than a limit. What is not said is as it was in the model's training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The longest text in tokens; else all that the model has positions for.
    pub max_length: Option<usize>,
    /// What becomes of longer ones; else they are cut.
    pub long: Option<Long>,
    /// Tokens that a window has in common with the one before; else a quarter of what it has room for.
    pub window_overlap: Option<usize>,
    /// How the logits of windows become those of a text; else their mean.
    pub window_combine: Option<Combine>,
}

impl Reading {
    /// Texts are cut at so many tokens.
    pub fn cut_at(max_length: usize) -> Self {
        Self { max_length: Some(max_length), ..Self::default() }
    }

    /// As a recipe says.
    pub fn of_recipe(recipe: &Recipe) -> Self {
        Self {
            max_length: Some(recipe.max_seq_length),
            long: Some(recipe.long),
            window_overlap: recipe.window_overlap,
            window_combine: (recipe.long == Long::Windows).then_some(recipe.window_combine),
        }
    }

    /// A model's tokenizer that reads texts so.
    ///
    /// # Errors
    /// A length that the model has not got; a file that is no tokenizer; windows where long texts are cut.
    pub fn tokenizer(&self, files: &ModelFiles, config: &Config) -> Result<Tokenizer> {
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
    names.iter().find(|(known, _)| name.as_str() == Some(known)).map(|(_, value)| *value)
}
