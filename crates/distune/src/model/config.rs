//! `config.json`: what distune reads of it, checked; every other key is kept as it is.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::model::Architecture;
use crate::{Error, Result};

/// How many labels a row has; `problem_type` in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProblemType {
    /// One: probabilities are the softmax of the logits.
    #[default]
    SingleLabel,
    /// Any number: each probability is the sigmoid of its logit.
    MultiLabel,
}

impl ProblemType {
    /// As `config.json` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleLabel => "single_label_classification",
            Self::MultiLabel => "multi_label_classification",
        }
    }
}

/// The shape of a DistilBERT classifier and its class names.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the checkpoint is; a model that has been loaded is a DistilBERT.
    pub architecture: Architecture,
    /// D, the width of the hidden states.
    pub dim: usize,
    /// F, the width of the feed-forward network.
    pub hidden_dim: usize,
    /// H, attention heads; divides `dim`.
    pub n_heads: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Dropout after the embeddings and after the feed-forward networks.
    pub dropout: f64,
    /// Dropout on the attention weights.
    pub attention_dropout: f64,
    /// Dropout before the classifier.
    pub seq_classif_dropout: f64,
    /// Standard deviation of a new head's weights.
    pub initializer_range: f64,
    /// Class names in the order of their ids.
    pub labels: Vec<String>,
    /// How many of them a row has.
    pub problem_type: ProblemType,
    /// The file as it was read.
    raw: Map<String, Value>,
}

impl Config {
    /// Parses and checks a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key when a value is missing, of another type, or contradicts another one.
    pub fn from_json(path: &Path, json: &[u8]) -> Result<Self> {
        let raw: Map<String, Value> = serde_json::from_slice(json)
            .map_err(|e| Error::file(path, format!("not a JSON object: {e}"), "Copy or download the model again"))?;
        let (architecture, raw) = Architecture::recognize(path, raw)?;
        let keys = Keys { path, raw: &raw, architecture };
        if raw.get("activation").is_some_and(|v| v != "gelu") {
            return Err(keys.error("activation", "\"gelu\""));
        }
        let config = Self {
            architecture,
            dim: keys.size("dim")?,
            hidden_dim: keys.size("hidden_dim")?,
            n_heads: keys.size("n_heads")?,
            n_layers: keys.layers()?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            vocab_size: keys.size("vocab_size")?,
            dropout: keys.probability("dropout", 0.1)?,
            attention_dropout: keys.probability("attention_dropout", 0.1)?,
            seq_classif_dropout: keys.probability("seq_classif_dropout", 0.2)?,
            initializer_range: keys.number("initializer_range", 0.02)?,
            labels: keys.labels()?,
            problem_type: keys.problem_type()?,
            raw: Map::new(),
        };
        if !config.dim.is_multiple_of(config.n_heads) {
            let [dim, n_heads] = ["dim", "n_heads"].map(|key| architecture.key(key));
            let expected = format!("a divisor of {dim} ({})", config.dim);
            return Err(Error::value(path.display(), n_heads, expected, config.n_heads));
        }
        Ok(Self { raw, ..config })
    }

    /// Whether the weights beside it are those of `distune quantize`.
    pub fn is_quantized(&self) -> bool {
        self.raw.get("quantization_config").and_then(|quantization| quantization.get("quant_method"))
            == Some(&json!("distune"))
    }

    /// The `config.json` to save beside weights of int8. Transformers, which does not know the method, says so.
    pub fn quantized_to_json(&self) -> Result<String, serde_json::Error> {
        let mut raw: Map<String, Value> = serde_json::from_str(&self.to_json())?;
        let quantization = json!({
            "quant_method": "distune", "bits": 8, "weights": "int8, symmetric, a scale for each output",
            "activations": "uint8, a scale for each row, rounded when the model runs",
        });
        raw.insert("quantization_config".into(), quantization);
        Ok(format!("{:#}\n", Value::Object(raw)))
    }

    /// The token that fills up batches elsewhere, and stands for no word: `pad_token_id`.
    pub fn pad_token_id(&self) -> u32 {
        let id = self.raw.get("pad_token_id").and_then(Value::as_u64).unwrap_or(0);
        u32::try_from(id).ok().filter(|&id| (id as usize) < self.vocab_size).unwrap_or(0)
    }

