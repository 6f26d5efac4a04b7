//! Metadata in both layouts: the keys that a migration keeps and adds, and the contradictions it
//! finds.

use std::collections::BTreeMap;

use milvus_meta::entry::Entry;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::TOMBSTONE;
use milvus_meta::proto::{v2_1, v2_2};
use milvus_meta::transform::CollectionForm::{self, Database, Split};
use milvus_meta::transform::Migration;
use milvus_meta::verify::Checker;
use prost::Message as _;

use crate::support::metadata::{
    CREATED, Metadata, alias, collection, definition, has, load_state, reference, root,
};
use crate::support::oracle;

type Keys = BTreeMap<String, Vec<u8>>;

const FORMS: [CollectionForm; 2] = [Split, Database];

/// The 2.2 keys of a collection with an index on its vector field.
fn of_2_2(form: CollectionForm, id: i64) -> Keys {
    let mut made = Metadata::default();
    let record = collection(id);
    made.put(&format!("root-coord/collection/{id}"), &record);
    made.put(
        &format!("snapshots/root-coord/collection/{id}_ts{CREATED}"),
        &record,
    );
    made.put(&format!("root-coord/index/{id}/7"), &definition(7));
    made.after(&made.migrate(form))
}

/// [`Metadata::small`] with additional keys.
fn with_keys(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Metadata {
    let mut metadata = Metadata::small();
    metadata.entries.extend(keys);
    metadata
}

fn errors(migration: &Migration) -> Vec<&Finding> {
    let findings = migration.findings.iter();
    findings
        .filter(|it| it.severity == Severity::Error)
        .collect()
}

/// Fails unless the result is valid 2.2 metadata.
fn expect_valid(after: &Keys) {
    let mut checker = Checker::new(root());
    for (key, value) in after {
        checker.push(&Entry::new(root().join(key.as_bytes()), value.clone()));
    }
    let findings = checker.finish();
    let wrong: Vec<_> = findings.iter().filter(|it| it.is_error()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn bytes(keys: &Keys) -> oracle::Keys {
    let keys = keys.iter();
    keys.map(|(key, value)| (key.clone(), value.clone().into()))
        .collect()
}

#[test]
fn other_collections_of_2_2_are_kept() {
    for form in FORMS {
        for theirs in FORMS {
            let other = of_2_2(theirs, 9);
            let mixed = with_keys(other.clone());
            let migration = mixed.migrate(form);
            assert_eq!(
                errors(&migration),
                Vec::<&Finding>::new(),
                "{form}, {theirs}"
            );
            let after = mixed.after(&migration);
            expect_valid(&after);
            for (key, value) in &other {
                let is_shared = key.contains("database/db-info");
                assert!(
                    is_shared || after.get(key) == Some(value),
                    "{form}, {theirs}: {key}"
                );
            }
            oracle::complete(form, &bytes(&Metadata::small().entries), &bytes(&after)).unwrap();
        }
    }
}

#[test]
fn the_commit_names_only_ranges_with_keys() {
    let mut keys = Keys::new();
    for id in 100..200 {
        keys.extend(of_2_2(Split, id));
    }
    let migration = with_keys(keys).migrate(Database);
    assert_eq!(errors(&migration), Vec::<&Finding>::new());
    assert!(
        migration.removals.len() < 10,
        "{}",
        migration.removals.len()
    );
}

#[test]
fn the_same_collection_in_both_layouts_is_kept() {
    for form in FORMS {
        let small = Metadata::small();
        let migrated = small.after(&small.migrate(form));
        let copies = migrated.iter().filter(|(key, _)| {
            key.contains("root-coord/fields/")
                || key.contains("root-coord/partitions/")
                || key.contains("root-coord/database/")
        });
        let mixed = with_keys(copies.map(|(key, value)| (key.clone(), value.clone())));
        let migration = mixed.migrate(form);
        assert_eq!(errors(&migration), Vec::<&Finding>::new(), "{form}");
        assert_eq!(mixed.after(&migration), migrated, "{form}");
    }
}

/// A 2.2 index definition on the vector field of collection 1.
fn rebuilt(id: i64, created: u64, nlist: &str) -> Vec<u8> {
    let pair = |key: &str, value: &str| v2_2::common::KeyValuePair {
        key: key.into(),
        value: value.into(),
    };
    let info = v2_2::index::IndexInfo {
        collection_id: 1,
        field_id: 101,
        index_name: "_default_idx_101".into(),
        index_id: id,
        index_params: vec![
            pair("index_type", "IVF_FLAT"),
            pair("metric_type", "L2"),
            pair("nlist", nlist),
        ],
        ..Default::default()
    };
    let record = v2_2::index::FieldIndex {
        index_info: Some(info),
        deleted: false,
        create_time: created,
    };
    record.encode_to_vec()
}

#[test]
fn an_index_rebuilt_on_2_2_replaces_that_of_2_1() {
    let build = v2_2::index::SegmentIndex {
        collection_id: 1,
        partition_id: 10,
        segment_id: 50,
        index_id: 77,
        build_id: 900,
        ..Default::default()
    };
    // Newer with other parameters, or with the same ones at any time.
    for (created, nlist) in [(CREATED + 50, "16"), (CREATED + 1, "1024")] {
        let mixed = with_keys([
            ("field-index/1/77".to_owned(), rebuilt(77, created, nlist)),
            (
                "segment-index/1/10/50/900".to_owned(),
                build.encode_to_vec(),
            ),
        ]);
        for form in FORMS {
            let migration = mixed.migrate(form);
            assert_eq!(errors(&migration), Vec::<&Finding>::new(), "{form}");
            let key = "root-coord/index/1/7";
            assert!(has(&migration, Severity::Warning, "index-replaced", key));
            let after = mixed.after(&migration);
            expect_valid(&after);
            assert!(!after.contains_key("field-index/1/7"));
            assert!(!after.contains_key("segment-index/1/10/50/90"));
            for key in ["field-index/1/77", "segment-index/1/10/50/900"] {
                assert_eq!(after.get(key), mixed.entries.get(key), "{key}");
            }
            // A loaded collection is loaded with the remaining index.
            let partitions = after
                .iter()
                .filter(|(key, _)| key.starts_with("querycoord-partition-loadinfo/"));
            for (key, value) in partitions {
                let info = v2_2::query::PartitionLoadInfo::decode(value.as_slice()).unwrap();
                assert_eq!(info.field_index_id.get(&101), Some(&77), "{key}");
            }
        }
    }
}

#[test]
fn segment_indexes_that_2_2_has_are_kept() {
    let small = Metadata::small();
    let migrated = small.after(&small.migrate(Split));
    let key = "segment-index/1/10/50/90";
    let mut record = v2_2::index::SegmentIndex::decode(migrated[key].as_slice()).unwrap();
    record.deleted = true;
    let mixed = with_keys([(key.to_owned(), record.encode_to_vec())]);
    let migration = mixed.migrate(Split);
    let after = mixed.after(&migration);
    assert_eq!(after.get(key), mixed.entries.get(key));
    assert!(
        migration
            .staged()
            .all(|put| put.key != root().join(key.as_bytes()))
    );
}

#[test]
fn the_load_state_of_2_2_is_kept() {
    let load = v2_2::query::CollectionLoadInfo {
        collection_id: 1,
        status: 2,
        replica_number: 1,
        ..Default::default()
    };
    let replica = v2_2::query::Replica {
        id: 44,
        collection_id: 1,
        ..Default::default()
    };
    let mixed = with_keys([
        (
            "querycoord-collection-loadinfo/1".to_owned(),
            load.encode_to_vec(),
        ),
        (
            "querycoord-replica/1/44".to_owned(),
            replica.encode_to_vec(),
        ),
    ]);
    let after = mixed.after(&mixed.migrate(Split));
    let loads: Vec<_> = after
        .keys()
        .filter(|key| key.starts_with("querycoord-"))
        .collect();
    assert_eq!(
        loads,
        [
            "querycoord-collection-loadinfo/1",
            "querycoord-replica/1/44"
        ]
    );
}

/// 2.1 wrote a load state for a collection that only 2.2 has: after a migration, before it was
/// started, or after 2.1 was started again.
#[test]
fn a_2_1_load_state_of_a_2_2_collection_is_named() {
    for form in FORMS {
        let mut mixed = with_keys(of_2_2(form, 9));
        let state = v2_1::query::CollectionInfo {
            collection_id: 9,
            ..load_state()
        };
        mixed.put("queryCoord-collectionMeta/9", &state);
        let migration = mixed.migrate(form);
        let findings = migration.findings.iter();
        let found: Vec<_> = findings.filter(|it| it.code == "not-loaded").collect();
        assert_eq!(found.len(), 1, "{found:?}");
        let parts = [
            "(9)",
            "in the 2.2 layout, without a load state; load it again",
        ];
        for part in parts {
            assert!(found[0].message.contains(part), "{found:?}");
        }
        expect_valid(&mixed.after(&migration));
    }
}

fn alias_of_2_2(name: &str, collection: i64) -> Vec<u8> {
    let record = v2_2::etcd::AliasInfo {
        alias_name: name.into(),
        collection_id: collection,
        ..Default::default()
    };
    record.encode_to_vec()
}

#[test]
fn an_alias_missing_from_2_2_is_carried() {
    for form in FORMS {
        let mut mixed = with_keys(of_2_2(form, 9));
        // 2.1 assigned an alias to a 2.2 collection, and has one that 2.2 also has.
        mixed.put("root-coord/collection-alias/fresh", &alias("fresh", 9));
        mixed.put("root-coord/collection-alias/same", &alias("same", 1));
        mixed.raw("root-coord/aliases/same", &alias_of_2_2("same", 1));
        mixed.raw(
            &format!("snapshots/root-coord/aliases/same_ts{CREATED}"),
            &alias_of_2_2("same", 1),
        );
        let migration = mixed.migrate(form);
        assert_eq!(errors(&migration), Vec::<&Finding>::new(), "{form}");
        let after = mixed.after(&migration);
        expect_valid(&after);
        let fresh = match form {
            Database => "root-coord/database/aliases/1/fresh",
            Split | CollectionForm::Embedded => "root-coord/aliases/fresh",
        };
        assert!(after.contains_key(fresh), "{form}");
        assert!(!after.contains_key("root-coord/database/aliases/1/same"));
        assert_eq!(
            after.get("root-coord/aliases/same"),
            mixed.entries.get("root-coord/aliases/same")
        );
    }
}

/// The collection of [`Metadata::small`] in 2.2 form after a change.
fn changed(form: CollectionForm, change: impl Fn(&mut v2_1::etcd::CollectionInfo)) -> Keys {
    let mut metadata = Metadata::small();
    metadata.change_collection(change);
    let keys = metadata.after(&metadata.migrate(form)).into_iter();
    keys.filter(|(key, _)| {
        key.contains("root-coord/fields/")
            || key.contains("root-coord/partitions/")
            || key.contains("root-coord/database/")
    })
    .collect()
}

/// The additional 2.2 keys, the code of the finding, and parts of its message.
type Contradiction = (&'static str, Keys, &'static str, &'static [&'static str]);

fn contradictions() -> Vec<Contradiction> {
    let partition = changed(Database, |record| {
        record.partition_i_ds.push(11);
        record.partition_names.push("extra".into());
        record.partition_created_timestamps.push(CREATED + 1);
    });
    let renamed = changed(Database, |record| {
        record.schema.as_mut().unwrap().name = "volumes".into();
    });
    let dropped = Keys::from([(
        "root-coord/database/collection-info/1/1".to_owned(),
        TOMBSTONE.to_vec(),
    )]);
    let mut aliased = Keys::from([("root-coord/aliases/a".to_owned(), alias_of_2_2("a", 9))]);
    aliased.extend(of_2_2(Database, 9));
    aliased.insert(
        "root-coord/collection-alias/a".into(),
        alias("a", 1).encode_to_vec(),
    );
    let index = Keys::from([(
        "field-index/1/77".to_owned(),
        rebuilt(77, CREATED + 1, "16"),
    )]);
    let same_id = Keys::from([("field-index/1/7".to_owned(), rebuilt(7, CREATED + 9, "16"))]);
    let mut named = of_2_2(Database, 9);
    let mut other = collection(9);
    other.schema.as_mut().unwrap().name = "collection_1".into();
    let mut made = Metadata::default();
    made.put("root-coord/collection/9", &other);
    named.extend(made.after(&made.migrate(Database)));
    let mut as_alias = of_2_2(Database, 9);
    as_alias.insert(
        "root-coord/collection-alias/collection_9".into(),
        alias("collection_9", 1).encode_to_vec(),
    );
    vec![
        (
            "another partition",
            partition,
            "contradiction",
            &["\"collection_1\" (1)", "extra", "2.1 has nothing"],
        ),
        (
            "renamed",
            renamed,
            "contradiction",
            &["schema.name is \"collection_1\" in 2.1 and \"volumes\" in 2.2"],
        ),
        ("dropped", dropped, "contradiction", &["2.2 has nothing"]),
        (
            "alias",
            aliased,
            "contradiction",
            &["\"collection_1\" (1) in 2.1", "\"collection_9\" (9) in 2.2"],
        ),
        ("older index", index, "contradiction", &["1024", "16"]),
        ("same index", same_id, "contradiction", &["field-index/1/7"]),
        (
            "name",
            named,
            "name-taken",
            &["\"collection_1\" (1)", "9", "Rename"],
        ),
        (
            "alias and collection",
            as_alias,
            "name-taken",
            &["\"collection_9\" (9)"],
        ),
    ]
}

#[test]
fn objects_altered_in_both_layouts_are_contradictions() {
    for (case, keys, code, parts) in contradictions() {
        let migration = with_keys(keys).migrate(Database);
        let found = errors(&migration);
        let found = found.iter().find(|it| it.code == code);
        let found = found.unwrap_or_else(|| panic!("{case}: {:?}", migration.findings));
        for part in parts {
            assert!(found.message.contains(part), "{case}: {}", found.message);
        }
        assert!(found.message.contains("meta-migration migrate"), "{case}");
    }
}

#[test]
fn a_record_that_2_2_altered_is_a_contradiction() {
    // 2.2 writes the record of a collection that it read in the embedded form without fields.
    let mut mixed = Metadata::small();
    let split = {
        let small = Metadata::small();
        small.after(&small.migrate(Split))["root-coord/collection/1"].clone()
    };
    mixed.raw("root-coord/collection/1", &split);
    mixed.raw(
        &format!("snapshots/root-coord/collection/1_ts{}", CREATED + 90),
        &split,
    );
    let migration = mixed.migrate(Database);
    let found = errors(&migration);
    assert!(
        found.iter().any(|it| it.code == "contradiction"),
        "{found:?}"
    );
}

#[test]
fn an_index_of_2_1_on_an_unknown_field_is_rejected() {
    let mut mixed = with_keys(of_2_2(Database, 9));
    mixed.put("root-coord/index/9/8", &definition(8));
    let migration = mixed.migrate(Database);
    let found = errors(&migration);
    assert!(
        found.iter().any(|it| it.code == "index-not-migrated"),
        "{found:?}"
    );
    // A deleted index is skipped.
    let mut deleted = definition(8);
    deleted.deleted = true;
    mixed.put("root-coord/index/9/8", &deleted);
    assert_eq!(errors(&mixed.migrate(Database)), Vec::<&Finding>::new());
}

#[test]
fn an_index_in_both_layouts_must_be_the_same() {
    let mut mixed = with_keys(of_2_2(Database, 9));
    mixed.put("root-coord/index/9/7", &definition(7));
    assert_eq!(errors(&mixed.migrate(Database)), Vec::<&Finding>::new());
    let mut changed = definition(7);
    changed
        .index_params
        .push(crate::support::metadata::pair("nprobe", "1"));
    mixed.put("root-coord/index/9/7", &changed);
    let migration = mixed.migrate(Database);
    let found = errors(&migration);
    assert!(
        found.iter().any(|it| it.code == "contradiction"),
        "{found:?}"
    );
}

#[test]
fn an_index_listed_by_2_1_and_defined_by_2_2_is_kept() {
    let mut mixed = Metadata::small();
    mixed.change_collection(|record| record.field_indexes = vec![reference(101, 7)]);
    mixed.remove("root-coord/index/1/7");
    let kept = rebuilt(7, CREATED + 9, "1024");
    mixed.raw("field-index/1/7", &kept);
    let migration = mixed.migrate(Database);
    assert_eq!(errors(&migration), Vec::<&Finding>::new());
    let after = mixed.after(&migration);
    expect_valid(&after);
    assert_eq!(after.get("field-index/1/7"), Some(&kept));
    assert!(after.contains_key("segment-index/1/10/50/90"));
}
