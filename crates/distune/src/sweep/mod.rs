//! Many trainings of one recipe: some keys vary, each setting is trained with some seeds, validation rows choose. Called by the
//! program's `sweep`, which trains the trials; here is which ones, what is kept of them, and what they say together.
//!
//! A setting is a value for each key that varies; a trial is a training of a setting with one seed.

mod directory;
mod draw;
mod picture;
mod plan;
mod record;
mod summary;
mod table;
mod values;

use std::path::Path;

use toml::{Table, Value};

pub use directory::SweepDirectory;
pub use picture::picture;
pub use plan::{Method, Plan, Seeds, TestRows, budget};
pub use record::{End, Figures, Finished, Record};
pub use summary::{Accuracies, SettingSummary, Summary};
pub use values::{Range, Values};

use crate::train::{RecipeFile, SWEEP};
use crate::{Error, Result};
use draw::AT_RANDOM;

/// A recipe and what varies of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// What all trials have in common.
    pub base: RecipeFile,
    /// What varies.
    pub plan: Plan,
}

/// A training to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Counted from 1.
    pub number: usize,
    /// The values of what varies.
    pub values: Table,
    /// Its seed.
    pub seed: u64,
}

impl Sweep {
    /// Reads a recipe file, with a `[sweep]` table or without.
    ///
    /// # Errors
    /// [`Error::File`] that names the key: all that [`RecipeFile::read`] refuses, and in the table an unknown key, one that may not vary,
    /// values that do not fit the key or the method.
    pub fn read(path: &Path) -> Result<Self> {
        let mut table = RecipeFile::parse(path)?;
        let said = table.remove(SWEEP);
        let base = RecipeFile::from_table(path, table)?;
        let plan = said.map_or_else(|| Ok(Plan::default()), |said| Plan::read(path, said))?;
        Ok(Self { base, plan })
    }

    /// Names the seeds, and checks every setting that is known.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key.
    pub fn resolve(mut self) -> Result<Self> {
        self.plan.check()?;
        self.plan.seeds = Seeds::List(self.seeds());
        for values in self.known_settings() {
            self.settings(&values, self.base.recipe.seed)?;
        }
        Ok(self)
    }

    /// The settings that will be tried, as far as they do not depend on how others do.
    pub fn known_settings(&self) -> Vec<Table> {
        match self.plan.method {
            Method::Tpe => self.at_random(self.plan.trials.min(AT_RANDOM)),
            _ => self.planned(),
        }
    }

    /// The seeds of each setting.
    pub fn seeds(&self) -> Vec<u64> {
        self.plan.seeds.list(self.base.recipe.seed)
    }

    /// The settings of a trial.
    ///
    /// # Errors
    /// [`Error::Value`] for values that do not belong together.
    pub fn settings(&self, values: &Table, seed: u64) -> Result<RecipeFile> {
        let mut settings = self.base.with_all(values.clone())?;
        settings.recipe.check()?;
        if let Some(limit) = settings.recipe.max_time {
            let expected = "none, as how many steps fit differs from one time to the next; name max_steps, or a budget";
            return Err(Error::value("sweep", "max_time", expected, limit));
        }
        // all trials are judged on the same rows
        settings.recipe.split_seed = Some(self.base.recipe.seed_of_split());
        settings.recipe.seed = seed;
        Ok(settings)
    }

    /// The file that [`Self::read`] reads.
    ///
    /// # Errors
    /// [`Error::Value`] for a value that TOML does not have: an integer above 2^63.
    pub fn to_toml(&self) -> Result<String> {
        let plan = toml::to_string(&self.plan.to_toml()?);
        let plan = plan.map_err(|error| Error::value("recipe", SWEEP, "values that TOML has", error))?;
        Ok(format!("{}\n{plan}", self.base.to_toml()?))
    }

    /// Trials in all, if no setting comes twice.
    pub fn trials(&self) -> usize {
        let settings = if self.plan.method == Method::Tpe { self.plan.trials } else { self.planned().len() };
        settings * self.seeds().len()
    }

    /// The trial after these, if there is one.
    pub(crate) fn next(&self, records: &[Record]) -> Option<Trial> {
        let seeds = self.seeds().len();
        let (setting, seed) = (records.len() / seeds, records.len() % seeds);
        let values = match records.last().filter(|_| seed > 0) {
            Some(last) => last.values.clone(),
            None if self.plan.method == Method::Tpe => self.chosen_next(records)?,
            None => self.planned().into_iter().nth(setting)?,
        };
        Some(Trial { number: records.len() + 1, values, seed: self.seeds()[seed] })
    }
}

/// A value as it is written in a table: strings without quotes.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(x) if *x != 0.0 && (x.abs() < 1e-3 || x.abs() >= 1e6) => format!("{x:e}"),
        other => other.to_string(),
    }
}
