//! PyTorch, which does the same work in turns with this program where a Python has it.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::timing::Timing;
use crate::model::card::TokenizerConfig;
use crate::model::layers::Initialiser;
use crate::model::params::{self, Naming};
use crate::model::{Dit, DitConfig, Tokenizer, dit, tokenizer};
use crate::train::TokenizerTask;

/// Its side of the work, and the networks.
const SCRIPTS: [(&str, &str); 2] = [
    ("torch_peer.py", include_str!("../../benches/torch_peer.py")),
    ("networks.py", include_str!("../../scripts/networks.py")),
];

/// A Python that runs PyTorch's side.
pub struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Its name and version, and the vectors that it uses, once it has said so.
    program: String,
    /// The turns of the row in hand, warm-up first; nothing where the row is not for it.
    turns: Option<Vec<Turn>>,
    /// Where the scripts lie while it runs.
    _folder: TempDir,
}

/// The same work done by this program and then by the peer.
#[derive(Debug, Clone, Copy)]
struct Turn {
    own: Duration,
    its: Duration,
}

/// What a row has to say of the peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// Its own times.
    pub timing: Timing,
    /// How many times as fast this program was: the median over the turns, in each of which both met about
    /// the same load.
    pub faster: f64,
}

impl Peer {
    /// Starts it, to compute with so many threads.
    ///
    /// # Errors
    /// There is no such program. Whether it has PyTorch shows when work begins.
    pub fn start(python: &Path, threads: usize) -> Result<Self, String> {
        let fault = |error: std::io::Error| format!("{}: {error}", python.display());
        let folder = TempDir::new().map_err(fault)?;
        for (name, text) in SCRIPTS {
            std::fs::write(folder.path().join(name), text).map_err(fault)?;
        }
        let mut process = Command::new(python)
            .arg(folder.path().join(SCRIPTS[0].0))
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(fault)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both were asked to be pipes");
        };
        let (output, program) = (BufReader::new(output), "PyTorch".to_owned());
        Ok(Self { process, input, output, program, turns: None, _folder: folder })
    }

    /// Has it prepare the work of a row.
    ///
    /// # Errors
    /// It has ended, which it explains on standard error.
    pub fn begin(&mut self, task: &Value) -> Result<(), String> {
        let answer = self.ask(task)?;
        if let (Some(program), Some(vectors)) =
            (answer["program"].as_str(), answer["vectors"].as_str())
        {
            self.program = format!("{program}, {vectors}");
        }
        self.turns = Some(Vec::new());
        Ok(())
    }

    /// Has it take its turn, if it is for it, after this program has taken `own`.
    ///
    /// # Errors
    /// As for [`Peer::begin`].
    pub fn turn(&mut self, seed: u64, own: Duration) -> Result<(), String> {
        if self.turns.is_none() {
            return Ok(());
        }
        let seconds = self.ask(&json!(seed))?.as_f64();
        let its = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let its = its.ok_or_else(|| format!("{} did not say how long it took", self.program))?;
        self.turns.get_or_insert_default().push(Turn { own, its });
        Ok(())
    }

    /// What it did in the row that has ended.
    pub fn end(&mut self) -> Option<Beside> {
        let turns = self.turns.take()?;
        let (warm_up, measured) = turns.split_first()?;
        let counted = if measured.is_empty() { &turns } else { measured };
        let mut ratios: Vec<f64> = counted
            .iter()
            .map(|turn| turn.its.as_secs_f64() / turn.own.as_secs_f64().max(1e-9))
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        Some(Beside {
            timing: Timing::of(warm_up.its, measured.iter().map(|turn| turn.its).collect()),
            faster: (ratios[(ratios.len() - 1) / 2] + ratios[ratios.len() / 2]) / 2.0,
        })
    }

    /// Name and version, and the vectors that it uses.
    pub fn program(&self) -> &str {
        &self.program
    }

    fn ask(&mut self, what: &Value) -> Result<Value, String> {
        let gone = |_| format!("{} has ended", self.program);
        writeln!(self.input, "{what}").and_then(|()| self.input.flush()).map_err(gone)?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(gone)?;
        serde_json::from_str(&line).map_err(|_| format!("{} has ended", self.program))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("program", &self.program).finish_non_exhaustive()
    }
}

/// What work is done on: so many pictures, of tokens out of so many codes of so many numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub batch: usize,
    pub codes: usize,
    pub code_size: usize,
}

