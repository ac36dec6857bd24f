//! The bundled tokenizer gives the ids that Transformers gives, and refuses what cannot work.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use distune::tokenize::{Combine, Cut, Encoded, Tokenizer, Windows};
use distune::vocabulary::tokenizer_json;
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

/// The `vocab.txt` that belongs to the bundled tokenizer.
fn vocabulary() -> String {
    let json: Value = serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap();
    let ids = json["model"]["vocab"].as_object().unwrap();
    let mut words: Vec<(u64, &String)> = ids.iter().map(|(word, id)| (id.as_u64().unwrap(), word)).collect();
    words.sort_unstable();
    assert!(words.iter().enumerate().all(|(i, (id, _))| i as u64 == *id));
    words.into_iter().map(|(_, word)| format!("{word}\n")).collect()
}

/// The tokenizer of a `vocab.txt` and perhaps a `tokenizer_config.json`.
fn from_vocabulary(words: &[u8], config: Option<Value>) -> Result<Tokenizer, String> {
    let config = config.map(|config| config.to_string());
    let config = config.as_ref().map(|config| (Path::new("m/tokenizer_config.json"), config.as_bytes()));
    let json = tokenizer_json((Path::new("m/vocab.txt"), words), config).map_err(|e| e.to_string())?;
    Tokenizer::from_bytes(Path::new("m/tokenizer.json"), &json, 512).map_err(|e| e.to_string())
}

#[test]
fn vocab_txt_alone_gives_the_same_ids() {
    let words = vocabulary();
    let config: Value =
        serde_json::from_slice(&std::fs::read(path().with_file_name("tokenizer_config.json")).unwrap()).unwrap();
    for (words, config) in [(words.clone(), None), (words.clone(), Some(config)), (words.replace('\n', "\r\n"), None)] {
        let tokenizer = from_vocabulary(words.as_bytes(), config).unwrap();
        for (text, max_length, ids) in cases() {
            if max_length == 512 {
                assert_eq!(tokenizer.encode_one(&text).unwrap().ids, ids, "{text:?}");
            }
        }
    }
}

#[test]
fn vocab_txt_with_settings() {
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nCaf\u{e9}\ncafe\ncaf\u{e9}\n\u{65e5}\u{672c}\n\u{65e5}\n\u{672c}\n<s>\n##s\n";
    let ids = |text: &str, config: Value| {
        from_vocabulary(words.as_bytes(), Some(config)).unwrap().encode_one(text).unwrap().ids
    };
    // ids of the same settings in Transformers 5.24
    for (text, config, want) in [
        ("Caf\u{e9}s", json!({"do_lower_case": false}), vec![2, 5, 12, 3]),
        ("Caf\u{e9}", json!({"do_lower_case": true}), vec![2, 6, 3]),
        ("Caf\u{e9}", json!({"do_lower_case": true, "strip_accents": false}), vec![2, 7, 3]),
        ("\u{65e5}\u{672c}", json!({}), vec![2, 9, 10, 3]),
        ("\u{65e5}\u{672c}", json!({"tokenize_chinese_chars": false}), vec![2, 8, 3]),
        ("cafe", json!({"cls_token": "<s>", "sep_token": {"content": "[MASK]"}}), vec![11, 6, 4]),
        ("[MASK] x", json!({"do_lower_case": true}), vec![2, 4, 1, 3]),
    ] {
        assert_eq!(ids(text, config.clone()), want, "{text} {config}");
    }
}

#[test]
fn vocab_txt_that_cannot_work() {
    let error = |words: &[u8], config: Option<Value>| from_vocabulary(words, config).expect_err("an error");
    let message = error(b"[PAD]\n[UNK]\n[CLS]\n[MASK]\n", None);
    assert!(message.starts_with("m/vocab.txt: has no line \"[SEP]\", the sep_token. Copy the vocab.txt"), "{message}");
    let message = error(b"[PAD]\n[UNK]\n\xff\n", None);
    assert!(message.starts_with("m/vocab.txt, line 3: not valid UTF-8"), "{message}");
    let message = error(b"", None);
    assert!(message.contains("has no line \"[PAD]\""), "{message}");
    let words = vocabulary();
    let message = error(words.as_bytes(), Some(json!({"do_lower_case": "yes"})));
    assert_eq!(message, "m/tokenizer_config.json: do_lower_case: expected true or false, found \"yes\"");
    let message = error(words.as_bytes(), Some(json!({"cls_token": 5})));
    assert_eq!(message, "m/tokenizer_config.json: cls_token: expected a token, found 5");
    let message = error(words.as_bytes(), Some(json!([])));
    assert!(message.starts_with("m/tokenizer_config.json: not a JSON object"), "{message}");
}

