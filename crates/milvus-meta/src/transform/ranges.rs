//! The key ranges that a migration stages or deletes.

use std::collections::BTreeSet;

use crate::keys::{Evidence, Family, KeyRange, MetaRoot};

/// Families that staging writes to and that may contain other keys: only keys created after the
/// source was read were staged.
const SHARED: [Family; 6] = [
    Family::Binlog,
    Family::ChannelCheckpoint,
    Family::Database,
    Family::DatabaseSnapshot,
    Family::Deltalog,
    Family::Statslog,
];

/// Families that 2.2 must not find, in every form of collections.
pub(super) const REMOVED: [Family; 3] = [
    Family::QueryReplica,
    Family::LegacyAlias,
    Family::LegacyAliasSnapshot,
];

/// Families that 2.2 does not read, without the last DDL operation.
pub(super) const UNREAD: [Family; 4] = [
    Family::IndexBuild,
    Family::QueryCollection,
    Family::LegacyIndex,
    Family::LegacySegmentIndex,
];

/// The last DDL operation of 2.1: single keys.
pub(super) const LAST_DDL: [Family; 2] = [Family::DdMessageSend, Family::DdOperation];

/// Snapshots of [`LAST_DDL`].
pub(super) const LAST_DDL_HISTORY: [Family; 2] =
    [Family::DdMessageSendSnapshot, Family::DdOperationSnapshot];

/// Returns the ranges of the families that only a migration or 2.2 writes.
#[must_use]
pub fn new_family_ranges(root: &MetaRoot) -> Vec<KeyRange> {
    let new = Family::ALL
        .iter()
        .filter(|it| it.evidence() == Evidence::V2_2);
    sorted(new.map(|family| below(root, *family)))
}

/// Returns the ranges of the families that staging writes to and that contain other keys, too.
#[must_use]
pub fn shared_family_ranges(root: &MetaRoot) -> Vec<KeyRange> {
    sorted(SHARED.into_iter().map(|family| below(root, family)))
}

/// Returns the ranges of all families that staging writes to.
#[must_use]
pub fn staged_family_ranges(root: &MetaRoot) -> Vec<KeyRange> {
    let shared = shared_family_ranges(root).into_iter();
    sorted(shared.chain(new_family_ranges(root)))
}

/// Returns the ranges that the cleanup deletes: old families that 2.2 does not read. They do not
/// depend on the data.
#[must_use]
pub fn leftover_ranges(root: &MetaRoot) -> Vec<KeyRange> {
    let families = UNREAD.into_iter().chain(LAST_DDL).chain(LAST_DDL_HISTORY);
    sorted(families.flat_map(|family| family.ranges(root)))
}

/// Returns the range of all keys below a family's prefix.
pub(super) fn below(root: &MetaRoot, family: Family) -> KeyRange {
    root.range_below(&family.prefix())
}

/// Returns the ranges below a family's prefix without the keys that stay (relative to the meta
/// root).
pub(super) fn below_except(
    root: &MetaRoot,
    family: Family,
    staying: &BTreeSet<Vec<u8>>,
) -> Vec<KeyRange> {
    let mut rest = below(root, family);
    let mut ranges = Vec::new();
    for key in staying {
        let key = root.join(key);
        if rest.contains(&key) {
            ranges.push(KeyRange::new(rest.start.clone(), key.clone()));
            rest = rest.after(&key);
        }
    }
    ranges.push(rest);
    ranges.retain(|range| !range.is_empty());
    ranges
}

/// Returns a range for each of the keys, which are relative to the meta root.
pub(super) fn single_keys<'k>(
    root: &MetaRoot,
    keys: impl IntoIterator<Item = &'k Vec<u8>>,
) -> Vec<KeyRange> {
    let keys = keys.into_iter();
    sorted(keys.map(|key| KeyRange::single(root.join(key))))
}

