//! `purrscope oracle`: solvers on the exact posterior, where the truth is known.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::flow::codebooks::{Frequencies, Layout, normal_codes, zipf};
use crate::flow::trajectory::Trajectory;
use crate::flow::{
    Grid, Latents, Oracle, Predictor, RunRecord, SampleSettings, Sampler, Solver, StepRecord,
    Temperature, seeded_noise,
};
use crate::io::atomic;
use crate::io::outputs::{self, Content};
use crate::model::{Model, params};

/// Intervals of the solution that others are compared with.
const EXACT_STEPS: usize = 800;

#[derive(Debug, Args)]
pub struct OracleArgs {
    /// Codes: random, ring, grid, moons or spiral (but for random of two numbers each), or those of a model file
    #[arg(long, default_value = "random")]
    codebook: String,
    /// Number of codes, where no model gives them
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    codes: u32,
    /// Size of a random code
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    size: u32,
    /// Prior of the codes: all alike, or one over their rank
    #[arg(long, value_enum, default_value_t = Prior::Zipf)]
    prior: Prior,
    /// Side of the grid of tokens
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    side: u32,
    /// Seed of the noise and of random codes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples as the dfm objective does, from masked codes
    #[arg(long)]
    masked: bool,
    /// Solver: euler, midpoint, heun, rk4, dopri5 or exp2m
    #[arg(long, default_value_t = Solver::Euler)]
    solver: Solver,
    /// Grid of times: uniform, cosine or shifted:S
    #[arg(long, default_value_t = Grid::Uniform)]
    grid: Grid,
    /// Intervals of the grid
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Temperature, as for `sample`; only at 1 do the codes keep their prior
    #[arg(long, default_value = "1", allow_hyphen_values = true)]
    temperature: Temperature,
    /// Stochasticity, as for `sample`
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    eta: f32,
    /// Writes the full record of the run as safetensors
    #[arg(long, value_name = "FILE")]
    trajectory: Option<PathBuf>,
    /// Compares all solvers at many step counts with the exact flow instead
    #[arg(long, conflicts_with_all = ["trajectory", "masked"])]
    compare: bool,
    /// Draws the comparison
    #[arg(long, value_name = "FILE.svg", requires = "compare")]
    plot: Option<PathBuf>,
    /// Prints JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Prior {
    Uniform,
    Zipf,
}

/// The most numbers of a state, and the most logits: a gigabyte in double precision.
const MOST_NUMBERS: usize = 1 << 27;

/// Runs a solver, or all of them.
pub fn run(args: &OracleArgs) -> Result<()> {
    let model = Layout::named(&args.codebook).is_none().then(|| Path::new(&args.codebook));
    let read: Vec<&Path> = model.into_iter().collect();
    if let Some(path) = &args.trajectory {
        outputs::check(path, Content::TENSORS, &read)?;
    }
    if let Some(path) = &args.plot {
        outputs::check(path, Content::DRAWING, &read)?;
    }
    let (codebook, size) = codebook(args)?;
    let count = codebook.len() / size;
    let tokens = (args.side as usize).pow(2);
    ensure!(
        tokens.saturating_mul(count.max(size)) <= MOST_NUMBERS,
        "{tokens} tokens of {count} codes of {size} numbers are too many to compute with: make --side \
         smaller, or the codes fewer"
    );
    let prior: Vec<f64> = match args.prior {
        Prior::Uniform => vec![1.0; count],
        Prior::Zipf => zipf(count),
    };
    let oracle = Oracle::new(codebook, size, &prior, args.side as usize)
        .context("these codes and this prior make no posterior")?;
    if args.compare {
        return compare(args, &oracle);
    }
    let oracle = if args.masked { oracle.masked() } else { oracle };
    let settings = SampleSettings {
        labels: vec![0],
        seed: args.seed,
        solver: args.solver,
        grid: args.grid,
        steps: args.steps,
        temperature: args.temperature.clone(),
        guidance: 1.0,
        eta: args.eta,
        ..SampleSettings::default()
    };
    let mut sampler = Sampler::new(&oracle, settings.clone(), None)?;
    if let Some(path) = &args.trajectory {
        super::sample::check_kept(StepRecord::bytes_of(oracle.latent_shape(1), args.steps))?;
        outputs::prepare(path)?;
    }
    let mut trajectory = Trajectory::default();
    let mut evaluations = 0;
    for step in sampler.by_ref() {
        evaluations = step.evaluations;
        if args.trajectory.is_some() {
            trajectory.push(step);
        }
    }
    let codes = sampler.codes();
    if let Some(path) = &args.trajectory {
        let record = RunRecord::new("oracle", "", &settings);
        trajectory.write(path, &settings, record.to_json()?, &codes)?;
    }
    report(args, &prior, &codes, evaluations)
}

