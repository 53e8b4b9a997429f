//! What became of a run, as one page that needs nothing else, and its figures as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::config::{FlowTask, JointTask, RunConfig, Task};
use super::held_out::{BY_CLASS, LOG_Z};
use super::metrics::{lines, numbers, seconds};
use super::{Ending, TrainError, io_error, program};
use crate::io::atomic;
use crate::io::numbered::numbered;
use crate::say::count;

/// Name of the page in a run's folder.
pub const PAGE: &str = "report.html";
/// Name of the table in a run's folder.
pub const TABLE: &str = "metrics.csv";
/// Sheets that are shown, the last one among them.
const SHEETS: usize = 9;
/// Points of a curve.
const BINS: usize = 240;
/// Steps whose mean is the loss at the end.
const LAST: usize = 100;
/// Size of a curve's plot, and the room left of it and below it for numbers.
const PLOT: [f64; 4] = [460.0, 200.0, 58.0, 22.0];
/// Colours of the lines of a plot, which are told apart on light ground and dark.
const COLOURS: [&str; 6] = ["#d9822b", "#2b83ba", "#4dac26", "#b35fb3", "#c0504d", "#808080"];

/// Figures of the steps of a run, each under its name.
type Series = BTreeMap<String, Vec<(f64, f64)>>;

/// A line of a plot: its name and its points.
type Line<'a> = (&'a str, &'a [(f64, f64)]);

/// What a run wrote down.
#[derive(Debug, Default)]
struct Read {
    series: Series,
    /// Seconds that its steps took.
    took: f64,
    /// The newest losses of held-out pictures by class.
    by_class: Vec<(String, f64)>,
}

/// Reads all figures of a run.
fn read(path: &Path, batch: usize) -> io::Result<Read> {
    let Read { mut series, mut took, mut by_class } = Read::default();
    for line in lines(path)? {
        let line = line?;
        took += seconds(&line, batch);
        if let Some(classes) = line.get(BY_CLASS).and_then(Value::as_object) {
            by_class = numbers(classes.clone()).collect();
        }
        let Some(step) = line.get("step").and_then(Value::as_f64) else { continue };
        for (name, value) in numbers(line).filter(|(name, _)| name != "step") {
            series.entry(name).or_default().push((step + 1.0, value));
        }
    }
    Ok(Read { series, took, by_class })
}

/// Writes the page and the table of a run that has ended, and gives the page's path.
///
/// # Errors
/// The metrics cannot be read, or the file system takes no more.
pub fn write(config: &RunConfig, ending: Ending, product: &Path) -> Result<PathBuf, TrainError> {
    let metrics = config.out.join("metrics.jsonl");
    let read = read(&metrics, config.batch).map_err(io_error(&metrics))?;
    let table = config.out.join(TABLE);
    atomic::write(&table, csv(&read.series).as_bytes()).map_err(io_error(&table))?;
    let path = config.out.join(PAGE);
    let text = page(config, ending, product, &read)?;
    atomic::write(&path, text.as_bytes()).map_err(io_error(&path))?;
    Ok(path)
}

/// All figures as a table: a line a step, a column a figure, empty where a step has none.
fn csv(series: &Series) -> String {
    let mut lines: BTreeMap<u64, BTreeMap<&str, f64>> = BTreeMap::new();
    for (name, points) in series {
        for (step, value) in points {
            lines.entry(*step as u64).or_default().insert(name, *value);
        }
    }
    let mut text = String::from("step");
    for name in series.keys() {
        let _ = write!(text, ",{name}");
    }
    for (step, values) in lines {
        let _ = write!(text, "\n{step}");
        for name in series.keys() {
            let _ = match values.get(name.as_str()) {
                Some(value) => write!(text, ",{value}"),
                None => write!(text, ","),
            };
        }
    }
    text + "\n"
}