/// Ids of `AutoTokenizer.from_pretrained("assets/encoder")(a, b, truncation=True, max_length=n)` in Transformers 5.24.
#[test]
fn pairs_as_in_transformers() {
    for (a, b, max_length, ids) in [
        ("a charming film", "dull", 64, &[101, 1037, 11951, 2143, 102, 10634, 102][..]),
        ("one two three four five six", "seven eight", 8, &[101, 2028, 2048, 2093, 102, 2698, 2809, 102]),
        ("one two", "three four five six seven eight", 8, &[101, 2028, 2048, 102, 2093, 2176, 2274, 102]),
    ] {
        let tokenizer = load(max_length);
        tokenizer.check_pairs().unwrap();
        let encoded = Encoded { ids: ids.to_vec(), further: vec![], truncated: max_length == 8 };
        assert_eq!(tokenizer.encode_pairs(&[a.to_owned()], &[b.to_owned()]).unwrap(), [encoded]);
    }
    let short = load(4).check_pairs().unwrap_err().to_string();
    assert!(short.contains("expected 5 or more, room for the 3 special tokens of a pair"), "{short}");
    let mut json: Value = serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap();
    json["post_processor"]["pair"] = json["post_processor"]["single"].clone();
    let single = Tokenizer::from_bytes(&path(), json.to_string().as_bytes(), 64).unwrap();
    assert!(single.check_pairs().unwrap_err().to_string().contains("leaves the second text out"));
}

#[test]
fn truncation_is_told() {
    let encoded = load(5).encode(&["one two three", "one two three four"]).unwrap();
    assert!(!encoded[0].truncated && encoded[1].truncated);
    assert_eq!((encoded[0].ids.len(), &encoded[0].ids), (5, &encoded[1].ids));
    assert_eq!(
        load(3).encode(&["a b"]).unwrap(),
        [Encoded { ids: vec![101, 1037, 102], further: vec![], truncated: true }]
    );
    assert!(load(3).encode(&[""; 0]).unwrap().is_empty());
}

/// Ids of `AutoTokenizer.from_pretrained("assets/encoder")(a, truncation=True, max_length=6, stride=1, return_overflowing_tokens=True)` in
/// Transformers: words are a token each.
#[test]
fn windows_over_long_texts() {
    let tokenizer = load(6).with_windows(Some(1), Combine::Max).unwrap();
    assert_eq!(tokenizer.windows(), Some(Windows { overlap: 1, combine: Combine::Max }));
    let ids = |text: &str| load(512).encode_one(text).unwrap().ids;
    let windows =
        |text: &str| -> Vec<Vec<u32>> { tokenizer.encode_one(text).unwrap().windows().map(<[u32]>::to_vec).collect() };
    let parts = ["one two three four", "four five six seven", "seven eight"].map(ids);
    assert_eq!(windows("one two three four five six seven eight"), parts);
    assert_eq!(windows("one two three four five six seven"), parts[..2]);
    // no longer than a window: as without
    for text in ["one two three four", "one", ""] {
        assert_eq!(tokenizer.encode_one(text).unwrap(), load(6).encode_one(text).unwrap(), "{text:?}");
    }
    // a quarter of the room, by default; half of it at most
    assert_eq!(load(10).with_windows(None, Combine::Mean).unwrap().windows().unwrap().overlap, 2);
    let message = load(10).with_windows(Some(5), Combine::Mean).unwrap_err().to_string();
    assert_eq!(message, "recipe: window_overlap: expected at most 4, half of a window's 8 tokens of text, found 5");
}

