use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData};
use purrscope::device::{DeviceChoice, select};
use purrscope::io::tensors::TensorFile;

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
