//! The most that this machine can multiply at this moment, measured: what speeds are compared with.

use std::time::Instant;

use super::Precision;
use super::kernel::Kernel;

/// Loops of one measurement: some milliseconds, long enough for the clock and short enough to catch a quiet moment.
const STEPS: usize = 400_000;

/// Floating-point operations a second that all threads of the current pool reach together in the instructions of the
/// innermost loop, when nothing is loaded or stored: the best of `repetitions`. Other programs, and a CPU that slows
/// down, change it from minute to minute.
pub fn peak(precision: Precision, repetitions: usize) -> f64 {
    let kernel = Kernel::best(precision);
    let once = || {
        let start = Instant::now();
        let operations: f64 = rayon::broadcast(|_| kernel.exercise(STEPS)).into_iter().sum();
        operations / start.elapsed().as_secs_f64()
    };
    (0..repetitions).map(|_| once()).fold(0.0, f64::max)
}
