//! Whether a run can fit this machine at all, before anything is allocated: the allocator's answer to
//! a run that can't is to end the program.
//!
//! Figures are lower bounds, in floating point, so that no size is too absurd to be multiplied.

use std::fs;

use super::TrainError;
use super::config::TokenizerTask;
use crate::model::card::DitConfig;

/// Copies of every weight that training keeps: itself, its gradient, two means and a moving average.
const COPIES: f64 = 5.0;
/// Bytes of a number.
const FLOAT: f64 = size_of::<f32>() as f64;

/// Bytes that a run keeps at the very least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// For weights and optimiser.
    weights: f64,
    /// For what a step's gradient is taken from.
    activations: f64,
}

impl Need {
    /// Of the training of a tokenizer.
    pub fn of_tokenizer(task: &TokenizerTask, image_size: usize, batch: usize) -> Self {
        let model = &task.model;
        let blocks = (2 * model.residual_blocks + 1) as f64;
        let (mut weights, mut activations) = ((model.codes * model.code_size) as f64, 0.0);
        for (level, multiplier) in model.multipliers.iter().enumerate() {
            let width = model.channels as f64 * *multiplier as f64;
            let pixels = (image_size as f64 / 2f64.powi(level as i32)).powi(2);
            // Two convolutions of 3 by 3 a block, and what goes into each.
            weights += blocks * 2.0 * 9.0 * width * width;
            activations += 2.0 * blocks * pixels * width;
        }
        let pictures = (image_size as f64).powi(2) * model.image_channels as f64;
        Self::new(weights, (activations + pictures) * batch as f64)
    }

    /// Of the training of a backbone.
    pub fn of_backbone(dit: &DitConfig, batch: usize) -> Self {
        let [hidden, depth] = [dit.hidden_size, dit.depth].map(|size| size as f64);
        let patch = (dit.patch_size as f64).powi(2);
        let outputs = patch * dit.out_channels as f64;
        let embedded = if dit.embeds_codes { dit.out_channels as f64 } else { 0.0 };
        let rows = dit.num_classes as f64 + outputs + embedded;
        // Attention, a hidden layer of four times the width, and six vectors of modulation.
        let weights = depth * 18.0 * hidden * hidden + rows * hidden;
        let tokens = (dit.input_size as f64).powi(2) / patch;
        let activations = tokens * (12.0 * depth * hidden + outputs) * batch as f64;
        Self::new(weights, activations)
    }

    fn new(weights: f64, activations: f64) -> Self {
        Self { weights: COPIES * FLOAT * weights, activations: FLOAT * activations }
    }

    /// That this machine has as much; what a step works on may lie in the memory of a GPU instead.
    ///
    /// # Errors
    /// It has not, with both figures.
    pub fn check(&self, on_the_cpu: bool) -> Result<(), TrainError> {
        machine().map_or(Ok(()), |(has, of)| self.fits(has, of, on_the_cpu))
    }

    fn fits(&self, has: f64, of: &str, on_the_cpu: bool) -> Result<(), TrainError> {
        let needs = self.weights + if on_the_cpu { self.activations } else { 0.0 };
        if needs <= has {
            return Ok(());
        }
        let what = match self.weights > self.activations {
            true => "weights and optimiser: make the model smaller",
            false => "a step's pictures: make batch, image_size or the model smaller",
        };
        Err(TrainError::Memory(format!(
            "the run needs at least {}, {of} {}; most of it is for {what}",
            size(needs),
            size(has)
        )))
    }
}

/// A number of bytes, in readable units.
fn size(bytes: f64) -> String {
    let gigabytes = bytes / 1e9;
    if gigabytes < 10_000.0 { format!("{gigabytes:.1} GB") } else { format!("{gigabytes:.0e} GB") }
}

/// The most memory that this process can ever have, and who says so; nothing where nobody does.
fn machine() -> Option<(f64, &'static str)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limits = [
        (whole_memory(&read("/proc/meminfo")), "this machine has"),
        (address_space(&read("/proc/self/limits")), "the limit of this process is"),
        (read("/sys/fs/cgroup/memory.max").trim().parse().ok(), "the limit of this container is"),
    ];
    let known = limits.into_iter().filter_map(|(bytes, of)| Some((bytes?, of)));
    known.min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Memory and swap space, out of `/proc/meminfo`.
fn whole_memory(text: &str) -> Option<f64> {
    let kilobytes = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(1024.0 * (kilobytes("MemTotal:")? + kilobytes("SwapTotal:").unwrap_or(0.0)))
}

/// The soft limit of the address space, out of `/proc/self/limits`, if there is one.
fn address_space(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{RunConfig, Task};

    fn recipe(name: &str) -> RunConfig {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        RunConfig::read(&root.join("assets/recipe").join(name)).unwrap()
    }

    #[test]
    fn the_recipes_fit_a_small_machine_and_absurd_ones_none() {
        let config = recipe("tokenizer.toml");
        let Task::Tokenizer(mut task) = config.task else { unreachable!() };
        let need = Need::of_tokenizer(&task, config.image_size, config.batch);
        assert!(need.fits(1e9, "it has", true).is_ok(), "{need:?}");
        let large = Need::of_tokenizer(&task, 8192, 65536).fits(1e12, "it has", true).unwrap_err();
        assert!(large.to_string().contains("make batch, image_size"), "{large}");
        task.model.codes = 1 << 24;
        task.model.code_size = 1 << 16;
        assert!(Need::of_tokenizer(&task, 64, 1).fits(1e12, "it has", false).is_err());

        let config = recipe("flow.toml");
        let Task::Flow(task) = config.task else { unreachable!() };
        let Task::Tokenizer(vq) = recipe("tokenizer.toml").task else { unreachable!() };
        let sizes = task.backbone.unwrap();
        let mut dit = sizes.complete(task.objective, &vq.model, 64, 48).unwrap();
        assert!(Need::of_backbone(&dit, config.batch).fits(2e9, "it has", true).is_ok());
        dit.hidden_size = 1 << 16;
        let error = Need::of_backbone(&dit, 1).fits(8e9, "this machine has", false).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("this machine has 8.0 GB; most of it is for weights"), "{said}");
    }

    #[test]
    fn limits_are_read_as_linux_writes_them() {
        let text = "MemTotal:       16384 kB\nMemFree: 1 kB\nSwapTotal:        1024 kB\n";
        assert_eq!(whole_memory(text), Some(17_408.0 * 1024.0));
        assert_eq!(whole_memory(""), None);
        let limit =
            |soft| format!("Limit Soft Hard Units\nMax address space {soft} unlimited bytes\n");
        assert_eq!(address_space(&limit("8388608000")), Some(8_388_608_000.0));
        assert_eq!(address_space(&limit("unlimited")), None);
    }
}
