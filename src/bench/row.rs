//! One line of a benchmark: for programs with a unit in every key, and for the terminal.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Part;
use super::peer::Beside;
use super::timing::Timing;

/// Numbers by key; the end of a key is its unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    /// Adds a figure after the others.
    fn push(&mut self, key: &'static str, value: f64) {
        self.0.push((key, value));
    }

    /// The figure of a key.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// What was measured, with what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub timing: Timing,
    figures: Figures,
    note: Option<&'static str>,
}

impl From<Timing> for Measured {
    fn from(timing: Timing) -> Self {
        Self { timing, figures: Figures::default(), note: None }
    }
}

impl Measured {
    /// Adds what is done in a second, where `amount` is done in an iteration.
    pub fn rate(mut self, key: &'static str, amount: f64) -> Self {
        self.figures.push(key, amount / self.timing.seconds());
        self
    }

    /// Adds a number.
    pub fn figure(mut self, key: &'static str, value: f64) -> Self {
        self.figures.push(key, value);
        self
    }

    /// Adds how long the row takes in units of another one, where that was measured.
    pub fn in_units_of(self, key: &'static str, other: Option<Timing>) -> Self {
        match other {
            Some(other) => {
                let ratio = self.timing.seconds() / other.seconds();
                self.figure(key, ratio)
            }
            None => self,
        }
    }

    /// Adds how many times as fast the row is as another one, where that was measured.
    pub fn faster_than(self, key: &'static str, other: Option<Timing>) -> Self {
        match other {
            Some(other) => {
                let ratio = other.seconds() / self.timing.seconds();
                self.figure(key, ratio)
            }
            None => self,
        }
    }

    /// Adds what PyTorch took for the same, where it was measured.
    pub fn beside(self, torch: Option<Beside>) -> Self {
        let Some(Beside { timing: torch, faster }) = torch else { return self };
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        self.figure("speed_over_pytorch_ratio", faster)
            .figure("pytorch_median_ms", milliseconds(torch.median))
            .figure("pytorch_min_ms", milliseconds(torch.min))
            .figure("pytorch_max_ms", milliseconds(torch.max))
    }

    /// Adds a remark on how to read the row.
    pub fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// It was measured.
    Measured {
        /// Whether the time is that of the warm-up, which took longer than the limit.
        warm_up_only: bool,
        /// Times of an iteration in milliseconds, and what follows from the median.
        #[serde(flatten)]
        figures: Figures,
        /// How to read it.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'static str>,
    },
    /// It was left out.
    Skipped {
        /// What forbids it.
        reason: String,
    },
    /// It broke off, or its result was wrong.
    Failed {
        /// What was said.
        reason: String,
    },
}

impl Outcome {
    pub(super) fn measured(measured: &Measured, peak: Option<(&'static str, f64)>) -> Self {
        let Measured { timing, figures: more, note } = measured;
        let mut figures = Figures::default();
        for (key, time) in
            [("median_ms", timing.median), ("min_ms", timing.min), ("max_ms", timing.max)]
        {
            figures.push(key, time.as_secs_f64() * 1e3);
        }
        figures.push("iterations", timing.iterations as f64);
        figures.0.extend(&more.0);
        figures.0.extend(peak);
        Self::Measured { warm_up_only: timing.is_warm_up(), figures, note: *note }
    }

    /// Figures that were measured elsewhere; every key ends in its unit.
    pub fn of_figures(figures: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        let figures = Figures(figures.into_iter().collect());
        Self::Measured { warm_up_only: false, figures, note: None }
    }
}

/// One line of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The part that it belongs to.
    pub part: Part,
    /// What was measured.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Row {
    /// Whether something went wrong.
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58} ", self.name)?;
        match &self.outcome {
            Outcome::Measured { warm_up_only, figures, note } => {
                let words: Vec<String> = spoken(figures, *warm_up_only);
                f.write_str(&words.join("  "))?;
                note.map_or(Ok(()), |note| write!(f, "  ({note})"))
            }
            Outcome::Skipped { reason } => write!(f, "skipped: {reason}"),
            Outcome::Failed { reason } => write!(f, "FAILED: {reason}"),
        }
    }
}

