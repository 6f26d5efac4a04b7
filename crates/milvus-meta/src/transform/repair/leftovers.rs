//! Keys of 2.1 that no release reads, replicas of 2.1, and the load state of missing collections.

use std::collections::{BTreeMap, BTreeSet};

use super::super::names;
use super::{Keys, Plan, below, live, names_of};
use crate::codec::{v2_1, v2_2};
use crate::keys::{Family, Key};
use crate::model::{CollectionId, ReplicaId};
use crate::plural::{agree, counted};

pub(super) fn repair(plan: &mut Plan<'_>) {
    let records = live(plan.entries).filter_map(|(object, ..)| object.collection_record());
    let ids = records.map(|(_, id)| id);
    let living = ids.filter(|id| !plan.dropped.contains(id)).collect();
    replicas(plan, &living);
    loads(plan, &living);
    unread(plan);
}

/// Moves replicas of 2.1 that a loaded collection needs to keys of 2.2, and deletes all old keys.
fn replicas(plan: &mut Plan<'_>, living: &BTreeSet<CollectionId>) {
    let names = names_of(plan.entries);
    let legacy = legacy_replicas(plan.entries);
    let (mut loaded, mut served) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in plan.entries {
        let parsed = Key::parse(key);
        // An interrupted repair has moved it.
        let is_moved = || legacy.iter().any(|it| it.new == *key && it.value == *value);
        if let Key::CollectionLoadInfo(id) | Key::PartitionLoadInfo(id, _) = parsed {
            loaded.insert(id);
        } else if let Key::Replica(id, _) = parsed
            && !is_moved()
        {
            served.insert(id);
        }
    }
    for replica in legacy {
        let collection = replica.collection;
        let is_needed = loaded.contains(&collection)
            && living.contains(&collection)
            && !served.contains(&collection);
        let message = format!(
            "replica {} of {} has a key of 2.1, which Milvus 2.2 reads at every start; it is {}",
            replica.id,
            names::collection(&names, collection),
            if is_needed {
                "moved to a key of 2.2"
            } else {
                "deleted"
            }
        );
        plan.findings
            .warning("legacy-replica", replica.old, message);
        plan.changes.replaced.insert(replica.old.to_vec());
        if is_needed && !plan.has(&replica.new, &replica.value) {
            plan.changes.visible.insert(replica.new, replica.value);
        }
    }
}

/// A replica of 2.1, with its key and value in 2.2.
struct LegacyReplica<'t> {
    id: ReplicaId,
    collection: CollectionId,
    old: &'t [u8],
    new: Vec<u8>,
    value: Vec<u8>,
}

fn legacy_replicas(entries: &Keys) -> Vec<LegacyReplica<'_>> {
    let all = below(entries, Family::QueryReplica.prefix().into_bytes());
    let read = all.filter_map(|(key, value)| {
        let Key::QueryReplica(_) = Key::parse(key) else {
            return None;
        };
        let record = v2_1::replica(value).ok()?;
        Some(LegacyReplica {
            id: record.id,
            collection: record.collection,
            old: key,
            new: Key::Replica(record.collection, record.id).render(),
            value: v2_2::replica(&record),
        })
    });
    read.collect()
}

/// Deletes the load state and replicas of collections without a record.
fn loads(plan: &mut Plan<'_>, living: &BTreeSet<CollectionId>) {
    for key in plan.entries.keys() {
        if let Key::CollectionLoadInfo(id) | Key::PartitionLoadInfo(id, _) | Key::Replica(id, _) =
            Key::parse(key)
            && !living.contains(&id)
        {
            let message =
                format!("load state of collection {id}, which does not exist; it is deleted");
            plan.findings.warning("orphan", key, message);
            plan.changes.replaced.insert(key.clone());
        }
    }
}

/// Deletes the load state and last operation of 2.1, which no release of 2.2 reads.
fn unread(plan: &mut Plan<'_>) {
    let mut found: BTreeMap<Family, (u64, &[u8])> = BTreeMap::new();
    for key in plan.entries.keys() {
        let family = Family::of(key);
        if matches!(
            family,
            Family::QueryCollection
                | Family::DdMessageSend
                | Family::DdOperation
                | Family::DdMessageSendSnapshot
                | Family::DdOperationSnapshot
        ) {
            found.entry(family).or_insert((0, key)).0 += 1;
            plan.changes.replaced.insert(key.clone());
        }
    }
    for (family, (count, first)) in found {
        let message = format!(
            "{} of 2.1 {} left below {} (first here), which no release of 2.2 reads; the repair deletes {}",
            counted(count, "key"),
            agree(count, "is", "are"),
            family.name(),
            agree(count, "it", "them")
        );
        plan.findings.notice("leftover", first, message);
    }
}
