//! Numbers and sizes as users read them.

use humansize::{BINARY, format_size};

/// A size in bytes: `0 B`, `1.2 KiB`, `3.4 GiB`.
pub(in crate::cli) fn bytes(count: u64) -> String {
    let places = if count < 1024 { 0 } else { 1 };
    let options = BINARY.decimal_places(places).decimal_zeroes(places);
    format_size(count, options)
}

/// A count with its thousands apart: `104,000`.
pub(in crate::cli) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun, `1 key`, `2 keys`.
pub(in crate::cli) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 {
        noun.to_owned()
    } else if let Some(stem) = noun.strip_suffix('y').filter(|stem| stem.ends_with("entr")) {
        format!("{stem}ies")
    } else {
        format!("{noun}s")
    };
    format!("{} {plural}", count(number))
}

/// The beginning of a digest, enough to compare two by eye.
pub(in crate::cli) fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
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

    #[test]
    fn counts_have_their_thousands_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "entry"), "1 entry");
        assert_eq!(counted(2, "entry"), "2 entries");
        assert_eq!(counted(2, "key"), "2 keys");
    }
}
