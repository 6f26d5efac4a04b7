//! Records that Milvus 2.3.18, 2.4.5 or later froze: when these releases start, they move collections into the database
//! `default` with a snapshot at the largest timestamp. Nothing can be written behind it, so every later change is lost at
//! the next start, and a dropped collection comes back.

use super::super::findings::Findings;
use super::super::names;
use super::super::snapshots::RawHistory;
use super::collections::{all_histories, object};
use super::{Changes, Keys};
use crate::codec::v2_1;
use crate::keys::{Key, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

pub(super) fn repair(there: &Keys, changes: &mut Changes, findings: &mut Findings) {
    for (place, history) in all_histories(there) {
        let last = history.snapshots.get(&Timestamp::LAST);
        if let Some(value) = last.filter(|value| !is_tombstone(value)) {
            thaw(place, &history, value, changes, findings);
        }
    }
}

fn thaw(
    place: (DatabaseId, CollectionId),
    history: &RawHistory,
    value: &[u8],
    changes: &mut Changes,
    findings: &mut Findings,
) {
    let Ok(record) = v2_1::collection(value) else {
        return;
    };
    let title = names::collection_of(&record);
    let object = object(place);
    let plain = Key::Plain(object).render();
    let frozen = Key::Snapshot(object, Timestamp::LAST).render();
    // Milvus writes the frozen value to the plain key, too: what is different there was written later.
    let Some(current) = history.plain.as_deref() else {
        return;
    };
    let newest = history.snapshots.range(..Timestamp::LAST).next_back();
    if is_tombstone(current) || newest.is_some_and(|(_, newest)| is_tombstone(newest)) {
        changes.dropped.insert(place.1);
        if !is_tombstone(current) {
            changes
                .rewrites
                .insert(plain, crate::keys::TOMBSTONE.to_vec());
        }
        findings.warning(
            "dropped-collection-returned",
            &frozen,
            format!(
                "{title} was dropped, and Milvus 2.3.18, 2.4.5 and later bring it back at every start, because a snapshot \
                 at the largest timestamp hides its tombstone; the snapshot is deleted, and the collection stays dropped"
            ),
        );
        changes.replaced.insert(frozen);
        return;
    }
    // An interrupted repair has written the new snapshot.
    if newest.is_none_or(|(_, newest)| newest != value) {
        let time = newest.map_or(record.create_time, |(time, _)| *time).next();
        let key = Key::Snapshot(object, time).render();
        changes.visible.insert(key, value.to_vec());
    }
    if current != value {
        changes.rewrites.insert(plain, value.to_vec());
    }
    findings.warning(
        "frozen-record",
        &frozen,
        format!(
            "{title} has a snapshot at the largest timestamp, as Milvus 2.3.18, 2.4.5 and later write it: later \
             changes of the collection are lost at the next start. The snapshot moves to the time of the newest change \
             before; the record stays as Milvus reads it now"
        ),
    );
    changes.replaced.insert(frozen);
}
