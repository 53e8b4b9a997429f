//! `purrscope bench`

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{DeviceArg, PrecisionArg};
use crate::bench::{self, Adapter, Options, Part, Peer, Processor, Row, Size};
use crate::device::{DeviceChoice, Selected, select};
use crate::io::atomic;
use crate::io::outputs::{self, Content};
use crate::model::Precision;
use crate::studio::window::measure::Order;
use crate::studio::{self, StudioOptions};
use crate::train::program;

/// Seconds that a row, and the studio, are measured for unless the command line says otherwise.
const ROW_SECONDS: f64 = 3.0;
const STUDIO_SECONDS: f64 = 20.0;
/// Rows that a part has time for.
const ROWS_OF_A_PART: f64 = 40.0;

/// Measures this machine.
///
/// Every row is a median over inputs of its own, with the shortest and the longest time. Rates follow
/// from the median. In the JSON, the end of every key is its unit; times of an iteration are in
/// milliseconds.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure: kernels, sampling, training; cpu, which is what a laptop without a GPU waits for;
    /// studio (the first three if none is named)
    #[arg(value_name = "PART")]
    parts: Vec<Part>,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    precision: PrecisionArg,
    /// Seconds to measure each row for, after a warm-up (default: 3; of the studio's frames: 20)
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<f64>,
    /// Seconds after which no further row of a part begins (default: 40 times those of a row)
    #[arg(long, value_name = "N", value_parser = seconds)]
    part_seconds: Option<f64>,
    /// Sizes of networks with random weights, at 32x32 tokens and 16,384 codes (default:
    /// S/2,B/2,L/2,XL/2, of which those are left out that do not fit the machine or the time)
    #[arg(long = "size", value_name = "SIZES", value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Only rows that have this in their names
    #[arg(long, value_name = "TEXT")]
    row: Option<String>,
    /// Also writes the figures as JSON, after every row
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
    /// A Python that has PyTorch, which does what `bench cpu` measures in turns with it: then every row
    /// says how many times as fast this program is
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,
}

impl BenchArgs {
    fn options(&self, document: &Document<'_>, peer: Option<Peer>) -> Options {
        let row = self.seconds.unwrap_or(ROW_SECONDS);
        let turns = if peer.is_some() { 2.0 } else { 1.0 };
        let part = self.part_seconds.unwrap_or(turns * row * ROWS_OF_A_PART);
        let [row_limit, part_limit] = [row, part].map(Duration::from_secs_f64);
        let (sizes, precision) = (document.sizes.clone(), document.precision);
        let (row, peer) = (self.row.clone(), peer.map(RefCell::new));
        Options { row_limit, part_limit, sizes, precision, row, peer }
    }
}

/// A number of seconds that a measurement can take.
fn seconds(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok().filter(|seconds| (0.001..=3600.0).contains(seconds));
    parsed.ok_or_else(|| "expected a number from 0.001 to 3600".to_owned())
}

/// Measures what is asked for, and prints a line for each row as it ends.
pub fn run(args: &BenchArgs) -> Result<()> {
    if let Some(path) = &args.json {
        outputs::check(path, Content::REPORT, &[])?;
        outputs::prepare(path)?;
    }
    let mut document = Document::new(args);
    ensure!(
        args.torch.is_none() || document.parts.contains(&Part::Cpu),
        "--torch goes with `bench cpu`"
    );
    let on_device = document.parts.iter().any(|part| !matches!(part, Part::Cpu | Part::Studio));
    if on_device {
        let selected = args.device.open()?;
        document.on(&selected);
        document.precision = args.precision.precision.on(&selected, None)?;
        let options = args.options(&document, None);
        for part in document.parts.clone().into_iter().filter(|part| *part != Part::Cpu) {
            bench::run(part, &selected, &options, &mut |row| document.hear(row));
        }
    }
    if document.parts.contains(&Part::Cpu) {
        let selected = select(DeviceChoice::Cpu)?;
        if !on_device {
            document.on(&selected);
        }
        let start = |python: &PathBuf| Peer::start(python, rayon::current_num_threads());
        let peer = args.torch.as_ref().map(start).transpose().map_err(Error::msg)?;
        let options = Options { precision: Precision::F32, ..args.options(&document, peer) };
        bench::run(Part::Cpu, &selected, &options, &mut |row| document.hear(row));
        document.peer = options.peer.map(|peer| peer.borrow().program().to_owned());
    }
    if document.parts.contains(&Part::Studio) {
        let lasts = Duration::from_secs_f64(args.seconds.unwrap_or(STUDIO_SECONDS));
        let order = Order::new(lasts);
        let measure = Some(order.clone());
        studio::run(StudioOptions {
            model: None,
            device: args.device.choice()?,
            precision: args.precision.precision,
            measure,
        })?;
        let Some(found) = order.found() else {
            bail!("the studio was closed before its frames were measured");
        };
        if document.device.is_empty() {
            document.on(&select(args.device.choice()?)?);
            document.device.clone_from(&found.device);
        }
        let wanted = |row: &Row| bench::is_wanted(&row.name, args.row.as_deref());
        found.rows().into_iter().filter(wanted).for_each(|row| document.hear(row));
    }
    if let Some(part) = args.row.as_ref().filter(|_| document.rows.is_empty()) {
        bail!("no row of what was to be measured has '{part}' in its name");
    }
    document.finish()
}

