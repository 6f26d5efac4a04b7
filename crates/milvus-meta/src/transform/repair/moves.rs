//! Moves objects outside databases into the database `default`: restored collections, like embedded ones, because Milvus
//! 2.3.18, 2.4.5 and later freeze collections outside databases, and the aliases of moved collections.

use super::super::snapshots::RawHistory;
use super::super::{NewKeys, database};
use super::Plan;
use super::collections::Refusal;
use super::contradictions::Names;
use crate::codec::patch;
use crate::codec::v2_1::Collection;
use crate::codec::wire::WireError;
use crate::keys::{Key, Object, TOMBSTONE, Timestamp, is_tombstone};
use crate::model::CollectionId;

/// An object, with its snapshots, that moves.
pub(super) struct Move {
    /// The new plain key, which is written last: until then the new snapshots take precedence over the rest of the old
    /// object.
    plain: Vec<u8>,
    new: NewKeys,
    /// The keys that are replaced.
    old: Vec<Vec<u8>>,
    /// The number of values that cannot be converted.
    unreadable: usize,
}

impl Move {
    /// Plans the move of an object with this history; `inside` converts its values. An object without snapshots gets one
    /// at `created`.
    pub(super) fn of(
        history: &RawHistory,
        old: Object<'_>,
        new: Object<'_>,
        created: Option<Timestamp>,
        inside: impl Fn(&[u8]) -> Result<Vec<u8>, WireError>,
    ) -> Self {
        let mut it = Self {
            plain: Key::Plain(new).render(),
            new: NewKeys::new(),
            old: Vec::new(),
            unreadable: 0,
        };
        for (timestamp, value) in history.all() {
            let value = match is_tombstone(value) {
                true => Ok(TOMBSTONE.to_vec()),
                false => inside(value),
            };
            let Ok(value) = value else {
                it.unreadable += 1;
                continue;
            };
            if let Some(created) = created.filter(|_| history.snapshots.is_empty()) {
                let snapshot = Key::Snapshot(new, created).render();
                it.new.insert(snapshot, value.clone());
            }
            it.new.insert(Key::of(new, timestamp).render(), value);
            it.old.push(Key::of(old, timestamp).render());
        }
        it
    }

    /// Plans the move of a collection; `None` if a value is not a record, or if Milvus has already frozen the collection.
    pub(super) fn of_collection(
        id: CollectionId,
        record: &Collection,
        history: &RawHistory,
    ) -> Option<Self> {
        let old = Object::Collection(id);
        let new = Object::DatabaseCollection(database::DEFAULT, id);
        let inside = |value: &[u8]| patch::split_collection(value, Some(database::DEFAULT.0));
        let moves = Self::of(history, old, new, Some(record.create_time), inside);
        let is_frozen = history.snapshots.contains_key(&Timestamp::LAST);
        (moves.is_complete() && !is_frozen).then_some(moves)
    }

    /// Returns whether all values can be converted.
    pub(super) fn is_complete(&self) -> bool {
        self.unreadable == 0
    }

    /// Returns whether an interrupted repair has begun it.
    pub(super) fn has_begun(&self, plan: &Plan<'_>) -> bool {
        self.new.iter().any(|(key, value)| plan.has(key, value))
    }

    /// Returns a new key that exists with another value.
    pub(super) fn conflict(&self, plan: &Plan<'_>) -> Option<&[u8]> {
        plan.conflict(self.new.iter())
    }

    /// Returns why the move of a collection is impossible.
    pub(super) fn refusal(
        &self,
        plan: &Plan<'_>,
        id: CollectionId,
        record: &Collection,
        names: &Names,
    ) -> Option<Refusal> {
        // An interrupted repair deletes old snapshots after it wrote the new record.
        if !self.is_written(plan)
            && let Some(key) = self.conflict(plan)
        {
            return Some(Refusal::Conflict(key.to_vec()));
        }
        let name = record.name.as_deref()?;
        let taken = names.taken(database::DEFAULT, name, id)?;
        Some(Refusal::Name(taken.to_vec()))
    }

    pub(super) fn write(self, plan: &mut Plan<'_>) {
        if !self.is_written(plan) {
            plan.add(self.new);
        }
        plan.changes.replaced.extend(self.old);
    }

    /// Returns whether the new plain key exists.
    pub(super) fn is_written(&self, plan: &Plan<'_>) -> bool {
        let plain = self.new.get(&self.plain);
        plain.is_some_and(|value| plan.has(&self.plain, value))
    }
}
