//! Keys of 2.1 that no release reads, replicas of 2.1, and the load state of missing collections.

use std::collections::{BTreeMap, BTreeSet};

use super::super::findings::Findings;
use super::{Changes, Keys, living_collections};
use crate::codec::{v2_1, v2_2};
use crate::keys::{Family, Key};
use crate::model::CollectionId;
use crate::plural::{agree, counted};

pub(super) fn repair(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    let living = living_collections(there);
    replicas(there, changes, findings);
    loads(there, &living, changes, findings);
    unread(there, changes, findings);
}

/// Replicas of 2.1 that a loaded collection needs get the key of 2.2; the old keys go.
fn replicas(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    let (mut loaded, mut served) = (BTreeSet::new(), BTreeSet::new());
    for key in there.keys() {
        let key = Key::parse(key);
        if let Key::CollectionLoadInfo(id) | Key::PartitionLoadInfo(id, _) = key {
            loaded.insert(id);
        } else if let Key::Replica(id, _) = key {
            served.insert(id);
        }
    }
    for (key, value) in there {
        let Key::QueryReplica(_) = Key::parse(key) else {
            continue;
        };
        let Ok(replica) = v2_1::replica(value) else {
            continue;
        };
        let collection = replica.collection;
        let is_needed = loaded.contains(&collection) && !served.contains(&collection);
        if is_needed {
            let new = Key::Replica(collection, replica.id).render();
            changes.visible.insert(new, v2_2::replica(&replica));
        }
        findings.warning(
            "legacy-replica",
            key,
            format!(
                "replica {} of collection {collection} has a key of 2.1, which Milvus 2.2 reads at every start; \
                 it is {}",
                replica.id,
                if is_needed { "moved to a key of 2.2" } else { "deleted" }
            ),
        );
        changes.replaced.insert(key.clone());
    }
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
