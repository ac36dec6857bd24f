//! Names on the command line resolved: a model (`bundled`, a directory or a name of the hub), data (`reviews`, a directory, a
//! file or a name of the hub), and how a model reads texts.

use std::path::Path;

use distune::data::audit::{Part, read_parts};
use distune::data::{
    Columns, Input, LabelMap, Labels, Splits, Table, note_table, read_as_one, read_file, read_split, read_splits,
    read_train, split_files,
};
use distune::engine::{Inference, InferencePrecision};
use distune::hub::Repository;
use distune::model::{Architecture, Config, ModelFiles};
use distune::report::Source;
use distune::tokenize::Tokenizer;
use distune::{Error, Result};
use distune_server::Texts;

use crate::Common;
use crate::hub::{self, Kind};
use crate::length::LengthArgs;
use crate::output::note;

/// The name of the bundled encoder.
pub(crate) const BUNDLED: &str = "bundled";
/// The name of the bundled data.
pub(crate) const REVIEWS: &str = "reviews";

#[cfg(feature = "bundled")]
mod assets {
    pub(super) const ENCODER: distune::model::Embedded = distune::model::Embedded {
        name: super::BUNDLED,
        files: &[
            ("config.json", include_bytes!("../../../assets/encoder/config.json")),
            ("model.safetensors", include_bytes!("../../../assets/encoder/model.safetensors")),
            ("tokenizer.json", include_bytes!("../../../assets/encoder/tokenizer.json")),
            ("tokenizer_config.json", include_bytes!("../../../assets/encoder/tokenizer_config.json")),
        ],
    };
    pub(super) const REVIEWS: [(&str, &[u8]); 3] = [
        ("reviews/train.tsv", include_bytes!("../../../assets/reviews/train.tsv")),
        ("reviews/validation.tsv", include_bytes!("../../../assets/reviews/validation.tsv")),
        ("reviews/test.tsv", include_bytes!("../../../assets/reviews/test.tsv")),
    ];
}

