//! Which architectures load, and the `config.json` of a BERT as that of the DistilBERT that computes the same.
//! Called by `Config::from_json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// What `model_type` may be, for messages.
const SUPPORTED: &str =
    "\"distilbert\" or \"bert\" (DistilBERT, or BERT and its family: MiniLM, sentence-transformers)";

/// How the tensors of a checkpoint are named and meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// As they are computed.
    DistilBert,
    /// A BERT encoder: its token types are added to the positions, its pooler and its head are left out.
    Bert {
        /// Rows of the table of token types.
        token_types: usize,
    },
}

impl Architecture {
    /// Refuses a `config.json` that names another architecture, before anything else is looked for or downloaded that such a model
    /// may lack. Whatever else is wrong with the file is said when it is read.
    ///
    /// # Errors
    /// [`Error::Value`] for a `model_type` that does not load.
    pub(crate) fn check(path: &Path, json: &[u8]) -> Result<()> {
        let raw: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        match raw.get("model_type").and_then(Value::as_str) {
            None | Some("distilbert" | "bert") => Ok(()),
            Some(_) => Err(wrong(path, &raw, "model_type", SUPPORTED)),
        }
    }

    /// Reads `model_type`. A BERT's config is replaced by that of the DistilBERT that computes the same; `path` is for
    /// messages.
    ///
    /// # Errors
    /// [`Error::Value`] for an architecture that is neither, or for a BERT that no DistilBERT computes.
    pub(super) fn recognize(path: &Path, raw: Map<String, Value>) -> Result<(Self, Map<String, Value>)> {
        let error = |key: &str, expected: &str| Err(wrong(path, &raw, key, expected));
        match raw.get("model_type").and_then(Value::as_str) {
            Some("distilbert") => Ok((Self::DistilBert, raw)),
            Some("bert") => Self::bert(path, &raw),
            // the first published BERT configs name no model type; only BERT has two token types
            None if !raw.contains_key("model_type") && raw.get("type_vocab_size") == Some(&json!(2)) => {
                Self::bert(path, &raw)
            }
            _ => error("model_type", SUPPORTED),
        }
    }

    fn bert(path: &Path, raw: &Map<String, Value>) -> Result<(Self, Map<String, Value>)> {
        for (key, only) in [
            ("hidden_act", json!("gelu")),
            ("position_embedding_type", json!("absolute")),
            ("layer_norm_eps", json!(1e-12)),
            ("is_decoder", json!(false)),
        ] {
            if raw.get(key).is_some_and(|value| !value.is_null() && *value != only) {
                return Err(wrong(path, raw, key, &format!("{only}, the only one that a BERT model may have here")));
            }
        }
        let token_types = match raw.get("type_vocab_size") {
            None => Some(2),
            Some(value) => value.as_u64().filter(|n| (1..=1 << 20).contains(n)),
        };
        let Some(token_types) = token_types.and_then(|n| usize::try_from(n).ok()) else {
            return Err(wrong(path, raw, "type_vocab_size", "a whole number from 1 to 1048576"));
        };
        Ok((Self::Bert { token_types }, distilbert_config(raw)))
    }

    /// The name of a key of the file that a size was read from, for messages.
    pub(super) fn key(self, key: &str) -> &str {
        match self {
            Self::DistilBert => key,
            Self::Bert { .. } => RENAMED.iter().find(|(ours, _)| *ours == key).map_or(key, |(_, bert)| bert),
        }
    }
}

/// Keys of a DistilBERT config and of a BERT one.
const RENAMED: [(&str, &str); 6] = [
    ("dim", "hidden_size"),
    ("hidden_dim", "intermediate_size"),
    ("n_heads", "num_attention_heads"),
    ("n_layers", "num_hidden_layers"),
    ("dropout", "hidden_dropout_prob"),
    ("attention_dropout", "attention_probs_dropout_prob"),
];

/// A BERT's sizes under a DistilBERT's keys. The class names of a BERT head stay behind with the head.
fn distilbert_config(bert: &Map<String, Value>) -> Map<String, Value> {
    let mut config = Map::new();
    let fixed = json!({
        "architectures": ["DistilBertModel"], "model_type": "distilbert", "activation": "gelu", "qa_dropout": 0.1,
        "sinusoidal_pos_embds": false, "tie_weights_": true, "pad_token_id": 0,
    });
    config.extend(fixed.as_object().cloned().unwrap_or_default());
    let same = ["vocab_size", "max_position_embeddings", "initializer_range", "pad_token_id"].map(|key| (key, key));
    for (ours, theirs) in RENAMED.into_iter().chain(same) {
        if let Some(value) = bert.get(theirs) {
            config.insert(ours.into(), value.clone());
        }
    }
    // as BertForSequenceClassification chooses it
    let dropout = bert.get("classifier_dropout").filter(|v| !v.is_null()).or_else(|| bert.get("hidden_dropout_prob"));
    config.insert("seq_classif_dropout".into(), dropout.cloned().unwrap_or(json!(0.1)));
    config
}

fn wrong(path: &Path, raw: &Map<String, Value>, key: &str, expected: &str) -> Error {
    let found = raw.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string);
    Error::value(path.display(), key, expected, found)
}
