//! Describes values of any family as JSON, for users.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

use crate::keys::{Family, ValueForm, is_tombstone};
use crate::proto::DESCRIPTORS;

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

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
    let read = match family.form() {
        ValueForm::Message(name) => message(name, value),
        ValueForm::TextOrMessage(name) => text(value).or_else(|| message(name, value)),
        ValueForm::Text => text(value),
        ValueForm::Unknown => text(value).filter(|_| !value.is_empty()),
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
        let meta = crate::codec::v2_3::collection_load(
            crate::model::CollectionId(436_365_140_092_256_301),
            crate::codec::v2_1::LoadType::Unknown,
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
            if let ValueForm::Message(name) | ValueForm::TextOrMessage(name) = family.form() {
                assert!(pool.get_message_by_name(name).is_some(), "{name}");
            }
        }
    }
}
