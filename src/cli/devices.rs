//! `purrscope devices`

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::device::{DeviceChoice, adapters, select};

#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Prints JSON for programs
    #[arg(long)]
    json: bool,
}

/// Lists the CPU and every adapter, best first, with what each can run.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let adapters = adapters();
    let auto = select(DeviceChoice::Auto)?.description;
    if args.json {
        let list: Vec<_> = adapters
            .iter()
            .enumerate()
            .map(|(index, adapter)| {
                json!({
                    "device": format!("gpu:{index}"),
                    "name": adapter.info.name,
                    "backend": adapter.info.backend.to_string(),
                    "kind": format!("{:?}", adapter.info.device_type),
                    "driver": format!("{} {}", adapter.info.driver, adapter.info.driver_info),
                    "software": adapter.is_software(),
                    "max_storage_buffer_bytes": adapter.limits.max_storage_buffer_binding_size,
                    "max_workgroup_invocations": adapter.limits.max_compute_invocations_per_workgroup,
                    "subgroups": adapter.subgroups,
                    "half_floats": adapter.half_floats,
                    "runs": ["studio", "sample", "train"],
                })
            })
            .collect();
        let report = json!({ "auto": auto, "adapters": list });
        return super::print(&(serde_json::to_string_pretty(&report)? + "\n"));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "auto    {auto}\ncpu     burn flex, {cores} threads: sample, train; the studio where it can open a window\n"
    );
    for (index, adapter) in adapters.iter().enumerate() {
        let info = &adapter.info;
        let note = if adapter.is_software() { " (in software: slow, for tests)" } else { "" };
        text += &format!(
            "gpu:{index}   {} ({}, {:?})
        driver {} {}
        storage buffers up to {} MB, {} invocations a workgroup, subgroups {}, 16-bit floats {}
        studio, sample, train{note}\n",
            info.name,
            info.backend,
            info.device_type,
            info.driver,
            info.driver_info,
            adapter.limits.max_storage_buffer_binding_size / (1 << 20),
            adapter.limits.max_compute_invocations_per_workgroup,
            yes(adapter.subgroups),
            yes(adapter.half_floats),
        );
    }
    if adapters.is_empty() {
        text += "no Vulkan, Metal or DX12 adapter: the studio needs one to draw, a software one will do\n";
    }
    super::print(&text)
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
