//! The number of rows of each segment.
//!
//! It is used for segments that were never indexed (T3), and to detect data without a collection.

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::codec::v2_1::{self, SegmentRows};
use crate::keys::{Key, is_tombstone};
use crate::model::{CollectionId, PartitionId, SegmentIds};

/// Numbers of rows, by the ids in the values.
#[derive(Debug, Default)]
pub(super) struct RowTable {
    rows: Vec<(SegmentIds, i64)>,
    /// Records whose key has other ids than their value.
    odd: BTreeMap<SegmentIds, (Vec<u8>, i64)>,
    living: Living,
}

/// The numbers of segments that are not dropped and of their rows, by collection and partition.
pub(crate) type Living = BTreeMap<(CollectionId, PartitionId), (u64, u64)>;

/// Counts a segment, unless it is dropped.
pub(crate) fn count_living(living: &mut Living, record: &SegmentRows) {
    if record.is_living() {
        let place = (record.collection, record.partition);
        let (segments, rows) = living.entry(place).or_default();
        *segments += 1;
        *rows += u64::try_from(record.rows).unwrap_or(0);
    }
}

impl RowTable {
    pub(super) fn push(&mut self, ids: SegmentIds, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = || Key::Segment(ids.0, ids.1, ids.2).render();
        match v2_1::segment_rows(value) {
            Ok(record) => {
                let own = (record.collection, record.partition, record.segment);
                count_living(&mut self.living, &record);
                let rows = record.rows;
                if own == ids {
                    self.rows.push((own, rows));
                } else if self.odd.get(&own).is_none_or(|(other, _)| *other < key()) {
                    self.odd.insert(own, (key(), rows));
                }
            }
            Err(error) => findings.warning(
                "unreadable-segment",
                &key(),
                format!("the value is not a segment: {error}; it is kept unchanged"),
            ),
        }
    }

    pub(super) fn living(&self) -> &Living {
        &self.living
    }

    pub(super) fn seal(&mut self) {
        self.rows.sort_unstable();
    }

    /// Returns whether there are segment records, but not of this segment: it was compacted.
    pub(super) fn is_compacted(&self, ids: SegmentIds) -> bool {
        !self.rows.is_empty() && self.record(ids).is_none()
    }

    /// Returns the number of rows of a segment; 0 if there is no record.
    pub(super) fn find(&self, ids: SegmentIds) -> i64 {
        self.record(ids).unwrap_or_default()
    }

    fn record(&self, ids: SegmentIds) -> Option<i64> {
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
