//! Integrated gradients: the gradient of the embeddings in f64, equality with PyTorch (`fixtures/attribution/generate.py`), completeness on the
//! bundled encoder, words of real texts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use distune::attribution::{Attribution, Explainer, Options, segments};
use distune::data::LabelMap;
use distune::engine::{Cpu, Precision};
use distune::model::Model;
use distune::model::activations::{Activations, Pass};
use distune::model::backward::{Scratch, backward};
use distune::model::forward::forward;
use distune::model::thawed::Thawed;
use distune::model::weights::{Group, Parameters, Table, Weights};
use distune::predict::text_logits;
use distune::tokenize::{Combine, Token, Tokenizer, Traced, TracedWindow};
use distune::{Error, Result};
use serde_json::Value;
use support::*;

/// Token ids as a text whose first and last tokens are special ones.
fn traced(ids: &[u32]) -> Traced {
    let token = |i: usize| {
        let text = (i > 0 && i + 1 < ids.len()).then_some(0);
        Token { token: ids[i].to_string(), text, word: Some(i as u32), place: 0..0 }
    };
    Traced {
        texts: vec![String::new()],
        tokens: (0..ids.len()).map(token).collect(),
        windows: vec![TracedWindow { ids: ids.to_vec(), tokens: (0..ids.len()).collect() }],
        combine: Combine::Mean,
        truncated: false,
    }
}

fn explain(explainer: &mut Explainer, text: &Traced, class: Option<usize>) -> Attribution {
    explainer.explain(text, class, &mut |_, _| true).unwrap()
}

fn scores(attribution: &Attribution) -> Vec<f64> {
    attribution.tokens.iter().map(|token| token.score).collect()
}

/// The gradient of a logit with respect to every kind of element of the sums of embeddings.
#[test]
fn gradient_of_the_embeddings() {
    let config = differences::config();
    let weights = differences::weights(&Arc::new(Table::new(&config)));
    let sequences = [vec![3, 7, 1, 9], vec![5], vec![2, 2, 20]];
    let batch = batch(&sequences);
    let (d, class) = (config.dim, 1);
    let mut embedded: Vec<f64> = (0..batch.tokens() * d).map(|i| differences::number(i * 3 + 1)).collect();
    let thawed = Thawed::least_from_embeddings(weights.table());
    let (mut a, mut scratch) = (Activations::default(), Scratch::default());
    let mut gradients = Parameters::zeros_where(weights.table(), |tensor| thawed.has_gradient(tensor));
    let mut dlogits = vec![0.0; 9];
    dlogits.iter_mut().skip(class).step_by(3).for_each(|d| *d = 1.0);
    let pass = Pass { embedded: Some(&embedded), thawed: Some(&thawed), ..Pass::inference(&config, &batch) };
    forward(&mut a, Weights::Ready(&weights), pass);
    backward(&mut gradients, &mut scratch, &dlogits, &a, &weights, pass);
    let got = scratch.input_gradient().to_vec();
    assert_eq!(got.len(), embedded.len());
    let mut sum_of_logits = |embedded: &[f64]| -> f64 {
        let pass = Pass { embedded: Some(embedded), ..Pass::inference(&config, &batch) };
        forward(&mut a, Weights::Ready(&weights), pass);
        a.logits.iter().skip(class).step_by(3).sum()
    };
    for i in 0..embedded.len() {
        let (before, step) = (embedded[i], 1e-5);
        embedded[i] = before + step;
        let up = sum_of_logits(&embedded);
        embedded[i] = before - step;
        let down = sum_of_logits(&embedded);
        embedded[i] = before;
        let want = (up - down) / (2.0 * step);
        // the difference quotient is right to about 1e-9; gradients here are up to 1
        assert!((got[i] - want).abs() < 1e-7, "element {i}: {} by hand, {want} by differences", got[i]);
    }
}

/// The embeddings of a batch's own tokens, given in their place, change nothing.
#[test]
fn given_embeddings_are_those_of_the_tokens() {
    let model = tiny();
    let sequences = [vec![3, 7, 1, 9], vec![5]];
    let (batch, d) = (batch(&sequences), model.config.dim);
    let embeddings = model.weights.embeddings();
    let sums = sequences.iter().flat_map(|ids| ids.iter().enumerate()).flat_map(|(position, &id)| {
        let (word, position) = (&embeddings.words[id as usize * d..][..d], &embeddings.positions[position * d..][..d]);
        word.iter().zip(position).map(|(a, b)| a + b)
    });
    let embedded: Vec<f32> = sums.collect();
    let logits = |embedded| {
        let mut a = Activations::default();
        forward(&mut a, Weights::Ready(&model.weights), Pass { embedded, ..Pass::inference(&model.config, &batch) });
        a.logits.to_vec()
    };
    assert_eq!(logits(Some(&embedded)), logits(None));
}

