//! Where the time of a step goes: every public operation counts its calls, seconds and multiplications here, while that
//! is wanted. Read by `distune bench`.
//!
//! One set of counters for the process: operations of a step run one after another, each on all threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An operation of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `y = x · wᵀ + b`, without the optimizer's step of weights that wait for one.
    Linear,
    /// `dx = dy · w`.
    LinearBackwardInput,
    /// `dw = dyᵀ · x`, and the column sums for the bias.
    LinearBackwardWeight,
    /// What low-rank adapters add to linear layers, both ways.
    LowRank,
    /// Scores, softmax, dropout and context.
    Attention,
    /// Backward of attention.
    AttentionBackward,
    /// Residual sum and layer norm.
    LayerNorm,
    /// Backward of layer norm.
    LayerNormBackward,
    /// GELU.
    Gelu,
    /// Backward of GELU.
    GeluBackward,
    /// Dropout outside attention, both ways.
    Dropout,
    /// Word and position embeddings, both ways.
    Embeddings,
    /// The norm of all gradients.
    GradientNorm,
    /// Steps of the weights.
    Optimizer,
}

impl Operation {
    /// All, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::Linear,
        Self::LinearBackwardInput,
        Self::LinearBackwardWeight,
        Self::LowRank,
        Self::Attention,
        Self::AttentionBackward,
        Self::LayerNorm,
        Self::LayerNormBackward,
        Self::Gelu,
        Self::GeluBackward,
        Self::Dropout,
        Self::Embeddings,
        Self::GradientNorm,
        Self::Optimizer,
    ];

    /// What a table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::LinearBackwardInput => "linear backward, input",
            Self::LinearBackwardWeight => "linear backward, weight",
            Self::LowRank => "low-rank adapters",
            Self::Attention => "attention",
            Self::AttentionBackward => "attention backward",
            Self::LayerNorm => "layer norm",
            Self::LayerNormBackward => "layer norm backward",
            Self::Gelu => "GELU",
            Self::GeluBackward => "GELU backward",
            Self::Dropout => "dropout",
            Self::Embeddings => "embeddings",
            Self::GradientNorm => "gradient norm",
            Self::Optimizer => "optimizer",
        }
    }
}

/// What an operation took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperationProfile {
    /// Which.
    pub operation: Operation,
    /// How often it ran.
    pub calls: u64,
    /// How long in all.
    pub time: Duration,
    /// Floating-point operations of its matrix products (a multiplication and an addition are two); 0 where it has none.
    pub flops: u64,
}

/// Counters of one operation: calls, nanoseconds, floating-point operations.
type Counters = [AtomicU64; 3];

static ON: AtomicBool = AtomicBool::new(false);
static COUNTERS: [Counters; Operation::ALL.len()] = [const { [const { AtomicU64::new(0) }; 3] }; Operation::ALL.len()];

/// Sets all counters to zero and counts from now on.
pub fn start_profile() {
    COUNTERS.iter().flatten().for_each(|counter| counter.store(0, Ordering::Relaxed));
    ON.store(true, Ordering::Relaxed);
}

/// Counts no more; what was counted, of the operations that ran.
pub fn stop_profile() -> Vec<OperationProfile> {
    ON.store(false, Ordering::Relaxed);
    let read = |operation: Operation| {
        let [calls, nanoseconds, flops] = COUNTERS[operation as usize].each_ref().map(|c| c.load(Ordering::Relaxed));
        OperationProfile { operation, calls, time: Duration::from_nanos(nanoseconds), flops }
    };
    Operation::ALL.into_iter().map(read).filter(|p| p.calls > 0).collect()
}

/// Counts until it is dropped.
pub(crate) struct Timer(Option<(Operation, usize, Instant)>);

/// Begins to time an operation, whose matrix products have so many multiplications.
pub(crate) fn timer(operation: Operation, multiplications: usize) -> Timer {
    Timer(ON.load(Ordering::Relaxed).then(|| (operation, multiplications, Instant::now())))
}

/// Measures a part of an operation that belongs to another one, on one of the threads that it runs on.
pub(crate) fn within<R>(part: Operation, of: Operation, work: impl FnOnce() -> R) -> R {
    let start = ON.load(Ordering::Relaxed).then(Instant::now);
    let result = work();
    if let Some(start) = start {
        let share = start.elapsed().as_nanos() as u64 / rayon::current_num_threads() as u64;
        COUNTERS[part as usize][1].fetch_add(share, Ordering::Relaxed);
        COUNTERS[of as usize][1].fetch_sub(share, Ordering::Relaxed);
    }
    result
}

/// Leaves out of an operation what another one does meanwhile, which counts itself.
pub(crate) fn apart<R>(of: Operation, work: impl FnOnce() -> R) -> R {
    let start = ON.load(Ordering::Relaxed).then(Instant::now);
    let result = work();
    if let Some(start) = start {
        COUNTERS[of as usize][1].fetch_sub(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
    result
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((operation, multiplications, start)) = self.0 {
            let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            for (counter, more) in COUNTERS[operation as usize].iter().zip([1, nanoseconds, 2 * multiplications as u64])
            {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}
