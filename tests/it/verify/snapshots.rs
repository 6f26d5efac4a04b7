//! Snapshots that are missing or differ from the plain key.

use std::collections::BTreeMap;

use milvus_meta::finding::Severity;
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2::etcd;
use milvus_meta::transform::CollectionForm::{Database, Split};
use prost::Message;

use super::{check, errors, expected, migrated};
use crate::support::metadata::field;

/// The key of a snapshot at the largest timestamp.
fn last_snapshot(key: &str) -> String {
    format!("snapshots/root-coord/{key}_ts{}", u64::MAX)
}

#[test]
fn snapshots_at_the_last_timestamp_are_read() {
    // At its start, Milvus 2.4.24 moved the collection of the split form to the default database.
    let mut image = migrated(Split);
    let moved = migrated(Database);
    let database = "database/collection-info/1/1";
    let record = moved[&format!("root-coord/{database}")].clone();
    for (key, value) in moved {
        if key.contains("db-info") {
            image.insert(key, value);
        }
    }
    image.insert("root-coord/collection/1".into(), TOMBSTONE.to_vec());
    image.insert(last_snapshot("collection/1"), TOMBSTONE.to_vec());
    image.insert(format!("root-coord/{database}"), record.clone());
    image.insert(last_snapshot(database), record);
    assert_eq!(check(&image), []);
}

#[test]
fn a_different_last_snapshot_is_found() {
    for key in ["collection/1", "fields/1/101", "aliases/books"] {
        let mut image = migrated(Split);
        image.insert(last_snapshot(key), TOMBSTONE.to_vec());
        assert_eq!(
            errors(&check(&image)),
            expected(&[("snapshot-contradicts", &format!("root-coord/{key}"))])
        );
    }
}

fn warnings(image: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    let found = check(image).into_iter();
    let messages = found.map(|finding| {
        assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
        let key = finding.key.strip_prefix("by-dev/meta/").unwrap();
        (finding.code.clone(), key.to_owned())
    });
    messages.collect()
}

#[test]
fn a_different_newest_snapshot_is_found() {
    let mut renamed = field(101, "renamed", 101);
    renamed.description = "another".to_owned();
    let mut image = migrated(Split);
    image.insert(last_snapshot("fields/1/101"), renamed.encode_to_vec());
    let key = "root-coord/fields/1/101";
    assert_eq!(warnings(&image), expected(&[("snapshot-differs", key)]));

    let mut image = migrated(Split);
    let plain = image["root-coord/collection/1"].clone();
    let mut record = etcd::CollectionInfo::decode(&*plain).unwrap();
    record.shards_num += 1;
    image.insert(last_snapshot("collection/1"), record.encode_to_vec());
    let key = "root-coord/collection/1";
    assert_eq!(warnings(&image), expected(&[("snapshot-differs", key)]));
    // Only the plain key contains the index list of 2.1, and 2.2 reads neither.
    let mut record = etcd::CollectionInfo::decode(&*plain).unwrap();
    record.field_indexes.push(etcd::FieldIndexInfo::default());
    image.insert(last_snapshot("collection/1"), record.encode_to_vec());
    assert_eq!(check(&image), []);

    let mut image = migrated(Split);
    let other = etcd::AliasInfo {
        alias_name: "books".to_owned(),
        collection_id: 2,
        ..etcd::AliasInfo::default()
    };
    image.insert(last_snapshot("aliases/books"), other.encode_to_vec());
    let key = "root-coord/aliases/books";
    assert_eq!(warnings(&image), expected(&[("snapshot-differs", key)]));
}

#[test]
fn a_snapshot_without_a_timestamp_is_found() {
    for name in ["collection/1", "partitions/1/10_ts", "aliases/books_tsx"] {
        let mut image = migrated(Split);
        let key = format!("snapshots/root-coord/{name}");
        image.insert(key.clone(), b"x".to_vec());
        let messages = expected(&[("snapshot-without-timestamp", &key)]);
        assert_eq!(warnings(&image), messages);
    }
}
