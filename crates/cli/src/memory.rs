//! How much memory there is.

/// Bytes of memory that this process may still take, or 4 GB where the system does not tell.
pub(crate) fn available() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kilobytes = |info: String| {
        let value = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim().trim_end_matches(" kB");
        Some(value.parse::<u64>().ok()? << 10)
    };
    let bytes = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let of_machine = read("/proc/meminfo").and_then(kilobytes).unwrap_or(4 << 30);
    // a container's limit (cgroup version 2); without one the file says "max"
    match (bytes("/sys/fs/cgroup/memory.max"), bytes("/sys/fs/cgroup/memory.current")) {
        (Some(limit), Some(used)) => of_machine.min(limit.saturating_sub(used)),
        _ => of_machine,
    }
}

/// The most memory that this process has had, in bytes, where the system tells.
pub(crate) fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(kilobytes.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Lets [`peak`] begin anew, where the system can.
pub(crate) fn reset_peak() {
    // where it cannot, the peak is that of all that was before too
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