fn page(
    config: &RunConfig,
    ending: Ending,
    product: &Path,
    Read { series, took, by_class }: &Read,
) -> Result<String, TrainError> {
    let title = match &config.task {
        Task::Tokenizer(_) => "Training of a tokenizer".to_owned(),
        Task::Flow(FlowTask { name, .. }) | Task::Joint(JointTask { name, .. }) => {
            format!("Training of {name}")
        }
    };
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n<style>{STYLE}</style></head>\n\
         <body><h1>{0}</h1>\n",
        escaped(&title)
    );
    let steps = series.get("loss").and_then(|points| points.last()).map_or(0.0, |last| last.0);
    let state = match ending {
        Ending::Finished => "finished",
        Ending::Stopped => "stopped, to be continued",
    };
    let _ =
        writeln!(text, "<p>{state}, after {steps} of {} steps; {}</p>", config.steps, program());
    text += &summary(config, product, series, steps, *took);
    text += "<h2>Figures</h2>\n<div class=\"plots\">\n";
    for (name, lines) in groups(series) {
        text += &plot(&name, &lines);
    }
    text += "</div>\n";
    text += &classes(by_class);
    text += &sheets(&config.out)?;
    let run = toml::to_string_pretty(config).unwrap_or_default();
    let _ = writeln!(text, "<h2>Run file</h2>\n<pre>{}</pre>\n</body></html>", escaped(&run));
    Ok(text)
}

/// The run in a few numbers.
fn summary(config: &RunConfig, product: &Path, series: &Series, steps: f64, took: f64) -> String {
    let mut rows = Vec::new();
    let losses = series.get("loss").map_or(&[][..], Vec::as_slice);
    let last = &losses[losses.len().saturating_sub(LAST)..];
    if !last.is_empty() {
        let mean = last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64;
        rows.push((format!("loss, mean of the last {}", count(last.len(), "step")), digits(mean)));
    }
    let shown = ["holdout_", "frechet_", "kid_", "precision_", "recall_"];
    let shown = |name: &str| shown.iter().any(|begin| name.starts_with(begin));
    for (name, points) in series.iter().filter(|(name, _)| shown(name)) {
        if name.contains("_t0") {
            continue;
        }
        let better = |a: f64, b: f64| if name.ends_with("psnr") { a.max(b) } else { a.min(b) };
        let values = || points.iter().map(|(_, value)| *value);
        let best = values().reduce(better).unwrap_or(f64::NAN);
        let end = values().next_back().unwrap_or(f64::NAN);
        let is_share = ["codes_used", "accuracy"].iter().any(|of| name.ends_with(of));
        let has_best = !["precision_", "recall_", LOG_Z].iter().any(|of| name.starts_with(of));
        let said = match has_best {
            _ if is_share => format!("{:.1} %", 100.0 * end),
            false => digits(end),
            true => format!("{}, at best {}", digits(end), digits(best)),
        };
        rows.push((name.replace('_', " "), said));
    }
    let seen = steps * config.batch as f64;
    rows.push(("pictures seen".to_owned(), format!("{seen}")));
    rows.push(("time in steps".to_owned(), format!("{:.1} min", took / 60.0)));
    rows.push(("pictures a second".to_owned(), digits(seen / took.max(1e-9))));
    let bytes = fs::metadata(product).map_or(0, |data| data.len());
    let name = product.file_name().unwrap_or_default().to_string_lossy();
    rows.push((name.into_owned(), format!("{:.1} MB", bytes as f64 / 1e6)));
    let rows = rows.iter().map(|(name, value)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
    });
    format!("<table>\n{}</table>\n", rows.collect::<String>())
}

