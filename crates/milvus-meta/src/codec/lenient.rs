//! Decodes messages like Milvus: a field with another wire type than in its schema is ignored as
//! unknown, while other decoders reject the message.

use prost::{DecodeError, Message};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::json::descriptor;
use super::wire::{self, Content, WireError};

/// Maximum nesting depth; no stored message reaches it.
const DEPTH_MAX: usize = 32;

/// Decodes a message, given its name in the schemas of this crate.
///
/// # Errors
/// If the bytes are not a message or Milvus would not decode them either.
pub fn decode<M: Message + Default>(name: &str, value: &[u8]) -> Result<M, DecodeError> {
    M::decode(value).or_else(|error| {
        let conforming = descriptor(name).and_then(|it| without_mismatches(&it, value, 0).ok());
        conforming.map_or(Err(error), |value| M::decode(value.as_slice()))
    })
}

/// Returns the message without fields of another wire type, at any depth.
fn without_mismatches(
    schema: &MessageDescriptor,
    message: &[u8],
    depth: usize,
) -> Result<Vec<u8>, WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::BadGroup);
    }
    let mut out = Vec::with_capacity(message.len());
    for field in wire::fields(message) {
        let field = field?;
        let Some(known) = schema.get_field(field.number) else {
            continue;
        };
        match (field.content, known.kind()) {
            (Content::Bytes(inner), Kind::Message(schema)) => {
                let inner = without_mismatches(&schema, inner, depth + 1)?;
                wire::push_bytes(&mut out, field.number, &inner);
            }
            (content, _) if fits(content, &known) => out.extend_from_slice(field.raw),
            (_, _) => {}
        }
    }
    Ok(out)
}

fn fits(content: Content<'_>, field: &FieldDescriptor) -> bool {
    let (is_text, is_fixed) = match field.kind() {
        Kind::String | Kind::Bytes => (true, false),
        Kind::Message(_) => return false,
        Kind::Double
        | Kind::Float
        | Kind::Fixed32
        | Kind::Fixed64
        | Kind::Sfixed32
        | Kind::Sfixed64 => (false, true),
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => (false, false),
    };
    match content {
        // A list of numbers may be packed.
        Content::Bytes(_) => is_text || field.is_list(),
        Content::Varint(_) => !is_text && !is_fixed,
        Content::Other => is_fixed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v2_2::etcd::CollectionInfo;

    const NAME: &str = "v2_2.etcd.CollectionInfo";

    #[test]
    fn lenient_decoder_skips_mismatched_wire_types() {
        // id 5; a schema whose name is a number and whose description is "d"; partitions 1 and 2,
        // packed and unpacked; a creation time that is text.
        let value = b"\x08\x05\x12\x05\x08\x07\x12\x01d\x20\x01\x22\x01\x02\x1a\x01t";
        assert!(CollectionInfo::decode(&value[..]).is_err());
        let read: CollectionInfo = decode(NAME, value).unwrap();
        let schema = read.schema.unwrap();
        assert_eq!((read.id, read.create_time), (5, 0));
        assert_eq!(
            (schema.name.as_str(), schema.description.as_str()),
            ("", "d")
        );
        assert_eq!(read.partition_i_ds, [1, 2]);
    }

    #[test]
    fn lenient_decoder_rejects_malformed_messages() {
        assert!(decode::<CollectionInfo>(NAME, b"\x08").is_err());
        assert!(decode::<CollectionInfo>(NAME, b"\x12\x03\x0a\x01\xff").is_err());
    }
}
