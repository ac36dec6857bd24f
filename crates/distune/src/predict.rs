//! Logits for many texts, in batches of bounded size and the order of the texts; what they say. Rows of any number ([`predict_rows`]), and
//! files of any length ([`bulk()`]).

mod bulk;
mod cells;
mod output;
mod parquet_rows;
mod pipeline;
mod sorted;
mod text_rows;

pub use bulk::{BulkProgress, Work, bulk, fingerprint};
pub use output::{Output, Predicted, Shape};
pub use pipeline::{Block, Row, RowLogits, pipeline, predict_rows};
pub use sorted::sorted_logits;

use crate::data::Batch;
use crate::engine::Predict;
use crate::model::ProblemType;
use crate::tokenize::{Combine, Encoded};

/// Computes the logits of every sequence and hands them over batch by batch, a row `[C]` a sequence. A sequence that is longer than a batch
/// should be is one alone.
///
/// # Errors
/// The first one that `take` returns.
pub fn logits<E>(
    engine: &mut dyn Predict,
    sequences: &[impl AsRef<[u32]>],
    mut take: impl FnMut(std::slice::ChunksExact<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let (classes, most) = (engine.config().labels.len(), engine.batch_tokens());
    let mut rest = sequences;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = rest.iter().take_while(|sequence| {
            tokens += sequence.as_ref().len();
            tokens <= most
        });
        let (batch, tail) = rest.split_at(fits.count().max(1));
        rest = tail;
        take(engine.logits(&Batch::new(batch.iter().map(AsRef::as_ref))).chunks_exact(classes))?;
    }
    Ok(())
}

/// As [`logits`], of texts: a row `[C]` each, which of a text in windows is what `combine` makes of theirs.
///
/// # Errors
/// The first one that `take` returns.
pub fn text_logits<E>(
    engine: &mut dyn Predict,
    texts: &[&Encoded],
    combine: Combine,
    mut take: impl FnMut(std::slice::ChunksExact<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let classes = engine.config().labels.len();
    let sequences: Vec<&[u32]> = texts.iter().flat_map(|text| text.windows()).collect();
    if sequences.len() == texts.len() {
        return logits(engine, &sequences, take);
    }
    let (mut of_text, mut texts) = (Vec::new(), texts.iter());
    let mut windows = texts.next().map_or(0, |text| text.windows().len());
    logits(engine, &sequences, |rows| {
        let mut done = Vec::new();
        for row in rows {
            of_text.extend_from_slice(row);
            if of_text.len() == windows * classes {
                done.extend(combine.logits(&of_text, classes));
                of_text.clear();
                windows = texts.next().map_or(0, |text| text.windows().len());
            }
        }
        take(done.chunks_exact(classes))
    })
}

/// The probability of each class, from its row of logits: their softmax, or the sigmoid of each where a row may have several.
pub fn probabilities(logits: &[f32], problem: ProblemType) -> Vec<f64> {
    match problem {
        ProblemType::SingleLabel => distune_kernels::softmax(logits),
        ProblemType::MultiLabel => logits.iter().map(|&logit| distune_kernels::sigmoid(logit)).collect(),
    }
}

/// Replaces logits by their softmax, and returns the logarithm of the sum of their powers.
pub(crate) fn softmax(logits: &mut [f64]) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|z| *z = (*z - largest).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|p| *p /= sum);
    largest + sum.ln()
}

/// The probability that a logit says.
pub(crate) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The ids of the predicted classes: the most probable one (of equals, the first), or all whose probability is at least a half
/// where a row may have several.
pub fn predicted(probabilities: &[f64], problem: ProblemType) -> Vec<u32> {
    let ids = 0..probabilities.len() as u32;
    match problem {
        ProblemType::SingleLabel => {
            let better = |best: u32, id: u32| match probabilities[id as usize] > probabilities[best as usize] {
                true => id,
                false => best,
            };
            ids.reduce(better).into_iter().collect()
        }
        ProblemType::MultiLabel => ids.filter(|&id| probabilities[id as usize] >= 0.5).collect(),
    }
}
