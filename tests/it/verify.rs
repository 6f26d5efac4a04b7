//! The check of a 2.2 layout: correct metadata passes, and each defect is found.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected has to fail"
)]

use std::collections::BTreeMap;

use milvus_meta::entry::Entry;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2::{etcd, index, query};
use milvus_meta::transform::CollectionForm::{self, Database, Embedded, Split};
use milvus_meta::transform::OnBrokenRecord;
use milvus_meta::verify::Checker;
use prost::Message;

use crate::golden;
use crate::support::metadata::{CREATED, Metadata, alias, migrate_to, root, segment};

mod complete;
mod snapshots;

fn check(image: &BTreeMap<String, Vec<u8>>) -> Vec<Finding> {
    let mut checker = Checker::new(root());
    for (key, value) in image {
        checker.push(&Entry::new(root().join(key.as_bytes()), value.clone()));
    }
    checker.finish()
}

fn errors(findings: &[Finding]) -> Vec<(String, String)> {
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| {
            let key = finding.key.strip_prefix("by-dev/meta/");
            let key = key.unwrap_or(&finding.key).to_owned();
            (finding.code.clone(), key)
        })
        .collect()
}

fn migrated(form: CollectionForm) -> BTreeMap<String, Vec<u8>> {
    let mut before = Metadata::small();
    before.put("datacoord-meta/s/1/10/50", &segment(50, 5000));
    before.after(&before.migrate(form))
}

#[test]
fn the_golden_images_pass() {
    for case in golden::CASES {
        for file in ["out-split.jsonl", "out-database.jsonl"] {
            let mut checker = Checker::new(root());
            for entry in golden::entries(&golden::load(case, file)) {
                checker.push(&entry);
            }
            assert_eq!(errors(&checker.finish()), [], "{case} {file}");
        }
    }
}

#[test]
fn migrated_metadata_of_every_form_passes() {
    for form in [Split, Database] {
        assert_eq!(check(&migrated(form)), [], "{form}");
    }
    let found = check(&migrated(Embedded));
    let codes: Vec<_> = found.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["embedded-form"], "{found:?}");
}

#[test]
fn d34_defects_of_official_output_are_reported() {
    let mut checker = Checker::new(root());
    for entry in golden::entries(&golden::load("medium", "out.jsonl")) {
        checker.push(&entry);
    }
    let findings = checker.finish();
    let codes: Vec<_> = findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert!(codes.contains(&"shared-build"), "{codes:?}");
    assert!(codes.contains(&"leftover"));
}

#[test]
fn metadata_written_by_2_2_passes() {
    let mut image = migrated(Database);
    // A collection that is being created, and a partition that 2.2.16 dropped from an embedded one.
    let creating = etcd::CollectionInfo {
        id: 5,
        schema: Some(Default::default()),
        state: 1,
        db_id: 1,
        ..Default::default()
    };
    for key in [
        "root-coord/database/collection-info/1/5".to_owned(),
        format!("snapshots/root-coord/database/collection-info/1/5_ts{CREATED}"),
    ] {
        image.insert(key, creating.encode_to_vec());
    }
    image.insert("root-coord/partitions/0/9".into(), TOMBSTONE.to_vec());
    image.insert(
        "snapshots/root-coord/partitions/0/9_ts4".into(),
        TOMBSTONE.to_vec(),
    );
    image.insert("root-coord/collection-alias/old".into(), TOMBSTONE.to_vec());
    image.insert("root-coord/credential/roles/admin".into(), Vec::new());
    let findings = check(&image);
    assert_eq!(errors(&findings), []);
    assert_eq!(
        findings.len(),
        1,
        "the tombstone of 2.1 is a leftover: {findings:?}"
    );
}

/// Removes a key and returns the resulting errors.
#[track_caller]
fn without(form: CollectionForm, key: &str) -> Vec<(String, String)> {
    let mut image = migrated(form);
    assert!(image.remove(key).is_some(), "{key} is missing");
    errors(&check(&image))
}

fn expected(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let list = list.iter();
    list.map(|(code, key)| ((*code).to_owned(), (*key).to_owned()))
        .collect()
}

