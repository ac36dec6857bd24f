//! What a sweep varies and how: the `[sweep]` table of a recipe file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Values;
use crate::train::{Recipe, RecipeFile, SWEEP};
use crate::{Error, Result};

/// Settings that are drawn, where the file does not say how many.
const TRIALS: usize = 16;
/// Settings of a grid, at most.
const MOST_SETTINGS: usize = 10_000;
/// Seeds, at most.
const MOST_SEEDS: u32 = 1000;
/// The table's own keys; all others are a recipe's.
const OWN_KEYS: [&str; 5] = ["method", "trials", "seeds", "budget", "test"];
/// Keys of a recipe file beside those of the training that may vary.
const OF_THE_FILE: [&str; 3] = ["model", "new_head", "precision"];
/// Keys of the training that may not, and why.
const FIXED: [(&str, &str); 4] = [
    ("seed", "Name the seeds as seeds = [1, 2, 3], or how many as seeds = 3"),
    ("max_time", "How many steps fit differs from one time to the next: vary max_steps, or give the sweep a budget"),
    ("split_seed", "It decides which rows trials are compared on, so it is one for all: put it above [sweep]"),
    ("select_on", "It decides which rows trials are compared on, so it is one for all: put it above [sweep]"),
];
/// Last blocks that `--layers` thaws, as far as the model has them.
const LAYERS: [usize; 4] = [1, 2, 3, 6];

/// How settings are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All combinations of the listed values.
    Grid,
    /// Each key on its own, at random.
    Random,
    /// Eight at random, then near those that were good: tree-structured Parzen estimators (Bergstra et al., Algorithms for
    /// hyper-parameter optimization, NeurIPS 2011).
    Tpe,
}

/// Whose test rows are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestRows {
    /// The best trial's.
    #[default]
    Best,
    /// Each trial's, once: to compare settings, not to choose one.
    All,
}

/// What a sweep varies and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// How settings are chosen.
    pub method: Method,
    /// Settings that random and tpe choose.
    pub trials: usize,
    /// Each setting is trained with each of these.
    pub seeds: Seeds,
    /// Time after which it ends with what is done.
    pub budget: Option<Duration>,
    /// Whose test rows are judged.
    pub test: TestRows,
    /// The values of each key that varies.
    pub keys: BTreeMap<String, Values>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            method: Method::Grid,
            trials: TRIALS,
            seeds: Seeds::Number(1),
            budget: None,
            test: TestRows::Best,
            keys: BTreeMap::new(),
        }
    }
}

/// The table's own keys, as a file has them.
#[derive(Deserialize, Serialize)]
struct Own {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trials: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seeds: Option<Seeds>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_text")]
    budget: Option<Duration>,
    #[serde(default)]
    test: TestRows,
}

/// The seeds of each setting.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a number of seeds, or a list of them")]
pub enum Seeds {
    /// So many, from the recipe's own on.
    Number(u32),
    /// These.
    List(Vec<u64>),
}

impl Seeds {
    /// All of them, for a recipe of this seed.
    pub fn list(&self, first: u64) -> Vec<u64> {
        match self {
            Self::Number(n) => (0..u64::from(*n)).map(|i| first.wrapping_add(i)).collect(),
            Self::List(seeds) => seeds.clone(),
        }
    }
}

/// A time as `90s`, `10m`, `1h 30m`.
mod humantime_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&time.map(|time| humantime::format_duration(time).to_string()).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::budget(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
    }
}

/// A time as people write it.
///
/// # Errors
/// The sentence that says what was expected.
pub fn budget(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("expected a time such as 90s, 30m or 1h 30m, found {text:?}"))
}

impl Plan {
    /// Reads the table of a recipe file.
    ///
    /// # Errors
    /// [`Error::File`] that names the key: one that there is not (with the nearest one), one that may not vary, a value of
    /// another type or outside its bounds, what a method cannot do.
    pub(super) fn read(path: &Path, said: Value) -> Result<Self> {
        let Value::Table(said) = said else {
            return Err(Error::file(
                path,
                format!("sweep = {said}: expected a table"),
                "Write [sweep] and its keys below",
            ));
        };
        let (own, varied): (Table, Table) = said.into_iter().partition(|(key, _)| OWN_KEYS.contains(&key.as_str()));
        let own: Own = Value::Table(own)
            .try_into()
            .map_err(|e: toml::de::Error| Error::file(path, format!("[sweep]: {}", e.message()), ""))?;
        let examples = RecipeFile::all();
        let mut keys = BTreeMap::new();
        for (key, value) in varied {
            let name = varying(path, &key)?;
            let values = Values::read(path, &key, value, &examples[&name])?;
            for value in values.some() {
                let alone = Table::from_iter([(name.clone(), value)]);
                RecipeFile::from_table(path, alone)?;
            }
            if keys.insert(name.clone(), values).is_some() {
                return Err(Error::file(path, format!("sweep.{name} is there under two names"), "Remove one"));
            }
        }
        let ranges = keys.values().any(|values| matches!(values, Values::Range(_)));
        let plan = Self {
            method: own.method.unwrap_or(if ranges { Method::Random } else { Method::Grid }),
            trials: own.trials.unwrap_or(TRIALS),
            seeds: own.seeds.unwrap_or(Seeds::Number(1)),
            budget: own.budget,
            test: own.test,
            keys,
        };
        plan.check().map_err(|e| in_file(path, &e))?;
        Ok(plan)
    }

