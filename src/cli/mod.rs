//! The command line: arguments to commands, errors to one line.

mod average;
mod bench;
mod calibrate;
mod codes;
mod devices;
mod doctor;
mod evaluate;
mod import;
mod inspect;
mod new_run;
mod oracle;
mod progress;
mod replaced;
mod sample;
mod settings;
mod swap_decoder;
mod sweep;
mod train;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::data::is_table;
use crate::device::{AUTOTUNED, DeviceChoice, Selected, guard, select};
use crate::doctor::{Records, Standing, heed};
use crate::flow::StepRecord;
use crate::io::atomic;
use crate::model::{Model, Precision, PrecisionChoice, file_of};
use crate::studio::StudioOptions;
use crate::studio::window::measure;
use crate::train::Override;
use crate::{fault, say};

/// Watch, question and steer a generative flow over vector-quantised latents.
///
/// Without a command: opens the studio, on MODEL or on the embedded model.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Model file to open in the studio, or a run's folder with one (the embedded model if none is named)
    model: Option<PathBuf>,
    /// Trains as the run file says, without a window
    #[arg(long, value_name = "RUN.toml", conflicts_with = "model")]
    train: Option<PathBuf>,
    /// Continues the run from its last checkpoint
    #[arg(long, requires = "train")]
    resume: bool,
    /// Changes an entry of the run file for this start, such as optimiser.learning_rate=1e-4, or flow.steps=5000 where it
    /// has several stages; may be repeated
    #[arg(long, requires = "train", value_name = "ENTRY=VALUE")]
    set: Vec<Override>,
    #[command(flatten)]
    device: DeviceArg,
    /// What the networks of the studio compute with: f32, f16 (half precision, on a GPU that has it:
    /// half the memory, other last digits) or auto (f32)
    #[arg(long, value_name = "P", default_value_t = PrecisionChoice::Auto, conflicts_with = "train")]
    precision: PrecisionChoice,
}

#[derive(Debug, Clone, Copy, Args)]
struct DeviceArg {
    /// Where to compute: auto, gpu, gpu:N or cpu (`purrscope devices` lists them)
    #[arg(long, value_name = "D", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Whether a GPU may try several ways of doing each operation and take the fastest (on, off). It is
    /// decided when the program is built; the other choice is refused, and how to build it is said
    #[arg(long)]
    autotune: Option<Autotune>,
}

/// What may be asked of autotuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Autotune {
    /// Tried, and the fastest taken
    On,
    /// One way for each operation
    Off,
}

#[derive(Debug, Clone, Copy, Args)]
struct PrecisionArg {
    /// What the networks compute with: f32, f16 (half precision, on a GPU that has it: half the memory,
    /// other last digits) or auto (that of a restored picture, else f32)
    #[arg(long, value_name = "P", default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
}

/// The device of the command, to be asked whether it is lost when something goes wrong.
static OPENED: OnceLock<Selected> = OnceLock::new();

impl DeviceArg {
    /// The device that is asked for, where what is asked of autotuning is what this program does.
    fn choice(self) -> Result<DeviceChoice> {
        match (self.autotune, AUTOTUNED) {
            (Some(Autotune::On), false) => bail!(
                "this program was built without autotuning, which cannot be added as it runs: \
                 `cargo build --release --features autotune` builds one that has it"
            ),
            (Some(Autotune::Off), true) => bail!(
                "this program was built with autotuning, which cannot be switched off as it runs: \
                 `cargo build --release` builds one without it"
            ),
            _ => Ok(self.device),
        }
    }

    /// Opens the device and says on standard error which one it is. A GPU that is known to compute
    /// wrongly is not taken of the program's own accord.
    fn open(self) -> Result<Selected> {
        self.open_if(|records, gpu| Ok(records.standing(gpu).cloned()))
    }

    /// As [`DeviceArg::open`], after an examination of a GPU that was never examined.
    fn open_examined(self) -> Result<Selected> {
        self.open_if(|records, gpu| {
            if gpu.handles.is_some() && records.standing(gpu).is_none() {
                say::note("checking the device, once (`purrscope doctor` says more)");
            }
            Ok(Some(records.examined(gpu)?))
        })
    }