#[test]
fn windows_over_the_first_text_of_pairs() {
    let tokenizer = load(9).with_windows(Some(1), Combine::Mean).unwrap();
    let windows = |a: &str, b: &str| -> (Vec<Vec<u32>>, bool) {
        let encoded = tokenizer.encode_pair(a, b).unwrap();
        (encoded.windows().map(<[u32]>::to_vec).collect(), encoded.truncated)
    };
    let pair = |a: &str, b: &str| load(64).encode_pair(a, b).unwrap().ids;
    // room for six tokens of both texts
    let parts = [("one two three four", "five six"), ("four seven", "five six")].map(|(a, b)| pair(a, b));
    assert_eq!(windows("one two three four seven", "five six"), (parts.to_vec(), false));
    // the second text has half of the room at most
    let parts = [("one two three", "a b c"), ("three four", "a b c")].map(|(a, b)| pair(a, b));
    assert_eq!(windows("one two three four", "a b c d"), (parts.to_vec(), true));
    assert_eq!(windows("one", "two"), (vec![pair("one", "two")], false));
    tokenizer.check_pairs().unwrap();
}

/// Every token of the text is in a window, and each window knows which ones it has.
#[test]
fn windows_know_their_tokens() {
    let tokenizer = load(9).with_windows(Some(2), Combine::Mean).unwrap();
    let text = "Unbelievableness of the naïve café, one two three four five six";
    for second in [None, Some("dull")] {
        let traced = tokenizer.trace(text, second).unwrap();
        let encoded = match second {
            None => tokenizer.encode_one(text).unwrap(),
            Some(second) => tokenizer.encode_pair(text, second).unwrap(),
        };
        let ids: Vec<&[u32]> = traced.windows.iter().map(|window| window.ids.as_slice()).collect();
        assert_eq!(ids, encoded.windows().collect::<Vec<_>>());
        let whole = match second {
            None => load(512).trace(text, None).unwrap(),
            Some(second) => load(512).trace(text, Some(second)).unwrap(),
        };
        assert_eq!((&traced.tokens, &traced.texts), (&whole.tokens, &whole.texts));
        assert!(traced.windows.len() > 2 && whole.windows.len() == 1);
        let mut seen = vec![false; traced.tokens.len()];
        for window in &traced.windows {
            let of_whole: Vec<u32> = window.tokens.iter().map(|&token| whole.windows[0].ids[token]).collect();
            assert_eq!(of_whole, window.ids);
            window.tokens.iter().for_each(|&token| seen[token] = true);
        }
        assert_eq!(seen, vec![true; traced.tokens.len()]);
    }
}

/// Ids of `AutoTokenizer.from_pretrained("assets/encoder", truncation_side="left")` in Transformers 5.24.
#[test]
fn the_beginning_is_cut_where_asked() {
    let tokenizer = load(8);
    let pair = "three four five six seven eight";
    let (encoded, length) = tokenizer.encode_cutting("one two", Some(pair), Cut::Left).unwrap();
    assert_eq!((encoded.ids, length), (vec![101, 2028, 2048, 102, 2416, 2698, 2809, 102], 11));
    let (encoded, length) = load(5).encode_cutting("one two three four", None, Cut::Left).unwrap();
    assert_eq!((encoded.ids, encoded.truncated, length), (vec![101, 2048, 2093, 2176, 102], true, 6));
    let whole = load(5).trace_cutting("one two three four", None, Cut::Nothing).unwrap();
    assert_eq!((whole.tokens.len(), whole.truncated), (6, false));
    let long = "one ".repeat(50_000);
    let (encoded, length) = tokenizer.encode_cutting(&long, Some(&long), Cut::Right).unwrap();
    assert_eq!((encoded.ids.len(), length), (8, 100_003), "of two long texts no pair of their parts is kept");
    assert_eq!(tokenizer.decode(&[101, 2028, 2048, 102], true).unwrap(), "one two");
    assert_eq!(tokenizer.decode(&[101, 2028], false).unwrap(), "[CLS] one");
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
