use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use burn::tensor::{Device, Tensor, TensorData};
use burn_wgpu::WgpuSetup;
use purrscope::device::{DeviceChoice, adapters, select};
use purrscope::io::tensors::TensorFile;
use purrscope::kernels;

/// burn's CPU backend.
pub fn cpu() -> Device {
    Device::flex()
}

/// The best wgpu adapter, a software one included: `./x test` installs one where there is none.
pub fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        select(DeviceChoice::Gpu(None))
            .expect("the tests need a Vulkan, Metal or DX12 adapter")
            .device
    })
    .clone()
}

/// A device of the test's own on the same adapter, which grants no more than `limits` makes of the
/// adapter's.
pub fn with_limits(limits: impl FnOnce(wgpu::Limits) -> wgpu::Limits) -> Device {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let options = wgpu::RequestAdapterOptions::default();
    let adapter = pollster::block_on(instance.request_adapter(&options)).unwrap();
    // burn's runtime takes it that a device has all features of its adapter.
    let left_out =
        wgpu::Features::MAPPABLE_PRIMARY_BUFFERS | wgpu::Features::all_experimental_mask();
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: limits(adapter.limits()),
        required_features: adapter.features().difference(left_out),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    Device::wgpu_options().setup(setup).init().unwrap()
}

/// A device that lets a shader bind no more than WebGPU does by default.
pub fn narrow_device() -> Device {
    let wgpu::Limits { max_storage_buffer_binding_size, max_buffer_size, .. } =
        wgpu::Limits::default();
    with_limits(|limits| wgpu::Limits {
        max_storage_buffer_binding_size,
        max_buffer_size,
        ..limits
    })
}

/// Keeps tests from taking other paths of the kernels, whose last bits differ, while it is held.
pub fn undisturbed() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every way of sharing out a token that the adapter has, one after the other; one test at a time.
pub fn on_every_path(mut each: impl FnMut(&str)) {
    let _turn = undisturbed();
    let subgroups = adapters().first().is_some_and(|adapter| adapter.subgroups);
    println!("the adapter has subgroups: {subgroups}");
    for path in kernels::Path::ALL {
        if subgroups || path != kernels::Path::Subgroups {
            kernels::take_path(Some(path));
            each(path.name());
        }
    }
    kernels::take_path(None);
}

/// Path of a golden file.
pub fn golden_path(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub fn golden(name: &str) -> TensorFile {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    TensorFile::open(&path).unwrap()
}

/// A tensor of a golden file, on a device.
pub fn tensor<const D: usize>(file: &TensorFile, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = file.floats(name).unwrap();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Largest difference, relative to the largest value expected.
pub fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs())).max(1e-12);
    found
        .iter()
        .zip(expected)
        .map(|(found, expected)| {
            let off = (found - expected).abs() / largest;
            if off.is_nan() { f32::INFINITY } else { off }
        })
        .fold(0.0, f32::max)
}

/// Prints one line of the table of errors, and fails where the tolerance is exceeded.
pub fn check(what: &str, device: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    let error = worst(found, expected);
    println!("| {what:<44} | {device:<4} | {error:9.2e} | {tolerance:7.0e} |");
    assert!(error <= tolerance, "{what} on {device}: off by {error:e}, allowed {tolerance:e}");
}

/// Runs the program in a folder.
pub fn purrscope(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_purrscope"))
        .current_dir(folder)
        // Vulkan's loader complains on standard error where there is none.
        .env("XDG_RUNTIME_DIR", folder)
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs it, which must succeed; gives what it prints.
pub fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = purrscope(folder, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with the given exit code and one line that mentions `expected`; gives what it says.
pub fn fail(folder: &Path, arguments: &[&str], code: i32, expected: &str) -> String {
    let output = purrscope(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(expected), "{arguments:?} says {said:?}, not {expected:?}");
    if code == 1 {
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
    }
    said.into_owned()
}
