//! How good predictions are. Called by `train` after each epoch, and by the command line.

mod evaluate;
mod metrics;

pub use evaluate::{Evaluation, evaluate};
pub use metrics::{ClassMetrics, Interval, Metrics, Z_95, table, wilson};
