//! Questions about paths.

use std::fs;
use std::path::Path;

/// Whether two paths lead to one file that is there: spelt alike or not, through links, or as two names
/// of one file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    if let (Ok(a), Ok(b)) = (fs::canonicalize(a), fs::canonicalize(b))
        && a == b
    {
        return true;
    }
    same_inode(a, b)
}

#[cfg(unix)]
fn same_inode(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    place(a).is_some_and(|found| place(b) == Some(found))
}

#[cfg(not(unix))]
fn same_inode(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_known_under_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("a"), b"").unwrap();
        fs::write(at("b"), b"").unwrap();
        assert!(same_file(&at("a"), &at("d/../a")));
        assert!(!same_file(&at("a"), &at("b")));
        assert!(!same_file(&at("none"), &at("none")), "there is no such file");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
            fs::hard_link(at("a"), at("hard")).unwrap();
            assert!(same_file(&at("a"), &at("link")) && same_file(&at("hard"), &at("a")));
        }
    }
}
