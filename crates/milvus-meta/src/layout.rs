//! Detects the metadata layout in etcd from the keys, independent of the user's input.
//!
//! Some families belong to only one layout. Others are written by 2.1 but may remain on a 2.2
//! cluster, or are still read by 2.2 (collections, aliases, replicas), so they only count as 2.1 if
//! nothing counts as 2.2. Keys that a running 2.2 writes whatever the layout (channel checkpoints,
//! resource groups, its default database) are traces: evidence that 2.2 ran, but of neither layout.
//! Users, roles and the data coordinator's keys are the same in both layouts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{v2_1, wire};
use crate::entry::{Entry, printable};
use crate::keys::{Evidence, Family, Key, MetaRoot};
use crate::plural::{NAMED_MAX, counted, listed_of};

/// The layout that the keys show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Layout {
    /// Milvus 2.1.x.
    #[serde(rename = "2.1")]
    V2_1,
    /// Milvus 2.2.x and later.
    #[serde(rename = "2.2")]
    V2_2,
    /// Both layouts, without a journal that explains it.
    #[serde(rename = "mixed")]
    Mixed,
    /// 2.1 intact, with 2.2 keys staged by an unfinished run.
    #[serde(rename = "staged")]
    Staged,
    /// No key of the families that a migration reads.
    #[default]
    #[serde(rename = "empty")]
    Empty,
}

impl Layout {
    /// Returns the name used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V2_1 => "2.1",
            Self::V2_2 => "2.2",
            Self::Mixed => "mixed",
            Self::Staged => "staged",
            Self::Empty => "empty",
        }
    }
}

/// Determines the layout from entries, which are added one by one in any order.
///
/// It does not know the journal: an unfinished run, whose journal explains keys of both layouts,
/// appears as [`Layout::Mixed`].
#[derive(Debug, Clone)]
pub struct LayoutDetector {
    root: MetaRoot,
    last: Family,
    v2_1: BTreeMap<Family, u64>,
    v2_2: BTreeMap<Family, u64>,
    leftovers: BTreeMap<Family, u64>,
    traces: BTreeMap<Family, u64>,
    /// The first records of families that only 2.1 has, by name.
    records: Vec<String>,
    /// Collections whose record contains their partitions and fields.
    embedded: Named,
    /// Collections in the form that 2.2 writes.
    split: Named,
}

/// The number of collections, and the names and ids of the first ones.
#[derive(Debug, Clone, Default)]
struct Named {
    count: u64,
    names: Vec<(String, i64)>,
}

impl Named {
    fn add(&mut self, name: &str, id: i64) {
        self.count += 1;
        if self.names.len() < NAMED_MAX {
            self.names.push((name.to_owned(), id));
        }
    }

    /// Formats the collections, such as `2 collections in the form of 2.2: "a" (1), "b" (2)`.
    fn text(&self, form: &str) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let names = self
            .names
            .iter()
            .map(|(name, id)| format!("{name:?} ({id})"));
        Some(format!(
            "{} in the form of {form}: {}",
            counted(self.count, "collection"),
            listed_of(self.count, names)
        ))
    }
}

impl LayoutDetector {
    /// Creates a detector without entries.
    #[must_use]
    pub fn new(root: MetaRoot) -> Self {
        Self {
            root,
            last: Family::Other,
            v2_1: BTreeMap::new(),
            v2_2: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            traces: BTreeMap::new(),
            records: Vec::new(),
            embedded: Named::default(),
            split: Named::default(),
        }
    }

