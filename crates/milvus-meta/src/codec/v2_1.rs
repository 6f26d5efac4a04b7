//! Reads the records of Milvus 2.1 that the migration converts.
//!
//! Only the required fields are decoded. A field with an unexpected wire type counts as unknown, as
//! in Milvus' own decoder; unknown fields are reported, so that none is lost silently.

mod collection;
mod index;
mod position;
mod query;
mod segment;

pub use collection::{
    Alias, Collection, FieldSchema, PartitionRow, alias, check_collection, collection,
};
pub use index::{
    IndexBuild, IndexDefinition, SegmentIndex, index_build, index_definition, segment_index,
};
pub use position::{MsgPosition, segment_position};
pub use query::{
    LoadState, LoadType, PartitionLoad, Replica, SegmentRows, load_state, replica, segment_rows,
};

pub use segment::{FieldLogs, Log, Segment, SegmentError, segment};

use super::wire::{self, Content, Field, WireError};

/// The number of the segment state "dropped" (Milvus' `common.SegmentState`).
const DROPPED: u64 = 6;

/// A field that is not in the schema of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownField {
    /// The name in Milvus of the message that contains it.
    pub message: &'static str,
    /// Its number.
    pub number: u32,
}

/// A parameter: a name and a value.
pub type Pair = (String, String);

/// Adds an unknown field of `message`.
fn note(unknown: &mut Vec<UnknownField>, message: &'static str, field: &Field<'_>) {
    let number = field.number;
    unknown.push(UnknownField { message, number });
}

fn pair(bytes: &[u8], unknown: &mut Vec<UnknownField>) -> Result<Pair, WireError> {
    let mut pair = Pair::default();
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(key)) => pair.0 = wire::text(key)?,
            (2, Content::Bytes(value)) => pair.1 = wire::text(value)?,
            _ => note(unknown, "common.KeyValuePair", &field),
        }
    }
    Ok(pair)
}

#[cfg(test)]
mod tests;
