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
    Alias, Collection, FieldSchema, PartitionRow, alias, collection, whole_collection,
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

/// Collects the unknown fields of a message.
#[derive(Debug)]
struct Unknown<'o> {
    message: &'static str,
    out: &'o mut Vec<UnknownField>,
}

impl Unknown<'_> {
    fn note(&mut self, field: &Field<'_>) {
        self.out.push(UnknownField {
            message: self.message,
            number: field.number,
        });
    }
}

fn pair(bytes: &[u8], out: &mut Vec<UnknownField>) -> Result<Pair, WireError> {
    let mut pair = Pair::default();
    let mut unknown = Unknown {
        message: "common.KeyValuePair",
        out,
    };
    for field in wire::fields(bytes) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Bytes(key)) => pair.0 = wire::text(key)?,
            (2, Content::Bytes(value)) => pair.1 = wire::text(value)?,
            _ => unknown.note(&field),
        }
    }
    Ok(pair)
}

/// Appends the numbers of a repeated field, packed or not; reports another wire type as unknown.
fn ids(field: &Field<'_>, out: &mut Vec<i64>, unknown: &mut Unknown<'_>) -> Result<(), WireError> {
    let mut numbers = Vec::new();
    if field.numbers(&mut numbers)? {
        out.extend(numbers.into_iter().map(u64::cast_signed));
    } else {
        unknown.note(field);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
