//! SHA-256 digests as text.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes in hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest, in 64 digits.
pub fn whole(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of what a file holds; of one that cannot be read, of nothing.
pub fn of_file(path: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    if let Ok(mut file) = File::open(path)
        && io::copy(&mut file, &mut hash).is_err()
    {
        hash.reset();
    }
    hash.finalize().into()
}

/// The first 16 digits of the digest: enough to tell the files of a user apart.
pub fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}
