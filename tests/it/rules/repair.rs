//! The result of a repair of 2.2 metadata: for the output of the official tool the same as a
//! migration of its source to the form of the target; correct metadata is not changed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{Family, Key, KeyRange, Object, TOMBSTONE};
use milvus_meta::proto::v2_2;
use milvus_meta::transform::{
    CollectionForm, FormChoice, Migration, OnBrokenRecord, Options, Put, SchemaSource, SegmentForm,
    Source, Task,
};
use milvus_meta::verify::{Checker, Context};
use prost::Message as _;

use crate::support::dump::read_dump;
use crate::support::metadata::{Metadata, codes, migrate_to, root};

pub(crate) type Image = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn entries(image: &Image) -> Vec<Entry> {
    let entries = image.iter();
    entries
        .map(|(key, value)| Entry::new(key.clone(), value.clone()))
        .collect()
}

pub(super) fn repair(image: &Image, target: &str) -> Migration {
    repair_with(image, target, None)
}

/// A repair that may restore schemas from a backup.
pub(super) fn repair_with(
    image: &Image,
    target: &str,
    schemas: Option<&Arc<SchemaSource>>,
) -> Migration {
    let target = target.parse().unwrap();
    let options = Options {
        task: Task::Repair,
        form: FormChoice::Auto.resolve(&target).unwrap(),
        segment_form: SegmentForm::Inline,
        on_broken_record: OnBrokenRecord::Fail,
        schemas: schemas.cloned(),
        target,
    };
    let mut source = Source::new(root(), options);
    entries(image).iter().for_each(|entry| source.push(entry));
    source.finish()
}

pub(super) fn apply(migration: &Migration, image: &Image) -> Image {
    let entries = entries(image).into_iter().map(Ok::<_, Infallible>);
    let applied = migration.apply(entries);
    applied
        .map(|entry| {
            let Ok(entry) = entry;
            (entry.key.to_vec(), entry.value.to_vec())
        })
        .collect()
}

/// The entries below the meta root without leased keys.
fn image_of(entries: Vec<Entry>) -> Image {
    let entries = entries.into_iter();
    let below = entries.filter(|it| it.lease == 0 && root().strip(&it.key).is_some());
    below
        .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
        .collect()
}

/// 2.1 metadata as the official tool leaves it: embedded collections, load state and replicas of
/// 2.1.
pub(super) fn official(metadata: &Metadata) -> Image {
    let source = metadata.list();
    let migration = migrate_to(
        &source,
        CollectionForm::Embedded,
        OnBrokenRecord::Fail,
        "2.2.16",
    );
    let mut image = apply(&migration, &image_of(source.clone()));
    for entry in source {
        let family = Family::of(root().strip(&entry.key).unwrap());
        if matches!(family, Family::QueryCollection | Family::QueryReplica) {
            image.insert(entry.key.to_vec(), entry.value.to_vec());
        }
    }
    image
}

pub(super) fn errors(image: &Image, target: &str) -> Vec<String> {
    let context = Context {
        target: Some(target.parse().unwrap()),
        ..Context::default()
    };
    let mut checker = Checker::within(root(), context);
    entries(image).iter().for_each(|entry| checker.push(entry));
    let found = checker.finish().into_iter();
    let errors = found.filter(|it| it.severity == Severity::Error);
    errors.map(|it| format!("{} {}", it.code, it.key)).collect()
}

fn is_of_collections(key: &[u8]) -> bool {
    matches!(
        Family::of(root().strip(key).unwrap()),
        Family::Collection
            | Family::CollectionSnapshot
            | Family::DatabaseCollection
            | Family::DatabaseCollectionSnapshot
            | Family::Partition
            | Family::PartitionSnapshot
            | Family::Field
            | Family::FieldSnapshot
    )
}

