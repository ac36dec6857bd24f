//! Logits of many texts at once, computed by their lengths. Called by bulk prediction and by whoever has texts in any order.

use super::logits;
use crate::engine::Predict;
use crate::tokenize::{Combine, Encoded};

/// The logits of texts, `[N, C]` in their order. They are computed in the order of their lengths, so that those of a batch are about as long;
/// each text's are the same bits as alone. After each batch, `go_on` is told how many windows of how many are done.
///
/// # Errors
/// The first one that `go_on` returns.
pub fn sorted_logits<E>(
    engine: &mut dyn Predict,
    texts: &[Encoded],
    combine: Combine,
    mut go_on: impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<Vec<f32>, E> {
    let classes = engine.config().labels.len();
    let windows: Vec<&[u32]> = texts.iter().flat_map(Encoded::windows).collect();
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|&window| windows[window].len());
    let sorted: Vec<&[u32]> = order.iter().map(|&window| windows[window]).collect();
    let (mut of_windows, mut done) = (vec![0.0; windows.len() * classes], 0);
    logits(engine, &sorted, |rows| {
        for row in rows {
            of_windows[order[done] * classes..][..classes].copy_from_slice(row);
            done += 1;
        }
        go_on(done, windows.len())
    })?;
    if windows.len() == texts.len() {
        return Ok(of_windows);
    }
    let mut rest = of_windows.as_slice();
    let of_text = |text: &Encoded| {
        let (own, others) = rest.split_at(text.windows().len() * classes);
        rest = others;
        combine.logits(own, classes)
    };
    Ok(texts.iter().flat_map(of_text).collect())
}
