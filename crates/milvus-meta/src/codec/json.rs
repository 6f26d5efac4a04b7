//! Describes values of any family as JSON, for users.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

use crate::keys::{Family, is_tombstone};
use crate::proto::DESCRIPTORS;

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// The storage format of a family's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A protobuf message, by its name in the schemas of this crate.
    Message(&'static str),
    /// Text if it is printable, otherwise a protobuf message.
    TextOrMessage(&'static str),
    /// Text or JSON.
    Text,
    /// An unknown format.
    Unknown,
}

/// Describes the value of a key (relative to the meta root) as JSON.
///
/// A known record has Milvus' field names, without fields at their default. 64-bit numbers are
/// strings, because most programs lose precision of such JSON numbers. A tombstone is
/// `{"tombstone": true}`. Texts are strings, JSON values are unchanged, and unreadable values are
/// `{"base64": "…"}`. A field `<name>_utc` is added for each timestamp.
#[must_use]
pub fn describe(relative_key: &[u8], value: &[u8]) -> Value {
    if is_tombstone(value) {
        return json!({ "tombstone": true });
    }
    let family = Family::of(relative_key);
    let read = match form(family) {
        Form::Message(name) => message(name, value),
        Form::TextOrMessage(name) => text(value).or_else(|| message(name, value)),
        Form::Text => text(value),
        Form::Unknown => text(value).filter(|_| !value.is_empty()),
    };
    let mut shown = read.unwrap_or_else(|| json!({ "base64": STANDARD.encode(value) }));
    super::times::add(family, &mut shown);
    shown
}

pub(super) fn descriptor(name: &str) -> Option<MessageDescriptor> {
    POOL.as_ref()?.get_message_by_name(name)
}

fn message(name: &str, value: &[u8]) -> Option<Value> {
    let descriptor = descriptor(name)?;
    let message = DynamicMessage::decode(descriptor, value).ok()?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(true)
        .use_proto_field_name(true)
        .skip_default_fields(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .ok()
}

/// Returns JSON objects, lists and strings unchanged, and other printable text as a string.
fn text(value: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(value).ok()?;
    if text
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(parsed @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => Some(parsed),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_)) | Err(_) => {
            Some(Value::String(text.to_owned()))
        }
    }
}

fn form(family: Family) -> Form {
    match family {
        Family::Collection
        | Family::CollectionSnapshot
        | Family::DatabaseCollection
        | Family::DatabaseCollectionSnapshot => Form::Message("v2_2.etcd.CollectionInfo"),
        Family::LegacyAlias | Family::LegacyAliasSnapshot => {
            Form::Message("v2_1.etcd.CollectionInfo")
        }
        Family::Alias
        | Family::AliasSnapshot
        | Family::DatabaseAlias
        | Family::DatabaseAliasSnapshot => Form::Message("v2_2.etcd.AliasInfo"),
        Family::Partition | Family::PartitionSnapshot => Form::Message("v2_2.etcd.PartitionInfo"),
        Family::Field | Family::FieldSnapshot => Form::Message("v2_2.schema.FieldSchema"),
        Family::Database | Family::DatabaseSnapshot => Form::Message("v2_2.etcd.DatabaseInfo"),
        Family::LegacyIndex | Family::LegacyIndexSnapshot => Form::Message("v2_1.etcd.IndexInfo"),
        Family::LegacySegmentIndex | Family::LegacySegmentIndexSnapshot => {
            Form::Message("v2_1.etcd.SegmentIndexInfo")
        }
        Family::IndexBuild => Form::Message("v2_1.index.IndexMeta"),
        Family::FieldIndex => Form::Message("v2_2.index.FieldIndex"),
        Family::SegmentIndex => Form::Message("v2_2.index.SegmentIndex"),
        Family::QueryCollection => Form::Message("v2_1.query.CollectionInfo"),
        Family::QueryReplica => Form::Message("v2_2.milvus.ReplicaInfo"),
        Family::QueryDeltaChannel => Form::Message("v2_1.data.VchannelInfo"),
        Family::QueryDmChannel => Form::Message("v2_1.query.DmChannelWatchInfo"),
        Family::QueryUnsubscribe => Form::Message("v2_1.query.UnsubscribeChannelInfo"),
        Family::QuerySegment | Family::Handoff => Form::Message("v2_2.query.SegmentInfo"),
        Family::ResourceGroup => Form::Message("v2_2.query.ResourceGroup"),
        Family::CollectionLoadInfo => Form::Message("v2_3.query.CollectionLoadInfo"),
        Family::PartitionLoadInfo => Form::Message("v2_2.query.PartitionLoadInfo"),
        Family::Replica => Form::Message("v2_2.query.Replica"),
        Family::Segment => Form::Message("v2_2.data.SegmentInfo"),
        Family::Binlog | Family::Deltalog | Family::Statslog => {
            Form::Message("v2_2.data.FieldBinlog")
        }
        Family::ChannelCheckpoint => Form::Message("v2_2.internal.MsgPosition"),
        Family::ChannelWatch => Form::Message("v2_2.data.ChannelWatchInfo"),
        Family::SegmentReference => Form::Message("v2_2.data.SegmentReferenceLock"),
        Family::ChannelRemoval
        | Family::Credential
        | Family::DdMessageSend
        | Family::DdMessageSendSnapshot
        | Family::DdOperation
        | Family::DdOperationSnapshot
        | Family::QueryNodeInfo
        | Family::QueryTaskState
        | Family::Session => Form::Text,
        Family::FlushedSegment => Form::TextOrMessage("v2_2.data.SegmentInfo"),
        // Requests of several kinds of tasks.
        Family::Other
        | Family::QueryActiveTask
        | Family::QuerySegmentChange
        | Family::QueryTriggerTask => Form::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describe_shows_milvus_names_and_exact_ids() {
        let alias = [0x08, 0x05, 0x12, 0x03, 0x0a, 0x01, 0x61];
        assert_eq!(
            describe(b"root-coord/collection-alias/a", &alias),
            json!({ "ID": "5", "schema": { "name": "a" } })
        );
        let meta = crate::codec::v2_2::collection_load(
            crate::model::CollectionId(436_365_140_092_256_301),
            &[],
            1,
            &[(crate::model::FieldId(100), crate::model::IndexId(7))].into(),
        );
        assert_eq!(
            describe(b"querycoord-collection-loadinfo/436365140092256301", &meta),
            json!({ "collectionID": "436365140092256301", "replica_number": 1,
                    "status": "Loaded", "field_indexID": { "100": "7" } })
        );
    }

    #[test]
    fn describe_shows_other_values() {
        assert_eq!(
            describe(b"root-coord/collection/5", crate::keys::TOMBSTONE),
            json!({ "tombstone": true })
        );
        assert_eq!(describe(b"session/id", b"12"), json!("12"));
        assert_eq!(
            describe(b"root-coord/credential/users/u", br#"{"a":"b"}"#),
            json!({ "a": "b" })
        );
        assert_eq!(
            describe(b"root-coord/credential/roles/admin", b""),
            json!("")
        );
        assert_eq!(
            describe(b"root-coord/collection/5", b"\x08"),
            json!({ "base64": "CA==" })
        );
        assert_eq!(describe(b"other", b"\xff"), json!({ "base64": "/w==" }));
    }

    #[test]
    fn every_described_message_has_a_schema() {
        let pool = POOL.as_ref().unwrap();
        for family in Family::ALL {
            if let Form::Message(name) | Form::TextOrMessage(name) = form(*family) {
                assert!(pool.get_message_by_name(name).is_some(), "{name}");
            }
        }
    }
}
