//! T8 and T15: load states and replicas.

use std::collections::{BTreeMap, BTreeSet};

use super::NewKeys;
use super::findings::Findings;
use super::index::{IndexContext, Indexes};
use super::names::{self, CollectionNames};
use super::precedence::{Keyed, keep_greatest};
use crate::codec::v2_1::{self, Collection, LoadState, LoadType, Replica};
use crate::codec::{v2_2, v2_3};
use crate::keys::{Family, Key, is_tombstone};
use crate::model::{CollectionId, FieldId, IndexId, PartitionId, ReplicaId};
use crate::release::Release;

/// Load states and replicas of 2.1, by the ids in their values.
#[derive(Debug, Default)]
pub(super) struct LoadTable {
    states: Keyed<CollectionId, LoadState>,
    replicas: Keyed<ReplicaId, Replica>,
}

/// Why a collection will not be loaded, and the remedy.
#[derive(Debug)]
struct NotLoaded {
    why: String,
    next: &'static str,
}

impl NotLoaded {
    fn load_again(why: impl Into<String>) -> Self {
        let why = why.into();
        let next = "; load it again";
        Self { why, next }
    }
}

impl LoadTable {
    pub(super) fn push_state(&mut self, key: CollectionId, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = Key::QueryCollection(key).render();
        let (record, what) = (v2_1::load_state(value), "a load state");
        let skipped = "the collection has to be loaded again";
        if let Some(record) = findings.decoded(record, what, || key.clone(), skipped) {
            findings.unknown(Family::QueryCollection, &key, &record.unknown);
            keep_greatest(&mut self.states, record.collection, key, record, findings);
        }
    }

    pub(super) fn push_replica(&mut self, key: ReplicaId, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = Key::QueryReplica(key).render();
        let (record, what) = (v2_1::replica(value), "a replica");
        let skipped = "its collection keeps the other replicas, or has to be loaded again";
        if let Some(record) = findings.decoded(record, what, || key.clone(), skipped) {
            findings.unknown(Family::QueryReplica, &key, &record.unknown);
            keep_greatest(&mut self.replicas, record.id, key, record, findings);
        }
    }

    /// Returns the number of loaded collections.
    pub(super) fn len(&self) -> u64 {
        self.states.len() as u64
    }

    /// Returns the load states and replicas for the target. `others` are collections that only 2.2
    /// has, `loaded` those that 2.2 has loaded.
    pub(super) fn convert(
        self,
        indexes: &Indexes,
        ctx: IndexContext<'_>,
        others: &CollectionNames,
        loaded: &BTreeSet<CollectionId>,
        findings: &mut Findings,
    ) -> NewKeys {
        let mut staged = NewKeys::new();
        for (key, state) in self.states.values() {
            let replicas: Vec<&Replica> = self.replicas_of(state.collection).collect();
            if loaded.contains(&state.collection) {
                continue;
            }
            let checked = if others.contains_key(&state.collection) {
                Err(NotLoaded::load_again(
                    "it is in the 2.2 layout, without a load state",
                ))
            } else {
                check_loaded(state, ctx, indexes, replicas.len(), key, findings)
            };
            match checked {
                Err(NotLoaded { why, next }) => findings.notice(
                    "not-loaded",
                    key,
                    format!(
                        "{} will not be loaded after the migration: {why}{next}",
                        names::collection(&indexes.collections, state.collection)
                    ),
                ),
                Ok(partitions) => {
                    let fields = field_indexes(indexes, state.collection);
                    stage(state, &partitions, &fields, ctx.target, &mut staged);
                    for replica in replicas {
                        let key = Key::Replica(state.collection, replica.id).render();
                        staged.insert(key, v2_2::replica(replica));
                    }
                }
            }
        }
        self.report_unused(findings);
        staged
    }

    fn replicas_of(&self, collection: CollectionId) -> impl Iterator<Item = &Replica> {
        let replicas = self.replicas.values().map(|(_, replica)| replica);
        replicas.filter(move |replica| replica.collection == collection)
    }

    /// Reports the replicas of collections without a load state.
    fn report_unused(&self, findings: &mut Findings) {
        let is_unused = |replica: &Replica| !self.states.contains_key(&replica.collection);
        for (id, (key, _)) in self.replicas.iter().filter(|(_, (_, it))| is_unused(it)) {
            findings.notice(
                "replica-left-out",
                key,
                format!(
                    "replica {id} belongs to no collection that 2.1 has a load state for; it is skipped"
                ),
            );
        }
    }
}

/// Returns the live index of each field; if there are several, the last in the collection's list.
fn field_indexes(indexes: &Indexes, collection: CollectionId) -> BTreeMap<FieldId, IndexId> {
    let live = indexes.live.get(&collection).into_iter().flatten();
    live.map(|(id, index)| (index.field, *id)).collect()
}

