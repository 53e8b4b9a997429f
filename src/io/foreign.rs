//! What a file is that turned out to be something else, told from its first bytes.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use super::input;

/// First bytes that are looked at.
pub const HEAD: usize = 4096;

/// The beginning of what every legacy file of `torch.save` holds: the number `0x1950a86a20f9469cfc6c`.
pub const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Largest header of a safetensors file, by its specification.
const LONGEST_HEADER: u64 = 100_000_000;

/// A kind of file. Its `Display` names it with its article, such as "a web page".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// Space that was set aside and never filled.
    Zeros,
    /// What Git LFS leaves where the file itself was not fetched.
    LfsPointer,
    /// HTML.
    WebPage,
    /// XML, such as the refusal of a storage service.
    Xml,
    /// JSON text.
    Json,
    /// Any other text.
    Text,
    /// A safetensors file.
    Safetensors,
    /// What `torch.save` writes.
    TorchZip,
    /// What `torch.save` wrote before PyTorch 1.6.
    TorchLegacy,
    /// A pickle on its own.
    Pickle,
    /// A NumPy array, `.npy`.
    Npy,
    /// NumPy arrays, `.npz`.
    Npz,
    /// A tar archive.
    Tar,
    /// A zip archive.
    Zip,
    /// Something compressed or packed, by the name of its format.
    Packed(&'static str),
    /// A picture, by the name of its format.
    Picture(&'static str),
    /// HDF5, which Keras writes.
    Hdf5,
    /// GGUF, which llama.cpp reads.
    Gguf,
    /// A PDF document.
    Pdf,
    /// An SQLite database.
    Sqlite,
    /// A Parquet table.
    Parquet,
    /// A program or a library.
    Program,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::Zeros => "a file of nothing but zeros",
            Self::LfsPointer => "a Git LFS pointer, which only stands for the file",
            Self::WebPage => "a web page (HTML)",
            Self::Xml => "XML text",
            Self::Json => "JSON text",
            Self::Text => "plain text",
            Self::Safetensors => "a safetensors file",
            Self::TorchZip => "a PyTorch checkpoint",
            Self::TorchLegacy => "a PyTorch checkpoint of the format before 1.6",
            Self::Pickle => "a Python pickle",
            Self::Npy => "a NumPy array (.npy)",
            Self::Npz => "an archive of NumPy arrays (.npz)",
            Self::Tar => "a tar archive",
            Self::Zip => "a zip archive",
            Self::Packed(format) => return write!(f, "a file compressed with {format}"),
            Self::Picture(format) => return write!(f, "a picture ({format})"),
            Self::Hdf5 => "an HDF5 file",
            Self::Gguf => "a GGUF model",
            Self::Pdf => "a PDF document",
            Self::Sqlite => "an SQLite database",
            Self::Parquet => "a Parquet table",
            Self::Program => "a program or a library",
        })
    }
}

impl Foreign {
    /// What to do about it: the end of a sentence, beginning with a semicolon, or nothing.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Empty | Self::Zeros | Self::WebPage | Self::Xml => {
                "; the download went wrong: download the file again"
            }
            Self::LfsPointer => "; fetch the file with `git lfs pull`",
            Self::TorchZip | Self::TorchLegacy => {
                "; make a model of it with `purrscope import CHECKPOINT --hparams hparams.json \
                 --tokenizer FILE --out MODEL.safetensors`"
            }
            Self::Pickle => "; load it in Python and save it again with torch.save",
            Self::Packed("gzip") => "; unpack it with `gunzip`, or `tar -xzf` for a .tar.gz",
            Self::Packed(_) | Self::Zip => "; unpack it first",
            Self::Tar => "; unpack it with `tar -xf`",
            _ => "",
        }
    }
}

/// What begins with these bytes, of which the first [`HEAD`] are enough; nothing for what is not known.
pub fn recognise(first_bytes: &[u8]) -> Option<Foreign> {
    let head = &first_bytes[..first_bytes.len().min(HEAD)];
    if head.is_empty() {
        return Some(Foreign::Empty);
    }
    by_signature(head).or_else(|| by_text(head))
}

/// The same of the file at `path`.
///
/// # Errors
/// Whatever the file system says.
pub fn recognise_file(path: &Path) -> io::Result<Option<Foreign>> {
    let mut head = Vec::with_capacity(HEAD);
    input::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(recognise(&head))
}

