//! Fields: members of the schema in 2.1, separate records in the split form, byte for byte the same.

use super::snapshots::{Child, Children};
use crate::codec::v2_1::Collection;

/// The fields of a collection record as 2.2 stores them.
pub(super) fn fields(record: &Collection) -> Children {
    record
        .fields
        .iter()
        .map(|field| {
            let child = Child {
                value: field.raw.clone(),
                created: record.create_time,
            };
            (field.id.0, child)
        })
        .collect()
}
