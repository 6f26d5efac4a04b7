//! Fields: part of the schema in 2.1, separate records with the same bytes in the split form.

use super::snapshots::{Child, Children};
use crate::codec::v2_1::Collection;

/// Returns the fields of a collection record as 2.2 stores them.
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
