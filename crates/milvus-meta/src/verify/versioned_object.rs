//! An object with history: its plain key and its newest snapshot.

use std::hash::{DefaultHasher, Hasher as _};

use crate::keys::{Object, Timestamp};
use crate::transform::Findings;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<T> {
    /// A record.
    Live(T),
    /// A tombstone.
    Dropped,
    /// An unreadable value, which was reported.
    Unreadable,
}

impl<T> Value<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Value<U> {
        match self {
            Self::Live(record) => Value::Live(change(record)),
            Self::Dropped => Value::Dropped,
            Self::Unreadable => Value::Unreadable,
        }
    }
}

/// One value of an object: that of the plain key, or of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version<'e> {
    pub(super) object: Object<'e>,
    pub(super) timestamp: Option<Timestamp>,
    /// Relative to the meta root.
    pub(super) key: &'e [u8],
    pub(super) value: &'e [u8],
}

#[derive(Debug, Clone)]
pub(super) struct History<T> {
    /// The plain key relative to the meta root, if it was read; otherwise that of a snapshot.
    pub(super) key: Vec<u8>,
    pub(super) plain: Option<Value<T>>,
    pub(super) newest: Option<(Timestamp, Value<T>)>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self {
            key: Vec::new(),
            plain: None,
            newest: None,
        }
    }
}

impl<T: PartialEq> History<T> {
    /// Adds the record of a version.
    pub(super) fn push(&mut self, it: Version<'_>, record: Value<T>) {
        if it.timestamp.is_none() || self.plain.is_none() {
            self.key = it.key.to_vec();
        }
        match it.timestamp {
            None => self.plain = Some(record),
            Some(timestamp) => {
                let newest = self.newest.as_ref().map(|(newest, _)| *newest);
                if newest.is_none_or(|newest| newest <= timestamp) {
                    self.newest = Some((timestamp, record));
                }
            }
        }
    }

    /// Returns the record at the plain key.
    pub(super) fn live(&self) -> Option<&T> {
        match &self.plain {
            Some(Value::Live(value)) => Some(value),
            Some(Value::Dropped | Value::Unreadable) | None => None,
        }
    }

    /// Reports contradictions between the plain key and the newest snapshot. 2.2.0 to 2.2.2 read
    /// the plain key, later releases the snapshot.
    pub(super) fn check(&self, what: &str, lone_tombstone_is_fatal: bool, report: &mut Findings) {
        let missing =
            |shown: &str| format!("{shown}; Milvus 2.2.3 and later do not see the {what}");
        match (&self.plain, &self.newest) {
            (Some(Value::Live(_)), None) => report.error(
                "snapshot-missing",
                &self.key,
                missing("there is no snapshot of it"),
            ),
            (Some(Value::Live(_)), Some((_, Value::Dropped))) => report.error(
                "snapshot-contradicts",
                &self.key,
                missing("its newest snapshot is a tombstone"),
            ),
            (Some(Value::Dropped) | None, Some((_, Value::Live(_)))) => report.error(
                "snapshot-contradicts",
                &self.key,
                format!(
                    "the {what} is dropped, but its newest snapshot is not: Milvus 2.2.3 and later bring it back"
                ),
            ),
            (Some(Value::Dropped), None) if lone_tombstone_is_fatal => report.error(
                "lone-tombstone",
                &self.key,
                "a tombstone without any snapshot: Milvus 2.2.0 does not start on it. Run meta-migration repair",
            ),
            (Some(Value::Live(plain)), Some((_, Value::Live(newest)))) if plain != newest => report
                .warning(
                    "snapshot-differs",
                    &self.key,
                    format!(
                        "its newest snapshot has another value: Milvus 2.2.3 and later read the {what} from the \
                            snapshot and not from this key"
                    ),
                ),
            _ => {}
        }
    }
}

/// A hash of the content, for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content(u64);

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }
}
