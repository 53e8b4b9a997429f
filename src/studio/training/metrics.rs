//! The figures of a run, read from its `metrics.jsonl` as the file grows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The figure that every line has: steps made before it.
const STEP: &str = "step";

/// A figure over the steps of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Steps, rising.
    steps: Vec<u32>,
    /// A value a step.
    values: Vec<f32>,
}

/// Neighbouring values of a figure, put together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// The step in their middle.
    pub step: f32,
    /// The smallest.
    pub low: f32,
    /// Their mean.
    pub mean: f32,
    /// The largest.
    pub high: f32,
}

impl Series {
    /// The newest value.
    pub fn last(&self) -> Option<f32> {
        self.values.last().copied()
    }

    /// The values in at most `most` bins of equal numbers.
    pub fn bins(&self, most: usize) -> Vec<Bin> {
        let each = self.values.len().div_ceil(most.max(1)).max(1);
        let chunks = self.steps.chunks(each).zip(self.values.chunks(each));
        chunks
            .map(|(steps, values)| Bin {
                step: (steps[0] as f32 + steps[steps.len() - 1] as f32) / 2.0,
                low: values.iter().copied().fold(f32::INFINITY, f32::min),
                mean: values.iter().map(|v| f64::from(*v)).sum::<f64>() as f32
                    / values.len() as f32,
                high: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            })
            .collect()
    }

    /// Forgets everything from `step` on.
    fn cut(&mut self, step: u32) {
        let kept = self.steps.partition_point(|other| *other < step);
        self.steps.truncate(kept);
        self.values.truncate(kept);
    }
}

/// Values smoothed along a curve: the mean of an exponential mean over about `over` bins from the left
/// and of one from the right, so that the curve does not lag behind what it smooths.
pub fn smooth(bins: &[Bin], over: f32) -> Vec<[f32; 2]> {
    let keep = (1.0 - 1.0 / over.max(1.0)).clamp(0.0, 0.999_9);
    // Divided by its weight, a mean is not pulled towards 0 at its beginning.
    let mean = |(sum, weight): &mut (f32, f32), bin: &Bin| {
        *sum = keep * *sum + (1.0 - keep) * bin.mean;
        *weight = keep * *weight + (1.0 - keep);
        Some(*sum / *weight)
    };
    let from_left: Vec<f32> = bins.iter().scan((0.0, 0.0), mean).collect();
    let mut from_right: Vec<f32> = bins.iter().rev().scan((0.0, 0.0), mean).collect();
    from_right.reverse();
    let both = from_left.iter().zip(&from_right).map(|(left, right)| (left + right) / 2.0);
    bins.iter().zip(both).map(|(bin, value)| [bin.step, value]).collect()
}

/// A metrics file that may be growing.
#[derive(Debug, Default)]
pub struct Tail {
    path: PathBuf,
    /// Bytes read so far.
    offset: u64,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
    series: BTreeMap<String, Series>,
    /// Step of the newest line.
    newest: Option<u32>,
}

impl Tail {
    /// Most bytes that are read at once.
    const CHUNK: u64 = 8 << 20;
    /// A line longer than this is none of ours.
    const LINE: usize = 1 << 20;
    /// Most figures that are kept.
    const FIGURES: usize = 48;

    /// The file at `path`, none of it read.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// The figures by name.
    pub fn series(&self) -> &BTreeMap<String, Series> {
        &self.series
    }

    /// Steps that the lines so far speak of.
    pub fn steps(&self) -> usize {
        self.newest.map_or(0, |step| step as usize + 1)
    }

