//! Writes the records of Milvus 2.2.

use std::collections::BTreeMap;

use prost::Message as _;

use super::v2_1::{IndexBuild, IndexDefinition, Log, MsgPosition, Pair, PartitionRow, Replica};
use super::wire::{push_bytes, push_number, push_varint, take_varint};
use crate::keys::{Timestamp, is_tombstone};
use crate::model::{BuildId, CollectionId, FieldId, IndexId, PartitionId, SegmentId};
use crate::proto::v2_2::{common, etcd, index, internal, query};

/// Value of `root-coord/partitions/<collection>/<partition>`.
#[must_use]
pub fn partition(collection: CollectionId, row: &PartitionRow<'_>) -> Vec<u8> {
    etcd::PartitionInfo {
        partition_id: row.id.0,
        partition_name: row.name.to_owned(),
        partition_created_timestamp: row.created.0,
        collection_id: collection.0,
        state: etcd::PartitionState::PartitionCreated.into(),
    }
    .encode_to_vec()
}

/// Value of `root-coord/aliases/<alias>`; with a database, the value of
/// `root-coord/database/aliases/<database>/<alias>`.
#[must_use]
pub fn alias(
    name: &str,
    collection: CollectionId,
    created: Timestamp,
    database: Option<i64>,
) -> Vec<u8> {
    etcd::AliasInfo {
        alias_name: name.to_owned(),
        collection_id: collection.0,
        created_time: created.0,
        state: etcd::AliasState::AliasCreated.into(),
        db_id: database.unwrap_or_default(),
    }
    .encode_to_vec()
}

/// Returns the collection to which an alias refers; `None` if it is dropped or unreadable.
#[must_use]
pub fn collection_of_alias(value: &[u8]) -> Option<CollectionId> {
    let info = etcd::AliasInfo::decode(value).ok();
    let info = info.filter(|_| !is_tombstone(value))?;
    Some(CollectionId(info.collection_id))
}

/// Value of `root-coord/database/db-info/1`: the database `default`.
#[must_use]
pub fn default_database(created: Timestamp) -> Vec<u8> {
    etcd::DatabaseInfo {
        tenant_id: String::new(),
        name: "default".to_owned(),
        id: 1,
        state: etcd::DatabaseState::DatabaseCreated.into(),
        created_time: created.physical_nanoseconds(),
    }
    .encode_to_vec()
}

/// Value of `field-index/<collection>/<index>`, with flattened parameters and those of the user.
#[must_use]
pub fn field_index(
    (collection, field): (CollectionId, FieldId),
    type_params: &[Pair],
    definition: &IndexDefinition,
    name: String,
    params: &BTreeMap<String, String>,
    user_params: &[Pair],
) -> Vec<u8> {
    index::FieldIndex {
        index_info: Some(index::IndexInfo {
            collection_id: collection.0,
            field_id: field.0,
            index_name: name,
            index_id: definition.id.0,
            type_params: pairs(type_params.iter().map(|(key, value)| (key, value))),
            index_params: pairs(params.iter()),
            indexed_rows: 0,
            total_rows: 0,
            state: common::IndexState::None.into(),
            index_state_fail_reason: String::new(),
            is_auto_index: false,
            user_index_params: pairs(user_params.iter().map(|(key, value)| (key, value))),
            pending_index_rows: 0,
        }),
        deleted: definition.deleted,
        create_time: definition.create_time,
    }
    .encode_to_vec()
}

