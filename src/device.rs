//! Choosing where to compute, and saying what was chosen and why.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;
use std::sync::Once;

use burn::tensor::Device;
use burn_wgpu::WgpuSetup;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use thiserror::Error;

use crate::fault::panic_text;
use crate::folders;
use crate::kernels::Path;
use crate::room::is_lack_of_room;

/// What to say where no adapter was found: what is missing, and what to do.
pub const NO_DRIVER: &str = if cfg!(target_os = "macos") {
    "no Metal device was found: update macOS, or use a machine that has one"
} else if cfg!(target_os = "windows") {
    "no graphics driver with DirectX 12 or Vulkan was found: install the one of the graphics card"
} else {
    "no Vulkan driver was found: install one (the package mesa-vulkan-drivers on Debian, Ubuntu and \
     Fedora, vulkan-swrast on Arch)"
};

/// Whether a GPU's operations are autotuned: several ways of doing one are timed, and the fastest is taken
/// from then on, in later runs too. burn decides it when it is compiled.
pub const AUTOTUNED: bool = cfg!(feature = "autotune");

/// A device that was asked for on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A real GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// A wgpu adapter, software ones included: the given one of `purrscope devices`, or the best.
    Gpu(Option<usize>),
    /// burn's CPU backend.
    Cpu,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu(None) => f.write_str("gpu"),
            Self::Gpu(Some(index)) => write!(f, "gpu:{index}"),
            Self::Cpu => f.write_str("cpu"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "gpu" => Ok(Self::Gpu(None)),
            "cpu" => Ok(Self::Cpu),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|index| index.parse().ok())
                .map(|index| Self::Gpu(Some(index)))
                .ok_or_else(|| DeviceError::Unknown { given: text.to_owned() }),
        }
    }
}

/// A device that cannot be had.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// A spelling that names no device.
    #[error("unknown device '{given}' (known: auto, gpu, gpu:N, cpu)")]
    Unknown {
        /// What was given.
        given: String,
    },
    /// No adapter of that number.
    #[error("there is no adapter {index}: `purrscope devices` lists {count}")]
    NoSuchAdapter {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// No adapter at all.
    #[error("{}, or use --device cpu", NO_DRIVER)]
    NoAdapter,
    /// The device has gone.
    #[error("the device was lost ({device}): {reason}; try again, or use --device cpu")]
    Lost {
        /// What was in use.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// The device works, and has no room for what was asked of it.
    #[error(
        "the device has no room for this, not even for a picture at a time: close what else uses it, take \
         a smaller model, or use --device cpu"
    )]
    NoRoom,
    /// The adapter refused to give a device.
    #[error("the adapter '{adapter}' gave no device: {reason}")]
    Refused {
        /// Name of the adapter.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
}

/// The wgpu handles behind a device of burn's.
#[derive(Debug, Clone)]
pub struct Handles {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// Whether the window draws with them too.
    pub shared: bool,
}

/// A device that is ready for tensors.
#[derive(Debug, Clone)]
pub struct Selected {
    /// burn's handle.
    pub device: Device,
    /// One line for people: what was chosen, and why.
    pub description: String,
    /// The GPU behind it, where there is one.
    pub handles: Option<Handles>,
}

impl Selected {
    /// Waits for everything that the device was asked to do.
    ///
    /// # Errors
    /// The device was lost: reset by its driver, unplugged, or destroyed. It does not come back; a new
    /// one has to be opened.
    pub fn check(&self) -> Result<(), DeviceError> {
        let lost = |reason: String| DeviceError::Lost { device: self.description.clone(), reason };
        match catch_unwind(AssertUnwindSafe(|| self.device.sync())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(first_line(&error.to_string()))),
            Err(panic) => Err(lost(first_line(panic_text(panic.as_ref())))),
        }
    }
}

/// Does some work on a device; burn panics where the device is lost in the midst of it, or has no room
/// for it.
///
/// # Errors
/// Whatever `check` then says of the device, or that there is no room. Other panics go on.
pub fn guard<T>(
    check: impl FnOnce() -> Result<(), DeviceError>,
    work: impl FnOnce() -> T,
) -> Result<T, DeviceError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Ok(done),
        Err(panic) => match check() {
            Err(lost) => Err(lost),
            Ok(()) if is_lack_of_room(panic.as_ref()) => Err(DeviceError::NoRoom),
            Ok(()) => resume_unwind(panic),
        },
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// A wgpu adapter of this machine, with what it can do.
#[derive(Debug)]
pub struct AdapterReport {
    adapter: wgpu::Adapter,
    /// Name, kind, backend and driver.
    pub info: wgpu::AdapterInfo,
    /// Limits that it offers.
    pub limits: wgpu::Limits,
    /// Whether subgroup operations can be used in compute shaders.
    pub subgroups: bool,
    /// Whether shaders can use 16-bit floats.
    pub half_floats: bool,
}

