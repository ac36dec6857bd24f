//! How much memory there is. Called by [`crate::FineTuning`], by sweeps and by the command line.

use crate::cgroup;

/// Bytes of memory that this process may still take, or 4 GB where the system does not tell.
pub fn available() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kilobytes = |info: String| {
        let value = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().trim_end_matches(" kB");
        Some(value.parse::<u64>().ok()? << 10)
    };
    let of_machine = read("/proc/meminfo").and_then(kilobytes).unwrap_or(4 << 30);
    cgroup::memory().into_iter().map(|(limit, used)| limit.saturating_sub(used)).fold(of_machine, u64::min)
}

/// A container's or a service's limit in bytes (cgroup version 2), where there is one.
pub fn limit() -> Option<u64> {
    cgroup::memory().into_iter().map(|(limit, _)| limit).min()
}

/// The most memory that this process has had, in bytes, where the system tells.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kilobytes.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Lets [`peak`] begin anew, where the system can.
pub fn reset_peak() {
    // where it cannot, the peak is that of all that was before too
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
