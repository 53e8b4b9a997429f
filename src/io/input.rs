//! Opening what others wrote: whole files mapped, texts in the encodings that editors write.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use memmap2::Mmap;

use super::foreign::{self, Foreign};

/// Most bytes of a text that is read whole: a million class names of 64 letters.
pub const LONGEST_TEXT: u64 = 64 << 20;

/// Maps a file to be read.
///
/// # Errors
/// It is a folder or a pipe, or whatever the file system says.
#[expect(
    unsafe_code,
    reason = "models are larger than what should be read to look at their header"
)]
pub fn map(path: &Path) -> io::Result<Mmap> {
    let file = open(path)?;
    // SAFETY: the map is read only. Another process that truncates the file while it is mapped can end
    // this one with a bus error; models and checkpoints are replaced by renaming, not written in place.
    unsafe { Mmap::map(&file) }
}

/// Opens a file that can be read in any order.
///
/// # Errors
/// It is a folder or a pipe, or whatever the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    // Asked before it is opened: opening a pipe waits for its other end.
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(folder_error());
    }
    if !kind.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a pipe or a device, expected a file that can be read in any order",
        ));
    }
    File::open(path)
}

/// What is said of a folder where a file is wanted.
fn folder_error() -> io::Error {
    io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, expected a file")
}

/// Reads a text: UTF-8, or UTF-16 with the mark that Windows puts before it. Marks are left out.
///
/// # Errors
/// It is no text, more than [`LONGEST_TEXT`] bytes, or whatever the file system says.
pub fn read_text(path: &Path) -> io::Result<String> {
    if path.is_dir() {
        return Err(folder_error());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(invalid(format!("it is not a text of at most {} MiB", LONGEST_TEXT >> 20)));
    }
    decode(&bytes).ok_or_else(|| match foreign::recognise(&bytes) {
        None | Some(Foreign::Text) => invalid("it is not text in UTF-8".to_owned()),
        Some(found) => invalid(format!("it is {found}, expected text")),
    })
}

/// Text of bytes in UTF-8, or in UTF-16 with its mark.
fn decode(bytes: &[u8]) -> Option<String> {
    let wide = |rest: &[u8], read: fn([u8; 2]) -> u16| {
        let (units, odd) = rest.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| read(*unit)).collect();
        String::from_utf16(&units).ok().filter(|_| odd.is_empty())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(str::to_owned),
        _ => std::str::from_utf8(bytes).ok().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        read_text(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_read_in_every_encoding_of_editors() {
        assert_eq!(read(b"caf\xc3\xa9").unwrap(), "café");
        assert_eq!(read(b"\xef\xbb\xbfa").unwrap(), "a");
        assert_eq!(read(b"\xff\xfea\0\xe9\0").unwrap(), "aé");
        assert_eq!(read(b"\xfe\xff\0a\0\xe9").unwrap(), "aé");
        assert!(read(b"caf\xe9").unwrap_err().contains("UTF-8"));
        assert!(read(b"\xff\xfea").is_err(), "half a letter");
        assert!(read(b"\x89PNG\r\n\x1a\n").unwrap_err().contains("a picture (PNG)"));
    }

    #[test]
    fn folders_are_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for error in [map(at).err(), open(at).err(), read_text(at).err()] {
            assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::IsADirectory));
        }
    }
}
