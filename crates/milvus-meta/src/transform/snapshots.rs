//! T2: the history of partitions and fields, derived from the history of their collection.
//!
//! 2.1 stores them in the collection record and in every snapshot of it. 2.2 stores each under a
//! separate key, with snapshots for its creation and changes and a tombstone for its removal.

use std::collections::BTreeMap;

use crate::keys::{Key, Object, TOMBSTONE, Timestamp};

/// The raw values of an object: of the plain key and of its snapshots.
#[derive(Debug, Clone, Default)]
pub(super) struct RawHistory {
    pub(super) plain: Option<Vec<u8>>,
    pub(super) snapshots: BTreeMap<Timestamp, Vec<u8>>,
}

impl RawHistory {
    /// Sets the value of the plain key, or of the snapshot at a timestamp.
    pub(super) fn set(&mut self, timestamp: Option<Timestamp>, value: &[u8]) {
        match timestamp {
            None => self.plain = Some(value.to_vec()),
            Some(timestamp) => {
                self.snapshots.insert(timestamp, value.to_vec());
            }
        }
    }

    /// Returns all values: that of the plain key, then those of the snapshots with their times.
    pub(super) fn all(&self) -> impl Iterator<Item = (Option<Timestamp>, &[u8])> {
        let plain = self.plain.iter().map(|value| (None, value.as_slice()));
        let snapshots = self.snapshots.iter();
        plain.chain(snapshots.map(|(time, value)| (Some(*time), value.as_slice())))
    }

    /// Returns the keys of the object that has this history: the plain key first.
    pub(super) fn keys(&self, object: Object<'_>) -> impl Iterator<Item = Vec<u8>> {
        self.all()
            .map(move |(time, _)| Key::of(object, time).render())
    }
}

/// A readable value of an object in 2.1.
#[derive(Debug)]
pub(super) enum Version<T> {
    Live(T),
    Dropped,
}

impl<T> Version<T> {
    pub(super) fn record(&self) -> Option<&T> {
        match self {
            Self::Live(record) => Some(record),
            Self::Dropped => None,
        }
    }
}

/// The readable values of an object: of the plain key, which 2.1 reads, and of the snapshots.
#[derive(Debug)]
pub(super) struct Values<T> {
    pub(super) plain: Option<Version<T>>,
    pub(super) snapshots: BTreeMap<Timestamp, Version<T>>,
}

impl<T> Values<T> {
    /// Returns the record at the plain key.
    pub(super) fn truth(&self) -> Option<&T> {
        self.plain.as_ref().and_then(Version::record)
    }

    pub(super) fn newest(&self) -> Option<(Timestamp, &Version<T>)> {
        let newest = self.snapshots.last_key_value();
        newest.map(|(timestamp, version)| (*timestamp, version))
    }

    /// Returns the snapshot to add if the plain key and the newest snapshot disagree about whether
    /// the object exists; `created` returns the time of an object without snapshots.
    pub(super) fn correction(
        &self,
        created: impl FnOnce(&T) -> Timestamp,
    ) -> Option<Correction<'_, T>> {
        let record = self.truth();
        let timestamp = match (record, self.newest()) {
            (Some(record), None) => created(record),
            (Some(_), Some((timestamp, Version::Dropped)))
            | (None, Some((timestamp, Version::Live(_)))) => timestamp.next(),
            (Some(_), Some((_, Version::Live(_)))) | (None, Some((_, Version::Dropped)) | None) => {
                return None;
            }
        };
        Some(Correction {
            timestamp,
            record,
            is_first: self.snapshots.is_empty(),
        })
    }

    /// Returns all versions: those of the snapshots with their times, then that of the plain key.
    pub(super) fn all(&self) -> impl Iterator<Item = (Option<Timestamp>, &Version<T>)> {
        let snapshots = self.snapshots.iter();
        let snapshots = snapshots.map(|(time, version)| (Some(*time), version));
        snapshots.chain(self.plain.iter().map(|version| (None, version)))
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &T> {
        self.all().filter_map(|(_, version)| version.record())
    }
}

/// An additional snapshot that makes the newest one agree with the plain key, which 2.1 read.
#[derive(Debug)]
pub(super) struct Correction<'v, T> {
    pub(super) timestamp: Timestamp,
    /// The record at the plain key, or `None` for a tombstone.
    pub(super) record: Option<&'v T>,
    /// Whether there is no other snapshot.
    pub(super) is_first: bool,
}

/// A partition or field in a collection record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    /// Its 2.2 value.
    pub(super) value: Vec<u8>,
    /// The creation time.
    pub(super) created: Timestamp,
}

impl Child {
    pub(super) fn new(value: &[u8], created: Timestamp) -> Self {
        let value = value.to_vec();
        Self { value, created }
    }
}

/// The children of one record, by id.
pub(super) type Children = BTreeMap<i64, Child>;

/// The values of a child's keys: of the plain key and of the snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChildHistory {
    pub(super) plain: Vec<u8>,
    pub(super) snapshots: BTreeMap<Timestamp, Vec<u8>>,
}

