//! The machine and the time of a training. Made by the command line at its end.

use std::time::{Duration, SystemTime};

use distune_kernels::isa;

/// What a training was computed with.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Of distune.
    pub version: &'static str,
    /// What the system calls the CPU.
    pub cpu: String,
    /// The level of vector instructions.
    pub instructions: &'static str,
    /// Threads.
    pub threads: usize,
    /// The operating system.
    pub system: String,
    /// Of the operands of linear layers.
    pub precision: String,
    /// When it ended, in UTC.
    pub ended: String,
    /// From the start of the program to the end, evaluations included.
    pub elapsed: Duration,
    /// The most memory that the program has had, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

impl Environment {
    /// This machine, now.
    pub fn new(precision: impl ToString, elapsed: Duration, peak_memory: Option<u64>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu: crate::train::cpu(),
            instructions: isa().name(),
            threads: rayon::current_num_threads(),
            system: system(),
            precision: precision.to_string(),
            ended: humantime::format_rfc3339_seconds(SystemTime::now())
                .to_string()
                .replace('T', " ")
                .replace('Z', " UTC"),
            elapsed,
            peak_memory,
        }
    }
}

/// "Debian GNU/Linux 12 (bookworm), x86_64", or what the compiler knows of it.
fn system() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = name.map_or(std::env::consts::OS, |name| name.trim_matches('"'));
    format!("{name}, {}", std::env::consts::ARCH)
}
