//! Where the time of a request went, as the headers of its answer tell it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Times and sizes of a request; of its texts the mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) total: Duration,
    pub(crate) tokenization: Duration,
    pub(crate) queue: Duration,
    pub(crate) inference: Duration,
    /// Characters of all texts.
    pub(crate) characters: usize,
    /// Tokens of all texts, as they were computed.
    pub(crate) tokens: usize,
    /// Texts that were cut.
    pub(crate) truncated: usize,
}

impl Times {
    /// Times in whole milliseconds, as text-embeddings-inference tells them; `x-compute-truncated` is our own.
    pub(crate) fn headers(&self) -> HeaderMap {
        let milliseconds = |time: Duration| time.as_millis() as usize;
        let numbers = [
            ("x-compute-time", milliseconds(self.total)),
            ("x-compute-characters", self.characters),
            ("x-compute-tokens", self.tokens),
            ("x-compute-truncated", self.truncated),
            ("x-total-time", milliseconds(self.total)),
            ("x-tokenization-time", milliseconds(self.tokenization)),
            ("x-queue-time", milliseconds(self.queue)),
            ("x-inference-time", milliseconds(self.inference)),
        ];
        let numbers = numbers.map(|(name, n)| (HeaderName::from_static(name), HeaderValue::from(n)));
        let mut headers = HeaderMap::from_iter(numbers);
        headers.insert("x-compute-type", HeaderValue::from_static("cpu"));
        headers
    }
}
