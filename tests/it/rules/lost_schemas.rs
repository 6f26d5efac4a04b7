//! Collections that lost their fields and partitions: what a repair restores, its sources, and what
//! it rejects.
//!
//! The damaged states are those of the catalog code of Milvus: an alteration on 2.2.0 to 2.2.8
//! writes the record in place, a rename on 2.2.9 and later moves it into the database, and 2.3.18,
//! 2.4.5 and later move it at the largest timestamp.

use std::collections::BTreeSet;
use std::sync::Arc;

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{MetaRoot, TOMBSTONE};
use milvus_meta::proto::{v2_1, v2_2};
use milvus_meta::transform::{CollectionForm, Migration, SchemaSource};
use prost::Message as _;

use super::repair::{Image, apply, errors, official, put, repair, repair_with};
use crate::support::metadata::{CREATED, Metadata, codes, collection, root, segment};

/// The time of the alteration.
const ALTERED: u64 = CREATED + 1_000;
const IN_PLACE: &str = "root-coord/collection/1";
const IN_DATABASE: &str = "root-coord/database/collection-info/1/1";

/// How a collection lost its fields and partitions.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    /// Altered on 2.2.0 to 2.2.8.
    InPlace,
    /// Renamed on 2.2.9 or later.
    Renamed,
    /// Started on 2.3.18, 2.4.5 or later.
    Started,
}

pub(crate) const ALL: [Damage; 3] = [Damage::InPlace, Damage::Renamed, Damage::Started];

/// Two partitions: `_default` (10) and `second` (11).
pub(crate) fn metadata() -> Metadata {
    let mut metadata = Metadata::small();
    metadata.change_collection(|record| {
        record.partition_i_ds.push(11);
        record.partition_names.push("second".into());
        record.partition_created_timestamps.push(CREATED + 7);
    });
    metadata
}

fn get(image: &Image, key: &str) -> Option<Vec<u8>> {
    image.get(&root().join(key.as_bytes())).cloned()
}

/// The record as an alteration writes it: without fields and partitions.
fn altered(record: &[u8], name: &str, database: i64) -> Vec<u8> {
    let mut record = v2_2::etcd::CollectionInfo::decode(record).unwrap();
    record.partition_i_ds.clear();
    record.partition_names.clear();
    record.partition_created_timestamps.clear();
    record.db_id = database;
    let schema = record.schema.as_mut().unwrap();
    schema.fields.clear();
    schema.name = name.into();
    record.encode_to_vec()
}

pub(crate) fn damage(image: &mut Image, how: Damage) {
    let record = get(image, IN_PLACE).unwrap();
    let name = v2_2::etcd::CollectionInfo::decode(record.as_slice()).unwrap();
    let name = name.schema.unwrap().name;
    let (new, time) = match how {
        Damage::InPlace => {
            let value = altered(&record, &name, 0);
            put(image, IN_PLACE, value.clone());
            put(image, &format!("snapshots/{IN_PLACE}_ts{ALTERED}"), value);
            return;
        }
        Damage::Renamed => (altered(&record, "renamed", 1), ALTERED),
        Damage::Started => (altered(&record, &name, 1), u64::MAX),
    };
    put(image, IN_PLACE, TOMBSTONE.to_vec());
    put(
        image,
        &format!("snapshots/{IN_PLACE}_ts{time}"),
        TOMBSTONE.to_vec(),
    );
    put(image, IN_DATABASE, new.clone());
    put(image, &format!("snapshots/{IN_DATABASE}_ts{time}"), new);
    let database = v2_2::etcd::DatabaseInfo {
        name: "default".into(),
        id: 1,
        state: 1,
        ..Default::default()
    };
    put(
        image,
        "root-coord/database/db-info/1",
        database.encode_to_vec(),
    );
    put(
        image,
        "snapshots/root-coord/database/db-info/1_ts9",
        database.encode_to_vec(),
    );
}

pub(crate) fn damaged(how: Damage) -> Image {
    let mut image = official(&metadata());
    damage(&mut image, how);
    image
}

/// Removes the snapshots of the collection's children, as the garbage collection of 2.3 does.
pub(crate) fn without_history(how: Damage) -> Image {
    let mut image = damaged(how);
    image.retain(|key, value| {
        let is_snapshot = String::from_utf8_lossy(key).contains("snapshots/root-coord/collection/");
        let record = v2_2::etcd::CollectionInfo::decode(value.as_slice());
        let is_embedded = record.is_ok_and(|record| !record.partition_i_ds.is_empty());
        !(is_snapshot && is_embedded)
    });
    image
}