    /// Reads what is new, up to some megabytes; says whether there may be more. A file that was cut, as
    /// a resumed run does, is read again from its beginning.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn read(&mut self) -> io::Result<Reading> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        if length < self.offset {
            self.forget();
        }
        let from = self.offset;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        let taken = file.take(Self::CHUNK).read_to_end(&mut bytes)? as u64;
        if taken == 0 {
            return Ok(Reading::Nothing);
        }
        self.offset += taken;
        if !self.take(&bytes) && from > 0 {
            // Cut and grown again since the last time: the place that was left off is in a line's middle.
            self.forget();
            return Ok(Reading::More);
        }
        Ok(if self.offset < length { Reading::More } else { Reading::New })
    }

    fn forget(&mut self) {
        *self = Self::new(&self.path);
    }

    /// Takes in bytes that follow on those before; says whether all whole lines were understood.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let mut understood = true;
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(line) = lines.next() {
            self.partial.extend_from_slice(line);
            // What follows the last line break is a line whose end is not there yet.
            if lines.peek().is_some() {
                let line = std::mem::take(&mut self.partial);
                understood &= line.trim_ascii().is_empty() || self.take_line(&line).is_some();
            }
        }
        if self.partial.len() > Self::LINE {
            self.partial.clear();
            understood = false;
        }
        understood
    }

    fn take_line(&mut self, line: &[u8]) -> Option<()> {
        let figures: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let step = u32::try_from(figures.get(STEP)?.as_u64()?).ok()?;
        if self.newest.is_some_and(|newest| step <= newest) {
            self.series.values_mut().for_each(|series| series.cut(step));
        }
        self.newest = Some(step);
        for (name, value) in figures {
            let value = value.as_f64().map(|value| value as f32).filter(|value| value.is_finite());
            let Some(value) = value.filter(|_| name != STEP) else { continue };
            if self.series.len() < Self::FIGURES || self.series.contains_key(&name) {
                let series = self.series.entry(name).or_default();
                series.steps.push(step);
                series.values.push(value);
            }
        }
        Some(())
    }
}

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Nothing new.
    Nothing,
    /// New lines, and the end of the file.
    New,
    /// There is more to be read at once.
    More,
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    struct Growing {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Growing {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("metrics.jsonl");
            fs::write(&path, b"").unwrap();
            Self { _folder: folder, path }
        }

        fn write(&self, text: &str) {
            let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    fn losses(tail: &Tail) -> Vec<f32> {
        tail.series().get("loss").map_or(Vec::new(), |series| series.values.clone())
    }

    #[test]
    fn a_half_written_line_waits_for_its_end() {
        let file = Growing::new();
        let mut tail = Tail::new(&file.path);
        assert_eq!(tail.read().unwrap(), Reading::Nothing);
        file.write("{\"step\":0,\"loss\":2.0}\n{\"step\":1,\"lo");
        assert_eq!(tail.read().unwrap(), Reading::New);
        assert_eq!((losses(&tail), tail.steps()), (vec![2.0], 1));
        file.write("ss\":1.5}\n");
        tail.read().unwrap();
        assert_eq!((losses(&tail), tail.steps()), (vec![2.0, 1.5], 2));
        assert_eq!(tail.read().unwrap(), Reading::Nothing);
    }

    #[test]
    fn a_resumed_run_takes_the_place_of_what_it_cut() {
        let file = Growing::new();
        let mut tail = Tail::new(&file.path);
        let line = |step: usize, loss: f64| format!("{{\"step\":{step},\"loss\":{loss}}}\n");
        file.write(&(0..5).map(|step| line(step, 5.0)).collect::<String>());
        tail.read().unwrap();
        // Cut to two lines and grown by one before anyone looked.
        fs::write(&file.path, [line(0, 5.0), line(1, 5.0), line(2, 1.0)].concat()).unwrap();
        while tail.read().unwrap() != Reading::Nothing {}
        assert_eq!(losses(&tail), [5.0, 5.0, 1.0]);
        // Cut and grown beyond what was read, so that only a line's middle tells.
        let long = format!("{{\"step\":0,\"loss\":3.0,\"note\":\"{}\"}}\n", "x".repeat(300));
        fs::write(&file.path, long + &line(1, 4.0)).unwrap();
        while tail.read().unwrap() != Reading::Nothing {}
        assert_eq!(losses(&tail), [3.0, 4.0]);
        // Steps that come again replace those before.
        file.write(&line(1, 9.0));
        tail.read().unwrap();
        assert_eq!((losses(&tail), tail.steps()), (vec![3.0, 9.0], 2));
    }

    #[test]
    fn lines_that_are_none_of_ours_are_passed_over() {
        let file = Growing::new();
        file.write("hello\n{\"step\":-1}\n\n{\"step\":3,\"loss\":null,\"psnr\":1e300,\"x\":\"y\",\"ok\":1}\n[]\n");
        let mut tail = Tail::new(&file.path);
        tail.read().unwrap();
        assert_eq!(tail.series().keys().collect::<Vec<_>>(), ["ok"]);
        assert_eq!(tail.steps(), 4);
        assert!(Tail::new(Path::new("/nowhere/metrics.jsonl")).read().is_err());
    }

    #[test]
    fn the_log_of_the_embedded_model_is_read_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/recipe/flow.jsonl");
        let mut tail = Tail::new(&path);
        while tail.read().unwrap() != Reading::Nothing {}
        let series = tail.series();
        for name in ["loss", "cross_entropy", "gradient_norm", "learning_rate", "images_per_second"]
        {
            assert!(series[name].values.len() > 100, "{name}");
        }
        let bins = series["loss"].bins(40);
        assert!(bins.len() <= 40 && bins[0].mean > bins[bins.len() - 1].mean);
    }

    #[test]
    fn bins_keep_the_extremes() {
        let series = Series {
            steps: (0..10).collect(),
            values: vec![1.0; 9].into_iter().chain([9.0]).collect(),
        };
        let bins = series.bins(4);
        assert_eq!(bins.len(), 4);
        assert_eq!((bins[0].step, bins[0].low, bins[0].high), (1.0, 1.0, 1.0));
        assert_eq!((bins[3].step, bins[3].high), (9.0, 9.0));
        assert_eq!(series.bins(100).len(), 10);
        assert!(Series::default().bins(5).is_empty());
    }

    #[test]
    fn smoothing_neither_pulls_nor_lags() {
        let bins: Vec<Bin> =
            (0..20).map(|i| Bin { step: i as f32, low: 2.0, mean: 2.0, high: 2.0 }).collect();
        assert!(smooth(&bins, 8.0).iter().all(|[_, value]| (value - 2.0).abs() < 1e-5));
        let slope: Vec<Bin> = (0..41).map(|i| Bin { mean: i as f32, ..bins[0] }).collect();
        assert!((smooth(&slope, 4.0)[20][1] - 20.0).abs() < 0.01);
        let raw = [Bin { mean: 1.0, ..bins[0] }, Bin { mean: 3.0, ..bins[1] }];
        assert_eq!(smooth(&raw, 1.0), [[0.0, 1.0], [1.0, 3.0]]);
    }
}