    /// Adds an entry; entries outside the meta root are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        self.last = Family::of_near(relative, self.last);
        self.push_known(self.last, entry);
    }

    /// Like [`Self::push`], for an entry below the meta root whose family is known.
    pub(crate) fn push_known(&mut self, family: Family, entry: &Entry) {
        let evidence = match self.classify(family, entry) {
            Evidence::V2_1 => {
                self.note_record(entry);
                &mut self.v2_1
            }
            Evidence::V2_1Leftover => &mut self.leftovers,
            Evidence::V2_2 => &mut self.v2_2,
            Evidence::Trace => &mut self.traces,
            Evidence::Both => return,
        };
        *evidence.entry(family).or_default() += 1;
    }

    /// Returns the layout of the entries added so far.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match (self.v2_1.is_empty(), self.v2_2.is_empty()) {
            (false, false) => Layout::Mixed,
            (true, false) => Layout::V2_2,
            (false, true) => Layout::V2_1,
            (true, true) if !self.leftovers.is_empty() => Layout::V2_1,
            // 2.2.9 or later without collections.
            (true, true) if self.traces.contains_key(&Family::Database) => Layout::V2_2,
            (true, true) => Layout::Empty,
        }
    }

    /// Returns whether all evidence is from families that both layouts have or that remain on 2.2.
    #[must_use]
    pub fn is_only_leftovers(&self) -> bool {
        self.v2_1.is_empty() && self.v2_2.is_empty()
    }

    /// Returns the evidence for each layout, for messages.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        let mut all = lines("2.1", &self.v2_1);
        all.extend(lines("2.1", &self.leftovers));
        all.extend(self.records_of_2_1());
        all.extend(self.embedded.text("2.1"));
        all.extend(lines("2.2", &self.v2_2));
        all.extend(self.split.text("2.2").filter(|_| !self.v2_2.is_empty()));
        all
    }

    /// Returns the names of the records that only 2.1 has; `None` if there are none.
    fn records_of_2_1(&self) -> Option<String> {
        let all: u64 = self.v2_1.values().sum();
        (all > 0).then(|| listed_of(all, self.records.iter().cloned()))
    }

    fn note_record(&mut self, entry: &Entry) {
        if self.records.len() >= NAMED_MAX {
            return;
        }
        let relative = self.root.strip(&entry.key).unwrap_or_default();
        let key = Key::parse(relative);
        let record = if let Key::LegacyIndex(collection, index) = key {
            let definition = v2_1::index_definition(&entry.value).unwrap_or_default();
            let name = definition.name;
            format!("index {name:?} ({index}) of collection {collection}")
        } else if let Key::LegacySegmentIndex(collection, index, _, segment) = key {
            format!("index {index} of segment {segment} of collection {collection}")
        } else if let Key::IndexBuild(build) = key {
            format!("index build {build}")
        } else {
            printable(relative)
        };
        self.records.push(record);
    }

    /// Returns the traces of a running 2.2, one line per family.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        let families = self.traces.iter();
        families
            .map(|(family, keys)| format!("{} ({})", family.name(), counted(*keys, "key")))
            .collect()
    }

    /// Returns what an entry indicates about the layout.
    fn classify(&mut self, family: Family, entry: &Entry) -> Evidence {
        let evidence = family.evidence();
        if entry.is_tombstone() {
            let is_old = evidence == Evidence::V2_1;
            return if is_old {
                Evidence::V2_1Leftover
            } else {
                evidence
            };
        }
        if family == Family::Collection {
            return self.add_collection(entry);
        }
        if family == Family::DatabaseCollection {
            self.add_collection(entry);
        }
        evidence
    }

    /// Adds a collection by name. A record without partitions and fields is from 2.2; one with them
    /// may be from either version.
    fn add_collection(&mut self, entry: &Entry) -> Evidence {
        let Some(record) = Record::read(&entry.value) else {
            return Evidence::V2_1Leftover;
        };
        let relative = self.root.strip(&entry.key).unwrap_or_default();
        let id = Key::parse(relative).collection().unwrap_or_default().0;
        if record.is_embedded {
            self.embedded.add(&record.name, id);
            Evidence::V2_1Leftover
        } else if entry.value.is_empty() {
            Evidence::V2_1Leftover
        } else {
            self.split.add(&record.name, id);
            Evidence::V2_2
        }
    }
}

fn lines(version: &str, families: &BTreeMap<Family, u64>) -> Vec<String> {
    families
        .iter()
        .map(|(family, keys)| format!("{version}: {} ({})", family.name(), counted(*keys, "key")))
        .collect()
}

/// The relevant parts of a collection record.
struct Record {
    name: String,
    /// It contains partitions, fields, or references to indexes of 2.1.
    is_embedded: bool,
}

