//! An etcd key with its value.

use bytes::Bytes;

use crate::keys::is_tombstone;

/// A key and its value, with their revisions and lease.
///
/// Entries of a page or a block share its memory, which is freed with the last of them: copy the
/// data of an entry that is kept for long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The complete key.
    pub key: Bytes,
    /// The raw value; may be empty.
    pub value: Bytes,
    /// The revision at which the key was created; 0 if unknown (read from a backup).
    pub create_revision: i64,
    /// The revision of the last change; 0 if unknown.
    pub mod_revision: i64,
    /// The lease of the key; 0 for none.
    pub lease: i64,
}

impl Entry {
    /// Creates an entry without revisions and lease.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    /// Returns whether the value is the tombstone of a dropped object.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        is_tombstone(&self.value)
    }
}

/// Returns a key as text for users, escaped if it is not printable.
#[must_use]
pub fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}
