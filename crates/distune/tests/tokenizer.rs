//! The bundled tokenizer gives the ids that Transformers gives, and refuses what cannot work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use distune::tokenize::{Encoded, Tokenizer};
use serde_json::{Value, json};

/// Path of the bundled tokenizer.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/encoder/tokenizer.json")
}

/// The bundled tokenizer.
fn load(max_length: usize) -> Tokenizer {
    Tokenizer::from_bytes(&path(), &std::fs::read(path()).unwrap(), max_length).unwrap()
}

/// Texts, lengths and ids from `fixtures/tokenizer/cases.json` of the shared directory, made by its `generate.py` with
/// the fast tokenizer of Transformers.
fn cases() -> Vec<(String, usize, Vec<u32>)> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/tokenizer/cases.json")).unwrap();
    let case = |case: &Value| {
        let ids = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        (case["text"].as_str().unwrap().to_owned(), case["max_length"].as_u64().unwrap() as usize, ids)
    };
    cases.iter().map(case).collect()
}

#[test]
fn ids_equal_those_of_transformers() {
    let cases = cases();
    assert_eq!(cases.len(), 75);
    for max_length in [8, 128, 512] {
        let tokenizer = load(max_length);
        assert_eq!(tokenizer.max_length(), max_length);
        let cases: Vec<_> = cases.iter().filter(|case| case.1 == max_length).collect();
        assert_eq!(cases.len(), 25);
        let texts: Vec<&str> = cases.iter().map(|case| case.0.as_str()).collect();
        for (encoded, case) in tokenizer.encode(&texts).unwrap().iter().zip(&cases) {
            assert_eq!(encoded.ids, case.2, "{:?} at {max_length}", case.0);
        }
    }
}

#[test]
fn truncation_is_told() {
    let encoded = load(5).encode(&["one two three", "one two three four"]).unwrap();
    assert!(!encoded[0].truncated && encoded[1].truncated);
    assert_eq!((encoded[0].ids.len(), &encoded[0].ids), (5, &encoded[1].ids));
    assert_eq!(load(3).encode(&["a b"]).unwrap(), [Encoded { ids: vec![101, 1037, 102], truncated: true }]);
    assert!(load(3).encode(&[""; 0]).unwrap().is_empty());
}

#[test]
fn truncation_and_padding_of_the_file_give_way() {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap();
    json["truncation"] = json!({"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 1});
    json["padding"] = json!({"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    let baked = Tokenizer::from_bytes(&path(), json.to_string().as_bytes(), 6).unwrap();
    let texts = ["one two three four five", "one"];
    assert_eq!(baked.encode(&texts).unwrap(), load(6).encode(&texts).unwrap());
}

#[test]
fn what_cannot_work_is_refused() {
    let error = |bytes: &[u8], max_length| {
        Tokenizer::from_bytes(Path::new("model/tokenizer.json"), bytes, max_length).expect_err("an error").to_string()
    };
    for bytes in [&b""[..], b"{}", b"[PAD]\n[UNK]\n", b"\xff"] {
        let message = error(bytes, 128);
        assert!(message.starts_with("model/tokenizer.json: not a readable tokenizer: "), "{message}");
        assert!(message.ends_with("Expected the tokenizer.json of a fast Hugging Face tokenizer"), "{message}");
    }
    let bytes = std::fs::read(path()).unwrap();
    for max_length in [0, 2] {
        let found = format!("found {max_length}");
        let message = error(&bytes, max_length);
        assert!(message.starts_with("recipe: max_length: expected 3 or more, "), "{message}");
        assert!(message.ends_with(&found), "{message}");
    }
}