/// Partitions and fields with their values; snapshots without the timestamp in the key.
fn children(image: &Image) -> BTreeSet<(String, Vec<u8>)> {
    let entries = image.iter().map(|(key, value)| {
        let key = String::from_utf8(root().strip(key).unwrap().to_vec()).unwrap();
        let object = key.split("_ts").next().unwrap().to_owned();
        (object, value.clone())
    });
    let is_child =
        |key: &str| key.contains("root-coord/partitions/") || key.contains("root-coord/fields/");
    entries.filter(|(key, _)| is_child(key)).collect()
}

/// The result of a migration to separate keys.
fn expected() -> BTreeSet<(String, Vec<u8>)> {
    let metadata = metadata();
    let after = metadata.after(&metadata.migrate(CollectionForm::Database));
    children(
        &after
            .into_iter()
            .map(|(key, value)| (root().join(key.as_bytes()), value))
            .collect(),
    )
}

/// The message of the only finding with this code.
fn message(migration: &Migration, severity: Severity, code: &str) -> String {
    let found: Vec<_> = migration
        .findings
        .iter()
        .filter(|it| it.code == code)
        .collect();
    assert_eq!(found.len(), 1, "{code}: {:?}", migration.findings);
    assert_eq!(found[0].severity, severity, "{code}");
    found[0].message.clone()
}

fn assert_complete(repaired: &Image, case: &str) {
    assert_eq!(children(repaired), expected(), "{case}");
    assert_eq!(errors(repaired, "2.3.22"), Vec::<String>::new(), "{case}");
    let again = repair(repaired, "2.3.22");
    assert!(again.is_empty(), "{case}: {:?}", again.findings);
}

pub(crate) fn source(entries: impl IntoIterator<Item = Entry>) -> Arc<SchemaSource> {
    let mut source = SchemaSource::new(root(), "before.mmb");
    entries.into_iter().for_each(|entry| source.push(&entry));
    Arc::new(source)
}

#[test]
fn a_lost_schema_is_restored_from_the_snapshots() {
    for how in ALL {
        let image = damaged(how);
        assert!(!errors(&image, "2.3.22").is_empty(), "{how:?}");
        let migration = repair(&image, "2.3.22");
        assert!(!migration.has_errors(), "{how:?}: {:?}", migration.findings);
        let text = message(&migration, Severity::Notice, "schema-restored");
        let name = if matches!(how, Damage::Renamed) {
            "renamed"
        } else {
            "collection_1"
        };
        for part in [
            format!("collection {name:?} (1)"),
            CREATED.to_string(),
            "has no fields and no partitions".into(),
            "4 fields and 2 partitions".into(),
        ] {
            assert!(text.contains(&part), "{how:?}: {part} in {text}");
        }
        let repaired = apply(&migration, &image);
        assert_complete(&repaired, &format!("{how:?}"));
        if !matches!(how, Damage::InPlace) {
            assert_eq!(
                get(&repaired, IN_DATABASE),
                get(&image, IN_DATABASE),
                "{how:?}"
            );
        }
    }
}

/// Milvus 2.3.18, 2.4.5 and later freeze what is outside a database at their first start.
#[test]
fn a_restored_collection_moves_into_the_database() {
    let of = |image: &Image, key: &str| {
        let record = v2_2::etcd::CollectionInfo::decode(get(image, key)?.as_slice()).unwrap();
        Some((record.schema.unwrap().name, record.db_id))
    };
    let image = damaged(Damage::InPlace);
    let migration = repair(&image, "2.3.22");
    let text = message(&migration, Severity::Notice, "schema-restored");
    assert!(
        text.contains("moves into the database \"default\""),
        "{text}"
    );
    let repaired = apply(&migration, &image);
    let moved = Some(("collection_1".to_owned(), 1));
    assert_eq!(of(&repaired, IN_DATABASE), moved);
    for time in [CREATED, ALTERED] {
        let snapshot = format!("snapshots/{IN_DATABASE}_ts{time}");
        assert_eq!(of(&repaired, &snapshot), moved, "{time}");
    }
    assert!(get(&repaired, "root-coord/database/db-info/1").is_some());
    assert!(get(&repaired, "root-coord/database/aliases/1/books").is_some());
    for old in ["root-coord/collection/", "root-coord/aliases/"] {
        let is_old = |key: &Vec<u8>| String::from_utf8_lossy(key).contains(old);
        assert!(!repaired.keys().any(is_old), "{old}");
    }
    // Releases without databases read it where it is.
    let repaired = apply(&repair(&image, "2.2.8"), &image);
    assert_eq!(get(&repaired, IN_PLACE), get(&image, IN_PLACE));
    assert_eq!(get(&repaired, IN_DATABASE), None);
    assert_eq!(errors(&repaired, "2.2.8"), Vec::<String>::new());
}

