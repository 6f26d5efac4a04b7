//! T1, T2, T9, T10, D33, D47.

use milvus_meta::finding::Severity;
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2::etcd;
use milvus_meta::transform::CollectionForm::{Database, Embedded, Split};
use milvus_meta::transform::{OnBrokenRecord, remaining_after_commit};
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{CREATED, Metadata, collection, has, migrate_to, root};

pub(super) const PLAIN: &str = "root-coord/collection/1";

pub(super) fn snapshot(offset: u64) -> String {
    format!("snapshots/root-coord/collection/1_ts{}", CREATED + offset)
}

pub(super) fn split_record(database: i64) -> Vec<u8> {
    let embedded = collection(1);
    let mut record = etcd::CollectionInfo::decode(embedded.encode_to_vec().as_slice()).unwrap();
    record.field_indexes.clear();
    record.partition_i_ds.clear();
    record.partition_names.clear();
    record.partition_created_timestamps.clear();
    record.schema.as_mut().unwrap().fields.clear();
    record.db_id = database;
    record.encode_to_vec()
}

fn partition_record() -> Vec<u8> {
    etcd::PartitionInfo {
        partition_id: 10,
        partition_name: "_default".into(),
        partition_created_timestamp: CREATED,
        collection_id: 1,
        state: 0,
    }
    .encode_to_vec()
}

#[test]
fn t2_the_split_form_separates_partitions_and_fields() {
    let before = Metadata::small();
    let after = before.after(&before.migrate(Split));
    assert_eq!(after[PLAIN], split_record(0));
    assert_eq!(after[&snapshot(0)], split_record(0));
    assert_eq!(after["root-coord/partitions/1/10"], partition_record());
    let key = format!("snapshots/root-coord/partitions/1/10_ts{CREATED}");
    assert_eq!(after[&key], partition_record());
    for field in &collection(1).schema.unwrap().fields {
        let id = field.field_id;
        assert_eq!(
            after[&format!("root-coord/fields/1/{id}")],
            field.encode_to_vec()
        );
        let key = format!("snapshots/root-coord/fields/1/{id}_ts{CREATED}");
        assert_eq!(after[&key], field.encode_to_vec());
    }
    assert!(!after.keys().any(|key| key.contains("database")));
}

#[test]
fn t2b_the_database_form_writes_the_database() {
    let before = Metadata::small();
    let after = before.after(&before.migrate(Database));
    assert_eq!(
        after["root-coord/database/collection-info/1/1"],
        split_record(1)
    );
    let key = format!("snapshots/root-coord/database/collection-info/1/1_ts{CREATED}");
    assert_eq!(after[&key], split_record(1));
    let database = etcd::DatabaseInfo {
        tenant_id: String::new(),
        name: "default".into(),
        id: 1,
        state: 1,
        created_time: 1_660_000_000_000 * 1_000_000,
    }
    .encode_to_vec();
    assert_eq!(after["root-coord/database/db-info/1"], database);
    let key = format!("snapshots/root-coord/database/db-info/1_ts{CREATED}");
    assert_eq!(after[&key], database);
    assert!(
        !after
            .keys()
            .any(|key| key.contains("root-coord/collection"))
    );
}

#[test]
fn t2b_without_a_collection_there_is_no_database() {
    let mut before = Metadata::default();
    before.drop(PLAIN);
    before.drop(&snapshot(3));
    let after = before.after(&before.migrate(Database));
    assert!(!after.keys().any(|key| key.contains("db-info")));
}

#[test]
fn the_embedded_form_drops_only_the_index_list() {
    let before = Metadata::small();
    let after = before.after(&before.migrate(Embedded));
    let mut expected = collection(1);
    expected.field_indexes.clear();
    assert_eq!(after[PLAIN], expected.encode_to_vec());
    assert!(
        !after
            .keys()
            .any(|key| key.contains("root-coord/partitions"))
    );
}

