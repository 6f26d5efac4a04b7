//! Which layout is really there, told by the keys and not by what somebody typed.
//!
//! Some families belong to one layout alone. Others are written by 2.1 but may stay behind on a 2.2
//! cluster (the official tool leaves the load state; 2.2 itself leaves tombstones of old aliases), so
//! they speak for 2.1 only where nothing speaks for 2.2. Users, roles and the data coordinator's keys
//! are the same in both and speak for neither.

use std::collections::BTreeMap;

use crate::codec::wire;
use crate::entry::Entry;
use crate::keys::{Evidence, Family, MetaRoot};
use crate::report::Layout;

/// Looks at entries one by one, in any order, and says which layout they show.
///
/// It knows nothing of journals: an unfinished run, whose journal explains both layouts side by side,
/// shows as [`Layout::Mixed`].
#[derive(Debug, Clone)]
pub struct LayoutDetector {
    root: MetaRoot,
    last: Family,
    v2_1: BTreeMap<Family, u64>,
    v2_2: BTreeMap<Family, u64>,
    leftovers: BTreeMap<Family, u64>,
    /// Plain records of collections that hold partitions and fields, and no list of indexes.
    embedded: u64,
}

/// What one key says.
enum Speaks {
    V2_1,
    Leftover,
    Embedded,
    V2_2,
    Nothing,
}

impl LayoutDetector {
    /// A detector that has seen nothing yet.
    #[must_use]
    pub fn new(root: MetaRoot) -> Self {
        Self {
            root,
            last: Family::Other,
            v2_1: BTreeMap::new(),
            v2_2: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            embedded: 0,
        }
    }

    /// Looks at one entry; entries outside the meta root say nothing.
    pub fn push(&mut self, entry: &Entry) {
        let Some(relative) = self.root.strip(&entry.key) else {
            return;
        };
        self.last = Family::of_near(relative, self.last);
        self.push_known(self.last, entry);
    }

    /// As [`Self::push`], for an entry below the meta root whose family is known already.
    pub(crate) fn push_known(&mut self, family: Family, entry: &Entry) {
        let evidence = match speaks(family, entry) {
            Speaks::V2_1 => &mut self.v2_1,
            Speaks::Leftover => &mut self.leftovers,
            Speaks::Embedded => {
                self.embedded += 1;
                &mut self.leftovers
            }
            Speaks::V2_2 => &mut self.v2_2,
            Speaks::Nothing => return,
        };
        *evidence.entry(family).or_default() += 1;
    }

    /// The layout that the entries so far show.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match (self.v2_1.is_empty(), self.v2_2.is_empty()) {
            (false, false) => Layout::Mixed,
            (true, false) => Layout::V2_2,
            (false, true) => Layout::V2_1,
            (true, true) if !self.leftovers.is_empty() => Layout::V2_1,
            (true, true) => Layout::Empty,
        }
    }

    /// Collections that have their partitions and fields in their own record, and name no index there.
    #[must_use]
    pub fn embedded_collections(&self) -> u64 {
        self.embedded
    }

    /// What speaks for which layout, for messages; one line a family.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        let lines = |version: &'static str, families: &BTreeMap<Family, u64>| {
            families
                .iter()
                .map(move |(family, keys)| format!("{version}: {} ({keys} keys)", family.name()))
                .collect::<Vec<_>>()
        };
        let mut all = lines("2.1", &self.v2_1);
        all.extend(lines("2.2", &self.v2_2));
        if self.v2_1.is_empty() && self.v2_2.is_empty() {
            all.extend(lines("2.1", &self.leftovers));
        }
        all
    }
}

fn speaks(family: Family, entry: &Entry) -> Speaks {
    match family.evidence() {
        Evidence::V2_2 => Speaks::V2_2,
        Evidence::V2_1 if entry.is_tombstone() => Speaks::Leftover,
        Evidence::V2_1 => Speaks::V2_1,
        Evidence::V2_1Leftover if entry.is_tombstone() => Speaks::Leftover,
        Evidence::V2_1Leftover if family == Family::Collection => collection(&entry.value),
        Evidence::V2_1Leftover if family == Family::LegacyAlias => Speaks::V2_1,
        Evidence::V2_1Leftover => Speaks::Leftover,
        Evidence::Both => Speaks::Nothing,
    }
}

/// A collection record is 2.1's when it lists indexes, 2.2's when its partitions and fields have moved
/// out, and may be either's otherwise.
fn collection(value: &[u8]) -> Speaks {
    const SCHEMA: u32 = 2;
    const SCHEMA_FIELDS: u32 = 4;
    let mut embedded = false;
    for field in wire::fields(value) {
        let Ok(field) = field else {
            return Speaks::Leftover;
        };
        match (field.number, field.content) {
            (6, _) => return Speaks::V2_1,
            (4 | 5 | 9, _) => embedded = true,
            (SCHEMA, wire::Content::Bytes(schema)) => {
                embedded |= wire::fields(schema)
                    .any(|member| member.is_ok_and(|member| member.number == SCHEMA_FIELDS));
            }
            _ => {}
        }
    }
    if embedded {
        Speaks::Embedded
    } else if value.is_empty() {
        Speaks::Leftover
    } else {
        Speaks::V2_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::TOMBSTONE;

    /// A collection with one partition, one field and, if told so, an index.
    fn embedded(indexed: bool) -> Vec<u8> {
        let mut value = b"\x08\x05\x12\x05\x0a\x01c\x22\x00\x20\x06\x2a\x01p\x48\x07".to_vec();
        if indexed {
            value.extend_from_slice(b"\x32\x04\x08\x64\x10\x06");
        }
        value
    }

    const SPLIT: &[u8] = b"\x08\x05\x12\x03\x0a\x01c";

    fn layout(entries: &[(&str, &[u8])]) -> Layout {
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        let mut detector = LayoutDetector::new(root.clone());
        for (key, value) in entries {
            detector.push(&Entry::new(root.join(key.as_bytes()), value.to_vec()));
        }
        detector.layout()
    }

    #[test]
    fn each_kind_of_2_1_evidence_counts() {
        for (key, value) in [
            ("root-coord/index/1/2", &b"x"[..]),
            ("indexes/1", b"x"),
            ("root-coord/segment-index/1/2/3/4", b"x"),
            ("root-coord/collection-alias/a", b"\x08\x05"),
            ("root-coord/collection/5", &embedded(true)),
        ] {
            assert_eq!(layout(&[(key, value)]), Layout::V2_1, "{key}");
            let beside = [(key, value), ("field-index/1/2", &b"x"[..])];
            assert_eq!(layout(&beside), Layout::Mixed, "{key}");
        }
    }

    #[test]
    fn leftovers_beside_2_2_are_2_2() {
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
    fn an_embedded_collection_alone_is_taken_for_2_1() {
        assert_eq!(
            layout(&[("root-coord/collection/5", &embedded(false))]),
            Layout::V2_1
        );
    }

    #[test]
    fn users_roles_and_data_are_no_evidence() {
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
}
