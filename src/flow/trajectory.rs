//! The full record of a run, as a file that any safetensors reader opens.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::StepRecord;
use super::settings::SampleSettings;
use crate::io::atomic;
use crate::io::tensors::{METADATA_KEY, TensorFileError, TensorWriter};
use crate::latents::LatentShape;

/// Collects the steps of a run and writes them as one file.
///
/// For S steps of B images, keeping k codes a token:
///
/// | tensor | shape |
/// |---|---|
/// | `t` | `[S+1]` |
/// | `x` | `[S+1, B, d, h, w]` |
/// | `posterior_mean` | `[S, B, d, h, w]` |
/// | `entropy` (nats), `log_z` | `[S, B, h, w]` |
/// | `top_codes`, `top_probs` | `[S, B, k, h, w]` |
/// | `temperature` | `[S]` |
/// | `codes` | `[B, h, w]` |
/// | `labels` | `[B]` |
///
/// Objectives without a posterior have neither `entropy` and `log_z` nor `top_codes`, `top_probs` and
/// `posterior_mean`, but `prediction`, the expected end of the path, of the shape of `x` but for S steps.
/// For `dfm` there is also `state_codes`, `[S+1, B, h, w]`, in which the number of codes means 'masked'.
///
/// The settings are JSON under the metadata key `purrscope`.
#[derive(Debug, Default)]
pub struct Trajectory {
    steps: Vec<StepRecord>,
}

impl Trajectory {
    /// Adds the next step.
    pub fn push(&mut self, step: StepRecord) {
        self.steps.push(step);
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(
        &self,
        path: &Path,
        settings: &SampleSettings,
        settings_json: String,
        codes: &[u32],
    ) -> Result<(), TensorFileError> {
        let end = End { settings, settings_json, codes };
        write_steps(path, end, self.steps.len(), |at| Ok::<_, TensorFileError>(&self.steps[at]))
    }
}

/// What a trajectory has besides its steps.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// The settings of the run.
    pub settings: &'a SampleSettings,
    /// All that the file says of it, as JSON.
    pub settings_json: String,
    /// The final codes, `[batch, height, width]`.
    pub codes: &'a [u32],
}

/// Writes the file of a [`Trajectory`], whole or not at all, asking for one of its `steps` after
/// another, so that no more than one of them is in memory.
///
/// # Errors
/// Those of `step` and of the file system; then there is no file.
pub fn write_steps<S: Borrow<StepRecord>, E: From<TensorFileError>>(
    path: &Path,
    end: End<'_>,
    steps: usize,
    mut step: impl FnMut(usize) -> Result<S, E>,
) -> Result<(), E> {
    if steps == 0 {
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, end.settings_json);
        return Ok(writer.write(path)?);
    }
    enum Fault<E> {
        Io(io::Error),
        Step(E),
    }
    impl<E> From<io::Error> for Fault<E> {
        fn from(error: io::Error) -> Self {
            Self::Io(error)
        }
    }
    let written = atomic::write_with(path, |aside| {
        let mut record = step(0).map_err(Fault::Step)?;
        let mut file = Layout::begin(BufWriter::new(aside), &end, steps, record.borrow())?;
        for at in 0..steps {
            if at > 0 {
                record = step(at).map_err(Fault::Step)?;
            }
            file.step(at, steps, record.borrow())?;
        }
        Ok(file.finish(&end)?)
    });
    written.map_err(|fault| match fault {
        Fault::Io(source) => TensorFileError::Io { path: PathBuf::from(path), source }.into(),
        Fault::Step(error) => error,
    })
}

/// Where the tensors lie in a file whose header is written.
struct Layout<W> {
    out: W,
    /// First byte of every tensor.
    places: BTreeMap<&'static str, u64>,
}

