//! How long a run will take, from a short trial of its stages.

use std::time::Duration;

use super::memory::Watch;
use super::timing::Clock;
use super::training::{flow_step, tokenizer_step};
use crate::device::Selected;
use crate::fault;
use crate::say::count;
use crate::train::{Origin, RunConfig, Start, Task};

/// What a run will take, without pauses.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// Of its stages, in their order.
    stages: Vec<Trial>,
}

/// What a short trial of a stage says of it.
#[derive(Debug, Clone)]
struct Trial {
    /// What is trained.
    name: &'static str,
    /// Steps of the stage.
    steps: usize,
    /// Pictures of a step.
    batch: usize,
    /// Seconds that a step takes.
    step_seconds: f64,
    /// Bytes that it takes at the most, where the device tells.
    memory: Option<f64>,
}

impl Trial {
    /// Seconds that the stage takes.
    fn seconds(&self) -> f64 {
        self.step_seconds * self.steps as f64
    }
}

impl Estimate {
    /// Takes some steps of every stage of a run on pictures drawn at random, of so many classes, for about five seconds
    /// each. Reading pictures is left out: it happens beside the steps.
    ///
    /// # Errors
    /// A stage does not fit the device, or a flow has no tokenizer before it.
    pub fn of(stages: &[RunConfig], classes: usize, selected: &Selected) -> Result<Self, String> {
        const LIMIT: Duration = Duration::from_secs(4);
        let device = &selected.device;
        let clock = Clock { device, limit: LIMIT, warm_up_limit: LIMIT, peer: None };
        let mut before = None;
        let tried = stages.iter().map(|config| {
            let watch = Watch::begin(device);
            let mut steps = || match &config.task {
                Task::Tokenizer(task) => {
                    before = Some(&task.model);
                    Ok(("tokenizer", tokenizer_step(&clock, config, task)?))
                }
                Task::Flow(task) => {
                    let side = config.image_size;
                    let (sizes, vq) = match (task.origin()?, before) {
                        (Origin::Chance { sizes, .. }, Some(vq)) => {
                            (sizes.complete(task.objective, vq, side, classes)?, vq.clone())
                        }
                        (Origin::Chance { .. }, None) => {
                            return Err("the flow has no tokenizer before it".to_owned());
                        }
                        (Origin::Model(_), _) => {
                            let start = Start::open(task).map_err(|error| error.to_string())?;
                            (start.backbone(task, side, classes)?, start.vq().clone())
                        }
                    };
                    let codes = [vq.codes, vq.code_size];
                    Ok(("flow", flow_step(&clock, &sizes, codes, config.batch, &config.optimiser)?))
                }
                Task::Joint(_) => Err("joint training is not measured".to_owned()),
            };
            let (name, timing) = fault::attempt(&mut steps)
                .map_err(|reason| format!("the run does not fit this device: {reason}"))??;
            let memory = watch.peak().map(|(_, bytes)| bytes);
            let RunConfig { steps, batch, .. } = *config;
            Ok(Trial { name, steps, batch, step_seconds: timing.seconds(), memory })
        });
        Ok(Self { stages: tried.collect::<Result<_, String>>()? })
    }

    /// What each stage takes, in words.
    pub fn stages(&self) -> Vec<String> {
        let memory = |bytes| format!(", {:.1} GB of memory", bytes / 1e9);
        let words = |stage: &Trial| {
            format!(
                "{}: {} of {}, {} at {:.1} pictures a second{}",
                stage.name,
                count(stage.steps, "step"),
                count(stage.batch, "picture"),
                duration(stage.seconds()),
                stage.batch as f64 / stage.step_seconds,
                stage.memory.map_or_else(String::new, memory),
            )
        };
        self.stages.iter().map(words).collect()
    }

    /// What all of them take, as a person would say it.
    pub fn duration(&self) -> String {
        duration(self.stages.iter().map(Trial::seconds).sum())
    }
}

/// A time as a person would say it.
fn duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} seconds"),
        ..5_400.0 => format!("{:.0} minutes", seconds / 60.0),
        ..172_800.0 => format!("{:.1} hours", seconds / 3_600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, said) in
            [(30.0, "30 seconds"), (600.0, "10 minutes"), (9_000.0, "2.5 hours"), (4e5, "4.6 days")]
        {
            assert_eq!(duration(seconds), said);
        }
    }
}
