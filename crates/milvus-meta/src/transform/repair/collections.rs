//! Collections with their partitions and fields in their own record: each gets the form that the target reads.

use std::collections::BTreeMap;

use super::super::collection::{self, Converted};
use super::super::findings::Findings;
use super::super::history::RawHistory;
use super::super::{CollectionForm, NewKeys, Options, database, names};
use super::{Changes, Keys};
use crate::codec::v2_1;
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

/// No database.
const NO_DATABASE: DatabaseId = DatabaseId(0);

/// The collections that move into the database `default`, with their creation times.
pub(super) type Moved = BTreeMap<CollectionId, Timestamp>;

/// Repairs every collection in the embedded form, and returns those that move.
pub(super) fn repair(
    there: &Keys,
    options: &Options,
    changes: &mut Changes,
    findings: &mut Findings,
) -> Moved {
    let mut moved = Moved::new();
    let mut oldest = None;
    for (place, history) in histories(there) {
        let Some(title) = history.plain.as_deref().and_then(embedded) else {
            continue;
        };
        let (database, id) = place;
        changes.touched.insert(id);
        let form = match database {
            NO_DATABASE => options.form,
            _ => CollectionForm::Split,
        };
        let moves = form == CollectionForm::Database;
        let old: Vec<Vec<u8>> = keys_of(place, &history);
        let mut noted = findings.beside();
        let converted = collection::convert(form, BTreeMap::from([(id, history)]), &mut noted);
        let created = converted.created.get(&id).copied().unwrap_or_default();
        let planned = Planned::of(place, converted).without_done(there);
        if let Some(other) = planned.conflict(there) {
            let message = format!(
                "{title} is in the embedded form, and {} holds something else than what its record says; \
                 meta-migration inspect shows both. Drop the collection in Milvus where it is of no use, \
                 or restore a backup",
                findings.name(&other)
            );
            findings.error("two-records", &old[0], message);
            continue;
        }
        findings.take(noted);
        findings.warning(
            "embedded-form",
            &old[0],
            format!(
                "{title} is in the embedded form: its partitions and fields get keys of their own{}",
                if moves { ", and it moves into the database \"default\"" } else { "" }
            ),
        );
        planned.write(there, changes);
        if moves {
            changes.replaced.extend(old);
            moved.insert(id, created);
            oldest = Some(oldest.map_or(created, |oldest: Timestamp| oldest.min(created)));
        }
    }
    let default = Key::Plain(Object::Database(database::DEFAULT)).render();
    if let Some(oldest) = oldest
        && !there.contains_key(&default)
    {
        let mut record = NewKeys::new();
        database::stage(oldest, &mut record);
        let new = record
            .into_iter()
            .filter(|(key, _)| !there.contains_key(key));
        changes.visible.extend(new);
    }
    moved
}

/// Names a collection whose record holds its partitions and fields; `None` for any other record, and for one
/// that is being created or dropped.
fn embedded(value: &[u8]) -> Option<String> {
    const STATE: u32 = 13;
    if is_tombstone(value) {
        return None;
    }
    let record = v2_1::collection(value).ok()?;
    let in_transition = crate::codec::wire::fields(value)
        .filter_map(Result::ok)
        .any(|field| {
            let state = crate::codec::wire::Content::Varint(0);
            field.number == STATE && field.content != state
        });
    let is_embedded = !record.fields.is_empty() && !record.partition_ids.is_empty();
    (is_embedded && !in_transition).then(|| names::collection_of(&record))
}

