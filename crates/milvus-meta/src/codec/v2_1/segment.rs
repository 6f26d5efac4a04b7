//! Segments of the data coordinator, with the logs in their records.

use super::DROPPED;
use crate::codec::wire::{self, Content, WireError};
use crate::keys::LogKind;
use crate::model::{CollectionId, FieldId, PartitionId, SegmentId};

/// The fields of a segment record that are relevant for its logs.
///
/// The value of `datacoord-meta/s/<collection>/<partition>/<segment>` (Milvus' `data.SegmentInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment<'v> {
    /// `collectionID`
    pub collection: CollectionId,
    /// `partitionID`
    pub partition: PartitionId,
    /// `ID`
    pub id: SegmentId,
    /// `num_of_rows`
    pub rows: i64,
    /// Whether `state` is "dropped".
    pub is_dropped: bool,
    /// `binlogs`, `deltalogs` and `statslogs`, in their order.
    pub logs: Vec<FieldLogs<'v>>,
}

/// The logs of a kind and field (Milvus' `data.FieldBinlog`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLogs<'v> {
    /// The kind of the logs.
    pub kind: LogKind,
    /// `fieldID`
    pub field: FieldId,
    /// `binlogs`
    pub logs: Vec<Log<'v>>,
}

/// A log file (Milvus' `data.Binlog`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log<'v> {
    /// `entries_num`
    pub entries: i64,
    /// `timestamp_from`
    pub from: u64,
    /// `timestamp_to`
    pub to: u64,
    /// `log_path`
    pub path: &'v [u8],
    /// `log_size`
    pub size: i64,
}

/// Why the logs of a segment cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The record or a log in it is not a protobuf message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A log has a field that 2.1 does not write.
    #[error("member {0} of a log is unknown")]
    Unknown(u32),
}

/// Reads a segment and its logs.
///
/// # Errors
/// [`SegmentError`] if the logs contain something that would be lost.
pub fn segment(value: &[u8]) -> Result<Segment<'_>, SegmentError> {
    let mut segment = Segment::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => segment.id = SegmentId(id.cast_signed()),
            (2, Content::Varint(id)) => segment.collection = CollectionId(id.cast_signed()),
            (3, Content::Varint(id)) => segment.partition = PartitionId(id.cast_signed()),
            (5, Content::Varint(rows)) => segment.rows = rows.cast_signed(),
            (6, Content::Varint(state)) => segment.is_dropped = state == DROPPED,
            (11, Content::Bytes(logs)) => segment.logs.push(field_logs(LogKind::Insert, logs)?),
            (12, Content::Bytes(logs)) => segment.logs.push(field_logs(LogKind::Statistics, logs)?),
            (13, Content::Bytes(logs)) => segment.logs.push(field_logs(LogKind::Delete, logs)?),
            _ => {}
        }
    }
    Ok(segment)
}

fn field_logs(kind: LogKind, value: &[u8]) -> Result<FieldLogs<'_>, SegmentError> {
    let mut read = FieldLogs {
        kind,
        field: FieldId(0),
        logs: Vec::new(),
    };
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => read.field = FieldId(id.cast_signed()),
            (2, Content::Bytes(value)) => read.logs.push(log(value)?),
            (number, _) => return Err(SegmentError::Unknown(number)),
        }
    }
    Ok(read)
}

fn log(value: &[u8]) -> Result<Log<'_>, SegmentError> {
    let mut log = Log::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(entries)) => log.entries = entries.cast_signed(),
            (2, Content::Varint(from)) => log.from = from,
            (3, Content::Varint(to)) => log.to = to,
            (4, Content::Bytes(path)) => log.path = path,
            (5, Content::Varint(size)) => log.size = size.cast_signed(),
            (number, _) => return Err(SegmentError::Unknown(number)),
        }
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::v2_1::common::SegmentState;
    use crate::proto::v2_1::data;

    #[test]
    fn segment_logs_are_decoded() {
        let binlog = data::Binlog {
            entries_num: 7,
            timestamp_from: 1,
            timestamp_to: 2,
            log_path: "files/insert_log/1/10/50/100/9".into(),
            log_size: 33,
        };
        let of_field = |field_id| data::FieldBinlog {
            field_id,
            binlogs: vec![binlog.clone()],
        };
        let record = data::SegmentInfo {
            id: 50,
            collection_id: 1,
            partition_id: 10,
            num_of_rows: 7,
            state: SegmentState::Dropped.into(),
            binlogs: vec![of_field(100)],
            statslogs: vec![of_field(101)],
            deltalogs: vec![data::FieldBinlog::default()],
            ..Default::default()
        }
        .encode_to_vec();
        let read = segment(&record).unwrap();
        let log = Log {
            entries: 7,
            from: 1,
            to: 2,
            path: b"files/insert_log/1/10/50/100/9",
            size: 33,
        };
        let of = |kind, field, logs| FieldLogs {
            kind,
            field: FieldId(field),
            logs,
        };
        assert_eq!(
            read,
            Segment {
                collection: CollectionId(1),
                partition: PartitionId(10),
                id: SegmentId(50),
                rows: 7,
                is_dropped: true,
                logs: vec![
                    of(LogKind::Insert, 100, vec![log]),
                    of(LogKind::Statistics, 101, vec![log]),
                    of(LogKind::Delete, 0, Vec::new()),
                ],
            }
        );
    }

    #[test]
    fn segment_with_unknown_log_fields_is_rejected() {
        // Field 6 of a log, field 3 of a field's logs, and a path that is a number.
        for (logs, member) in [
            (&b"\x5a\x04\x12\x02\x30\x05"[..], 6),
            (b"\x5a\x02\x18\x05", 3),
            (b"\x5a\x04\x12\x02\x20\x05", 4),
        ] {
            assert_eq!(segment(logs), Err(SegmentError::Unknown(member)));
        }
        let cut = b"\x5a\x04\x12\x02\x30";
        assert!(matches!(segment(cut), Err(SegmentError::Wire(_))));
        // Logs of another wire type are ignored, as by Milvus.
        assert_eq!(segment(b"\x58\x05"), Ok(Segment::default()));
    }
}
