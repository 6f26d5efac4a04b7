//! Segments: each one that is not dropped must belong to an existing collection and partition.

use std::collections::BTreeSet;

use super::collection::{LiveCollections, Presence};
use crate::codec::v2_1;
use crate::keys::{Family, Key, channel_collection, is_tombstone};
use crate::model::{CollectionId, SegmentId, SegmentIds};
use crate::transform::Findings;
use crate::transform::{Living, MissingCollections, MissingPartitions, count_living};

#[derive(Debug, Default)]
pub(super) struct Segments {
    living: Living,
    /// The ids of segments that are not dropped; sorted by [`Self::seal`].
    ids: Vec<SegmentId>,
    /// Flushed segments with rows.
    flushed: Vec<(SegmentId, CollectionId)>,
    /// Collections of channels that the data coordinator removed, after dropping their segments.
    removed: BTreeSet<CollectionId>,
}

impl Segments {
    pub(super) fn push(&mut self, ids: SegmentIds, value: &[u8], report: &mut Findings) {
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
        count_living(&mut self.living, &record);
        self.ids.push(record.segment);
        if record.is_flushed() && record.rows > 0 {
            self.flushed.push((record.segment, record.collection));
        }
    }

    /// Adds the key of a removed channel.
    pub(super) fn push_removed_channel(&mut self, relative: &[u8], value: &[u8]) {
        let channel = Family::ChannelRemoval.rest(relative).unwrap_or_default();
        if value == b"removed" {
            self.removed.extend(channel_collection(channel));
        }
    }

    /// Ends reading; then segments can be looked up.
    pub(super) fn seal(&mut self) {
        self.ids.sort_unstable();
    }

    /// Returns whether a segment exists and is not dropped.
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
            match live.presence(place.0, place.1) {
                Presence::NoCollection if !self.removed.contains(&place.0) => {
                    collections.add_segments(place.0, *segments, *rows);
                }
                Presence::NoPartition => partitions.add_segments(*place, *segments),
                Presence::NoCollection | Presence::Present => {}
            }
        }
    }
}
