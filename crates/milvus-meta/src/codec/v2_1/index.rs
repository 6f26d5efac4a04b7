//! Index definitions, segment indexes and index builds.

use super::{Pair, UnknownField, note, pair};
use crate::codec::wire::{self, Content, WireError};
use crate::model::{BuildId, CollectionId, IndexId, PartitionId, SegmentId};

/// Value of `root-coord/index/<collection>/<index>` (Milvus' `etcd.IndexInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexDefinition {
    /// `index_name`
    pub name: String,
    /// `indexID`
    pub id: IndexId,
    /// `index_params`, in stored order.
    pub params: Vec<Pair>,
    /// `deleted`
    pub deleted: bool,
    /// `create_time`
    pub create_time: u64,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads an index definition.
pub fn index_definition(value: &[u8]) -> Result<IndexDefinition, WireError> {
    let mut record = IndexDefinition::default();
    let mut noted = Vec::new();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(name)) => record.name = wire::text(name)?,
            (2, Content::Varint(id)) => record.id = IndexId(id.cast_signed()),
            (3, Content::Bytes(bytes)) => record.params.push(pair(bytes, &mut noted)?),
            (4, Content::Varint(deleted)) => record.deleted = deleted != 0,
            (5, Content::Varint(time)) => record.create_time = time,
            _ => note(&mut noted, "etcd.IndexInfo", &field),
        }
    }
    record.unknown = noted;
    Ok(record)
}

/// Value of `root-coord/segment-index/…` (Milvus' `etcd.SegmentIndexInfo`). The field id is
/// omitted, because 2.2 does not store it there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentIndex {
    /// `collectionID`
    pub collection: CollectionId,
    /// `partitionID`
    pub partition: PartitionId,
    /// `segmentID`
    pub segment: SegmentId,
    /// `indexID`
    pub index: IndexId,
    /// `buildID`; 0 for a segment that was never built.
    pub build: BuildId,
    /// `enable_index`
    pub enabled: bool,
    /// `create_time`
    pub create_time: u64,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads a segment index.
pub fn segment_index(value: &[u8]) -> Result<SegmentIndex, WireError> {
    let mut record = SegmentIndex::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.collection = CollectionId(id.cast_signed()),
            (2, Content::Varint(id)) => record.partition = PartitionId(id.cast_signed()),
            (3, Content::Varint(id)) => record.segment = SegmentId(id.cast_signed()),
            (4, Content::Varint(_)) => {}
            (5, Content::Varint(id)) => record.index = IndexId(id.cast_signed()),
            (6, Content::Varint(id)) => record.build = BuildId(id.cast_signed()),
            (7, Content::Varint(enabled)) => record.enabled = enabled != 0,
            (8, Content::Varint(time)) => record.create_time = time,
            _ => note(&mut record.unknown, "etcd.SegmentIndexInfo", &field),
        }
    }
    Ok(record)
}

/// Value of `indexes/<build>` (Milvus' `index.IndexMeta`). The data paths and parameters of the
/// request are omitted, because 2.2 does not store them. Borrows from the value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexBuild<'v> {
    /// `indexBuildID`
    pub id: BuildId,
    /// `state` (3 is finished)
    pub state: u64,
    /// `fail_reason`
    pub fail_reason: &'v [u8],
    /// `req.num_rows`
    pub rows: i64,
    /// `index_file_paths`
    pub file_paths: Vec<&'v [u8]>,
    /// `mark_deleted`
    pub deleted: bool,
    /// `nodeID`
    pub node: i64,
    /// `index_version`
    pub version: i64,
    /// `serialize_size`
    pub serialized_bytes: u64,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads an index build.
///
/// # Errors
/// [`WireError`] if it is not a protobuf message, or a text in it is not UTF-8.
pub fn index_build(value: &[u8]) -> Result<IndexBuild<'_>, WireError> {
    let mut record = IndexBuild::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.id = BuildId(id.cast_signed()),
            (2, Content::Varint(state)) => record.state = state,
            (3, Content::Bytes(reason)) => record.fail_reason = checked(reason)?,
            (4, Content::Bytes(request)) => build_request(request, &mut record)?,
            (5, Content::Bytes(path)) => record.file_paths.push(checked(path)?),
            (6, Content::Varint(deleted)) => record.deleted = deleted != 0,
            (7, Content::Varint(node)) => record.node = node.cast_signed(),
            (8, Content::Varint(version)) => record.version = version.cast_signed(),
            // `recycled`: 2.1 never writes it.
            (9, Content::Varint(_)) => {}
            (10, Content::Varint(size)) => record.serialized_bytes = size,
            _ => note(&mut record.unknown, "index.IndexMeta", &field),
        }
    }
    Ok(record)
}

fn build_request(bytes: &[u8], record: &mut IndexBuild<'_>) -> Result<(), WireError> {
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (8, Content::Varint(rows)) => record.rows = rows.cast_signed(),
            (1 | 3 | 10, Content::Varint(_)) | (2 | 5 | 6 | 7 | 9, Content::Bytes(_)) => {}
            _ => note(&mut record.unknown, "index.BuildIndexRequest", &field),
        }
    }
    Ok(())
}

fn checked(bytes: &[u8]) -> Result<&[u8], WireError> {
    std::str::from_utf8(bytes)
        .map(str::as_bytes)
        .map_err(|_| WireError::BadText)
}