impl Extent {
    /// Of a network whose output are logits.
    pub fn of(config: &DitConfig, batch: usize) -> Self {
        Self { batch, codes: config.out_channels, code_size: config.in_channels }
    }
}

/// A step of the sampler.
pub(super) fn step(config: &DitConfig, extent: Extent, guided: bool) -> Value {
    let mut task = of_backbone("step", config, extent);
    task["guided"] = json!(guided);
    task
}

/// A step of the flow's training.
pub(super) fn flow_training(config: &DitConfig, extent: Extent) -> Value {
    of_backbone("train_flow", config, extent)
}

fn of_backbone(kind: &str, config: &DitConfig, extent: Extent) -> Value {
    let blank = Dit::new(config, &mut Initialiser::blank(&burn::tensor::Device::flex()));
    json!({
        "kind": kind,
        "shapes": shapes(&blank, dit::reference_name),
        "side": config.input_size,
        "patch": config.patch_size,
        "heads": config.num_heads,
        "classes": config.num_classes,
        "batch": extent.batch,
        "codes": extent.codes,
        "code_size": extent.code_size,
    })
}

/// Decoding of latents of so many tokens a side.
pub(super) fn decoding(config: &TokenizerConfig, side: usize, batch: usize) -> Value {
    let mut task = of_tokenizer("decode", config, batch);
    task["side"] = json!(side);
    task
}

/// A step of a tokenizer's training, on pictures of so many pixels a side.
pub(super) fn tokenizer_training(task: &TokenizerTask, size: usize, batch: usize) -> Value {
    let TokenizerTask { model, l1, l2, edges, codebook, commitment, .. } = task;
    let mut task = of_tokenizer("train_tokenizer", model, batch);
    task["size"] = json!(size);
    task["loss"] = json!({
        "l1": l1, "l2": l2, "edges": edges, "codebook": codebook, "commitment": commitment
    });
    task
}

fn of_tokenizer(kind: &str, config: &TokenizerConfig, batch: usize) -> Value {
    let blank = Tokenizer::new(config, &mut Initialiser::blank(&burn::tensor::Device::flex()));
    json!({
        "kind": kind,
        "shapes": shapes(&blank, tokenizer::reference_name),
        "groups": config.groups,
        "l2_normalised": config.l2_normalised,
        "code_size": config.code_size,
        "batch": batch,
    })
}

/// Names and shapes of all weights, in the words of the scripts.
fn shapes<M: burn::module::Module>(module: &M, naming: Naming) -> Value {
    params::shapes(module, naming).into_iter().map(|(name, shape)| (name, json!(shape))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_is_not_there_or_ends_is_told() {
        let missing = Peer::start(Path::new("no/such/python"), 1).map(|_| ());
        assert!(missing.unwrap_err().contains("no/such/python"));
        if cfg!(unix) {
            let mut peer = Peer::start(Path::new("/bin/false"), 1).unwrap();
            assert!(
                peer.turn(0, Duration::ZERO).is_ok(),
                "a row that is not for it asks nothing of it"
            );
            assert_eq!(peer.begin(&json!({})).unwrap_err(), "PyTorch has ended");
        }
    }

    #[cfg(unix)]
    #[test]
    fn turns_become_a_timing() {
        use std::os::unix::fs::PermissionsExt;
        let folder = TempDir::new().unwrap();
        let python = folder.path().join("python");
        let answers = "#!/bin/sh\nread a; echo '{\"program\": \"P 1\", \"vectors\": \"V\"}'\n\
             for t in 9 0.5 0.25 2; do read a; echo $t; done\n";
        std::fs::write(&python, answers).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut peer = Peer::start(&python, 1).unwrap();
        peer.begin(&json!({ "kind": "step" })).unwrap();
        // The last turn is an odd one.
        for (seed, own) in [1000, 250, 125, 500].into_iter().enumerate() {
            peer.turn(seed as u64, Duration::from_millis(own)).unwrap();
        }
        let Beside { timing, faster } = peer.end().unwrap();
        assert_eq!((timing.median, timing.iterations), (Duration::from_millis(500), 3));
        assert_eq!(faster, 2.0);
        assert_eq!(peer.program(), "P 1, V");
        assert!(peer.end().is_none(), "the next row has none of it");
    }
}
