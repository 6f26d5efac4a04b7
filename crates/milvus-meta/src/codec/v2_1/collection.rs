//! Collections and aliases: both are stored as Milvus' `etcd.CollectionInfo`.

use prost::DecodeError;

use super::{Pair, UnknownField, note, pair};
use crate::codec::decode;
use crate::codec::wire::{self, Content, WireError};
use crate::keys::Timestamp;
use crate::model::{CollectionId, FieldId, IndexId, PartitionId};
use crate::proto::{v2_1, v2_2};

const COLLECTION: &str = "etcd.CollectionInfo";
const SCHEMA: &str = "schema.CollectionSchema";
const FIELD: &str = "schema.FieldSchema";

/// A collection record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collection {
    /// `ID`
    pub id: CollectionId,
    /// `schema.name`; `None` if the record has no schema.
    pub name: Option<String>,
    /// `schema.fields`, in stored order.
    pub fields: Vec<FieldSchema>,
    /// `create_time`
    pub create_time: Timestamp,
    /// `partitionIDs`
    pub partition_ids: Vec<PartitionId>,
    /// `partitionNames`
    pub partition_names: Vec<String>,
    /// `partition_created_timestamps`
    pub partition_times: Vec<Timestamp>,
    /// `field_indexes`: the indexes of each field, including deleted ones.
    pub field_indexes: Vec<(FieldId, IndexId)>,
    /// `virtual_channel_names`
    pub virtual_channels: Vec<String>,
    /// `physical_channel_names`, in the order of the virtual ones.
    pub physical_channels: Vec<String>,
    /// `start_positions`: physical channels, each with the id of a message before the collection's
    /// first one.
    pub start_positions: Vec<(Vec<u8>, Vec<u8>)>,
    /// `db_id`, which 2.2.9 added; 0 in records of 2.1.
    pub database: i64,
    /// Fields unknown to 2.1 and 2.2.
    pub unknown: Vec<UnknownField>,
}

/// A partition, from the three parallel lists of a collection record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow<'r> {
    /// Its id.
    pub id: PartitionId,
    /// Its name.
    pub name: &'r str,
    /// The creation time.
    pub created: Timestamp,
}

/// A field of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSchema {
    /// `fieldID`
    pub id: FieldId,
    /// `name`, with invalid UTF-8 replaced: only for comparisons and messages.
    pub name: String,
    /// `is_primary_key`
    pub is_primary_key: bool,
    /// `data_type`
    pub data_type: i64,
    /// `type_params`
    pub type_params: Vec<Pair>,
    /// The stored bytes of the complete `schema.FieldSchema`.
    pub raw: Vec<u8>,
}

impl FieldSchema {
    /// Returns whether the field is a vector (`BinaryVector` 100, `FloatVector` 101).
    #[must_use]
    pub fn is_vector(&self) -> bool {
        matches!(self.data_type, 100 | 101)
    }
}

impl Collection {
    /// Returns the partitions, or `None` if the three lists differ in length.
    #[must_use]
    pub fn partitions(&self) -> Option<Vec<PartitionRow<'_>>> {
        let length = self.partition_ids.len();
        if self.partition_names.len() != length || self.partition_times.len() != length {
            return None;
        }
        let names = self.partition_names.iter().zip(&self.partition_times);
        Some(
            self.partition_ids
                .iter()
                .zip(names)
                .map(|(id, (name, created))| PartitionRow {
                    id: *id,
                    name,
                    created: *created,
                })
                .collect(),
        )
    }
}

/// Reads a collection record.
pub fn collection(value: &[u8]) -> Result<Collection, WireError> {
    let mut record = Collection::default();
    let mut noted = Vec::new();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.id = CollectionId(id.cast_signed()),
            (2, Content::Bytes(bytes)) => schema(bytes, &mut record, &mut noted)?,
            (3, Content::Varint(time)) => record.create_time = Timestamp(time),
            (4, Content::Varint(_) | Content::Bytes(_)) => {
                let ids = field.numbers()?.into_iter();
                let ids = ids.map(|id| PartitionId(id.cast_signed()));
                record.partition_ids.extend(ids);
            }
            (5, Content::Bytes(name)) => record.partition_names.push(wire::text(name)?),
            (6, Content::Bytes(bytes)) => {
                let reference = field_index(bytes, &mut noted)?;
                record.field_indexes.push(reference);
            }
            (9, Content::Varint(_) | Content::Bytes(_)) => {
                let times = field.numbers()?.into_iter();
                record.partition_times.extend(times.map(Timestamp));
            }
            (7, Content::Bytes(name)) => record.virtual_channels.push(wire::text(name)?),
            (8, Content::Bytes(name)) => record.physical_channels.push(wire::text(name)?),
            (11, Content::Bytes(bytes)) => record.start_positions.push(key_data(bytes)?),
            // Kept in the bytes of the record. 13 to 15 are fields that 2.2 added.
            (14, Content::Bytes(_)) | (10 | 12 | 13, Content::Varint(_)) => {}
            (15, Content::Varint(id)) => record.database = id.cast_signed(),
            _ => note(&mut noted, COLLECTION, &field),
        }
    }
    record.unknown = noted;
    Ok(record)
}

