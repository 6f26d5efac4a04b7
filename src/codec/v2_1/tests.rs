use prost::Message as _;

use super::*;
use crate::keys::Timestamp;
use crate::model::{CollectionId, FieldId, IndexId, PartitionId};
use crate::proto::v2_1::{common, etcd, index, query, schema};

fn kv(key: &str, value: &str) -> common::KeyValuePair {
    common::KeyValuePair {
        key: key.into(),
        value: value.into(),
    }
}

#[test]
fn the_alias_of_the_fact_sheet_is_read() {
    let record = alias(&[0x08, 0x05, 0x12, 0x03, 0x0a, 0x01, 0x61]).unwrap();
    assert_eq!(record.name.as_deref(), Some("a"));
    assert_eq!(record.collection, CollectionId(5));
    assert!(record.unknown.is_empty());
}

#[test]
fn a_collection_is_read_and_its_fields_keep_their_bytes() {
    let field = schema::FieldSchema {
        field_id: 100,
        name: "vector".into(),
        data_type: 101,
        type_params: vec![kv("dim", "8")],
        ..Default::default()
    };
    let value = etcd::CollectionInfo {
        id: 5,
        schema: Some(schema::CollectionSchema {
            name: "books".into(),
            fields: vec![field.clone()],
            ..Default::default()
        }),
        create_time: 7,
        partition_i_ds: vec![6, 8],
        partition_names: vec!["_default".into(), "p".into()],
        field_indexes: vec![etcd::FieldIndexInfo {
            filed_id: 100,
            index_id: 9,
        }],
        partition_created_timestamps: vec![7, 11],
        shards_num: 2,
        consistency_level: 2,
        ..Default::default()
    }
    .encode_to_vec();
    let record = collection(&value).unwrap();
    assert_eq!(record.name.as_deref(), Some("books"));
    assert_eq!(record.fields[0].raw, field.encode_to_vec());
    assert!(record.fields[0].is_vector());
    assert_eq!(record.field_indexes, [(FieldId(100), IndexId(9))]);
    let partitions = record.partitions().unwrap();
    assert_eq!(
        (partitions[1].id, partitions[1].name, partitions[1].created),
        (PartitionId(8), "p", Timestamp(11))
    );
    assert!(record.unknown.is_empty());
}

#[test]
fn numbers_are_read_packed_and_unpacked() {
    let unpacked = b"\x20\x06\x20\x08\x48\x07\x48\x0b\x2a\x01a\x2a\x01b";
    let record = collection(unpacked).unwrap();
    assert_eq!(record.partition_ids, [PartitionId(6), PartitionId(8)]);
    assert_eq!(record.partition_times, [Timestamp(7), Timestamp(11)]);
}

#[test]
fn a_field_with_another_wire_type_counts_as_unknown() {
    // create_time (3) as text: Milvus' decoder goes on, and so does this.
    let record = collection(b"\x08\x05\x1a\x01x").unwrap();
    assert_eq!(record.id, CollectionId(5));
    assert_eq!(
        record.unknown,
        [UnknownField {
            message: "etcd.CollectionInfo",
            number: 3
        }]
    );
}

#[test]
fn unknown_fields_are_found_wherever_they_stand() {
    let mut request = index::BuildIndexRequest {
        num_rows: 12,
        ..Default::default()
    }
    .encode_to_vec();
    request.extend_from_slice(b"\x20\x01");
    let mut value = b"\x08\x03\x22".to_vec();
    value.push(u8::try_from(request.len()).unwrap());
    value.extend_from_slice(&request);
    value.extend_from_slice(b"\x58\x01");
    let record = index_build(&value).unwrap();
    assert_eq!(record.rows, 12);
    let found: Vec<_> = record
        .unknown
        .iter()
        .map(|field| (field.message, field.number))
        .collect();
    assert_eq!(
        found,
        [("index.BuildIndexRequest", 4), ("index.IndexMeta", 11)]
    );
}

#[test]
fn load_states_and_replicas_are_read() {
    let value = query::CollectionInfo {
        collection_id: 5,
        partition_i_ds: vec![6, 7],
        partition_states: vec![query::PartitionStates {
            partition_id: 6,
            state: 4,
            in_memory_percentage: 100,
        }],
        load_type: 1,
        released_partition_i_ds: vec![8],
        in_memory_percentage: 50,
        replica_ids: vec![1],
        replica_number: 2,
        schema: Some(schema::CollectionSchema::default()),
    }
    .encode_to_vec();
    let record = load_state(&value).unwrap();
    assert_eq!(record.load_type, LoadType::Partitions);
    assert_eq!(record.partition_loads[0].percent, 100);
    assert_eq!((record.percent, record.replica_number), (50, 2));
    assert_eq!(record.released, [PartitionId(8)]);
    assert!(record.unknown.is_empty());
    let unknown = load_state(b"\x20\x07").unwrap();
    assert_eq!(unknown.load_type, LoadType::Unknown);
}

#[test]
fn the_tombstone_is_no_record() {
    assert!(collection(crate::keys::TOMBSTONE).is_err());
}
