//! A request's texts to their logits: tokenized, put in the queue, waited for. Called by the routes that predict.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use distune::data::check_ids;
use distune::tokenize::{Cut, Encoded};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{ApiError, ErrorType};
use crate::model::{Texts, Version};
use crate::protocol::{Text, TruncationDirection};
use crate::queue::Row;
use crate::state::State;
use crate::times::Times;

/// Texts of no more bytes in all are tokenized where they were read: another thread would take longer to begin.
const TOKENIZED_AT_ONCE: usize = 4096;

/// What is done with a text that is too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truncation {
    pub(crate) truncate: bool,
    pub(crate) direction: TruncationDirection,
}

impl Truncation {
    pub(crate) fn cut(self) -> Cut {
        match self.direction {
            TruncationDirection::Left => Cut::Left,
            TruncationDirection::Right => Cut::Right,
        }
    }
}

/// The logits of each text, and where the time went.
pub(crate) async fn infer(
    state: &State,
    version: &Arc<Version>,
    texts: Vec<Text>,
    truncation: Truncation,
) -> Result<(Vec<Vec<f32>>, Times), ApiError> {
    check(version, &texts, state.options.limits.max_client_batch_size)?;
    let start = Instant::now();
    let work = async {
        let characters = texts.iter().map(Text::characters).sum();
        let encoded = encode(state, version, texts, truncation).await?;
        let tokenization = start.elapsed();
        let mut times = Times { characters, tokenization, texts: encoded.len(), ..Times::default() };
        for (i, text) in encoded.iter().enumerate() {
            state.metrics.input_length(text.tokens());
            times.tokens += text.tokens();
            times.truncated.extend(text.truncated.then_some(i));
        }
        let logits = compute(state, version, encoded, &mut times).await?;
        Ok((logits, times))
    };
    let (logits, times) = in_time(state, work).await?;
    Ok((logits, Times { total: start.elapsed(), ..times }))
}

/// Waits for what makes an answer, as long as a request may take.
pub(crate) async fn in_time<T>(state: &State, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let late = |_| ApiError::new(ErrorType::Overloaded, "Model is overloaded: the answer would have come too late");
    timeout(state.options.limits.request_timeout, work).await.map_err(late)?
}

/// Computes a short text with each model, when the engine has failed on a batch: whoever is told that a server is unhealthy sends it no
/// texts that could show that only those of the batch were at fault.
pub(crate) async fn try_models(state: &State) -> Result<(), ApiError> {
    let truncation = Truncation { truncate: true, direction: TruncationDirection::Right };
    for served in state.models.all() {
        let version = served.current();
        let second = (version.texts == Texts::Pairs).then(|| "a".to_owned());
        let text = Text { text: "a".to_owned(), second };
        let computed = infer(state, &version, vec![text], truncation).await;
        computed.map_err(|error| ApiError::new(ErrorType::Unhealthy, format!("unhealthy: {}", error.message)))?;
    }
    Ok(())
}

/// Checks that texts are such as the model takes.
pub(crate) fn check(version: &Version, texts: &[Text], most: usize) -> Result<(), ApiError> {
    if texts.is_empty() || texts.iter().any(|text| text.text.trim().is_empty()) {
        return Err(ApiError::new(ErrorType::Empty, "`inputs` cannot be empty"));
    }
    if texts.len() > most {
        let message = format!("batch size {} > maximum allowed batch size {most}", texts.len());
        return Err(ApiError::too_large(message));
    }
    let pairs = |text: &Text| text.second.is_some();
    match version.texts {
        Texts::Pairs if !texts.iter().all(pairs) => Err(ApiError::validation(
            "`inputs` must be pairs of texts, [string, string], which the model was trained on",
        )),
        Texts::Single if texts.iter().any(pairs) => {
            Err(ApiError::validation("`inputs` must be single texts, which the model was trained on, not pairs"))
        }
        _ => Ok(()),
    }
}

/// Runs what takes long for long texts: here, or on another thread.
pub(crate) async fn tokenizing<T: Send + 'static>(
    state: &State,
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let work = || caught(work);
    if bytes <= TOKENIZED_AT_ONCE {
        return work();
    }
    // never closed
    let permit = state.tokenizers.clone().acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await
        .unwrap_or_else(|error| Err(ApiError::new(ErrorType::Tokenizer, format!("the tokenizer failed: {error}"))))
}

