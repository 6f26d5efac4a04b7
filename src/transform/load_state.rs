//! T8: what is loaded, and on which replicas.

use std::collections::BTreeMap;

use super::NewKeys;
use super::collection::LiveCollections;
use super::findings::Findings;
use super::index::Indexes;
use crate::codec::v2_1::{self, LoadState, LoadType, Replica};
use crate::codec::v2_2;
use crate::finding::Finding;
use crate::keys::{Family, Key, is_tombstone};
use crate::model::{CollectionId, FieldId, IndexId, PartitionId, ReplicaId};
use crate::version::Release;

/// Load states and replicas of 2.1, by the ids in their values.
#[derive(Debug, Default)]
pub(super) struct LoadTable {
    states: BTreeMap<CollectionId, (Vec<u8>, LoadState)>,
    replicas: BTreeMap<ReplicaId, (Vec<u8>, Replica)>,
}

/// A load state that goes on.
#[derive(Debug)]
enum Loaded {
    Collection,
    Partitions(Vec<PartitionId>),
}

impl LoadTable {
    pub(super) fn push_state(&mut self, key: CollectionId, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = Key::QueryCollection(key).render();
        match v2_1::load_state(value) {
            Ok(record) => {
                findings.unknown(Family::QueryCollection, &key, &record.unknown);
                keep_greater(&mut self.states, record.collection, key, record, findings);
            }
            Err(error) => findings.broken(
                "undecodable-value",
                &key,
                &format!("the value is no load state: {error}"),
                "the collection has to be loaded again",
            ),
        }
    }

    pub(super) fn push_replica(&mut self, key: ReplicaId, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = Key::QueryReplica(key).render();
        match v2_1::replica(value) {
            Ok(record) => {
                findings.unknown(Family::QueryReplica, &key, &record.unknown);
                keep_greater(&mut self.replicas, record.id, key, record, findings);
            }
            Err(error) => findings.broken(
                "undecodable-value",
                &key,
                &format!("the value is no replica: {error}"),
                "its collection goes on with the other replicas, or has to be loaded again",
            ),
        }
    }

    pub(super) fn convert(
        self,
        live: &LiveCollections,
        indexes: &Indexes,
        target: &Release,
        findings: &mut Findings,
    ) -> NewKeys {
        let mut staged = NewKeys::new();
        let mut by_partition = 0;
        let mut unused: BTreeMap<ReplicaId, Vec<u8>> = self
            .replicas
            .iter()
            .map(|(id, (key, _))| (*id, key.clone()))
            .collect();
        for (key, state) in self.states.values() {
            let replicas: Vec<&Replica> = self
                .replicas
                .values()
                .map(|(_, replica)| replica)
                .filter(|replica| replica.collection == state.collection)
                .collect();
            for replica in &replicas {
                unused.remove(&replica.id);
            }
            let fields = field_indexes(indexes, state.collection);
            let judged = judge(state, live, indexes, replicas.len(), key, findings);
            match judged {
                Err(reason) => findings.notice(
                    "not-loaded",
                    key,
                    format!(
                        "collection {} will not be loaded after the migration: {reason}; load it \
                         again",
                        state.collection
                    ),
                ),
                Ok(loaded) => {
                    by_partition += u64::from(matches!(loaded, Loaded::Partitions(_)));
                    stage(state, &loaded, &fields, &replicas, &mut staged);
                }
            }
        }
        for key in unused.values() {
            findings.notice(
                "replica-left-out",
                key,
                "the replica belongs to no collection that 2.1 has a load state for; it is left out",
            );
        }
        if by_partition > 0 && target.triple() >= (2, 4, 0) {
            findings.general(Finding::notice(
                "partition-loads-not-recovered",
                b"",
                format!(
                    "{by_partition} collections are loaded partition by partition; later releases of \
                     Milvus 2.4 do not take these over and delete their replicas: load them again"
                ),
            ));
        }
        staged
    }
}

fn keep_greater<I: Ord, T>(
    table: &mut BTreeMap<I, (Vec<u8>, T)>,
    id: I,
    key: Vec<u8>,
    record: T,
    findings: &mut Findings,
) {
    match table.get(&id) {
        Some((other, _)) if *other > key => findings.outranked(&key),
        Some((other, _)) => {
            findings.outranked(&other.clone());
            table.insert(id, (key, record));
        }
        None => {
            table.insert(id, (key, record));
        }
    }
}

/// The live index of each field; of several on one field the last in the collection's list.
fn field_indexes(indexes: &Indexes, collection: CollectionId) -> BTreeMap<FieldId, IndexId> {
    let live = indexes.live.get(&collection).into_iter().flatten();
    live.map(|(id, index)| (index.field, *id)).collect()
}

/// What of a load state goes on, or why nothing does.
fn judge(
    state: &LoadState,
    live: &LiveCollections,
    indexes: &Indexes,
    replicas: usize,
    key: &[u8],
    findings: &mut Findings,
) -> Result<Loaded, String> {
    let Some(collection) = live.get(&state.collection) else {
        return Err("there is no such collection".to_owned());
    };
    let loaded = match state.load_type {
        LoadType::Unknown => return Err("its load type is unknown".to_owned()),
        LoadType::Collection if state.percent < 100 => {
            return Err(format!("it was loaded to {} percent only", state.percent));
        }
        LoadType::Collection => Loaded::Collection,
        LoadType::Partitions => {
            let (whole, half): (Vec<_>, Vec<_>) = state
                .partitions
                .iter()
                .copied()
                .partition(|id| is_loaded(state, *id) && collection.partition_ids.contains(id));
            if whole.is_empty() {
                return Err("none of its partitions was loaded whole".to_owned());
            }
            for partition in half {
                findings.notice(
                    "partition-not-loaded",
                    key,
                    format!(
                        "partition {partition} was not loaded whole, or does not exist any more: it \
                         will not be loaded after the migration; load it again"
                    ),
                );
            }
            Loaded::Partitions(whole)
        }
    };
    let on_vector = indexes
        .live
        .get(&state.collection)
        .is_some_and(|live| live.iter().any(|(_, index)| index.on_vector));
    if !on_vector {
        return Err("Milvus 2.2 loads only what has an index on a vector field".to_owned());
    }
    if replicas == 0 {
        return Err("it has no replica".to_owned());
    }
    Ok(loaded)
}

/// A partition is judged by its own percentage; where 2.1 left none, by the collection's.
fn is_loaded(state: &LoadState, partition: PartitionId) -> bool {
    let own = state
        .partition_loads
        .iter()
        .rev()
        .find(|load| load.partition == partition);
    own.map_or(state.percent, |load| load.percent) >= 100
}

fn stage(
    state: &LoadState,
    loaded: &Loaded,
    fields: &BTreeMap<FieldId, IndexId>,
    replicas: &[&Replica],
    staged: &mut NewKeys,
) {
    let collection = state.collection;
    let number = state.replica_number.max(1);
    match loaded {
        Loaded::Collection => {
            let value = v2_2::collection_load(collection, &state.released, number, fields);
            staged.insert(Key::CollectionLoadInfo(collection).render(), value);
        }
        Loaded::Partitions(partitions) => {
            for partition in partitions {
                let value = v2_2::partition_load(collection, *partition, number, fields);
                staged.insert(
                    Key::PartitionLoadInfo(collection, *partition).render(),
                    value,
                );
            }
        }
    }
    for replica in replicas {
        let key = Key::Replica(collection, replica.id).render();
        staged.insert(key, v2_2::replica(replica));
    }
}
