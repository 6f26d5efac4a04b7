//! 2.2 records next to 2.1 metadata: Milvus 2.2 ran before the migration, or 2.1 after one.
//!
//! The 2.2 records are kept unchanged, and objects that only 2.1 has are added. An object in both
//! layouts is kept if both records agree. Otherwise it is a contradiction: an error that shows both
//! records.
//!
//! | object | the same object | contradiction |
//! | --- | --- | --- |
//! | collection with its partitions and fields | id | another name, partition or field; dropped in one of them |
//! | alias | name | another collection; dropped in 2.2 |
//! | index | field of a collection | other parameters, and the index of 2.1 is the newer one; the same id, changed |
//! | segment index | segment and index | none: that of 2.2 is kept |
//! | load state | collection | none: that of 2.2 is kept |
//! | checkpoint, segment | key | none: both layouts share the record |

mod aliases;
mod collections;
mod contradiction;
mod indexes;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

pub(super) use collections::is_of_2_2;

use super::NewKeys;
use super::findings::Findings;
use super::snapshots::RawHistory;
use crate::keys::{Key, Object};
use crate::model::{BuildId, CollectionId, IndexId, PartitionId, SegmentId};
use crate::proto::v2_2::index::SegmentIndex;

/// The segment indexes of 2.2.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) builds: BTreeSet<BuildId>,
    pub(super) segments: BTreeSet<(CollectionId, PartitionId, SegmentId, IndexId)>,
}

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Keys of the families that only 2.2 has, without segment indexes; relative to the meta root.
    keys: NewKeys,
    pub(super) built: Built,
    /// Collections outside databases.
    outside: BTreeMap<CollectionId, RawHistory>,
}

impl Kept {
    /// Adds an entry of a family that only 2.2 has.
    pub(super) fn push(&mut self, relative: &[u8], value: &[u8]) {
        if let Key::SegmentIndex(collection, partition, segment, build) = Key::parse(relative) {
            // An unreadable record is reported when the result is checked.
            let record = SegmentIndex::decode(value).unwrap_or_default();
            let ids = (collection, partition, segment, IndexId(record.index_id));
            self.built.builds.insert(build);
            self.built.segments.insert(ids);
        } else {
            self.keys.insert(relative.to_vec(), value.to_vec());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.built.builds.is_empty() && self.outside.is_empty()
    }

    /// Returns the indexes of 2.2.
    pub(super) fn index_ids(&self) -> BTreeSet<(CollectionId, IndexId)> {
        let ids = self.keys.keys().filter_map(|key| {
            let Key::FieldIndex(collection, index) = Key::parse(key) else {
                return None;
            };
            Some((collection, index))
        });
        ids.collect()
    }

    /// Returns the collections that 2.2 has loaded, whose load state is kept.
    pub(super) fn loaded(&self) -> BTreeSet<CollectionId> {
        let ids =
            self.keys.keys().filter_map(|key| {
                let (Key::CollectionLoadInfo(id)
                | Key::PartitionLoadInfo(id, _)
                | Key::Replica(id, _)) = Key::parse(key)
                else {
                    return None;
                };
                Some(id)
            });
        ids.collect()
    }

    /// Removes keys that already exist. A key with another value is a contradiction not covered by
    /// the other rules.
    pub(super) fn rest(&self, staged: &mut NewKeys, findings: &mut Findings) {
        staged.retain(|key, value| {
            let Some(found) = self.keys.get(key) else {
                return true;
            };
            if found != value {
                let title = findings.name(key);
                let shown = contradiction::compared(key, Some(value), Some(found));
                contradiction::report(findings, key, &title, vec![shown], contradiction::DECIDE);
            }
            false
        });
    }
}

/// Returns the object of a plain key or a snapshot.
fn object_of(key: &[u8]) -> Option<Object<'_>> {
    Key::parse(key).object().map(|(object, _)| object)
}

fn is_plain(key: &[u8]) -> bool {
    matches!(Key::parse(key), Key::Plain(_))
}

/// Returns the collection of a key in the collection families.
fn collection_of(key: &[u8]) -> Option<CollectionId> {
    object_of(key)?.collection()
}
