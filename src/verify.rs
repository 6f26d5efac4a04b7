//! Is a 2.2 layout complete and consistent? Told from the entries alone, without a backup.
//!
//! Errors are what keeps some Milvus 2.2 from starting, or from seeing, loading or searching what is
//! there. Leftovers of 2.1 that nobody reads are notices; its replicas, which 2.2 reads, are a warning.
//! Metadata that a running Milvus 2.2 wrote itself passes.

mod alias;
mod collection;
mod index;
mod legacy;
mod load;
mod object;

use crate::entry::Entry;
use crate::finding::Finding;
use crate::keys::{Family, Key, MetaRoot, Object, Timestamp, split_timestamp};

use alias::Aliases;
use collection::Collections;
use index::Indexes;
use legacy::Legacy;
use load::Loads;

/// What is wrong so far; takes keys relative to the meta root and reports them whole.
#[derive(Debug)]
struct Report {
    root: MetaRoot,
    findings: Vec<Finding>,
}

impl Report {
    fn error(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        let key = self.root.join(key);
        self.findings.push(Finding::error(code, &key, message));
    }

    fn warning(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        let key = self.root.join(key);
        self.findings.push(Finding::warning(code, &key, message));
    }

    fn notice(&mut self, code: &'static str, key: &[u8], message: impl Into<String>) {
        let key = self.root.join(key);
        self.findings.push(Finding::notice(code, &key, message));
    }

    /// Milvus 2.2.3 and later walk the snapshots alone, and come across this one.
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
                "a snapshot that bears no timestamp: Milvus 2.2.3 and later pass over it, or do not start",
            );
        }
    }

    fn unreadable(&mut self, key: &[u8], what: &str, error: &dyn std::error::Error) {
        self.error(
            "undecodable-value",
            key,
            format!("the value is no {what}: {error}"),
        );
    }
}

/// Checks the entries of a 2.2 layout, in any order.
#[derive(Debug)]
pub struct Checker {
    report: Report,
    last: Family,
    collections: Collections,
    aliases: Aliases,
    indexes: Indexes,
    loads: Loads,
    legacy: Legacy,
}

impl Checker {
    /// A checker for the metadata below `root`.
    #[must_use]
    pub fn new(root: MetaRoot) -> Self {
        Self {
            report: Report {
                root,
                findings: Vec::new(),
            },
            last: Family::Other,
            collections: Collections::default(),
            aliases: Aliases::default(),
            indexes: Indexes::default(),
            loads: Loads::default(),
            legacy: Legacy::default(),
        }
    }

    /// Takes one entry; entries outside the meta root are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let root = self.report.root.clone();
        let Some(relative) = root.strip(&entry.key) else {
            return;
        };
        self.last = Family::of_near(relative, self.last);
        let report = &mut self.report;
        let value = &*entry.value;
        self.legacy.push(self.last, relative, value);
        match Key::parse(relative) {
            Key::Plain(object) => self.object(object, None, relative, value),
            Key::Snapshot(object, timestamp) => {
                self.object(object, Some(timestamp), relative, value);
            }
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
            Key::QueryReplica(replica) => self.loads.push_old_replica(replica, value),
            Key::Unknown(key) => self.report.snapshot_without_timestamp(self.last, key),
            Key::LegacyIndex(..)
            | Key::LegacySegmentIndex(..)
            | Key::IndexBuild(_)
            | Key::QueryCollection(_)
            | Key::Segment(..)
            | Key::SegmentLog(..)
            | Key::SessionId
            | Key::Session(_) => {}
        }
    }

    fn object(
        &mut self,
        object: Object<'_>,
        timestamp: Option<Timestamp>,
        relative: &[u8],
        value: &[u8],
    ) {
        match object {
            Object::Collection(_)
            | Object::DatabaseCollection(..)
            | Object::Partition(..)
            | Object::Field(..)
            | Object::Database(_) => {
                let report = &mut self.report;
                self.collections
                    .push(object, timestamp, relative, value, report);
            }
            Object::Alias(_) | Object::DatabaseAlias(..) => {
                self.aliases
                    .push(object, timestamp, relative, value, &mut self.report);
            }
            Object::LegacyAlias(name) => self.legacy.push_alias(name, timestamp, value),
            Object::DdMessageSend | Object::DdOperation => {}
        }
    }

    /// Everything that is wrong or worth knowing, worst first.
    #[must_use]
    pub fn finish(mut self) -> Vec<Finding> {
        let report = &mut self.report;
        let live = self.collections.finish(report);
        live.check_databases(report);
        self.aliases.finish(&live, report);
        self.indexes.finish(&live, report);
        self.loads.finish(&live, report);
        self.legacy.finish(report);
        let mut findings = self.report.findings;
        findings.sort();
        findings.dedup();
        findings
    }
}
