//! Load states and replicas of the query coordinator, and the numbers of rows of segments.

use super::{DROPPED, UnknownField, note};
use crate::codec::wire::{self, Content, WireError};
use crate::model::{CollectionId, PartitionId, ReplicaId, SegmentId};

/// How a collection was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoadType {
    /// Not recorded, or a number unknown to 2.1.
    #[default]
    Unknown,
    /// Partition by partition.
    Partitions,
    /// The complete collection.
    Collection,
}

/// The load progress of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionLoad {
    /// The partition.
    pub partition: PartitionId,
    /// `inMemory_percentage`, 0 to 100.
    pub percent: i64,
}

/// Value of `queryCoord-collectionMeta/<collection>` (Milvus' `query.CollectionInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadState {
    /// `collectionID`
    pub collection: CollectionId,
    /// `partitionIDs`
    pub partitions: Vec<PartitionId>,
    /// `partition_states`
    pub partition_loads: Vec<PartitionLoad>,
    /// `load_type`
    pub load_type: LoadType,
    /// `released_partitionIDs`
    pub released: Vec<PartitionId>,
    /// `inMemory_percentage`, 0 to 100; for partitions the mean.
    pub percent: i64,
    /// `replica_number`
    pub replica_number: i32,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads a load state.
pub fn load_state(value: &[u8]) -> Result<LoadState, WireError> {
    let mut record = LoadState::default();
    let mut noted = Vec::new();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.collection = CollectionId(id.cast_signed()),
            (number @ (2 | 6), Content::Varint(_) | Content::Bytes(_)) => {
                let ids = field.numbers()?.into_iter();
                let ids = ids.map(|id| PartitionId(id.cast_signed()));
                match number {
                    2 => record.partitions.extend(ids),
                    _ => record.released.extend(ids),
                }
            }
            (3, Content::Bytes(bytes)) => {
                record
                    .partition_loads
                    .push(partition_load(bytes, &mut noted)?);
            }
            (4, Content::Varint(kind)) => {
                record.load_type = match kind {
                    1 => LoadType::Partitions,
                    2 => LoadType::Collection,
                    _ => LoadType::Unknown,
                }
            }
            // The schema and the ids of the replicas, which 2.2 reads from other records.
            (5, Content::Bytes(_)) | (8, Content::Bytes(_) | Content::Varint(_)) => {}
            (7, Content::Varint(percent)) => record.percent = percent.cast_signed(),
            // An int32 is encoded as a 64-bit varint; its low half is the number.
            (9, Content::Varint(number)) => {
                let [a, b, c, d, ..] = number.to_le_bytes();
                record.replica_number = i32::from_le_bytes([a, b, c, d]);
            }
            _ => note(&mut noted, "query.CollectionInfo", &field),
        }
    }
    record.unknown = noted;
    Ok(record)
}

fn partition_load(bytes: &[u8], noted: &mut Vec<UnknownField>) -> Result<PartitionLoad, WireError> {
    let mut load = PartitionLoad::default();
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => load.partition = PartitionId(id.cast_signed()),
            (2, Content::Varint(_)) => {}
            (3, Content::Varint(percent)) => load.percent = percent.cast_signed(),
            _ => note(noted, "query.PartitionStates", &field),
        }
    }
    Ok(load)
}

/// Value of `queryCoord-ReplicaMeta/<replica>` (Milvus' `milvus.ReplicaInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    /// `replicaID`
    pub id: ReplicaId,
    /// `collectionID`
    pub collection: CollectionId,
    /// `node_ids`
    pub nodes: Vec<i64>,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads a replica.
pub fn replica(value: &[u8]) -> Result<Replica, WireError> {
    let mut record = Replica::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.id = ReplicaId(id.cast_signed()),
            (2, Content::Varint(id)) => record.collection = CollectionId(id.cast_signed()),
            // `partition_ids` and `shard_replicas`: 2.2 drops them, too, when it reads these
            // records.
            (3, Content::Varint(_) | Content::Bytes(_)) | (4, Content::Bytes(_)) => {}
            (5, Content::Varint(_) | Content::Bytes(_)) => {
                let ids = field.numbers()?.into_iter();
                record.nodes.extend(ids.map(u64::cast_signed));
            }
            _ => note(&mut record.unknown, "milvus.ReplicaInfo", &field),
        }
    }
    Ok(record)
}

/// The ids, number of rows and state of a segment, from a value of `datacoord-meta/s/…`. These
/// records are not changed, so the rest is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentRows {
    /// `collectionID`
    pub collection: CollectionId,
    /// `partitionID`
    pub partition: PartitionId,
    /// `ID`
    pub segment: SegmentId,
    /// `num_of_rows`
    pub rows: i64,
    /// `state`, a number of `common.SegmentState`
    pub state: u64,
}

impl SegmentRows {
    /// Returns whether the data coordinator still has the segment.
    #[must_use]
    pub fn is_living(&self) -> bool {
        const NOT_EXIST: u64 = 1;
        !matches!(self.state, NOT_EXIST | DROPPED)
    }

    /// Returns whether its rows are in files, from which indexes are built.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        const FLUSHED: u64 = 4;
        self.state == FLUSHED
    }
}

/// Reads the ids, the number of rows and the state of a segment.
pub fn segment_rows(value: &[u8]) -> Result<SegmentRows, WireError> {
    let mut record = SegmentRows::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.segment = SegmentId(id.cast_signed()),
            (2, Content::Varint(id)) => record.collection = CollectionId(id.cast_signed()),
            (3, Content::Varint(id)) => record.partition = PartitionId(id.cast_signed()),
            (5, Content::Varint(rows)) => record.rows = rows.cast_signed(),
            (6, Content::Varint(state)) => record.state = state,
            _ => {}
        }
    }
    Ok(record)
}
