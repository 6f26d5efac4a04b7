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
fn documented_alias_is_decoded() {
    let record = alias(&[0x08, 0x05, 0x12, 0x03, 0x0a, 0x01, 0x61]).unwrap();
    assert_eq!(record.name.as_deref(), Some("a"));
    assert_eq!(record.collection, CollectionId(5));
    assert!(record.unknown.is_empty());
}

#[test]
fn collection_is_decoded_and_keeps_field_bytes() {
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
fn repeated_numbers_are_read_packed_and_unpacked() {
    let unpacked = b"\x20\x06\x20\x08\x48\x07\x48\x0b\x2a\x01a\x2a\x01b";
    let record = collection(unpacked).unwrap();
    assert_eq!(record.partition_ids, [PartitionId(6), PartitionId(8)]);
    assert_eq!(record.partition_times, [Timestamp(7), Timestamp(11)]);
}

#[test]
fn field_with_another_wire_type_is_unknown() {
    // create_time (3) as text: Milvus' decoder ignores it, too.
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
fn unknown_fields_are_reported_at_any_depth() {
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
fn load_states_are_decoded() {
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
fn tombstone_is_not_a_record() {
    assert!(collection(crate::keys::TOMBSTONE).is_err());
}

mod properties {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::v2_2;
    use crate::model::{BuildId, PartitionId, SegmentId};
    use crate::proto::v2_2 as new;

    fn builds() -> impl Strategy<Value = index::IndexMeta> {
        let numbers = (
            any::<i64>(),
            0..6_i32,
            any::<i64>(),
            any::<i64>(),
            any::<u64>(),
        );
        let texts = (".{0,12}", prop::collection::vec("[a-z/_0-9]{0,30}", 0..6));
        let request = (any::<i64>(), any::<i64>());
        (numbers, texts, any::<bool>(), request).prop_map(
            |((id, state, node, version, size), (reason, paths), deleted, (rows, segment))| {
                index::IndexMeta {
                    index_build_id: id,
                    state,
                    fail_reason: reason,
                    req: Some(index::BuildIndexRequest {
                        index_build_id: id,
                        num_rows: rows,
                        segment_id: segment,
                        data_paths: vec!["a".into()],
                        ..Default::default()
                    }),
                    index_file_paths: paths,
                    mark_deleted: deleted,
                    node_id: node,
                    index_version: version,
                    recycled: false,
                    serialize_size: size,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn segment_index_equals_the_generated_message(
            build in builds(),
            ids in any::<[i64; 5]>(),
            create_time in any::<u64>(),
        ) {
            let value = build.encode_to_vec();
            let read = index_build(&value).unwrap();
            prop_assert!(read.unknown.is_empty());
            let part = v2_2::build_part(&read);
            let own = v2_2::SegmentIndexIds {
                collection: CollectionId(ids[0]),
                partition: PartitionId(ids[1]),
                segment: SegmentId(ids[2]),
                index: IndexId(ids[3]),
                build: BuildId(ids[4]),
                create_time,
            };
            let expected = new::index::SegmentIndex {
                collection_id: ids[0],
                partition_id: ids[1],
                segment_id: ids[2],
                num_rows: build.req.unwrap().num_rows,
                index_id: ids[3],
                build_id: ids[4],
                node_id: build.node_id,
                index_version: build.index_version,
                state: build.state,
                fail_reason: build.fail_reason,
                index_file_keys: build
                    .index_file_paths
                    .iter()
                    .map(|path| path.rsplit('/').next().unwrap().to_owned())
                    .collect(),
                deleted: build.mark_deleted,
                create_time,
                serialize_size: build.serialize_size,
                write_handoff: build.state == 3,
            };
            prop_assert_eq!(v2_2::segment_index(&own, &part), expected.encode_to_vec());
        }

        #[test]
        fn segment_index_decoding_matches_its_message(ids in any::<[i64; 6]>(), enabled in any::<bool>(),
                                                  create_time in any::<u64>()) {
            let message = etcd::SegmentIndexInfo {
                collection_id: ids[0],
                partition_id: ids[1],
                segment_id: ids[2],
                field_id: ids[3],
                index_id: ids[4],
                build_id: ids[5],
                enable_index: enabled,
                create_time,
            };
            let read = segment_index(&message.encode_to_vec()).unwrap();
            let expected = SegmentIndex {
                collection: CollectionId(ids[0]),
                partition: PartitionId(ids[1]),
                segment: SegmentId(ids[2]),
                index: IndexId(ids[4]),
                build: BuildId(ids[5]),
                enabled,
                create_time,
                unknown: Vec::new(),
            };
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = collection(&bytes).map(|record| record.partitions().map(|rows| rows.len()));
            let _ = alias(&bytes);
            let _ = index_definition(&bytes);
            let _ = segment_index(&bytes);
            let _ = index_build(&bytes).map(|build| v2_2::build_part(&build));
            let _ = load_state(&bytes);
            let _ = replica(&bytes);
            let _ = segment_rows(&bytes);
        }
    }
}
