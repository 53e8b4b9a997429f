//! `purrscope devices`

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::device::{AUTOTUNED, AdapterReport, DeviceChoice, NO_DRIVER, adapters, select};
use crate::kernels::Path;
use crate::model::head::LOGITS_BUDGET;

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
                    "kernels": kernels(Some(adapter)),
                    "half_logits": adapter.half_floats,
                    "logits_budget_bytes": LOGITS_BUDGET,
                    "runs": ["studio", "sample", "train"],
                })
            })
            .collect();
        let cpu = json!({
            "kernels": kernels(None), "half_logits": true, "logits_budget_bytes": LOGITS_BUDGET,
        });
        let report = json!({ "auto": auto, "autotune": AUTOTUNED, "cpu": cpu, "adapters": list });
        return super::print(&(serde_json::to_string_pretty(&report)? + "\n"));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let budget = LOGITS_BUDGET >> 20;
    let mut text = format!(
        "auto    {auto}
cpu     burn flex, {cores} threads: sample, train; the studio where it can open a window
        kernels {}
        logits of 16 bits yes, up to {budget} MB at a time\n",
        listed(&kernels(None)),
    );
    for (index, adapter) in adapters.iter().enumerate() {
        let info = &adapter.info;
        let note = if adapter.is_software() { " (in software: slow, for tests)" } else { "" };
        text += &format!(
            "gpu:{index}   {} ({}, {:?})
        driver {} {}
        storage buffers up to {} MB, {} invocations a workgroup, subgroups {}, 16-bit floats {}
        kernels {}
        logits of 16 bits {}, up to {budget} MB at a time
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
            listed(&kernels(Some(adapter))),
            yes(adapter.half_floats),
        );
    }
    let autotune = match AUTOTUNED {
        true => "autotune: built in; `purrscope doctor` says whether a GPU's results agree",
        false => "autotune: not built in",
    };
    text += &format!("{autotune}\n");
    if adapters.is_empty() {
        text += &format!("{NO_DRIVER}; the studio needs one to draw, a software one will do\n");
    }
    super::print(&text)
}

/// Every kernel, and the path that it takes: that of an adapter, or of the CPU.
fn kernels(adapter: Option<&AdapterReport>) -> BTreeMap<&'static str, &'static str> {
    let (by_token, other) = match adapter {
        Some(adapter) => (adapter.path().name(), "WGSL"),
        None => ("flex", "flex"),
    };
    let loss = if adapter.is_some() { Path::Workgroup.name() } else { "flex" };
    BTreeMap::from([
        ("categorical_expectation", by_token),
        ("nearest_code", by_token),
        ("code_loss", loss),
        ("present", other),
    ])
}

fn listed(kernels: &BTreeMap<&str, &str>) -> String {
    let each = kernels.iter().map(|(kernel, path)| format!("{kernel}: {path}"));
    each.collect::<Vec<_>>().join("; ")
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
