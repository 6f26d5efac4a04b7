//! One key of etcd with its value.

use bytes::Bytes;

use crate::keys::is_tombstone;

/// A key and its value, with what etcd knows about them.
///
/// Entries of a page or a block share its memory, which is given back with the last of them: whoever
/// keeps a few of many copies what is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The complete key.
    pub key: Bytes,
    /// The raw value; may be empty.
    pub value: Bytes,
    /// The revision at which the key appeared; 0 where unknown (read from a backup).
    pub create_revision: i64,
    /// The revision of the last change; 0 where unknown.
    pub mod_revision: i64,
    /// The lease of the key; 0 for none.
    pub lease: i64,
}

impl Entry {
    /// An entry without revisions and lease.
    #[must_use]
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    /// Whether the value is the tombstone of a dropped object.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        is_tombstone(&self.value)
    }
}

/// A key as text for users: itself where it is printable, escaped where it is not.
#[must_use]
pub fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}
