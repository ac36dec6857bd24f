//! `distune doctor`: what this machine offers, what of it the program uses and why, and whether what it needs is there.

mod machine;
mod places;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use self::machine::{Cpu, Memory, Multiplication, Threads};
use self::places::{Bundled, Cache, Hub, Temporary};
use crate::Common;
use crate::output::{line, note};

/// Show what this machine offers (CPU, threads, memory), what is used of it and why, and whether the cache, the hub and the directory
/// for temporary files can be used
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {}

/// All that is looked at, in the order in which it is shown.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    cpu: Cpu,
    threads: Threads,
    memory: Memory,
    multiplication: Multiplication,
    cache: Cache,
    hub: Hub,
    temporary: Temporary,
    bundled: Bundled,
}

pub(crate) fn run(_: &DoctorArgs, common: &Common) -> anyhow::Result<()> {
    note(common, "Measuring ...");
    let settings = distune::hub::Settings::from_env();
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        cpu: Cpu::here(),
        threads: Threads::here(),
        memory: Memory::here(),
        multiplication: Multiplication::measured(common.precision.is_some().then(|| common.precision())),
        cache: Cache::of(&settings),
        hub: Hub::of(settings),
        temporary: Temporary::here(),
        bundled: Bundled::here(),
    };
    let advice = findings.advice();
    if common.json {
        let mut value = json!(findings);
        value["event"] = json!("doctor");
        value["advice"] = json!(advice);
        return Ok(line(value)?);
    }
    for (name, text) in findings.lines() {
        for (i, text) in text.lines().enumerate() {
            line(format!("{:<14}{text}", if i == 0 { name } else { "" }))?;
        }
    }
    if advice.is_empty() {
        return Ok(line("\nNothing is amiss.")?);
    }
    line("\nWhat could be better:")?;
    advice.iter().try_for_each(|text| line(format!("- {text}")))?;
    Ok(())
}

impl Findings {
    /// Each finding by its name.
    fn lines(&self) -> [(&'static str, String); 9] {
        [
            ("distune", self.version.to_owned()),
            ("CPU", self.cpu.to_string()),
            ("threads", self.threads.to_string()),
            ("memory", self.memory.to_string()),
            ("products", self.multiplication.to_string()),
            ("hub cache", self.cache.to_string()),
            ("hub", self.hub.to_string()),
            ("temporary", self.temporary.to_string()),
            ("bundled", self.bundled.to_string()),
        ]
    }

    /// What the user may do about them.
    fn advice(&self) -> Vec<String> {
        let all = [
            self.cpu.advice(),
            self.threads.advice(),
            self.memory.advice(),
            self.cache.advice(),
            self.hub.advice(),
            self.temporary.advice(),
        ];
        all.into_iter().flatten().collect()
    }
}