/// Returns the partitions that get a load record, or why the collection will not be loaded.
fn check_loaded(
    state: &LoadState,
    ctx: IndexContext<'_>,
    indexes: &Indexes,
    replicas: usize,
    key: &[u8],
    findings: &mut Findings,
) -> Result<Vec<PartitionId>, NotLoaded> {
    let Some(collection) = ctx.live.get(&state.collection) else {
        return Err(NotLoaded {
            why: "the collection does not exist".to_owned(),
            next: "",
        });
    };
    check_indexes(state.collection, indexes)?;
    let partitions = match state.load_type {
        LoadType::Unknown => return Err(NotLoaded::load_again("its load type is unknown")),
        LoadType::Collection if state.percent < 100 => {
            let why = format!("it was loaded to {} percent only", state.percent);
            return Err(NotLoaded::load_again(why));
        }
        // 2.2 has a record of the collection only.
        LoadType::Collection if !ctx.target.is_beyond_2_2() => Vec::new(),
        LoadType::Collection => {
            let all = collection.partition_ids.iter().copied();
            all.filter(|id| !state.released.contains(id)).collect()
        }
        LoadType::Partitions => {
            let (complete, partial): (Vec<_>, Vec<_>) = state
                .partitions
                .iter()
                .copied()
                .partition(|id| is_loaded(state, *id) && collection.partition_ids.contains(id));
            if complete.is_empty() {
                let why = "none of its partitions was loaded completely";
                return Err(NotLoaded::load_again(why));
            }
            for partition in partial {
                report_partition(key, collection, partition, findings);
            }
            complete
        }
    };
    if replicas == 0 {
        return Err(NotLoaded::load_again("it has no replica"));
    }
    Ok(partitions)
}

/// Checks that the collection can be loaded: Milvus requires an index on a vector field, and the
/// type and metric of every index to search it (T16).
fn check_indexes(collection: CollectionId, indexes: &Indexes) -> Result<(), NotLoaded> {
    let live = indexes.live.get(&collection).map_or(&[][..], Vec::as_slice);
    if !live.iter().any(|(_, index)| index.on_vector) {
        return Err(NotLoaded {
            why:
                "it has no index on a vector field, and Milvus 2.2 loads no collection without one"
                    .to_owned(),
            next: "; create an index on its vector field, then load it",
        });
    }
    match live.iter().find(|(_, index)| !index.support.is_usable()) {
        Some((index, _)) => Err(NotLoaded {
            why: format!(
                "the target cannot use its {}",
                indexes.label((collection, *index))
            ),
            next: "; drop that index and create another one, then load the collection",
        }),
        None => Ok(()),
    }
}

fn report_partition(
    key: &[u8],
    collection: &Collection,
    partition: PartitionId,
    findings: &mut Findings,
) {
    let of = names::collection_of(collection);
    let message = if collection.partition_ids.contains(&partition) {
        format!(
            "{} of {of} was not loaded completely, and will not be loaded after the migration; load it again",
            names::partition(collection, partition)
        )
    } else {
        format!("partition {partition} of {of} does not exist any more, and will not be loaded")
    };
    findings.notice("partition-not-loaded", key, message);
}

/// Returns whether a partition is loaded. If 2.1 stored no percentage for it, the collection's
/// counts.
fn is_loaded(state: &LoadState, partition: PartitionId) -> bool {
    let own = state
        .partition_loads
        .iter()
        .rev()
        .find(|load| load.partition == partition);
    own.map_or(state.percent, |load| load.percent) >= 100
}

/// Stages a load state. 2.2 has a record of the collection or records of its partitions; 2.3 and later have both, and
/// the record of the collection has its load type.
fn stage(
    state: &LoadState,
    partitions: &[PartitionId],
    fields: &BTreeMap<FieldId, IndexId>,
    target: &Release,
    staged: &mut NewKeys,
) {
    let (id, number) = (state.collection, state.replica_number.max(1));
    let (load_type, released) = match state.load_type {
        LoadType::Partitions => (LoadType::Partitions, &[][..]),
        LoadType::Collection | LoadType::Unknown => (LoadType::Collection, &state.released[..]),
    };
    let record = if target.is_beyond_2_2() {
        Some(load_type)
    } else {
        (load_type == LoadType::Collection).then_some(LoadType::Unknown)
    };
    if let Some(load_type) = record {
        let value = v2_3::collection_load(id, load_type, released, number, fields);
        staged.insert(Key::CollectionLoadInfo(id).render(), value);
    }
    for partition in partitions {
        let value = v2_2::partition_load(id, *partition, number, fields);
        staged.insert(Key::PartitionLoadInfo(id, *partition).render(), value);
    }
}
