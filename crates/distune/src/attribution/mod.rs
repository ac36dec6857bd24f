//! Which tokens of a text a prediction rests on: integrated gradients (M. Sundararajan, A. Taly and Q. Yan, Axiomatic Attribution for
//! Deep Networks, ICML 2017). Called by the command line and for reports.
//!
//! The path goes from a baseline to the text in a straight line through the sums of word and position embeddings, before their layer
//! norm. The baseline is a text of as many `[PAD]` tokens at the same positions, in which the special tokens stay (so that their score is
//! 0). A token's score is `(x - x') . (the mean of d logit / d x along the path)`, and the scores sum to the difference of the logit at
//! both ends, which is checked: the integral is taken at more and more points until the sum is close enough, where it is not yet.
//!
//! A text in windows has a logit that is the mean of those of its windows, and so are its scores the means of theirs; where the logit is
//! the largest one, they are those of that window alone.

mod display;
mod integral;
mod path;

use serde::Serialize;

pub use display::{Segment, html, segments, terminal};
pub use path::{Explainer, Options};

/// What a text's logit of one class rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribution {
    /// The text, or both texts.
    #[serde(skip)]
    pub texts: Vec<String>,
    /// The class.
    pub label: String,
    /// Every token with its score, special ones included, as the model reads them.
    pub tokens: Vec<TokenScore>,
    /// The words of the text, or of both texts, each with the sum of the scores of its tokens.
    pub words: Vec<WordScore>,
    /// The sum of all scores.
    pub sum: f64,
    /// The class's logit of the text.
    pub logit: f64,
    /// The class's logit of the baseline.
    pub baseline_logit: f64,
    /// `logit - baseline_logit`, which the scores should sum to.
    pub logit_difference: f64,
    /// `|sum - logit_difference|`: what is wrong with the integral.
    pub completeness_gap: f64,
    /// Whether the gap is as small as was asked for.
    pub complete: bool,
    /// Points on the path at which the gradient was taken.
    pub steps: usize,
    /// Whether the end of the text was cut off before.
    pub truncated: bool,
}

/// A token's share of a logit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenScore {
    /// The token, as in the vocabulary.
    pub token: String,
    /// Which text it is of: 0, or 1 for the second of a pair; none for a special token.
    pub text: Option<usize>,
    /// Where it begins in that text, in characters, as Transformers' `offset_mapping`.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its score: above 0 where it speaks for the class.
    pub score: f64,
}

/// A word's share of a logit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WordScore {
    /// The word, as in the text.
    pub word: String,
    /// Which text it is of: 0, or 1 for the second of a pair.
    pub text: usize,
    /// Where it begins in that text, in characters.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The sum of the scores of its tokens.
    pub score: f64,
}
