//! A training as a TOML file: model, data, columns and the recipe. Read by the command line, written with every run.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use crate::data::Columns;
use crate::engine::Precision;
use crate::train::Recipe;
use crate::{Error, Result};

/// The table that makes a recipe the file of a sweep.
pub(crate) const SWEEP: &str = "sweep";
/// Values of `precision`.
const PRECISIONS: [&str; 3] = ["auto", "bf16", "f32"];

/// All that decides what a training gives, but for the bits of another CPU. What a file does not say is as without a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecipeFile {
    /// The model to start from, as it is named on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The data, likewise: one name, or files that are read as one.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_several", serialize_with = "short")]
    pub data: Vec<String>,
    /// `auto`, `bf16` or `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Start with a new head even if the model's own one fits the labels.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub new_head: bool,
    /// Which columns and rows are read.
    #[serde(flatten)]
    pub columns: Columns,
    /// The settings of the training.
    #[serde(flatten)]
    pub recipe: Recipe,
}

impl Default for RecipeFile {
    fn default() -> Self {
        Self {
            model: None,
            data: Vec::new(),
            precision: None,
            new_head: false,
            columns: Columns::default(),
            recipe: Recipe::recommended(),
        }
    }
}

impl RecipeFile {
    /// What keys are called in older versions of Transformers or on the command line, and in a recipe.
    pub const ALIASES: [(&str, &str); 8] = [
        ("lr_scheduler", "lr_scheduler_type"),
        ("warmup_ratio", "warmup_steps"),
        ("epochs", "num_train_epochs"),
        ("batch_size", "per_device_train_batch_size"),
        ("per_gpu_train_batch_size", "per_device_train_batch_size"),
        ("max_length", "max_seq_length"),
        ("label_smoothing", "label_smoothing_factor"),
        ("optimizer", "optim"),
    ];

    /// The recommended training of a model on data, each named as on the command line: a directory, a file, a name of the hub,
    /// "bundled", "reviews".
    pub fn new(model: &str, data: &str) -> Self {
        Self { model: Some(model.to_owned()), data: vec![data.to_owned()], ..Self::default() }
    }

    /// The precision of linear layers that it asks for: what is fastest here, if it leaves that open.
    pub fn precision(&self) -> Precision {
        match self.precision.as_deref() {
            Some("f32") => Precision::F32,
            Some("bf16") => Precision::Bf16,
            _ => Precision::fastest(),
        }
    }

    /// Reads a file. Old names are accepted; a whole number may stand for one with a fraction.
    ///
    /// # Errors
    /// [`Error::File`] for what is not TOML, and with the name of the key for an unknown key (with the nearest one), a key that is
    /// there under two names, a value of another type.
    pub fn read(path: &Path) -> Result<Self> {
        let table = Self::parse(path)?;
        if table.contains_key(SWEEP) {
            return Err(Error::file(path, "describes a sweep, not one training", "Run it with distune sweep"));
        }
        Self::from_table(path, table)
    }

    /// The keys and values of a file, whatever they are.
    pub(crate) fn parse(path: &Path) -> Result<Table> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", &error))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Error::row(
                path,
                line as u64,
                format!("not TOML: {}", error.message()),
                "Expected lines such as learning_rate = 1e-4",
            )
        })
    }

    /// As [`Self::read`], of keys and values that have been read; `path` is for messages.
    pub(crate) fn from_table(path: &Path, table: Table) -> Result<Self> {
        let mut canonical = Table::new();
        for (key, value) in table {
            let name = Self::canonical(path, &key)?;
            // alone, so that an error can name its key
            let alone = Table::from_iter([(name.clone(), value.clone())]).try_into::<Self>();
            alone.map_err(|error| Error::file(path, format!("{key} = {value}: {}", error.message()), ""))?;
            if canonical.insert(name.clone(), value).is_some() {
                return Err(Error::file(
                    path,
                    format!("{name} is there under two names, {key} is one of them"),
                    "Remove one",
                ));
            }
        }
        // under what the file says lies what is recommended
        let mut all = Table::try_from(Self::default()).map_err(|error| Error::file(path, error, ""))?;
        all.extend(canonical);
        let file: Self = all.try_into().map_err(|error| Error::file(path, error.message(), ""))?;
        if let Some(found) = file.precision.as_ref().filter(|name| !PRECISIONS.contains(&name.as_str())) {
            return Err(Error::value(path.display(), "precision", PRECISIONS.join(", "), found));
        }
        Ok(file)
    }

    /// The name of a key that may have an old one.
    ///
    /// # Errors
    /// [`Error::File`] for a key that there is not, with the nearest one.
    pub(crate) fn canonical(path: &Path, key: &str) -> Result<String> {
        let name = Self::ALIASES.iter().find(|(old, _)| *old == key).map_or(key, |(_, name)| name);
        let known = Self::keys();
        if known.iter().any(|known| known == name) { Ok(name.to_owned()) } else { Err(unknown(path, key, &known)) }
    }

    /// The value of a key, if it is said.
    pub fn get(&self, key: &str) -> Option<Value> {
        Table::try_from(self).ok()?.remove(key)
    }

    /// With another value of a key.
    ///
    /// # Errors
    /// As [`Self::read`], of a file that is called sweep.
    pub fn with(&self, key: &str, value: Value) -> Result<Self> {
        self.with_all(Table::from_iter([(key.to_owned(), value)]))
    }

    /// With other values of some keys.
    pub(crate) fn with_all(&self, values: Table) -> Result<Self> {
        let mut table =
            Table::try_from(self).map_err(|error| Error::value("recipe", SWEEP, "values that TOML has", error))?;
        table.extend(values);
        Self::from_table(Path::new(SWEEP), table)
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`Error::Value`] for a value that TOML does not have: an integer above 2^63.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| Error::value("recipe", "recipe.toml", "values that TOML has", error))
    }

    /// All keys that a file may have.
    pub fn keys() -> Vec<String> {
        Self::all().keys().cloned().collect()
    }

    /// Every key that a file may have, with some value of its type.
    pub(crate) fn all() -> Table {
        let some = || Some(String::new());
        let columns =
            Columns { text: some(), label: some(), pair: some(), group: some(), skip_bad: true, ..Columns::default() };
        let (model, precision, data) = (some(), some(), vec![String::new()]);
        let recipe = Recipe {
            head_learning_rate: Some(1.0),
            dropout: Some(0.0),
            attention_dropout: Some(0.0),
            seq_classif_dropout: Some(0.0),
            max_time: "1s".parse().ok(),
            split_seed: Some(0),
            window_overlap: Some(0),
            ..Recipe::default()
        };
        let all = Self { model, data, precision, new_head: true, columns, recipe };
        Table::try_from(all).unwrap_or_default()
    }
}

