//! What travels with a picture or a trajectory so that it can be made again.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::settings::SampleSettings;
use crate::io::tensors::Precision;

/// The JSON in a picture's text chunk and in a trajectory's metadata, under the key `purrscope`.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord<'a> {
    /// Name and version of this program.
    pub program: &'static str,
    /// Name of the model.
    pub model: &'a str,
    /// Digest of the model file.
    pub model_hash: &'a str,
    /// The settings, side by side with the other entries.
    #[serde(flatten)]
    pub settings: &'a SampleSettings,
    /// Name of the class, where all that the record speaks of is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The picture's number in its batch; absent where it speaks of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<usize>,
    /// The time at which the picture was taken; absent at the end of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t: Option<f32>,
    /// File that the starting noise was read from; absent where the seed gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<String>,
    /// The precision that the model computed in, since the last digits follow it; absent where that was
    /// f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

impl<'a> RunRecord<'a> {
    /// The record of a whole run.
    pub fn new(model: &'a str, model_hash: &'a str, settings: &'a SampleSettings) -> Self {
        let program = concat!("purrscope ", env!("CARGO_PKG_VERSION"));
        Self {
            program,
            model,
            model_hash,
            settings,
            class: None,
            image: None,
            t: None,
            noise: None,
            precision: None,
        }
    }

    /// The JSON text.
    ///
    /// # Errors
    /// None that settings in range can cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Settings that cannot be read back.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A text that no run writes.
    #[error("its settings are longer than {} MB", Recorded::MOST_BYTES >> 20)]
    TooLong,
    /// Something else: every setting has a default, so that anything would pass for settings.
    #[error("it holds no settings of a run (labels are missing)")]
    NoRun,
    /// A setting that is no setting, or out of its bounds.
    #[error("its settings cannot be used ({0})")]
    Unusable(String),
}

/// A [`RunRecord`] read back from a picture, a trajectory or a settings file, within its bounds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Recorded {
    /// Name of the model.
    pub model: Option<String>,
    /// Digest of the model file.
    pub model_hash: Option<String>,
    /// The settings.
    #[serde(flatten)]
    pub settings: SampleSettings,
    /// Name of the class, where all that the record speaks of is of one.
    pub class: Option<String>,
    /// The picture's number in its batch; absent where it speaks of all.
    pub image: Option<usize>,
    /// The time at which the picture was taken, in `[0, 1]`; absent at the end of a run.
    pub t: Option<f32>,
    /// File that the starting noise was read from; absent where the seed gave it.
    pub noise: Option<String>,
    /// The precision that the model computed in; absent where that was f32.
    pub precision: Option<Precision>,
}

impl Recorded {
    /// Most bytes of a record that are read: those of [`SampleSettings::MAX_PICTURES`] take fewer.
    pub const MOST_BYTES: usize = 8 << 20;
    /// Most bytes of a name that are kept: more cannot be shown.
    const MOST_NAME: usize = 1024;
    /// Most characters of a reason: some of them quote what they refuse.
    const MOST_REASON: usize = 300;