fn pairs<'p>(pairs: impl Iterator<Item = (&'p String, &'p String)>) -> Vec<common::KeyValuePair> {
    pairs
        .map(|(key, value)| common::KeyValuePair {
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
}

/// Value of `querycoord-partition-loadinfo/<collection>/<partition>`.
#[must_use]
pub fn partition_load(
    collection: CollectionId,
    partition: PartitionId,
    replica_number: i32,
    indexes: &BTreeMap<FieldId, IndexId>,
) -> Vec<u8> {
    query::PartitionLoadInfo {
        collection_id: collection.0,
        partition_id: partition.0,
        replica_number,
        status: query::LoadStatus::Loaded.into(),
        field_index_id: indexes
            .iter()
            .map(|(field, index)| (field.0, index.0))
            .collect(),
    }
    .encode_to_vec()
}

/// Value of `querycoord-replica/<collection>/<replica>`.
#[must_use]
pub fn replica(replica: &Replica) -> Vec<u8> {
    query::Replica {
        id: replica.id.0,
        collection_id: replica.collection.0,
        nodes: replica.nodes.clone(),
        resource_group: String::new(),
    }
    .encode_to_vec()
}

/// Value of `datacoord-meta/channel-cp/<virtual channel>`.
#[must_use]
pub fn message_position(channel: &str, position: &MsgPosition) -> Vec<u8> {
    internal::MsgPosition {
        channel_name: channel.to_owned(),
        msg_id: position.message.clone(),
        msg_group: position.group.clone(),
        timestamp: position.timestamp,
    }
    .encode_to_vec()
}

/// Value of `datacoord-meta/{binlog,deltalog,statslog}/<collection>/<partition>/<segment>/<field>`:
/// the logs with their ids.
#[must_use]
pub fn field_logs(field: FieldId, logs: &[(i64, Log<'_>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + 48 * logs.len());
    push_number(&mut out, 1, field.0.cast_unsigned());
    let mut inner = Vec::with_capacity(48);
    for (id, log) in logs {
        inner.clear();
        push_number(&mut inner, 1, log.entries.cast_unsigned());
        push_number(&mut inner, 2, log.from);
        push_number(&mut inner, 3, log.to);
        push_number(&mut inner, 5, log.size.cast_unsigned());
        push_number(&mut inner, 6, id.cast_unsigned());
        push_bytes(&mut out, 2, &inner);
    }
    out
}

/// The number of the index state "finished".
const FINISHED: u64 = 3;

/// Encodes the fields that a segment index takes from its build: three runs, between which the
/// other fields of the segment index are inserted.
///
/// Format: length and bytes of field 4, length and bytes of fields 7 to 12, length and bytes of
/// fields 14 and 15.
#[must_use]
pub fn build_part(build: &IndexBuild<'_>) -> Vec<u8> {
    let mut rows = Vec::new();
    push_number(&mut rows, 4, build.rows.cast_unsigned());
    let mut middle = Vec::new();
    push_number(&mut middle, 7, build.node.cast_unsigned());
    push_number(&mut middle, 8, build.version.cast_unsigned());
    push_number(&mut middle, 9, build.state);
    if !build.fail_reason.is_empty() {
        push_bytes(&mut middle, 10, build.fail_reason);
    }
    for path in &build.file_paths {
        push_bytes(&mut middle, 11, file_name(path));
    }
    push_number(&mut middle, 12, build.deleted.into());
    let mut end = Vec::new();
    push_number(&mut end, 14, build.serialized_bytes);
    push_number(&mut end, 15, (build.state == FINISHED).into());

    let mut part = Vec::with_capacity(rows.len() + middle.len() + end.len() + 4);
    for run in [rows, middle, end] {
        push_varint(&mut part, run.len() as u64);
        part.extend_from_slice(&run);
    }
    part
}

/// Encodes the build part of a segment that was too small to be indexed: finished, version 1,
/// without files.
#[must_use]
pub fn placeholder_part(rows: i64) -> Vec<u8> {
    build_part(&IndexBuild {
        state: FINISHED,
        version: 1,
        rows,
        ..IndexBuild::default()
    })
}

/// Returns the last path element.
#[must_use]
pub fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The fields of a segment index that are not from its build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentIndexIds {
    /// `collectionID`
    pub collection: CollectionId,
    /// `partitionID`
    pub partition: PartitionId,
    /// `segmentID`
    pub segment: SegmentId,
    /// `indexID`
    pub index: IndexId,
    /// `buildID`
    pub build: BuildId,
    /// `create_time`
    pub create_time: u64,
}

/// Value of `segment-index/<collection>/<partition>/<segment>/<build>`: these fields and those of
/// [`build_part`], in ascending order of their numbers.
#[must_use]
pub fn segment_index(ids: &SegmentIndexIds, part: &[u8]) -> Vec<u8> {
    let mut rest = part;
    let mut run = || {
        let length = take_varint(&mut rest).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (head, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        head
    };
    let mut out = Vec::with_capacity(part.len() + 64);
    push_number(&mut out, 1, ids.collection.0.cast_unsigned());
    push_number(&mut out, 2, ids.partition.0.cast_unsigned());
    push_number(&mut out, 3, ids.segment.0.cast_unsigned());
    out.extend_from_slice(run());
    push_number(&mut out, 5, ids.index.0.cast_unsigned());
    push_number(&mut out, 6, ids.build.0.cast_unsigned());
    out.extend_from_slice(run());
    push_number(&mut out, 13, ids.create_time);
    out.extend_from_slice(run());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v2_2::data;

    #[test]
    fn segment_index_encoding_matches_its_message() {
        let build = IndexBuild {
            id: BuildId(9),
            state: 4,
            fail_reason: b"out of memory",
            rows: 1_530_896,
            file_paths: vec![b"files/index_files/9/2/6/7/IVF_0", b"SLICE_META", b"a/"],
            deleted: true,
            node: 28,
            version: 2,
            serialized_bytes: 740_578_604,
            unknown: Vec::new(),
        };
        let ids = SegmentIndexIds {
            collection: CollectionId(436_365_140_092_256_301),
            partition: PartitionId(6),
            segment: SegmentId(7),
            index: IndexId(8),
            build: BuildId(9),
            create_time: 77,
        };
        let expected = index::SegmentIndex {
            collection_id: 436_365_140_092_256_301,
            partition_id: 6,
            segment_id: 7,
            num_rows: 1_530_896,
            index_id: 8,
            build_id: 9,
            node_id: 28,
            index_version: 2,
            state: 4,
            fail_reason: "out of memory".into(),
            index_file_keys: vec!["IVF_0".into(), "SLICE_META".into(), String::new()],
            deleted: true,
            create_time: 77,
            serialize_size: 740_578_604,
            write_handoff: false,
        };
        assert_eq!(
            segment_index(&ids, &build_part(&build)),
            expected.encode_to_vec()
        );
    }

    #[test]
    fn placeholder_is_a_finished_build_without_files() {
        let ids = SegmentIndexIds {
            collection: CollectionId(1),
            partition: PartitionId(2),
            segment: SegmentId(3),
            index: IndexId(4),
            build: BuildId(5),
            create_time: 6,
        };
        let read =
            index::SegmentIndex::decode(segment_index(&ids, &placeholder_part(1024)).as_slice())
                .unwrap();
        assert_eq!(
            (read.num_rows, read.index_version, read.state),
            (1024, 1, 3)
        );
        assert!(read.write_handoff && read.index_file_keys.is_empty());
    }

    #[test]
    fn field_logs_encoding_matches_its_message() {
        let log = Log {
            entries: 1024,
            from: 436_365_140_092_256_301,
            to: 436_365_140_092_256_302,
            path: b"files/insert_log/1/10/50/100/9",
            size: 77,
        };
        let binlog = data::Binlog {
            entries_num: 1024,
            timestamp_from: 436_365_140_092_256_301,
            timestamp_to: 436_365_140_092_256_302,
            log_path: String::new(),
            log_size: 77,
            log_id: 9,
        };
        let expected = data::FieldBinlog {
            field_id: 100,
            binlogs: vec![
                binlog,
                data::Binlog {
                    log_id: 8,
                    ..Default::default()
                },
            ],
        };
        assert_eq!(
            field_logs(FieldId(100), &[(9, log), (8, Log::default())]),
            expected.encode_to_vec()
        );
        assert_eq!(field_logs(FieldId(0), &[]), b"");
    }

    #[test]
    fn documented_alias_is_encoded() {
        assert_eq!(
            alias("a", CollectionId(5), Timestamp(0), None),
            [0x0a, 1, 0x61, 0x10, 5]
        );
        assert_eq!(
            alias("a", CollectionId(5), Timestamp(7), None),
            [0x0a, 1, 0x61, 0x10, 5, 0x18, 7]
        );
    }
}
