//! Detects incomplete metadata: after an interrupted run of the official tool, or after a start of
//! 2.2 before the migration.
//!
//! The official tool deletes the old families first (D1), so the remains of a failed run look like
//! an instance without collections or without indexes. Starting Milvus 2.2 on them would be the
//! real loss: it removes the files of objects that it does not know.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::Converted;
use super::findings::Findings;
use super::missing::{ALL_PARTITIONS, MissingCollections, MissingPartitions};
use super::row_counts::Living;
use super::snapshots::RawHistory;
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone, watched_collection};
use crate::model::{CollectionId, PartitionId};

/// Families of 2.1 that the official tool deletes, other than collections.
const INDEXES_AND_ALIASES: [Family; 5] = [
    Family::LegacyIndex,
    Family::LegacySegmentIndex,
    Family::IndexBuild,
    Family::LegacyAlias,
    Family::LegacyAliasSnapshot,
];

/// References to collections other than segments.
#[derive(Debug, Default)]
pub(super) struct References {
    load_states: BTreeSet<CollectionId>,
    channels: Vec<CollectionId>,
}

impl References {
    pub(super) fn push_load_state(&mut self, collection: CollectionId, value: &[u8]) {
        if !is_tombstone(value) {
            self.load_states.insert(collection);
        }
    }

    /// Adds a watched channel, given the part of its key after the family's prefix.
    pub(super) fn push_channel(&mut self, rest: &[u8]) {
        self.channels.extend(watched_collection(rest));
    }
}

/// Known collections by the ids in their keys, with the time of the newest snapshot: those that
/// exist, have an unreadable record, or are dropped.
pub(super) type Known = BTreeMap<CollectionId, Option<Timestamp>>;

/// Returns the collections that have a plain key or a tombstone.
pub(super) fn known(collections: &BTreeMap<CollectionId, RawHistory>) -> Known {
    let known = collections.iter().filter_map(|(id, history)| {
        let newest = history.snapshots.last_key_value();
        let is_known =
            history.plain.is_some() || newest.is_some_and(|(_, value)| is_tombstone(value));
        is_known.then(|| (*id, newest.map(|(time, _)| *time)))
    });
    known.collect()
}

/// Returns the known collections that segments or watched channels refer to.
pub(super) fn referenced<'r>(
    known: &'r Known,
    living: &'r Living,
    references: &'r References,
) -> impl Iterator<Item = (CollectionId, Option<Timestamp>)> + 'r {
    let ids: BTreeSet<_> = (living.keys().map(|(collection, _)| *collection))
        .chain(references.channels.iter().copied())
        .collect();
    (ids.into_iter()).filter_map(|id| known.get(&id).map(|newest| (id, *newest)))
}

/// The records that refer to collections, and the converted collections.
pub(super) struct Referenced<'a> {
    pub(super) references: &'a References,
    pub(super) living: &'a Living,
    pub(super) converted: &'a Converted,
}

impl Referenced<'_> {
    /// Warns about data of collections whose record cannot be read: skipping them loses more than
    /// metadata.
    fn check_unreadable(&self, findings: &mut Findings) {
        for id in &self.converted.unreadable {
            let all = (*id, PartitionId(i64::MIN))..=(*id, PartitionId(i64::MAX));
            let (mut segments, mut rows) = (0, 0);
            for (_, (count, sum)) in self.living.range(all) {
                segments += count;
                rows += sum;
            }
            if segments > 0 {
                findings.warning(
                    "unreadable-collection-has-data",
                    &Key::Plain(Object::Collection(*id)).render(),
                    format!(
                        "{rows} rows in {segments} segments belong to collection {id}, whose record cannot be read. \
                         Milvus 2.2 removes the files of collections that it does not know. Copy the files under \
                         insert_log/{id}/ in the object storage before 2.2 starts, or restore the record from a \
                         backup and migrate then"
                    ),
                );
            }
        }
    }

    /// Reports collections and partitions that other records refer to but that are missing.
    pub(super) fn check(&self, known: &Known, findings: &mut Findings) {
        let (references, converted) = (self.references, self.converted);
        let is_missing =
            |id: &CollectionId| !known.contains_key(id) && !converted.live.contains_key(id);
        let mut collections = MissingCollections::default();
        let mut partitions = MissingPartitions::default();
        for ((collection, partition), (segments, rows)) in self.living {
            if is_missing(collection) {
                collections.add_segments(*collection, *segments, *rows);
            } else if let Some(had) = converted.partitions.get(collection)
                && converted.live.contains_key(collection)
                && !had.is_empty()
                && !had.contains(partition)
                && *partition != ALL_PARTITIONS
            {
                partitions.add_segments((*collection, *partition), *segments);
            }
        }
        for id in references.load_states.iter().filter(|id| is_missing(id)) {
            collections.add_load_state(*id);
        }
        for id in references.channels.iter().filter(|id| is_missing(id)) {
            collections.add_channel(*id);
        }
        let missing = collections.finding().into_iter();
        missing
            .chain(partitions.finding())
            .for_each(|finding| findings.general(finding));
        self.check_unreadable(findings);
    }

    /// Reports collections without the indexes and aliases that the official tool deletes. `read` is
    /// the number of keys in each family.
    pub(super) fn check_indexes(&self, read: &BTreeMap<Family, u64>, findings: &mut Findings) {
        let none_of =
            |families: &[Family]| families.iter().all(|family| !read.contains_key(family));
        let is_used = !self.living.is_empty() || !self.references.load_states.is_empty();
        if self.converted.live.is_empty()
            || !none_of(&[Family::DdOperation])
            || !none_of(&INDEXES_AND_ALIASES)
            || !is_used
        {
            return;
        }
        let what = "there are collections, but no index, no alias, and no record of the last operation on \
                    collections, which 2.1 always has: an interrupted run of the official tool leaves this state. \
                    Milvus 2.2 removes the files of indexes that it does not know. If the official tool was \
                    started, restore the backup from before it";
        if findings.skips() {
            findings.warning("indexes-missing", b"", what);
        } else {
            let message = format!("{what}; --on-broken-record skip migrates the rest");
            findings.error("indexes-missing", b"", message);
        }
    }
}

/// Reports the consequences if 2.2 ran on metadata that was not migrated.
pub(super) fn check_traces(traces: &[String], findings: &mut Findings) {
    if traces.is_empty() {
        return;
    }
    findings.warning(
        "2.2-ran",
        b"",
        format!(
            "Milvus 2.2 or later was started on this metadata before it was migrated: {}. Within minutes \
             of its start it removes index files that it does not know, so segment indexes may refer to missing \
             files, and then the collection cannot be loaded. To check, compare the folders below \
             index_files/ in the object storage with the build ids (meta-migration inspect --family indexes); \
             where one is missing, drop the index after the migration and create it again",
            traces.join(", ")
        ),
    );
}
