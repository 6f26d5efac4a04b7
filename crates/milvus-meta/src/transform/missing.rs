//! Missing collections and partitions that other records refer to.
//!
//! 2.1 and 2.2 write a tombstone of each collection that they drop. If there is neither a record
//! nor a tombstone, another program deleted the metadata.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::model::{CollectionId, PartitionId};
use crate::plural::{agree, counted, listed};

/// References to missing collections.
#[derive(Debug, Default)]
pub struct MissingCollections(BTreeMap<CollectionId, Remains>);

#[derive(Debug, Default)]
struct Remains {
    segments: u64,
    rows: u64,
    load_states: u64,
    channels: u64,
}

impl MissingCollections {
    /// Adds segments that are not dropped, with their rows.
    pub fn add_segments(&mut self, collection: CollectionId, segments: u64, rows: u64) {
        let remains = self.0.entry(collection).or_default();
        remains.segments += segments;
        remains.rows += rows;
    }

    /// Adds a load state of 2.1.
    pub fn add_load_state(&mut self, collection: CollectionId) {
        self.0.entry(collection).or_default().load_states += 1;
    }

    /// Adds a channel that data nodes watch.
    pub fn add_channel(&mut self, collection: CollectionId) {
        self.0.entry(collection).or_default().channels += 1;
    }

    /// Returns one finding for all of them.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        if self.0.is_empty() {
            return None;
        }
        let sum = |part: fn(&Remains) -> u64| self.0.values().map(part).sum::<u64>();
        let named = self
            .0
            .iter()
            .map(|(id, remains)| format!("{id} ({})", counted(remains.segments, "segment")));
        let message = format!(
            "{segments} with {rows}, {loads} and {channels} belong to {collections} without a record or a tombstone: {names}. Another program \
             deleted the metadata, as an interrupted run of the official tool does; Milvus 2.2 drops these \
             segments and removes their files. Do not start Milvus. Restore a backup from before that run, \
             then migrate again",
            segments = counted(sum(|remains| remains.segments), "segment"),
            rows = counted(sum(|remains| remains.rows), "row"),
            loads = counted(sum(|remains| remains.load_states), "load state"),
            channels = counted(sum(|remains| remains.channels), "watched channel"),
            collections = counted(self.0.len(), "collection"),
            names = listed(named),
        );
        Some(Finding::error("collections-missing", b"", message))
    }
}

/// Segments of partitions that their collections never had.
#[derive(Debug, Default)]
pub struct MissingPartitions(BTreeMap<(CollectionId, PartitionId), u64>);

impl MissingPartitions {
    /// Adds segments that are not dropped.
    pub fn add_segments(&mut self, ids: (CollectionId, PartitionId), segments: u64) {
        *self.0.entry(ids).or_default() += segments;
    }

    /// Returns one finding for all of them.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        if self.0.is_empty() {
            return None;
        }
        let named = self.0.iter().map(|((collection, partition), segments)| {
            let segments = counted(*segments, "segment");
            format!("partition {partition} of collection {collection} ({segments})")
        });
        let segments = self.0.values().sum::<u64>();
        let message = format!(
            "{} {} to {} without a record: {names}. Milvus 2.2 does not search them. Restore a backup \
             from before the partitions disappeared",
            counted(segments, "segment"),
            agree(segments, "belongs", "belong"),
            counted(self.0.len(), "partition"),
            names = listed(named),
        );
        Some(Finding::error("partitions-missing", b"", message))
    }
}

/// The partition id of segments that belong to all partitions, from 2.4 on.
pub const ALL_PARTITIONS: PartitionId = PartitionId(-1);
