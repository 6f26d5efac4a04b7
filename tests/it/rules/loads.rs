//! T8 and T15: load state and replicas. D37, D38.

use std::collections::BTreeMap;

use milvus_meta::finding::Severity;
use milvus_meta::proto::v2_1::query;
use milvus_meta::proto::v2_2::query::{CollectionLoadInfo, PartitionLoadInfo, Replica};
use milvus_meta::proto::v2_3;
use milvus_meta::transform::CollectionForm::{Database, Split};
use milvus_meta::transform::{Migration, OnBrokenRecord};
use prost::Message as _;

use super::FORMS;
use crate::support::metadata::{
    Metadata, definition, has, load_state, migrate_to, partition_state, reference, replica,
};

const STATE: &str = "queryCoord-collectionMeta/1";

fn with_state(change: impl Fn(&mut query::CollectionInfo)) -> Metadata {
    let mut before = Metadata::small();
    let mut state = load_state();
    change(&mut state);
    before.put(STATE, &state);
    before
}

fn is_loaded(before: &Metadata) -> bool {
    let after = before.after(&before.migrate(Split));
    after.keys().any(|key| key.starts_with("querycoord-"))
}

#[test]
fn t8_a_loaded_collection_keeps_its_replicas() {
    let before = with_state(|state| {
        state.replica_number = 0;
        state.released_partition_i_ds = vec![77];
    });
    for form in FORMS {
        let after = before.after(&before.migrate(form));
        let expected = CollectionLoadInfo {
            collection_id: 1,
            released_partitions: vec![77],
            replica_number: 1,
            status: 2,
            field_index_id: BTreeMap::from([(101, 7)]),
        };
        let key = "querycoord-collection-loadinfo/1";
        assert_eq!(after[key], expected.encode_to_vec());
        let expected = Replica {
            id: 30,
            collection_id: 1,
            nodes: vec![4],
            resource_group: String::new(),
        };
        assert_eq!(after["querycoord-replica/1/30"], expected.encode_to_vec());
        assert!(!after.keys().any(|key| key.starts_with("queryCoord-")));
    }
}

#[test]
fn t8_the_last_live_index_is_named() {
    let mut before = Metadata::small();
    before.change_collection(|record| {
        record.field_indexes = vec![reference(101, 6), reference(101, 7), reference(101, 8)];
    });
    before.put("root-coord/index/1/6", &definition(6));
    let mut deleted = definition(8);
    deleted.deleted = true;
    before.put("root-coord/index/1/8", &deleted);
    let after = before.after(&before.migrate(Split));
    let info = after["querycoord-collection-loadinfo/1"].as_slice();
    let info = CollectionLoadInfo::decode(info).unwrap();
    assert_eq!(info.field_index_id, BTreeMap::from([(101, 7)]));
}

#[test]
fn t8_partitions_are_checked_one_by_one() {
    let mut before = with_state(|state| {
        state.load_type = 1;
        state.partition_i_ds = vec![10, 11];
        state.partition_states = vec![partition_state(10, 100), partition_state(11, 40)];
        state.in_memory_percentage = 70;
    });
    before.change_collection(|record| {
        record.partition_i_ds.push(11);
        record.partition_names.push("half".into());
        record.partition_created_timestamps.push(record.create_time);
    });
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    let expected = PartitionLoadInfo {
        collection_id: 1,
        partition_id: 10,
        replica_number: 1,
        status: 2,
        field_index_id: BTreeMap::from([(101, 7)]),
    };
    assert_eq!(
        after["querycoord-partition-loadinfo/1/10"],
        expected.encode_to_vec()
    );
    assert!(!after.contains_key("querycoord-partition-loadinfo/1/11"));
    assert!(!after.contains_key("querycoord-collection-loadinfo/1"));
    assert!(after.contains_key("querycoord-replica/1/30"));
    assert!(has(
        &migration,
        Severity::Notice,
        "partition-not-loaded",
        STATE
    ));
}

#[test]
fn d38_t8_unloaded_collections_are_listed() {
    for (case, before) in [
        (
            "half loaded",
            with_state(|state| state.in_memory_percentage = 99),
        ),
        ("unknown load type", with_state(|state| state.load_type = 0)),
        (
            "no such collection",
            with_state(|state| state.collection_id = 5),
        ),
        (
            "no complete partition",
            with_state(|state| {
                state.load_type = 1;
                state.partition_states = vec![partition_state(10, 99)];
            }),
        ),
        ("no replica", {
            let mut before = Metadata::small();
            before.remove("queryCoord-ReplicaMeta/30");
            before
        }),
    ] {
        let migration = before.migrate(Split);
        assert!(!is_loaded(&before), "{case}");
        assert!(
            has(&migration, Severity::Notice, "not-loaded", STATE),
            "{case}"
        );
        assert!(!migration.has_errors(), "{case}");
    }
}

#[test]
fn d37_t8_loading_needs_a_live_vector_index() {
    for load_type in [1, 2] {
        let mut none = with_state(|state| state.load_type = load_type);
        none.change_collection(|record| record.field_indexes.clear());
        assert!(!is_loaded(&none));

        let mut scalar = with_state(|state| state.load_type = load_type);
        scalar.change_collection(|record| record.field_indexes = vec![reference(100, 7)]);
        assert!(!is_loaded(&scalar));
        assert!(has(
            &scalar.migrate(Split),
            Severity::Notice,
            "not-loaded",
            STATE
        ));

        let mut deleted = with_state(|state| state.load_type = load_type);
        let mut record = definition(7);
        record.deleted = true;
        deleted.put("root-coord/index/1/7", &record);
        assert!(!is_loaded(&deleted));
    }
}

