//! How good predictions are, how sure that is, and which of two models is better. Called by `train` after each epoch, and by the
//! command line.
//!
//! [`Predictions`] are what is judged. [`Metrics`] count them, [`ProbabilityMetrics`] look at their probabilities, and each single
//! number is a [`Metric`]; [`estimates`] are their intervals; [`compare`] tells models apart.

mod abstention;
mod cells;
mod class_intervals;
mod compare;
mod counts;
mod evaluate;
mod files;
mod flips;
mod interval;
mod metric;
mod metrics;
mod predictions;
mod probabilities;
mod ranking;
mod reliability;
mod resample;
mod rows;
mod significance;
mod table;
mod verdict;

pub use abstention::{Abstention, AbstentionPoint, Answered, abstention, answered, confidences};
pub use class_intervals::ClassIntervals;
pub use compare::{Changes, Comparison, Group, GroupFigure, GroupReport, Pair, compare, group_report, mcnemar};
pub use evaluate::{Evaluation, evaluate, evaluate_with, predict};
pub use flips::{Flip, FlippedRow, flips, write_flips};
pub use interval::{Interval, Z_95, wilson};
pub use metric::Metric;
pub use metrics::{ClassMetrics, Metrics};
pub use predictions::Predictions;
pub use probabilities::{ClassRanking, ProbabilityMetrics};
pub use reliability::{BINS, ReliabilityBin, reliability};
pub use resample::{Bootstrap, Estimate, estimates};
pub use significance::{fisher_exact, holm};
pub(crate) use table::TELLING;
pub use table::{summary, table};
pub use verdict::Finding;
pub(crate) use verdict::SIGNIFICANT;