#[test]
fn a_restored_collection_stays_if_its_name_is_taken() {
    let mut image = damaged(Damage::InPlace);
    let alias = v2_2::etcd::AliasInfo {
        alias_name: "collection_1".into(),
        collection_id: 1,
        created_time: 5,
        db_id: 1,
        ..Default::default()
    };
    let key = "root-coord/database/aliases/1/collection_1";
    put(&mut image, key, alias.encode_to_vec());
    put(
        &mut image,
        &format!("snapshots/{key}_ts5"),
        alias.encode_to_vec(),
    );
    let text = message(&repair(&image, "2.3.22"), Severity::Error, "name-taken");
    assert!(text.contains("collection \"collection_1\" (1)"), "{text}");
    assert!(text.contains(key), "{text}");
}

#[test]
fn a_lost_schema_is_restored_from_a_backup() {
    let metadata = metadata();
    let of = |form| {
        let after = metadata.after(&metadata.migrate(form)).into_iter();
        source(after.map(|(key, value)| Entry::new(root().join(key.as_bytes()), value)))
    };
    let backups = [
        ("2.1", source(metadata.list())),
        ("embedded", of(CollectionForm::Embedded)),
        ("split", of(CollectionForm::Split)),
        ("database", of(CollectionForm::Database)),
    ];
    for how in ALL {
        let image = without_history(how);
        let text = message(&repair(&image, "2.3.22"), Severity::Error, "schema-lost");
        assert!(text.contains("--from FILE"), "{text}");
        for (name, backup) in &backups {
            let migration = repair_with(&image, "2.3.22", Some(backup));
            assert!(
                !migration.has_errors(),
                "{how:?}, {name}: {:?}",
                migration.findings
            );
            let text = message(&migration, Severity::Warning, "schema-restored");
            assert!(text.contains("partitions without rows"), "{text}");
            assert!(text.contains("before.mmb"), "{text}");
            assert_complete(&apply(&migration, &image), &format!("{how:?} from {name}"));
        }
    }
}

#[test]
fn a_backup_below_another_root_restores_as_well() {
    let other = MetaRoot::new("old", "meta", "kv").unwrap();
    let mut schemas = SchemaSource::new(other.clone(), "old.bak");
    for (key, value) in metadata().entries {
        schemas.push(&Entry::new(other.join(key.as_bytes()), value));
    }
    let image = without_history(Damage::Started);
    let migration = repair_with(&image, "2.3.22", Some(&Arc::new(schemas)));
    assert_complete(&apply(&migration, &image), "another root");
}

/// The snapshots of the metadata are newer than any backup.
#[test]
fn snapshots_are_preferred_to_a_backup() {
    let old = source(Metadata::small().list());
    let image = damaged(Damage::Renamed);
    let migration = repair_with(&image, "2.3.22", Some(&old));
    let text = message(&migration, Severity::Notice, "schema-restored");
    assert!(!text.contains("before.mmb"), "{text}");
    assert_complete(&apply(&migration, &image), "both");
}

#[test]
fn a_frozen_record_gets_a_usable_timestamp() {
    let image = damaged(Damage::Started);
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Warning, "frozen-record");
    let repaired = apply(&migration, &image);
    let last = format!("snapshots/{IN_DATABASE}_ts{}", u64::MAX);
    assert_eq!(get(&repaired, &last), None);
    let usable_key = format!("snapshots/{IN_DATABASE}_ts{}", CREATED + 1);
    assert_eq!(get(&repaired, &usable_key), get(&image, IN_DATABASE));
}

