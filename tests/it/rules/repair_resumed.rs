//! A repair that was interrupted and planned again ends in the same metadata as one that was not,
//! for each rule alone and for all rules together.

use std::sync::Arc;

use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2;
use milvus_meta::transform::SchemaSource;
use prost::Message as _;

use super::lost_schemas::{ALL, Damage, damage, damaged, metadata, source, without_history};
use super::repair::{
    Image, apply, errors, official, put, repair, repair_with, segment_index_of_2_2, writes,
};
use crate::support::metadata::{CREATED, alias, collection, replica, root};

const TARGETS: [&str; 3] = ["2.2.8", "2.2.16", "2.3.22"];

type Defect = (&'static str, fn(&mut Image));

/// For each rule that works on single objects a change to metadata that it repairs. The last two need
/// databases.
const DEFECTS: [Defect; 8] = [
    ("aliases", legacy_aliases),
    ("replicas", legacy_replicas),
    ("builds", builds_without_id),
    ("shared builds", shared_builds),
    ("orphans", orphans),
    ("snapshots", missing_snapshots),
    ("frozen", frozen),
    ("dropped", dropped_and_returned),
];

fn defects(target: &str) -> &[Defect] {
    if target == "2.2.8" {
        &DEFECTS[..6]
    } else {
        &DEFECTS
    }
}

/// Damages that leave data which the target can read.
fn damages() -> impl Iterator<Item = (Damage, &'static str)> {
    let all = ALL
        .into_iter()
        .flat_map(|how| TARGETS.map(|target| (how, target)));
    all.filter(|(how, target)| *target != "2.2.8" || matches!(how, Damage::InPlace))
}

/// The official tool's output for collections 1 to 4.
fn base() -> Image {
    let mut metadata = metadata();
    for id in 2..5 {
        let mut more = collection(id);
        more.field_indexes.clear();
        metadata.put(&format!("root-coord/collection/{id}"), &more);
        metadata.put(
            &format!("snapshots/root-coord/collection/{id}_ts{CREATED}"),
            &more,
        );
    }
    official(&metadata)
}

fn legacy_aliases(image: &mut Image) {
    for (name, id) in [("fresh", 2), ("fresher", 1), ("books", 1), ("dangling", 99)] {
        let (value, at) = (alias(name, id).encode_to_vec(), CREATED + 50);
        let key = format!("root-coord/collection-alias/{name}");
        put(image, &format!("snapshots/{key}_ts{at}"), value.clone());
        put(image, &key, value);
    }
    let gone = "root-coord/collection-alias/gone";
    put(image, gone, TOMBSTONE.to_vec());
}

/// A loaded collection with replicas of 2.1 only.
fn legacy_replicas(image: &mut Image) {
    image.retain(|key, _| !String::from_utf8_lossy(key).contains("/querycoord-replica/"));
    for id in 30..34 {
        put(
            image,
            &format!("queryCoord-ReplicaMeta/{id}"),
            replica(id, 1).encode_to_vec(),
        );
    }
}

fn put_segment_index(image: &mut Image, record: &v2_2::index::SegmentIndex) {
    let (segment, build) = (record.segment_id, record.build_id);
    let key = format!("segment-index/1/10/{segment}/{build}");
    put(image, &key, record.encode_to_vec());
}

fn builds_without_id(image: &mut Image) {
    for segment in 60..66 {
        put_segment_index(image, &segment_index_of_2_2(segment, 0, &[]));
    }
    put_segment_index(image, &segment_index_of_2_2(66, 0, &["IVF"]));
    // Built on 2.2 later.
    put_segment_index(image, &segment_index_of_2_2(67, 0, &[]));
    put_segment_index(image, &segment_index_of_2_2(67, 89, &["IVF"]));
    let deleted = v2_2::index::SegmentIndex {
        deleted: true,
        ..segment_index_of_2_2(68, 87, &[])
    };
    put_segment_index(image, &deleted);
}

fn shared_builds(image: &mut Image) {
    for segment in 70..73 {
        put_segment_index(image, &segment_index_of_2_2(segment, 95, &["IVF"]));
    }
}

fn orphans(image: &mut Image) {
    let info = v2_2::query::CollectionLoadInfo {
        collection_id: 99,
        replica_number: 1,
        ..Default::default()
    };
    let key = "querycoord-collection-loadinfo/99";
    put(image, key, info.encode_to_vec());
    let legacy = replica(39, 99).encode_to_vec();
    put(image, "queryCoord-ReplicaMeta/39", legacy);
}

fn missing_snapshots(image: &mut Image) {
    put(image, "root-coord/aliases/gone", TOMBSTONE.to_vec());
    let lone = v2_2::etcd::AliasInfo {
        alias_name: "lone".into(),
        collection_id: 2,
        created_time: CREATED + 3,
        ..Default::default()
    };
    put(image, "root-coord/aliases/lone", lone.encode_to_vec());
    image.remove(&root().join(format!("snapshots/root-coord/collection/2_ts{CREATED}").as_bytes()));
}

/// The record of a collection in the database `default`, with partition and field.
fn put_in_database(image: &mut Image, id: i64) -> Vec<u8> {
    let from = collection(id);
    let record = v2_2::etcd::CollectionInfo {
        id,
        db_id: 1,
        create_time: from.create_time,
        schema: Some(v2_2::schema::CollectionSchema {
            name: format!("collection_{id}"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let partition = v2_2::etcd::PartitionInfo {
        partition_id: id * 10,
        partition_name: "_default".into(),
        collection_id: id,
        partition_created_timestamp: CREATED,
        ..Default::default()
    };
    let mut children = vec![(
        format!("root-coord/partitions/{id}/{id}0"),
        partition.encode_to_vec(),
    )];
    for field in from.schema.unwrap().fields {
        let key = format!("root-coord/fields/{id}/{}", field.field_id);
        children.push((key, field.encode_to_vec()));
    }
    for (key, value) in children {
        put(
            image,
            &format!("snapshots/{key}_ts{CREATED}"),
            value.clone(),
        );
        put(image, &key, value);
    }
    let database = v2_2::etcd::DatabaseInfo {
        name: "default".into(),
        id: 1,
        state: 1,
        ..Default::default()
    };
    let key = "root-coord/database/db-info/1";
    put(
        image,
        &format!("snapshots/{key}_ts9"),
        database.encode_to_vec(),
    );
    put(image, key, database.encode_to_vec());
    let record = record.encode_to_vec();
    let key = format!("root-coord/database/collection-info/1/{id}");
    put(image, &key, record.clone());
    record
}

fn frozen(image: &mut Image) {
    let record = put_in_database(image, 5);
    let key = format!(
        "snapshots/root-coord/database/collection-info/1/5_ts{}",
        u64::MAX
    );
    put(image, &key, record);
}

/// A loaded collection with an alias that was dropped after its record was frozen.
fn dropped_and_returned(image: &mut Image) {
    let record = put_in_database(image, 6);
    let snapshot =
        |time: u64| format!("snapshots/root-coord/database/collection-info/1/6_ts{time}");
    put(image, &snapshot(u64::MAX), record);
    put(image, &snapshot(CREATED + 9), TOMBSTONE.to_vec());
    let info = v2_2::query::CollectionLoadInfo {
        collection_id: 6,
        replica_number: 1,
        ..Default::default()
    };
    let key = "querycoord-collection-loadinfo/6";
    put(image, key, info.encode_to_vec());
    image.retain(|key, _| {
        let key = String::from_utf8_lossy(key);
        !key.contains("root-coord/fields/6/") && !key.contains("root-coord/partitions/6/")
    });
}

fn put_write(image: &mut Image, (key, value): (Vec<u8>, Option<Vec<u8>>)) {
    match value {
        Some(value) => image.insert(key, value),
        None => image.remove(&key),
    };
}

/// The keys that differ.
fn assert_same(found: &Image, wanted: &Image, what: &str) {
    let keys = found.keys().chain(wanted.keys());
    let differ: std::collections::BTreeSet<_> = keys
        .filter(|key| found.get(*key) != wanted.get(*key))
        .map(|key| String::from_utf8_lossy(key))
        .collect();
    assert!(differ.is_empty(), "{what}: {differ:?}");
}

/// Plans a repair again from each state that a killed run leaves after its commit, and from the
/// states of the resumed run if those differ.
pub(super) fn assert_resumes(
    name: &str,
    before: &Image,
    target: &str,
    schemas: Option<&Arc<SchemaSource>>,
) {
    let plan = |image: &Image, what: &str| {
        let migration = repair_with(image, target, schemas);
        let found = &migration.findings;
        assert!(
            !migration.has_errors(),
            "{name}, {target}, {what}: {found:?}"
        );
        migration
    };
    let whole = plan(before, "all of it");
    let wanted = apply(&whole, before);
    let again = plan(&wanted, "the end");
    assert!(again.is_empty(), "{name}, {target}: {:?}", again.findings);
    assert_eq!(
        errors(&wanted, target),
        Vec::<String>::new(),
        "{name}, {target}"
    );
    let (staged, writes) = writes(&whole);
    let mut image = before.clone();
    let mut rest = writes.clone().into_iter();
    rest.by_ref()
        .take(staged)
        .for_each(|write| put_write(&mut image, write));
    loop {
        let left = rest.len();
        let what = format!("{left} of {} writes left", writes.len());
        let resumed = plan(&image, &what);
        assert_same(
            &apply(&resumed, &image),
            &wanted,
            &format!("{name}, {target}, {what}"),
        );
        let (_, again) = super::repair::writes(&resumed);
        if again != rest.as_slice() {
            let mut image = image.clone();
            for (number, write) in again.into_iter().enumerate() {
                put_write(&mut image, write);
                let what = format!("{what}, interrupted again after {number}");
                let resumed = apply(&plan(&image, &what), &image);
                assert_same(&resumed, &wanted, &format!("{name}, {target}, {what}"));
            }
        }
        match rest.next() {
            Some(write) => put_write(&mut image, write),
            None => break,
        }
    }
    assert_same(&image, &wanted, &format!("{name}, {target}"));
}

#[test]
fn a_resumed_repair_ends_in_the_same_metadata() {
    for target in TARGETS {
        assert_resumes("embedded", &base(), target, None);
        for (name, defect) in defects(target) {
            let mut image = base();
            defect(&mut image);
            assert_resumes(name, &image, target, None);
        }
    }
}

#[test]
fn a_resumed_repair_of_all_defects_ends_the_same() {
    let backup = source(metadata().list());
    for (how, target) in damages() {
        let mut image = base();
        damage(&mut image, how);
        defects(target)
            .iter()
            .for_each(|(_, defect)| defect(&mut image));
        let name = format!("all and {how:?}");
        assert_resumes(&name, &image, target, Some(&backup));
    }
}

/// Without the backup, a resumed repair never mistakes a partly restored collection for a complete one.
#[test]
fn a_resumed_restoration_ends_the_same_or_is_refused() {
    let backup = source(metadata().list());
    for (how, target) in damages() {
        assert_resumes(&format!("{how:?}"), &damaged(how), target, None);
        let before = without_history(how);
        let name = format!("{how:?} from a backup");
        assert_resumes(&name, &before, target, Some(&backup));
        let whole = repair_with(&before, target, Some(&backup));
        let wanted = apply(&whole, &before);
        let (staged, writes) = writes(&whole);
        assert_eq!(staged, 0);
        let mut image = before;
        for (number, write) in writes.into_iter().enumerate() {
            put_write(&mut image, write);
            let rest = repair(&image, target);
            assert!(
                rest.has_errors() || apply(&rest, &image) == wanted,
                "{how:?}, {target}, write {number}: {:?}",
                rest.findings
            );
        }
    }
}