    fn open_if(
        self,
        standing: impl FnOnce(&mut Records, &Selected) -> Result<Option<Standing>>,
    ) -> Result<Selected> {
        let choice = self.choice()?;
        let selected = select(choice)?;
        let standing = standing(&mut Records::of_user(), &selected)?;
        let (selected, notice) = heed(choice, selected, standing)?;
        notice.into_iter().for_each(say::note);
        say::note(format_args!("device: {}", selected.description));
        // A command opens one device.
        let _ = OPENED.set(selected.clone());
        Ok(selected)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generates pictures without a window
    Sample(Box<sample::SampleArgs>),
    /// Varies two settings and lays the pictures out on one sheet
    Sweep(Box<sweep::SweepArgs>),
    /// Converts a checkpoint of the reference implementation to a model file
    Import(import::ImportArgs),
    /// Turns pictures into codes
    Encode(codes::EncodeArgs),
    /// Turns codes into pictures
    Decode(codes::DecodeArgs),
    /// Writes the run file that trains a model on a folder of pictures
    NewRun(new_run::NewRunArgs),
    /// Makes a model of a run's weights, averaged over a length chosen afterwards
    Average(average::AverageArgs),
    /// Puts the decoder of a tokenizer that went on learning into a model
    SwapDecoder(swap_decoder::SwapDecoderArgs),
    /// Compares pictures of a model with real ones: distances, precision, recall, variety, copies
    Evaluate(Box<evaluate::EvaluateArgs>),
    /// Runs solvers on the exact posterior of a codebook, where the truth is known
    Oracle(Box<oracle::OracleArgs>),
    /// Measures whether a model's posteriors mean what they say, and finds the temperatures that fit
    Calibrate(calibrate::CalibrateArgs),
    /// Describes a model, trajectory, codes file or exported PNG
    Inspect(inspect::InspectArgs),
    /// Lists the adapters of this machine and what each can run
    Devices(devices::DevicesArgs),
    /// Checks every operation of a device against stored numbers
    Doctor(doctor::DoctorArgs),
    /// Measures this machine: operations, sampling, training, and the studio's frames
    Bench(bench::BenchArgs),
}

/// Runs the program: 0 on success, 1 with one line on standard error, 2 for a wrong command line.
pub fn main() -> ExitCode {
    measure::mark_start();
    #[cfg(target_os = "linux")]
    without_device_selection();
    fault::listen();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("warn,purrscope=info,wgpu=error,naga=error,winit=error")
    });
    let said = fmt::layer().with_target(false).without_time().with_writer(|| say::Log);
    // What the studio shows in its log: warnings of this program, whatever is asked of standard error.
    let kept = fmt::layer().with_target(false).with_level(false).with_ansi(false).without_time();
    let kept = kept.with_writer(|| say::Kept);
    let warnings = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::WARN);
    tracing_subscriber::registry()
        .with(said.with_filter(filter))
        .with(kept.with_filter(warnings))
        .init();
    match catch_unwind(AssertUnwindSafe(parse_and_run)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&one_line(&error)),
        Err(panic) => fail(&fault::describe(panic.as_ref())),
    }
}

fn parse_and_run() -> Result<()> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if is_bad_value(&error) => {
            // The command line is in order, a value is not: bad input like any other.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or("a value is not valid");
            bail!("{}", line.trim_start_matches("error: "));
        }
        Err(error) => error.exit(),
    };
    let check = || OPENED.get().map_or(Ok(()), Selected::check);
    match (&cli.command, &cli.train) {
        // The studio reports what happens to its device in its window.
        (None, None) => run(cli),
        _ => guard(check, || run(cli)).map_err(anyhow::Error::from).flatten(),
    }
}

/// Whether a value was given that cannot be; one that is missing is a wrong command line.
fn is_bad_value(error: &clap::Error) -> bool {
    let empty = ContextValue::String(String::new());
    match error.kind() {
        ErrorKind::ValueValidation => true,
        ErrorKind::InvalidValue => error.get(ContextKind::InvalidValue) != Some(&empty),
        _ => false,
    }
}

/// Says in one line what is wrong.
fn fail(line: &str) -> ExitCode {
    say::note(format_args!("error: {line}"));
    ExitCode::FAILURE
}

/// An error and its causes, those left out that an earlier one has quoted.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().replace('\n', " ");
        if !line.contains(&cause) {
            let colon = if line.is_empty() { "" } else { ": " };
            line = line + colon + &cause;
        }
    }
    /// Some errors quote what they refuse, however long that is.
    const MOST: usize = 2000;
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

