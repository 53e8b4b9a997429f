//! Files of which a folder holds one for each number, such as the step of a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files whose names are a number between `beginning` and `ending`, in the order of their numbers; others are passed over.
///
/// # Errors
/// The folder cannot be read.
pub fn numbered(folder: &Path, beginning: &str, ending: &str) -> io::Result<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(beginning)?.strip_suffix(ending)?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes those whose number is larger: of a run that went on from an earlier one.
pub fn remove_beyond(files: Vec<(usize, PathBuf)>, number: usize) {
    for (_, path) in files.into_iter().filter(|(of, _)| *of > number) {
        // What stays is replaced when its number comes again.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["s-10.png", "s-0002.png", "s-x.png", "s-3.pngx", "t-1.png", "4.png"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let found = numbered(folder.path(), "s-", ".png").unwrap();
        assert_eq!(
            found,
            [(2, "s-0002.png"), (10, "s-10.png")].map(|(n, name)| (n, folder.path().join(name)))
        );
        assert_eq!(numbered(folder.path(), "", ".png").unwrap().len(), 1);
        assert!(numbered(&folder.path().join("nowhere"), "", "").is_err());
    }
}
