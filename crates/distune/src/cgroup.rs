//! What a container or a service may use of the machine: the limits of this process's cgroup and of those above it (Linux). Called by
//! [`crate::memory`] and by `distune doctor`; the number of threads follows from the same files, which the standard library reads.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// CPUs that this process may use at once, where that is limited.
pub fn cpus() -> Option<f64> {
    cpus_of(&directories())
}

/// Of each level with a limit of memory its bytes, and how many are in use.
pub(crate) fn memory() -> Vec<(u64, u64)> {
    memory_of(&directories())
}

/// The directories of this process's cgroup and of those above it.
fn directories() -> Vec<PathBuf> {
    within(Path::new("/sys/fs/cgroup"), &read_to_string("/proc/self/cgroup").unwrap_or_default())
}

/// `cgroups` has a line `ID:CONTROLLERS:PATH` for each hierarchy, in version 2 the only one, `0::PATH`. What a container does not see of
/// the path is not there; its own directory is the root then.
fn within(root: &Path, cgroups: &str) -> Vec<PathBuf> {
    let directories = cgroups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let root = match controllers.split(',').any(|name| name == "cpu") {
            true => root.join("cpu"),
            false if controllers.is_empty() => root.to_owned(),
            false => return None,
        };
        let below = Path::new(path.trim_start_matches('/')).ancestors();
        Some(below.map(|path| root.join(path)).collect::<Vec<_>>())
    });
    directories.flatten().collect()
}

/// In version 2 `cpu.max` has microseconds of a period, or "max" for no limit, and the period; version 1 has a file for each, -1 for no limit.
fn cpus_of(directories: &[PathBuf]) -> Option<f64> {
    let read = |directory: &PathBuf| {
        let text = read_to_string(directory.join("cpu.max")).or_else(|_| {
            let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|name| directory.join(name));
            std::io::Result::Ok(format!("{} {}", read_to_string(quota)?.trim(), read_to_string(period)?))
        });
        let text = text.ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    };
    directories.iter().filter_map(read).min_by(f64::total_cmp)
}

fn memory_of(directories: &[PathBuf]) -> Vec<(u64, u64)> {
    // without a limit the file says "max"
    let bytes = |path: PathBuf| read_to_string(path).ok()?.trim().parse().ok();
    let of =
        |directory: &PathBuf| Some((bytes(directory.join("memory.max"))?, bytes(directory.join("memory.current"))?));
    directories.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A tree of cgroups with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_counts() {
        let root = tree(&[
            ("cpu.max", "max 100000\n"),
            ("system.slice/cpu.max", "400000 100000\n"),
            ("system.slice/distune.service/cpu.max", "150000 100000\n"),
            ("system.slice/memory.max", "4000\n"),
            ("system.slice/memory.current", "1000\n"),
            ("system.slice/distune.service/memory.max", "max\n"),
            ("system.slice/distune.service/memory.current", "900\n"),
        ]);
        let of = |cgroups: &str| within(root.path(), cgroups);
        let service = of("0::/system.slice/distune.service\n");
        assert_eq!((cpus_of(&service), memory_of(&service)), (Some(1.5), vec![(4000, 1000)]));
        assert_eq!(cpus_of(&of("0::/system.slice\n")), Some(4.0));
        assert_eq!(cpus_of(&of("0::/\n")), None);
        assert_eq!(cpus_of(&of("0::/a/path/of/the/host\n")), None);
        assert_eq!((cpus_of(&of("")), memory_of(&of("no lines of this kind"))), (None, vec![]));
    }

    #[test]
    fn version_1() {
        let files = [("cpu/a/cpu.cfs_quota_us", "50000\n"), ("cpu/a/cpu.cfs_period_us", "100000\n")];
        let root =
            tree(&[&files[..], &[("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")]].concat());
        let of = |cgroups: &str| cpus_of(&within(root.path(), cgroups));
        assert_eq!(of("4:memory:/b\n3:cpu,cpuacct:/a\n0::/\n"), Some(0.5));
        assert_eq!(of("3:cpu:/\n0::/\n"), None);
    }
}