/// 2.3.18 and later write no other snapshot at the start, so an earlier one is a later change.
#[test]
fn a_change_after_the_freeze_is_kept() {
    let renamed = |image: &Image| altered(&get(image, IN_DATABASE).unwrap(), "later", 1);
    let snapshot = format!("snapshots/{IN_DATABASE}_ts{ALTERED}");
    let mut image = damaged(Damage::Started);
    let later = renamed(&image);
    put(&mut image, &snapshot, later.clone());
    let migration = repair(&image, "2.3.22");
    let text = message(&migration, Severity::Warning, "frozen-record");
    assert!(text.contains("renamed to \"later\""), "{text}");
    let repaired = apply(&migration, &image);
    assert_complete(&repaired, "renamed");
    for key in [IN_DATABASE, &snapshot] {
        assert_eq!(get(&repaired, key).as_ref(), Some(&later), "{key}");
    }
    let frozen = format!("snapshots/{IN_DATABASE}_ts{}", u64::MAX);
    assert_eq!(get(&repaired, &frozen), None);

    // The name has been given to another collection since.
    let other = "root-coord/database/collection-info/1/5";
    let mut native = v2_2::etcd::CollectionInfo::decode(later.as_slice()).unwrap();
    native.id = 5;
    native.state = 0;
    put(&mut image, other, native.encode_to_vec());
    let migration = repair(&image, "2.3.22");
    let text = message(&migration, Severity::Warning, "frozen-record");
    assert!(
        text.contains("is lost: it was renamed to \"later\""),
        "{text}"
    );
    assert!(text.contains(other), "{text}");
    let repaired = apply(&migration, &image);
    let next = format!("snapshots/{IN_DATABASE}_ts{}", ALTERED + 1);
    assert_eq!(get(&repaired, &next), get(&image, IN_DATABASE));
    assert_eq!(get(&repaired, IN_DATABASE), get(&image, IN_DATABASE));
}

/// Milvus deletes a plain key, with the tombstones, some time after the collection was dropped; the frozen snapshot is
/// kept, because its time is in the future.
#[test]
fn a_frozen_record_without_plain_key_was_dropped() {
    let mut image = damaged(Damage::Started);
    image.remove(&root().join(IN_DATABASE.as_bytes()));
    let frozen = format!("snapshots/{IN_DATABASE}_ts{}", u64::MAX);
    let mut dropped = image.clone();
    let of_collection = [
        "aliases",
        "loadinfo",
        "replica",
        "Replica",
        "field-index",
        "segment-index",
        "datacoord",
    ];
    dropped.retain(|key, _| {
        let key = String::from_utf8_lossy(key);
        !of_collection.iter().any(|part| key.contains(part))
    });
    let migration = repair(&dropped, "2.3.22");
    message(&migration, Severity::Warning, "dropped-collection-returned");
    let repaired = apply(&migration, &dropped);
    assert_eq!(get(&repaired, &frozen), None);
    assert_eq!(errors(&repaired, "2.3.22"), Vec::<String>::new());

    // A live segment shows that the collection was not dropped.
    put(
        &mut image,
        "datacoord-meta/s/1/10/50",
        segment(50, 5).encode_to_vec(),
    );
    let migration = repair(&image, "2.3.22");
    let repaired = apply(&migration, &image);
    assert_eq!(get(&repaired, &frozen), get(&image, &frozen));
    assert_ne!(errors(&repaired, "2.3.22"), Vec::<String>::new());
}

/// 2.3.18 and later restore collections that were dropped after their first start.
#[test]
fn a_dropped_collection_is_not_restored() {
    let mut image = damaged(Damage::Started);
    put(
        &mut image,
        &format!("snapshots/{IN_DATABASE}_ts{ALTERED}"),
        TOMBSTONE.to_vec(),
    );
    image.retain(|key, _| {
        let key = String::from_utf8_lossy(key);
        ![
            "aliases",
            "loadinfo",
            "replica",
            "Replica",
            "field-index",
            "segment-index",
            "datacoord",
        ]
        .iter()
        .any(|part| key.contains(part))
    });
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Warning, "dropped-collection-returned");
    let repaired = apply(&migration, &image);
    assert_eq!(get(&repaired, IN_DATABASE).as_deref(), Some(TOMBSTONE));
    assert_eq!(
        get(
            &repaired,
            &format!("snapshots/{IN_DATABASE}_ts{}", u64::MAX)
        ),
        None
    );
    assert!(children(&repaired).is_empty());
    assert_eq!(errors(&repaired, "2.3.22"), Vec::<String>::new());
    assert!(repair(&repaired, "2.3.22").is_empty());

    let mut image = damaged(Damage::Renamed);
    put(&mut image, "root-coord/fields/1/100", TOMBSTONE.to_vec());
    put(
        &mut image,
        "snapshots/root-coord/fields/1/100_ts9",
        TOMBSTONE.to_vec(),
    );
    let text = message(&repair(&image, "2.3.22"), Severity::Error, "schema-lost");
    assert!(text.contains("dropped"), "{text}");

    let mut image = official(&metadata());
    put(&mut image, IN_PLACE, TOMBSTONE.to_vec());
    put(
        &mut image,
        &format!("snapshots/{IN_PLACE}_ts{ALTERED}"),
        TOMBSTONE.to_vec(),
    );
    let migration = repair(&image, "2.3.22");
    assert!(
        !codes(&migration)
            .iter()
            .any(|(_, code, _)| code == "schema-restored")
    );
}

