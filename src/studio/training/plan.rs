//! A run file, read and put into words.

use std::path::{Path, PathBuf};

use crate::data::{Classes, names_shards};
use crate::train::{ConfigError, OptimiserConfig, Origin, RunConfig, Task};

/// Name of the checkpoint in a run's folder.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// A run that could be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The run file.
    pub file: PathBuf,
    /// The stages of the run, at least one, their paths made whole.
    pub stages: Vec<RunConfig>,
    /// The folder that relative paths were taken from.
    pub base: PathBuf,
    /// Whether a checkpoint of one of the stages is in its folder.
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
        let mut stages = RunConfig::read_stages(file).map_err(|error| match error {
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
            .find(|base| is_there(&base.join(&stages[0].data)))
            .unwrap_or(here);
        let whole = |path: &mut PathBuf| *path = base.join(&*path);
        for config in &mut stages {
            whole(&mut config.out);
            whole(&mut config.data);
            config.holdout.iter_mut().for_each(whole);
            // One that is not there may lie among the pictures.
            if let Classes::Table(table) = &mut config.classes
                && base.join(&*table).exists()
            {
                whole(table);
            }
            match &mut config.task {
                Task::Flow(task) => {
                    task.tokenizer.iter_mut().chain(&mut task.from).for_each(whole);
                }
                Task::Joint(task) => whole(&mut task.model),
                Task::Tokenizer(_) => {}
            }
        }
        let mut needed = Vec::new();
        for (i, config) in stages.iter().enumerate() {
            needed.push(("The pictures", &config.data));
            match &config.task {
                Task::Flow(task) => {
                    // One that a stage before makes need not be there.
                    let made = |path: &&PathBuf| {
                        stages[..i].iter().any(|before| path.starts_with(&before.out))
                    };
                    let tokenizer = task.tokenizer.iter().filter(|path| !made(path));
                    needed.extend(tokenizer.map(|path| ("The tokenizer", path)));
                    needed.extend(task.from.iter().map(|path| ("The model", path)));
                }
                Task::Joint(task) => needed.push(("The model", &task.model)),
                Task::Tokenizer(_) => {}
            }
            needed.extend(config.holdout.iter().map(|path| ("The held-out pictures", path)));
        }
        let warning = needed.into_iter().find(|(_, path)| !is_there(path)).map(|(what, path)| {
            format!("{what} are not where the run file says: {} is missing.", path.display())
                .replace("tokenizer are not", "tokenizer is not")
                .replace("model are not", "model is not")
        });
        let held = stages.iter().any(|config| config.out.join(CHECKPOINT).exists());
        Ok(Self { file, stages, base, held, warning })
    }

    /// What the run is, as names, values and what they mean.
    pub fn words(&self) -> Vec<(&'static str, String, &'static str)> {
        let (first, last) = (&self.stages[0], &self.stages[self.stages.len() - 1]);
        let RunConfig { data, image_size, seed, .. } = first;
        // What is the same in every stage is said once.
        let of_each = |words: fn(&RunConfig) -> String| {
            let mut said: Vec<String> = self.stages.iter().map(words).collect();
            said.dedup();
            said.join("; then ")
        };
        vec![
            (
                "trains",
                of_each(trains),
                "What is trained: the autoencoder between pictures and codes, or the network on its codes.",
            ),
            (
                "on",
                format!("{}, at {image_size} pixels", self.short(data)),
                "The folder or shards of pictures, and the side that they are scaled to.",
            ),
            (
                "for",
                of_each(|run| format!("{} steps of {} pictures", run.steps, run.batch))
                    + &format!(", seed {seed}"),
                "Steps of the whole run, pictures a step, and the seed of everything random.",
            ),
            ("learning rate", of_each(rate), "How far a step moves the weights."),
            (
                "saves",
                of_each(|run| {
                    format!(
                        "every {} steps; samples every {}",
                        run.checkpoint_every, run.sample_every
                    )
                }),
                "How often a checkpoint and the model file are written, and how often pictures are made to look at.",
            ),
            (
                "into",
                self.short(&last.out),
                "The run's folder: checkpoint, figures, samples and the model.",
            ),
        ]
    }

    /// A path as short as it can be said.
    fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.base).unwrap_or(path).display().to_string()
    }
}