impl AdapterReport {
    /// Asks an adapter what it can do.
    pub(crate) fn new(adapter: wgpu::Adapter) -> Self {
        let features = adapter.features();
        Self {
            info: adapter.get_info(),
            limits: adapter.limits(),
            subgroups: features.contains(wgpu::Features::SUBGROUP),
            half_floats: features.contains(wgpu::Features::SHADER_F16),
            adapter,
        }
    }

    /// Whether a processor pretends to be a GPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether burn cannot compute on it.
    pub(crate) fn draws_only(&self) -> bool {
        self.info.backend == wgpu::Backend::Gl
    }

    /// Name and graphics interface, for people.
    pub fn label(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
    }

    /// The path that the kernels over codes take on it.
    pub fn path(&self) -> Path {
        Path::of(self.is_software(), self.subgroups)
    }

    fn rank(&self) -> u8 {
        match self.info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        }
    }
}

/// The graphics interfaces that burn computes on.
pub(crate) const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    wgpu::Instance::new(descriptor)
}

/// The adapters of this machine, best first: discrete, integrated, virtual, software.
pub fn adapters() -> Vec<AdapterReport> {
    list_adapters(&instance())
}

fn list_adapters(instance: &wgpu::Instance) -> Vec<AdapterReport> {
    let adapters = pollster::block_on(instance.enumerate_adapters(BACKENDS));
    let mut reports: Vec<_> = adapters.into_iter().map(AdapterReport::new).collect();
    reports.sort_by_key(AdapterReport::rank);
    reports
}

/// What a wgpu device must be created with for burn's kernels to compile on it.
#[expect(unsafe_code, reason = "wgpu asks for it where experimental features are wanted")]
pub(crate) fn descriptor(adapter: &wgpu::Adapter) -> wgpu::DeviceDescriptor<'static> {
    wgpu::DeviceDescriptor {
        label: Some("purrscope"),
        required_features: adapter.features().difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS),
        required_limits: adapter.limits(),
        // SAFETY: the token acknowledges that experimental features may have bugs that validation
        // does not catch. burn's own device creation acknowledges the same for the same kernels.
        experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
        // burn's runtime pools its buffers itself.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        trace: wgpu::Trace::Off,
    }
}

/// burn's CPU backend, with the reason for which it was chosen.
pub(crate) fn cpu(reason: &str) -> Selected {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let unit = if cores == 1 { "core" } else { "cores" };
    let description = format!("cpu: {cores} {unit}{reason}");
    Selected { device: Device::flex(), description, handles: None }
}

/// Opens the device that was asked for, on its own.
///
/// # Errors
/// No such adapter, or one that gives no device.
pub fn select(choice: DeviceChoice) -> Result<Selected, DeviceError> {
    if choice == DeviceChoice::Cpu {
        return Ok(cpu(""));
    }
    let instance = instance();
    let mut reports = list_adapters(&instance);
    let count = reports.len();
    let report = match choice {
        DeviceChoice::Gpu(Some(index)) if index < count => reports.swap_remove(index),
        DeviceChoice::Gpu(_) if count == 0 => return Err(DeviceError::NoAdapter),
        DeviceChoice::Gpu(Some(index)) => return Err(DeviceError::NoSuchAdapter { index, count }),
        DeviceChoice::Gpu(None) => reports.swap_remove(0),
        _ => match reports.iter().position(|report| !report.is_software()) {
            Some(real) => reports.swap_remove(real),
            None if count == 0 => return Ok(cpu(" (no GPU adapter found)")),
            None => return Ok(cpu(" (the only GPU adapter is software)")),
        },
    };
    let refused = |reason: String| DeviceError::Refused { adapter: report.label(), reason };
    let (device, queue) =
        pollster::block_on(report.adapter.request_device(&descriptor(&report.adapter)))
            .map_err(|error| refused(error.to_string()))?;
    let setup = WgpuSetup {
        instance,
        adapter: report.adapter.clone(),
        device,
        queue,
        backend: report.info.backend,
    };
    let description = format!("gpu: {}", report.label());
    register(setup, description, false).map_err(refused)
}

/// Hands a wgpu device to burn, which gives it a name of its own every time.
pub(crate) fn register(
    setup: WgpuSetup,
    description: String,
    shared: bool,
) -> Result<Selected, String> {
    if AUTOTUNED {
        keep_choices();
    }
    let (device, queue) = (setup.device.clone(), setup.queue.clone());
    let handles = Some(Handles { device, queue, shared });
    let device = Device::wgpu_options().setup(setup).init().map_err(|error| error.to_string())?;
    Ok(Selected { device, description, handles })
}

/// Has what autotuning takes kept beside the settings of the studio: burn's own choice is `target` in the
/// folder that the program is started from. What rests on timings is then the same in every run.
fn keep_choices() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // Once loaded, the configuration does not set the folder again.
        CubeClRuntimeConfig::get();
        if let Some(folder) = folders::data() {
            cubecl::environment::set_root(folder.join("autotune"));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_round_trip() {
        for text in ["auto", "gpu", "gpu:1", "cpu"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        for text in ["", "gpu:", "gpu:x", "cuda"] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
