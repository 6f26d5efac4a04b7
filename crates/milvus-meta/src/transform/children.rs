//! Partitions and fields: parts of the collection record in 2.1, separate records in the split form.

use super::snapshots::{Child, Children};
use crate::codec::v2_1::Collection;
use crate::codec::v2_2;
use crate::model::CollectionId;

/// Returns the fields of a collection record as 2.2 stores them: with the same bytes.
pub(super) fn fields(record: &Collection) -> Children {
    let fields = record.fields.iter();
    fields
        .map(|field| (field.id.0, Child::new(&field.raw, record.create_time)))
        .collect()
}

/// Returns the partitions of a collection record as 2.2 stores them. Returns none if its three
/// lists differ in length.
pub(super) fn partitions(id: CollectionId, record: &Collection) -> Children {
    let rows = record.partitions().unwrap_or_default();
    let partitions = rows.iter().map(|row| {
        let created = match row.created.0 {
            0 => record.create_time,
            _ => row.created,
        };
        (row.id.0, Child::new(&v2_2::partition(id, row), created))
    });
    partitions.collect()
}
