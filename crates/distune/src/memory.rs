//! How much memory there is. Called by [`crate::FineTuning`], by sweeps and by the command line.

/// Bytes of memory that this process may still take, or 4 GB where the system does not tell.
pub fn available() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kilobytes = |info: String| {
        let value = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().trim_end_matches(" kB");
        Some(value.parse::<u64>().ok()? << 10)
    };
    let bytes = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let of_machine = read("/proc/meminfo").and_then(kilobytes).unwrap_or(4 << 30);
    match (limit(), bytes("/sys/fs/cgroup/memory.current")) {
        (Some(limit), Some(used)) => of_machine.min(limit.saturating_sub(used)),
        _ => of_machine,
    }
}

/// A container's limit in bytes (cgroup version 2), where there is one.
pub fn limit() -> Option<u64> {
    // without one the file says "max"
    std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
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
