//! Patches stored messages: removes or adds fields and keeps all other bytes, known or not.

use super::wire::{self, Content, Field, WireError, push_bytes, push_number};

/// Field numbers of a collection record (Milvus' `etcd.CollectionInfo`).
mod collection {
    pub(super) const SCHEMA: u32 = 2;
    pub(super) const PARTITIONS: [u32; 3] = [4, 5, 9];
    pub(super) const FIELD_INDEXES: u32 = 6;
    pub(super) const DATABASE: u32 = 15;
    /// `fields` of the schema.
    pub(super) const SCHEMA_FIELDS: u32 = 4;
}

/// `binlogs`, `statslogs` and `deltalogs` of a segment record (Milvus' `data.SegmentInfo`).
const LOGS: [u32; 3] = [11, 12, 13];

/// Returns the embedded form of a collection record: without its list of indexes.
pub fn embedded_collection(record: &[u8]) -> Result<Vec<u8>, WireError> {
    without(record, |field| field.number == collection::FIELD_INDEXES)
}

/// Returns the split form of a collection record: without partitions, fields and its list of
/// indexes, and with the id of the database, if given.
pub fn split_collection(record: &[u8], database: Option<i64>) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(record.len());
    for field in wire::fields(record) {
        let field = field?;
        match (field.number, field.content) {
            (collection::SCHEMA, Content::Bytes(schema)) => {
                let schema = without(schema, |it| it.number == collection::SCHEMA_FIELDS)?;
                push_bytes(&mut out, collection::SCHEMA, &schema);
            }
            (collection::FIELD_INDEXES, _) => {}
            (number, _) if collection::PARTITIONS.contains(&number) => {}
            (collection::DATABASE, _) if database.is_some() => {}
            _ => out.extend_from_slice(field.raw),
        }
    }
    let database = database.unwrap_or_default();
    push_number(&mut out, collection::DATABASE, database.cast_unsigned());
    Ok(out)
}

/// Returns the record of an alias in a database.
pub fn alias_in_database(record: &[u8], database: i64) -> Result<Vec<u8>, WireError> {
    const DATABASE: u32 = 5;
    with_id(record, DATABASE, database)
}

/// Returns the record of a segment index with another build id.
pub fn segment_index_with_build(record: &[u8], build: i64) -> Result<Vec<u8>, WireError> {
    const BUILD: u32 = 6;
    with_id(record, BUILD, build)
}

/// Returns the record of a segment without its lists of logs. With another wire type a field is not
/// a list of logs, as for Milvus.
pub fn segment_without_logs(record: &[u8]) -> Result<Vec<u8>, WireError> {
    without(record, |field| {
        matches!(field.content, Content::Bytes(_)) && LOGS.contains(&field.number)
    })
}

fn with_id(message: &[u8], number: u32, id: i64) -> Result<Vec<u8>, WireError> {
    let mut out = without(message, |field| field.number == number)?;
    push_number(&mut out, number, id.cast_unsigned());
    Ok(out)
}

fn without(message: &[u8], is_removed: impl Fn(&Field<'_>) -> bool) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(message.len());
    for field in wire::fields(message) {
        let field = field?;
        if !is_removed(&field) {
            out.extend_from_slice(field.raw);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::{v2_1, v2_2};

    fn record() -> v2_1::etcd::CollectionInfo {
        v2_1::etcd::CollectionInfo {
            id: 5,
            schema: Some(v2_1::schema::CollectionSchema {
                name: "books".into(),
                auto_id: true,
                fields: vec![v2_1::schema::FieldSchema::default()],
                ..Default::default()
            }),
            create_time: 7,
            partition_i_ds: vec![6],
            partition_names: vec!["_default".into()],
            field_indexes: vec![v2_1::etcd::FieldIndexInfo::default()],
            partition_created_timestamps: vec![7],
            shards_num: 2,
            ..Default::default()
        }
    }

    #[test]
    fn split_form_removes_only_the_moved_fields() {
        let mut bytes = record().encode_to_vec();
        bytes.extend_from_slice(b"\xba\x06\x03xyz");
        let split = split_collection(&bytes, Some(1)).unwrap();
        let read = v2_2::etcd::CollectionInfo::decode(split.as_slice()).unwrap();
        let expected = v2_2::etcd::CollectionInfo {
            id: 5,
            schema: Some(v2_2::schema::CollectionSchema {
                name: "books".into(),
                auto_id: true,
                ..Default::default()
            }),
            create_time: 7,
            shards_num: 2,
            db_id: 1,
            ..Default::default()
        };
        assert_eq!(read, expected);
        assert!(
            split.windows(6).any(|window| window == b"\xba\x06\x03xyz"),
            "the unknown field 103 stays"
        );
        assert_eq!(split_collection(&split, Some(1)).unwrap(), split);
    }

    #[test]
    fn embedded_form_removes_only_the_indexes() {
        let bytes = record().encode_to_vec();
        let mut expected = record();
        expected.field_indexes.clear();
        assert_eq!(
            embedded_collection(&bytes).unwrap(),
            expected.encode_to_vec()
        );
    }
}