#[test]
fn t2_a_collection_without_snapshot_gets_one() {
    let mut before = Metadata::small();
    before.remove(&snapshot(0));
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(after[&snapshot(0)], split_record(0));
    assert_eq!(migration.history.len(), 1);
    let key = format!("snapshots/root-coord/partitions/1/10_ts{CREATED}");
    assert_eq!(after[&key], partition_record());
    assert!(has(&migration, Severity::Notice, "snapshot-missing", PLAIN));

    let migration = before.migrate(Database);
    assert!(migration.history.is_empty());
    let key = format!("snapshots/root-coord/database/collection-info/1/1_ts{CREATED}");
    assert_eq!(before.after(&migration)[&key], split_record(1));

    let migration = before.migrate(Embedded);
    assert!(migration.history.is_empty());
    assert!(has(
        &migration,
        Severity::Warning,
        "history-not-repaired",
        PLAIN
    ));
}

#[test]
fn t2_a_plain_key_wins_over_a_newer_tombstone() {
    let mut before = Metadata::small();
    before.drop(&snapshot(20));
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(after[&snapshot(21)], split_record(0));
    let at = |offset: u64| {
        format!(
            "snapshots/root-coord/partitions/1/10_ts{}",
            CREATED + offset
        )
    };
    assert_eq!(after[&at(0)], partition_record());
    assert_eq!(after[&at(20)], TOMBSTONE);
    assert_eq!(after[&at(21)], partition_record());
    assert_eq!(after["root-coord/partitions/1/10"], partition_record());
    assert!(has(
        &migration,
        Severity::Warning,
        "snapshot-contradicts",
        PLAIN
    ));
}

#[test]
fn t2_a_dead_plain_key_wins_over_a_live_snapshot() {
    for plain_is_there in [true, false] {
        let mut before = Metadata::small();
        if plain_is_there {
            before.drop(PLAIN);
        } else {
            before.remove(PLAIN);
        }
        let migration = before.migrate(Split);
        let after = before.after(&migration);
        assert_eq!(after[&snapshot(1)], TOMBSTONE);
        assert_eq!(after.contains_key(PLAIN), plain_is_there);
        assert_eq!(after["root-coord/partitions/1/10"], TOMBSTONE);
        let deleted = format!("snapshots/root-coord/partitions/1/10_ts{}", CREATED + 1);
        assert_eq!(after[&deleted], TOMBSTONE);
        assert!(has(
            &migration,
            Severity::Warning,
            "snapshot-contradicts",
            PLAIN
        ));
    }
}

#[test]
fn t2_partitions_get_the_history_of_the_collection() {
    let mut before = Metadata::small();
    let with = |partitions: &[(i64, &str)]| {
        let mut record = collection(1);
        record.field_indexes.clear();
        for (id, name) in partitions {
            record.partition_i_ds.push(*id);
            record.partition_names.push((*name).into());
            record.partition_created_timestamps.push(CREATED + 10);
        }
        record
    };
    before.put(&snapshot(10), &with(&[(11, "a")]));
    before.put(&snapshot(20), &with(&[]));
    let after = before.after(&before.migrate(Split));
    let at = |offset: u64| {
        format!(
            "snapshots/root-coord/partitions/1/11_ts{}",
            CREATED + offset
        )
    };
    assert!(after.contains_key(&at(10)));
    assert_eq!(after[&at(20)], TOMBSTONE);
    assert_eq!(after["root-coord/partitions/1/11"], TOMBSTONE);
    let of_default = "snapshots/root-coord/partitions/1/10_ts";
    assert_eq!(
        after
            .keys()
            .filter(|key| key.starts_with(of_default))
            .count(),
        1
    );
}

#[test]
fn d33_the_index_list_comes_from_the_plain_record() {
    // Only the plain record names an index, which is written.
    let before = Metadata::small();
    let after = before.after(&before.migrate(Split));
    assert!(after.contains_key("field-index/1/7"));
}