/// The error for an unknown key.
fn unknown(path: &Path, key: &str, known: &[String]) -> Error {
    let names = || known.iter().map(String::as_str).chain(RecipeFile::ALIASES.map(|(old, _)| old));
    let nearness = |name: &str| strsim::jaro_winkler(name, key);
    let nearest = names().max_by(|a, b| nearness(a).total_cmp(&nearness(b))).unwrap_or_default();
    let all = known.join(", ");
    Error::file(path, format!("no such key: {key:?}, the nearest one is {nearest:?}"), format!("Keys are {all}"))
}

/// One name as such.
fn short<S: Serializer>(names: &[String], to: S) -> std::result::Result<S::Ok, S::Error> {
    match names {
        [name] => name.serialize(to),
        names => names.serialize(to),
    }
}

/// A list of names, or one.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a name in quotes or a list of them")]
    enum Names {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Names::deserialize(from)? {
        Names::One(name) => vec![name],
        Names::Several(names) => names,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::{SelectOn, Trees};
    use crate::train::{ClassWeights, Optimizer, Unfreeze};

    fn read(text: &str) -> Result<RecipeFile> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        RecipeFile::read(&path)
    }

    fn message(text: &str) -> String {
        let message = read(text).unwrap_err().to_string();
        message.split_once("a.toml").unwrap().1.to_owned()
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut file = RecipeFile::default();
        assert_eq!(read(&file.to_toml().unwrap()).unwrap(), file);
        assert_eq!(read("").unwrap(), file);
        file.model = Some("bundled".into());
        file.data = vec!["a.csv".into(), "b \"c\".csv".into()];
        file.precision = Some("bf16".into());
        file.new_head = true;
        file.columns = Columns {
            text: Some("a".into()),
            label: Some("b".into()),
            pair: Some("c".into()),
            group: Some("d".into()),
            skip_bad: true,
            trees: Trees { phrases: true, five_classes: true },
            ..Columns::default()
        };
        file.recipe = Recipe {
            unfreeze: "blocks:2,4+bias+*.q_lin.*".parse::<Unfreeze>().unwrap(),
            head_learning_rate: Some(1e-3),
            learning_rate: 0.1 + 0.2,
            optim: Optimizer::Adam,
            class_weights: ClassWeights::Named([("x y".to_owned(), 0.5), ("z".to_owned(), 2.0)].into()),
            select_on: SelectOn::Dev,
            attention_dropout: Some(0.25),
            split_seed: Some(7),
            seed: (1 << 62) + 1,
            max_time: Some("1h 30m".parse().unwrap()),
            ..Recipe::default()
        };
        assert_eq!(read(&file.to_toml().unwrap()).unwrap(), file);
    }

    #[test]
    fn old_names_and_whole_numbers() {
        let file = read("warmup_ratio = 0.1\nepochs = 4\nweight_decay = 0\ndata = 'x.tsv'\n").unwrap();
        let Recipe { warmup_steps, num_train_epochs, weight_decay, .. } = file.recipe;
        assert_eq!((warmup_steps, num_train_epochs, weight_decay, file.data), (0.1, 4, 0.0, vec!["x.tsv".to_owned()]));
    }

    #[test]
    fn faults_are_named() {
        let unknown = message("seed = 1\nlearnig_rate = 1e-4\n");
        assert!(
            unknown.starts_with(": no such key: \"learnig_rate\", the nearest one is \"learning_rate\". Keys are "),
            "{unknown}"
        );
        assert!(message("warmup = 3").contains("the nearest one is \"warmup_"));
        assert!(message("learning_rate = 'fast'").starts_with(": learning_rate = \"fast\": invalid type: string"));
        assert!(message("unfreeze = 'tail'").starts_with(": unfreeze = \"tail\": "));
        assert!(message("data = 5").contains("expected a name in quotes or a list of them"));
        assert!(message("trees = 'words'").contains("sentences, phrases, sentences5 or phrases5"));
        assert!(
            message("warmup_ratio = 0.1\nwarmup_steps = 5\n").starts_with(": warmup_steps is there under two names")
        );
        assert!(message("seed = 1\nseed == 2\n").starts_with(", line 2: not TOML: "));
        assert!(message("[sweep]\nseeds = 2").contains("Run it with distune sweep"));
        assert!(message("precision = 'f16'").contains("precision: expected auto, bf16, f32, found f16"));
    }
}
