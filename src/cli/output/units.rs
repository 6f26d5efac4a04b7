//! Formats numbers, sizes and times for users.

use std::time::Duration;

use humansize::{BINARY, format_size};

use crate::config::duration;

pub(in crate::cli) use milvus_meta::plural::{agree, count, counted};

/// Formats a size in bytes: `0 B`, `1.2 KiB`, `3.4 GiB`.
pub(in crate::cli) fn bytes(count: u64) -> String {
    let places = if count < 1024 { 0 } else { 1 };
    let options = BINARY.decimal_places(places).decimal_zeroes(places);
    format_size(count, options)
}

/// Returns the first digits of a digest, enough to compare two by eye.
pub(in crate::cli) fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Shortens an RFC 3339 time to the minute, for tables: `2026-11-29 16:40`.
pub(in crate::cli) fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// A duration in seconds, such as `2m 5s`.
pub(in crate::cli) fn duration(seconds: u64) -> String {
    duration::format(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_one_decimal() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (2_147_483_648, "2.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }
}
