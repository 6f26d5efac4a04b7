//! The number of Milvus objects of each kind in the metadata, and how many of them a migration
//! keeps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::NewKeys;
use super::collection::LiveCollections;
use super::index::Indexes;
use super::segment_index::SegmentIndexes;
use super::snapshots::RawHistory;
use crate::keys::{Key, Object, is_tombstone};

/// A kind of Milvus object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// Collections that are not dropped.
    Collection,
    /// Their partitions.
    Partition,
    /// Index definitions that are not dropped.
    Index,
    /// Segments that are not dropped.
    Segment,
    /// Segment indexes: one record for each segment and index.
    SegmentIndex,
    /// Aliases that are not dropped.
    Alias,
    /// Collections that are loaded completely or partly.
    LoadedCollection,
}

impl ObjectKind {
    /// Returns the name of an object of this kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Collection => "collection",
            Self::Partition => "partition",
            Self::Index => "index",
            Self::Segment => "segment",
            Self::SegmentIndex => "segment index",
            Self::Alias => "alias",
            Self::LoadedCollection => "loaded collection",
        }
    }
}

/// The effect of a plan on the objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPlan {
    /// The kind.
    pub kind: ObjectKind,
    /// Objects in the 2.1 metadata.
    pub found: u64,
    /// Objects that the new release finds after the migration.
    pub kept: u64,
}

/// Counts the objects of each kind before and after the migration.
#[derive(Debug, Default)]
pub(super) struct Objects(BTreeMap<ObjectKind, (u64, u64)>);

impl Objects {
    /// Sets the number of objects in 2.1. All are kept, unless [`Self::keep`] changes that.
    pub(super) fn found(&mut self, kind: ObjectKind, number: u64) {
        self.0.insert(kind, (number, number));
    }

    /// Sets the numbers of objects that are kept.
    pub(super) fn keep(
        &mut self,
        live: &LiveCollections,
        indexes: &Indexes,
        aliases: &NewKeys,
        loads: &NewKeys,
        segments: &SegmentIndexes,
    ) {
        let partitions = live.values().map(|it| it.partition_ids.len() as u64).sum();
        self.found(ObjectKind::Partition, partitions);
        self.found(ObjectKind::Index, indexes.found);
        let live_indexes = indexes.live.values().map(|it| it.len() as u64).sum();
        for (kind, number) in [
            (ObjectKind::Collection, live.len() as u64),
            (ObjectKind::Index, live_indexes),
            (ObjectKind::SegmentIndex, segments.len()),
            (ObjectKind::Alias, staged_aliases(aliases)),
            (ObjectKind::LoadedCollection, staged_loads(loads)),
        ] {
            self.0.entry(kind).or_default().1 = number;
        }
    }

    /// Returns the kinds with at least one object.
    pub(super) fn plans(&self) -> Vec<ObjectPlan> {
        let all = self.0.iter().map(|(kind, (found, kept))| ObjectPlan {
            kind: *kind,
            found: *found,
            kept: *kept,
        });
        all.filter(|plan| plan.found + plan.kept > 0).collect()
    }
}

/// Returns the number of objects that are not dropped.
pub(super) fn living<K>(histories: &BTreeMap<K, RawHistory>) -> u64 {
    let plain = histories.values().filter_map(|it| it.plain.as_deref());
    plain.filter(|value| !is_tombstone(value)).count() as u64
}

fn staged_aliases(staged: &NewKeys) -> u64 {
    let living = staged.iter().filter(|(_, value)| !is_tombstone(value));
    let is_alias = |key: &[u8]| {
        matches!(
            Key::parse(key),
            Key::Plain(Object::Alias(_) | Object::DatabaseAlias(..))
        )
    };
    living.filter(|(key, _)| is_alias(key)).count() as u64
}

/// Returns the number of collections with staged load states.
fn staged_loads(staged: &NewKeys) -> u64 {
    let collections = staged.keys().filter_map(|key| {
        if let Key::CollectionLoadInfo(id) | Key::PartitionLoadInfo(id, _) = Key::parse(key) {
            Some(id)
        } else {
            None
        }
    });
    collections.collect::<BTreeSet<_>>().len() as u64
}
