//! Incomplete metadata: leftovers of an interrupted official run (D1), and collections in a form
//! that later releases empty.

use milvus_meta::finding::Severity;
use milvus_meta::proto::v2_1::data;
use milvus_meta::transform::CollectionForm::{Database, Split};
use milvus_meta::transform::Migration;
use prost::Message as _;

use super::FORMS;
use super::collections::{PLAIN, snapshot};
use crate::support::metadata::{CREATED, Metadata, collection, has, segment};

/// The families of indexes and aliases, and the last DDL operation on collections.
const INDEXES_AND_ALIASES: [&str; 6] = [
    "root-coord/index/",
    "root-coord/segment-index/",
    "indexes/",
    "root-coord/collection-alias/",
    "snapshots/root-coord/collection-alias/",
    "root-coord/dd-operation",
];

#[test]
fn d1_segments_without_any_collection_are_an_error() {
    let before = Metadata::after_an_interrupted_official_run();
    for form in FORMS {
        for migration in [before.migrate(form), before.skip(form)] {
            assert!(has(&migration, Severity::Error, "collections-missing", ""));
        }
        let migration = before.migrate(form);
        let finding = migration
            .findings
            .iter()
            .find(|finding| finding.code == "collections-missing");
        let message = &finding.unwrap().message;
        assert!(
            message.starts_with("1 segment with 12 rows, 1 load state and 0 watched channels"),
            "{message}"
        );
        assert!(message.contains("1 collection ") && message.contains("1 (1 segment)"));
    }
}

#[test]
fn collections_dropped_by_2_1_are_not_missing() {
    for key in [PLAIN.to_owned(), snapshot(9)] {
        let mut before = Metadata::after_an_interrupted_official_run();
        before.drop(&key);
        for form in FORMS {
            let migration = before.migrate(form);
            assert!(!mentions(&migration, "collections-missing"), "{key}");
        }
    }
}

#[test]
fn a_dropped_segment_needs_no_collection() {
    const DROPPED: i32 = 6;
    let mut before = Metadata::after_an_interrupted_official_run();
    before.remove_below(&["queryCoord-"]);
    let mut dropped = segment(51, 12);
    dropped.state = DROPPED;
    before.put("datacoord-meta/s/1/10/51", &dropped);
    for form in FORMS {
        assert!(!mentions(&before.migrate(form), "collections-missing"));
    }
    // The rows of a segment without a row count may be in the message queue.
    before.put("datacoord-meta/s/1/10/51", &segment(51, 0));
    assert!(mentions(&before.migrate(Split), "collections-missing"));
}

#[test]
fn each_reference_to_a_missing_collection_is_an_error() {
    for (key, value) in [
        ("datacoord-meta/s/9/90/99", segment_of(9).encode_to_vec()),
        ("queryCoord-collectionMeta/9", b"\x08\x09".to_vec()),
        ("channelwatch/3/by-dev-rootcoord-dml_0_9v0", Vec::new()),
    ] {
        let mut before = Metadata::small();
        before.raw(key, &value);
        let migration = before.migrate(Database);
        assert!(
            has(&migration, Severity::Error, "collections-missing", ""),
            "{key}"
        );
        before.drop("root-coord/collection/9");
        let migration = before.migrate(Database);
        assert!(
            !mentions(&migration, "collections-missing"),
            "{key}: dropped"
        );
    }
}

#[test]
fn a_collection_with_a_live_snapshot_alone_is_missing() {
    let mut before = Metadata::small();
    before.put("datacoord-meta/s/9/90/99", &segment_of(9));
    before.put(&snapshot_of(9, 1), &collection(9));
    assert!(mentions(&before.migrate(Database), "collections-missing"));
    before.drop(&snapshot_of(9, 2));
    assert!(!mentions(&before.migrate(Database), "collections-missing"));
}

#[test]
fn a_segment_of_an_unknown_partition_is_an_error() {
    let mut before = Metadata::small();
    let mut orphan = segment(77, 5);
    orphan.partition_id = 11;
    before.put("datacoord-meta/s/1/11/77", &orphan);
    let migration = before.migrate(Database);
    assert!(has(&migration, Severity::Error, "partitions-missing", ""));
    // A dropped partition is in the history.
    let mut first = collection(1);
    first.partition_i_ds.push(11);
    first.partition_names.push("gone".into());
    first.partition_created_timestamps.push(CREATED);
    first.field_indexes.clear();
    before.put(&snapshot_of(1, 0), &first);
    before.put(&snapshot_of(1, 3), &{
        let mut second = collection(1);
        second.field_indexes.clear();
        second
    });
    assert!(!mentions(&before.migrate(Database), "partitions-missing"));
}

fn snapshot_of(id: i64, offset: u64) -> String {
    format!(
        "snapshots/root-coord/collection/{id}_ts{}",
        CREATED + offset
    )
}

fn segment_of(collection: i64) -> data::SegmentInfo {
    data::SegmentInfo {
        id: 99,
        collection_id: collection,
        partition_id: 90,
        num_of_rows: 3,
        ..Default::default()
    }
}

#[test]
fn d1_collections_without_indexes_are_rejected() {
    let mut before = Metadata::small();
    before.remove_below(&INDEXES_AND_ALIASES);
    before.change_collection(|record| record.field_indexes.clear());
    for form in FORMS {
        let migration = before.migrate(form);
        assert!(has(&migration, Severity::Error, "indexes-missing", ""));
        let migration = before.skip(form);
        assert!(has(&migration, Severity::Warning, "indexes-missing", ""));
        assert!(!migration.has_errors());
    }
}

#[test]
fn one_index_key_shows_that_none_was_deleted() {
    for key in ["root-coord/dd-operation", "root-coord/collection-alias/old"] {
        let mut before = Metadata::small();
        before.remove_below(&INDEXES_AND_ALIASES);
        before.change_collection(|record| record.field_indexes.clear());
        before.drop(key);
        assert!(
            !mentions(&before.migrate(Split), "indexes-missing"),
            "{key}"
        );
    }
    let mut before = Metadata::small();
    before.remove_below(&INDEXES_AND_ALIASES);
    before.remove_below(&["datacoord-meta/", "queryCoord-"]);
    assert!(!mentions(&before.migrate(Split), "indexes-missing"));
}

fn mentions(migration: &Migration, code: &str) -> bool {
    let mut findings = migration.findings.iter();
    findings.any(|finding| finding.code == code)
}
