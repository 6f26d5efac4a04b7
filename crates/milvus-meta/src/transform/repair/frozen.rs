//! Repairs records that Milvus 2.3.18, 2.4.5 or later froze. When these releases start, they move collections into the
//! database `default` with a snapshot at the largest timestamp. No later snapshot can be written, so every change is
//! lost at the next start, and a dropped collection reappears.
//!
//! At the start they write no other snapshot of that key, so a snapshot at an earlier timestamp is a later change. The
//! repair makes this change visible again.

use super::super::names;
use super::super::snapshots::RawHistory;
use super::collections::{Place, all_histories, object};
use super::contradictions::{Names, Newest};
use super::used::Used;
use super::{Keys, Plan, live};
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Key, TOMBSTONE, Time, Timestamp, is_tombstone};
use crate::model::CollectionId;

pub(super) fn repair(plan: &mut Plan<'_>, used: &Used) {
    let mut names = None;
    for (place, history) in all_histories(plan.entries) {
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
            Some(true) => frozen.drop(plan),
            Some(false) => {
                let names =
                    names.get_or_insert_with(|| Names::of(plan.entries, &Newest::of(plan.entries)));
                frozen.thaw(plan, names);
            }
            // Milvus deletes the plain key and the parts of a collection some time after it was dropped.
            None if !is_used(plan.entries, used, place.1) => frozen.drop(plan),
            // The missing key is reported when the result is checked.
            None => {}
        }
    }
}

/// Returns whether a collection has partitions, fields or segments in addition to its record.
fn is_used(entries: &Keys, used: &Used, id: CollectionId) -> bool {
    let parts = live(entries).filter(|(object, ..)| object.collection_record().is_none());
    used.has_partitions(id)
        || parts
            .map(|(object, ..)| object)
            .any(|part| part.collection() == Some(id))
}

/// A record with a snapshot at the largest timestamp.
struct Frozen<'t> {
    place: Place,
    history: &'t RawHistory,
    /// The value of that snapshot.
    value: &'t [u8],
    record: &'t Collection,
}

impl Frozen<'_> {
    fn key(&self) -> Vec<u8> {
        Key::Snapshot(object(self.place), Timestamp::LAST).render()
    }

    /// Returns the newest snapshot that was written after the freeze.
    fn later(&self) -> Option<(Timestamp, &[u8])> {
        let later = self.history.snapshots.range(..Timestamp::LAST).next_back();
        later.map(|(time, value)| (*time, value.as_slice()))
    }

    /// Returns whether the collection was dropped after the freeze; `None` if it has no plain key and no snapshot that
    /// shows this.
    fn is_dropped(&self) -> Option<bool> {
        if self.later().is_some_and(|(_, later)| is_tombstone(later)) {
            return Some(true);
        }
        self.history.plain.as_deref().map(is_tombstone)
    }

    fn drop(&self, plan: &mut Plan<'_>) {
        plan.dropped.insert(self.place.1);
        if self
            .history
            .plain
            .as_ref()
            .is_some_and(|plain| !is_tombstone(plain))
        {
            self.rewrite(plan, TOMBSTONE);
        }
        let message = format!(
            "{} was dropped, and Milvus 2.3.18, 2.4.5 and later bring it back at every start, because a snapshot \
             at the largest timestamp hides its tombstone; the snapshot is deleted, and the collection stays dropped",
            names::collection_of(self.record)
        );
        plan.findings
            .warning("dropped-collection-returned", &self.key(), message);
        plan.changes.replaced.insert(self.key());
    }

    fn thaw(&self, plan: &mut Plan<'_>, names: &Names) {
        let later = self.later().filter(|(_, later)| *later != self.value);
        let taken = later.and_then(|(_, later)| self.taken(later, names));
        let (current, what) = match (later, taken) {
            (Some((time, later)), None) => {
                let change = format!(
                    "{} becomes visible again{}",
                    when(time),
                    self.renamed(later)
                );
                (later, format!("The change of {change}"))
            }
            (Some((time, later)), Some(other)) => {
                let change = format!("{} is lost{}", when(time), self.renamed(later));
                let other = plan.findings.name(other);
                (
                    self.value,
                    format!("The change of {change}, because {other} has the same name"),
                )
            }
            (None, _) => (
                self.value,
                "The record stays as Milvus reads it now".to_owned(),
            ),
        };
        // An interrupted repair may have written the new snapshot.
        if self.later().is_none_or(|(_, later)| later != current) {
            let newest = self
                .later()
                .map_or(self.record.create_time, |(time, _)| time);
            let key = Key::Snapshot(object(self.place), newest.next()).render();
            plan.changes.visible.insert(key, current.to_vec());
        }
        if self.history.plain.as_deref() != Some(current) {
            self.rewrite(plan, current);
        }
        let message = format!(
            "{} has a snapshot at the largest timestamp, as Milvus 2.3.18, 2.4.5 and later write it: changes of \
             the collection are lost at the next start. The snapshot is replaced by one that can be followed. {what}",
            names::collection_of(self.record)
        );
        plan.findings.warning("frozen-record", &self.key(), message);
        plan.changes.replaced.insert(self.key());
    }

    /// Sets the plain key.
    fn rewrite(&self, plan: &mut Plan<'_>, value: &[u8]) {
        let plain = Key::Plain(object(self.place)).render();
        plan.changes.rewrites.insert(plain, value.to_vec());
    }

    /// Returns the key of another object that has the new name of the collection.
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