#[test]
fn equal_to_pytorch() {
    let model = tiny();
    let exact = Options { tolerance: 1e-3, max_steps: 1024 };
    let mut explainer = Explainer::new(&model, exact);
    let cases = json(&fixture("attribution/cases.json"));
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let (ids, want) = (sequences(&Value::Array(vec![case["ids"].clone()])).remove(0), floats(&case["scores"]));
        let class = case["class"].as_u64().unwrap() as usize;
        let got = explain(&mut explainer, &traced(&ids), Some(class));
        for (got, want) in [(got.logit, &case["logit"]), (got.baseline_logit, &case["baseline_logit"])] {
            // f32 against f64
            assert!((got - want.as_f64().unwrap()).abs() < 1e-5);
        }
        // the errors of the parts of the path sum to five times the tolerance at most, of a tenth of a logit at least
        let allowed = 5e-3 * got.logit_difference.abs().max(0.1);
        for (token, (got, want)) in scores(&got).iter().zip(&want).enumerate() {
            assert!((got - want).abs() < allowed, "{ids:?}, class {class}, token {token}: {got}, not {want}");
        }
        assert!(got.complete, "{got:?}");
    }
}

/// The bundled encoder with the fixtures' head, and its tokenizer.
fn encoder() -> (Model, Tokenizer) {
    let files = bundled();
    let labels = LabelMap::from_names(vec!["negative".to_owned(), "positive".to_owned()]);
    let mut model = Model::load_with_new_head(&files, &labels, 0).unwrap();
    let head = tensors(&fixture("encoder/head.safetensors"));
    let table = model.weights.table().clone();
    for tensor in table.tensors().iter().filter(|tensor| tensor.group == Group::Head) {
        model.weights.tensor_mut(tensor).copy_from_slice(&head[&tensor.name]);
    }
    let (name, bytes) = &files.tokenizer[0];
    (model, Tokenizer::from_bytes(Path::new(name), bytes, 128).unwrap())
}

/// Scores sum to the difference of the logit, at texts of many kinds and at any number of threads to the same bits.
#[test]
fn completeness() {
    let (model, tokenizer) = encoder();
    let long = "a film that goes on and on ".repeat(30);
    let texts =
        ["a gripping film", "Dull, lifeless & overlong.", "x", "naïve café 中文 🎬 [SEP] unbelievableness", &long];
    let run = || {
        let mut explainer = Explainer::new(&model, Options::default());
        texts.map(|text| explain(&mut explainer, &tokenizer.trace(text, None).unwrap(), None))
    };
    let attributions = run();
    for (text, attribution) in texts.iter().zip(&attributions) {
        let Attribution { sum, logit_difference, completeness_gap, .. } = attribution;
        assert!(attribution.complete, "{text}: {attribution:?}");
        assert_eq!(*sum, scores(attribution).iter().sum::<f64>());
        assert_eq!(*completeness_gap, (sum - logit_difference).abs());
        // the tolerance that is the default
        assert!(*completeness_gap <= 0.01 * logit_difference.abs().max(0.1), "{text}: {attribution:?}");
        let special = attribution.tokens.iter().filter(|token| token.text.is_none());
        assert_eq!(special.map(|token| token.score).collect::<Vec<_>>(), [0.0, 0.0], "{text}");
        let of_words: f64 = attribution.words.iter().map(|word| word.score).sum();
        // another order of the sum
        assert!((of_words - sum).abs() < 1e-9 * (1.0 + sum.abs()));
        let whole: String = segments(attribution, 0).iter().map(|(piece, _)| *piece).collect();
        assert_eq!(whole, *text);
    }
    assert!(attributions[4].truncated && !attributions[0].truncated);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(run), attributions);
}