#[test]
fn each_missing_key_is_found() {
    let snapshot = |of: &str| format!("snapshots/root-coord/{of}_ts{CREATED}");
    assert_eq!(
        without(Split, &snapshot("collection/1")),
        expected(&[("snapshot-missing", "root-coord/collection/1")])
    );
    assert_eq!(
        without(Split, &snapshot("fields/1/101")),
        expected(&[("snapshot-missing", "root-coord/fields/1/101")])
    );
    let alias = format!("snapshots/root-coord/aliases/books_ts{}", CREATED + 5);
    assert_eq!(
        without(Split, &alias),
        expected(&[("snapshot-missing", "root-coord/aliases/books")])
    );
    assert_eq!(
        without(Split, "field-index/1/7"),
        expected(&[("orphan", "segment-index/1/10/50/90")])
    );
    assert_eq!(
        without(Split, "querycoord-replica/1/30"),
        expected(&[("replica-missing", "querycoord-collection-loadinfo/1")])
    );
    let found = without(Split, "root-coord/partitions/1/10");
    assert!(found.contains(&(
        "collection-without-parts".to_owned(),
        "root-coord/collection/1".to_owned()
    )));
    let found = without(Database, "root-coord/database/db-info/1");
    assert!(found.contains(&(
        "database-missing".to_owned(),
        "root-coord/database/db-info/1".to_owned()
    )));
    let found = without(Split, "root-coord/collection/1");
    for (code, key) in [
        ("snapshot-contradicts", snapshot("collection/1")),
        ("orphan", "root-coord/partitions/1/10".to_owned()),
        ("orphan", "field-index/1/7".to_owned()),
        ("orphan", "querycoord-collection-loadinfo/1".to_owned()),
    ] {
        assert!(
            found.contains(&(code.to_owned(), key.clone())),
            "{code} {key}: {found:?}"
        );
    }
}

#[track_caller]
fn with(form: CollectionForm, key: &str, value: &[u8], code: &str) {
    let mut image = migrated(form);
    image.insert(key.to_owned(), value.to_vec());
    let found = errors(&check(&image));
    assert!(
        found.contains(&(code.to_owned(), key.to_owned())),
        "{code} {key}: {found:?}"
    );
}

#[test]
fn each_wrong_key_is_found() {
    with(
        Split,
        "root-coord/aliases/gone",
        TOMBSTONE,
        "lone-tombstone",
    );
    with(
        Split,
        "root-coord/partitions/1/99",
        TOMBSTONE,
        "lone-tombstone",
    );
    let old = alias("a", 1).encode_to_vec();
    with(Split, "root-coord/collection-alias/a", &old, "legacy-alias");
    let half = etcd::CollectionInfo {
        id: 1,
        schema: Some(Default::default()),
        partition_i_ds: vec![10],
        partition_names: vec!["_default".into()],
        partition_created_timestamps: vec![CREATED],
        ..Default::default()
    };
    with(
        Split,
        "root-coord/collection/1",
        &half.encode_to_vec(),
        "half-split-collection",
    );
    for key in [
        "root-coord/collection/1",
        "root-coord/partitions/1/10",
        "root-coord/fields/1/100",
        "root-coord/aliases/books",
        "field-index/1/7",
        "segment-index/1/10/50/90",
        "querycoord-collection-loadinfo/1",
        "querycoord-replica/1/30",
    ] {
        with(Split, key, b"\x08", "undecodable-value");
    }
}