/// What was measured so far, and where it goes.
struct Document<'a> {
    args: &'a BenchArgs,
    parts: Vec<Part>,
    sizes: Vec<Size>,
    begun: Instant,
    device: String,
    adapter: Option<Adapter>,
    precision: Precision,
    /// What was measured beside this program.
    peer: Option<String>,
    rows: Vec<Row>,
}

impl<'a> Document<'a> {
    fn new(args: &'a BenchArgs) -> Self {
        let asked = |part: &Part| match args.parts.is_empty() {
            true => !matches!(part, Part::Cpu | Part::Studio),
            false => args.parts.contains(part),
        };
        Self {
            args,
            parts: Part::ALL.into_iter().filter(asked).collect(),
            sizes: if args.sizes.is_empty() { Size::reference() } else { args.sizes.clone() },
            begun: Instant::now(),
            device: String::new(),
            adapter: None,
            precision: Precision::F32,
            peer: None,
            rows: Vec::new(),
        }
    }

    /// Takes note of the device.
    fn on(&mut self, selected: &Selected) {
        self.device.clone_from(&selected.description);
        self.adapter = Adapter::of(selected);
    }

    /// Prints a row, with a heading where a part begins, and writes the file anew: whatever ends the
    /// command, the rows before are kept.
    fn hear(&mut self, row: Row) {
        let first = self.rows.last().is_none_or(|before| before.part != row.part);
        let heading = if first { format!("\n{}\n", row.part) } else { String::new() };
        // A reader that has gone away misses the rest; the file is still written.
        let _ = super::print(&format!("{heading}{row}\n"));
        self.rows.push(row);
        if let Err(error) = self.write(false) {
            tracing::debug!("the figures so far are not kept: {error:#}");
        }
    }

    fn json(&self, finished: bool) -> Value {
        json!({
            "program": program(),
            "device": self.device,
            "adapter": self.adapter,
            "processor": Processor::here(),
            "options": {
                "parts": self.parts,
                "device": self.args.device.device.to_string(),
                "row_seconds": self.args.seconds.unwrap_or(ROW_SECONDS),
                "row": self.args.row,
                "sizes": self.sizes,
                "precision": self.precision.to_string(),
            },
            "peer": self.peer,
            "finished": finished,
            "total_seconds": self.begun.elapsed().as_secs_f64(),
            "rows": self.rows,
        })
    }

    fn write(&self, finished: bool) -> Result<()> {
        let Some(path) = &self.args.json else { return Ok(()) };
        atomic::write(path, format!("{:#}\n", self.json(finished)).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn finish(&self) -> Result<()> {
        self.write(true)?;
        let failed: Vec<_> = self.rows.iter().filter(|row| row.is_failure()).collect();
        let Some(first) = failed.first() else { return Ok(()) };
        bail!(
            "{} of {} rows failed, the first of them '{}'",
            failed.len(),
            self.rows.len(),
            first.name
        )
    }
}
