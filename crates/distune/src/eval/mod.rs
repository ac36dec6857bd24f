//! How good predictions are. Called by `train` after each epoch, and by the command line.

mod evaluate;
mod metrics;

pub use evaluate::{Evaluation, evaluate, most_probable};
pub use metrics::{ClassMetrics, Interval, Metrics, Z_95, table, wilson};