fn by_signature(head: &[u8]) -> Option<Foreign> {
    const SIGNATURES: [(&[u8], Foreign); 25] = [
        (b"\x89PNG\r\n\x1a\n", Foreign::Picture("PNG")),
        (b"\xff\xd8\xff", Foreign::Picture("JPEG")),
        (b"GIF87a", Foreign::Picture("GIF")),
        (b"GIF89a", Foreign::Picture("GIF")),
        (b"II*\0", Foreign::Picture("TIFF")),
        (b"MM\0*", Foreign::Picture("TIFF")),
        (b"8BPS\0\x01", Foreign::Picture("PSD")),
        (b"\x1f\x8b", Foreign::Packed("gzip")),
        (b"BZh", Foreign::Packed("bzip2")),
        (b"\xfd7zXZ\0", Foreign::Packed("xz")),
        (b"\x28\xb5\x2f\xfd", Foreign::Packed("zstd")),
        (b"\x04\x22\x4d\x18", Foreign::Packed("lz4")),
        (b"7z\xbc\xaf\x27\x1c", Foreign::Packed("7-Zip")),
        (b"Rar!\x1a\x07", Foreign::Packed("RAR")),
        (b"\x89HDF\r\n\x1a\n", Foreign::Hdf5),
        (b"GGUF", Foreign::Gguf),
        (b"\x93NUMPY", Foreign::Npy),
        (b"%PDF-", Foreign::Pdf),
        (b"SQLite format 3\0", Foreign::Sqlite),
        (b"PAR1", Foreign::Parquet),
        (b"\x7fELF", Foreign::Program),
        (b"MZ\x90\0", Foreign::Program),
        (b"\xcf\xfa\xed\xfe", Foreign::Program),
        (b"version https://git-lfs.github.com/", Foreign::LfsPointer),
        (b"version https://hawser.github.com/", Foreign::LfsPointer),
    ];
    if let Some((_, found)) = SIGNATURES.iter().find(|(start, _)| head.starts_with(start)) {
        return Some(*found);
    }
    let at = |from: usize, what: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(what));
    if at(257, b"ustar") {
        return Some(Foreign::Tar);
    }
    if at(0, b"RIFF") && at(8, b"WEBP") {
        return Some(Foreign::Picture("WebP"));
    }
    if at(4, b"ftypavif") || at(4, b"ftyphei") || at(4, b"ftypmif1") {
        return Some(Foreign::Picture("AVIF or HEIC"));
    }
    if at(0, b"BM") && at(6, &[0; 4]) {
        return Some(Foreign::Picture("BMP"));
    }
    if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        return Some(zip_kind(head));
    }
    if let [0x80, 2..=5, ..] = head {
        let early = &head[..head.len().min(32)];
        let legacy = early.windows(LEGACY_MAGIC.len()).any(|window| window == LEGACY_MAGIC);
        return Some(if legacy { Foreign::TorchLegacy } else { Foreign::Pickle });
    }
    if let Some((length, [b'{', ..])) = head.split_first_chunk()
        && (2..=LONGEST_HEADER).contains(&u64::from_le_bytes(*length))
    {
        return Some(Foreign::Safetensors);
    }
    (head.len() >= 8 && head.iter().all(|byte| *byte == 0)).then_some(Foreign::Zeros)
}

/// Which zip it is, from the name of its first entry.
fn zip_kind(head: &[u8]) -> Foreign {
    let length = head.get(26..28).map_or(0, |l| usize::from(u16::from_le_bytes([l[0], l[1]])));
    let name = head.get(30..30 + length).unwrap_or_default();
    if name == b"data.pkl" || name.ends_with(b"/data.pkl") {
        Foreign::TorchZip
    } else if name.ends_with(b".npy") {
        Foreign::Npz
    } else {
        Foreign::Zip
    }
}

fn by_text(head: &[u8]) -> Option<Foreign> {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Some(Foreign::Text);
    }
    // A character may be cut in two where the head ends.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && head.len() == HEAD => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || c.is_ascii_whitespace() || c == '\x1b';
    if !text.chars().all(printable) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.get(..text.len().min(1024)).unwrap_or(text).to_ascii_lowercase();
    Some(match text.as_bytes() {
        [b'<', ..] if lower.contains("<html") || lower.starts_with("<!doctype") => Foreign::WebPage,
        [b'<', ..] => Foreign::Xml,
        [b'{' | b'[', rest @ ..] if is_json(rest) => Foreign::Json,
        _ => Foreign::Text,
    })
}

/// Whether text after an opening bracket is JSON rather than, say, a table of TOML.
fn is_json(rest: &[u8]) -> bool {
    let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    next.is_none_or(|byte| b"\"{[]}-0123456789".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_what_they_are() {
        let mut tar = vec![0; 512];
        tar[..9].copy_from_slice(b"00000.cls");
        tar[257..262].copy_from_slice(b"ustar");
        let zip = |name: &[u8]| {
            let mut bytes = b"PK\x03\x04".to_vec();
            bytes.resize(26, 0);
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0, 0]);
            [&bytes, name].concat()
        };
        let safetensors = [2u64.to_le_bytes().as_slice(), b"{}"].concat();
        let legacy = [b"\x80\x02\x8a\x0a".as_slice(), &LEGACY_MAGIC, b"."].concat();
        for (bytes, expected) in [
            (b"".as_slice(), "an empty file"),
            (&[0; 100], "nothing but zeros"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"\n <HTML lang=en>", "web page"),
            (b"<?xml version=\"1.0\"?><Error>", "XML"),
            (b"{\"error\": \"not found\"}", "JSON"),
            (b"\xef\xbb\xbf[1, 2]", "JSON"),
            (b"[task]\nkind = 1", "plain text"),
            (b"tench\ngoldfish\n", "plain text"),
            (&tar, "tar archive"),
            (&zip(b"archive/data.pkl"), "a PyTorch checkpoint"),
            (&zip(b"a.npy"), ".npz"),
            (&zip(b"readme"), "zip archive"),
            (b"PK\x03\x04", "zip archive"),
            (&safetensors, "safetensors"),
            (&legacy, "before 1.6"),
            (b"\x80\x04\x95", "pickle"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\xff\xd8\xff\xe0", "JPEG"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"GGUF\x03", "GGUF"),
            (b"\x93NUMPY\x01", ".npy"),
        ] {
            let found = recognise(bytes).map(|found| found.to_string()).unwrap_or_default();
            assert!(found.contains(expected), "{bytes:?}: {found:?}, expected {expected:?}");
        }
        assert_eq!(recognise(&[7, 9, 0, 1, 200]), None);
        // A letter of two bytes that the end of the head cuts in two.
        let cut = ["a".repeat(HEAD - 1).as_bytes(), "é".as_bytes()].concat();
        assert_eq!(recognise(&cut), Some(Foreign::Text));
    }
}
