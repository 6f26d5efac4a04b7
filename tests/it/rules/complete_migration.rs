//! The complete migration: T12, ranges, plan, digest.

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{Family, TOMBSTONE};
use milvus_meta::layout::Layout;
use milvus_meta::transform::CollectionForm::{Database, Embedded, Split};
use milvus_meta::transform::{leftover_ranges, staged_family_ranges};

use super::FORMS;
use crate::support::metadata::{Metadata, root};

#[test]
fn t12_all_other_keys_are_unchanged() {
    let mut before = Metadata::small();
    for (key, value) in [
        ("datacoord-meta/statslog/1/10/51/0", &b"\xff\x00"[..]),
        ("channelwatch/4/v0", b"w"),
        ("queryCoord-segmentMeta/1/10/50", b"s"),
        ("snapshots/root-coord/index/1/7_ts5", b"2.0"),
        ("root-coord/credential/users/alice", b"{}"),
        ("unknown/key", b""),
        ("root-coord/timestamp", b"t"),
    ] {
        before.raw(key, value);
    }
    for form in FORMS {
        let migration = before.migrate(form);
        let after = before.after(&migration);
        for key in before.entries.keys() {
            let converted = [
                "root-coord/coll",
                "root-coord/seg",
                "root-coord/index",
                "root-coord/dd",
            ];
            let converted = converted.iter().any(|part| key.contains(part))
                && !key.starts_with("snapshots/root-coord/index");
            let deleted = [
                "indexes/",
                "queryCoord-collectionMeta/",
                "queryCoord-ReplicaMeta/",
            ];
            if !converted && !deleted.iter().any(|part| key.starts_with(part)) {
                assert_eq!(after.get(key), before.entries.get(key), "{key}");
            }
        }
        let written = migration.staged().map(|put| put.key);
        let written = written.chain(migration.rewrites.iter().map(|put| put.key.clone()));
        for key in written {
            let relative = root().strip(&key).unwrap().to_vec();
            assert!(!relative.starts_with(b"session/"));
        }
    }
}

#[test]
fn t12_entries_outside_the_meta_root_pass() {
    let before = Metadata::small();
    let migration = before.migrate(Split);
    let outside = [
        Entry::new("by-dev/kv/tso/timestamp", "x"),
        Entry::new("by-dev/meta2/root-coord/collection-alias/a", "y"),
        Entry::new("by-devil/meta/indexes/1", "z"),
    ];
    let mut entries = before.list();
    entries.extend(outside.iter().cloned());
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let image: Vec<Entry> = migration
        .apply(entries.into_iter().map(Ok::<_, std::convert::Infallible>))
        .map(|entry| entry.unwrap())
        .collect();
    for entry in outside {
        assert!(image.contains(&entry));
    }
    assert!(image.is_sorted_by_key(|entry| entry.key.clone()));
}

#[test]
fn staging_writes_only_to_its_families() {
    for form in FORMS {
        let migration = Metadata::small().migrate(form);
        let ranges = staged_family_ranges(&root());
        for put in migration.staged() {
            assert!(ranges.iter().any(|range| range.contains(&put.key)));
        }
        assert!(migration.staged().is_sorted_by_key(|put| put.key));
        assert_eq!(migration.staged().count() as u64, migration.staged_count);
        let bytes: usize = migration
            .staged()
            .map(|put| put.key.len() + put.value.len())
            .sum();
        assert_eq!(bytes as u64, migration.staged_bytes);
        assert_eq!(migration.leftovers, leftover_ranges(&root()));
    }
}

#[test]
fn families_that_2_2_does_not_read_are_carried() {
    let mut before = Metadata::small();
    let keys = [
        "channelwatch/4/dml_0_1v0",
        "datacoord-meta/channel-removal/dml_0_2v0",
        "queryCoord-activeTask/1",
        "queryCoord-deltaChannel/1/dml_0",
        "queryCoord-dmChannelWatchInfo/1/dml_0_1v0",
        "queryCoord-queryNodeInfo/4",
        "queryCoord-sealedSegmentChangeInfo/5",
        "queryCoord-segmentMeta/1/10/50",
        "queryCoord-taskInfo/6",
        "queryCoord-triggerTask/7",
        "queryCoord-unsubscribeChannelInfo/4",
        "querycoord-handoff/1/10/50",
        "segmentRefer/8/4",
    ];
    for key in keys {
        before.raw(key, key.as_bytes());
    }
    for form in FORMS {
        let migration = before.migrate(form);
        let known = Metadata::small().migrate(form);
        assert_eq!(migration.findings, known.findings);
        let after = before.after(&migration);
        for key in keys {
            assert_ne!(Family::of(key.as_bytes()), Family::Other, "{key}");
            assert_eq!(after[key], key.as_bytes(), "{form}");
        }
    }
}

