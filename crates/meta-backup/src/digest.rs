//! The digest of a backup's content, independent of format, compression level and threads.
//!
//! It is the SHA-256 of all entries in ascending key order. Each entry is hashed as length of the
//! key, length of the value (unsigned 32-bit, little-endian), key, value. The native format stores
//! entries in the same form, so that a block is hashed at once.

use sha2::{Digest as _, Sha256};

/// Maximum size of an entry: key and value together. By default etcd accepts requests of up to 1.5
/// MiB, and warns above 10 MiB; Milvus 2.1 sends at most 2 MiB. The limit also bounds the memory
/// for a malicious file.
pub(super) const ENTRY_LIMIT: u64 = 32 << 20;

/// Size of the lengths before an entry's key.
pub(super) const ENTRY_HEAD: usize = 8;

/// Appends an entry in the hashed form; `false` if it exceeds the limit.
#[must_use]
pub(super) fn push_entry(out: &mut Vec<u8>, key: &[u8], value: &[u8]) -> bool {
    if key.len() as u64 + value.len() as u64 > ENTRY_LIMIT {
        return false;
    }
    let (Ok(key_length), Ok(value_length)) = (u32::try_from(key.len()), u32::try_from(value.len()))
    else {
        return false;
    };
    out.extend_from_slice(&key_length.to_le_bytes());
    out.extend_from_slice(&value_length.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    true
}

/// Computes the digest.
#[derive(Default)]
pub(super) struct ContentDigest {
    hash: Sha256,
    scratch: Vec<u8>,
}

impl ContentDigest {
    /// Adds entries in the form of [`push_entry`].
    pub(super) fn update(&mut self, entries: &[u8]) {
        self.hash.update(entries);
    }

    /// Adds one entry; `false` if it exceeds the limit.
    #[must_use]
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        self.scratch.clear();
        let fits = push_entry(&mut self.scratch, key, value);
        self.hash.update(&self.scratch);
        fits
    }

    pub(super) fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

/// A digest in lowercase hexadecimal.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    digest
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_content_has_the_hash_of_no_bytes() {
        assert_eq!(
            hexadecimal(&ContentDigest::default().finish()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_boundary_of_key_and_value_is_hashed() {
        let digest = |key: &[u8], value: &[u8]| {
            let mut digest = ContentDigest::default();
            assert!(digest.push(key, value));
            digest.finish()
        };
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
    }
}
