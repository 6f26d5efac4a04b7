//! Restored collections outside databases move into the database `default`, as embedded ones do: Milvus 2.3.18, 2.4.5
//! and later freeze what is outside.

use super::super::snapshots::RawHistory;
use super::super::{NewKeys, database};
use super::collections::{NO_DATABASE, Refusal, keys_of};
use super::contradictions::Names;
use super::{Changes, Keys};
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
    /// `None` where a value is no record, and for what Milvus never leaves outside a database.
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
            old: keys_of((NO_DATABASE, id), history),
        })
    }

    /// Whether an interrupted repair has begun it.
    pub(super) fn has_begun(&self, there: &Keys) -> bool {
        let is_there = |(key, value): (&Vec<u8>, &Vec<u8>)| there.get(key) == Some(value);
        self.new.iter().any(is_there)
    }

    /// Why it is impossible.
    pub(super) fn refusal(
        &self,
        there: &Keys,
        record: &Collection,
        names: &Names,
    ) -> Option<Refusal> {
        let mut new = self.new.iter();
        let other = new.find(|(key, value)| there.get(*key).is_some_and(|found| found != *value));
        // An interrupted repair deletes old snapshots after it wrote the new record.
        if let Some((key, _)) = other.filter(|_| !self.is_written(there)) {
            return Some(Refusal::Conflict(key.clone()));
        }
        let name = record.name.as_deref()?;
        let taken = names.taken(database::DEFAULT, name, self.id)?;
        Some(Refusal::Name(taken.to_vec()))
    }

    pub(super) fn write(self, there: &Keys, changes: &mut Changes) {
        if !self.is_written(there) {
            let missing = self
                .new
                .into_iter()
                .filter(|(key, _)| !there.contains_key(key));
            changes.visible.extend(missing);
        }
        changes.replaced.extend(self.old);
    }

    /// Whether the new plain key is there, which is written last.
    fn is_written(&self, there: &Keys) -> bool {
        let plain = Object::DatabaseCollection(database::DEFAULT, self.id);
        let plain = Key::Plain(plain).render();
        there
            .get(&plain)
            .is_some_and(|value| self.new.get(&plain) == Some(value))
    }
}
