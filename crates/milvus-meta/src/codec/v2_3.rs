//! Writes the record that Milvus 2.3 and later store with more fields than 2.2.

use std::collections::BTreeMap;

use prost::Message as _;

use super::v2_1::LoadType;
use crate::model::{CollectionId, FieldId, IndexId, PartitionId};
use crate::proto::v2_3::query;

/// Value of `querycoord-collection-loadinfo/<collection>`. For 2.2 the load type is unknown, so the
/// record is that of 2.2. In 2.3 it also exists for collections loaded by partition.
#[must_use]
pub fn collection_load(
    collection: CollectionId,
    load_type: LoadType,
    released: &[PartitionId],
    replica_number: i32,
    indexes: &BTreeMap<FieldId, IndexId>,
) -> Vec<u8> {
    let load_type = match load_type {
        LoadType::Unknown => query::LoadType::UnKnownType,
        LoadType::Partitions => query::LoadType::LoadPartition,
        LoadType::Collection => query::LoadType::LoadCollection,
    };
    query::CollectionLoadInfo {
        collection_id: collection.0,
        released_partitions: released.iter().map(|partition| partition.0).collect(),
        replica_number,
        status: query::LoadStatus::Loaded.into(),
        field_index_id: indexes
            .iter()
            .map(|(field, index)| (field.0, index.0))
            .collect(),
        load_type: load_type.into(),
    }
    .encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t15_load_type_is_field_6() {
        let load = |load_type| collection_load(CollectionId(5), load_type, &[], 1, &[].into());
        let start = [0x08, 5, 0x18, 1, 0x20, 2];
        for (load_type, number) in [(LoadType::Collection, 2), (LoadType::Partitions, 1)] {
            assert_eq!(load(load_type), [&start[..], &[0x30, number]].concat());
        }
    }
}
