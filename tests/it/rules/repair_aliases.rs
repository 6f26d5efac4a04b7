//! 2.1 alias keys in 2.2 metadata: those that a repair carries, deletes and rejects.

use milvus_meta::finding::Severity;
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::v2_2::etcd::AliasInfo;
use milvus_meta::transform::Migration;
use prost::Message as _;

use super::repair::{Image, apply, errors, official, put, repair};
use super::repair_resumed::assert_resumes;
use crate::support::metadata::{CREATED, Metadata, alias, collection, root};

const AT: u64 = CREATED + 50;

/// The output of the official tool for two collections; the second one has no alias.
fn two_collections() -> Image {
    let mut metadata = Metadata::small();
    let mut second = collection(2);
    second.field_indexes.clear();
    metadata.put("root-coord/collection/2", &second);
    metadata.put(
        &format!("snapshots/root-coord/collection/2_ts{CREATED}"),
        &second,
    );
    official(&metadata)
}

fn legacy(image: &mut Image, name: &str, id: i64) {
    let value = alias(name, id).encode_to_vec();
    put(
        image,
        &format!("root-coord/collection-alias/{name}"),
        value.clone(),
    );
    put(
        image,
        &format!("snapshots/root-coord/collection-alias/{name}_ts{AT}"),
        value,
    );
}

fn of(image: &Image, key: &str) -> Option<AliasInfo> {
    let value = image.get(&root().join(key.as_bytes()))?;
    Some(AliasInfo::decode(value.as_slice()).unwrap())
}

fn has_legacy(image: &Image) -> bool {
    image
        .keys()
        .any(|key| String::from_utf8_lossy(key).contains("collection-alias"))
}

fn message(migration: &Migration, severity: Severity, code: &str) -> String {
    let mut found = migration.findings.iter();
    let found = found.find(|it| it.code == code && it.key.contains("collection-alias"));
    let found = found.unwrap_or_else(|| panic!("{code}: {:?}", migration.findings));
    assert_eq!(found.severity, severity, "{code}");
    found.message.clone()
}

#[test]
fn an_alias_that_only_2_1_has_is_carried_over() {
    for (target, key) in [
        ("2.2.8", "root-coord/aliases/fresh"),
        ("2.2.16", "root-coord/database/aliases/1/fresh"),
    ] {
        for has_plain in [true, false] {
            let mut image = two_collections();
            legacy(&mut image, "fresh", 2);
            if !has_plain {
                image.remove(&root().join(b"root-coord/collection-alias/fresh"));
            }
            let migration = repair(&image, target);
            assert!(
                !migration.has_errors(),
                "{target}: {:?}",
                migration.findings
            );
            message(&migration, Severity::Warning, "legacy-alias");
            let repaired = apply(&migration, &image);
            assert!(!has_legacy(&repaired), "{target}");
            let found = of(&repaired, key).unwrap();
            assert_eq!(
                (found.alias_name.as_str(), found.collection_id),
                ("fresh", 2)
            );
            assert!(
                of(&repaired, &format!("snapshots/{key}_ts{AT}")).is_some(),
                "{target}"
            );
            assert_eq!(errors(&repaired, target), Vec::<String>::new(), "{target}");
            assert!(repair(&repaired, target).is_empty(), "{target}");
            assert_resumes("an alias", &image, target, None);
        }
    }
}

#[test]
fn meaningless_2_1_alias_keys_are_deleted() {
    let mut image = two_collections();
    legacy(&mut image, "dangling", 99);
    put(
        &mut image,
        "root-coord/collection-alias/gone",
        TOMBSTONE.to_vec(),
    );
    let migration = repair(&image, "2.2.16");
    message(&migration, Severity::Notice, "alias-without-collection");
    message(&migration, Severity::Notice, "leftover");
    let repaired = apply(&migration, &image);
    assert!(!has_legacy(&repaired));
    assert_eq!(errors(&repaired, "2.2.16"), Vec::<String>::new());
}

#[test]
fn contradicting_2_1_alias_keys_are_rejected() {
    let other = AliasInfo {
        alias_name: "fresh".into(),
        collection_id: 1,
        created_time: 5,
        ..Default::default()
    };
    for value in [other.encode_to_vec(), TOMBSTONE.to_vec()] {
        let mut image = two_collections();
        legacy(&mut image, "fresh", 2);
        put(&mut image, "root-coord/aliases/fresh", value.clone());
        put(&mut image, "snapshots/root-coord/aliases/fresh_ts9", value);
        let text = message(&repair(&image, "2.2.16"), Severity::Error, "two-records");
        assert!(text.contains("collection \"collection_2\" (2)"), "{text}");
    }
    let mut image = two_collections();
    legacy(&mut image, "collection_1", 2);
    message(&repair(&image, "2.2.16"), Severity::Error, "name-taken");
}
