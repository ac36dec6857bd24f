//! The CPU, the threads, the memory, and what they multiply. Called by `doctor`.

use std::fmt::{Display, Formatter, Result};
use std::fs::read_to_string;

use bytesize::ByteSize;
use distune::engine::{Isa, Precision, isa, peak};
use distune::{cgroup, memory};
use serde::Serialize;

/// Features of a CPU that make a difference, as Linux calls them.
const FEATURES: [&str; 15] = [
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512dq",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
];
/// How often speeds are measured.
const REPETITIONS: usize = 5;
/// Free memory below which a training of DistilBERT-base may not fit.
const LITTLE: u64 = 2 << 30;

/// What the CPU has, and what is used of it.
#[derive(Debug, Serialize)]
pub(super) struct Cpu {
    name: String,
    features: Vec<&'static str>,
    /// The level of instructions in use, and all that are known with whether the CPU has them, best first.
    instructions: &'static str,
    levels: Vec<(&'static str, bool)>,
    /// What `DISTUNE_ISA` says.
    forced: Option<String>,
}

impl Cpu {
    pub(super) fn here() -> Self {
        let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let of = |key: &str| info.lines().find_map(|line| Some(line.strip_prefix(key)?.split_once(':')?.1.trim()));
        let flags: Vec<&str> = of("flags").or_else(|| of("Features")).unwrap_or_default().split(' ').collect();
        Self {
            name: of("model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            features: FEATURES.into_iter().filter(|feature| flags.contains(feature)).collect(),
            instructions: isa().name(),
            levels: Isa::ALL.into_iter().map(|level| (level.name(), level.available())).collect(),
            forced: std::env::var("DISTUNE_ISA").ok().filter(|name| !name.is_empty()),
        }
    }

    /// Whether `DISTUNE_ISA` names a level that the CPU has.
    fn obeys(&self) -> bool {
        self.forced.as_deref() == Some(self.instructions)
    }

    /// `DISTUNE_ISA` without an effect, or with one that may have been forgotten.
    pub(super) fn advice(&self) -> Option<String> {
        let forced = self.forced.as_ref()?;
        let best = self.levels.iter().find(|(_, there)| *there).map_or("", |(name, _)| name);
        match self.obeys() {
            false => {
                let names: Vec<&str> = self.levels.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
                Some(format!("DISTUNE_ISA={forced} is not a level that this CPU has ({}): unset it.", names.join(", ")))
            }
            true if forced != best => Some(format!("DISTUNE_ISA={forced} is slower than {best}: unset it.")),
            true => None,
        }
    }
}

impl Display for Cpu {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let features =
            if self.features.is_empty() { "none that are known".to_owned() } else { self.features.join(" ") };
        writeln!(f, "{}\nfeatures: {features}", self.name)?;
        let why = match (&self.forced, self.obeys()) {
            (Some(_), true) => "because DISTUNE_ISA says so".to_owned(),
            _ => "the best level that it has".to_owned(),
        };
        let missing: Vec<&str> = self.levels.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
        let missing =
            if missing.is_empty() { String::new() } else { format!("; it has not got {}", missing.join(", ")) };
        write!(f, "instructions: {}, {why}{missing}", self.instructions)
    }
}

/// How many threads there are, and what limits them.
#[derive(Debug, Serialize)]
pub(super) struct Threads {
    used: usize,
    /// CPUs of the machine that are on.
    cpus: usize,
    /// CPUs that this process may use at once, where a container or a service is limited.
    limit: Option<f64>,
}

impl Threads {
    pub(super) fn here() -> Self {
        let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpus = cpus.lines().filter(|line| line.starts_with("processor")).count();
        Self { used: rayon::current_num_threads(), cpus: cpus.max(1), limit: cgroup::cpus() }
    }

    pub(super) fn advice(&self) -> Option<String> {
        let limit = self.limit.filter(|limit| self.used as f64 > limit.ceil())?;
        let wanted = limit.ceil();
        Some(format!("{} threads share {limit} CPUs of this container: --threads {wanted:.0} is faster.", self.used))
    }
}

impl Display for Threads {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "{} of {} CPUs", self.used, self.cpus)?;
        match self.limit {
            Some(limit) => write!(f, "; the container is limited to {limit}"),
            None => write!(f, "; no limit of a container"),
        }
    }
}

