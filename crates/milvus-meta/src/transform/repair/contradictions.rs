//! Detects keys that contradict the record of a collection, which then cannot be repaired.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::super::snapshots::RawHistory;
use super::super::{NewKeys, database, names};
use super::{Keys, below, live, prefix_of};
use crate::codec::{patch, v2_1, wire};
use crate::keys::{Family, Key, Object, SNAPSHOT_PREFIX, Timestamp, is_tombstone, split_timestamp};
use crate::model::{CollectionId, DatabaseId};
use crate::plural::counted;
use crate::proto::v2_2::etcd::AliasInfo;
use prost::Message as _;

/// A snapshot: its timestamp, its own key and its value.
type Snapshot<'t> = (Timestamp, &'t [u8], &'t [u8]);

/// The newest snapshot of each object, by its plain key.
pub(super) struct Newest<'t>(BTreeMap<&'t [u8], Snapshot<'t>>);

impl<'t> Newest<'t> {
    pub(super) fn of(entries: &'t Keys) -> Self {
        let mut newest = BTreeMap::new();
        for (key, value) in entries {
            let Some((original, timestamp)) = split_timestamp(key) else {
                continue;
            };
            if let Some(plain) = original.strip_prefix(SNAPSHOT_PREFIX.as_bytes()) {
                let found = (timestamp, key.as_slice(), value.as_slice());
                let known = newest.entry(plain).or_insert(found);
                *known = found.max(*known);
            }
        }
        Self(newest)
    }

    /// Returns the snapshots other than tombstones, with their objects and keys.
    fn live(&self) -> impl Iterator<Item = (Object<'t>, &'t [u8], &'t [u8])> {
        self.0.iter().filter_map(|(plain, (_, key, value))| {
            let Key::Plain(object) = Key::parse(plain) else {
                return None;
            };
            (!is_tombstone(value)).then_some((object, *key, *value))
        })
    }

    /// Returns the snapshots of the objects whose plain keys start with `prefix`, by these keys.
    pub(super) fn below(&self, prefix: Vec<u8>) -> impl Iterator<Item = (&'t [u8], Snapshot<'t>)> {
        let range = (Bound::Included(prefix.as_slice()), Bound::Unbounded);
        let snapshots = self.0.range::<[u8], _>(range);
        let all = snapshots.map(|(plain, snapshot)| (*plain, *snapshot));
        all.take_while(move |(plain, _)| plain.starts_with(&prefix))
    }

    /// Returns the key of a partition or field that Milvus would read with another value than `planned` once the
    /// partitions and fields of the collection have separate keys.
    pub(super) fn stray(
        &self,
        entries: &Keys,
        planned: &NewKeys,
        id: CollectionId,
    ) -> Option<Vec<u8>> {
        let planned = |key: &[u8]| planned.get(key).map(Vec::as_slice);
        for family in [Family::Partition, Family::Field] {
            let prefix = prefix_of(family, id);
            let mut plain = below(entries, prefix.clone());
            let plain =
                plain.find(|(key, value)| !is_tombstone(value) && planned(key) != Some(*value));
            if let Some((key, _)) = plain {
                return Some(key.to_vec());
            }
            let mut snapshots = self.below(prefix);
            let snapshot = snapshots.find(|(plain, (_, key, value))| {
                let now = planned(plain);
                let is_same = match is_tombstone(value) {
                    true => now.is_none_or(is_tombstone),
                    false => now == Some(*value),
                };
                !is_same && planned(key) != Some(*value)
            });
            if let Some((_, (_, key, _))) = snapshot {
                return Some(key.to_vec());
            }
        }
        None
    }
}

