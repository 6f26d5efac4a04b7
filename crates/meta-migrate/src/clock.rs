//! The time in records and reports.

/// Returns the current time in UTC as RFC 3339 with seconds: `2022-09-27T08:15:00Z`.
#[must_use]
pub fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}
