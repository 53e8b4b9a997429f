//! Where the program keeps what its user does not save by name.

use std::path::PathBuf;

/// The program's folder among the user's data: records of devices, reports, pictures. None where the system
/// names no such place.
pub fn data() -> Option<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "purrscope")?;
    Some(folders.data_dir().to_owned())
}
