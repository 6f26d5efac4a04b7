//! Load states of the query coordinator, in both layouts.

use std::collections::BTreeMap;

use super::{Catalog, Load, Origin, Replica};
use crate::model::{CollectionId, PartitionId, ReplicaId};
use crate::proto::v2_1::query::{CollectionInfo, LoadType};
use crate::proto::v2_2::milvus::ReplicaInfo;
use crate::proto::v2_2::query::{LoadStatus, PartitionLoadInfo, Replica as ReplicaRecord};
use crate::proto::v2_3::query::CollectionLoadInfo;

#[derive(Debug, Default)]
pub(super) struct Loads(BTreeMap<(CollectionId, Origin), Load>);

impl Loads {
    pub(super) fn push_legacy(&mut self, info: &CollectionInfo) {
        let load = self.of(info.collection_id, Origin::V2_1);
        load.replica_number = info.replica_number;
        load.status = format!("{} %", info.in_memory_percentage);
        load.released_partitions = partitions(&info.released_partition_i_ds);
        load.kind = match info.load_type() {
            LoadType::LoadPartition => "partitions",
            LoadType::LoadCollection | LoadType::UnKnownType => "collection",
        };
        if load.kind == "partitions" {
            load.partitions = partitions(&info.partition_i_ds);
        }
    }

    pub(super) fn push_legacy_replica(&mut self, info: &ReplicaInfo) {
        let load = self.of(info.collection_id, Origin::V2_1);
        load.replicas.push(Replica {
            id: ReplicaId(info.replica_id),
            nodes: texts(&info.node_ids),
            resource_group: info.resource_group_name.clone(),
        });
    }

    pub(super) fn push_collection(&mut self, info: &CollectionLoadInfo) {
        let load = self.of(info.collection_id, Origin::V2_2);
        load.kind = "collection";
        load.replica_number = info.replica_number;
        load.released_partitions = partitions(&info.released_partitions);
        load.status = status(LoadStatus::try_from(info.status).unwrap_or_default());
    }

    pub(super) fn push_partition(&mut self, info: &PartitionLoadInfo) {
        let load = self.of(info.collection_id, Origin::V2_2);
        if load.kind == "none" {
            load.kind = "partitions";
            load.replica_number = info.replica_number;
            load.status = status(info.status());
        }
        load.partitions.push(PartitionId(info.partition_id));
    }

    pub(super) fn push_replica(&mut self, info: &ReplicaRecord) {
        let load = self.of(info.collection_id, Origin::V2_2);
        load.replicas.push(Replica {
            id: ReplicaId(info.id),
            nodes: texts(&info.nodes),
            resource_group: info.resource_group.clone(),
        });
    }

    fn of(&mut self, collection: i64, origin: Origin) -> &mut Load {
        let collection_id = CollectionId(collection);
        self.0
            .entry((collection_id, origin))
            .or_insert_with(|| Load {
                origin,
                collection_id,
                kind: "none",
                ..Load::default()
            })
    }

    pub(super) fn finish(self, catalog: &mut Catalog) {
        for mut load in self.0.into_values() {
            load.replicas.sort_by_key(|replica| replica.id);
            if let Some(collection) = catalog.collection_mut(load.collection_id) {
                load.collection = Some(collection.name.clone());
                if load.kind != "none" {
                    collection.loaded = Some(load.kind);
                }
            }
            catalog.loads.push(load);
        }
    }
}

fn partitions(ids: &[i64]) -> Vec<PartitionId> {
    ids.iter().copied().map(PartitionId).collect()
}

fn texts(ids: &[i64]) -> Vec<String> {
    ids.iter().map(i64::to_string).collect()
}

fn status(status: LoadStatus) -> String {
    match status {
        LoadStatus::Invalid => "invalid",
        LoadStatus::Loading => "loading",
        LoadStatus::Loaded => "loaded",
    }
    .to_owned()
}
