//! Repairs objects whose plain key has no snapshot: Milvus 2.2.3 and later read only snapshots, and 2.2.0 does not start
//! on a tombstone without one.

use super::{Keys, Plan, below, live};
use crate::keys::{Key, Object, SNAPSHOT_PREFIX, Timestamp, is_tombstone, split_timestamp};
use crate::model::CollectionId;
use crate::proto::v2_2::etcd::{AliasInfo, CollectionInfo, PartitionInfo};
use prost::Message as _;

pub(super) fn repair(plan: &mut Plan<'_>) {
    for (key, value) in plan.entries {
        let Key::Plain(object) = Key::parse(key) else {
            continue;
        };
        let collection = object.collection();
        let has_history = collection.is_some() || object.alias().is_some();
        let is_refused = collection.is_some_and(|id| plan.refused.contains(&id));
        let is_done = plan.deletes(key) || plan.changes.rewrites.contains_key(key);
        if !has_history || is_done || is_refused || has_snapshot(plan.entries, key) {
            continue;
        }
        if is_tombstone(value) {
            if !matches!(object, Object::Collection(_)) {
                let message = "a tombstone without any snapshot, on which Milvus 2.2.0 does not start; it is deleted";
                plan.findings.warning("lone-tombstone", key, message);
                plan.changes.replaced.insert(key.clone());
            }
            continue;
        }
        if let Some(created) = created(plan.entries, object, value) {
            let message = "it has no snapshot, so Milvus 2.2.3 and later do not see it; one is written at its creation \
                           time";
            plan.findings.warning("snapshot-missing", key, message);
            let snapshot = Key::Snapshot(object, created).render();
            plan.changes.visible.insert(snapshot, value.clone());
        }
    }
}

fn has_snapshot(entries: &Keys, plain: &[u8]) -> bool {
    let complete = [SNAPSHOT_PREFIX.as_bytes(), plain].concat();
    let mut snapshots = below(entries, [&complete, &b"_ts"[..]].concat());
    snapshots.any(|(key, _)| split_timestamp(key).is_some_and(|(object, _)| object == complete))
}

/// Returns when an object was created; `None` if neither its record nor its collection's contains the time.
pub(super) fn created(entries: &Keys, object: Object<'_>, value: &[u8]) -> Option<Timestamp> {
    let known = |time: u64| (time != 0).then_some(Timestamp(time));
    let of = |id: CollectionId| {
        let is_of_collection = |object: Object<'_>| {
            object
                .collection_record()
                .is_some_and(|(_, found)| found == id)
        };
        let records = live(entries).filter(|(object, ..)| is_of_collection(*object));
        let mut times = records.filter_map(|(_, _, value)| CollectionInfo::decode(value).ok());
        times.find_map(|info| known(info.create_time))
    };
    if object.collection_record().is_some() {
        return known(CollectionInfo::decode(value).ok()?.create_time);
    }
    if object.alias().is_some() {
        let info = AliasInfo::decode(value).ok()?;
        return known(info.created_time).or_else(|| of(CollectionId(info.collection_id)));
    }
    let collection = object.collection()?;
    let created = if let Object::Partition(..) = object {
        known(
            PartitionInfo::decode(value)
                .ok()?
                .partition_created_timestamp,
        )
    } else {
        None
    };
    created.or_else(|| of(collection))
}