/// How much memory there is, in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    available: u64,
    /// Of a container.
    limit: Option<u64>,
    /// Whether Linux gives large pages: `always`, `madvise` (to who asks, as this program does) or `never`.
    large_pages: Option<String>,
}

impl Memory {
    pub(super) fn here() -> Self {
        let pages = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok();
        let chosen = |text: String| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned());
        Self { available: memory::available(), limit: memory::limit(), large_pages: pages.and_then(chosen) }
    }

    pub(super) fn advice(&self) -> Option<String> {
        if self.available < LITTLE {
            let free = ByteSize(self.available).display().si();
            return Some(format!(
                "{free} of memory are little: distune info MODEL says what a training takes; --unfreeze head, --lora-rank and \
                 --max-batch-tokens take less."
            ));
        }
        let never = self.large_pages.as_deref() == Some("never");
        never.then(|| "Linux gives no large pages here, which costs some speed: ask for madvise.".to_owned())
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let size = |bytes: u64| ByteSize(bytes).display().si();
        write!(f, "{} available", size(self.available))?;
        match self.limit {
            Some(limit) => write!(f, ", of a container's {}", size(limit))?,
            None => write!(f, ", no limit of a container")?,
        }
        match self.large_pages.as_deref() {
            Some("never") => write!(f, "; no large pages"),
            Some(given) => write!(f, "; large pages ({given})"),
            None => write!(f, "; large pages unknown"),
        }
    }
}

/// How fast matrices are multiplied in each precision.
#[derive(Debug, Serialize)]
pub(super) struct Multiplication {
    /// Billions of operations a second on all threads; of bf16 where the CPU has instructions for it.
    f32_gflops: f64,
    bf16_gflops: Option<f64>,
    /// What `--precision auto` takes here, and what is taken now.
    fastest: String,
    used: String,
}

impl Multiplication {
    pub(super) fn measured(asked_for: Option<Precision>) -> Self {
        let speed = |precision| (peak(precision, REPETITIONS) / 1e8).round() / 10.0;
        let fastest = Precision::fastest();
        Self {
            f32_gflops: speed(Precision::F32),
            bf16_gflops: Precision::Bf16.accelerated().then(|| speed(Precision::Bf16)),
            fastest: fastest.to_string(),
            used: asked_for.unwrap_or(fastest).to_string(),
        }
    }
}

impl Display for Multiplication {
    fn fmt(&self, f: &mut Formatter) -> Result {
        write!(f, "f32 {:.0} GFLOP/s, ", self.f32_gflops)?;
        match self.bf16_gflops {
            Some(bf16) => write!(f, "bf16 {bf16:.0} GFLOP/s, measured now")?,
            None => write!(f, "measured now; no instructions for bf16")?,
        }
        match self.used == self.fastest {
            true => write!(f, ": --precision auto takes {}", self.fastest),
            false => write!(f, ": --precision auto would take {}, {} was asked for", self.fastest, self.used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_containers() {
        let threads = |used, limit| Threads { used, cpus: 8, limit }.advice();
        assert_eq!(threads(2, Some(1.5)), None);
        assert_eq!(threads(8, None), None);
        assert!(threads(8, Some(1.5)).is_some_and(|advice| advice.contains("--threads 2")));
    }

    #[test]
    fn forced_levels() {
        let levels = vec![("avx512", false), ("avx2", true), ("baseline", true)];
        let cpu = |forced: Option<&str>, instructions| Cpu {
            name: "a CPU".into(),
            features: vec!["avx2"],
            instructions,
            levels: levels.clone(),
            forced: forced.map(str::to_owned),
        };
        assert_eq!(cpu(None, "avx2").advice(), None);
        assert_eq!(cpu(Some("avx2"), "avx2").advice(), None);
        assert!(cpu(Some("baseline"), "baseline").advice().is_some_and(|advice| advice.contains("slower than avx2")));
        assert!(cpu(Some("avx512"), "avx2").advice().is_some_and(|advice| advice.contains("(avx2, baseline)")));
        assert!(cpu(None, "avx2").to_string().ends_with("avx2, the best level that it has; it has not got avx512"));
    }
}