#[test]
fn t8_replicas_of_unloaded_collections_are_deleted() {
    let mut before = Metadata::small();
    before.put("queryCoord-ReplicaMeta/31", &replica(31, 55));
    let migration = before.migrate(Split);
    let after = before.after(&migration);
    assert_eq!(after.keys().filter(|key| key.contains("eplica")).count(), 1);
    let key = "queryCoord-ReplicaMeta/31";
    assert!(has(&migration, Severity::Notice, "replica-left-out", key));
}

/// Two partitions, 10 and 11: only the first is loaded, or the collection with both.
fn with_two_partitions(load_type: i32, released: &[i64]) -> Metadata {
    let mut before = with_state(|state| {
        state.load_type = load_type;
        state.partition_i_ds = vec![10];
        state.released_partition_i_ds = released.to_vec();
        state.replica_number = 2;
    });
    before.change_collection(|record| {
        record.partition_i_ds.push(11);
        record.partition_names.push("second".into());
        record.partition_created_timestamps.push(record.create_time);
    });
    before
}

#[test]
fn t15_2_3_has_collection_and_partition_loads() {
    let partition = |id: i64| PartitionLoadInfo {
        collection_id: 1,
        partition_id: id,
        replica_number: 2,
        status: 2,
        field_index_id: BTreeMap::from([(101, 7)]),
    };
    for target in ["2.3.0", "2.3.22", "2.4.24", "2.5.4", "2.6.0"] {
        for (kind, released, partitions) in [
            (1, &[][..], &[10][..]),
            (2, &[], &[10, 11]),
            (2, &[11], &[10]),
        ] {
            let before = with_two_partitions(kind, released);
            let migration = migrate_to(&before.list(), Database, OnBrokenRecord::Fail, target);
            assert!(has_only_loads(&migration));
            let after = before.after(&migration);
            let expected = v2_3::query::CollectionLoadInfo {
                collection_id: 1,
                released_partitions: released.to_vec(),
                replica_number: 2,
                status: 2,
                field_index_id: BTreeMap::from([(101, 7)]),
                load_type: kind,
            };
            let found = &after["querycoord-collection-loadinfo/1"];
            assert_eq!(*found, expected.encode_to_vec(), "{target}");
            for id in [10, 11] {
                let found = after.get(&format!("querycoord-partition-loadinfo/1/{id}"));
                let expected = partitions.contains(&id);
                let expected = expected.then(|| partition(id).encode_to_vec());
                assert_eq!(found, expected.as_ref(), "{target} {kind} {id}");
            }
            assert!(after.contains_key("querycoord-replica/1/30"));
        }
    }
}

/// No release needs extra records of partition loads: 2.3 and later recover them.
fn has_only_loads(migration: &Migration) -> bool {
    let mut findings = migration.findings.iter();
    findings.all(|finding| !finding.code.contains("partition"))
}

#[test]
fn t15_before_2_3_one_kind_of_record_is_written() {
    for target in ["2.2.0", "2.2.8", "2.2.16"] {
        let form = if target == "2.2.16" { Database } else { Split };
        for (kind, collections, partitions) in [(1, 0, 1), (2, 1, 0)] {
            let before = with_two_partitions(kind, &[]);
            let migration = migrate_to(&before.list(), form, OnBrokenRecord::Fail, target);
            let after = before.after(&migration);
            let count = |prefix: &str| after.keys().filter(|key| key.starts_with(prefix)).count();
            assert_eq!(count("querycoord-collection-loadinfo/"), collections);
            assert_eq!(count("querycoord-partition-loadinfo/"), partitions);
        }
    }
}

#[test]
fn unloaded_collections_are_named_with_a_hint() {
    let message = |before: &Metadata| {
        let migration = before.migrate(Split);
        let mut findings = migration.findings.iter();
        let notice = findings.find(|finding| finding.code == "not-loaded");
        notice.unwrap().message.clone()
    };
    let half = message(&with_state(|state| state.in_memory_percentage = 59));
    let start = "collection \"collection_1\" (1) will not be loaded";
    assert!(
        half.starts_with(start) && half.ends_with("; load it again"),
        "{half}"
    );
    // Also a partly loaded collection: loading it again would fail.
    let mut none = with_state(|state| state.in_memory_percentage = 59);
    none.change_collection(|record| record.field_indexes.clear());
    let none = message(&none);
    assert!(none.starts_with(start), "{none}");
    assert!(
        none.contains("create an index") && !none.contains("load it again"),
        "{none}"
    );
    let missing = message(&with_state(|state| state.collection_id = 5));
    assert!(
        missing.ends_with("the collection does not exist"),
        "{missing}"
    );
}

#[test]
fn d19_the_old_load_state_is_deleted_and_planned() {
    let before = Metadata::small();
    for form in FORMS {
        let migration = before.migrate(form);
        let after = before.after(&migration);
        assert!(!after.keys().any(|key| key.starts_with("queryCoord-")));
        let plan = migration.plan(milvus_meta::layout::Layout::V2_1, 1);
        for name in ["queryCoord-collectionMeta", "queryCoord-ReplicaMeta"] {
            let family = plan.families.iter().find(|family| family.name == name);
            assert_eq!(family.map(|family| family.delete), Some(1), "{name}");
        }
    }
}
