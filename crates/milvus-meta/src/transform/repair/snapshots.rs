//! Objects whose plain key has no snapshot: Milvus 2.2.3 and later read snapshots only, and 2.2.0 does not start on a
//! tombstone without one.

use super::super::findings::Findings;
use super::{Changes, Keys};
use crate::keys::{Key, Object, SNAPSHOT_PREFIX, Timestamp, is_tombstone, split_timestamp};
use crate::model::CollectionId;
use crate::proto::v2_2::etcd::{AliasInfo, CollectionInfo, PartitionInfo};
use prost::Message as _;

pub(super) fn repair(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    for (key, value) in there {
        let Key::Plain(object) = Key::parse(key) else {
            continue;
        };
        let is_done = changes.goes(key) || changes.rewrites.contains_key(key);
        if !has_history(object)
            || is_done
            || is_refused(object, changes)
            || has_snapshot(there, key)
        {
            continue;
        }
        if is_tombstone(value) {
            if !matches!(object, Object::Collection(_)) {
                let message = "a tombstone without any snapshot, on which Milvus 2.2.0 does not start; it is deleted";
                findings.warning("lone-tombstone", key, message);
                changes.replaced.insert(key.clone());
            }
            continue;
        }
        let Some(created) = created(there, object, value) else {
            continue;
        };
        let message = "it has no snapshot, so Milvus 2.2.3 and later do not see it; one is written at its creation \
                       time";
        findings.warning("snapshot-missing", key, message);
        changes
            .visible
            .insert(Key::Snapshot(object, created).render(), value.clone());
    }
}

fn is_refused(object: Object<'_>, changes: &Changes) -> bool {
    match object {
        Object::Collection(id)
        | Object::DatabaseCollection(_, id)
        | Object::Partition(id, _)
        | Object::Field(id, _) => changes.refused.contains(&id),
        Object::Alias(_)
        | Object::DatabaseAlias(..)
        | Object::LegacyAlias(_)
        | Object::DdMessageSend
        | Object::DdOperation
        | Object::Database(_) => false,
    }
}

fn has_history(object: Object<'_>) -> bool {
    match object {
        Object::Collection(_)
        | Object::DatabaseCollection(..)
        | Object::Partition(..)
        | Object::Field(..)
        | Object::Alias(_)
        | Object::DatabaseAlias(..) => true,
        Object::LegacyAlias(_)
        | Object::DdMessageSend
        | Object::DdOperation
        | Object::Database(_) => false,
    }
}

fn has_snapshot(there: &Keys, plain: &[u8]) -> bool {
    let mut prefix = SNAPSHOT_PREFIX.as_bytes().to_vec();
    prefix.extend_from_slice(plain);
    let whole = prefix.clone();
    prefix.extend_from_slice(b"_ts");
    let mut below = there
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix));
    below.any(|(key, _)| split_timestamp(key).is_some_and(|(object, _)| object == whole))
}

/// When an object was created; `None` if neither its record nor its collection's contains the time.
pub(super) fn created(there: &Keys, object: Object<'_>, value: &[u8]) -> Option<Timestamp> {
    let known = |time: u64| (time != 0).then_some(Timestamp(time));
    let of = |id: CollectionId| {
        let records = there.iter().filter(|(key, value)| {
            let key = Key::parse(key);
            let is_its = matches!(key, Key::Plain(Object::Collection(found) | Object::DatabaseCollection(_, found)) if found == id);
            is_its && !is_tombstone(value)
        });
        let mut times =
            records.filter_map(|(_, value)| CollectionInfo::decode(value.as_slice()).ok());
        times.find_map(|info| known(info.create_time))
    };
    match object {
        Object::Collection(_) | Object::DatabaseCollection(..) => {
            known(CollectionInfo::decode(value).ok()?.create_time)
        }
        Object::Partition(collection, _) => {
            let info = PartitionInfo::decode(value).ok()?;
            known(info.partition_created_timestamp).or_else(|| of(collection))
        }
        Object::Field(collection, _) => of(collection),
        Object::Alias(_) | Object::DatabaseAlias(..) => {
            let info = AliasInfo::decode(value).ok()?;
            known(info.created_time).or_else(|| of(CollectionId(info.collection_id)))
        }
        Object::LegacyAlias(_)
        | Object::DdMessageSend
        | Object::DdOperation
        | Object::Database(_) => None,
    }
}
