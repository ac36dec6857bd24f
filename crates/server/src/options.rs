//! What a server is told: where it listens, who may use it, what it takes. Made by the command line and by tests.

use std::path::PathBuf;
use std::time::Duration;

/// Everything but the models.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host name or address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any free one.
    pub port: u16,
    /// What clients must show as `Authorization: Bearer KEY`; everyone may come without one.
    pub api_key: Option<String>,
    /// Origins whose pages may use the server, `*` for all.
    pub cors_allow_origin: Vec<String>,
    /// Certificate chain and private key, as PEM files, to speak TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether a text that is too long is cut where a request does not say.
    pub auto_truncate: bool,
    /// Whether logs may have the texts of requests.
    pub log_texts: bool,
    /// Threads that compute.
    pub threads: usize,
    /// Time between two looks at the directories of models.
    pub reload_every: Duration,
    /// What is refused.
    pub limits: Limits,
}

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that are worked on or wait, in all.
    pub max_concurrent_requests: usize,
    /// Tokens that are computed at once.
    pub max_batch_tokens: usize,
    /// Texts of one request.
    pub max_client_batch_size: usize,
    /// Bytes of a request's body; of large bodies and answers, 64 times as many are held in memory.
    pub payload_limit: usize,
    /// Time for the head of a request, again for its body, and without a byte of an answer taken.
    pub read_timeout: Duration,
    /// Time from then on to the answer.
    pub request_timeout: Duration,
}

impl Default for Limits {
    /// As text-embeddings-inference, which has no timeouts.
    fn default() -> Self {
        Self {
            max_concurrent_requests: 512,
            max_batch_tokens: 16_384,
            max_client_batch_size: 32,
            payload_limit: 2_000_000,
            read_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 3000,
            api_key: None,
            cors_allow_origin: Vec::new(),
            tls: None,
            auto_truncate: false,
            log_texts: false,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            reload_every: Duration::from_secs(1),
            limits: Limits::default(),
        }
    }
}