/// What is drawn together: figures that only differ in the time they are of, the others alone.
fn groups(series: &Series) -> Vec<(String, Vec<Line<'_>>)> {
    let mut groups: Vec<(String, Vec<Line<'_>>)> = Vec::new();
    for (name, points) in series {
        let (of, line) = match name.rsplit_once("_t0") {
            Some((of, _)) => (format!("{of} by time"), &name[of.len() + 1..]),
            None => (name.clone(), name.as_str()),
        };
        match groups.iter_mut().find(|(group, _)| *group == of) {
            Some((_, lines)) => lines.push((line, points)),
            None => groups.push((of, vec![(line, points)])),
        }
    }
    // What a run is looked at for comes first.
    let rank = |name: &str| match name {
        "loss" => 0,
        name if name.starts_with("holdout") => 1,
        name if name.starts_with("frechet") => 2,
        _ => 3,
    };
    groups.sort_by_key(|(name, _)| rank(name));
    groups
}

/// A point of a curve: the middle of its steps, the mean of their values, the least and the largest.
struct Bin {
    step: f64,
    mean: f64,
    low: f64,
    high: f64,
}

fn bins(points: &[(f64, f64)]) -> Vec<Bin> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(_, v)| v.is_finite()).collect();
    let each = finite.len().div_ceil(BINS).max(1);
    let bin = |part: &[(f64, f64)]| {
        let values = || part.iter().map(|(_, value)| *value);
        let number = part.len() as f64;
        Bin {
            step: part.iter().map(|(step, _)| step).sum::<f64>() / number,
            mean: values().sum::<f64>() / number,
            low: values().fold(f64::INFINITY, f64::min),
            high: values().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    finite.chunks(each).map(bin).collect()
}

/// A plot: for every line a band from the least to the largest of each bin, and the means.
fn plot(name: &str, lines: &[Line<'_>]) -> String {
    let [width, height, left, below] = PLOT;
    let lines: Vec<(&str, Vec<Bin>)> =
        lines.iter().map(|(name, points)| (*name, bins(points))).collect();
    let all = || lines.iter().flat_map(|(_, bins)| bins);
    let (first, last) =
        all().fold((f64::INFINITY, 0.0f64), |(a, b), bin| (a.min(bin.step), b.max(bin.step)));
    let mut means: Vec<f64> = all().map(|bin| bin.mean).collect();
    if means.is_empty() {
        return String::new();
    }
    // A few wild values at the beginning are not to flatten all the rest.
    means.sort_by(f64::total_cmp);
    let top = means[(means.len() - 1) * 98 / 100];
    let bottom = means[0];
    let room = ((top - bottom) * 0.08).max(top.abs() * 1e-3).max(1e-12);
    let (bottom, top) = (bottom - room, top + room);
    let x = |step: f64| left + (step - first) / (last - first).max(1e-9) * (width - left - 8.0);
    let y = |value: f64| {
        let part = (value.clamp(bottom, top) - bottom) / (top - bottom);
        height - below - part * (height - below - 8.0)
    };
    let mut text = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(&name.replace('_', " ")),
        escaped(name)
    );
    for part in [0.0, 0.5, 1.0] {
        let value = bottom + part * (top - bottom);
        let at = y(value);
        let _ = writeln!(
            text,
            "<path class=\"grid\" d=\"M{left} {at:.1}H{width}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            at + 4.0,
            digits(value)
        );
    }
    for (step, anchor) in [(first, "start"), (last, "end")] {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{step:.0}</text>",
            x(step),
            height - 6.0
        );
    }
    for (i, (_, bins)) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points = |value: &dyn Fn(&Bin) -> f64, bins: &mut dyn Iterator<Item = &Bin>| {
            bins.map(|bin| format!("{:.1},{:.1} ", x(bin.step), y(value(bin)))).collect::<String>()
        };
        let upper = points(&|bin| bin.high, &mut bins.iter());
        let lower = points(&|bin| bin.low, &mut bins.iter().rev());
        let means = points(&|bin| bin.mean, &mut bins.iter());
        let _ = writeln!(
            text,
            "<polygon points=\"{upper}{lower}\" fill=\"{colour}\" opacity=\"0.18\"/><polyline points=\"{means}\" fill=\"none\" \
             stroke=\"{colour}\" stroke-width=\"1.6\"/>"
        );
    }
    text += "</svg>";
    if lines.len() > 1 {
        text += "<p class=\"legend\">";
        for (i, (line, _)) in lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let _ = write!(text, "<span style=\"color:{colour}\">{}</span> ", escaped(line));
        }
        text += "</p>";
    }
    text + "</figure>\n"
}

/// The newest held-out loss of every class, the largest first.
fn classes(by_class: &[(String, f64)]) -> String {
    let mut sorted: Vec<&(String, f64)> = by_class.iter().collect();
    sorted.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let rows = sorted.iter().map(|(name, loss)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), digits(*loss))
    });
    match sorted.is_empty() {
        true => String::new(),
        false => format!(
            "<h2>Held-out loss by class</h2>\n<table>\n{}</table>\n",
            rows.collect::<String>()
        ),
    }
}