/// The values of each collection, by its place.
fn histories(there: &Keys) -> BTreeMap<(DatabaseId, CollectionId), RawHistory> {
    let place = |object| {
        if let Object::Collection(id) = object {
            Some((NO_DATABASE, id))
        } else if let Object::DatabaseCollection(database, id) = object {
            Some((database, id))
        } else {
            None
        }
    };
    let mut histories: BTreeMap<_, RawHistory> = BTreeMap::new();
    for (key, value) in there {
        let key = Key::parse(key);
        if let Key::Plain(object) = key
            && let Some(place) = place(object)
        {
            histories.entry(place).or_default().plain = Some(value.clone());
        } else if let Key::Snapshot(object, timestamp) = key
            && let Some(place) = place(object)
        {
            let history = histories.entry(place).or_default();
            history.snapshots.insert(timestamp, value.clone());
        }
    }
    // Milvus 2.3.18 and later freeze what they moved at the last timestamp, behind which nothing can be written.
    histories.retain(|_, history| !history.snapshots.contains_key(&Timestamp::LAST));
    histories
}

fn object((database, id): (DatabaseId, CollectionId)) -> Object<'static> {
    match database {
        NO_DATABASE => Object::Collection(id),
        _ => Object::DatabaseCollection(database, id),
    }
}

/// The plain key, and those of the snapshots.
fn keys_of(place: (DatabaseId, CollectionId), history: &RawHistory) -> Vec<Vec<u8>> {
    let object = object(place);
    let snapshots = history.snapshots.keys();
    let snapshots = snapshots.map(|timestamp| Key::Snapshot(object, *timestamp).render());
    let plain = history.plain.iter().map(|_| Key::Plain(object).render());
    plain.chain(snapshots).collect()
}

/// What becomes of one collection.
struct Planned {
    /// Its partitions and fields.
    children: NewKeys,
    /// Records that were not there.
    records: NewKeys,
    rewrites: NewKeys,
}

impl Planned {
    fn of(place: (DatabaseId, CollectionId), converted: Converted) -> Self {
        let (children, records): (NewKeys, NewKeys) =
            converted.staged.into_iter().partition(|(key, _)| {
                matches!(
                    Family::of(key),
                    Family::Partition
                        | Family::PartitionSnapshot
                        | Family::Field
                        | Family::FieldSnapshot
                )
            });
        // The conversion knows records outside databases only.
        let there = |keys: NewKeys| -> NewKeys {
            let moved = |(key, value): (Vec<u8>, Vec<u8>)| {
                let parsed = Key::parse(&key);
                if let Key::Plain(Object::Collection(_)) = parsed {
                    (Key::Plain(object(place)).render(), value)
                } else if let Key::Snapshot(Object::Collection(_), timestamp) = parsed {
                    (Key::Snapshot(object(place), timestamp).render(), value)
                } else {
                    (key, value)
                }
            };
            keys.into_iter().map(moved).collect()
        };
        Self {
            children,
            records: records
                .into_iter()
                .chain(there(converted.history))
                .collect(),
            rewrites: there(converted.rewrites),
        }
    }

    /// Leaves out what an interrupted repair wrote: all partitions and fields before its commit, and a moved record's
    /// plain key behind its snapshots. What is left of the old record then tells less than those do.
    fn without_done(mut self, there: &Keys) -> Self {
        let are_there = |keys: &NewKeys| {
            let mut plain = keys
                .iter()
                .filter(|(key, _)| matches!(Key::parse(key), Key::Plain(_)))
                .peekable();
            plain.peek().is_some() && plain.all(|(key, value)| there.get(key) == Some(value))
        };
        if are_there(&self.children) {
            self.children.clear();
        }
        if are_there(&self.records) {
            self.records.clear();
        }
        self
    }

    /// A key that is there with another value than planned.
    fn conflict(&self, there: &Keys) -> Option<Vec<u8>> {
        let mut new = self.children.iter().chain(&self.records);
        let other = new.find(|(key, value)| there.get(*key).is_some_and(|found| found != *value));
        other.map(|(key, _)| key.clone())
    }

    fn write(self, there: &Keys, changes: &mut Changes) {
        let is_new = |(key, _): &(Vec<u8>, Vec<u8>)| !there.contains_key(key);
        changes
            .staged
            .extend(self.children.into_iter().filter(is_new));
        changes
            .visible
            .extend(self.records.into_iter().filter(is_new));
        changes.rewrites.extend(self.rewrites);
    }
}
