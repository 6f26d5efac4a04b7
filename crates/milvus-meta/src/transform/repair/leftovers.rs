//! Keys of 2.1 that no release reads, replicas of 2.1, and the load state of missing collections.

use std::collections::{BTreeMap, BTreeSet};

use super::super::findings::Findings;
use super::super::names::{self, CollectionNames};
use super::{Changes, Keys, living_collections, names_of};
use crate::codec::{v2_1, v2_2};
use crate::keys::{Family, Key};
use crate::model::{CollectionId, ReplicaId};
use crate::plural::{agree, counted};

pub(super) fn repair(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    let mut living = living_collections(there);
    living.retain(|id| !changes.dropped.contains(id));
    let names = names_of(there);
    replicas(there, (&living, &names), changes, findings);
    loads(there, &living, changes, findings);
    unread(there, changes, findings);
}

/// Replicas of 2.1 that a loaded collection needs get the key of 2.2; the old keys go.
fn replicas(
    there: &Keys,
    (living, names): (&BTreeSet<CollectionId>, &CollectionNames),
    changes: &mut Changes,
    findings: &mut Findings,
) {
    let legacy = legacy_replicas(there);
    let (mut loaded, mut served) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in there {
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
        findings.warning(
            "legacy-replica",
            replica.old,
            format!(
                "replica {} of {} has a key of 2.1, which Milvus 2.2 reads at every start; it is {}",
                replica.id,
                names::collection(names, collection),
                if is_needed { "moved to a key of 2.2" } else { "deleted" }
            ),
        );
        changes.replaced.insert(replica.old.to_vec());
        if is_needed && there.get(&replica.new) != Some(&replica.value) {
            changes.visible.insert(replica.new, replica.value);
        }
    }
}

/// A replica of 2.1, with the key and value that 2.2 gives it.
struct LegacyReplica<'t> {
    id: ReplicaId,
    collection: CollectionId,
    old: &'t [u8],
    new: Vec<u8>,
    value: Vec<u8>,
}

fn legacy_replicas(there: &Keys) -> Vec<LegacyReplica<'_>> {
    let prefix = Family::QueryReplica.prefix();
    let below = there
        .range(prefix.clone().into_bytes()..)
        .take_while(|(key, _)| key.starts_with(prefix.as_bytes()));
    let read = below.filter_map(|(key, value)| {
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

/// The load state and replicas of collections of which no record is left.
fn loads(
    there: &Keys,
    living: &BTreeSet<CollectionId>,
    changes: &mut Changes,
    findings: &mut Findings,
) {
    for key in there.keys() {
        let (Key::CollectionLoadInfo(id) | Key::PartitionLoadInfo(id, _) | Key::Replica(id, _)) =
            Key::parse(key)
        else {
            continue;
        };
        if living.contains(&id) {
            continue;
        }
        findings.warning(
            "orphan",
            key,
            format!("load state of collection {id}, which does not exist; it is deleted"),
        );
        changes.replaced.insert(key.clone());
    }
}

/// Load state and last operation of 2.1: no release of 2.2 reads them.
fn unread(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    let mut found: BTreeMap<Family, (u64, &[u8])> = BTreeMap::new();
    for key in there.keys() {
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
            changes.replaced.insert(key.clone());
        }
    }
    for (family, (count, first)) in found {
        let name = family.name();
        let message = format!(
            "{} of 2.1 {} left below {name} (first here), which no release of 2.2 reads; the repair deletes {}",
            counted(count, "key"),
            agree(count, "is", "are"),
            agree(count, "it", "them")
        );
        findings.notice("leftover", first, message);
    }
}
