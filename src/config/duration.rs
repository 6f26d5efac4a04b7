//! Durations as users type them: `90s`, `2m`, `1h 30m`, `500ms`; a bare number counts seconds.

use std::time::Duration;

use jiff::fmt::friendly::SpanPrinter;
use jiff::{Span, SpanRelativeTo};

/// A year: longer than anyone waits, and short enough to compute a deadline.
pub(super) const MILLISECONDS_MAX: u64 = 365 * 24 * 3_600_000;

/// Parses a duration of at most a year.
///
/// # Errors
/// A message that names the text and what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let duration = match trimmed.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => with_units(trimmed).ok_or_else(|| {
            format!("{text:?} is not a duration: expected for example 30s, 2m or 500ms")
        })?,
    };
    if duration > Duration::from_millis(MILLISECONDS_MAX) {
        return Err(format!("{text:?} is too long: the limit is a year"));
    }
    Ok(duration)
}

fn with_units(text: &str) -> Option<Duration> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    duration.try_into().ok()
}

/// Formats a duration for [`parse`]: `1h 30m`.
#[must_use]
pub fn format(duration: Duration) -> String {
    SpanPrinter::new().unsigned_duration_to_string(&duration)
}

/// Parses a duration of at most a year that is greater than zero.
///
/// # Errors
/// As [`parse`].
pub fn positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!("{text:?} must be greater than zero")),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_users_type_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("2m", 120_000),
            ("500ms", 500),
            ("1h 30m", 5_400_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        assert!(parse("365days").is_ok());
        assert!(positive("1ms").is_ok());
        assert!(positive("0s").is_err());
        for text in ["366days", "18446744073709551615"] {
            assert!(parse(text).unwrap_err().contains("a year"), "{text}");
        }
        for text in ["", "soon", "-1", "-5s", "5 parsecs"] {
            assert!(
                parse(text).unwrap_err().contains("not a duration"),
                "{text}"
            );
        }
    }
}
