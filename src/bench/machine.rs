//! The machine that figures belong to.

use serde::Serialize;

use crate::device::Selected;

/// A graphics adapter and its driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// The graphics interface that it is used through.
    pub backend: String,
    /// Discrete, integrated, virtual or software.
    pub kind: String,
    /// The driver with its version.
    pub driver: String,
}

impl Adapter {
    /// The adapter behind a device; none behind the CPU.
    pub fn of(selected: &Selected) -> Option<Self> {
        let info = selected.handles.as_ref()?.device.adapter_info();
        Some(Self {
            name: info.name,
            backend: info.backend.to_string(),
            kind: format!("{:?}", info.device_type),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        })
    }
}

/// The processor of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Processor {
    /// As the system names it, or its architecture.
    pub name: String,
    /// Threads that this process may run at once.
    pub threads: usize,
    /// The widest vectors that the CPU backend uses.
    pub vectors: &'static str,
}

impl Processor {
    /// The processor that runs this program.
    pub fn here() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = text.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_owned());
        Self {
            name: name.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            vectors: vectors(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    if cfg!(target_arch = "aarch64") { "neon" } else { "unknown" }
}
