//! Texts as sparse vectors: how often each word and each pair of neighbouring words is in it, against how many texts have it.

use std::collections::HashMap;

use rayon::prelude::*;

use super::matrix::Matrix;
use crate::data::Dataset;

/// Texts that are put into lower case at once.
const AT_ONCE: usize = 8192;
/// No word, or one that no training text has; it parts its neighbours.
const NO_WORD: u32 = u32::MAX;

/// The terms of some texts, and what each of them is worth: `ln((1 + N) / (1 + n)) + 1`, with n of N rows that have it.
pub(super) struct TfIdf {
    /// The ids of the words of the texts, and of the second texts of pairs.
    words: [HashMap<Box<str>, u32>; 2],
    /// The column of each term: a word, or two (see [`counts`]).
    columns: HashMap<u64, u32>,
    /// `[V]` by column.
    worth: Vec<f64>,
}

impl TfIdf {
    /// Of some rows, with the terms that most rows have if there are more than `most`; also their vectors, and how many terms there are.
    pub(super) fn fit(dataset: &Dataset, rows: &[usize], most: usize) -> (Self, Matrix, usize) {
        let (mut words, mut known) = ([HashMap::new(), HashMap::new()], 0);
        // in the order of the rows, so that ids are the same at any number of threads
        let ids = word_ids(dataset, rows, |of_pair, word| {
            let words: &mut HashMap<Box<str>, u32> = &mut words[usize::from(of_pair)];
            words.get(word).copied().unwrap_or_else(|| {
                let id = known;
                words.insert(word.into(), id);
                known += 1;
                id
            })
        });
        let counts: Vec<Vec<(u64, u32)>> = ids.into_par_iter().map(|ids| counts(&ids)).collect();
        let mut terms = with_rows(&counts);
        let found = terms.len();
        if found > most {
            terms.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            terms.truncate(most);
            terms.sort_unstable();
        }
        let worth = |(_, n): &(u64, usize)| ((1 + rows.len()) as f64 / (1 + n) as f64).ln() + 1.0;
        let worth = terms.iter().map(worth).collect();
        let columns = terms.iter().zip(0..).map(|((term, _), column)| (*term, column)).collect();
        let fitted = Self { words, columns, worth };
        let matrix = fitted.matrix(&counts);
        (fitted, matrix, found)
    }

    /// Number of terms.
    pub(super) fn terms(&self) -> usize {
        self.worth.len()
    }

    /// The vectors of other rows.
    pub(super) fn transform(&self, dataset: &Dataset) -> Matrix {
        let rows: Vec<usize> = (0..dataset.len()).collect();
        let known = |of_pair, word: &str| self.words[usize::from(of_pair)].get(word).copied().unwrap_or(NO_WORD);
        let ids = word_ids(dataset, &rows, known);
        self.matrix(&ids.into_par_iter().map(|ids| counts(&ids)).collect::<Vec<_>>())
    }

    /// From the terms of each row: `1 + ln(count)` times their worth, as vectors of length 1.
    fn matrix(&self, counts: &[Vec<(u64, u32)>]) -> Matrix {
        let row = |counts: &Vec<(u64, u32)>| {
            let entry = |&(term, count): &(u64, u32)| {
                let column = *self.columns.get(&term)?;
                Some((column, (1.0 + f64::from(count).ln()) * self.worth[column as usize]))
            };
            let entries: Vec<(u32, f64)> = counts.iter().filter_map(entry).collect();
            let length = entries.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
            entries.into_iter().map(|(column, value)| (column, (value / length) as f32)).collect()
        };
        Matrix::new(&counts.par_iter().map(row).collect::<Vec<_>>(), self.terms())
    }
}

