//! Positions in message channels, from segment records.

use super::DROPPED;
use crate::codec::wire::{self, Content, WireError};

/// A position in a physical channel (Milvus' `internal.MsgPosition`), ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MsgPosition {
    /// `timestamp`
    pub timestamp: u64,
    /// `msgID`, which only the message queue can read.
    pub message: Vec<u8>,
    /// `msgGroup`
    pub group: String,
}

/// Reads the virtual channel and the position of a segment.
///
/// The position is the one up to which its rows are stored (`dml_position`) or, without one, that
/// of its first row (`start_position`). Returns `None` for a segment that was dropped, is being
/// imported by Milvus 2.2, or has no position: Milvus ignores those. A position without a message
/// id counts as none.
pub fn segment_position(value: &[u8]) -> Result<Option<(&[u8], MsgPosition)>, WireError> {
    let mut channel = &[][..];
    let (mut start, mut dml) = (None, None);
    let mut counts = true;
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (4, Content::Bytes(name)) => channel = name,
            (6, Content::Varint(state)) => counts &= state != DROPPED,
            (9, Content::Bytes(position)) => start = Some(position),
            (10, Content::Bytes(position)) => dml = Some(position),
            (17, Content::Varint(importing)) => counts &= importing == 0,
            _ => {}
        }
    }
    if !counts {
        return Ok(None);
    }
    for candidate in [dml, start].into_iter().flatten() {
        let position = position(candidate)?;
        if !position.message.is_empty() {
            return Ok(Some((channel, position)));
        }
    }
    Ok(None)
}

/// Reads a position without the name of its channel.
fn position(bytes: &[u8]) -> Result<MsgPosition, WireError> {
    let mut position = MsgPosition::default();
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (2, Content::Bytes(message)) => position.message = message.to_vec(),
            (3, Content::Bytes(group)) => position.group = wire::text(group)?,
            (4, Content::Varint(timestamp)) => position.timestamp = timestamp,
            _ => {}
        }
    }
    Ok(position)
}