pub(super) fn sorted(ranges: impl IntoIterator<Item = KeyRange>) -> Vec<KeyRange> {
    let mut ranges: Vec<_> = ranges.into_iter().collect();
    ranges.sort();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> MetaRoot {
        MetaRoot::new("by-dev", "meta", "kv").unwrap()
    }

    /// The expected families are from the specification, not from the table.
    #[test]
    fn new_families_are_exactly_those_of_2_2() {
        let new = [
            "field-index/1/2",
            "querycoord-collection-loadinfo/1",
            "querycoord-partition-loadinfo/1/2",
            "querycoord-replica/1/2",
            "root-coord/aliases/a",
            "root-coord/database/aliases/1/a",
            "root-coord/database/collection-info/1/1",
            "root-coord/fields/1/100",
            "root-coord/partitions/1/2",
            "segment-index/1/2/3/4",
            "snapshots/root-coord/aliases/a_ts1",
            "snapshots/root-coord/database/aliases/1/a_ts1",
            "snapshots/root-coord/database/collection-info/1/1_ts1",
            "snapshots/root-coord/fields/1/100_ts1",
            "snapshots/root-coord/partitions/1/2_ts1",
        ];
        let shared = [
            "channelwatch/1/c",
            "datacoord-meta/binlog/1/2/3/100",
            "datacoord-meta/channel-cp/c",
            "datacoord-meta/channel-removal/c",
            "datacoord-meta/deltalog/1/2/3/0",
            "datacoord-meta/s/1/2/3",
            "datacoord-meta/statslog/1/2/3/100",
            "flushed-segment/1/2/3",
            "indexes/1",
            "queryCoord-ReplicaMeta/1",
            "queryCoord-ResourceGroup/g",
            "queryCoord-collectionMeta/1",
            "queryCoord-segmentMeta/1/2/3",
            "querycoord-handoff/1/2/3",
            "root-coord/collection-alias/a",
            "root-coord/collection/1",
            "root-coord/credential/users/root",
            "root-coord/database/db-info/1",
            "root-coord/dd-operation",
            "root-coord/index/1/2",
            "root-coord/segment-index/1/2/3/4",
            "segmentRefer/1/2",
            "session/rootcoord",
            "snapshots/root-coord/collection-alias/a_ts1",
            "snapshots/root-coord/collection/1_ts1",
            "snapshots/root-coord/database/db-info/1_ts1",
            "snapshots/root-coord/index/1/2_ts1",
        ];
        let ranges = new_family_ranges(&root());
        let covered = |key: &str| {
            let key = root().join(key.as_bytes());
            ranges.iter().any(|range| range.contains(&key))
        };
        for key in new {
            assert!(covered(key), "{key}");
        }
        for key in shared {
            assert!(!covered(key), "{key}");
        }
        assert_eq!(ranges.len(), new.len());
    }

    #[test]
    fn leftover_ranges_are_exact() {
        let ranges = leftover_ranges(&root());
        let covered = |key: &str| {
            let key = root().join(key.as_bytes());
            ranges.iter().any(|range| range.contains(&key))
        };
        for key in [
            "indexes/1",
            "root-coord/index/1/2",
            "root-coord/segment-index/1/2/3/4",
            "root-coord/dd-operation",
            "root-coord/dd-msg-send",
            "snapshots/root-coord/dd-operation_ts1",
            "snapshots/root-coord/dd-msg-send_ts99",
            "queryCoord-collectionMeta/1",
        ] {
            assert!(covered(key), "{key}");
        }
        for key in [
            "root-coord/dd-operation-x",
            "snapshots/root-coord/dd-operation",
            "snapshots/root-coord/index/1/2_ts3",
            "root-coord/collection/1",
            "segment-index/1/2/3/4",
            "queryCoord-ReplicaMeta/1",
            "session/id",
        ] {
            assert!(!covered(key), "{key}");
        }
        assert!(ranges.is_sorted());
    }

    #[test]
    fn t9_ranges_exclude_kept_keys() {
        let staying = [&b"root-coord/collection/a"[..], b"root-coord/collection/b"];
        let ranges = below_except(
            &root(),
            Family::Collection,
            &staying.iter().map(|key| key.to_vec()).collect(),
        );
        let covered = |key: &str| {
            let key = root().join(key.as_bytes());
            ranges.iter().any(|range| range.contains(&key))
        };
        assert!(covered("root-coord/collection/1") && covered("root-coord/collection/c"));
        assert!(covered("root-coord/collection/aa"));
        assert!(!covered("root-coord/collection/a") && !covered("root-coord/collection/b"));
        assert!(!covered("root-coord/collection-alias/a"));
    }
}