#[test]
fn an_error_in_the_source_is_returned() {
    let migration = Metadata::small().migrate(Split);
    let broken = std::iter::once(Err::<Entry, _>("cut off"));
    let image: Vec<_> = migration.apply(broken).collect();
    assert_eq!(image.iter().filter(|entry| entry.is_err()).count(), 1);
}

#[test]
fn an_existing_staged_key_is_listed_once() {
    let mut before = Metadata::small();
    let migration = before.migrate(Split);
    let expected = before.after(&migration);
    let staged: Vec<_> = migration.staged().collect();
    for put in &staged {
        let key = root().strip(&put.key).unwrap().to_vec();
        before.raw(std::str::from_utf8(&key).unwrap(), &put.value);
    }
    // The key is not written again.
    let again = before.migrate(Split);
    assert!(again.staged_count < migration.staged_count);
    assert_eq!(before.after(&again), expected);
}

#[test]
fn the_plan_counts_what_happens_to_each_family() {
    let before = Metadata::small();
    let figures = |form| {
        let plan = before.migrate(form).plan(Layout::V2_1, 42);
        assert_eq!((plan.layout, plan.revision), (Layout::V2_1, 42));
        assert_eq!(
            plan.put,
            plan.families.iter().map(|family| family.put).sum::<u64>()
        );
        let rows = plan.families.iter();
        rows.map(|it| (it.name.clone(), it.read, it.put, it.rewrite, it.delete))
            .collect::<Vec<_>>()
    };
    let row =
        |name: &str, read, put, rewrite, delete| (name.to_owned(), read, put, rewrite, delete);
    assert_eq!(
        figures(Split),
        [
            row("datacoord-meta/s", 1, 0, 0, 0),
            row("field-index", 0, 1, 0, 0),
            row("indexes", 1, 0, 0, 1),
            row("queryCoord-ReplicaMeta", 1, 0, 0, 1),
            row("queryCoord-collectionMeta", 1, 0, 0, 1),
            row("querycoord-collection-loadinfo", 0, 1, 0, 0),
            row("querycoord-replica", 0, 1, 0, 0),
            row("root-coord/aliases", 0, 1, 0, 0),
            row("root-coord/collection-alias", 1, 0, 0, 1),
            row("root-coord/collection", 1, 0, 1, 0),
            row("root-coord/dd-operation", 1, 0, 0, 1),
            row("root-coord/fields", 0, 4, 0, 0),
            row("root-coord/index", 1, 0, 0, 1),
            row("root-coord/partitions", 0, 1, 0, 0),
            row("root-coord/segment-index", 2, 0, 0, 2),
            row("segment-index", 0, 2, 0, 0),
            row("snapshots/root-coord/aliases", 0, 1, 0, 0),
            row("snapshots/root-coord/collection-alias", 1, 0, 0, 1),
            row("snapshots/root-coord/collection", 1, 0, 1, 0),
            row("snapshots/root-coord/fields", 0, 4, 0, 0),
            row("snapshots/root-coord/partitions", 0, 1, 0, 0),
        ]
    );
    let database = figures(Database);
    assert!(database.contains(&row("root-coord/collection", 1, 0, 0, 1)));
    assert!(database.contains(&row("root-coord/database/db-info", 0, 1, 0, 0)));
    // The snapshot has no list of indexes to remove.
    let embedded = figures(Embedded);
    assert!(embedded.contains(&row("snapshots/root-coord/collection", 1, 0, 0, 0)));
}

#[test]
fn the_digest_distinguishes_forms_and_contents() {
    let digests: Vec<_> = FORMS
        .iter()
        .map(|form| Metadata::small().migrate(*form).digest.clone())
        .collect();
    assert_ne!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    let mut other = Metadata::small();
    other.remove("queryCoord-collectionMeta/1");
    assert_ne!(other.migrate(Split).digest, digests[0]);
    assert_eq!(Metadata::small().migrate(Split).digest, digests[0]);
    assert_eq!(digests[0].len(), 64);
}

#[test]
fn a_pending_operation_is_reported() {
    let key = "root-coord/dd-operation";
    let findings = |sent: &[u8], operation: &[u8]| -> Vec<String> {
        let mut before = Metadata::small();
        before.raw("root-coord/dd-msg-send", sent);
        before.raw(key, operation);
        let migration = before.migrate(Split);
        let findings = migration.findings.iter();
        let pending = findings.filter(|finding| finding.code == "pending-operation");
        pending
            .map(|finding| {
                assert_eq!(finding.severity, Severity::Notice);
                assert_eq!(finding.key, format!("by-dev/meta/{key}"));
                finding.message.clone()
            })
            .collect()
    };
    let dropped = br#"{"body":"CNCA","type":"DropCollection"}"#;
    let reported = findings(b"false", dropped);
    assert_eq!(reported.len(), 1);
    assert!(reported[0].contains("(DropCollection)"), "{reported:?}");
    assert!(findings(b"false", b"{}")[0].contains("type cannot be read"));
    assert!(findings(b"true", dropped).is_empty());
    assert!(findings(b"false", TOMBSTONE).is_empty());
}
