//! Is a 2.2 layout complete and consistent? Told from the entries alone, without a backup.
//!
//! Errors are what keeps some Milvus 2.2 from starting, or from seeing, loading or searching what is
//! there. Leftovers of 2.1 that nobody reads are notices. Metadata that a running Milvus 2.2 wrote
//! itself passes.

mod alias;
mod collection;
mod index;
mod load;
mod object;

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::finding::Finding;
use crate::keys::{Evidence, Family, Key, MetaRoot, Object, Timestamp};

use alias::Aliases;
use collection::Collections;
use index::Indexes;
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
    /// Keys of 2.1 that nobody reads: how many, and the smallest.
    leftovers: BTreeMap<Family, (u64, Vec<u8>)>,
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
            leftovers: BTreeMap::new(),
        }
    }

    /// Takes one entry; entries outside the meta root are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let root = self.report.root.clone();
        let Some(relative) = root.strip(&entry.key) else {
            return;
        };
        self.last = Family::of_near(relative, self.last);
        self.leftover(self.last, relative, entry);
        let report = &mut self.report;
        let value = &*entry.value;
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
            Key::LegacyIndex(..)
            | Key::LegacySegmentIndex(..)
            | Key::IndexBuild(_)
            | Key::QueryCollection(_)
            | Key::Segment(..)
            | Key::SessionId
            | Key::Session(_)
            | Key::Unknown(_) => {}
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
            Object::LegacyAlias(_) => {
                if timestamp.is_none() && !crate::keys::is_tombstone(value) {
                    self.report.error(
                        "legacy-alias",
                        relative,
                        "an alias of 2.1 is still there: Milvus 2.2 takes it for a collection",
                    );
                }
            }
            Object::DdMessageSend | Object::DdOperation => {}
        }
    }

    fn leftover(&mut self, family: Family, relative: &[u8], entry: &Entry) {
        let collections = matches!(family, Family::Collection | Family::CollectionSnapshot);
        let old = matches!(family.evidence(), Evidence::V2_1 | Evidence::V2_1Leftover);
        if !old || collections || (family == Family::LegacyAlias && !entry.is_tombstone()) {
            return;
        }
        let (count, first) = self
            .leftovers
            .entry(family)
            .or_insert_with(|| (0, relative.to_vec()));
        *count += 1;
        if relative < first.as_slice() {
            *first = relative.to_vec();
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
        for (family, (count, first)) in &self.leftovers {
            report.notice(
                "leftover",
                first,
                format!(
                    "{count} keys of 2.1 are left below {} (first here); Milvus 2.2 does not use them",
                    family.name()
                ),
            );
        }
        let mut findings = self.report.findings;
        findings.sort();
        findings.dedup();
        findings
    }
}
