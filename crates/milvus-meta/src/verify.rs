//! Checks whether 2.2 metadata is complete and consistent, based only on its entries, without a
//! backup.
//!
//! This is the only definition of a finished migration, used for every statement of the program
//! that 2.2 can start. Errors are problems that prevent the reading release from starting, or from
//! seeing, loading or searching objects. Leftovers of 2.1 that 2.2 does not read are notices;
//! replicas of 2.1, which it reads, are a warning. Metadata written by a running Milvus 2.2 or
//! later has no findings.

mod alias;
mod collection;
mod form;
mod index;
mod interrupted;
mod leftovers;
mod load;
mod segment;
mod versioned_object;

use std::error::Error;

use prost::Message;

use crate::entry::Entry;
use crate::finding::Finding;
use crate::keys::{Family, Key, MetaRoot, Object, is_tombstone, split_timestamp};
use crate::model::CollectionId;
use crate::release::Release;
use crate::transform::{
    CollectionForm, Findings, MissingCollections, MissingPartitions, OnBrokenRecord,
};

use alias::Aliases;
use collection::Collections;
use index::Indexes;
use interrupted::{Evidence, Interrupted};
use leftovers::Leftovers;
use load::Loads;
use segment::Segments;
use versioned_object::{Value, Version};

/// Codes of the findings about an interrupted run of the official tool. They are not reported once
/// 2.2 ran on the metadata or its collections were repaired.
pub const INTERRUPTED: [&str; 3] = [
    "indexes-missing",
    "segment-indexes-missing",
    "load-state-missing",
];

/// What is known about the metadata, and the release that will read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The release that will read it; `None` for any 2.2.
    pub target: Option<Release>,
    /// Whether the user requested the embedded form, whose problems are then warnings.
    pub accepts_embedded: bool,
    /// The recorded collection form of a finished migration of this program.
    pub recorded: Option<CollectionForm>,
    /// Whether the recorded migration has deleted the leftovers of 2.1.
    pub is_cleaned_up: bool,
}

impl Findings {
    /// Reports a snapshot without timestamp in a family whose snapshots Milvus 2.2.3 and later
    /// read.
    fn snapshot_without_timestamp(&mut self, family: Family, key: &[u8]) {
        let is_walked = matches!(
            family,
            Family::CollectionSnapshot
                | Family::DatabaseCollectionSnapshot
                | Family::PartitionSnapshot
                | Family::FieldSnapshot
                | Family::AliasSnapshot
                | Family::DatabaseAliasSnapshot
                | Family::DatabaseSnapshot
        );
        if is_walked && split_timestamp(key).is_none() {
            self.warning(
                "snapshot-without-timestamp",
                key,
                "a snapshot without a timestamp: Milvus 2.2.3 and later skip it or do not start",
            );
        }
    }

    fn unreadable(&mut self, key: &[u8], what: &str, error: &dyn Error) {
        let message = format!("the value is not a {what}: {error}");
        self.error("undecodable-value", key, message);
    }

    /// Returns a decoded record; reports an unreadable one.
    fn record<M: Message + Default>(&mut self, key: &[u8], what: &str, value: &[u8]) -> Option<M> {
        let decoded = M::decode(value);
        decoded
            .map_err(|error| self.unreadable(key, what, &error))
            .ok()
    }

    /// Reports a record with another id than its key.
    fn check_id(&mut self, key: &[u8], kind: &str, in_key: i64, in_record: i64) {
        if in_record != in_key {
            self.mismatch(key, &format!("{kind} {in_record}"));
        }
    }

    /// Reports a record of a part of a collection with other ids, of the collection and the part, than its key.
    fn check_part(
        &mut self,
        key: &[u8],
        kind: &str,
        in_key: (CollectionId, i64),
        in_record: (i64, i64),
    ) {
        let (collection, part) = in_record;
        if in_record != (in_key.0.0, in_key.1) {
            self.mismatch(key, &format!("{kind} {part} of collection {collection}"));
        }
    }

    /// Reports a record that belongs to another key.
    fn mismatch(&mut self, key: &[u8], of: &str) {
        let message = format!("the record is that of {of}");
        self.error("id-mismatch", key, message);
    }

    /// Returns the decoded value of a version; reports an unreadable one.
    fn read<T, E: Error>(
        &mut self,
        it: Version<'_>,
        what: &str,
        decoded: Result<T, E>,
    ) -> Value<T> {
        if is_tombstone(it.value) {
            return Value::Dropped;
        }
        match decoded {
            Ok(record) => Value::Live(record),
            Err(error) => {
                self.unreadable(it.key, what, &error);
                Value::Unreadable
            }
        }
    }
}

