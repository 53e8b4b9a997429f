//! Reports that are kept for the studio, one a model.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Calibration;
use crate::folders;
use crate::io::atomic;

/// A larger file is not one of these.
const MOST_BYTES: u64 = 64 << 20;

/// A folder of reports, each under its model's hash.
#[derive(Debug, Clone)]
pub struct KeptReports(Option<PathBuf>);

impl KeptReports {
    /// The user's, beside the settings of the studio; where there is no folder for them, nothing is kept.
    pub fn of_user() -> Self {
        Self(folders::data().map(|folder| folder.join("calibration")))
    }

    /// Those in a folder.
    pub fn at(folder: &Path) -> Self {
        Self(Some(folder.to_owned()))
    }

    fn path(&self, hash: &str) -> Option<PathBuf> {
        let plain = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.0.as_ref().filter(|_| plain).map(|folder| folder.join(format!("{hash}.json")))
    }

    /// Keeps a report in the place of an earlier one of the same model.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn keep(&self, report: &Calibration) -> io::Result<()> {
        let Some(path) = self.path(&report.model_hash) else { return Ok(()) };
        fs::create_dir_all(atomic::folder_of(&path))?;
        atomic::write(&path, report.to_json()?.as_bytes())
    }

    /// The report of the model with this hash, if there is one that can be read; of the embedded model at least
    /// the one that came with it.
    pub fn of_model(&self, hash: &str) -> Option<Calibration> {
        let kept = self.path(hash).and_then(|path| read(&path).ok());
        let ours = |report: &Calibration| report.model_hash == hash;
        kept.filter(ours).or_else(|| embedded().filter(ours))
    }
}

/// The report of the embedded model.
fn embedded() -> Option<Calibration> {
    let text = include_str!("../../assets/cats-and-dogs.calibration.json");
    serde_json::from_str(text).ok()
}

/// Reads a report.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read(path: &Path) -> io::Result<Calibration> {
    if fs::metadata(path)?.len() > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for a calibration"));
    }
    let report: Calibration = serde_json::from_slice(&fs::read(path)?).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a calibration: {error}"))
    })?;
    report.check().map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::model::Model;

    #[test]
    fn the_embedded_model_comes_with_its_report() {
        let model = Model::embedded(&Device::flex()).unwrap();
        let report = KeptReports(None).of_model(model.hash()).unwrap();
        report.check().unwrap();
        assert_eq!(report.class_names, model.card.class_names);
        assert!(report.schedule.is_some() && report.pictures >= 900);
        assert!(KeptReports(None).of_model("another").is_none());
    }
}
