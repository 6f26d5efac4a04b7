//! How many rows each segment has: all that is wanted of the data coordinator's records, for segments
//! that were never indexed (T3), and to notice that there is data without a collection.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use crate::codec::v2_1::{self, SegmentRows};
use crate::keys::{Key, is_tombstone};
use crate::model::{CollectionId, PartitionId, SegmentId};

type Ids = (CollectionId, PartitionId, SegmentId);

/// Rows by the ids in the values.
#[derive(Debug, Default)]
pub(super) struct RowTable {
    rows: Vec<(Ids, i64)>,
    /// Records whose key has other ids than their value.
    odd: BTreeMap<Ids, (Vec<u8>, i64)>,
}

/// Segments that hold rows, and the collections that they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) segments: usize,
    pub(super) collections: usize,
}

impl RowTable {
    pub(super) fn push(&mut self, ids: Ids, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = || Key::Segment(ids.0, ids.1, ids.2).render();
        match v2_1::segment_rows(value) {
            Ok(SegmentRows {
                collection,
                partition,
                segment,
                rows,
            }) => {
                let own = (collection, partition, segment);
                if own == ids {
                    self.rows.push((own, rows));
                } else if self.odd.get(&own).is_none_or(|(other, _)| *other < key()) {
                    self.odd.insert(own, (key(), rows));
                }
            }
            Err(error) => findings.warning(
                "unreadable-segment",
                &key(),
                format!("the value is no segment: {error}; it is carried as it is"),
            ),
        }
    }

    pub(super) fn filled(&self) -> Filled {
        let regular = self.rows.iter().copied();
        let odd = self.odd.iter().map(|(ids, (_, rows))| (*ids, *rows));
        let mut segments = 0;
        let mut collections = BTreeSet::new();
        for ((collection, ..), rows) in regular.chain(odd) {
            if rows > 0 {
                segments += 1;
                collections.insert(collection);
            }
        }
        Filled {
            segments,
            collections: collections.len(),
        }
    }

    pub(super) fn seal(&mut self) {
        self.rows.sort_unstable();
    }

    /// Whether there are records of segments, and none of this one: it was compacted away.
    pub(super) fn is_gone(&self, ids: Ids) -> bool {
        !self.rows.is_empty() && self.record(ids).is_none()
    }

    /// The rows of a segment; 0 where no record tells.
    pub(super) fn find(&self, ids: Ids) -> i64 {
        self.record(ids).unwrap_or_default()
    }

    fn record(&self, ids: Ids) -> Option<i64> {
        let regular = self
            .rows
            .binary_search_by_key(&ids, |(own, _)| *own)
            .ok()
            .map(|position| self.rows[position].1);
        match (regular, self.odd.get(&ids)) {
            (Some(rows), Some((key, _))) if *key < Key::Segment(ids.0, ids.1, ids.2).render() => {
                Some(rows)
            }
            (_, Some((_, rows))) => Some(*rows),
            (rows, None) => rows,
        }
    }
}