#[test]
fn t15_mixed_load_state_forms_are_rejected() {
    let mut before = Metadata::small();
    before.put("datacoord-meta/s/1/10/50", &segment(50, 5000));
    let migration = migrate_to(&before.list(), Database, OnBrokenRecord::Fail, "2.4.24");
    let image = before.after(&migration);
    let codes = |image: &BTreeMap<String, Vec<u8>>| {
        let findings = check(image).into_iter();
        findings.map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert!(codes(&image).is_empty());
    let mut without = image.clone();
    without
        .remove("querycoord-partition-loadinfo/1/10")
        .unwrap();
    assert_eq!(codes(&without), ["mixed-load-info"]);
    let mut untyped = migrated(Database);
    let partition = "querycoord-partition-loadinfo/1/10";
    untyped.insert(partition.into(), image[partition].clone());
    assert_eq!(codes(&untyped), ["mixed-load-info"]);
}

#[test]
fn records_that_2_2_would_drop_are_found() {
    let load = |status, replica_number| {
        query::CollectionLoadInfo {
            collection_id: 1,
            status,
            replica_number,
            ..Default::default()
        }
        .encode_to_vec()
    };
    let key = "querycoord-collection-loadinfo/1";
    with(Split, key, &load(0, 1), "bad-load-info");
    with(Split, key, &load(2, 0), "bad-load-info");
    let segment = index::SegmentIndex {
        collection_id: 1,
        partition_id: 10,
        segment_id: 52,
        index_id: 7,
        build_id: 90,
        ..Default::default()
    };
    let value = segment.encode_to_vec();
    with(Split, "segment-index/1/10/52/90", &value, "shared-build");
    with(Split, "segment-index/1/10/53/91", &value, "id-mismatch");
    let elsewhere = index::FieldIndex {
        index_info: Some(index::IndexInfo {
            collection_id: 1,
            field_id: 555,
            index_id: 8,
            ..Default::default()
        }),
        ..Default::default()
    };
    with(
        Split,
        "field-index/1/8",
        &elsewhere.encode_to_vec(),
        "index-field-missing",
    );
    let record = migrated(Split)["root-coord/collection/1"].clone();
    with(Split, "root-coord/collection/2", &record, "id-mismatch");
}

#[test]
fn the_newest_snapshot_must_match_the_plain_key() {
    let later = CREATED + 100;
    for key in [
        "collection/1",
        "partitions/1/10",
        "fields/1/101",
        "aliases/books",
    ] {
        let mut image = migrated(Split);
        let snapshot = format!("snapshots/root-coord/{key}_ts{later}");
        image.insert(snapshot, TOMBSTONE.to_vec());
        assert_eq!(
            errors(&check(&image)),
            expected(&[("snapshot-contradicts", &format!("root-coord/{key}"))])
        );
    }
}

fn legacy_snapshot(offset: u64) -> String {
    let at = CREATED + offset;
    format!("snapshots/root-coord/collection-alias/old_ts{at}")
}

/// The codes of all findings on 2.1 aliases.
fn legacy(image: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let findings = check(image).into_iter();
    let old = findings.filter(|finding| finding.key.contains("collection-alias"));
    old.map(|finding| finding.code).collect()
}

#[test]
fn a_2_1_alias_live_in_its_newest_snapshot_is_found() {
    let live = alias("old", 1).encode_to_vec();
    for plain in [None, Some(TOMBSTONE)] {
        let mut image = migrated(Split);
        if let Some(plain) = plain {
            image.insert("root-coord/collection-alias/old".into(), plain.to_vec());
        }
        image.insert(legacy_snapshot(1), TOMBSTONE.to_vec());
        image.insert(legacy_snapshot(2), live.clone());
        let findings = check(&image);
        assert_eq!(
            errors(&findings),
            expected(&[("legacy-alias", &legacy_snapshot(2))])
        );
        let in_history = |finding: &&Finding| finding.key.contains("snapshots/");
        let found_count = findings.iter().filter(in_history).count();
        assert_eq!(found_count, 1, "Milvus 2.2 does use them: {findings:?}");
    }
}

#[test]
fn a_live_2_1_alias_is_reported_once() {
    let live = alias("old", 1).encode_to_vec();
    let mut image = migrated(Split);
    image.insert("root-coord/collection-alias/old".into(), live.clone());
    image.insert(legacy_snapshot(2), live);
    assert_eq!(legacy(&image), ["legacy-alias"]);
}

#[test]
fn a_2_1_alias_with_a_newest_tombstone_is_a_leftover() {
    let mut image = migrated(Split);
    image.insert(legacy_snapshot(1), alias("old", 1).encode_to_vec());
    image.insert(legacy_snapshot(2), TOMBSTONE.to_vec());
    assert_eq!(legacy(&image), ["leftover"]);
}

#[test]
fn replicas_of_2_1_are_a_warning() {
    let mut image = migrated(Split);
    let replica = crate::support::metadata::replica(30, 1).encode_to_vec();
    image.insert("queryCoord-ReplicaMeta/30".into(), replica.clone());
    image.insert("queryCoord-ReplicaMeta/31".into(), replica);
    let found = check(&image);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].code, "legacy-replica");
    assert_eq!(found[0].key, "by-dev/meta/queryCoord-ReplicaMeta/30");
}