    /// Thaws the head alone, then more and more of the last blocks of a model of `n_layers`, then everything; and judges the test
    /// rows of each.
    ///
    /// # Errors
    /// [`Error::Value`] when `unfreeze` varies already.
    pub fn over_layers(&mut self, n_layers: usize) -> Result<()> {
        let blocks = LAYERS.into_iter().filter(|&n| n <= n_layers).map(|n| format!("blocks:{n}"));
        let parts: Vec<Value> =
            ["head".to_owned()].into_iter().chain(blocks).chain(["all".to_owned()]).map(Value::String).collect();
        if self.keys.insert("unfreeze".into(), Values::List(parts)).is_some() {
            return Err(Error::value("sweep", "unfreeze", "no values of its own beside --layers", "some in [sweep]"));
        }
        self.test = TestRows::All;
        Ok(())
    }

    /// Checks what belongs together.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, found: String| Err(Error::value("sweep", key, expected, found));
        if !(1..=MOST_SETTINGS).contains(&self.trials) {
            return wrong("trials", &format!("1 to {MOST_SETTINGS}"), self.trials.to_string());
        }
        if let Seeds::Number(n) = self.seeds
            && n > MOST_SEEDS
        {
            return wrong("seeds", &format!("at most {MOST_SEEDS}"), n.to_string());
        }
        let seeds = self.seeds.list(0);
        if seeds.is_empty() {
            return wrong("seeds", "1 or more", "none".to_owned());
        }
        if let Some((_, seed)) = seeds.iter().enumerate().find(|(at, seed)| seeds[..*at].contains(seed)) {
            return wrong("seeds", "different ones", format!("{seed} twice"));
        }
        let ranges = self.keys.iter().find(|(_, values)| matches!(values, Values::Range(_)));
        match (self.method, ranges) {
            (Method::Grid, Some((key, _))) => {
                wrong("method", "random or tpe where a key has a range", format!("grid, and {key} has one"))
            }
            (Method::Grid, None) if self.combinations() > MOST_SETTINGS => {
                let found = format!("{} combinations", self.combinations());
                wrong("method", &format!("random or tpe for more than {MOST_SETTINGS} combinations"), found)
            }
            _ => Ok(()),
        }
    }

    /// How many combinations of listed values there are.
    fn combinations(&self) -> usize {
        let count = |values: &Values| match values {
            Values::List(list) => list.len(),
            Values::Range(_) => usize::MAX,
        };
        self.keys.values().map(count).fold(1, usize::saturating_mul)
    }

    /// As a file has it.
    pub(super) fn to_toml(&self) -> Result<Table> {
        let drawn = self.method != Method::Grid;
        let own = Own {
            method: Some(self.method),
            trials: drawn.then_some(self.trials),
            seeds: Some(self.seeds.clone()),
            budget: self.budget,
            test: self.test,
        };
        let mut table = Table::try_from(own).map_err(|e| Error::value("sweep", "seeds", "numbers that TOML has", e))?;
        table.extend(self.keys.iter().map(|(key, values)| (key.clone(), values.to_toml())));
        Ok(Table::from_iter([(SWEEP.to_owned(), Value::Table(table))]))
    }
}

/// The name of a key that may vary.
fn varying(path: &Path, key: &str) -> Result<String> {
    let name = RecipeFile::canonical(path, key).map_err(|error| nearest(path, key, error))?;
    if let Some((_, hint)) = FIXED.iter().find(|(fixed, _)| *fixed == name) {
        return Err(Error::file(path, format!("sweep.{key}: may not vary"), hint));
    }
    let of_training = RecipeFile::all().try_into::<Recipe>().ok().and_then(|recipe| Table::try_from(recipe).ok());
    if !OF_THE_FILE.contains(&name.as_str()) && !of_training.is_some_and(|keys| keys.contains_key(&name)) {
        let hint = "It decides which rows are read, and trials are compared on the same ones: put it above [sweep]";
        return Err(Error::file(path, format!("sweep.{key}: may not vary"), hint));
    }
    Ok(name)
}

/// The error for an unknown key, which may be a misspelt key of the table's own.
fn nearest(path: &Path, key: &str, error: Error) -> Error {
    let own = OWN_KEYS.iter().find(|own| strsim::jaro_winkler(own, key) > 0.85);
    match own {
        Some(own) => Error::file(path, format!("sweep.{key}: no such key, the nearest one is {own:?}"), ""),
        None => error,
    }
}

/// An error about a value, which then names the file.
fn in_file(path: &Path, error: &Error) -> Error {
    Error::file(path, error, "")
}