impl<W: Write + Seek> Layout<W> {
    /// Writes the header; the shapes are those of the first step.
    fn begin(mut out: W, end: &End<'_>, steps: usize, first: &StepRecord) -> io::Result<Self> {
        let shape @ LatentShape { batch, height, width, .. } = first.x.shape;
        let by_point = |steps: usize| {
            let [batch, channels, height, width] = shape.dims();
            vec![steps, batch, channels, height, width]
        };
        let by_token = |steps: usize| vec![steps, batch, height, width];
        let mut tensors = vec![
            ("codes", "I64", vec![batch, height, width]),
            ("labels", "I64", vec![end.settings.labels.len()]),
            ("t", "F32", vec![steps + 1]),
            ("temperature", "F32", vec![steps]),
            ("x", "F32", by_point(steps + 1)),
        ];
        match &first.posterior {
            Some(belief) => {
                let by_rank = vec![steps, batch, belief.top, height, width];
                tensors.extend([
                    ("top_codes", "I64", by_rank.clone()),
                    ("top_probs", "F32", by_rank),
                    ("posterior_mean", "F32", by_point(steps)),
                    ("entropy", "F32", by_token(steps)),
                    ("log_z", "F32", by_token(steps)),
                ]);
            }
            None => tensors.push(("prediction", "F32", by_point(steps))),
        }
        if first.codes.is_some() {
            tensors.push(("state_codes", "I64", by_token(steps + 1)));
        }
        // As every writer of the format orders them: the widest numbers first, so that all are aligned.
        tensors.sort_by_key(|(name, kind, _)| (*kind != "I64", *name));
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), json!({ METADATA_KEY: end.settings_json }));
        let (mut places, mut size) = (BTreeMap::new(), 0);
        for (name, kind, shape) in tensors {
            let width = if kind == "I64" { 8 } else { 4 };
            let next = size + width * shape.iter().product::<usize>();
            let entry = json!({ "dtype": kind, "shape": shape, "data_offsets": [size, next] });
            header.insert(name.to_owned(), entry);
            places.insert(name, size as u64);
            size = next;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let begin = 8 + header.len() as u64;
        places.values_mut().for_each(|place| *place += begin);
        Ok(Self { out, places })
    }

    /// Writes part `at` of a tensor that consists of parts of this length.
    fn put(&mut self, name: &str, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(place) = self.places.get(name) else { return Ok(()) };
        self.out.seek(SeekFrom::Start(place + (at * bytes.len()) as u64))?;
        self.out.write_all(bytes)
    }

    fn floats(&mut self, name: &str, at: usize, values: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.put(name, at, &bytes)
    }

    fn codes(&mut self, name: &str, at: usize, codes: &[u32]) -> io::Result<()> {
        let bytes: Vec<u8> = codes.iter().flat_map(|code| i64::from(*code).to_le_bytes()).collect();
        self.put(name, at, &bytes)
    }

    fn step(&mut self, at: usize, steps: usize, record: &StepRecord) -> io::Result<()> {
        self.floats("t", at, &[record.t])?;
        self.floats("temperature", at, &[record.temperature])?;
        self.floats("x", at, &record.x.values)?;
        self.floats("posterior_mean", at, &record.prediction.values)?;
        self.floats("prediction", at, &record.prediction.values)?;
        if let Some(belief) = &record.posterior {
            self.floats("entropy", at, &belief.entropy)?;
            self.floats("log_z", at, &belief.log_z)?;
            self.floats("top_probs", at, &belief.top_probs)?;
            self.codes("top_codes", at, &belief.top_codes)?;
        }
        if let Some(codes) = &record.codes {
            self.codes("state_codes", at, &codes.before)?;
        }
        if at + 1 == steps {
            self.floats("t", steps, &[record.t_next])?;
            self.floats("x", steps, &record.x_next.values)?;
            if let Some(codes) = &record.codes {
                self.codes("state_codes", steps, &codes.after)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, end: &End<'_>) -> io::Result<()> {
        self.codes("codes", 0, end.codes)?;
        let labels: Vec<u8> =
            end.settings.labels.iter().flat_map(|label| (*label as i64).to_le_bytes()).collect();
        self.put("labels", 0, &labels)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::{CodeStep, Posterior};
    use crate::io::tensors::TensorFile;
    use crate::latents::Latents;

    fn record(step: usize, posterior: bool) -> StepRecord {
        let shape = LatentShape { batch: 2, channels: 3, height: 2, width: 1 };
        let latents = |from: f32| Latents {
            shape,
            values: (0..shape.len()).map(|at| from + at as f32).collect(),
        };
        let of = |from: u32, count: usize| (0..count as u32).map(move |at| from + at);
        let s = step as u32 * 100;
        StepRecord {
            step,
            t: step as f32 / 3.0,
            t_next: (step + 1) as f32 / 3.0,
            temperature: 0.5 + step as f32,
            x: latents(s as f32),
            prediction: latents(1000.0 + s as f32),
            likeliest: of(s, 4).collect(),
            posterior: posterior.then(|| Posterior {
                shape,
                entropy: of(s, 4).map(|v| v as f32).collect(),
                log_z: of(s + 7, 4).map(|v| v as f32).collect(),
                top: 2,
                top_codes: of(s + 9, 8).collect(),
                top_probs: of(s + 11, 8).map(|v| v as f32).collect(),
            }),
            x_next: latents((s + 100) as f32),
            codes: (!posterior)
                .then(|| CodeStep { before: of(s, 4).collect(), after: of(s + 100, 4).collect() }),
            evaluations: step,
            accepted: 1,
            rejected: 0,
            wall: Duration::ZERO,
        }
    }

    #[test]
    fn every_number_lies_where_its_shape_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let settings = SampleSettings { labels: vec![5, 6], ..SampleSettings::default() };
        for posterior in [true, false] {
            let mut trajectory = Trajectory::default();
            (0..3).for_each(|step| trajectory.push(record(step, posterior)));
            trajectory.write(&path, &settings, "{}".to_owned(), &[4, 3, 2, 1]).unwrap();
            let file = TensorFile::open(&path).unwrap();
            assert_eq!(file.metadata(METADATA_KEY), Some("{}"));
            let floats = |name: &str| file.floats(name).unwrap();
            assert_eq!(floats("t").1, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
            assert_eq!(floats("temperature").1, [0.5, 1.5, 2.5]);
            let (shape, x) = floats("x");
            assert_eq!(shape, [4, 2, 3, 2, 1]);
            assert_eq!((x[12], x[36], x[47]), (100.0, 300.0, 311.0));
            assert_eq!(file.integers("labels").unwrap().1, [5, 6]);
            assert_eq!(file.integers("codes").unwrap(), (vec![2, 2, 1], vec![4, 3, 2, 1]));
            if posterior {
                assert_eq!(floats("posterior_mean").1[24], 1200.0);
                assert_eq!(floats("entropy").1[4..8], [100.0, 101.0, 102.0, 103.0]);
                assert_eq!(floats("log_z").1[11], 210.0);
                assert_eq!(floats("top_probs").0, [3, 2, 2, 2, 1]);
                assert_eq!(file.integers("top_codes").unwrap().1[8], 109);
                assert!(!file.contains("prediction") && !file.contains("state_codes"));
            } else {
                assert_eq!(floats("prediction").1[23], 1111.0);
                let (shape, codes) = file.integers("state_codes").unwrap();
                assert_eq!((shape, codes[12]), (vec![4, 2, 2, 1], 300));
                assert!(!file.contains("entropy"));
            }
        }
    }

    #[test]
    fn a_step_that_cannot_be_had_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let settings = SampleSettings { labels: vec![5, 6], ..SampleSettings::default() };
        let end = End { settings: &settings, settings_json: "{}".to_owned(), codes: &[0; 4] };
        let missing = || TensorFileError::NotFinite { path: path.clone(), name: "x".to_owned() };
        let step = |at| if at < 2 { Ok(record(at, true)) } else { Err(missing()) };
        assert!(write_steps(&path, end, 3, step).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
