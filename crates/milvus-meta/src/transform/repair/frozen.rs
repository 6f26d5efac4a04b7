//! Records that Milvus 2.3.18, 2.4.5 or later froze: when these releases start, they move collections into the database
//! `default` with a snapshot at the largest timestamp. Nothing can be written behind it, so every later change is lost at
//! the next start, and a dropped collection comes back.
//!
//! They write no other snapshot of that key at the start, so one at an earlier timestamp is a change that was made
//! since: it is what the collection becomes again.

use super::super::findings::Findings;
use super::super::names;
use super::super::snapshots::RawHistory;
use super::collections::{all_histories, object};
use super::contradictions::{Names, Newest};
use super::used::Used;
use super::{Changes, Keys, live};
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Key, Object, TOMBSTONE, Time, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

pub(super) fn repair(there: &Keys, used: &Used, changes: &mut Changes, findings: &mut Findings) {
    let mut names = None;
    for (place, history) in all_histories(there) {
        let last = history.snapshots.get(&Timestamp::LAST);
        let Some(value) = last.filter(|value| !is_tombstone(value)) else {
            continue;
        };
        let Ok(record) = v2_1::collection(value) else {
            continue;
        };
        let frozen = Frozen {
            place,
            history: &history,
            value,
            record: &record,
        };
        match frozen.is_dropped() {
            Some(true) => frozen.drop(changes, findings),
            Some(false) => {
                let names = names.get_or_insert_with(|| Names::of(there, &Newest::of(there)));
                frozen.thaw(names, changes, findings);
            }
            // Milvus deletes a plain key some time after the collection was dropped, and its parts with it.
            None if !is_used(there, used, place.1) => frozen.drop(changes, findings),
            // The missing key is reported when the result is checked.
            None => {}
        }
    }
}

/// Whether anything of a collection is left but its record.
fn is_used(there: &Keys, used: &Used, id: CollectionId) -> bool {
    let mut parts = live(there).filter_map(|(object, ..)| match object {
        Object::Partition(of, _) | Object::Field(of, _) => Some(of),
        Object::Collection(_)
        | Object::DatabaseCollection(..)
        | Object::Alias(_)
        | Object::DatabaseAlias(..)
        | Object::LegacyAlias(_)
        | Object::DdMessageSend
        | Object::DdOperation
        | Object::Database(_) => None,
    });
    used.has_partitions(id) || parts.any(|of| of == id)
}

/// A record with a snapshot at the largest timestamp.
struct Frozen<'t> {
    place: (DatabaseId, CollectionId),
    history: &'t RawHistory,
    /// The value of that snapshot.
    value: &'t [u8],
    record: &'t Collection,
}

impl Frozen<'_> {
    fn key(&self) -> Vec<u8> {
        Key::Snapshot(object(self.place), Timestamp::LAST).render()
    }

    /// The newest snapshot that was written since.
    fn later(&self) -> Option<(Timestamp, &[u8])> {
        let later = self.history.snapshots.range(..Timestamp::LAST).next_back();
        later.map(|(time, value)| (*time, value.as_slice()))
    }

    /// Whether the collection was dropped since; `None` where the plain key is missing and no snapshot shows it.
    fn is_dropped(&self) -> Option<bool> {
        if self.later().is_some_and(|(_, later)| is_tombstone(later)) {
            return Some(true);
        }
        self.history.plain.as_deref().map(is_tombstone)
    }

    fn drop(&self, changes: &mut Changes, findings: &mut Findings) {
        changes.dropped.insert(self.place.1);
        if self
            .history
            .plain
            .as_deref()
            .is_some_and(|plain| !is_tombstone(plain))
        {
            let plain = Key::Plain(object(self.place)).render();
            changes.rewrites.insert(plain, TOMBSTONE.to_vec());
        }
        let title = names::collection_of(self.record);
        findings.warning(
            "dropped-collection-returned",
            &self.key(),
            format!(
                "{title} was dropped, and Milvus 2.3.18, 2.4.5 and later bring it back at every start, because a snapshot \
                 at the largest timestamp hides its tombstone; the snapshot is deleted, and the collection stays dropped"
            ),
        );
        changes.replaced.insert(self.key());
    }

    fn thaw(&self, names: &Names, changes: &mut Changes, findings: &mut Findings) {
        let title = names::collection_of(self.record);
        let later = self.later().filter(|(_, later)| *later != self.value);
        let taken = later.and_then(|(_, later)| self.taken(later, names));
        let (current, what) = match (later, taken) {
            (Some((time, later)), None) => (
                later,
                format!(
                    "The change of {} becomes visible again{}",
                    when(time),
                    self.renamed(later)
                ),
            ),
            (Some((time, later)), Some(other)) => (
                self.value,
                format!(
                    "The change of {} is lost{}, because {} has the same name",
                    when(time),
                    self.renamed(later),
                    findings.name(other)
                ),
            ),
            (None, _) => (
                self.value,
                "The record stays as Milvus reads it now".to_owned(),
            ),
        };
        // An interrupted repair has written the new snapshot.
        if self.later().is_none_or(|(_, later)| later != current) {
            let time = self
                .later()
                .map_or(self.record.create_time, |(time, _)| time)
                .next();
            let key = Key::Snapshot(object(self.place), time).render();
            changes.visible.insert(key, current.to_vec());
        }
        if self.history.plain.as_deref() != Some(current) {
            let plain = Key::Plain(object(self.place)).render();
            changes.rewrites.insert(plain, current.to_vec());
        }
        findings.warning(
            "frozen-record",
            &self.key(),
            format!(
                "{title} has a snapshot at the largest timestamp, as Milvus 2.3.18, 2.4.5 and later write it: changes of \
                 the collection are lost at the next start. The snapshot is replaced by one that can be followed. {what}"
            ),
        );
        changes.replaced.insert(self.key());
    }

    /// The key of another object that has the name which a later change gave the collection.
    fn taken<'n>(&self, later: &[u8], names: &'n Names) -> Option<&'n [u8]> {
        let name = v2_1::collection(later).ok()?.name?;
        let (database, id) = self.place;
        names.taken(database, &name, id)
    }

    fn renamed(&self, later: &[u8]) -> String {
        let name = v2_1::collection(later).ok().and_then(|it| it.name);
        match name.filter(|name| self.record.name.as_ref() != Some(name)) {
            Some(name) => format!(": it was renamed to {name:?}"),
            None => String::new(),
        }
    }
}

fn when(time: Timestamp) -> String {
    Time::of(time).map_or_else(|| format!("timestamp {}", time.0), |at| at.to_string())
}
