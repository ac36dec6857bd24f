//! Rows wait here for the engine: it takes as many as fit into a batch as soon as it is free, so that a row waits only while it is busy.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use distune::data::Batch;
use distune::engine::inside_pool;
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::model::{Version, locked};

/// How long the threads that compute stay awake for the next batch: a client that asks again as soon as it has its answer takes less.
const SOON: Duration = Duration::from_millis(1);
/// Time after which they are called again.
const CALLED_AGAIN: Duration = Duration::from_millis(50);
/// Rows that may wait without a look at who has left.
const FEW: usize = 256;

/// A text that waits for its logits. Who has asked holds the other end of `answer`.
pub(crate) struct Row {
    pub(crate) version: Arc<Version>,
    pub(crate) ids: Vec<u32>,
    pub(crate) answer: oneshot::Sender<Computed>,
}

/// What the engine found.
pub(crate) struct Computed {
    /// One for each class; nothing if the engine failed.
    pub(crate) logits: Option<Vec<f32>>,
    /// When the engine began with its batch, which tells one batch from another.
    pub(crate) begun: Instant,
    /// How long the batch took.
    pub(crate) inference: Duration,
}

/// The rows that wait, in the order of their arrival.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    metrics: Arc<Metrics>,
    /// Whether the engine could do its last batch.
    healthy: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    rows: VecDeque<Row>,
    /// Rows above which those of clients who have left are looked for, and dropped before their turn comes.
    looked_at: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), metrics, healthy: AtomicBool::new(true) }
    }

    /// Whether the engine could do its last batch.
    pub(crate) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Lets rows wait for the engine.
    pub(crate) fn add(&self, rows: impl Iterator<Item = Row>) {
        let mut waiting = locked(&self.waiting);
        waiting.rows.extend(rows);
        if waiting.rows.len() > waiting.looked_at {
            waiting.rows.retain(|row| !row.answer.is_closed());
            // twice as many, so that each is looked at a few times at most
            waiting.looked_at = 2 * waiting.rows.len() + FEW;
        }
        self.metrics.queue_size(waiting.rows.len());
        drop(waiting);
        self.changed.notify_one();
    }

    /// Lets [`Self::work`] end when no row is left.
    pub(crate) fn close(&self) {
        locked(&self.waiting).closed = true;
        self.changed.notify_all();
    }

    /// Computes what comes, until the queue is closed and empty. The threads of the current pool stay awake while one batch follows soon
    /// upon the other, and are called again at times: one that had nothing to do for too long has gone.
    pub(crate) fn work(&self, max_tokens: usize) {
        while let Some(rows) = self.take(max_tokens, Duration::MAX) {
            inside_pool(|| {
                let called = Instant::now();
                self.compute(rows);
                while called.elapsed() < CALLED_AGAIN
                    && let Some(rows) = self.take(max_tokens, SOON)
                {
                    self.compute(rows);
                }
            });
        }
    }

    /// The rows of the next batch, all of one version; nothing at the end, or when none have come in that time.
    fn take(&self, max_tokens: usize, patience: Duration) -> Option<Vec<Row>> {
        let mut waiting = locked(&self.waiting);
        let late = Instant::now().checked_add(patience);
        loop {
            if !waiting.rows.is_empty() {
                let batch = next_batch(&mut waiting.rows, max_tokens);
                self.metrics.queue_size(waiting.rows.len());
                if !batch.is_empty() {
                    return Some(batch);
                }
            }
            if waiting.closed {
                return None;
            }
            let Some(late) = late else {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if Instant::now() >= late {
                return None;
            }
            // awake, so that rows need not wait until this thread is
            drop(waiting);
            std::thread::yield_now();
            waiting = locked(&self.waiting);
        }
    }

    fn compute(&self, rows: Vec<Row>) {
        let begun = Instant::now();
        let batch = Batch::new(rows.iter().map(|row| &row.ids[..]));
        self.metrics.batch(batch.sequences(), batch.tokens());
        let version = rows[0].version.clone();
        let logits = catch_unwind(AssertUnwindSafe(|| version.engine().logits(&batch).to_vec()));
        let inference = begun.elapsed();
        self.healthy.store(logits.is_ok(), Ordering::Relaxed);
        if logits.is_err() {
            tracing::error!(rows = rows.len(), "the engine failed on a batch");
        }
        let classes = version.config.labels.len();
        for (i, row) in rows.into_iter().enumerate() {
            let logits =
                logits.as_ref().ok().and_then(|all| all.get(i * classes..(i + 1) * classes)).map(<[f32]>::to_vec);
            // who has left does not hear it
            let _ = row.answer.send(Computed { logits, begun, inference });
        }
    }
}

/// Takes the rows of the next batch: those of the first one's version, in order, up to so many tokens, or a longer one alone. Rows whose
/// clients have left are dropped.
fn next_batch(rows: &mut VecDeque<Row>, max_tokens: usize) -> Vec<Row> {
    let (mut batch, mut others, mut tokens) = (Vec::<Row>::new(), Vec::new(), 0);
    while let Some(row) = rows.pop_front() {
        if row.answer.is_closed() {
            continue;
        }
        let same = batch.first().is_none_or(|first| Arc::ptr_eq(&first.version, &row.version));
        let fits = batch.is_empty() || tokens + row.ids.len() <= max_tokens;
        if same && fits {
            tokens += row.ids.len();
            batch.push(row);
        } else {
            others.push(row);
            if same {
                break;
            }
        }
    }
    others.into_iter().rev().for_each(|row| rows.push_front(row));
    batch
}