/// The numbers of all codes, and how many a code has.
fn codebook(args: &OracleArgs) -> Result<(Vec<f32>, usize)> {
    let count = args.codes as usize;
    match Layout::named(&args.codebook) {
        Some(Layout::Random) => {
            let size = args.size as usize;
            Ok((normal_codes(count, size, args.seed), size))
        }
        Some(layout) => Ok((layout.codes(count, args.seed).into_flattened(), 2)),
        None => {
            let model = Model::open(Path::new(&args.codebook), &Device::flex())?;
            let size = model.card.tokenizer.code_size;
            Ok((params::host(model.codebook().clone()), size))
        }
    }
}

/// How often each code came up, against its prior.
fn report(args: &OracleArgs, prior: &[f64], codes: &[u32], evaluations: usize) -> Result<()> {
    let Frequencies { expected, found, variation, by_chance } = Frequencies::of(codes, prior);
    if args.json {
        let report = json!({
            "tokens": codes.len(), "evaluations": evaluations, "prior": expected,
            "frequencies": found, "total_variation": variation,
            "total_variation_by_chance": by_chance,
        });
        return super::print(&(serde_json::to_string_pretty(&report)? + "\n"));
    }
    let mut text =
        format!("{} tokens, {evaluations} evaluations\n\ncode     prior  frequency\n", codes.len());
    const SHOWN: usize = 16;
    for (code, (found, expected)) in found.iter().zip(&expected).take(SHOWN).enumerate() {
        text += &format!("{code:>4}  {expected:8.4}   {found:8.4}\n");
    }
    if prior.len() > SHOWN {
        text += &format!("and {} more\n", prior.len() - SHOWN);
    }
    text +=
        &format!("\ntotal variation {variation:.4}; sampling alone gives about {by_chance:.4}\n");
    super::print(&text)
}

/// One run against the exact flow.
struct Point {
    solver: Solver,
    steps: usize,
    evaluations: usize,
    error: f64,
}