/// Sheets of samples, evenly over the run.
fn sheets(folder: &Path) -> Result<String, TrainError> {
    let found = numbered(folder, "sample-", ".png").map_err(io_error(folder))?;
    let shown = found.len().min(SHEETS);
    let mut text = String::new();
    for i in 0..shown {
        let at = if shown == 1 { 0 } else { i * (found.len() - 1) / (shown - 1) };
        let (step, path) = &found[at];
        let bytes = fs::read(path).map_err(io_error(path))?;
        let _ = writeln!(
            text,
            "<figure class=\"sheet\"><figcaption>step {step}</figcaption><img alt=\"Sheet of step {step}\" \
             src=\"data:image/png;base64,{}\"></figure>",
            BASE64_STANDARD.encode(bytes)
        );
    }
    Ok(if shown == 0 { text } else { format!("<h2>Sheets</h2>\n{text}") })
}

/// A number to four digits.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => {
            let places = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{value:.places$}")
        }
    }
}

/// Text as HTML has it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #222; --faint: #777; --line: #ddd; --ground: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --faint: #999; --line: #3a3a3e; --ground: #1b1b1d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th { text-align: left; font-weight: normal; color: var(--faint); padding: 0.1rem 1.5rem 0.1rem 0; }
td { font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(460px, 1fr)); gap: 1rem 2rem; }
figure { margin: 0; } figcaption { color: var(--faint); } .sheet { margin-bottom: 1rem; }
svg { width: 100%; } svg text { font-size: 11px; fill: var(--faint); } .grid { stroke: var(--line); }
.legend { margin: 0; font-size: 0.85rem; } img { max-width: 100%; image-rendering: pixelated; }
pre { font-size: 0.85rem; overflow-x: auto; border: 1px solid var(--line); padding: 1rem; }
";

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        let line = |value: fn(f64) -> f64| -> Vec<(f64, f64)> {
            (1..=1000).map(|step| (f64::from(step), value(f64::from(step)))).collect()
        };
        Series::from([
            ("loss".to_owned(), line(|step| 7.0 / step.sqrt())),
            ("holdout_cross_entropy".to_owned(), vec![(500.0, 2.0), (1000.0, 1.5)]),
            ("holdout_cross_entropy_t0.1".to_owned(), vec![(500.0, 3.0), (1000.0, 2.5)]),
            ("holdout_cross_entropy_t0.9".to_owned(), vec![(500.0, 1.0), (1000.0, 0.5)]),
        ])
    }

    #[test]
    fn a_table_has_a_line_a_step_and_a_column_a_figure() {
        let text = csv(&series());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1001);
        let names =
            "step,holdout_cross_entropy,holdout_cross_entropy_t0.1,holdout_cross_entropy_t0.9,loss";
        assert_eq!(lines[0], names);
        assert_eq!(lines[1], "1,,,,7");
        assert!(lines[1000].starts_with("1000,1.5,2.5,0.5,0.22"), "{}", lines[1000]);
    }

    #[test]
    fn curves_keep_extremes_and_figures_by_time_are_drawn_together() {
        let series = series();
        let found = bins(&series["loss"]);
        assert!(found.len() <= BINS && found[0].high == 7.0 && found[0].low < found[0].mean);
        let groups = groups(&series);
        let names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["loss", "holdout_cross_entropy", "holdout_cross_entropy by time"]);
        assert_eq!(groups[2].1.iter().map(|(line, _)| *line).collect::<Vec<_>>(), ["t0.1", "t0.9"]);
        let drawn = plot("a<b", &groups[2].1);
        assert!(drawn.contains("a&lt;b") && drawn.matches("<polyline").count() == 2, "{drawn}");
        assert!(plot("none", &[("none", &[])]).is_empty());
    }

    #[test]
    fn numbers_have_four_digits() {
        for (value, text) in
            [(0.0, "0"), (34.891, "34.89"), (1.0, "1.000"), (1234.5, "1234"), (2e-5, "2.00e-5")]
        {
            assert_eq!(digits(value), text);
        }
    }
}
