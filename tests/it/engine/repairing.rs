//! The rollback of a repair that restored a schema from a file keeps later writes of other programs.

use meta_migrate::journal::Phase;
use meta_migrate::{EngineError, EngineErrorKind, Environment, migrate};
use meta_report::MigrateReport;
use meta_testing::memory::MemoryStore;
use milvus_meta::proto::v2_2;
use milvus_meta::transform::{CollectionForm, Task};
use prost::Message as _;

use super::instance::Instance;
use crate::rules::lost_schemas::{Damage, metadata, source, without_history};
use crate::rules::repair::{Image, entries};
use crate::support::metadata::root;

const FIELD: &str = "root-coord/fields/1/101";
const PARTITION: &str = "root-coord/partitions/1/99";
const OTHERS_PARTITION: &str = "root-coord/partitions/2/20";

fn partition(id: i64, collection_id: i64) -> Vec<u8> {
    let record = v2_2::etcd::PartitionInfo {
        partition_id: id,
        partition_name: format!("partition_{id}"),
        partition_created_timestamp: 5,
        collection_id,
        state: 0,
    };
    record.encode_to_vec()
}

fn put(image: &mut Image, key: &str, value: &[u8]) {
    for key in [key.to_owned(), format!("snapshots/{key}_ts5")] {
        image.insert(root().join(key.as_bytes()), value.to_vec());
    }
}

/// A collection that lost its schema, and one in the database `default` that did not.
fn damaged() -> Instance {
    let mut image = without_history(Damage::Renamed);
    let second = v2_2::etcd::CollectionInfo {
        id: 2,
        schema: Some(v2_2::schema::CollectionSchema {
            name: "second".into(),
            ..Default::default()
        }),
        db_id: 1,
        create_time: 5,
        ..Default::default()
    };
    let collection = "root-coord/database/collection-info/1/2";
    put(&mut image, collection, &second.encode_to_vec());
    put(&mut image, OTHERS_PARTITION, &partition(20, 2));
    for id in [0, 1, 100] {
        let field = v2_2::schema::FieldSchema {
            field_id: id,
            name: format!("field_{id}"),
            is_primary_key: id == 100,
            data_type: 5,
            ..Default::default()
        };
        put(
            &mut image,
            &format!("root-coord/fields/2/{id}"),
            &field.encode_to_vec(),
        );
    }
    Instance {
        store: MemoryStore::with_entries(&entries(&image)),
        ..Instance::small(CollectionForm::Database)
    }
}

async fn repair(instance: &Instance) -> Result<MigrateReport, EngineError> {
    let mut options = instance.options();
    options.transform.task = Task::Repair;
    options.transform.target = "2.3.22".parse().unwrap();
    options.transform.schemas = Some(source(metadata().list()));
    migrate(&instance.store, &options, &Environment::silent()).await
}

/// An instance whose repair was killed in a phase, after this number of further transactions.
async fn killed(phase: Phase, more: u32) -> Instance {
    let instance = damaged();
    instance.kill_after(phase, more);
    repair(&instance).await.unwrap_err();
    let next = instance.next();
    next.end_lock();
    assert_eq!(next.journal().unwrap().phase, phase);
    next
}

#[tokio::test]
async fn repair_from_a_file_is_rolled_back_from_each_phase() {
    let before = damaged().image();
    for (phase, more) in [
        (Phase::Committed, 0),
        (Phase::Committed, 2),
        (Phase::Tidying, 0),
    ] {
        let instance = killed(phase, more).await;
        instance.roll_back().await.unwrap();
        assert_eq!(instance.image(), before, "{phase:?}");
    }
}

#[tokio::test]
async fn rollback_of_a_repair_from_a_file_keeps_other_writes() {
    let writes = [
        ("a restored field", FIELD, b"changed".to_vec()),
        ("an existing partition", OTHERS_PARTITION, partition(21, 2)),
        (
            "a new partition",
            "root-coord/partitions/2/22",
            partition(22, 2),
        ),
        (
            "a new partition of the restored one",
            PARTITION,
            partition(99, 1),
        ),
    ];
    for (name, key, value) in writes {
        let instance = killed(Phase::Tidying, 0).await;
        instance.put(key, &value);
        let refused = instance.roll_back().await.unwrap_err();
        let EngineErrorKind::WouldLose { what } = &*refused.failure else {
            panic!("{name}: {refused:?}");
        };
        assert!(what.contains(key), "{name}: {what}");
        assert_eq!(instance.get(key), Some(value), "{name}");
    }
}