#[test]
fn a_contradicted_schema_is_not_restored() {
    let index = v2_2::index::FieldIndex {
        index_info: Some(v2_2::index::IndexInfo {
            collection_id: 1,
            field_id: 107,
            index_id: 9,
            ..Default::default()
        }),
        ..Default::default()
    };
    let load = v2_2::query::PartitionLoadInfo {
        collection_id: 1,
        partition_id: 12,
        replica_number: 1,
        status: 2,
        ..Default::default()
    };
    let mut inline = segment(60, 5);
    inline.binlogs = vec![v2_1::data::FieldBinlog {
        field_id: 109,
        ..Default::default()
    }];
    let mut elsewhere = segment(61, 5);
    elsewhere.partition_id = 13;
    let partition = v2_2::etcd::PartitionInfo {
        partition_id: 14,
        partition_name: "second".into(),
        collection_id: 1,
        ..Default::default()
    };
    let field = v2_2::schema::FieldSchema {
        field_id: 100,
        name: "other".into(),
        is_primary_key: true,
        ..Default::default()
    };
    let cases = [
        ("field-index/1/9", index.encode_to_vec(), "field 107"),
        (
            "querycoord-partition-loadinfo/1/12",
            load.encode_to_vec(),
            "partition 12",
        ),
        ("datacoord-meta/binlog/1/10/50/108", Vec::new(), "field 108"),
        (
            "datacoord-meta/s/1/10/60",
            inline.encode_to_vec(),
            "field 109",
        ),
        (
            "datacoord-meta/s/1/13/61",
            elsewhere.encode_to_vec(),
            "partition 13",
        ),
        (
            "root-coord/partitions/1/14",
            partition.encode_to_vec(),
            "same name",
        ),
        (
            "root-coord/fields/1/100",
            field.encode_to_vec(),
            "another field 100",
        ),
    ];
    for (key, value, why) in cases {
        let mut image = damaged(Damage::Renamed);
        put(&mut image, key, value);
        let text = message(&repair(&image, "2.3.22"), Severity::Error, "schema-lost");
        assert!(text.contains(why), "{key}: {text}");
    }
}

/// An object missing from the newest snapshot may have been dropped after an older one.
#[test]
fn an_older_snapshot_is_never_restored() {
    let mut image = damaged(Damage::Renamed);
    let oldest = format!("snapshots/{IN_PLACE}_ts{CREATED}");
    let newer = get(&image, &oldest).unwrap();
    let mut newer = v2_2::etcd::CollectionInfo::decode(newer.as_slice()).unwrap();
    assert_eq!(newer.partition_i_ds.pop(), Some(11));
    newer.partition_names.pop();
    newer.partition_created_timestamps.pop();
    put(
        &mut image,
        &format!("snapshots/{IN_PLACE}_ts{}", CREATED + 100),
        newer.encode_to_vec(),
    );
    let mut of_dropped = segment(60, 5);
    of_dropped.partition_id = 11;
    put(
        &mut image,
        "datacoord-meta/s/1/11/60",
        of_dropped.encode_to_vec(),
    );
    let text = message(&repair(&image, "2.3.22"), Severity::Error, "schema-lost");
    assert!(text.contains("partition 11"), "{text}");
}

/// A new database id leaves a tombstone in the old database; the collection came back later.
#[test]
fn a_frozen_collection_back_in_its_database_is_kept() {
    let mut image = damaged(Damage::Started);
    let live = get(&image, IN_DATABASE).unwrap();
    let snapshot = |time: u64| format!("snapshots/{IN_DATABASE}_ts{time}");
    put(&mut image, &snapshot(ALTERED), TOMBSTONE.to_vec());
    put(&mut image, &snapshot(ALTERED + 1), live);
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Warning, "frozen-record");
    assert_complete(&apply(&migration, &image), "returned");
}

