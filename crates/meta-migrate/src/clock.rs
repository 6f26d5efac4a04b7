//! The time in records and reports.

/// Returns the current time in RFC 3339, in seconds.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
