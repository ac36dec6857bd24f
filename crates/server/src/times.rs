//! Where the time of a request went, as the headers of its answer tell it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

const TRUNCATED_TEXTS: HeaderName = HeaderName::from_static("x-compute-truncated-texts");
/// Texts of a request up to which its answer lists those that were cut: the list is one header, which clients bound.
const LISTED: usize = 1000;

/// Times and sizes of a request; of its texts the mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) total: Duration,
    pub(crate) tokenization: Duration,
    pub(crate) queue: Duration,
    pub(crate) inference: Duration,
    /// Characters of all texts.
    pub(crate) characters: usize,
    /// Tokens of all texts, as they were computed.
    pub(crate) tokens: usize,
    /// Texts.
    pub(crate) texts: usize,
    /// Those that were cut, counted from 0.
    pub(crate) truncated: Vec<usize>,
}

impl Times {
    /// Times in whole milliseconds, as text-embeddings-inference tells them; what is said of truncated texts is our own.
    pub(crate) fn headers(&self) -> HeaderMap {
        let milliseconds = |time: Duration| time.as_millis() as usize;
        let numbers = [
            ("x-compute-time", milliseconds(self.total)),
            ("x-compute-characters", self.characters),
            ("x-compute-tokens", self.tokens),
            ("x-compute-truncated", self.truncated.len()),
            ("x-total-time", milliseconds(self.total)),
            ("x-tokenization-time", milliseconds(self.tokenization)),
            ("x-queue-time", milliseconds(self.queue)),
            ("x-inference-time", milliseconds(self.inference)),
        ];
        let numbers = numbers.map(|(name, n)| (HeaderName::from_static(name), HeaderValue::from(n)));
        let mut headers = HeaderMap::from_iter(numbers);
        headers.insert("x-compute-type", HeaderValue::from_static("cpu"));
        let list: Vec<String> = self.truncated.iter().map(usize::to_string).collect();
        if !list.is_empty() && self.texts <= LISTED {
            headers.extend(HeaderValue::from_str(&list.join(",")).map(|list| (TRUNCATED_TEXTS, list)));
        }
        headers
    }
}
