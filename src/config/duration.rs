//! Durations as people type them: `90s`, `2m`, `1h 30m`, `500ms`; a bare number counts seconds.

use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// A message that names the text and what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if let Ok(seconds) = trimmed.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(trimmed)
        .map_err(|_| format!("{text:?} is no duration: expected something like 30s, 2m or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
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
        for text in ["", "soon", "-1", "-5s", "5 parsecs"] {
            assert!(parse(text).unwrap_err().contains("no duration"), "{text}");
        }
    }
}