/// Follows the children of a collection through its snapshots.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    now: BTreeMap<i64, Vec<u8>>,
    seen: BTreeMap<i64, BTreeMap<Timestamp, Vec<u8>>>,
}

impl Timeline {
    /// Adds the next snapshot in time; without children if it drops the collection.
    pub(super) fn advance(&mut self, timestamp: Timestamp, children: &Children) {
        for (id, child) in children {
            if self.now.get(id) != Some(&child.value) {
                self.now.insert(*id, child.value.clone());
                self.write(*id, timestamp, child.value.clone());
            }
        }
        for id in self.without(children) {
            self.now.remove(&id);
            self.write(id, timestamp, TOMBSTONE.to_vec());
        }
    }

    /// Returns the current children that are not in a record.
    fn without(&self, children: &Children) -> Vec<i64> {
        let now = self.now.keys().copied();
        now.filter(|id| !children.contains_key(id)).collect()
    }

    fn write(&mut self, id: i64, timestamp: Timestamp, value: Vec<u8>) {
        self.seen.entry(id).or_default().insert(timestamp, value);
    }

    /// Completes the history with the plain record, which takes precedence: if the last snapshot
    /// contradicts it about the existence of a child, a snapshot at `end` corrects that; a child
    /// without snapshots gets one at its creation time.
    pub(super) fn settle(mut self, end: Timestamp, truth: &Children) -> Settled {
        let mut settled = Settled::default();
        for (id, child) in truth {
            if self.now.contains_key(id) {
                continue;
            }
            if self.seen.contains_key(id) {
                settled.corrected += 1;
                self.write(*id, end, child.value.clone());
            } else {
                settled.missing += 1;
                self.write(*id, child.created, child.value.clone());
            }
        }
        for id in self.without(truth) {
            settled.corrected += 1;
            self.write(id, end, TOMBSTONE.to_vec());
        }
        settled.children = self
            .seen
            .into_iter()
            .map(|(id, snapshots)| {
                let plain = truth
                    .get(&id)
                    .map_or_else(|| TOMBSTONE.to_vec(), |child| child.value.clone());
                (id, ChildHistory { plain, snapshots })
            })
            .collect();
        settled
    }
}

/// The children's keys, and the number of additions to their history.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) children: BTreeMap<i64, ChildHistory>,
    /// Children without a snapshot.
    pub(super) missing: usize,
    /// Children whose existence was wrong in the newest snapshot.
    pub(super) corrected: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(list: &[(i64, &str, u64)]) -> Children {
        list.iter()
            .map(|(id, value, created)| {
                let child = Child {
                    value: value.as_bytes().to_vec(),
                    created: Timestamp(*created),
                };
                (*id, child)
            })
            .collect()
    }

    fn shown(history: &ChildHistory) -> Vec<(u64, Vec<u8>)> {
        history
            .snapshots
            .iter()
            .map(|(timestamp, value)| (timestamp.0, value.clone()))
            .collect()
    }

    #[test]
    fn t2_child_changes_get_snapshots() {
        let mut timeline = Timeline::default();
        timeline.advance(Timestamp(10), &children(&[(1, "a", 10)]));
        timeline.advance(Timestamp(20), &children(&[(1, "a", 10), (2, "b", 20)]));
        timeline.advance(Timestamp(30), &children(&[(1, "A", 10)]));
        let settled = timeline.settle(Timestamp(31), &children(&[(1, "A", 10)]));
        let first = &settled.children[&1];
        assert_eq!(shown(first), [(10, b"a".to_vec()), (30, b"A".to_vec())]);
        assert_eq!(first.plain, b"A");
        let second = &settled.children[&2];
        assert_eq!(
            shown(second),
            [(20, b"b".to_vec()), (30, TOMBSTONE.to_vec())]
        );
        assert_eq!(second.plain, TOMBSTONE);
        assert_eq!((settled.missing, settled.corrected), (0, 0));
    }

    #[test]
    fn t2_plain_record_takes_precedence() {
        let mut timeline = Timeline::default();
        timeline.advance(Timestamp(10), &children(&[(1, "a", 10), (2, "b", 10)]));
        timeline.advance(Timestamp(20), &children(&[(2, "b", 10)]));
        let truth = children(&[(1, "a", 10), (3, "c", 15)]);
        let settled = timeline.settle(Timestamp(21), &truth);
        assert_eq!(
            shown(&settled.children[&1]),
            [
                (10, b"a".to_vec()),
                (20, TOMBSTONE.to_vec()),
                (21, b"a".to_vec())
            ]
        );
        assert_eq!(
            shown(&settled.children[&2]),
            [(10, b"b".to_vec()), (21, TOMBSTONE.to_vec())]
        );
        assert_eq!(settled.children[&2].plain, TOMBSTONE);
        assert_eq!(shown(&settled.children[&3]), [(15, b"c".to_vec())]);
        assert_eq!((settled.missing, settled.corrected), (1, 2));
    }
}
