//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::budget::Budget;
use crate::error::ApiError;
use crate::explain::Explanations;
use crate::metrics::Metrics;
use crate::model::Models;
use crate::options::Options;
use crate::queue::Queue;

pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) models: Arc<Models>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) explanations: Explanations,
    pub(crate) metrics: Arc<Metrics>,
    /// One for each request that may be worked on or wait.
    permits: Semaphore,
    /// What large bodies and answers may take up.
    pub(crate) budget: Budget,
    /// One for each thread that may tokenize long texts beside the one that serves.
    pub(crate) tokenizers: Arc<Semaphore>,
    draining: AtomicBool,
}

impl State {
    pub(crate) fn new(
        options: Options,
        models: Arc<Models>,
        queue: Arc<Queue>,
        explanations: Explanations,
        metrics: Arc<Metrics>,
    ) -> Self {
        let permits = Semaphore::new(options.limits.max_concurrent_requests);
        let budget = Budget::new(options.limits.payload_limit);
        let tokenizers = Arc::new(Semaphore::new(tokenization_workers(&options)));
        let draining = AtomicBool::new(false);
        Self { options, models, queue, explanations, metrics, permits, budget, tokenizers, draining }
    }

    /// Lets a request in, until the permit is dropped, if there are not too many.
    pub(crate) fn permit(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.permits.try_acquire().map_err(|_| ApiError::overloaded())
    }

    /// Whether the server is about to end.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// Threads that tokenize long texts.
pub(crate) fn tokenization_workers(options: &Options) -> usize {
    options.threads.div_ceil(2)
}