/// What `purrscope sample` makes of a command line, for tests of programs that spell one.
#[cfg(test)]
pub(crate) fn parse_sample(
    words: &[String],
    card: &crate::model::ModelCard,
) -> crate::flow::SampleSettings {
    match Cli::try_parse_from(words).unwrap().command {
        Some(Command::Sample(args)) => args.settings.settings(card).unwrap(),
        _ => panic!("not a command that samples: {words:?}"),
    }
}

/// Starts the program again without Mesa's device-selection layer, where there is no session for it
/// to ask: it would write error messages of its own among ours.
#[cfg(target_os = "linux")]
fn without_device_selection() {
    use std::os::unix::process::CommandExt;
    const LAYER_OFF: &str = "NODEVICE_SELECT";
    let set = |name| std::env::var_os(name).is_some();
    if set("XDG_RUNTIME_DIR") || set(LAYER_OFF) {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // It returns only where the program could not be started again; then this one goes on.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(LAYER_OFF, "1")
            .exec();
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Some(Command::Sample(args)) => sample::run(&args),
        Some(Command::Sweep(args)) => sweep::run(&args),
        Some(Command::Import(args)) => import::run(&args),
        Some(Command::Encode(args)) => codes::encode(&args),
        Some(Command::Decode(args)) => codes::decode(&args),
        Some(Command::NewRun(args)) => new_run::run(args),
        Some(Command::Average(args)) => average::run(&args),
        Some(Command::SwapDecoder(args)) => swap_decoder::run(&args),
        Some(Command::Evaluate(args)) => evaluate::run(&args),
        Some(Command::Oracle(args)) => oracle::run(&args),
        Some(Command::Calibrate(args)) => calibrate::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Devices(args)) => devices::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        None => match cli.train {
            Some(file) => train::run(&file, &cli.set, cli.resume, cli.device),
            None => studio(cli),
        },
    }
}

fn studio(cli: Cli) -> Result<()> {
    let Cli { model, device, precision, .. } = cli;
    if let Some(path) = &model
        && !path.exists()
    {
        // A word that is neither a command nor a file is most likely a misspelt command.
        Cli::command()
            .error(
                ErrorKind::InvalidSubcommand,
                format!("no command and no file is called '{}'", path.display()),
            )
            .exit();
    }
    let (model, device) = (model.as_deref().map(file_of), device.choice()?);
    Ok(crate::studio::run(StudioOptions { model, device, precision, measure: None })?)
}

/// Opens a model file, or the embedded model, in the precision that was asked for or, where that was
/// left open, the one that is `recorded`.
fn open_model(
    path: Option<&Path>,
    selected: &Selected,
    precision: PrecisionArg,
    recorded: Option<Precision>,
) -> Result<Model> {
    let device = &selected.device;
    let precision = precision.precision.on(selected, recorded)?;
    Ok(match path {
        Some(path) => Model::open_in(precision, path, device)?,
        None => Model::embedded_in(precision, device)?,
    })
}

/// That a table of classes is called as one.
fn expect_table(path: &Path) -> Result<()> {
    ensure!(is_table(path), "{}: expected a table whose name ends in .csv or .tsv", path.display());
    Ok(())
}

/// Whether a step led anywhere: in half precision a number may be larger than it holds.
fn check_finite(step: &StepRecord, model: &Model) -> Result<()> {
    let numbers = &step.x_next.values;
    let advice = match model.precision() {
        Precision::F16 => ": this model's are too large for half precision; use --precision f32",
        Precision::F32 => "",
    };
    ensure!(
        numbers.iter().all(|value| value.is_finite()),
        "step {} gave numbers that are not finite{advice}",
        step.step + 1
    );
    Ok(())
}

/// Asks for an end through `stop` on Ctrl-C, and says so; pressed again, it ends the program at once.
fn stop_on_interrupt(stop: &'static AtomicBool, said: &'static str) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        say::note(said);
    })
    .context("cannot listen for Ctrl-C")
}

/// Writes a file into a folder, beside files of other contents that have its name already.
fn write_beside(folder: &Path, stem: &str, end: &str, bytes: &[u8]) -> Result<PathBuf> {
    atomic::write_beside(folder, stem, end, bytes)
        .with_context(|| format!("cannot write {}.{end}", folder.join(stem).display()))
}

/// Prints to standard output; a reader that has gone away is no error.
fn print(text: &str) -> Result<()> {
    say::out(text).context("standard output cannot be written to")
}