/// Milvus writes the frozen value to the plain key as well, so a tombstone there is newer, even if
/// its snapshot was garbage-collected.
#[test]
fn a_collection_dropped_after_its_freeze_stays_dropped() {
    let mut image = damaged(Damage::Started);
    put(&mut image, IN_DATABASE, TOMBSTONE.to_vec());
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Warning, "dropped-collection-returned");
    let repaired = apply(&migration, &image);
    assert_eq!(get(&repaired, IN_DATABASE).as_deref(), Some(TOMBSTONE));
}

/// Segments of a dropped partition remain until they are garbage-collected.
#[test]
fn dropped_segments_do_not_need_their_partition() {
    let mut image = damaged(Damage::Renamed);
    let mut dropped_segment = segment(61, 5);
    dropped_segment.partition_id = 13;
    dropped_segment.state = 6;
    put(
        &mut image,
        "datacoord-meta/s/1/13/61",
        dropped_segment.encode_to_vec(),
    );
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Notice, "schema-restored");
}

/// Another collection may have had the id: only the record of the same collection is used.
#[test]
fn a_record_of_another_collection_is_not_used() {
    let mut other = metadata();
    other.change_collection(|record| record.create_time += 1);
    let image = without_history(Damage::Renamed);
    let migration = repair_with(&image, "2.3.22", Some(&source(other.list())));
    let text = message(&migration, Severity::Error, "schema-lost");
    assert!(text.contains("before.mmb"), "{text}");
    let mut dropped = metadata();
    dropped.drop("root-coord/collection/1");
    dropped
        .entries
        .retain(|key, _| !key.starts_with("snapshots/root-coord/collection/"));
    let migration = repair_with(&image, "2.3.22", Some(&source(dropped.list())));
    message(&migration, Severity::Error, "schema-lost");
}

/// 2.2 writes a partition created after the alteration under a separate key, and records a dropped
/// one under collection 0.
#[test]
fn later_partition_changes_are_respected() {
    let mut image = damaged(Damage::Renamed);
    let made = v2_2::etcd::PartitionInfo {
        partition_id: 14,
        partition_name: "third".into(),
        partition_created_timestamp: ALTERED + 5,
        collection_id: 1,
        state: 0,
    };
    put(
        &mut image,
        "root-coord/partitions/1/14",
        made.encode_to_vec(),
    );
    let time = ALTERED + 5;
    put(
        &mut image,
        &format!("snapshots/root-coord/partitions/1/14_ts{time}"),
        made.encode_to_vec(),
    );
    let dropped = v2_2::etcd::PartitionInfo {
        partition_id: 11,
        partition_name: "second".into(),
        state: 2,
        ..Default::default()
    };
    put(
        &mut image,
        "root-coord/partitions/0/11",
        dropped.encode_to_vec(),
    );
    put(
        &mut image,
        &format!("snapshots/root-coord/partitions/0/11_ts{time}"),
        dropped.encode_to_vec(),
    );
    let migration = repair(&image, "2.3.22");
    message(&migration, Severity::Notice, "schema-restored");
    let repaired = apply(&migration, &image);
    let is_there = |id: i64| get(&repaired, &format!("root-coord/partitions/1/{id}")).is_some();
    assert_eq!([10, 11, 14].map(is_there), [true, false, true]);
}

/// An embedded collection and one that lost its schema, with the same name, are both repaired.
#[test]
fn embedded_and_lost_collections_are_repaired_together() {
    let mut metadata = metadata();
    let mut second = collection(2);
    second.field_indexes.clear();
    second.schema.as_mut().unwrap().name = "second".into();
    metadata.put("root-coord/collection/2", &second);
    metadata.put(
        &format!("snapshots/root-coord/collection/2_ts{CREATED}"),
        &second,
    );
    for has_history in [true, false] {
        let backup = source(metadata.list());
        let mut image = official(&metadata);
        damage(&mut image, Damage::Started);
        if !has_history {
            image.remove(&root().join(format!("snapshots/{IN_PLACE}_ts{CREATED}").as_bytes()));
        }
        let migration = repair_with(&image, "2.3.22", Some(&backup));
        assert!(!migration.has_errors(), "{:?}", migration.findings);
        // A rollback has no backup to plan with, so nothing that needs the backup is staged.
        assert_eq!(migration.staged_count > 0, has_history);
        let repaired = apply(&migration, &image);
        assert_eq!(errors(&repaired, "2.3.22"), Vec::<String>::new());
        assert!(repair(&repaired, "2.3.22").is_empty());
        assert!(children(&repaired).is_superset(&expected()));
    }
}
