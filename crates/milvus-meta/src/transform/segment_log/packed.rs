//! The logs of a segment as a byte string in the arena.

use super::split::NewLogs;
use crate::codec::wire::{self, Content, push_bytes, push_number};
use crate::keys::LogKind;
use crate::model::FieldId;

/// Encodes the keys and values of a segment's logs as a message with a field for each.
pub(super) fn packed(logs: &[NewLogs]) -> Vec<u8> {
    let mut out = Vec::with_capacity(logs.iter().map(|logs| logs.value.len() + 16).sum());
    let mut one = Vec::new();
    for NewLogs { kind, field, value } in logs {
        one.clear();
        push_number(&mut one, 1, field.0.cast_unsigned());
        push_bytes(&mut one, 2, value);
        push_bytes(&mut out, 1 + *kind as u32, &one);
    }
    out
}

pub(super) fn unpacked(packed: &[u8]) -> impl Iterator<Item = (LogKind, FieldId, &[u8])> {
    wire::fields(packed).filter_map(|member| {
        let member = member.ok()?;
        let kind = LogKind::ALL
            .into_iter()
            .find(|kind| 1 + *kind as u32 == member.number)?;
        let Content::Bytes(one) = member.content else {
            return None;
        };
        let (mut field, mut value) = (0, &[][..]);
        for part in wire::fields(one) {
            match part.ok()?.content {
                Content::Varint(id) => field = id.cast_signed(),
                Content::Bytes(bytes) => value = bytes,
                Content::Other => {}
            }
        }
        Some((kind, FieldId(field), value))
    })
}