impl Record {
    /// Reads a record; `None` if it is not a protobuf message.
    fn read(value: &[u8]) -> Option<Self> {
        const SCHEMA: u32 = 2;
        const SCHEMA_NAME: u32 = 1;
        const SCHEMA_FIELDS: u32 = 4;
        let mut record = Self {
            name: String::new(),
            is_embedded: false,
        };
        for field in wire::fields(value) {
            let field = field.ok()?;
            match (field.number, field.content) {
                (4 | 5 | 6 | 9, _) => record.is_embedded = true,
                (SCHEMA, wire::Content::Bytes(schema)) => {
                    for member in wire::fields(schema) {
                        let Ok(member) = member else { break };
                        match (member.number, member.content) {
                            (SCHEMA_FIELDS, _) => record.is_embedded = true,
                            (SCHEMA_NAME, wire::Content::Bytes(name)) => {
                                record.name = String::from_utf8_lossy(name).into_owned();
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::TOMBSTONE;

    /// Returns a collection with one partition, one field and optionally an index.
    fn embedded(indexed: bool) -> Vec<u8> {
        let mut value = b"\x08\x05\x12\x05\x0a\x01c\x22\x00\x20\x06\x2a\x01p\x48\x07".to_vec();
        if indexed {
            value.extend_from_slice(b"\x32\x04\x08\x64\x10\x06");
        }
        value
    }

    const SPLIT: &[u8] = b"\x08\x05\x12\x03\x0a\x01c";

    fn detector(entries: &[(&str, &[u8])]) -> LayoutDetector {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        let mut detector = LayoutDetector::new(root.clone());
        for (key, value) in entries {
            detector.push(&Entry::new(root.join(key.as_bytes()), value.to_vec()));
        }
        detector
    }

    fn layout(entries: &[(&str, &[u8])]) -> Layout {
        detector(entries).layout()
    }

    #[test]
    fn families_only_in_2_1_and_2_2_are_mixed() {
        for key in [
            "root-coord/index/1/2",
            "indexes/1",
            "root-coord/segment-index/1/2/3/4",
        ] {
            assert_eq!(layout(&[(key, b"x")]), Layout::V2_1, "{key}");
            let both: [(&str, &[u8]); 2] = [(key, b"x"), ("field-index/1/2", b"x")];
            assert_eq!(layout(&both), Layout::Mixed, "{key}");
        }
    }

    #[test]
    fn shared_families_are_2_1_only_without_2_2() {
        for (key, value) in [
            ("root-coord/collection-alias/a", &b"\x08\x05"[..]),
            ("root-coord/collection/5", &embedded(true)),
            ("queryCoord-ReplicaMeta/1", b"x"),
        ] {
            assert_eq!(layout(&[(key, value)]), Layout::V2_1, "{key}");
            let both = [(key, value), ("field-index/1/2", &b"x"[..])];
            assert_eq!(layout(&both), Layout::V2_2, "{key}");
        }
    }

    #[test]
    fn leftovers_on_2_2_are_2_2() {
        let entries: Vec<(&str, &[u8])> = vec![
            ("root-coord/aliases/a", b"x"),
            ("queryCoord-collectionMeta/1", b"x"),
            ("queryCoord-ReplicaMeta/1", b"x"),
            ("root-coord/collection-alias/a", TOMBSTONE),
            ("root-coord/index/1/2", TOMBSTONE),
            ("root-coord/dd-operation", b"x"),
        ];
        assert_eq!(layout(&entries), Layout::V2_2);
        assert_eq!(layout(&entries[1..]), Layout::V2_1);
        assert_eq!(layout(&[("root-coord/collection/5", SPLIT)]), Layout::V2_2);
    }

    #[test]
    fn embedded_collection_alone_is_2_1() {
        assert_eq!(
            layout(&[("root-coord/collection/5", &embedded(false))]),
            Layout::V2_1
        );
    }

    #[test]
    fn users_and_segments_are_no_evidence() {
        assert_eq!(
            layout(&[
                ("root-coord/credential/users/root", b"{}"),
                ("root-coord/credential/roles/admin", b""),
                ("datacoord-meta/s/1/2/3", b"x"),
                ("channelwatch/1/c", b"x"),
                ("session/id", b"1"),
            ]),
            Layout::Empty
        );
        assert_eq!(layout(&[]), Layout::Empty);
    }

    #[test]
    fn traces_of_2_2_are_no_layout() {
        for key in [
            "datacoord-meta/channel-cp/c",
            "queryCoord-ResourceGroup/g",
            "flushed-segment/1/2/3",
            "root-coord/database/db-info/1",
        ] {
            let entries: [(&str, &[u8]); 2] = [(key, b"x"), ("indexes/1", b"x")];
            let found = detector(&entries);
            assert_eq!(found.layout(), Layout::V2_1, "{key}");
            assert_eq!(found.traces().len(), 1, "{key}");
        }
        let database: [(&str, &[u8]); 1] = [("root-coord/database/db-info/1", b"x")];
        assert_eq!(layout(&database), Layout::V2_2);
        let checkpoint: [(&str, &[u8]); 1] = [("datacoord-meta/channel-cp/c", b"x")];
        assert_eq!(layout(&checkpoint), Layout::Empty);
    }

    #[test]
    fn evidence_lists_the_collections_of_each_layout() {
        let found = detector(&[
            ("root-coord/index/5/2", b"x"),
            ("root-coord/collection/5", &embedded(true)),
            ("root-coord/database/collection-info/1/6", SPLIT),
        ]);
        assert_eq!(
            found.evidence(),
            [
                "2.1: root-coord/index (1 key)",
                "2.1: root-coord/collection (1 key)",
                "index \"\" (2) of collection 5",
                "1 collection in the form of 2.1: \"c\" (5)",
                "2.2: root-coord/database/collection-info (1 key)",
                "1 collection in the form of 2.2: \"c\" (6)",
            ]
        );
    }
}