/// Checks the entries of a 2.2 layout, in any order.
#[derive(Debug)]
pub struct Checker {
    root: MetaRoot,
    report: Findings,
    context: Context,
    last: Family,
    collections: Collections,
    aliases: Aliases,
    indexes: Indexes,
    loads: Loads,
    leftovers: Leftovers,
    segments: Segments,
    interrupted: Interrupted,
}

impl Checker {
    /// Creates a checker for the metadata below `root` without context.
    #[must_use]
    pub fn new(root: MetaRoot) -> Self {
        Self::within(root, Context::default())
    }

    /// Creates a checker for the metadata below `root`.
    #[must_use]
    pub fn within(root: MetaRoot, context: Context) -> Self {
        Self {
            context,
            root: root.clone(),
            report: Findings::new(root, OnBrokenRecord::Fail),
            last: Family::Other,
            collections: Collections::default(),
            aliases: Aliases::default(),
            indexes: Indexes::default(),
            loads: Loads::default(),
            leftovers: Leftovers::default(),
            segments: Segments::default(),
            interrupted: Interrupted::default(),
        }
    }

    /// Adds an entry; entries outside the meta root are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        self.last = Family::of_near(relative, self.last);
        let report = &mut self.report;
        let value = &*entry.value;
        self.leftovers.push(self.last, relative, value);
        self.interrupted.push(self.last, relative);
        if self.last == Family::ChannelRemoval {
            self.segments.push_removed_channel(relative, value);
        }
        match Key::parse(relative) {
            key @ (Key::Plain(object) | Key::Snapshot(object, _)) => self.object(Version {
                object,
                timestamp: key.object().and_then(|(_, timestamp)| timestamp),
                key: relative,
                value,
            }),
            Key::FieldIndex(collection, index) => {
                self.indexes.push_field((collection, index), value, report);
            }
            Key::SegmentIndex(collection, partition, segment, build) => {
                let ids = (collection, partition, segment, build);
                self.indexes.push_segment(ids, value, report);
            }
            Key::CollectionLoadInfo(id) => self.loads.push_collection(id, value, report),
            Key::PartitionLoadInfo(collection, partition) => {
                self.loads
                    .push_partition((collection, partition), value, report);
            }
            Key::Replica(collection, replica) => {
                self.loads
                    .push_replica((collection, replica), value, report);
            }
            Key::QueryReplica(_) => self.loads.push_old_replica(value),
            Key::LegacyIndex(collection, index) => {
                self.leftovers.push_index((collection, index), value);
            }
            Key::QueryCollection(_) => self.interrupted.push_load_state(value),
            Key::Segment(collection, partition, segment) => {
                let ids = (collection, partition, segment);
                self.segments.push(ids, value, report);
            }
            Key::Unknown(key) => self.report.snapshot_without_timestamp(self.last, key),
            Key::LegacySegmentIndex(..)
            | Key::IndexBuild(_)
            | Key::SegmentLog(..)
            | Key::SessionId
            | Key::Session(_) => {}
        }
    }

    fn object(&mut self, it: Version<'_>) {
        match it.object {
            Object::Collection(_)
            | Object::DatabaseCollection(..)
            | Object::Partition(..)
            | Object::Field(..)
            | Object::Database(_) => self.collections.push(it, &mut self.report),
            Object::Alias(_) | Object::DatabaseAlias(..) => {
                self.aliases.push(it, &mut self.report);
            }
            Object::LegacyAlias(name) => self.leftovers.push_alias(name, it.timestamp, it.value),
            Object::DdMessageSend | Object::DdOperation => {}
        }
    }

    /// Returns all findings, most severe first.
    #[must_use]
    pub fn finish(mut self) -> Vec<Finding> {
        let report = &mut self.report;
        let live = self.collections.finish(report);
        live.check_databases(report);
        form::check(&live, &self.context, report);
        self.segments.seal();
        let mut collections = MissingCollections::default();
        let mut partitions = MissingPartitions::default();
        self.segments
            .check(&live, &mut collections, &mut partitions);
        if self.context.recorded.is_none() {
            let others = Evidence {
                live: &live,
                segments: &self.segments,
                indexes: &self.indexes,
                loads: &self.loads,
            };
            self.interrupted.check(others, &mut collections, report);
        } else if self.context.is_cleaned_up {
            self.interrupted
                .check_late_loads(&live, &self.loads, report);
        }
        let missing = collections
            .finding()
            .into_iter()
            .chain(partitions.finding());
        missing.for_each(|finding| report.general(finding));
        self.aliases.finish(&live, report);
        self.leftovers.check_indexes(&live, &self.indexes, report);
        self.indexes.finish(&live, &self.segments, report);
        self.loads.finish(&live, report);
        self.leftovers
            .finish(self.context.recorded.is_some(), report);
        self.report.finish()
    }
}
