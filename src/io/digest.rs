//! SHA-256 digests as text.

use sha2::{Digest, Sha256};

/// Bytes in hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest, in 64 digits.
pub fn whole(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first 16 digits of the digest: enough to tell the files of a user apart.
pub fn short(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}
