//! A run file, read and put into words.

use std::path::{Path, PathBuf};

use crate::data::names_shards;
use crate::train::{ConfigError, OptimiserConfig, RunConfig, Task};

/// Name of the checkpoint in a run's folder.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// A run that could be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The run file.
    pub file: PathBuf,
    /// The run, its paths made whole.
    pub config: RunConfig,
    /// The folder that relative paths were taken from.
    pub base: PathBuf,
    /// Whether a run with a checkpoint is in its folder.
    pub held: bool,
    /// What will keep it from running, as far as can be seen, in words.
    pub warning: Option<String>,
}

impl Plan {
    /// Reads a run file. Relative paths are those of the working folder, as on the command line; where
    /// the data are not there, those of the file's own folder or of a folder above it.
    ///
    /// # Errors
    /// What is wrong with the file, in one sentence.
    pub fn read(file: &Path) -> Result<Self, String> {
        let mut config = RunConfig::read(file).map_err(|error| match error {
            ConfigError::Io { path, source } => {
                format!("{} cannot be read: {source}.", path.display())
            }
            error => format!("{error}."),
        })?;
        let here = std::env::current_dir().unwrap_or_default();
        let file = here.join(file);
        let above = file.ancestors().skip(1).map(Path::to_owned);
        let base = std::iter::once(here.clone())
            .chain(above)
            .find(|base| is_there(&base.join(&config.data)))
            .unwrap_or(here);
        let whole = |path: &mut PathBuf| *path = base.join(&*path);
        whole(&mut config.out);
        whole(&mut config.data);
        config.holdout.iter_mut().for_each(whole);
        let mut needed = vec![("The pictures", &config.data)];
        if let Task::Flow(task) = &mut config.task {
            task.tokenizer = base.join(&task.tokenizer);
            needed.push(("The tokenizer", &task.tokenizer));
        }
        needed.extend(config.holdout.iter().map(|path| ("The held-out pictures", path)));
        let warning = needed.into_iter().find(|(_, path)| !is_there(path)).map(|(what, path)| {
            format!("{what} are not where the run file says: {} is missing.", path.display())
                .replace("tokenizer are not", "tokenizer is not")
        });
        let held = config.out.join(CHECKPOINT).exists();
        Ok(Self { file, config, base, held, warning })
    }

    /// What the run is, as names, values and what they mean.
    pub fn words(&self) -> Vec<(&'static str, String, &'static str)> {
        let RunConfig { data, image_size, batch, steps, seed, optimiser, out, .. } = &self.config;
        let trains = match &self.config.task {
            Task::Tokenizer(task) => format!(
                "a tokenizer of {} codes of {} numbers",
                task.model.codes, task.model.code_size
            ),
            Task::Flow(task) => format!(
                "a flow, {}: {} wide, {} deep, {} heads, patches of {}",
                task.objective,
                task.backbone.hidden_size,
                task.backbone.depth,
                task.backbone.num_heads,
                task.backbone.patch_size,
            ),
        };
        let OptimiserConfig { learning_rate, warmup_steps, decay_share, .. } = optimiser;
        let mut rate = format!("{learning_rate:e}");
        if *warmup_steps > 0 {
            rate += &format!(", rising over {warmup_steps} steps");
        }
        if *decay_share > 0.0 {
            rate += &format!(", falling over the last {:.0} %", decay_share * 100.0);
        }
        vec![
            (
                "trains",
                trains,
                "What is trained: the autoencoder between pictures and codes, or the network on its codes.",
            ),
            (
                "on",
                format!("{}, at {image_size} pixels", self.short(data)),
                "The folder or shards of pictures, and the side that they are scaled to.",
            ),
            (
                "for",
                format!("{steps} steps of {batch} pictures, seed {seed}"),
                "Steps of the whole run, pictures a step, and the seed of everything random.",
            ),
            ("learning rate", rate, "How far a step moves the weights."),
            (
                "saves",
                format!(
                    "every {} steps; samples every {}",
                    self.config.checkpoint_every, self.config.sample_every
                ),
                "How often a checkpoint and the model file are written, and how often pictures are made to look at.",
            ),
            (
                "into",
                self.short(out),
                "The run's folder: checkpoint, figures, samples and the model.",
            ),
        ]
    }

    /// A path as short as it can be said.
    fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.base).unwrap_or(path).display().to_string()
    }
}

/// Whether a file, a folder, or the folder of shards named by a pattern, is there.
fn is_there(path: &Path) -> bool {
    // A pattern of shards; a folder may have braces in its name like any other.
    let pattern = !path.exists() && names_shards(path) && path.to_string_lossy().contains('{');
    match path.parent() {
        Some(folder) if pattern => folder.is_dir(),
        _ => path.exists(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_recipe_of_the_embedded_model_is_put_into_words() {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/recipe");
        let plan = Plan::read(&recipe.join("flow.toml")).unwrap();
        let words: Vec<String> = plan.words().into_iter().map(|(_, value, _)| value).collect();
        assert_eq!(words[0], "a flow, purrception: 192 wide, 8 deep, 6 heads, patches of 2");
        assert_eq!(words[2], "1160 steps of 64 pictures, seed 1");
        assert_eq!(words[3], "1e-3, rising over 100 steps, falling over the last 40 %");
        let warning = plan.warning.unwrap();
        assert!(warning.contains("data/robohash64/train"), "{warning}");
        let plan = Plan::read(&recipe.join("tokenizer.toml")).unwrap();
        assert_eq!(plan.words()[0].1, "a tokenizer of 1024 codes of 8 numbers");
    }

    #[test]
    fn paths_are_those_of_the_run_file_where_the_data_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let text = super::super::tests::tokenizer_run("out", 3);
        fs::create_dir_all(folder.path().join("data")).unwrap();
        fs::create_dir_all(folder.path().join("runs/today")).unwrap();
        let file = folder.path().join("runs/today/run.toml");
        fs::write(&file, text).unwrap();
        let plan = Plan::read(&file).unwrap();
        assert_eq!(plan.config.out, folder.path().join("out"));
        assert!(plan.warning.is_none() && !plan.held);
        assert_eq!(plan.words()[5].1, "out");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        assert!(Plan::read(&file).unwrap_err().contains("cannot be read"));
        fs::write(&file, "out = 3\n").unwrap();
        let text = Plan::read(&file).unwrap_err();
        assert!(text.contains("run.toml, line 1") && !text.contains('\n'), "{text}");
        fs::write(&file, super::super::tests::tokenizer_run("out", 0)).unwrap();
        let text = Plan::read(&file).unwrap_err();
        assert!(text.contains("steps must be at least 1"), "{text}");
    }
}
