//! The time in records and reports.

/// The current time, RFC 3339, in seconds.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
