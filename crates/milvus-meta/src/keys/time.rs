//! Times formatted for users.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Timestamp;

/// A time in milliseconds since the Unix epoch, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(jiff::Timestamp);

impl Time {
    /// Returns the time of a hybrid timestamp; `None` if it is not set or out of range.
    #[must_use]
    pub fn of(timestamp: Timestamp) -> Option<Self> {
        Self::of_milliseconds(timestamp.0 >> 18)
    }

    /// Returns the time of Unix nanoseconds, as in database records.
    pub(crate) fn of_nanoseconds(nanoseconds: u64) -> Option<Self> {
        Self::of_milliseconds(nanoseconds / 1_000_000)
    }

    fn of_milliseconds(milliseconds: u64) -> Option<Self> {
        let milliseconds = i64::try_from(milliseconds).ok().filter(|it| *it > 0)?;
        jiff::Timestamp::from_millisecond(milliseconds)
            .ok()
            .map(Self)
    }

    /// Formats the day: `2022-09-27`.
    #[must_use]
    pub fn day(self) -> String {
        self.0.strftime("%F").to_string()
    }

    /// Formats date and time: `2022-09-27 08:15:00`.
    #[must_use]
    pub fn second(self) -> String {
        self.0.strftime("%F %T").to_string()
    }
}

impl fmt::Display for Time {
    /// Formats as RFC 3339: `2022-09-27T08:15:00.123Z`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_timestamp_is_formatted_as_time() {
        // The last example in Milvus' documentation of hybrid timestamps: milliseconds << 18.
        let time = Time::of(Timestamp(1_664_266_500_123 << 18 | 5)).unwrap();
        assert_eq!(time.to_string(), "2022-09-27T08:15:00.123Z");
        assert_eq!(time.day(), "2022-09-27");
        assert_eq!(time.second(), "2022-09-27 08:15:00");
    }

    #[test]
    fn unset_timestamp_is_no_time() {
        assert_eq!(Time::of(Timestamp(0)), None);
        assert_eq!(Time::of(Timestamp(7)), None);
        assert!(Time::of(Timestamp(u64::MAX)).is_some());
    }
}