/// Checks the parts that [`collection`] does not decode, too: Milvus rejects a record with invalid
/// UTF-8 anywhere in it. Fields are kept unchanged, so 2.2 must be able to read those that 2.1 does
/// not know.
///
/// # Errors
/// [`DecodeError`] if Milvus 2.1 or 2.2 could not decode the record.
pub fn check_collection(value: &[u8]) -> Result<(), DecodeError> {
    decode::<v2_1::etcd::CollectionInfo>("v2_1.etcd.CollectionInfo", value)?;
    decode::<v2_2::etcd::CollectionInfo>("v2_2.etcd.CollectionInfo", value)?;
    Ok(())
}

/// Reads a `common.KeyDataPair`, which is kept in the bytes of the record.
fn key_data(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let mut pair = (Vec::new(), Vec::new());
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(key)) => pair.0 = key.to_vec(),
            (2, Content::Bytes(data)) => pair.1 = data.to_vec(),
            _ => {}
        }
    }
    Ok(pair)
}

fn schema(
    bytes: &[u8],
    record: &mut Collection,
    noted: &mut Vec<UnknownField>,
) -> Result<(), WireError> {
    let name = record.name.get_or_insert_default();
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(text)) => *name = wire::text(text)?,
            (4, Content::Bytes(bytes)) => record.fields.push(field_schema(bytes, noted)?),
            (2, Content::Bytes(_)) | (3 | 5, Content::Varint(_)) => {}
            _ => note(noted, SCHEMA, &field),
        }
    }
    Ok(())
}

fn field_schema(bytes: &[u8], noted: &mut Vec<UnknownField>) -> Result<FieldSchema, WireError> {
    let mut schema = FieldSchema {
        raw: bytes.to_vec(),
        ..FieldSchema::default()
    };
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => schema.id = FieldId(id.cast_signed()),
            (2, Content::Bytes(name)) => schema.name = String::from_utf8_lossy(name).into_owned(),
            (3, Content::Varint(primary)) => schema.is_primary_key = primary != 0,
            (5, Content::Varint(data_type)) => schema.data_type = data_type.cast_signed(),
            (6, Content::Bytes(bytes)) => schema.type_params.push(pair(bytes, noted)?),
            (4 | 7 | 11, Content::Bytes(_)) | (8 | 9 | 10 | 12 | 13, Content::Varint(_)) => {}
            _ => note(noted, FIELD, &field),
        }
    }
    Ok(schema)
}

fn field_index(
    bytes: &[u8],
    noted: &mut Vec<UnknownField>,
) -> Result<(FieldId, IndexId), WireError> {
    let mut reference = (FieldId::default(), IndexId::default());
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => reference.0 = FieldId(id.cast_signed()),
            (2, Content::Varint(id)) => reference.1 = IndexId(id.cast_signed()),
            _ => note(noted, "etcd.FieldIndexInfo", &field),
        }
    }
    Ok(reference)
}

/// An alias record: a collection record with only the id and, as the schema's name, the alias.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alias {
    /// The alias; `None` if the record has no schema.
    pub name: Option<String>,
    /// The collection that it refers to.
    pub collection: CollectionId,
    /// Fields that the 2.2 record does not have.
    pub unknown: Vec<UnknownField>,
}

/// Reads an alias record.
pub fn alias(value: &[u8]) -> Result<Alias, WireError> {
    let mut record = Alias::default();
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => record.collection = CollectionId(id.cast_signed()),
            (2, Content::Bytes(schema)) => {
                let name = record.name.get_or_insert_default();
                for member in wire::fields(schema) {
                    let member = member?;
                    match (member.number, member.content) {
                        (1, Content::Bytes(text)) => *name = wire::text(text)?,
                        (2..=4, _) => {}
                        _ => note(&mut record.unknown, SCHEMA, &member),
                    }
                }
            }
            // Known fields without meaning for an alias.
            (3..=12, _) => {}
            _ => note(&mut record.unknown, COLLECTION, &field),
        }
    }
    Ok(record)
}
