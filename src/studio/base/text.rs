//! Texts that the window shows.

use std::path::Path;

pub use crate::say::count;

/// The name of a file, without its folder.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
