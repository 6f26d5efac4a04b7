//! Moves restored collections outside databases into the database `default`, like embedded ones: Milvus 2.3.18, 2.4.5
//! and later freeze collections outside databases.

use super::super::snapshots::RawHistory;
use super::super::{NewKeys, database};
use super::Plan;
use super::collections::Refusal;
use super::contradictions::Names;
use crate::codec::patch;
use crate::codec::v2_1::Collection;
use crate::keys::{Key, Object, TOMBSTONE, Timestamp, is_tombstone};
use crate::model::CollectionId;

/// A record, with its snapshots, that moves.
pub(super) struct Move {
    id: CollectionId,
    new: NewKeys,
    old: Vec<Vec<u8>>,
}

impl Move {
    /// Plans a move; `None` if a value is not a record, or if Milvus has already frozen the collection.
    pub(super) fn of(id: CollectionId, record: &Collection, history: &RawHistory) -> Option<Self> {
        if history.snapshots.contains_key(&Timestamp::LAST) {
            return None;
        }
        let object = Object::DatabaseCollection(database::DEFAULT, id);
        let inside = |value: &[u8]| match is_tombstone(value) {
            true => Some(TOMBSTONE.to_vec()),
            false => patch::split_collection(value, Some(database::DEFAULT.0)).ok(),
        };
        let plain = inside(history.plain.as_deref()?)?;
        let mut new = NewKeys::new();
        for (timestamp, value) in &history.snapshots {
            new.insert(Key::Snapshot(object, *timestamp).render(), inside(value)?);
        }
        if history.snapshots.is_empty() {
            let created = Key::Snapshot(object, record.create_time).render();
            new.insert(created, plain.clone());
        }
        new.insert(Key::Plain(object).render(), plain);
        Some(Self {
            id,
            new,
            old: history.keys(Object::Collection(id)).collect(),
        })
    }

    /// Returns whether an interrupted repair has begun it.
    pub(super) fn has_begun(&self, plan: &Plan<'_>) -> bool {
        self.new.iter().any(|(key, value)| plan.has(key, value))
    }

    /// Returns why the move is impossible.
    pub(super) fn refusal(
        &self,
        plan: &Plan<'_>,
        record: &Collection,
        names: &Names,
    ) -> Option<Refusal> {
        // An interrupted repair deletes old snapshots after it wrote the new record.
        if let Some(key) = plan
            .conflict(self.new.iter())
            .filter(|_| !self.is_written(plan))
        {
            return Some(Refusal::Conflict(key.to_vec()));
        }
        let name = record.name.as_deref()?;
        let taken = names.taken(database::DEFAULT, name, self.id)?;
        Some(Refusal::Name(taken.to_vec()))
    }

    pub(super) fn write(self, plan: &mut Plan<'_>) {
        if !self.is_written(plan) {
            plan.add(self.new);
        }
        plan.changes.replaced.extend(self.old);
    }

    /// Returns whether the new plain key exists, which is written last.
    fn is_written(&self, plan: &Plan<'_>) -> bool {
        let plain = Object::DatabaseCollection(database::DEFAULT, self.id);
        let plain = Key::Plain(plain).render();
        self.new
            .get(&plain)
            .is_some_and(|value| plan.has(&plain, value))
    }
}
