//! Weights of the classes in the loss: none, balanced, or as the user says. Resolved at the start of a training.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{Answers, LabelMap, quoted};
use crate::model::Config;
use crate::{Error, Result};

/// What the loss of a row is multiplied by for its class; with several labels a row, that of a label for the rows that have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// 1 for each class.
    #[default]
    None,
    /// More for rare classes. One label a row: N / (C * rows of the class), C the classes that occur, as scikit-learn's
    /// `compute_class_weight`. Several: rows without the label / rows with it.
    Balanced,
    /// By the names of the classes, each of them.
    #[serde(untagged)]
    Named(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// Reads a file: a JSON object with a number for each class.
    ///
    /// # Errors
    /// A file that cannot be read or is no such object.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read", &error))?;
        serde_json::from_slice(&bytes).map(Self::Named).map_err(|error| {
            let hint = "Expected an object such as {\"negative\": 1, \"positive\": 2.5}";
            Error::file(path, format!("not a JSON object of numbers: {error}"), hint)
        })
    }

    /// `[C]` weights in the order of the class ids; empty for none. A class without rows has 1.
    ///
    /// # Errors
    /// [`Error::Value`] that names the class: one that the model has not got, one without a weight, one whose weight is not a
    /// number above 0.
    pub fn resolve(&self, answers: &Answers, config: &Config) -> Result<Vec<f64>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Balanced => Ok(balanced(answers, config.labels.len())),
            Self::Named(weights) => named(weights, &LabelMap::of_model(config)),
        }
    }
}

fn balanced(answers: &Answers, classes: usize) -> Vec<f64> {
    let counts = answers.counts(classes);
    let (rows, occurring) = (answers.len(), counts.iter().filter(|&&count| count > 0).count());
    let weight = |&count: &usize| match answers {
        _ if count == 0 => 1.0,
        Answers::One(_) => rows as f64 / (occurring * count) as f64,
        Answers::Several(_) if count == rows => 1.0,
        Answers::Several(_) => (rows - count) as f64 / count as f64,
    };
    counts.iter().map(weight).collect()
}

fn named(weights: &BTreeMap<String, f64>, labels: &LabelMap) -> Result<Vec<f64>> {
    let mut resolved = vec![None; labels.len()];
    let error = |name: &str, expected: &str, found: &str| Err(Error::value("class weights", name, expected, found));
    for (name, &weight) in weights {
        let Some(id) = labels.id(name) else {
            return error(name, &format!("a class of the model ({})", quoted(labels.names(), 10)), "another name");
        };
        if !(weight.is_finite() && weight > 0.0) {
            return error(name, "a number above 0", &weight.to_string());
        }
        if resolved[id as usize].replace(weight).is_some() {
            return error(name, "one weight for each class", "two for this one");
        }
    }
    match resolved.iter().position(Option::is_none) {
        Some(id) => error(&labels.names()[id], "a weight for each class", "none"),
        None => Ok(resolved.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::ProblemType;

    fn config(problem: ProblemType) -> Config {
        let json = br#"{"model_type": "distilbert", "dim": 8, "hidden_dim": 8, "n_heads": 2, "n_layers": 1,
                        "max_position_embeddings": 8, "vocab_size": 8}"#;
        let config = Config::from_json(Path::new("config.json"), json).unwrap();
        config.with_labels(vec!["a".into(), "b".into(), "c".into()], problem)
    }

    /// `compute_class_weight("balanced", classes=[0, 1], y=[0, 0, 0, 1])` is [0.6667, 2].
    #[test]
    fn balanced_weights() {
        let one = ClassWeights::Balanced.resolve(&Answers::One(vec![0, 0, 0, 1]), &config(ProblemType::SingleLabel));
        assert_eq!(one.unwrap(), [4.0 / 6.0, 2.0, 1.0]);
        let several = Answers::Several(vec![vec![0, 1], vec![0], vec![0], vec![]]);
        let several = ClassWeights::Balanced.resolve(&several, &config(ProblemType::MultiLabel));
        assert_eq!(several.unwrap(), [1.0 / 3.0, 3.0, 1.0]);
    }

    #[test]
    fn named_weights() {
        let config = config(ProblemType::SingleLabel);
        let resolve =
            |json: &str| serde_json::from_str::<ClassWeights>(json).unwrap().resolve(&Answers::One(vec![0]), &config);
        assert_eq!(resolve(r#"{"B": 2, "a": 1, "c": 0.5}"#).unwrap(), [1.0, 2.0, 0.5]);
        assert_eq!(resolve(r#""none""#).unwrap(), [0.0; 0]);
        let message = |json: &str| resolve(json).unwrap_err().to_string();
        assert_eq!(message(r#"{"a": 1, "b": 1}"#), "class weights: c: expected a weight for each class, found none");
        assert!(
            message(r#"{"x": 1}"#).starts_with("class weights: x: expected a class of the model (\"a\", \"b\", \"c\")")
        );
        assert!(message(r#"{"a": -1}"#).ends_with("expected a number above 0, found -1"));
        assert!(message(r#"{"a": 1, "A": 1}"#).contains("one weight for each class"));
    }
}