/// What a panic of the tokenizer becomes: an answer, where the connection would end without one.
fn caught<T>(work: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
    let failed = |_| Err(ApiError::new(ErrorType::Tokenizer, "the tokenizer failed on this input"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(failed)
}

async fn encode(
    state: &State,
    version: &Arc<Version>,
    texts: Vec<Text>,
    truncation: Truncation,
) -> Result<Vec<Encoded>, ApiError> {
    let (bytes, version) = (texts.iter().map(Text::bytes).sum(), version.clone());
    let most = state.options.limits.max_batch_tokens;
    let encode = move |text: &Text| encode_one(&version, text, truncation, most);
    tokenizing(state, bytes, move || texts.iter().map(encode).collect()).await
}

/// Token ids of a text; in windows, of so many tokens at most.
fn encode_one(version: &Version, text: &Text, truncation: Truncation, most: usize) -> Result<Encoded, ApiError> {
    let encoded = version.tokenizer.encode_cutting(&text.text, text.second.as_deref(), truncation.cut());
    let (encoded, length) = encoded.map_err(|error| ApiError::new(ErrorType::Tokenizer, error))?;
    if encoded.truncated && !truncation.truncate {
        return Err(too_long(version, length));
    }
    check_windows(encoded.windows().map(<[u32]>::len), most)?;
    let checked = encoded.windows().try_for_each(|ids| check_ids(ids, &version.config));
    checked.map_err(|problem| ApiError::new(ErrorType::Tokenizer, problem))?;
    Ok(encoded)
}

/// Checks that the windows of a text, if it has several, have so many tokens at most in all.
pub(crate) fn check_windows(windows: impl ExactSizeIterator<Item = usize>, most: usize) -> Result<(), ApiError> {
    let (n, tokens) = (windows.len(), windows.sum::<usize>());
    if n < 2 || tokens <= most {
        return Ok(());
    }
    Err(ApiError::validation(format!("`inputs` must have at most {most} tokens in all windows. Given: {tokens}")))
}

/// The error for a text of so many tokens.
pub(crate) fn too_long(version: &Version, tokens: usize) -> ApiError {
    let least = version.tokenizer.max_length() + 1;
    ApiError::validation(format!("`inputs` must have less than {least} tokens. Given: {tokens}"))
}

/// Puts texts in the queue and waits for their logits. If this is not waited for, they are not computed.
async fn compute(
    state: &State,
    version: &Arc<Version>,
    encoded: Vec<Encoded>,
    times: &mut Times,
) -> Result<Vec<Vec<f32>>, ApiError> {
    let (queued, n) = (Instant::now(), encoded.len() as u32);
    let windows: Vec<usize> = encoded.iter().map(|text| text.windows().len()).collect();
    let sequences = encoded.into_iter().flat_map(|text| [text.ids].into_iter().chain(text.further));
    let (rows, mut computed): (Vec<Row>, Vec<_>) = sequences
        .map(|ids| {
            let (answer, computed) = oneshot::channel();
            (Row { version: version.clone(), ids, answer }, computed)
        })
        .unzip();
    state.queue.add(rows.into_iter());
    let (mut logits, classes) = (Vec::with_capacity(windows.len()), version.config.labels.len());
    let mut computed = computed.drain(..);
    for windows in windows {
        let mut of_text = Vec::with_capacity(windows * classes);
        let (mut queue, mut inference, mut batch) = (Duration::MAX, Duration::ZERO, None);
        for row in computed.by_ref().take(windows) {
            let row = row.await.map_err(|_| ApiError::no_answer())?;
            queue = queue.min(row.begun.duration_since(queued));
            // windows of one batch are computed at once
            if batch.replace(row.begun) != Some(row.begun) {
                inference += row.inference;
            }
            let finite = row.logits.filter(|logits| logits.iter().all(|logit| logit.is_finite()));
            of_text.extend(finite.ok_or_else(|| ApiError::new(ErrorType::Backend, "the model failed on this input"))?);
        }
        times.queue += queue / n;
        times.inference += inference / n;
        logits.push(version.tokenizer.combine().logits(&of_text, classes));
    }
    times.tokenization /= n;
    Ok(logits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tokenizer_that_panics_is_an_error() {
        assert_eq!(caught::<()>(|| panic!("as the test wants it")).unwrap_err().kind, ErrorType::Tokenizer);
        assert_eq!(caught(|| Ok(1)).unwrap(), 1);
    }
}