/// The word ids of each row; `id` tells that of a word, and is told whether it is of a second text.
fn word_ids(dataset: &Dataset, rows: &[usize], mut id: impl FnMut(bool, &str) -> u32) -> Vec<Vec<u32>> {
    let mut ids = Vec::with_capacity(rows.len());
    for rows in rows.chunks(AT_ONCE) {
        let lower = |&row: &usize| {
            let pair = dataset.pairs.get(row).map(|text| text.to_lowercase());
            (dataset.texts[row].to_lowercase(), pair)
        };
        let lower: Vec<(String, Option<String>)> = rows.par_iter().map(lower).collect();
        for (text, pair) in &lower {
            let mut of_row = Vec::new();
            words(text, |word| of_row.push(id(false, word)));
            if let Some(pair) = pair {
                of_row.push(NO_WORD);
                words(pair, |word| of_row.push(id(true, word)));
            }
            ids.push(of_row);
        }
    }
    ids
}

/// The words of a text: two or more letters, digits or `_` in a row, as scikit-learn's default; and each Chinese character and Japanese
/// kana, which no spaces part.
fn words<'a>(text: &'a str, mut take: impl FnMut(&'a str)) {
    let mut word = (0, 0);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let alone = matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}');
        if (c.is_alphanumeric() || c == '_') && !alone {
            word = if word.1 == 0 { (at, 1) } else { (word.0, word.1 + 1) };
            continue;
        }
        if word.1 > 1 {
            take(&text[word.0..at]);
        }
        word = (0, 0);
        if alone {
            take(&text[at..at + c.len_utf8()]);
        }
    }
}

/// How often each term is among the words of a row, in the order of the terms. A term is a word, or a word in the upper half of the
/// number and the next one in the lower; ids count from 1 in it.
fn counts(ids: &[u32]) -> Vec<(u64, u32)> {
    let known = ids.iter().filter(|&&id| id != NO_WORD).map(|&id| u64::from(id) + 1);
    let pairs = ids.windows(2).filter(|pair| !pair.contains(&NO_WORD));
    let mut terms: Vec<u64> =
        known.chain(pairs.map(|pair| ((u64::from(pair[0]) + 1) << 32) | (u64::from(pair[1]) + 1))).collect();
    terms.sort_unstable();
    terms.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
}

/// Each term with the number of rows that have it, in the order of the terms.
fn with_rows(counts: &[Vec<(u64, u32)>]) -> Vec<(u64, usize)> {
    let mut terms: Vec<u64> = counts.iter().flatten().map(|&(term, _)| term).collect();
    terms.par_sort_unstable();
    terms.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let mut all = Vec::new();
        words(text, |word| all.push(word));
        all
    }

    #[test]
    fn words_of_a_text() {
        assert_eq!(found("a film, isn't it? x2 snake_case 7"), ["film", "isn", "it", "x2", "snake_case"]);
        assert_eq!(found("très bon — déjà-vu"), ["très", "bon", "déjà", "vu"]);
        assert_eq!(found("好电影abc。すき"), ["好", "电", "影", "abc", "す", "き"]);
        assert_eq!(found(""), Vec::<&str>::new());
        assert_eq!(found("good"), ["good"]);
    }

    #[test]
    fn terms_are_words_and_their_pairs() {
        let pair = |a: u64, b: u64| (a << 32) | b;
        assert_eq!(counts(&[4, 4, 7]), [(5, 2), (8, 1), (pair(5, 5), 1), (pair(5, 8), 1)]);
        assert_eq!(counts(&[4, NO_WORD, 7]), [(5, 1), (8, 1)]);
    }

    #[test]
    fn the_most_frequent_terms_stay() {
        let texts = ["good film", "good plot", "bad film"].map(str::to_owned).to_vec();
        let dataset = Dataset {
            path: "rows".into(),
            texts,
            pairs: Vec::new(),
            answers: crate::data::Answers::One(vec![1, 1, 0]),
            lines: vec![1, 2, 3],
        };
        let (fitted, matrix, found) = TfIdf::fit(&dataset, &[0, 1, 2], 2);
        assert_eq!((fitted.terms(), found, matrix.rows()), (2, 7, 3));
        // good and film, each in two rows
        let counted: Vec<usize> = (0..3).map(|row| matrix.row(row).count()).collect();
        assert_eq!(counted, [2, 1, 1]);
        assert!(matrix.row(0).all(|(_, value)| (value - 0.5_f64.sqrt()).abs() < 1e-7));
    }
}