/// Keys of live collections; a repair does not move the history of dropped ones.
fn collections(image: &Image) -> Image {
    let live = |id: i64| {
        image.iter().any(|(key, value)| {
            let key = Key::parse(root().strip(key).unwrap());
            let belongs_to_it = matches!(key, Key::Plain(Object::Collection(found) | Object::DatabaseCollection(_, found)) if found.0 == id);
            belongs_to_it && value != TOMBSTONE
        })
    };
    let of = |key: &[u8]| {
        let (Key::Plain(object) | Key::Snapshot(object, _)) =
            Key::parse(root().strip(key).unwrap())
        else {
            return None;
        };
        let (Object::Collection(id)
        | Object::DatabaseCollection(_, id)
        | Object::Partition(id, _)
        | Object::Field(id, _)) = object
        else {
            return None;
        };
        Some(id.0)
    };
    let kept = image.iter().filter(|(key, _)| is_of_collections(key));
    kept.filter(|(key, _)| of(key).is_some_and(live))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[test]
fn repaired_official_output_equals_a_migration() {
    for name in ["base", "dropped", "medium", "unicode"] {
        let official = image_of(read_dump(&format!("{name}/out.jsonl")));
        for (target, wanted) in [
            ("2.2.8", "out-split"),
            ("2.2.16", "out-database"),
            ("2.3.22", "out-database"),
        ] {
            let migration = repair(&official, target);
            assert!(!migration.has_errors(), "{:?}", migration.findings);
            let repaired = apply(&migration, &official);
            let wanted = image_of(read_dump(&format!("{name}/{wanted}.jsonl")));
            assert_eq!(
                collections(&repaired),
                collections(&wanted),
                "{name} for {target}"
            );
            assert_eq!(
                errors(&repaired, target),
                Vec::<String>::new(),
                "{name} for {target}"
            );
            assert!(repair(&repaired, target).is_empty(), "{name} for {target}");
        }
    }
}

#[test]
fn a_repair_leaves_correct_metadata_unchanged() {
    for name in ["base", "dropped", "medium", "unicode"] {
        for (form, target) in [
            ("split", "2.2.8"),
            ("database", "2.2.16"),
            ("database", "2.4.24"),
        ] {
            let image = image_of(read_dump(&format!("{name}/out-{form}.jsonl")));
            let migration = repair(&image, target);
            assert!(
                migration.is_empty(),
                "{name} for {target}: {:?}",
                codes(&migration)
            );
            assert_eq!(migration.findings, [], "{name} for {target}");
        }
    }
}

#[test]
fn a_repair_touches_nothing_without_a_finding() {
    let official = official(&Metadata::small());
    let migration = repair(&official, "2.2.16");
    let repaired = apply(&migration, &official);
    for (key, value) in &official {
        let relative = String::from_utf8(root().strip(key).unwrap().to_vec()).unwrap();
        let is_repaired = [
            "root-coord/collection/",
            "snapshots/root-coord/collection/",
            "root-coord/aliases/",
            "snapshots/root-coord/aliases/",
            "queryCoord-",
        ];
        if !is_repaired
            .iter()
            .any(|prefix| relative.starts_with(prefix))
        {
            assert_eq!(repaired.get(key), Some(value), "{relative}");
        }
    }
    let found: Vec<_> = codes(&migration)
        .into_iter()
        .map(|(_, code, _)| code)
        .collect();
    for code in [
        "embedded-form",
        "alias-outside-database",
        "legacy-replica",
        "leftover",
    ] {
        assert!(found.contains(&code.to_owned()), "{code}: {found:?}");
    }
}

/// A key with its new value, or `None` if it is deleted.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// The writes of a repair in order, and the number of those before the commit.
pub(super) fn writes(complete: &Migration) -> (usize, Vec<Write>) {
    let put = |it: &Put| (it.key.clone(), Some(it.value.clone()));
    let delete = |range: &KeyRange| (range.start.clone(), None);
    let mut writes: Vec<Write> = complete.staged().map(|it| put(&it)).collect();
    let staged = writes.len();
    writes.extend(complete.removals.iter().map(delete));
    writes.extend(complete.history.iter().rev().map(put));
    writes.extend(complete.rewrites.iter().rev().map(put));
    writes.extend(complete.leftovers.iter().rev().map(delete));
    (staged, writes)
}

/// A collection created by 2.2.16 next to those written by the official tool.
#[test]
fn a_repair_keeps_collections_of_2_2() {
    let mut metadata = Metadata::small();
    let mut second = crate::support::metadata::collection(2);
    second.field_indexes.clear();
    metadata.put("root-coord/collection/2", &second);
    let mut image = official(&Metadata::small());
    let native = {
        let migration = metadata.migrate(CollectionForm::Database);
        metadata.after(&migration)
    };
    for (key, value) in native {
        let belongs_to_it = key.contains("collection-info/1/2")
            || key.contains("fields/2/")
            || key.contains("partitions/2/")
            || key.contains("db-info");
        if belongs_to_it {
            image.insert(root().join(key.as_bytes()), value);
        }
    }
    let repaired = apply(&repair(&image, "2.3.22"), &image);
    assert_eq!(errors(&repaired, "2.3.22"), Vec::<String>::new());
    for (key, value) in &image {
        let text = String::from_utf8_lossy(key);
        if text.contains("collection-info/1/2") || text.contains("db-info") {
            assert_eq!(repaired.get(key), Some(value), "{text}");
        }
    }
}

/// Embedded in a database other than the default: it is split in that database.
#[test]
fn an_embedded_collection_in_a_database_is_split() {
    let mut image = official(&Metadata::small());
    let plain = root().join(b"root-coord/collection/1");
    let record = image.remove(&plain).unwrap();
    image.retain(|key, _| {
        !String::from_utf8_lossy(key).contains("snapshots/root-coord/collection/1_")
    });
    image.retain(|key, _| !String::from_utf8_lossy(key).contains("aliases"));
    let mut record = v2_2::etcd::CollectionInfo::decode(record.as_slice()).unwrap();
    record.db_id = 7;
    let database = v2_2::etcd::DatabaseInfo {
        name: "other".into(),
        id: 7,
        state: 1,
        ..Default::default()
    };
    for (key, value) in [
        ("root-coord/database/db-info/7", database.encode_to_vec()),
        (
            "snapshots/root-coord/database/db-info/7_ts5",
            database.encode_to_vec(),
        ),
        (
            "root-coord/database/collection-info/7/1",
            record.encode_to_vec(),
        ),
        (
            "snapshots/root-coord/database/collection-info/7/1_ts9",
            record.encode_to_vec(),
        ),
    ] {
        image.insert(root().join(key.as_bytes()), value);
    }
    let migration = repair(&image, "2.3.22");
    let found = codes(&migration);
    assert!(
        !found.iter().any(|(_, code, _)| code == "id-mismatch"),
        "{found:?}"
    );
    let repaired = apply(&migration, &image);
    assert_eq!(errors(&repaired, "2.3.22"), Vec::<String>::new());
    let split = v2_2::etcd::CollectionInfo {
        partition_i_ds: Vec::new(),
        partition_names: Vec::new(),
        partition_created_timestamps: Vec::new(),
        schema: Some(v2_2::schema::CollectionSchema {
            fields: Vec::new(),
            ..record.schema.clone().unwrap()
        }),
        ..record
    };
    for key in [
        "root-coord/database/collection-info/7/1",
        "snapshots/root-coord/database/collection-info/7/1_ts9",
    ] {
        let found = &repaired[&root().join(key.as_bytes())];
        let found = v2_2::etcd::CollectionInfo::decode(found.as_slice()).unwrap();
        assert_eq!(found, split, "{key}");
    }
    assert!(repaired.contains_key(&root().join(b"snapshots/root-coord/fields/1/100_ts9")));
}

#[test]
fn a_record_that_differs_in_the_database_is_an_error() {
    let mut image = official(&Metadata::small());
    let mut other = v2_2::etcd::CollectionInfo::decode(
        image[&root().join(b"root-coord/collection/1")].as_slice(),
    )
    .unwrap();
    other.shards_num = 9;
    other.db_id = 1;
    let key = root().join(b"root-coord/database/collection-info/1/1");
    image.insert(key, other.encode_to_vec());
    let migration = repair(&image, "2.3.22");
    assert!(migration.has_errors());
    let code = ("two-records", Severity::Error);
    let found = codes(&migration);
    assert!(
        found
            .iter()
            .any(|(severity, it, _)| (it.as_str(), *severity) == code),
        "{found:?}"
    );
}

#[test]
fn a_repair_deletes_tombstones_and_adds_snapshots() {
    let metadata = Metadata::small();
    let migration = metadata.migrate(CollectionForm::Database);
    let mut image: Image = metadata
        .after(&migration)
        .into_iter()
        .map(|(key, value)| (root().join(key.as_bytes()), value))
        .collect();
    let tombstone = root().join(b"root-coord/database/aliases/1/gone");
    image.insert(tombstone.clone(), TOMBSTONE.to_vec());
    let created = crate::support::metadata::CREATED;
    let snapshot =
        root().join(format!("snapshots/root-coord/partitions/1/10_ts{created}").as_bytes());
    let value = image.remove(&snapshot).unwrap();
    assert!(!errors(&image, "2.2.16").is_empty());
    let repaired = apply(&repair(&image, "2.2.16"), &image);
    assert_eq!(repaired.get(&tombstone), None);
    assert_eq!(repaired.get(&snapshot), Some(&value));
    assert_eq!(errors(&repaired, "2.2.16"), Vec::<String>::new());
}

#[test]
fn a_repair_deletes_known_2_1_alias_keys() {
    let metadata = Metadata::small();
    let mut image = official(&metadata);
    for (key, value) in &metadata.entries {
        if key.contains("collection-alias") {
            image.insert(root().join(key.as_bytes()), value.clone());
        }
    }
    let migration = repair(&image, "2.2.16");
    let repaired = apply(&migration, &image);
    assert!(
        !repaired
            .keys()
            .any(|key| String::from_utf8_lossy(key).contains("collection-alias"))
    );
    assert_eq!(errors(&repaired, "2.2.16"), Vec::<String>::new());
}

#[test]
fn load_state_of_a_missing_collection_is_removed() {
    let metadata = Metadata::small();
    let migration = metadata.migrate(CollectionForm::Database);
    let mut image: Image = metadata
        .after(&migration)
        .into_iter()
        .map(|(key, value)| (root().join(key.as_bytes()), value))
        .collect();
    let info = v2_2::query::CollectionLoadInfo {
        collection_id: 99,
        replica_number: 1,
        status: 2,
        ..Default::default()
    };
    let key = root().join(b"querycoord-collection-loadinfo/99");
    image.insert(key.clone(), info.encode_to_vec());
    assert!(!errors(&image, "2.2.16").is_empty());
    let repaired = apply(&repair(&image, "2.2.16"), &image);
    assert_eq!(repaired.get(&key), None);
    assert_eq!(errors(&repaired, "2.2.16"), Vec::<String>::new());
}

pub(super) fn put(image: &mut Image, key: &str, value: Vec<u8>) {
    image.insert(root().join(key.as_bytes()), value);
}

fn record_of(image: &Image) -> v2_2::etcd::CollectionInfo {
    let record = &image[&root().join(b"root-coord/collection/1")];
    v2_2::etcd::CollectionInfo::decode(record.as_slice()).unwrap()
}

/// Fails unless there is one error with this code and all `words`, and the collection is unchanged.
fn assert_refused(name: &str, image: &Image, target: &str, (code, words): (&str, &[&str])) {
    let migration = repair(image, target);
    let errors: Vec<_> = migration
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{name} for {target}: {errors:?}");
    assert_eq!(errors[0].code, code, "{name} for {target}: {errors:?}");
    let text = format!("{} {}", errors[0].key, errors[0].message);
    for word in words {
        assert!(text.contains(word), "{name} for {target}: {word} in {text}");
    }
    assert!(!text.contains("on-broken-record"), "{name}: {text}");
    let found = codes(&migration);
    assert!(
        !found.iter().any(|(_, code, _)| code == "embedded-form"),
        "{name} for {target}: {found:?}"
    );
    let repaired = apply(&migration, image);
    let of_collections = |image: &Image| -> Image {
        let kept = image.iter().filter(|(key, _)| is_of_collections(key));
        kept.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    assert_eq!(
        of_collections(&repaired),
        of_collections(image),
        "{name} for {target}"
    );
}

/// A partition and a field that the record does not contain.
fn later_children() -> (Vec<u8>, Vec<u8>) {
    let partition = v2_2::etcd::PartitionInfo {
        partition_id: 12,
        collection_id: 1,
        partition_name: "later".into(),
        partition_created_timestamp: 5,
        ..Default::default()
    }
    .encode_to_vec();
    let field = v2_2::schema::FieldSchema {
        field_id: 109,
        name: "later".into(),
        data_type: 5,
        ..Default::default()
    }
    .encode_to_vec();
    (partition, field)
}

#[test]
fn a_child_missing_from_the_record_is_an_error() {
    let (partition, field) = later_children();
    for (name, key, value, is_stray) in [
        (
            "a partition",
            "root-coord/partitions/1/12",
            &partition,
            true,
        ),
        (
            "a partition's snapshot",
            "snapshots/root-coord/partitions/1/12_ts5",
            &partition,
            true,
        ),
        (
            "a known partition",
            "root-coord/partitions/1/10",
            &partition,
            true,
        ),
        ("a field", "root-coord/fields/1/109", &field, true),
        (
            "a field's snapshot",
            "snapshots/root-coord/fields/1/109_ts5",
            &field,
            true,
        ),
        (
            "a dropped field of the record",
            "snapshots/root-coord/fields/1/101_ts18446744073709551614",
            &TOMBSTONE.to_vec(),
            true,
        ),
        (
            "another collection's",
            "root-coord/partitions/11/12",
            &partition,
            false,
        ),
        (
            "a dropped partition",
            "snapshots/root-coord/partitions/1/12_ts5",
            &TOMBSTONE.to_vec(),
            false,
        ),
    ] {
        let mut image = official(&Metadata::small());
        put(&mut image, key, value.clone());
        for target in ["2.2.8", "2.2.16"] {
            if is_stray {
                let words = ["collection \"collection_1\" (1)", key];
                assert_refused(name, &image, target, ("two-records", &words));
            } else {
                let migration = repair(&image, target);
                assert!(!migration.has_errors(), "{name}: {:?}", migration.findings);
            }
        }
    }
}

#[test]
fn a_contradicting_newest_snapshot_is_an_error() {
    let official = official(&Metadata::small());
    let mut other = record_of(&official);
    other.shards_num = 9;
    let other = other.encode_to_vec();
    let plain = "root-coord/collection/1";
    let later = format!(
        "snapshots/root-coord/collection/1_ts{}",
        crate::support::metadata::CREATED + 100
    );
    for (name, key, value, words) in [
        (
            "dropped in the newest snapshot",
            later.as_str(),
            TOMBSTONE.to_vec(),
            [
                "a tombstone (dropped)",
                "with 4 fields and 1 partition",
                "etcdctl put",
            ],
        ),
        (
            "another record in the newest snapshot",
            later.as_str(),
            other,
            [
                "with 4 fields and 1 partition",
                "newest snapshot (timestamp ",
                "etcdctl put",
            ],
        ),
        (
            "dropped in the plain key",
            plain,
            TOMBSTONE.to_vec(),
            [
                "a tombstone (dropped)",
                "with 4 fields and 1 partition",
                "etcdctl put",
            ],
        ),
    ] {
        let mut image = official.clone();
        put(&mut image, key, value);
        for target in ["2.2.8", "2.2.16"] {
            let mut words = words.to_vec();
            words.push("collection \"collection_1\" (1)");
            assert_refused(name, &image, target, ("two-records", &words));
        }
    }
}

/// A partition and a field of collection 5.
fn put_children(image: &mut Image) {
    let partition = v2_2::etcd::PartitionInfo {
        partition_id: 50,
        collection_id: 5,
        ..Default::default()
    };
    let field = v2_2::schema::FieldSchema {
        field_id: 100,
        ..Default::default()
    };
    for (key, value) in [
        ("root-coord/partitions/5/50", partition.encode_to_vec()),
        ("root-coord/fields/5/100", field.encode_to_vec()),
    ] {
        put(image, key, value.clone());
        put(image, &format!("snapshots/{key}_ts5"), value);
    }
}

#[test]
fn the_name_of_a_moved_collection_must_be_free() {
    let official = official(&Metadata::small());
    let mut native = record_of(&official);
    native.id = 5;
    native.db_id = 1;
    native.partition_i_ds.clear();
    native.partition_names.clear();
    native.partition_created_timestamps.clear();
    native.schema.as_mut().unwrap().fields.clear();
    let mut dropping = native.clone();
    dropping.state = 2;
    let alias = v2_2::etcd::AliasInfo {
        alias_name: "collection_1".into(),
        collection_id: 5,
        created_time: 5,
        db_id: 1,
        ..Default::default()
    };
    let collection = "root-coord/database/collection-info/1/5";
    for (name, key, value, is_taken) in [
        ("a collection", collection, native.encode_to_vec(), true),
        (
            "one being dropped",
            collection,
            dropping.encode_to_vec(),
            false,
        ),
        (
            "one in another database",
            "root-coord/database/collection-info/7/5",
            native.encode_to_vec(),
            false,
        ),
        (
            "an alias",
            "root-coord/database/aliases/1/collection_1",
            alias.encode_to_vec(),
            true,
        ),
    ] {
        let mut image = official.clone();
        put(&mut image, key, value.clone());
        put(&mut image, &format!("snapshots/{key}_ts5"), value);
        put_children(&mut image);
        assert!(
            !repair(&image, "2.2.8").has_errors(),
            "{name}: it does not move"
        );
        if is_taken {
            let words = ["collection \"collection_1\" (1)", key];
            assert_refused(name, &image, "2.2.16", ("name-taken", &words));
        } else {
            let migration = repair(&image, "2.2.16");
            assert!(!migration.has_errors(), "{name}: {:?}", migration.findings);
        }
    }
}

#[test]
fn a_defective_record_is_not_counted_as_converted() {
    let official = official(&Metadata::small());
    let mut unequal = record_of(&official);
    unequal.partition_names.push("more".into());
    let unequal = unequal.encode_to_vec();
    for (name, key, value, code) in [
        (
            "unequal lists",
            "root-coord/collection/1",
            unequal,
            "unequal-partition-lists",
        ),
        (
            "no record in a snapshot",
            "snapshots/root-coord/collection/1_ts7",
            vec![0xff],
            "undecodable-value",
        ),
    ] {
        let mut image = official.clone();
        put(&mut image, key, value);
        for target in ["2.2.8", "2.2.16"] {
            assert_refused(
                name,
                &image,
                target,
                (code, &["nothing of the collection is changed"]),
            );
        }
    }
}

pub(super) fn segment_index_of_2_2(
    segment: i64,
    build: i64,
    files: &[&str],
) -> v2_2::index::SegmentIndex {
    v2_2::index::SegmentIndex {
        collection_id: 1,
        partition_id: 10,
        segment_id: segment,
        index_id: 7,
        build_id: build,
        state: 3,
        index_file_keys: files.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

/// Metadata that a migration made, with these segment indexes.
fn with_segment_indexes(records: &[v2_2::index::SegmentIndex]) -> Image {
    let small = Metadata::small();
    let migration = migrate_to(
        &small.list(),
        CollectionForm::Database,
        OnBrokenRecord::Fail,
        "2.2.16",
    );
    let mut image = apply(&migration, &image_of(small.list()));
    image.retain(|key, _| Family::of(root().strip(key).unwrap()) != Family::SegmentIndex);
    for record in records {
        let key = format!(
            "segment-index/1/10/{}/{}",
            record.segment_id, record.build_id
        );
        image.insert(root().join(key.as_bytes()), record.encode_to_vec());
    }
    image
}

/// The segments and builds of all segment indexes, by their keys; the records have the same ids.
fn builds(image: &Image) -> Vec<(i64, i64)> {
    let of = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let Key::SegmentIndex(_, _, segment, build) = Key::parse(root().strip(key).unwrap()) else {
            return None;
        };
        let record = v2_2::index::SegmentIndex::decode(value.as_slice()).unwrap();
        assert_eq!((record.segment_id, record.build_id), (segment.0, build.0));
        Some((segment.0, build.0))
    };
    image.iter().filter_map(of).collect()
}

#[test]
fn segment_indexes_without_build_get_unique_ids() {
    let image = with_segment_indexes(&[
        segment_index_of_2_2(50, 90, &["IVF"]),
        segment_index_of_2_2(51, 0, &[]),
        segment_index_of_2_2(52, 0, &[]),
        // Its files are those of an unknown build.
        segment_index_of_2_2(53, 0, &["IVF"]),
    ]);
    let migration = repair(&image, "2.2.16");
    assert!(!migration.has_errors(), "{:?}", migration.findings);
    let found = &migration.findings;
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["\"collection_1\" (1)", "2 get separate", "1 are skipped"] {
        assert!(found[0].message.contains(part), "{}", found[0].message);
    }
    let repaired = apply(&migration, &image);
    assert_eq!(builds(&repaired), [(50, 90), (51, 89), (52, 88)]);
    assert!(repair(&repaired, "2.2.16").is_empty());
    // Interrupted after the new keys were written: only the old ones are deleted.
    let mut both = repaired.clone();
    both.extend(image.clone());
    assert_eq!(apply(&repair(&both, "2.2.16"), &both), repaired);
}

#[test]
fn the_last_segment_of_a_shared_build_is_kept() {
    let image = with_segment_indexes(&[
        segment_index_of_2_2(50, 90, &["IVF"]),
        segment_index_of_2_2(51, 90, &["IVF"]),
    ]);
    assert!(
        errors(&image, "2.2.16")
            .iter()
            .any(|it| it.contains("shared-build"))
    );
    let migration = repair(&image, "2.2.16");
    let repaired = apply(&migration, &image);
    assert_eq!(builds(&repaired), [(51, 90)]);
    assert_eq!(errors(&repaired, "2.2.16"), Vec::<String>::new());
    assert_eq!(codes(&migration)[0].1, "shared-build");
}
