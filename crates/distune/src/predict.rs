//! Logits for many texts: batches of bounded size, in the order of the texts.

use crate::data::Batch;
use crate::engine::Engine;

/// Tokens of a batch: enough to fill the cores, little enough to stay in the caches. A longer text is a batch alone.
const BATCH_TOKENS: usize = 1024;

/// Computes the logits of every sequence and hands them over batch by batch, a row `[C]` a sequence.
///
/// # Errors
/// The first one that `take` returns.
pub fn logits<E>(
    engine: &mut dyn Engine,
    sequences: &[impl AsRef<[u32]>],
    mut take: impl FnMut(std::slice::ChunksExact<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let classes = engine.config().labels.len();
    let mut rest = sequences;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = rest.iter().take_while(|sequence| {
            tokens += sequence.as_ref().len();
            tokens <= BATCH_TOKENS
        });
        let (batch, tail) = rest.split_at(fits.count().max(1));
        rest = tail;
        take(engine.logits(&Batch::new(batch.iter().map(AsRef::as_ref))).chunks_exact(classes))?;
    }
    Ok(())
}

/// The probability of each class, from its row of logits.
pub fn probabilities(logits: &[f32]) -> Vec<f64> {
    distune_kernels::softmax(logits)
}