    /// Reads the JSON of a [`RunRecord`], with a byte-order mark or without.
    ///
    /// # Errors
    /// It is none, or its settings are out of their bounds.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        if text.len() > Self::MOST_BYTES {
            return Err(RecordError::TooLong);
        }
        let text = text.trim_start_matches('\u{feff}');
        Self::from_value(serde_json::from_str(text).map_err(Self::unusable)?)
    }

    /// As [`Recorded::from_json`], from what was parsed already.
    ///
    /// # Errors
    /// As [`Recorded::from_json`].
    pub fn from_value(value: Value) -> Result<Self, RecordError> {
        if !value.get("labels").is_some_and(Value::is_array) {
            return Err(RecordError::NoRun);
        }
        let mut record: Self = serde_json::from_value(value).map_err(Self::unusable)?;
        let pictures = record.settings.labels.len();
        if pictures == 0 {
            return Err(RecordError::NoRun);
        }
        if let Some(image) = record.image.filter(|image| *image >= pictures) {
            return Err(Self::unusable(format_args!(
                "image {image} is out of range: the run has {pictures}, counted from 0"
            )));
        }
        if let Some(t) = record.t.filter(|t| !(0.0..=1.0).contains(t)) {
            return Err(Self::unusable(format_args!("t must be from 0 to 1, not {t}")));
        }
        let names =
            [&mut record.model, &mut record.model_hash, &mut record.class, &mut record.noise];
        for name in names.into_iter().flatten() {
            name.truncate(name.floor_char_boundary(Self::MOST_NAME));
        }
        Ok(record)
    }

    fn unusable(reason: impl ToString) -> RecordError {
        let reason = reason.to_string();
        match reason.char_indices().nth(Self::MOST_REASON) {
            Some((end, _)) => RecordError::Unusable(format!("{} ...", &reason[..end])),
            None => RecordError::Unusable(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Branch, Domain, Temperature};
    use super::*;
    use crate::model::Objective;

    const DOMAIN: Domain =
        Domain { objective: Objective::Purrception, classes: 10, codes: 64, height: 8, width: 8 };

    /// Settings that go on from others, this many runs deep.
    fn nested(deep: usize) -> SampleSettings {
        (0..deep).fold(SampleSettings::default(), |parent, _| SampleSettings {
            pins: vec!["0,1,2=3".parse().unwrap()],
            branch: Some(Box::new(Branch { step: 0, parent })),
            ..SampleSettings::default()
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let settings = SampleSettings { labels: vec![1, 2], ..SampleSettings::default() };
        let mut json = serde_json::to_value(RunRecord::new("m", "ab", &settings)).unwrap();
        json[key] = value;
        json
    }

    #[test]
    fn a_record_comes_back() {
        let settings = nested(SampleSettings::MAX_GENERATION);
        settings.validate(&DOMAIN).unwrap();
        let record = RunRecord {
            class: Some("cat".to_owned()),
            image: Some(0),
            t: Some(0.5),
            noise: Some("n.safetensors".to_owned()),
            precision: Precision::F16.noted(),
            ..RunRecord::new("m", "ab", &settings)
        };
        let read = Recorded::from_json(&format!("\u{feff}{}", record.to_json().unwrap())).unwrap();
        assert_eq!(read.settings, settings);
        assert_eq!((read.image, read.t), (Some(0), Some(0.5)));
        assert_eq!(read.noise.as_deref(), Some("n.safetensors"));
        assert_eq!(read.precision, Some(Precision::F16));
    }

    #[test]
    fn a_record_of_f32_says_nothing_of_precision() {
        let settings = SampleSettings { labels: vec![1], ..SampleSettings::default() };
        let precision = Precision::F32.noted();
        let record = RunRecord { precision, ..RunRecord::new("m", "ab", &settings) };
        let json = record.to_json().unwrap();
        assert!(!json.contains("precision"), "{json}");
        assert_eq!(Recorded::from_json(&json).unwrap().precision, None);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let huge = 1u64 << 62;
        for (key, value, said) in [
            ("steps", huge.into(), "steps must be a whole number from 1 to 10000"),
            ("steps", 1_000_000_000_000u64.into(), "steps must be a whole number from 1 to 10000"),
            ("steps", 0.into(), "steps must be a whole number from 1 to 10000"),
            ("seed", (-1).into(), "-1"),
            ("seed", 1.5.into(), "1.5"),
            ("labels", "cat".into(), "labels are missing"),
            ("labels", Value::Array(Vec::new()), "labels are missing"),
            ("labels", vec![0; SampleSettings::MAX_PICTURES + 1].into(), "more than 1000000"),
            ("temperature", "hot".into(), "hot"),
            ("temperature", "x".repeat(5000).into(), "..."),
            ("guidance", 1e300.into(), "guidance must be"),
            ("guidance", 1e30.into(), "guidance must be"),
            ("guidance_interval", "0.8:0.2".into(), "0 <= A <= B <= 1"),
            ("guidance_interval", "0:1.5".into(), "0 <= A <= B <= 1"),
            ("guidance_interval", "NaN:1".into(), "0 <= A <= B <= 1"),
            ("guidance_interval", "half".into(), "0 <= A <= B <= 1"),
            ("eta", 1e9.into(), "eta must be"),
            ("solver", "magic".into(), "magic"),
            ("precision", "f8".into(), "f8"),
            ("grid", "shifted:-1".into(), "above 0"),
            ("atol", 0.into(), "atol must be"),
            ("rtol", 2.into(), "rtol must be"),
            ("image", 2.into(), "image 2 is out of range: the run has 2"),
            ("image", huge.into(), "out of range"),
            ("t", 7.into(), "t must be"),
            ("banned_codes", vec![0; SampleSettings::MAX_BANNED_CODES + 1].into(), "more than"),
            (
                "branch",
                serde_json::json!({ "step": u64::MAX, "parent": { "labels": [1, 2] } }),
                "step",
            ),
            (
                "branch",
                serde_json::json!({ "step": 1, "parent": { "labels": [1, 2], "steps": huge } }),
                "steps must be",
            ),
        ] {
            let error = Recorded::from_value(with(key, value)).unwrap_err().to_string();
            assert!(error.contains(said) && error.len() < 1500, "{key}: {error}");
        }
        for text in ["", "[]", "{\"labels\":[1],\"guidance\":NaN}", &"[".repeat(200_000)] {
            assert!(Recorded::from_json(text).is_err());
        }
        let deep = serde_json::to_string(&nested(100)).unwrap();
        assert!(Recorded::from_json(&deep).is_err());
        assert!(nested(SampleSettings::MAX_GENERATION + 1).validate(&DOMAIN).is_err());
        assert!(matches!(
            Recorded::from_json(&" ".repeat(Recorded::MOST_BYTES + 1)),
            Err(RecordError::TooLong)
        ));
    }

    /// Settings that nobody has checked yet are made nothing large of.
    #[test]
    fn unchecked_settings_ask_for_no_memory() {
        let settings = SampleSettings { steps: usize::MAX, ..SampleSettings::default() };
        assert!(settings.times().len() <= SampleSettings::MAX_STEPS + 1);
        assert!(settings.evaluations(Objective::Purrception).is_some());
        let far = SampleSettings {
            branch: Some(Box::new(Branch { step: usize::MAX, parent: settings })),
            ..SampleSettings::default()
        };
        assert!(far.times().len() < 30);
        assert!(far.validate(&DOMAIN).is_err());
    }

    #[test]
    fn every_grid_rises_at_any_number_of_steps() {
        for grid in ["cosine", "shifted:1e-30", "shifted:1e30", "uniform"] {
            let settings = SampleSettings {
                grid: grid.parse().unwrap(),
                steps: SampleSettings::MAX_STEPS,
                ..SampleSettings::default()
            };
            let times = settings.times();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{grid}");
            assert_eq!((times[0], times[times.len() - 1]), (0.0, 1.0), "{grid}");
        }
    }

    #[test]
    fn a_part_has_the_labels_and_edits_of_its_images() {
        let whole = SampleSettings {
            labels: vec![0, 1, 2, 3],
            pins: vec!["1,0,0=5".parse().unwrap(), "3,0,0=6".parse().unwrap()],
            bans: vec!["2,1,1=7".parse().unwrap()],
            seed: 9,
            ..SampleSettings::default()
        };
        let branch = Some(Box::new(Branch { step: 3, parent: whole.clone() }));
        let part = SampleSettings { branch, ..whole }.part(2..4);
        assert_eq!((&part.labels[..], part.seed), (&[2, 3][..], 9));
        assert_eq!(part.pins, ["1,0,0=6".parse().unwrap()]);
        assert_eq!(part.bans, ["0,1,1=7".parse().unwrap()]);
        let branch = part.branch.unwrap();
        assert_eq!((branch.step, &branch.parent.labels[..]), (3, &[2, 3][..]));
    }

    #[test]
    fn what_ties_pictures_together_is_told() {
        let plain = SampleSettings::default();
        assert_eq!(plain.ties(), None);
        let temperature = Temperature::Entropy { from: 2.0, to: 0.5 };
        let tied = SampleSettings { temperature, ..SampleSettings::default() };
        let branch = Some(Box::new(Branch { step: 1, parent: tied.clone() }));
        assert!(tied.ties().is_some() && SampleSettings { branch, ..plain }.ties().is_some());
    }
}
