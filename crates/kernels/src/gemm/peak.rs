//! The most that this machine can multiply at this moment, measured: what speeds are compared with, and what chooses the precision.

use std::sync::OnceLock;
use std::time::Instant;

use super::Precision;
use super::kernel::Kernel;

/// Loops of one measurement: some milliseconds, long enough for the clock and short enough to catch a quiet moment.
const STEPS: usize = 400_000;
/// Loops of one measurement of [`fastest`], and how often it measures each precision: the two differ by a factor of two, one way
/// or the other.
const CHOICE_STEPS: usize = 100_000;
const CHOICE_ROUNDS: usize = 5;

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

/// The precision that this CPU multiplies faster, measured once a process, in a few hundredths of a second. Having
/// instructions for bf16 is not enough: AMD's CPUs multiply it twice as fast as f32, Intel's half as fast.
pub(super) fn fastest() -> Precision {
    static FASTEST: OnceLock<Precision> = OnceLock::new();
    *FASTEST.get_or_init(|| {
        if !Precision::Bf16.accelerated() {
            return Precision::F32;
        }
        let [f32, bf16] = [Precision::F32, Precision::Bf16].map(Kernel::best);
        let seconds = |kernel: Kernel| {
            let start = Instant::now();
            let operations = kernel.exercise(CHOICE_STEPS);
            start.elapsed().as_secs_f64() / operations
        };
        let (mut best_f32, mut best_bf16) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..CHOICE_ROUNDS {
            best_f32 = best_f32.min(seconds(f32));
            best_bf16 = best_bf16.min(seconds(bf16));
        }
        if best_bf16 < best_f32 { Precision::Bf16 } else { Precision::F32 }
    })
}
