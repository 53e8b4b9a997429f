//! The most memory that a measurement took, and what there is.

use std::fs;

use burn::tensor::Device;

use crate::device::Selected;

/// Watches the memory of a device, or of this process where it is the device's.
#[derive(Debug)]
pub struct Watch<'a> {
    device: &'a Device,
}

impl<'a> Watch<'a> {
    /// From now on.
    pub fn begin(device: &'a Device) -> Self {
        if device.memory_pool_usage().is_some() {
            device.memory_cleanup();
        } else {
            // Linux then counts the peak from here on; elsewhere no peak is told.
            let _ = fs::write("/proc/self/clear_refs", "5");
        }
        Self { device }
    }

    /// The peak in bytes: of a GPU what its pool has reserved, pages that are kept for reuse
    /// included; of the CPU this process's largest resident memory, on Linux.
    pub fn peak(&self) -> Option<(&'static str, f64)> {
        if let Some(usage) = self.device.memory_pool_usage() {
            return Some(("peak_gpu_memory_bytes", usage.bytes_reserved as f64));
        }
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(("peak_resident_memory_bytes", 1024.0 * kilobytes(&status, "VmHWM:")?))
    }
}

/// Whether a device computes in the memory of the machine: the CPU, and adapters that are in software or
/// integrated. How much others have, their drivers tell nobody.
pub fn is_of_the_host(selected: &Selected) -> bool {
    let kind = selected.handles.as_ref().map(|handles| handles.device.adapter_info().device_type);
    matches!(kind, None | Some(wgpu::DeviceType::Cpu | wgpu::DeviceType::IntegratedGpu))
}

/// Bytes of memory that this process could still get, where the system tells: of the machine, and of
/// the container that it runs in.
pub fn available() -> Option<f64> {
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = 1024.0 * kilobytes(&machine, "MemAvailable:")?;
    let number = |path: &str| -> Option<f64> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let container = number("/sys/fs/cgroup/memory.max")
        .zip(number("/sys/fs/cgroup/memory.current"))
        .map(|(most, taken)| (most - taken).max(0.0));
    Some(container.map_or(machine, |container| container.min(machine)))
}

/// The number after `name` in a text of lines such as `VmHWM:  1234 kB`.
fn kilobytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let text = "VmPeak:\t  99 kB\nVmHWM:\t  1234 kB\n";
        assert_eq!(kilobytes(text, "VmHWM:"), Some(1234.0));
        assert_eq!(kilobytes(text, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_of_the_cpu_sees_what_was_there_for_a_moment() {
        let device = Device::flex();
        const BYTES: usize = 256 << 20;
        let watch = Watch::begin(&device);
        let (_, before) = watch.peak().unwrap();
        // Written to, so that it is resident, and dropped before the peak is asked for.
        drop(std::hint::black_box(vec![1u8; BYTES]));
        let (key, after) = watch.peak().unwrap();
        assert_eq!(key, "peak_resident_memory_bytes");
        assert!(after >= BYTES as f64 && after >= before, "{before} before, {after} after");
        assert!(available().unwrap() > 0.0);
    }
}