/// Errors of the state half-way, at `t = 1/2`: at `t = 1` every run ends on a code.
fn compare(args: &OracleArgs, oracle: &Oracle) -> Result<()> {
    args.plot.iter().try_for_each(|path| outputs::prepare(path))?;
    let noise = seeded_noise(args.seed, oracle.latent_shape(1));
    let halfway = |solver: Solver, steps: usize| -> Result<(Latents, usize)> {
        let settings = SampleSettings {
            labels: vec![0],
            solver,
            steps: 2 * steps,
            grid: args.grid,
            temperature: args.temperature.clone(),
            guidance: 1.0,
            ..SampleSettings::default()
        };
        let run = Sampler::new(oracle, settings, Some(noise.clone()))?;
        let last = run.take(steps).last().context("a run of no steps")?;
        Ok((last.x_next, last.evaluations))
    };
    let (exact, _) = halfway(Solver::Rk4, EXACT_STEPS)?;
    let mut points = Vec::new();
    for solver in [Solver::Euler, Solver::Midpoint, Solver::Heun, Solver::Rk4, Solver::Exp2m] {
        for steps in [2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80] {
            let (state, evaluations) = halfway(solver, steps)?;
            let squares = state.values.iter().zip(&exact.values);
            let squares = squares.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            let error = (squares / exact.values.len() as f64).sqrt();
            points.push(Point { solver, steps, evaluations, error });
        }
    }
    if let Some(path) = &args.plot {
        ensure!(points.iter().all(|point| point.error > 0.0), "there is no error to draw");
        atomic::write(path, draw(&points).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        let list: Vec<_> = points
            .iter()
            .map(|p| {
                json!({ "solver": p.solver, "steps": p.steps, "evaluations": p.evaluations, "rms_error": p.error })
            })
            .collect();
        return super::print(&(serde_json::to_string_pretty(&list)? + "\n"));
    }
    let mut text = String::from(
        "to t = 1/2, against the exact flow\n\nsolver    steps  evaluations  RMS error  order\n",
    );
    let mut before: Option<&Point> = None;
    for point in &points {
        let order =
            before.filter(|before| before.solver == point.solver).map_or(String::new(), |b| {
                let ratio =
                    (b.error / point.error).ln() / (point.steps as f64 / b.steps as f64).ln();
                format!("{ratio:5.2}")
            });
        text += &format!(
            "{:<8}  {:>5}  {:>11}  {:9.2e}  {order}\n",
            point.solver.to_string(),
            point.steps,
            point.evaluations,
            point.error
        );
        before = Some(point);
    }
    super::print(&text)
}

/// A chart of error against evaluations, both logarithmic, as SVG.
#[expect(clippy::too_many_lines, reason = "one drawing, from its frame to its labels")]
fn draw(points: &[Point]) -> String {
    const W: f64 = 760.0;
    const H: f64 = 460.0;
    const LEFT: f64 = 76.0;
    const RIGHT: f64 = 120.0;
    const TOP: f64 = 64.0;
    const BOTTOM: f64 = 60.0;
    let log = |value: f64| value.log10();
    let most = points.iter().map(|p| p.evaluations).max().unwrap_or(1) as f64;
    let (x0, x1) = (log(2.0), log(most));
    let y1 = log(points.iter().map(|p| p.error).fold(0.0, f64::max)).ceil();
    let y0 = log(points.iter().map(|p| p.error).fold(f64::MAX, f64::min)).max(-6.0).floor();
    let x = |evaluations: f64| LEFT + (log(evaluations) - x0) / (x1 - x0) * (W - LEFT - RIGHT);
    let y = |error: f64| TOP + (y1 - log(error).max(y0)) / (y1 - y0) * (H - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {H}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#33363b\">\n\
         <title>Error of every solver against the evaluations it spends</title>\n\
         <rect width=\"{W}\" height=\"{H}\" rx=\"8\" fill=\"#fbfaf8\"/>\n\
         <text x=\"{LEFT}\" y=\"30\" font-size=\"16\" font-weight=\"600\">How close solvers come to the exact flow</text>\n\
         <text x=\"{LEFT}\" y=\"49\" fill=\"#6b7078\">RMS error of the state at t = 1/2 on the exact posterior, against evaluations spent until then</text>\n"
    );
    for exponent in y0 as i32..=y1 as i32 {
        let at = y(10f64.powi(exponent));
        svg += &format!(
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#e3e0da\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">10<tspan dy=\"-5\" font-size=\"10\">{exponent}</tspan></text>\n",
            W - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for evaluations in
        [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 320.0].into_iter().filter(|n| *n <= most)
    {
        let at = x(evaluations);
        svg += &format!(
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#eeebe5\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{evaluations}</text>\n",
            H - BOTTOM,
            H - BOTTOM + 20.0
        );
    }
    svg += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#6b7078\">evaluations of the network</text>\n",
        (LEFT + W - RIGHT) / 2.0,
        H - 16.0
    );
    let looks = [
        (Solver::Euler, "#7a7f87", "none"),
        (Solver::Midpoint, "#2f7f79", "6 4"),
        (Solver::Heun, "#7b5ea7", "2 4"),
        (Solver::Rk4, "#3465a4", "10 4"),
        (Solver::Exp2m, "#d9622b", "none"),
    ];
    let mut labels: Vec<(f64, f64, Solver, &str)> = Vec::new();
    for (solver, colour, dash) in looks {
        let line: Vec<&Point> = points
            .iter()
            // Below that the rounding of f32 shows, and no order.
            .filter(|point| point.solver == solver && log(point.error) >= y0)
            .collect();
        let path: Vec<String> = line
            .iter()
            .map(|p| format!("{:.1} {:.1}", x(p.evaluations as f64), y(p.error)))
            .collect();
        svg += &format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\" stroke-dasharray=\"{dash}\"/>\n",
            path.join("L")
        );
        for place in &path {
            let (cx, cy) = place.split_once(' ').unwrap_or_default();
            svg += &format!("<circle cx=\"{cx}\" cy=\"{cy}\" r=\"2.6\" fill=\"{colour}\"/>");
        }
        if let Some(last) = line.last() {
            labels.push((y(last.error), x(last.evaluations as f64), solver, colour));
        }
    }
    for (at, end, solver, colour) in labels {
        svg += &format!(
            "\n<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" font-weight=\"600\">{solver}</text>",
            end + 10.0,
            at + 4.0
        );
    }
    let mark = |solver: Solver, evaluations: usize| {
        points.iter().find(|p| p.solver == solver && p.evaluations == evaluations)
    };
    if let (Some(multistep), Some(euler)) = (mark(Solver::Exp2m, 10), mark(Solver::Euler, 20)) {
        for point in [multistep, euler] {
            svg += &format!(
                "\n<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"7\" fill=\"none\" stroke=\"#33363b\" stroke-width=\"1.5\"/>",
                x(point.evaluations as f64),
                y(point.error)
            );
        }
        svg += &format!(
            "\n<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\">exp2m at 10: {:.1e}</text>\
             \n<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"12\">euler at 20: {:.1e}</text>",
            x(10.0) + 12.0,
            y(multistep.error) + 4.0,
            multistep.error,
            x(20.0) + 10.0,
            y(euler.error) - 8.0,
            euler.error
        );
    }
    svg + "\n</svg>\n"
}
