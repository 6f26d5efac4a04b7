//! Segments: each that is not dropped belongs to a collection and a partition that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::Report;
use super::collection::{Holding, LiveCollections};
use crate::codec::v2_1;
use crate::keys::{Family, Key, channel_collection, is_tombstone};
use crate::model::{CollectionId, PartitionId, SegmentId};
use crate::transform::{MissingCollections, MissingPartitions};

type Ids = (CollectionId, PartitionId, SegmentId);

#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Segments that are not dropped and their rows, by collection and partition.
    living: BTreeMap<(CollectionId, PartitionId), (u64, u64)>,
    /// Their ids; sorted by [`Self::seal`].
    ids: Vec<SegmentId>,
    /// Flushed segments with rows.
    flushed: Vec<(SegmentId, CollectionId)>,
    /// Collections of channels that the data coordinator removed: it dropped their segments before.
    removed: BTreeSet<CollectionId>,
}

impl Segments {
    pub(super) fn push(&mut self, ids: Ids, value: &[u8], report: &mut Report) {
        if is_tombstone(value) {
            return;
        }
        let record = match v2_1::segment_rows(value) {
            Ok(record) => record,
            Err(error) => {
                let key = Key::Segment(ids.0, ids.1, ids.2).render();
                let message = format!("the value is not a segment: {error}");
                return report.warning("unreadable-segment", &key, message);
            }
        };
        if !record.is_living() {
            return;
        }
        let place = (record.collection, record.partition);
        let (segments, rows) = self.living.entry(place).or_default();
        *segments += 1;
        *rows += u64::try_from(record.rows).unwrap_or(0);
        self.ids.push(record.segment);
        if record.is_flushed() && record.rows > 0 {
            self.flushed.push((record.segment, record.collection));
        }
    }

    /// Takes a key that tells of a removed channel.
    pub(super) fn push_removed_channel(&mut self, relative: &[u8], value: &[u8]) {
        let channel = Family::ChannelRemoval.rest(relative).unwrap_or_default();
        if value == b"removed" {
            self.removed.extend(channel_collection(channel));
        }
    }

    /// Ends the reading; only then segments can be found.
    pub(super) fn seal(&mut self) {
        self.ids.sort_unstable();
    }

    /// Whether a segment exists and is not dropped.
    pub(super) fn lives(&self, id: SegmentId) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    pub(super) fn flushed(&self) -> &[(SegmentId, CollectionId)] {
        &self.flushed
    }

    pub(super) fn check(
        &self,
        live: &LiveCollections,
        collections: &mut MissingCollections,
        partitions: &mut MissingPartitions,
    ) {
        for (place, (segments, rows)) in &self.living {
            match live.holding(place.0, place.1) {
                Holding::NoCollection if !self.removed.contains(&place.0) => {
                    collections.add_segments(place.0, *segments, *rows);
                }
                Holding::NoPartition => partitions.add_segments(*place, *segments),
                Holding::NoCollection | Holding::Held => {}
            }
        }
    }
}
