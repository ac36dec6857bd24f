//! MinHash beside the comparison of all pairs.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::data::audit::near::{Orders, Pair, search, shingles_of, similar};
use crate::data::audit::same::Keys;
use crate::data::normalise::normalise;

/// The shingles of a text as they are, straight from the definition.
fn shingles(text: &str) -> HashSet<Vec<char>> {
    let mut normalised = String::new();
    normalise(text, &mut normalised);
    normalised.chars().collect::<Vec<_>>().windows(SHINGLE).map(<[char]>::to_vec).collect()
}

/// Jaccard similarity straight from the definition.
fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (shingles(a), shingles(b));
    a.intersection(&b).count() as f64 / a.union(&b).count() as f64
}

fn long_enough(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphanumeric()).count() >= SHORTEST
}

/// What is found in splits of these texts.
fn pairs(splits: &[Vec<String>]) -> Vec<Pair> {
    let names = ["train", "validation", "test"];
    let parts: Vec<Part> = names
        .iter()
        .zip(splits)
        .map(|(name, texts)| part(name, &texts.iter().map(|text| (text.as_str(), "0")).collect::<Vec<_>>()))
        .collect();
    let rows = Rows::new(parts.iter().map(|part| (part.split.as_str(), part.tables.iter().collect())));
    let keys = Keys::of(&rows, &mut ()).unwrap();
    search(&rows, &keys.distinct(&rows), &mut ()).unwrap()
}

/// Sentences of a few words, and variants of earlier ones with a word exchanged, added or left out.
fn texts() -> impl Strategy<Value = Vec<String>> {
    let word = prop::sample::select(vec![
        "a",
        "the",
        "film",
        "remarkable",
        "unexpectedly",
        "Moving",
        "story",
        "of",
        "friendship",
        "is",
        "never",
        "dull,",
        "although",
        "overlong",
        "cast",
        "shines",
        "throughout",
    ]);
    let base = prop::collection::vec(word.clone(), 1..25);
    let edit = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), word, 0..3);
    (prop::collection::vec(base, 1..6), prop::collection::vec(edit, 0..20)).prop_map(|(mut texts, edits)| {
        for (text, at, word, how) in edits {
            let mut new = text.get(&texts).clone();
            let at = at.index(new.len());
            match how {
                0 => new[at] = word,
                1 => new.insert(at, word),
                _ => drop((new.len() > 1).then(|| new.remove(at))),
            }
            texts.push(new);
        }
        texts.into_iter().map(|words| words.join(" ")).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing is reported that is none, the similarity is the exact one, and what is very similar is found.
    #[test]
    fn pairs_are_those_of_all_comparisons(train in texts(), validation in texts()) {
        let all: Vec<&String> = train.iter().chain(&validation).collect();
        let split = |row: usize| usize::from(row >= train.len());
        let found = pairs(&[train.clone(), validation.clone()]);
        let mut known: HashMap<(usize, usize), f64> = HashMap::new();
        for pair in &found {
            let exact = similarity(all[pair.row], all[pair.earlier]);
            prop_assert!(pair.earlier < pair.row && pair.similarity >= THRESHOLD);
            // both divide the same whole numbers
            prop_assert!((pair.similarity - exact).abs() < 1e-12, "{} instead of {exact}", pair.similarity);
            prop_assert_eq!(known.insert((pair.row, split(pair.earlier)), exact), None, "one for each split");
        }
        let normalised = |row: usize| { let mut out = String::new(); normalise(all[row], &mut out); out };
        let first = |row: usize| {
            (0..row).all(|other| split(other) != split(row) || normalised(other) != normalised(row))
        };
        for row in (0..all.len()).filter(|&row| first(row) && long_enough(all[row])) {
            for other in (0..row).filter(|&other| first(other) && long_enough(all[other])) {
                let exact = similarity(all[row], all[other]);
                if exact >= 0.93 && normalised(row) != normalised(other) {
                    // the probability to miss one is 1e-9
                    prop_assert!(known.contains_key(&(row, split(other))), "{exact}: {} and {}", all[row], all[other]);
                }
            }
        }
    }

    #[test]
    fn similarity_is_exact_down_to_the_threshold(a in prop::collection::btree_set(0..60_u64, 1..50), b in prop::collection::btree_set(0..60_u64, 1..50)) {
        let exact = a.intersection(&b).count() as f64 / a.union(&b).count() as f64;
        let sorted = |set: &std::collections::BTreeSet<u64>| set.iter().copied().collect::<Vec<_>>();
        prop_assert_eq!(similar(&sorted(&a), &sorted(&b)), (exact >= THRESHOLD).then_some(exact));
        prop_assert_eq!(similar(&sorted(&a), &sorted(&a)), Some(1.0));
    }
}

/// The share of orders in which two sets have the same first element is their Jaccard similarity.
#[test]
fn signatures_agree_as_often_as_sets_do() {
    let orders = Orders::new();
    let text: String = ('a'..='z').chain('0'..='9').cycle().take(36).collect();
    for kept in [36, 30, 24, 18, 12] {
        // both have the first `kept` characters, then each goes on with its own
        let (a, b) = (text.clone(), format!("{}{}", &text[..kept], "é".repeat(36 - kept)));
        let exact = similarity(&a, &b);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        assert!(shingles_of(&a, &mut x) && shingles_of(&b, &mut y));
        let agreeing = orders.signature(&x).iter().zip(orders.signature(&y)).filter(|&(&x, y)| x == y).count();
        let share = agreeing as f64 / (BANDS * BAND_WIDTH) as f64;
        // four standard deviations of 120 draws: 4 * sqrt(0.25 / 120)
        assert!((share - exact).abs() < 0.18, "{share} instead of {exact}");
    }
}

#[test]
fn near_duplicates_are_noted_within_and_between_splits() {
    let long = "it is a warm and funny film about growing old with grace and a good deal of noise";
    let train = [(long, "1"), ("it is a warm and funny film about growing old with grace and a good deal of joy", "0")];
    let validation = [("It is a warm and funny film about growing old with grace and a good deal of noise too", "1")];
    let report = report(&[part("train", &train), part("validation", &validation)]);
    let within = only(&report, Kind::NearDuplicates);
    assert_eq!((within.count, within.level, within.other_label), (1, Level::Note, Some(1)));
    let across = only(&report, Kind::NearOverlap);
    assert_eq!((across.split.as_str(), across.other.as_deref(), across.count), ("validation", Some("train"), 1));
    assert!(across.examples[0].similarity.unwrap() > 0.9);
}

#[test]
fn short_texts_are_not_near_duplicates() {
    let found = pairs(&[vec!["very good film".into(), "very good films".into()]]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_same_text_is_no_near_duplicate() {
    let text = "a long text that stands in both of the splits".to_owned();
    let found = pairs(&[vec![text.clone(), text.to_uppercase()], vec![text + "."]]);
    assert!(found.is_empty(), "{found:?}");
}

/// A thousand texts that share nearly all: the time must not grow with the square, and each is found.
#[test]
fn many_alike_are_all_found() {
    let same = "this sentence stands in each of very many rows and only its end is not the same everywhere";
    let texts: Vec<String> = (0..3000).map(|row| format!("{same} {row}")).collect();
    assert_eq!(pairs(&[texts]).len(), 2999);
}
