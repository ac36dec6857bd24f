//! A `vocab.txt` as the `tokenizer.json` that Transformers makes of it: BERT's WordPiece. Called where a model's files are
//! opened, for a model that has no `tokenizer.json`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// Special tokens: their keys in `tokenizer_config.json`, and what they are without it.
const SPECIAL: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// The `tokenizer.json` for a `vocab.txt`, by the settings of a `tokenizer_config.json` where there is one: `do_lower_case`,
/// `strip_accents`, `tokenize_chinese_chars` and the special tokens. Paths are for messages.
///
/// # Errors
/// [`Error::Row`] for a line that is not UTF-8; [`Error::File`] for a vocabulary without one of the special tokens or settings
/// that are no JSON object; [`Error::Value`] for a setting of another type.
pub fn tokenizer_json(vocabulary: (&Path, &[u8]), config: Option<(&Path, &[u8])>) -> Result<Vec<u8>> {
    let settings = Settings::read(config)?;
    let ids = token_ids(vocabulary)?;
    let mut special = Vec::new();
    for (key, default) in SPECIAL {
        let token = settings.token(key, default)?;
        let Some(id) = ids.get(&token).cloned() else {
            let problem = format!("has no line {token:?}, the {key}");
            return Err(Error::file(vocabulary.0, problem, "Copy the vocab.txt that belongs to the model"));
        };
        special.push((token, id));
    }
    let added = special.iter().map(|(token, id)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": true})
    });
    let added: Vec<Value> = added.collect();
    let [_, (unknown, _), cls, sep, _] = special.as_slice() else { return Ok(Vec::new()) };
    let piece = |(token, _): &(String, Value), segment| json!({"SpecialToken": {"id": token, "type_id": segment}});
    let text = |name: &str, segment| json!({"Sequence": {"id": name, "type_id": segment}});
    let token = |(token, id): &(String, Value)| json!({"id": token, "ids": [id], "tokens": [token]});
    let first = [piece(cls, 0), text("A", 0), piece(sep, 0)];
    let pair = [&first[..], &[text("B", 1), piece(sep, 1)]].concat();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
            "strip_accents": settings.flag("strip_accents")?,
            "lowercase": settings.flag("do_lower_case")?.unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": first,
            "pair": pair,
            "special_tokens": {(cls.0.as_str()): token(cls), (sep.0.as_str()): token(sep)},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    });
    Ok(tokenizer.to_string().into_bytes())
}

/// Each line's number, counted from 0. Of lines that are the same, the last one counts.
fn token_ids((path, bytes): (&Path, &[u8])) -> Result<Map<String, Value>> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ids = Map::new();
    for (id, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let token = std::str::from_utf8(line)
            .map_err(|_| Error::row(path, id as u64 + 1, "not valid UTF-8", "Copy or download the vocabulary again"))?;
        ids.insert(token.to_owned(), json!(id));
    }
    Ok(ids)
}

/// A `tokenizer_config.json`, or an empty one.
struct Settings<'a> {
    path: &'a Path,
    values: Map<String, Value>,
}

impl<'a> Settings<'a> {
    fn read(config: Option<(&'a Path, &[u8])>) -> Result<Self> {
        let Some((path, bytes)) = config else { return Ok(Self { path: Path::new(""), values: Map::new() }) };
        let values = serde_json::from_slice(bytes)
            .map_err(|e| Error::file(path, format!("not a JSON object: {e}"), "Copy or download the model again"))?;
        Ok(Self { path, values })
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Error::value(self.path.display(), key, "true or false", other)),
        }
    }

    /// A token: a text, or an object with a text `content`.
    fn token(&self, key: &str, default: &str) -> Result<String> {
        match self.values.get(key) {
            None | Some(Value::Null) => Ok(default.to_owned()),
            Some(value) => {
                let token = value.get("content").unwrap_or(value).as_str();
                token.map(str::to_owned).ok_or_else(|| Error::value(self.path.display(), key, "a token", value))
            }
        }
    }
}
