//! Historical keys: `snapshots/<relative key>_ts<decimal timestamp>`, and the tombstone value.
//!
//! Milvus parses such a key greedily: the object's key ends at the **last** `_ts` that is followed
//! only by decimal digits. An alias may therefore contain, and even end in, `_ts1`.

/// The three bytes (UTF-8 of U+26FC) that mark a dropped object. They are not valid protobuf.
pub const TOMBSTONE: &[u8] = &[0xE2, 0x9B, 0xBC];

/// The prefix of the relative key of a historical entry.
pub const SNAPSHOT_PREFIX: &str = "snapshots/";

const SEPARATOR: &[u8] = b"_ts";

/// A hybrid timestamp of Milvus: Unix milliseconds shifted left by 18 bits, plus a logical counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The largest timestamp. 2.1 never uses it; Milvus 2.3.18, 2.4.5 and later write at it when
    /// they start.
    pub const LAST: Self = Self(u64::MAX);

    /// Returns the physical part in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn physical_nanoseconds(self) -> u64 {
        (self.0 >> 18).saturating_mul(1_000_000)
    }

    /// Returns the next timestamp.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Returns whether a value is the tombstone.
#[must_use]
pub fn is_tombstone(value: &[u8]) -> bool {
    value == TOMBSTONE
}

/// Splits `<key>_ts<digits>` at the last `_ts`. Returns `None` if there is no such suffix, or if
/// the number does not fit into 64 bits or is not in canonical spelling.
#[must_use]
pub fn split_timestamp(key: &[u8]) -> Option<(&[u8], Timestamp)> {
    let digits = key
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (head, digits) = key.split_at(key.len() - digits);
    let original = head.strip_suffix(SEPARATOR)?;
    let text = std::str::from_utf8(digits).ok()?;
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some((original, Timestamp(text.parse().ok()?)))
}

/// Appends `_ts<decimal timestamp>`.
pub fn push_timestamp(key: &mut Vec<u8>, timestamp: Timestamp) {
    key.extend_from_slice(SEPARATOR);
    key.extend_from_slice(timestamp.0.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d41_key_is_split_at_the_last_suffix() {
        assert_eq!(
            split_timestamp(b"my_tsne_ts7"),
            Some((&b"my_tsne"[..], Timestamp(7)))
        );
        assert_eq!(
            split_timestamp(b"a_ts1_ts22"),
            Some((&b"a_ts1"[..], Timestamp(22)))
        );
        assert_eq!(split_timestamp(b"_ts5"), Some((&b""[..], Timestamp(5))));
        assert_eq!(
            split_timestamp(b"k_ts18446744073709551615"),
            Some((&b"k"[..], Timestamp(u64::MAX)))
        );
    }

    #[test]
    fn key_without_timestamp_is_not_split() {
        for key in ["books", "books_ts", "books_tsx1", "books_ts1x", "12", ""] {
            assert_eq!(split_timestamp(key.as_bytes()), None, "{key}");
        }
        assert_eq!(split_timestamp(b"k_ts18446744073709551616"), None);
        assert_eq!(split_timestamp(b"k_ts007"), None);
    }

    #[test]
    fn physical_part_is_in_nanoseconds() {
        assert_eq!(
            Timestamp(1_700_000_000_000 << 18).physical_nanoseconds(),
            1_700_000_000 * 1_000_000_000
        );
    }
}
