//! T2: the history of partitions and fields, derived from the history of their collection.
//!
//! 2.1 keeps them inside the collection record, with every snapshot of it; 2.2 keeps each under a key
//! of its own, with snapshots where it appears and tombstones where it goes.

use std::collections::BTreeMap;

use crate::keys::{TOMBSTONE, Timestamp};

/// Raw values of one object: the plain key's and those of its snapshots.
#[derive(Debug, Clone, Default)]
pub(super) struct RawHistory {
    pub(super) plain: Option<Vec<u8>>,
    pub(super) snapshots: BTreeMap<Timestamp, Vec<u8>>,
}

impl RawHistory {
    /// Takes the value of the plain key, or of the snapshot at a timestamp.
    pub(super) fn set(&mut self, timestamp: Option<Timestamp>, value: &[u8]) {
        match timestamp {
            None => self.plain = Some(value.to_vec()),
            Some(timestamp) => {
                self.snapshots.insert(timestamp, value.to_vec());
            }
        }
    }
}

/// A partition or field as a collection record shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child {
    /// Its 2.2 value.
    pub(super) value: Vec<u8>,
    /// When it was created.
    pub(super) created: Timestamp,
}

/// The children of one record, by id.
pub(super) type Children = BTreeMap<i64, Child>;

/// What one child's keys hold: the plain value, and the values of its snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChildHistory {
    pub(super) plain: Vec<u8>,
    pub(super) snapshots: BTreeMap<Timestamp, Vec<u8>>,
}

/// Follows the children of one collection through its snapshots.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    now: BTreeMap<i64, Vec<u8>>,
    seen: BTreeMap<i64, BTreeMap<Timestamp, Vec<u8>>>,
}

impl Timeline {
    /// The next snapshot in time; no children when the collection is dropped there.
    pub(super) fn advance(&mut self, timestamp: Timestamp, children: &Children) {
        for (id, child) in children {
            if self.now.get(id) != Some(&child.value) {
                self.now.insert(*id, child.value.clone());
                self.write(*id, timestamp, child.value.clone());
            }
        }
        let gone: Vec<i64> = self
            .now
            .keys()
            .filter(|id| !children.contains_key(id))
            .copied()
            .collect();
        for id in gone {
            self.now.remove(&id);
            self.write(id, timestamp, TOMBSTONE.to_vec());
        }
    }

    fn write(&mut self, id: i64, timestamp: Timestamp, value: Vec<u8>) {
        self.seen.entry(id).or_default().insert(timestamp, value);
    }

    /// Ends the history with what the plain record shows, which is the truth: where the last snapshot
    /// says otherwise about a child's life, one more at `end` corrects it; a child without any gets one
    /// at its creation time.
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
        let gone: Vec<i64> = self
            .now
            .keys()
            .filter(|id| !truth.contains_key(id))
            .copied()
            .collect();
        for id in gone {
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

/// The children's keys, and what had to be added to their history.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) children: BTreeMap<i64, ChildHistory>,
    /// Children that no snapshot showed.
    pub(super) missing: usize,
    /// Children about whose life the newest snapshot was wrong.
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
    fn t2_a_child_gets_snapshots_where_it_appears_changes_and_goes() {
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
    fn t2_the_plain_record_is_the_truth() {
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