/// A text in windows: the logits and scores of its windows, each explained alone, averaged, or those of the window with the largest logit.
#[test]
fn texts_in_windows() {
    let (model, _) = encoder();
    let text = "a gripping film . the plot is dull and overlong , the actors are charming beyond words";
    let mut explainer = Explainer::new(&model, Options::default());
    for (combine, class) in [(Combine::Mean, Some(1)), (Combine::Mean, None), (Combine::Max, Some(0))] {
        let path = Path::new("tokenizer.json");
        let json = &bundled().tokenizer[0].1;
        let windows = Tokenizer::from_bytes(path, json, 10).unwrap().with_windows(Some(2), combine).unwrap();
        let traced = windows.trace(text, None).unwrap();
        assert_eq!(traced.windows.len(), 3);
        let whole = explain(&mut explainer, &traced, class);
        let class = model.config.labels.iter().position(|label| *label == whole.label);
        let alone: Vec<Attribution> = traced
            .windows
            .iter()
            .map(|window| {
                let part = Traced {
                    tokens: window.tokens.iter().map(|&token| traced.tokens[token].clone()).collect(),
                    windows: vec![TracedWindow { ids: window.ids.clone(), tokens: (0..window.ids.len()).collect() }],
                    ..traced.clone()
                };
                explain(&mut explainer, &part, class)
            })
            .collect();
        let largest = (0..3).max_by(|&a, &b| alone[a].logit.total_cmp(&alone[b].logit)).unwrap();
        let weight = |window: usize| match combine {
            Combine::Mean => 1.0 / 3.0,
            Combine::Max => f64::from(u8::from(window == largest)),
        };
        let mut want = vec![0.0; traced.tokens.len()];
        for (i, window) in traced.windows.iter().enumerate() {
            window.tokens.iter().zip(scores(&alone[i])).for_each(|(&token, score)| want[token] += weight(i) * score);
        }
        // another order of the same products
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(scores(&whole).iter().zip(&want).all(|(a, b)| near(*a, *b)), "{combine:?}");
        let logit: f64 = (0..3).map(|i| weight(i) * alone[i].logit).sum();
        assert!(near(whole.logit, logit) && whole.complete && !whole.truncated);
        let words: Vec<&str> = whole.words.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(words, text.split(' ').collect::<Vec<_>>());
        // what predictions say of the same text
        let encoded = windows.encode_one(text).unwrap();
        let mut engine = Cpu::new(model.clone(), Precision::F32);
        let mut predicted = Vec::new();
        text_logits(&mut engine, &[&encoded], combine, |rows| {
            rows.for_each(|row| predicted.extend_from_slice(row));
            Ok::<_, Error>(())
        })
        .unwrap();
        assert!((f64::from(predicted[class.unwrap()]) - whole.logit).abs() < 1e-4, "{predicted:?} {whole:?}");
    }
}

/// Words are those of the text, whatever pieces the tokenizer makes of them.
#[test]
fn words_of_the_text() {
    let (model, tokenizer) = encoder();
    let mut explainer = Explainer::new(&model, Options { tolerance: 1.0, max_steps: 8 });
    let text = "Unbelievableness, NAÏVE café";
    let got = explain(&mut explainer, &tokenizer.trace(text, None).unwrap(), Some(1));
    let words: Vec<&str> = got.words.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(words, ["Unbelievableness", ",", "NAÏVE", "café"]);
    let pieces: Vec<&str> = got.tokens.iter().map(|token| token.token.as_str()).collect();
    assert!(pieces.iter().any(|piece| piece.starts_with("##")), "{pieces:?}");
    assert_eq!(got.label, "positive");
    let word = &got.words[2];
    assert_eq!((word.start, word.end), (18, 23));

    let pair = explain(&mut explainer, &tokenizer.trace("a film", Some("no film")).unwrap(), None);
    let words: Vec<(usize, &str)> = pair.words.iter().map(|word| (word.text, word.word.as_str())).collect();
    assert_eq!(words, [(0, "a"), (0, "film"), (1, "no"), (1, "film")]);
    assert_eq!(segments(&pair, 1).len(), 3);
}

#[test]
fn what_cannot_be_explained() {
    let model = tiny();
    let mut explainer = Explainer::new(&model, Options::default());
    let mut refused = |ids: &[u32], class| -> String {
        let result: Result<Attribution> = explainer.explain(&traced(ids), class, &mut |_, _| true);
        result.unwrap_err().to_string()
    };
    assert!(refused(&[1, 2, 3], Some(3)).contains("class: expected below 3, the number of classes, found 3"));
    assert!(refused(&[1, 512, 3], None).contains("token id 512"));
    assert!(refused(&[], None).contains("tokens: expected 1 to 64"));
    assert!(refused(&[1; 65], None).contains("found 65"));
    let stopped = explainer.explain(&traced(&[1, 2, 3]), None, &mut |_, _| false);
    assert!(matches!(stopped, Err(Error::Interrupted { .. })));
    // special tokens alone are the baseline
    let nothing = explain(&mut explainer, &traced(&[1, 2]), None);
    assert_eq!((nothing.sum, nothing.logit_difference, nothing.complete), (0.0, 0.0, true));
    assert!(nothing.words.is_empty());
}
