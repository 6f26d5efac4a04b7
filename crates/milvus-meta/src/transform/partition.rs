//! Partitions: rows of three parallel lists in 2.1, separate records in the split form.

use super::snapshots::{Child, Children};
use crate::codec::v2_1::Collection;
use crate::codec::v2_2;
use crate::model::CollectionId;

/// Returns the partitions of a collection record as 2.2 stores them. Returns none if its lists
/// differ in length.
pub(super) fn partitions(id: CollectionId, record: &Collection) -> Children {
    record
        .partitions()
        .unwrap_or_default()
        .iter()
        .map(|row| {
            let created = if row.created.0 == 0 {
                record.create_time
            } else {
                row.created
            };
            let value = v2_2::partition(id, row);
            (row.id.0, Child { value, created })
        })
        .collect()
}