/// What a page and a card tell of a model or of data by its name.
pub(crate) fn source(kind: Kind, name: &str) -> Source {
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
pub(crate) fn model(name: &str, common: &Common) -> Result<ModelFiles> {
    #[cfg(feature = "bundled")]
    if name == BUNDLED {
        return ModelFiles::embedded(&assets::ENCODER);
    }
    ModelFiles::open(&hub::path(Kind::Model, name, common)?)
}

/// What the user should be told about how a model's files are read.
pub(crate) fn notes(files: &ModelFiles, config: &Config) -> Vec<String> {
    let bert = "A BERT encoder, computed exactly as a DistilBERT: its first token type is added to every position, its pooler \
                and its head are left out.";
    let bert = (config.architecture != Architecture::DistilBert).then(|| bert.to_owned());
    bert.into_iter().chain(files.notes.iter().cloned()).collect()
}

/// Data by its name, in the splits that there are; several names are files that are read as one.
pub(crate) fn splits(names: &[String], columns: &Columns, common: &Common) -> Result<Splits> {
    #[cfg(feature = "bundled")]
    if names == [REVIEWS] {
        let read = |i: usize| {
            let (file, bytes) = assets::REVIEWS[i];
            distune::data::read_bytes(Path::new(file), bytes, columns, Labels::Required).map(Some)
        };
        return Ok(Splits { train: read(0)?, validation: read(1)?, test: read(2)?, ..Splits::default() });
    }
    let paths: Vec<_> = names.iter().map(|name| hub::path(Kind::Dataset, name, common)).collect::<Result<_>>()?;
    match &paths[..] {
        [path] => read_splits(path, columns),
        paths => read_as_one(paths, columns),
    }
}

/// Data by its name for a check: splits as they are, or files as one part; and what was assumed.
pub(crate) fn parts(names: &[String], columns: &Columns, common: &Common) -> Result<(Vec<Part>, Vec<String>)> {
    #[cfg(feature = "bundled")]
    if names == [REVIEWS] {
        return Ok((bundled_reviews()?, Vec::new()));
    }
    let paths: Vec<_> = names.iter().map(|name| hub::path(Kind::Dataset, name, common)).collect::<Result<_>>()?;
    read_parts(&paths, columns)
}

/// The bundled reviews; nothing where they are not compiled in.
pub(crate) fn bundled_reviews() -> Result<Vec<Part>> {
    #[cfg(not(feature = "bundled"))]
    return Ok(Vec::new());
    #[cfg(feature = "bundled")]
    ["train", "validation", "test"]
        .into_iter()
        .zip(assets::REVIEWS)
        .map(|(split, (file, bytes))| {
            let path = Path::new(file);
            let table = distune::data::read_bytes(path, bytes, &Columns::default(), Labels::Required)?;
            Ok(Part { split: split.to_owned(), tables: vec![table] })
        })
        .collect()
}

/// The rows of a file; nothing where the name stands for several splits.
pub(crate) fn file(name: &str, columns: &Columns, labels: Labels, common: &Common) -> Result<Option<Table>> {
    if name == REVIEWS {
        return Ok(None);
    }
    let path = hub::path(Kind::Dataset, name, common)?;
    if path.is_dir() {
        return Ok(None);
    }
    let table = read_file(&path, columns, labels)?;
    say(columns, &table, common);
    Ok(Some(table))
}

/// Says what was assumed about a file.
pub(crate) fn say(columns: &Columns, table: &Table, common: &Common) {
    let mut notes = Vec::new();
    note_table(&mut notes, columns, table, None);
    notes.iter().for_each(|text| note(common, text));
}

/// The rows of `data` to evaluate or to predict: those of one split, or all of a file.
pub(crate) fn table(
    name: &str,
    split: Option<&str>,
    columns: &Columns,
    labels: Labels,
    common: &Common,
) -> Result<Table> {
    #[cfg(feature = "bundled")]
    if name == REVIEWS {
        let (file, bytes) = bundled_split(split);
        return distune::data::read_bytes(Path::new(file), bytes, columns, labels);
    }
    let path = hub::path(Kind::Dataset, name, common)?;
    if path.is_dir() {
        let (table, notes) = read_split(&path, split, columns, labels)?;
        notes.iter().for_each(|text| note(common, text));
        return Ok(table);
    }
    if split.is_some() {
        return Err(one_file(&path));
    }
    let table = read_file(&path, columns, labels)?;
    say(columns, &table, common);
    Ok(table)
}

/// What is read of `data` where it is read in chunks: the files of one split, or a file.
pub(crate) fn inputs(name: &str, split: Option<&str>, common: &Common) -> Result<Vec<Input>> {
    #[cfg(feature = "bundled")]
    if name == REVIEWS {
        let (file, bytes) = bundled_split(split);
        return Ok(vec![Input::Bytes(file, bytes)]);
    }
    let path = hub::path(Kind::Dataset, name, common)?;
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
pub(crate) fn has_splits(name: &str, common: &Common) -> Result<bool> {
    Ok(name == REVIEWS || hub::path(Kind::Dataset, name, common)?.is_dir())
}

/// The rows of the train split of `data`; nothing where it has none.
pub(crate) fn train_table(name: &str, columns: &Columns, common: &Common) -> Result<Option<Table>> {
    if name != REVIEWS {
        let path = hub::path(Kind::Dataset, name, common)?;
        return if path.is_dir() { read_train(&path, columns) } else { Ok(None) };
    }
    table(name, Some("train"), columns, Labels::Required, common).map(Some)
}

/// Names for the classes of a new head.
pub(crate) fn class_names(data: &str, tables: &[&Table]) -> Result<LabelMap> {
    if data == REVIEWS {
        return Ok(LabelMap::from_names(vec!["negative".into(), "positive".into()]));
    }
    LabelMap::from_tables(tables)
}

/// A setting in the recipe of a run directory.
pub(crate) fn trained_with(files: &ModelFiles, key: &str) -> Option<serde_json::Value> {
    let recipe = std::fs::read_to_string(files.file("recipe.toml")).ok()?;
    let mut recipe: serde_json::Value = toml::from_str(&recipe).ok()?;
    recipe.get_mut(key).map(serde_json::Value::take)
}

/// A trained classifier, ready to predict.
pub(crate) struct Classifier {
    pub(crate) engine: Inference,
    /// That of its linear layers.
    pub(crate) precision: InferencePrecision,
    pub(crate) tokenizer: Tokenizer,
    /// The columns of its text and of the second text of a pair in its training, where a run directory tells.
    trained_on: Option<(String, Option<String>)>,
}

impl Classifier {
    /// The classifier that a model's files are.
    pub(crate) fn of(files: &ModelFiles, length: &LengthArgs, common: &Common) -> Result<Self> {
        let config = Config::from_json(&files.file("config.json"), &files.config)?;
        let precision = common.inference_precision(files, &config)?;
        // the tokenizer is read while the weights are
        let (engine, tokenizer) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| length.tokenizer(files, &config));
            (
                Inference::load(files, precision),
                tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let (engine, tokenizer) = (engine?, tokenizer?);
        let column = |key| trained_with(files, key).and_then(|name| Some(name.as_str()?.to_owned()));
        let trained_on = column("text_column").map(|text| (text, column("pair_column")));
        Ok(Self { engine, precision, tokenizer, trained_on })
    }

    /// What it was trained on.
    pub(crate) fn takes(&self) -> Texts {
        match &self.trained_on {
            None => Texts::Any,
            Some((_, None)) => Texts::Single,
            Some((_, Some(_))) => Texts::Pairs,
        }
    }

    /// Checks that rows are single texts or pairs as those of its training were, and that pairs can be encoded.
    pub(crate) fn check_texts(&self, from: &Path, pairs: bool) -> Result<()> {
        match &self.trained_on {
            Some((text, Some(second))) if !pairs => {
                let problem =
                    format!("single texts, but the model was trained on pairs, of the columns {text:?} and {second:?}");
                let hint = format!("Read pairs: --data FILE --text-column {text:?} --pair-column {second:?}");
                Err(Error::file(from, problem, hint))
            }
            Some((text, None)) if pairs => {
                let problem =
                    format!("pairs of texts, but the model was trained on single ones, of the column {text:?}");
                Err(Error::file(from, problem, "Name the only text with --text-column NAME"))
            }
            _ if pairs => self.tokenizer.check_pairs(),
            _ => Ok(()),
        }
    }
}
