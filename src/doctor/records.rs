//! What is known of devices from earlier examinations, so that each is examined once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{DoctorError, Extent, examine};
use crate::device::{DeviceChoice, DeviceError, Selected, select};
use crate::folders;
use crate::io::atomic;

/// A record larger than this is not this program's.
const MOST_BYTES: u64 = 1 << 20;
/// Devices that are remembered at the most; the whole record begins again beyond that.
const MOST_DEVICES: usize = 64;

/// How a device did when it was examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It computed everything as it should.
    Trusted,
    /// It did something wrong.
    Wrong {
        /// The first operation that was wrong, and how.
        operation: String,
    },
}

/// The record of examinations: a JSON file beside the settings of the studio.
#[derive(Debug)]
pub struct Records {
    path: Option<PathBuf>,
    known: BTreeMap<String, Standing>,
}

impl Records {
    /// The user's record; where there is no folder for it, nothing is remembered.
    pub fn of_user() -> Self {
        Self::at(folders::data().map(|folder| folder.join("devices.json")))
    }

    /// The record in a file. What cannot be read counts as not there: it is made again.
    pub fn at(path: Option<PathBuf>) -> Self {
        let known = path.as_deref().and_then(read).unwrap_or_default();
        Self { path, known }
    }

    /// A record in memory that knows one GPU.
    #[cfg(test)]
    pub(crate) fn knowing(selected: &Selected, standing: Standing) -> Self {
        let known = key(selected).map(|key| (key, standing)).into_iter().collect();
        Self { path: None, known }
    }

    /// How a device did, if it has been examined by this very program under its present driver.
    pub fn standing(&self, selected: &Selected) -> Option<&Standing> {
        self.known.get(&key(selected)?)
    }

    /// As [`Records::standing`], after an examination in its short form where there was none. The CPU
    /// is not examined: nothing else could take its place.
    ///
    /// # Errors
    /// The numbers inside the program cannot be read.
    pub fn examined(&mut self, selected: &Selected) -> Result<Standing, DoctorError> {
        let Some(key) = key(selected) else { return Ok(Standing::Trusted) };
        if let Some(standing) = self.known.get(&key) {
            return Ok(standing.clone());
        }
        let findings = examine(selected, Extent::Short, |_| {})?;
        let standing = match findings.iter().find(|finding| finding.is_failure()) {
            Some(failure) => {
                Standing::Wrong { operation: format!("{}: {}", failure.name, failure.verdict) }
            }
            None => Standing::Trusted,
        };
        if self.known.len() >= MOST_DEVICES {
            self.known.clear();
        }
        self.known.insert(key, standing.clone());
        if let Err(error) = self.keep() {
            tracing::debug!("the examination of the device is not remembered: {error}");
        }
        Ok(standing)
    }

    fn keep(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        atomic::write(path, &serde_json::to_vec_pretty(&self.known)?)
    }
}

/// What is to be computed on where a device stands like that, and a line about it for the user: the CPU
/// takes the place of a device that computes wrongly, unless it was asked for.
///
/// # Errors
/// None: the CPU can always be had.
pub fn heed(
    choice: DeviceChoice,
    selected: Selected,
    standing: Option<Standing>,
) -> Result<(Selected, Option<String>), DeviceError> {
    let Some(Standing::Wrong { operation }) = standing else { return Ok((selected, None)) };
    let gpu = &selected.description;
    if choice == DeviceChoice::Auto {
        let notice = format!("{gpu} is not used, since it computes wrongly ({operation})");
        return Ok((select(DeviceChoice::Cpu)?, Some(notice)));
    }
    let warning = format!("warning: {gpu} computes wrongly ({operation})");
    Ok((selected, Some(warning)))
}

fn read(path: &Path) -> Option<BTreeMap<String, Standing>> {
    let size = fs::metadata(path).ok()?.len();
    if size > MOST_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What a verdict holds for: an adapter, its driver, and this build of the program.
fn key(selected: &Selected) -> Option<String> {
    let info = selected.handles.as_ref()?.device.adapter_info();
    let built = std::env::current_exe()
        .and_then(fs::metadata)
        .and_then(|program| program.modified())
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs());
    Some(format!(
        "{} [{:04x}:{:04x}], {}, driver {} {}, purrscope {} built {built}",
        info.name,
        info.vendor,
        info.device,
        info.backend,
        info.driver,
        info.driver_info,
        env!("CARGO_PKG_VERSION"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/devices.json");
        let wrong = Standing::Wrong { operation: "softmax: off by 1".to_owned() };
        let mut records = Records::at(Some(path.clone()));
        records.known.insert("a".to_owned(), Standing::Trusted);
        records.known.insert("b".to_owned(), wrong.clone());
        records.keep().unwrap();
        let again = Records::at(Some(path.clone()));
        assert_eq!(again.known.get("a"), Some(&Standing::Trusted));
        assert_eq!(again.known.get("b"), Some(&wrong));
        fs::write(&path, "{").unwrap();
        assert!(Records::at(Some(path)).known.is_empty());
    }
}