    /// The same model with other classes.
    #[must_use]
    pub fn with_labels(&self, labels: Vec<String>, problem_type: ProblemType) -> Self {
        Self { labels, problem_type, ..self.clone() }
    }

    /// The `config.json` to save beside f32 weights: what was read, with the architecture, the class names and the
    /// dtype brought up to date.
    pub fn to_json(&self) -> String {
        let mut raw = self.raw.clone();
        raw.insert("architectures".into(), json!(["DistilBertForSequenceClassification"]));
        raw.insert("problem_type".into(), json!(self.problem_type.name()));
        let id2label = self.labels.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name)));
        raw.insert("id2label".into(), Value::Object(id2label.collect()));
        let label2id = self.labels.iter().enumerate().map(|(id, name)| (name.clone(), json!(id)));
        raw.insert("label2id".into(), Value::Object(label2id.collect()));
        raw.remove("num_labels");
        Self::finished(raw)
    }

    /// As [`Self::to_json`], for an encoder without a head.
    pub fn encoder_to_json(&self) -> String {
        let mut raw = self.raw.clone();
        raw.insert("architectures".into(), json!(["DistilBertModel"]));
        Self::finished(raw)
    }

    fn finished(mut raw: Map<String, Value>) -> String {
        let dtype = if raw.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
        raw.insert(dtype.into(), json!("float32"));
        format!("{:#}\n", Value::Object(raw))
    }
}

/// Typed access to the keys, with errors that name them.
struct Keys<'a> {
    path: &'a Path,
    raw: &'a Map<String, Value>,
    architecture: Architecture,
}

impl Keys<'_> {
    fn error(&self, key: &str, expected: &str) -> Error {
        let found = self.raw.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
        Error::value(self.path.display(), self.architecture.key(key), expected, found)
    }

    /// A positive whole number, small enough that products of three of them do not overflow.
    fn size(&self, key: &str) -> Result<usize> {
        let value = self.raw.get(key).and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok());
        value.filter(|v| (1..=1 << 20).contains(v)).ok_or_else(|| self.error(key, "a whole number from 1 to 1048576"))
    }

    /// As a size; so many that the names of their tensors alone would fill the memory are refused.
    fn layers(&self) -> Result<usize> {
        let layers = self.size("n_layers")?;
        if layers <= 1024 { Ok(layers) } else { Err(self.error("n_layers", "a whole number from 1 to 1024")) }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        match self.raw.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().filter(|v| *v >= 0.0).ok_or_else(|| self.error(key, "a number, 0 or more")),
        }
    }

    fn probability(&self, key: &str, default: f64) -> Result<f64> {
        let value = self.number(key, default)?;
        if value < 1.0 { Ok(value) } else { Err(self.error(key, "a probability below 1")) }
    }

    /// One label a row unless the file says otherwise.
    fn problem_type(&self) -> Result<ProblemType> {
        let known = [ProblemType::SingleLabel, ProblemType::MultiLabel];
        match self.raw.get("problem_type") {
            None | Some(Value::Null) => Ok(ProblemType::SingleLabel),
            Some(found) => known.into_iter().find(|problem| found == problem.name()).ok_or_else(|| {
                self.error("problem_type", &known.map(|problem| format!("{:?}", problem.name())).join(" or "))
            }),
        }
    }

    /// The names in `id2label`, else `num_labels` names, else Transformers' default of two.
    fn labels(&self) -> Result<Vec<String>> {
        let Some(id2label) = self.raw.get("id2label").filter(|v| !v.is_null()) else {
            let count = if self.raw.contains_key("num_labels") { self.size("num_labels")? } else { 2 };
            return Ok((0..count).map(|id| format!("LABEL_{id}")).collect());
        };
        let expected = "an object that names every class id from \"0\" on, each name once";
        let error = || self.error("id2label", expected);
        let map = id2label.as_object().filter(|map| !map.is_empty()).ok_or_else(error)?;
        let name = |id: usize| map.get(&id.to_string()).and_then(Value::as_str).map(str::to_owned);
        let names: Option<Vec<String>> = (0..map.len()).map(name).collect();
        let names = names.ok_or_else(error)?;
        let distinct: std::collections::HashSet<&String> = names.iter().collect();
        if distinct.len() < names.len() { Err(error()) } else { Ok(names) }
    }
}