/// What a run trains.
fn trains(run: &RunConfig) -> String {
    match &run.task {
        Task::Tokenizer(task) => {
            format!("a tokenizer of {} codes of {} numbers", task.model.codes, task.model.code_size)
        }
        Task::Flow(task) => match task.origin() {
            Ok(Origin::Chance { sizes, .. }) => format!(
                "a flow, {}: {} wide, {} deep, {} heads, patches of {}",
                task.objective, sizes.hidden_size, sizes.depth, sizes.num_heads, sizes.patch_size,
            ),
            Ok(Origin::Model(model)) => format!(
                "the flow of {}, on from where it is",
                model.file_name().unwrap_or(model.as_os_str()).to_string_lossy()
            ),
            Err(reason) => reason,
        },
        Task::Joint(_) => "the flow and the tokenizer of a model, together".to_owned(),
    }
}

/// The learning rate of a run, and how it changes.
fn rate(run: &RunConfig) -> String {
    let OptimiserConfig { learning_rate, warmup_steps, decay_share, .. } = &run.optimiser;
    let mut rate = format!("{learning_rate:e}");
    if *warmup_steps > 0 {
        rate += &format!(", rising over {warmup_steps} steps");
    }
    if *decay_share > 0.0 {
        rate += &format!(", falling over the last {:.0} %", decay_share * 100.0);
    }
    rate
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
        // The pictures may well be there.
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(recipe.join("flow.toml")).unwrap();
        let file = folder.path().join("flow.toml");
        fs::write(&file, text.replace("data/dicebear", "nowhere")).unwrap();
        let plan = Plan::read(&file).unwrap();
        let words: Vec<String> = plan.words().into_iter().map(|(_, value, _)| value).collect();
        assert_eq!(words[0], "a flow, purrception: 192 wide, 8 deep, 6 heads, patches of 2");
        assert_eq!(words[2], "12700 steps of 64 pictures, seed 1");
        assert_eq!(words[3], "1e-3, rising over 100 steps, falling over the last 40 %");
        let warning = plan.warning.unwrap();
        assert!(warning.contains("nowhere/train"), "{warning}");
        let plan = Plan::read(&recipe.join("tokenizer.toml")).unwrap();
        assert_eq!(plan.words()[0].1, "a tokenizer of 1024 codes of 8 numbers");
    }

    #[test]
    fn paths_are_those_of_the_run_file_where_the_data_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let text = super::super::tests::tokenizer_run("out", 3);
        fs::create_dir_all(folder.path().join("toy-pictures")).unwrap();
        fs::create_dir_all(folder.path().join("runs/today")).unwrap();
        let file = folder.path().join("runs/today/run.toml");
        fs::write(&file, text).unwrap();
        let plan = Plan::read(&file).unwrap();
        assert_eq!(plan.stages[0].out, folder.path().join("out"));
        assert!(plan.warning.is_none() && !plan.held);
        assert_eq!(plan.words()[5].1, "out");
    }

    #[test]
    fn stages_are_put_into_words_together() {
        let folder = tempfile::tempdir().unwrap();
        let run = super::super::tests::tokenizer_run("x", 3);
        let common = "data = \"toy-pictures\"\nimage_size = 16\n";
        let stage: String = run
            .lines()
            .map(str::trim)
            .filter(|line| !["out", "data", "image_size"].iter().any(|name| line.starts_with(name)))
            .map(|line| {
                line.replacen('[', if line.starts_with('[') { "[stage." } else { "[" }, 1) + "\n"
            })
            .collect();
        let flow = "[[stage]]\nbatch = 2\nsteps = 5\n[stage.task]\nkind = \"flow\"\nname = \"f\"\n\
            [stage.task.backbone]\npatch_size = 1\nhidden_size = 8\ndepth = 1\nnum_heads = 2\n";
        fs::create_dir_all(folder.path().join("toy-pictures")).unwrap();
        let file = folder.path().join("run.toml");
        fs::write(&file, format!("{common}[[stage]]\n{stage}{flow}")).unwrap();
        let plan = Plan::read(&file).unwrap();
        let words: Vec<String> = plan.words().into_iter().map(|(_, value, _)| value).collect();
        assert!(
            words[0].starts_with("a tokenizer of") && words[0].contains("; then a flow, "),
            "{words:?}"
        );
        assert!(
            words[2].contains("3 steps of") && words[2].contains("; then 5 steps of 2 pictures"),
            "{words:?}"
        );
        assert_eq!(plan.stages[1].out, folder.path());
        assert!(
            plan.warning.is_none(),
            "its tokenizer is made by the stage before: {:?}",
            plan.warning
        );
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
