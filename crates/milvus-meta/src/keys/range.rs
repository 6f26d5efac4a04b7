//! Half-open key ranges, as in etcd.

use std::fmt;

/// All keys from `start` up to, but not including, `end`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key after the range.
    pub end: Vec<u8>,
}

impl KeyRange {
    /// Creates the range from `start` up to, but not including, `end`.
    #[must_use]
    pub fn new(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            start: start.into(),
            end: end.into(),
        }
    }

    /// Creates the range that contains a single key. The range of the empty key, which etcd does
    /// not allow, is empty: its successor, a zero byte, would mean an open end and select all keys.
    #[must_use]
    pub fn single(key: impl Into<Vec<u8>>) -> Self {
        let start = key.into();
        let end = if start.is_empty() {
            Vec::new()
        } else {
            successor(&start)
        };
        Self { start, end }
    }

    /// Creates the range of all keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let mut end = start.clone();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self { start, end };
            }
        }
        // Only bytes 0xff, or none: no key follows the range, which etcd denotes by a zero byte.
        Self {
            start,
            end: vec![0],
        }
    }

    /// Returns whether `key` is in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && (self.is_open() || key < self.end.as_slice())
    }

    /// Returns whether the range has no end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.end == [0]
    }

    /// Returns whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_open() && self.start >= self.end
    }

    /// Returns the part of the range after `key`.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        Self {
            start: successor(key),
            end: self.end.clone(),
        }
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "[{}, {})",
            self.start.escape_ascii(),
            self.end.escape_ascii()
        )
    }
}

/// Returns the first key after `key`.
#[must_use]
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_range_ends_after_its_last_key() {
        assert_eq!(
            KeyRange::prefix(b"a/".to_vec()),
            KeyRange::new(b"a/".to_vec(), b"a0".to_vec())
        );
        assert_eq!(
            KeyRange::prefix(b"a\xff".to_vec()),
            KeyRange::new(b"a\xff".to_vec(), b"b".to_vec())
        );
        assert!(KeyRange::prefix(b"\xff".to_vec()).is_open());
        assert!(KeyRange::prefix(b"".to_vec()).contains(b"anything"));
    }

    #[test]
    fn single_range_contains_only_its_key() {
        let range = KeyRange::single(b"k".to_vec());
        assert!(range.contains(b"k"));
        assert!(!range.contains(b"k\0"));
        assert!(!range.contains(b"kk"));
        assert!(!range.after(b"k").contains(b"k"));
        let none = KeyRange::single(b"".to_vec());
        assert!(none.is_empty() && !none.contains(b"k"));
    }
}
