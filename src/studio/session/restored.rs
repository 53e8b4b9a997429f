//! Settings read back from what was exported.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use super::settings_file;
use crate::flow::{Recorded, SampleSettings};
use crate::io::png;
use crate::io::tensors::{METADATA_KEY, TensorFile};
use crate::studio::session::draft::Draft;

/// The settings that a picture was made with.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// Name of the class.
    pub class: Option<String>,
    /// Digest of the model.
    pub model_hash: Option<String>,
    /// File that the starting noise was read from; absent where the seed gave it.
    pub noise: Option<String>,
    /// The rest.
    pub settings: SampleSettings,
}

impl From<Recorded> for Restored {
    fn from(record: Recorded) -> Self {
        let Recorded { class, model_hash, noise, settings, .. } = record;
        Self { class, model_hash, noise, settings }
    }
}

/// What a dropped file is, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture or an APNG.
    Png,
    /// Settings.
    Toml,
    /// A model or a trajectory.
    Tensors,
    /// A report of a calibration.
    Json,
}

impl Kind {
    /// The kind of a file; nothing for what cannot be opened.
    pub fn of(path: &Path) -> Option<Self> {
        let end = path.extension()?.to_str()?.to_ascii_lowercase();
        match end.as_str() {
            "png" | "apng" => Some(Self::Png),
            "toml" => Some(Self::Toml),
            "safetensors" => Some(Self::Tensors),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Restored {
    /// Most bytes of a picture that is read.
    const LARGEST: u64 = 256 << 20;

    /// Reads the settings in an exported PNG, settings TOML or trajectory.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |reason: &dyn Display| {
            let reason = reason.to_string();
            format!("{}: {}.", path.display(), reason.trim_end().trim_end_matches('.'))
        };
        let record = match Kind::of(path) {
            Some(Kind::Tensors) => {
                let file = TensorFile::open(path).map_err(|error| format!("{error}."))?;
                let json = file.metadata(METADATA_KEY).filter(|_| file.contains("t"));
                let none = || failed(&"it is no trajectory of this program");
                Recorded::from_json(json.ok_or_else(none)?).map_err(|error| failed(&error))?
            }
            kind => {
                let most = match kind {
                    Some(Kind::Toml) => Recorded::MOST_BYTES as u64,
                    _ => Self::LARGEST,
                };
                let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
                if size > most {
                    return Err(failed(&"too large to hold settings"));
                }
                let bytes = fs::read(path).map_err(|error| failed(&error))?;
                if kind == Some(Kind::Toml) {
                    let text = String::from_utf8(bytes).map_err(|_| failed(&"not a text"))?;
                    // The parser shows the line on lines of its own.
                    let json = settings_file::to_json(&text)
                        .map_err(|error| failed(&one_line(&error.to_string())))?;
                    Recorded::from_value(json).map_err(|error| failed(&error))?
                } else {
                    let json = png::settings(&bytes).map_err(|error| failed(&error))?;
                    Recorded::from_json(&json).map_err(|error| failed(&error))?
                }
            }
        };
        // A branch has as many pictures as what it leaves, and the window computes them at once.
        let pictures = record.settings.labels.len();
        if record.settings.branch.is_some() && pictures > Draft::MAX_COUNT {
            return Err(failed(&format_args!(
                "it is one of {pictures} pictures that go on from another run, and {} are the most \
                 here; `purrscope sample --restore` makes it again",
                Draft::MAX_COUNT
            )));
        }
        Ok(record.into())
    }
}

fn one_line(text: &str) -> String {
    let words = text.lines().map(str::trim).filter(|line| {
        // Pointers at a column mean nothing in one line.
        !line.is_empty() && !line.chars().all(|c| matches!(c, '|' | '^' | ' '))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a safetensors file is a trajectory.
pub fn is_trajectory(path: &Path) -> bool {
    TensorFile::open(path).is_ok_and(|file| file.contains("t") && file.contains("codes"))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::io::tensors::{Precision, TensorWriter};
    use crate::studio::export::write_png;

    #[test]
    fn settings_come_back_from_a_picture_and_from_the_command_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cat.png");
        let json = r#"{"program":"purrscope 0.1.0","model":"m","model_hash":"ab","labels":[4,4],
            "seed":7,"solver":"euler","grid":"shifted:3","steps":12,
            "temperature":"linear:1.2:0.6","guidance":2.0,"image":1,"class":"cat-orange-in-a-meadow",
            "noise":"n.safetensors"}"#;
        write_png(&path, &RgbImage::new(2, 2), json).unwrap();
        let restored = Restored::read(&path).unwrap();
        assert_eq!(restored.class.as_deref(), Some("cat-orange-in-a-meadow"));
        assert_eq!(restored.settings.temperature.to_string(), "linear:1.2:0.6");
        assert_eq!((restored.settings.seed, restored.settings.steps), (7, 12));
        assert_eq!(restored.noise.as_deref(), Some("n.safetensors"));

        let toml = folder.path().join("cat.TOML");
        let text = settings_file::from_json(json).unwrap();
        fs::write(&toml, format!("\u{feff}{text}")).unwrap();
        assert_eq!(Restored::read(&toml).unwrap(), restored);

        let tensors = folder.path().join("cat.safetensors");
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, json.to_owned());
        writer.floats("t", &[2], &[0.0, 1.0], Precision::F32);
        writer.integers("codes", &[1], [3]);
        writer.write(&tensors).unwrap();
        assert!(is_trajectory(&tensors));
        assert_eq!(Restored::read(&tensors).unwrap(), restored);
    }

    #[test]
    fn a_file_without_settings_is_named_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RgbImage::new(2, 2).save(at("holiday.png")).unwrap();
        write_png(&at("many.png"), &RgbImage::new(2, 2), r#"{"labels":[1],"steps":"many"}"#)
            .unwrap();
        write_png(&at("empty.png"), &RgbImage::new(2, 2), "{}").unwrap();
        fs::write(at("torn.png"), [0; 10]).unwrap();
        let huge = r#"{"labels":[1],"branch":{"step":18446744073709551615,"parent":{"steps":4611686018427387904}}}"#;
        write_png(&at("huge.png"), &RgbImage::new(2, 2), huge).unwrap();
        let crowd = r#"{"labels":[L],"branch":{"step":1,"parent":{"labels":[L]}}}"#;
        let crowd = crowd.replace('L', &["1"; 17].join(","));
        write_png(&at("crowd.png"), &RgbImage::new(2, 2), &crowd).unwrap();
        let huge = "labels = [1]\n[branch]\nstep = 1\n[branch.parent]\nsteps = 1000000000000";
        fs::write(at("huge.toml"), huge).unwrap();
        let deep = format!("labels = [1]\n[branch{}]\nstep = 1", ".parent.branch".repeat(10_000));
        fs::write(at("deep.toml"), deep).unwrap();
        let mut writer = TensorWriter::default();
        writer.metadata(METADATA_KEY, r#"{"labels":[1],"steps":1e18}"#.to_owned());
        writer.floats("t", &[2], &[0.0, 1.0], Precision::F32);
        writer.write(&at("huge.safetensors")).unwrap();
        fs::write(at("torn.toml"), "steps = [1,\nfoo").unwrap();
        fs::write(at("other.toml"), "[package]\nname = 'x'").unwrap();
        fs::write(at("binary.toml"), [0xff; 10]).unwrap();
        fs::write(at("torn.safetensors"), [1; 10]).unwrap();
        TensorWriter::default().write(&at("none.safetensors")).unwrap();
        for (name, reason) in [
            ("holiday.png", "no purrscope settings"),
            ("many.png", "cannot be used"),
            ("empty.png", "no settings of a run"),
            ("torn.png", "not a readable PNG"),
            ("torn.toml", "not a TOML file"),
            ("other.toml", "no settings of a run"),
            ("binary.toml", "not a text"),
            ("torn.safetensors", "not a valid safetensors"),
            ("none.safetensors", "no trajectory"),
            ("huge.png", "step"),
            ("crowd.png", "17 pictures"),
            ("huge.toml", "steps must be a whole number from 1 to 10000"),
            ("deep.toml", "not a TOML file"),
            ("huge.safetensors", "cannot be used"),
            ("gone.png", ""),
        ] {
            let error = Restored::read(&at(name)).unwrap_err();
            assert!(error.contains(name) && error.contains(reason), "{error}");
            assert!(
                !error.contains('\n') && error.ends_with('.') && !error.ends_with(".."),
                "{error}"
            );
        }
    }
}