/// Figures in words; the times of an iteration come first and together.
fn spoken(figures: &Figures, warm_up_only: bool) -> Vec<String> {
    const TIMES: [&str; 4] = ["median_ms", "min_ms", "max_ms", "iterations"];
    let times = TIMES.map(|key| figures.get(key));
    let (time, told) = match times {
        [Some(median), Some(min), Some(max), Some(iterations)] => {
            let spread = match warm_up_only {
                true => "the warm-up, which took longer than the limit".to_owned(),
                false => format!("{min:.2} to {max:.2} in {iterations}"),
            };
            (Some(format!("{median:10.2} ms ({spread})")), &TIMES[..])
        }
        _ => (None, &[][..]),
    };
    let rest = figures.0.iter().filter(|(key, _)| !told.contains(key));
    time.into_iter().chain(rest.map(|(key, value)| in_words(key, *value))).collect()
}

/// A figure in words, by the unit that its key ends in.
fn in_words(key: &str, value: f64) -> String {
    let ending = |unit: &str| {
        key.strip_suffix(unit).map(|name| name.trim_end_matches('_').replace('_', " "))
    };
    let labelled = |name: String, text: String| match name.as_str() {
        "" => text,
        name => format!("{name} {text}"),
    };
    if let Some(name) = ending("gflops") {
        return labelled(name, format!("{value:.1} GFLOP/s"));
    }
    if let Some(name) = ending("bytes_per_second") {
        return labelled(name, format!("{:.1} GB/s", value / 1e9));
    }
    if let Some(name) = ending("pictures_per_second") {
        return labelled(name, format!("{value:.3} pictures/s"));
    }
    if let Some(name) = ending("_bytes") {
        return labelled(name, format!("{:.0} MB", value / 1e6));
    }
    if let Some(name) = ending("_ms") {
        return labelled(name, format!("{value:.2} ms"));
    }
    if let Some(name) = ending("_seconds") {
        return labelled(name, format!("{value:.2} s"));
    }
    if let Some(name) = ending("_ratio") {
        return labelled(name, format!("{value:.2}"));
    }
    labelled(key.replace('_', " "), format!("{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn timing(iterations: usize) -> Timing {
        let ms = Duration::from_millis;
        Timing { median: ms(20), min: ms(10), max: ms(40), iterations }
    }

    #[test]
    fn figures_follow_from_the_median_and_keep_their_units() {
        let measured = Measured::from(timing(5))
            .rate("gflops", 3.0)
            .rate("bytes_per_second", 2e9)
            .in_units_of("time_over_copy_ratio", Some(timing(3)))
            .in_units_of("nothing_ratio", None);
        let outcome = Outcome::measured(&measured, Some(("peak_gpu_memory_bytes", 5e6)));
        let row = Row { part: Part::Kernels, name: "x".to_owned(), outcome };
        let json = serde_json::to_value(&row).unwrap();
        for (key, value) in [
            ("median_ms", 20.0),
            ("min_ms", 10.0),
            ("max_ms", 40.0),
            ("iterations", 5.0),
            ("gflops", 150.0),
            ("bytes_per_second", 1e11),
            ("time_over_copy_ratio", 1.0),
            ("peak_gpu_memory_bytes", 5e6),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!((&json["outcome"], &json["part"]), (&"measured".into(), &"kernels".into()));
        assert_eq!(json["warm_up_only"], false);
        let line = row.to_string();
        for part in
            ["20.00 ms (10.00 to 40.00 in 5)", "150.0 GFLOP/s", "100.0 GB/s", "time over copy 1.00"]
        {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.contains("peak gpu memory 5 MB") && !line.contains("nothing"), "{line}");
    }

    #[test]
    fn a_warm_up_is_marked_and_a_failure_counts() {
        let outcome = Outcome::measured(&Measured::from(timing(0)), None);
        let row = Row { part: Part::Sampling, name: "x".to_owned(), outcome };
        assert!(row.to_string().contains("warm-up"), "{row}");
        assert_eq!(serde_json::to_value(&row).unwrap()["warm_up_only"], true);
        let row = Row { outcome: Outcome::Failed { reason: "no".into() }, ..row };
        assert!(row.is_failure() && row.to_string().ends_with("FAILED: no"));
    }
}
