//! The requests and answers of text-embeddings-inference, with their schema. Routes read and write them.

use std::borrow::Cow;
use std::fmt::Formatter;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// One text, or a pair of texts that is read as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) second: Option<String>,
}

impl Text {
    pub(crate) fn characters(&self) -> usize {
        self.text.chars().count() + self.second.as_ref().map_or(0, |second| second.chars().count())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.second.as_ref().map_or(0, String::len)
    }
}

/// `"a"` or `["a"]`, a text; `["a", "b"]`, a pair; `[["a"], ["b", "c"]]`, a batch of texts and pairs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PredictInput {
    Single(Text),
    Batch(Vec<Text>),
}

/// A text or a list, before it is known what the list is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Text(String),
    List(Vec<String>),
}

struct PredictInputVisitor;

const EXPECTED: &str = "a string, a pair of strings [string, string] or a batch of mixed strings and pairs [[string], [string, string], ...]";

impl<'de> Visitor<'de> for PredictInputVisitor {
    type Value = PredictInput;

    fn expecting(&self, formatter: &mut Formatter) -> std::fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PredictInput, E> {
        Ok(PredictInput::Single(Text { text: text.to_owned(), second: None }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PredictInput, A::Error> {
        let of_list = |list: Vec<String>| {
            let n = list.len();
            let mut list = list.into_iter();
            match (list.next(), list.next(), list.next()) {
                (Some(text), second, None) => Ok(Text { text, second }),
                _ => Err(A::Error::invalid_length(n, &EXPECTED)),
            }
        };
        let first = match items.next_element::<Item>()? {
            // said to be empty by whoever uses it
            None => return Ok(PredictInput::Batch(Vec::new())),
            Some(Item::List(list)) => of_list(list)?,
            Some(Item::Text(text)) => {
                let second = items.next_element::<String>()?;
                if second.is_some() && items.next_element::<String>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &EXPECTED));
                }
                return Ok(PredictInput::Single(Text { text, second }));
            }
        };
        let mut batch = vec![first];
        while let Some(list) = items.next_element::<Vec<String>>()? {
            batch.push(of_list(list)?);
        }
        Ok(PredictInput::Batch(batch))
    }
}

impl<'de> Deserialize<'de> for PredictInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PredictInputVisitor)
    }
}

/// A schema of `n` strings.
fn strings(n: std::ops::RangeInclusive<usize>, about: &str) -> ArrayBuilder {
    let string = ObjectBuilder::new().schema_type(Type::String);
    ArrayBuilder::new().items(string).min_items(Some(*n.start())).max_items(Some(*n.end())).description(Some(about))
}

fn string(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}

impl PartialSchema for PredictInput {
    fn schema() -> RefOr<Schema> {
        let item = strings(1..=2, "One text, or a pair of texts");
        OneOfBuilder::new()
            .item(string("One text"))
            .item(strings(1..=2, "One text, or a pair of texts that is read as one"))
            .item(ArrayBuilder::new().items(item).min_items(Some(1)).description(Some("A batch of texts and pairs")))
            .description(Some("A text, a pair of texts, or a batch of both"))
            .examples([json!("a charming and often affecting journey")])
            .into()
    }
}

impl ToSchema for PredictInput {
    fn name() -> Cow<'static, str> {
        "PredictInput".into()
    }
}

/// Which side of a text that is too long is cut off.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(crate) enum TruncationDirection {
    #[serde(alias = "left")]
    Left,
    #[default]
    #[serde(alias = "right")]
    Right,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PredictRequest {
    pub(crate) inputs: PredictInput,
    /// Whether a text that is too long is cut; without this, as the server was started.
    #[serde(default)]
    pub(crate) truncate: Option<bool>,
    #[serde(default)]
    pub(crate) truncation_direction: TruncationDirection,
    /// Logits instead of probabilities.
    #[serde(default)]
    pub(crate) raw_scores: bool,
}

/// A label and how probable it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Prediction {
    #[schema(example = 0.98)]
    pub(crate) score: f32,
    #[schema(example = "positive")]
    pub(crate) label: String,
}

/// All labels of a text, the most probable one first; of a batch, a list of such lists.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PredictResponse {
    Single(Vec<Prediction>),
    Batch(Vec<Vec<Prediction>>),
}

/// A text, or a list of texts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Texts {
    Single(String),
    Batch(Vec<String>),
}

impl Texts {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::Single(text) => vec![text],
            Self::Batch(texts) => texts,
        }
    }
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TokenizeRequest {
    pub(crate) inputs: Texts,
    /// Whether tokens such as `[CLS]` are added.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(crate) add_special_tokens: bool,
}

/// A token, and where it is in its text, in characters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimpleToken<'a> {
    #[schema(example = 1037)]
    pub(crate) id: u32,
    #[schema(example = "a")]
    pub(crate) text: &'a str,
    pub(crate) special: bool,
    /// Nothing for a special token.
    pub(crate) start: Option<usize>,
    pub(crate) stop: Option<usize>,
}

/// Token ids, or a list of such lists.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Ids {
    Single(Vec<u32>),
    Batch(Vec<Vec<u32>>),
}

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct DecodeRequest {
    pub(crate) ids: Ids,
    /// Whether tokens such as `[CLS]` are left out.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(crate) skip_special_tokens: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(text: &str, second: Option<&str>) -> Text {
        Text { text: text.into(), second: second.map(str::to_owned) }
    }

    #[test]
    fn four_shapes() {
        let read = |json: &str| serde_json::from_str::<PredictInput>(json);
        assert_eq!(read(r#""a""#).unwrap(), PredictInput::Single(text("a", None)));
        assert_eq!(read(r#"["a"]"#).unwrap(), PredictInput::Single(text("a", None)));
        assert_eq!(read(r#"["a", "b"]"#).unwrap(), PredictInput::Single(text("a", Some("b"))));
        let batch = PredictInput::Batch(vec![text("a", None), text("b", Some("c"))]);
        assert_eq!(read(r#"[["a"], ["b", "c"]]"#).unwrap(), batch);
        assert_eq!(read("[]").unwrap(), PredictInput::Batch(vec![]));
        for wrong in [
            r#"["a", "b", "c"]"#,
            r#"[["a"], "b"]"#,
            r#"["a", ["b"]]"#,
            "[[]]",
            "1",
            "null",
            "{}",
            r#"[["a", "b", "c"]]"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
