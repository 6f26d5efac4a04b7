//! Load states and replicas.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::LiveCollections;
use crate::codec::v2_1;
use crate::keys::Key;
use crate::model::{CollectionId, PartitionId, ReplicaId};
use crate::proto::v2_2::query::{LoadStatus, PartitionLoadInfo, Replica};
use crate::proto::v2_3::query::CollectionLoadInfo;
use crate::transform::Findings;

#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Keys of load records, by collection.
    loaded: BTreeMap<CollectionId, Vec<Vec<u8>>>,
    /// Collections with a collection record, and whether it has a load type (2.3 and later).
    collections: BTreeMap<CollectionId, bool>,
    partitions: BTreeSet<(CollectionId, PartitionId)>,
    with_replica: BTreeSet<CollectionId>,
}

impl Loads {
    pub(super) fn push_collection(
        &mut self,
        id: CollectionId,
        value: &[u8],
        report: &mut Findings,
    ) {
        let key = Key::CollectionLoadInfo(id).render();
        if let Some(info) = report.record::<CollectionLoadInfo>(&key, "load info", value) {
            check(&key, info.status, info.replica_number, report);
            report.check_id(&key, "collection", id.0, info.collection_id);
            self.collections.insert(id, info.load_type != 0);
            self.loaded.entry(id).or_default().push(key);
        }
    }

    pub(super) fn push_partition(
        &mut self,
        (collection, partition): (CollectionId, PartitionId),
        value: &[u8],
        report: &mut Findings,
    ) {
        let key = Key::PartitionLoadInfo(collection, partition).render();
        if let Some(info) = report.record::<PartitionLoadInfo>(&key, "load info", value) {
            check(&key, info.status, info.replica_number, report);
            let found = (info.collection_id, info.partition_id);
            report.check_part(&key, "partition", (collection, partition.0), found);
            self.partitions.insert((collection, partition));
            self.loaded.entry(collection).or_default().push(key);
        }
    }

    pub(super) fn push_replica(
        &mut self,
        (collection, replica): (CollectionId, ReplicaId),
        value: &[u8],
        report: &mut Findings,
    ) {
        let key = Key::Replica(collection, replica).render();
        if let Some(info) = report.record::<Replica>(&key, "replica", value) {
            let found = (info.collection_id, info.id);
            report.check_part(&key, "replica", (collection, replica.0), found);
            self.with_replica.insert(collection);
        }
    }

    /// Adds a replica under its 2.1 key, which Milvus 2.2 still reads.
    pub(super) fn push_old_replica(&mut self, value: &[u8]) {
        if let Ok(replica) = v2_1::replica(value) {
            self.with_replica.insert(replica.collection);
        }
    }

    pub(super) fn has_any(&self) -> bool {
        !self.loaded.is_empty()
    }

    /// Returns whether the collection or a partition of it is loaded.
    pub(super) fn is_loaded(&self, id: CollectionId) -> bool {
        self.loaded.contains_key(&id)
    }

    pub(super) fn has_collection(&self, id: CollectionId) -> bool {
        self.collections.contains_key(&id)
    }

    pub(super) fn has_partition(&self, collection: CollectionId, partition: PartitionId) -> bool {
        self.partitions.contains(&(collection, partition))
    }

    pub(super) fn finish(&self, live: &LiveCollections, report: &mut Findings) {
        self.check_forms(report);
        for (collection, keys) in &self.loaded {
            for key in keys {
                if live.get(*collection).is_none() {
                    let message = format!("loaded, but there is no collection {collection}");
                    report.error("orphan", key, message);
                } else if !self.with_replica.contains(collection) {
                    let message = format!(
                        "collection {collection} is loaded, but has no replica to serve it"
                    );
                    report.error("replica-missing", key, message);
                }
            }
        }
        for (collection, partition) in &self.partitions {
            let known = live
                .get(*collection)
                .is_none_or(|members| members.partitions.contains(partition));
            if !known {
                report.warning(
                    "orphan",
                    &Key::PartitionLoadInfo(*collection, *partition).render(),
                    format!("loaded, but collection {collection} has no partition {partition}"),
                );
            }
        }
    }

    /// Checks the records for a release: 2.2 stores a record of the collection or records of its
    /// partitions; 2.3 and later store both, and a load type.
    fn check_forms(&self, report: &mut Findings) {
        for (collection, has_type) in &self.collections {
            let mut partitions = self.partitions.iter();
            let by_partition = partitions.any(|(other, _)| other == collection);
            let what = match (has_type, by_partition) {
                (true, true) | (false, false) => continue,
                (true, false) => {
                    "with a load type, as Milvus 2.3 writes it, but none of its partitions is"
                }
                (false, true) => "and partitions of it are loaded, but the record has no load type",
            };
            report.warning(
                "mixed-load-info",
                &Key::CollectionLoadInfo(*collection).render(),
                format!("collection {collection} is loaded {what}: load it again after the start"),
            );
        }
    }
}

fn check(key: &[u8], status: i32, replica_number: i32, report: &mut Findings) {
    if replica_number <= 0 {
        report.error(
            "bad-load-info",
            key,
            format!("the number of replicas is {replica_number}: Milvus 2.2 drops the load info"),
        );
    }
    match LoadStatus::try_from(status) {
        Ok(LoadStatus::Loaded) => {}
        Ok(LoadStatus::Loading) => report.warning(
            "bad-load-info",
            key,
            "loading had not ended: Milvus 2.2 drops the load info when it starts",
        ),
        Ok(LoadStatus::Invalid) | Err(_) => report.error(
            "bad-load-info",
            key,
            format!("the load status is {status}: Milvus 2.2 drops the load info"),
        ),
    }
}