#[test]
fn t10_a_tombstone_without_snapshot_never_moves() {
    let mut before = Metadata::small();
    before.drop("root-coord/collection/2");
    let after = before.after(&before.migrate(Split));
    assert_eq!(after["root-coord/collection/2"], TOMBSTONE);
    let after = before.after(&before.migrate(Database));
    assert!(!after.keys().any(|key| key.contains("collection-info/1/2")));
}

#[test]
fn t9_a_snapshot_without_timestamp_is_kept() {
    for form in FORMS {
        let mut before = Metadata::small();
        let without_timestamp = "snapshots/root-coord/collection/1_tsx";
        before.raw(without_timestamp, b"whatever");
        let migration = before.migrate(form);
        assert_eq!(before.after(&migration)[without_timestamp], b"whatever");
        assert!(has(
            &migration,
            Severity::Warning,
            "snapshot-without-timestamp",
            without_timestamp
        ));
        assert!(!migration.has_errors());
    }
}

#[test]
fn unknown_fields_are_reported_and_kept() {
    let mut before = Metadata::small();
    let mut value = collection(1).encode_to_vec();
    value.extend_from_slice(b"\xba\x06\x03xyz");
    before.raw(PLAIN, &value);
    for form in FORMS {
        let migration = before.migrate(form);
        assert!(has(&migration, Severity::Warning, "unknown-field", PLAIN));
        let after = before.after(&migration);
        let record = after
            .get(PLAIN)
            .unwrap_or_else(|| &after["root-coord/database/collection-info/1/1"]);
        assert!(
            record.windows(6).any(|bytes| bytes == b"\xba\x06\x03xyz"),
            "{form}"
        );
    }
}

#[test]
fn unknown_fields_of_a_field_schema_are_moved() {
    let mut before = Metadata::small();
    let mut field = crate::support::metadata::field(101, "vector", 101).encode_to_vec();
    field.extend_from_slice(b"\xba\x06\x03xyz");
    let mut schema = b"\x0a\x01c\x22".to_vec();
    schema.push(u8::try_from(field.len()).unwrap());
    schema.extend_from_slice(&field);
    let mut record = collection(1);
    record.schema = None;
    let mut value = record.encode_to_vec();
    value.extend_from_slice(&[0x12, u8::try_from(schema.len()).unwrap()]);
    value.extend_from_slice(&schema);
    before.raw(PLAIN, &value);
    before.raw(&snapshot(0), &value);
    let migration = before.migrate(Split);
    assert_eq!(before.after(&migration)["root-coord/fields/1/101"], field);
    assert!(has(&migration, Severity::Warning, "unknown-field", PLAIN));
}

#[test]
fn t1_each_form_is_correct_for_its_target() {
    let entries = Metadata::small().list();
    let run = |form, target| migrate_to(&entries, form, OnBrokenRecord::Fail, target);
    assert!(has(
        &run(Split, "2.2.8"),
        Severity::Notice,
        "target-before-2.2.9",
        ""
    ));
    assert!(has(
        &run(Split, "2.2.9"),
        Severity::Warning,
        "split-form",
        ""
    ));
    assert!(has(
        &run(Embedded, "2.2.0"),
        Severity::Warning,
        "embedded-form",
        ""
    ));
    let database = run(Database, "2.2.9");
    assert!(
        database
            .findings
            .iter()
            .all(|finding| !finding.key.is_empty())
    );
}

#[test]
fn a_resume_after_the_commit_finishes_the_rest() {
    for form in [Split, Embedded] {
        let mut before = Metadata::small();
        before.remove(&snapshot(0));
        let migration = before.migrate(form);
        let remaining = remaining_after_commit(&root(), form, OnBrokenRecord::Fail, &before.list());
        assert_eq!(remaining.rewrites, migration.rewrites);
        assert_eq!(remaining.history, migration.history);
        let mut done = before.clone();
        done.entries = before.after(&migration);
        let rest = remaining_after_commit(&root(), form, OnBrokenRecord::Fail, &done.list());
        assert_eq!(rest, milvus_meta::transform::Remaining::default(), "{form}");
    }
}