/// Describes the values of the plain key and of the newest snapshot of a collection; `None` if they agree. Releases
/// before 2.2.3 read the plain key, later releases the snapshot. `rewritten` is the value of the plain key after the
/// repair; an interrupted repair has already written it to the newest snapshot.
pub(super) fn two_readings(history: &RawHistory, rewritten: Option<&Vec<u8>>) -> Option<String> {
    let (timestamp, newest) = history.snapshots.last_key_value()?;
    let comparable = |raw: &[u8]| patch::embedded_collection(raw).ok();
    let is_same = history.plain.as_ref().is_some_and(|plain| {
        let is_live = !is_tombstone(plain) && !is_tombstone(newest);
        plain == newest
            || (is_live && comparable(plain).is_some() && comparable(plain) == comparable(newest))
    });
    if is_same || rewritten == Some(newest) {
        return None;
    }
    let plain = history.plain.as_deref();
    Some(format!(
        "its plain key, which releases before 2.2.3 read, holds {}; its newest snapshot (timestamp {}), which later \
         releases read, holds {}",
        plain.map_or_else(|| "nothing".to_owned(), reading),
        timestamp.0,
        reading(newest)
    ))
}

fn reading(raw: &[u8]) -> String {
    if is_tombstone(raw) {
        return "a tombstone (dropped)".to_owned();
    }
    match v2_1::collection(raw) {
        Ok(record) => format!(
            "{} with {} and {}{}",
            names::collection_of(&record),
            counted(record.fields.len(), "field"),
            counted(record.partition_ids.len(), "partition"),
            if in_transition(raw) {
                ", being created or dropped"
            } else {
                ""
            }
        ),
        Err(_) => "a value that is no collection record".to_owned(),
    }
}

/// Returns whether a collection is being created or dropped.
pub(super) fn in_transition(value: &[u8]) -> bool {
    const STATE: u32 = 13;
    let mut fields = wire::fields(value).filter_map(Result::ok);
    fields.any(|field| field.number == STATE && field.content != wire::Content::Varint(0))
}

/// The holder of a name: the id of a collection, or `None` for an alias, and the key.
type Holder = (Option<CollectionId>, Vec<u8>);

/// The names in each database. Objects outside databases belong to `default`, as in Milvus.
#[derive(Default)]
pub(super) struct Names(BTreeMap<(DatabaseId, String), Vec<Holder>>);

impl Names {
    pub(super) fn of(entries: &Keys, newest: &Newest<'_>) -> Self {
        let mut names = Self::default();
        for (object, key, value) in live(entries).chain(newest.live()) {
            names.take(object, key, value);
        }
        names
    }

    fn take(&mut self, object: Object<'_>, key: &[u8], value: &[u8]) {
        let (database, name, id) = if let Some((database, id)) = object.collection_record() {
            let record = v2_1::collection(value)
                .ok()
                .filter(|_| !in_transition(value));
            let Some(name) = record.and_then(|record| record.name) else {
                return;
            };
            (database, name, Some(id))
        } else if let Some((database, name)) = object.alias()
            && !AliasInfo::decode(value).is_ok_and(|info| info.state != 0)
        {
            (database, String::from_utf8_lossy(name).into_owned(), None)
        } else {
            return;
        };
        let database = match database {
            database::NONE => database::DEFAULT,
            inside => inside,
        };
        let holders = self.0.entry((database, name)).or_default();
        holders.push((id, key.to_vec()));
    }

    /// Returns the key of another collection in `default` with the name of an alias of the collection `of`.
    pub(super) fn taken_from_alias(&self, name: &str, of: CollectionId) -> Option<&[u8]> {
        let mut holders = self.holders(database::DEFAULT, name);
        let other = holders.find(|(id, _)| id.is_some_and(|id| id != of))?;
        Some(&other.1)
    }

    /// Returns the key of another collection or of an alias with the name of the collection `by`.
    pub(super) fn taken(
        &self,
        database: DatabaseId,
        name: &str,
        by: CollectionId,
    ) -> Option<&[u8]> {
        let mut holders = self.holders(database, name);
        let other = holders.find(|(id, _)| *id != Some(by))?;
        Some(&other.1)
    }

    fn holders(&self, database: DatabaseId, name: &str) -> impl Iterator<Item = &Holder> {
        let holders = self.0.get(&(database, name.to_owned()));
        holders.into_iter().flatten()
    }
}
