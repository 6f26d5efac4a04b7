//! Collections with their partitions and fields in their own record: each gets the form that the target reads.

use std::collections::BTreeMap;

use super::super::collection::{self, Converted};
use super::super::findings::Findings;
use super::super::snapshots::RawHistory;
use super::super::{CollectionForm, NewKeys, Options, database, names};
use super::contradictions::{Names, Newest, in_transition, two_readings};
use super::{Changes, Keys};
use crate::codec::{patch, v2_1};
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

/// No database.
pub(super) const NO_DATABASE: DatabaseId = DatabaseId(0);

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
    let newest = Newest::of(there);
    let names = Names::of(there, &newest);
    for (place, history) in histories(there) {
        let (database, id) = place;
        let Some(title) = history.plain.as_deref().and_then(embedded) else {
            unconverted(there, place, &history, changes, findings);
            continue;
        };
        changes.touched.insert(id);
        let form = match database {
            NO_DATABASE => options.form,
            _ => CollectionForm::Split,
        };
        let moves = form == CollectionForm::Database;
        let old: Vec<Vec<u8>> = keys_of(place, &history);
        let mut noted = findings.beside();
        let history_of_it = BTreeMap::from([(id, history.clone())]);
        let converted = collection::convert(form, history_of_it, &mut noted);
        if database != NO_DATABASE {
            // The conversion knows records outside databases only.
            let outside = Key::Plain(Object::Collection(id)).render();
            noted.in_database(&outside, &Key::Plain(object(place)).render());
        }
        if noted.has_errors() {
            findings.take(noted);
            changes.refused.insert(id);
            continue;
        }
        let created = converted.created.get(&id).copied().unwrap_or_default();
        let whole = Planned::of(place, converted);
        let stray = newest.stray(there, &whole.children, id);
        let planned = whole.without_done(there);
        if let Some(refusal) = refusal(there, place, &history, &planned, stray, moves, &names) {
            let (code, why) = refusal.told(&title, findings);
            findings.error(code, &old[0], why);
            changes.refused.insert(id);
            continue;
        }
        findings.take(noted);
        findings.warning(
            "embedded-form",
            &old[0],
            format!(
                "{title} is in the embedded form: its partitions and fields get separate keys{}",
                if moves {
                    ", and it moves into the database \"default\""
                } else {
                    ""
                }
            ),
        );
        planned.write(there, changes);
        if moves {
            changes.replaced.extend(old);
            moved.insert(id, created);
        }
    }
    moved
}

/// Adds the database `default` where collections move and it is missing.
pub(super) fn add_default_database(there: &Keys, moved: &Moved, changes: &mut Changes) {
    let is_there = there.contains_key(&Key::Plain(Object::Database(database::DEFAULT)).render());
    let Some(oldest) = moved.values().min().filter(|_| !is_there) else {
        return;
    };
    let mut record = NewKeys::new();
    database::stage(*oldest, &mut record);
    let missing = record
        .into_iter()
        .filter(|(key, _)| !there.contains_key(key));
    changes.visible.extend(missing);
}

/// Names a collection whose record holds its partitions and fields; `None` for any other record, and for one
/// that is being created or dropped.
fn embedded(value: &[u8]) -> Option<String> {
    if is_tombstone(value) {
        return None;
    }
    let record = v2_1::collection(value).ok()?;
    let is_embedded = !record.fields.is_empty() && !record.partition_ids.is_empty();
    (is_embedded && !in_transition(value)).then(|| names::collection_of(&record))
}

/// Why a collection is not repaired.
pub(super) enum Refusal {
    /// This key holds something else than the record says.
    Conflict(Vec<u8>),
    /// A partition or field that is not in the record, or differs there.
    Stray(Vec<u8>),
    /// The plain key and the newest snapshot differ.
    Readings(String),
    /// The name in the database `default` is that of another collection, or an alias.
    Name(Vec<u8>),
}

impl Refusal {
    /// The code and text of the finding.
    pub(super) fn told(&self, title: &str, findings: &Findings) -> (&'static str, String) {
        match self {
            Self::Conflict(key) => (
                "two-records",
                format!(
                    "{title} is not repaired, because {} holds something else than what its record says; \
                     meta-migration inspect shows both. Drop the collection in Milvus where it is of no use, \
                     or restore a backup",
                    findings.name(key)
                ),
            ),
            Self::Stray(key) => (
                "two-records",
                format!(
                    "{title} is in the embedded form, and {} is not as its record says: the key would be read once \
                     partitions and fields have separate keys. The collection is not converted. Compare both with \
                     meta-migration inspect; delete the key (etcdctl del {}) if the record is right, or restore a backup",
                    findings.name(key),
                    findings.name(key)
                ),
            ),
            Self::Readings(readings) => (
                "two-records",
                format!(
                    "{title} is not converted, because its keys contradict each other: {readings}. Decide which one is \
                     right: compare both with meta-migration inspect, make the other key equal to it with etcdctl put, \
                     or restore a backup"
                ),
            ),
            Self::Name(key) => (
                "name-taken",
                format!(
                    "{title} cannot move into the database \"default\": {} has the same name there. Rename or drop \
                     one of the two in Milvus, then run the repair again",
                    findings.name(key)
                ),
            ),
        }
    }
}

fn refusal(
    there: &Keys,
    place: (DatabaseId, CollectionId),
    history: &RawHistory,
    planned: &Planned,
    stray: Option<Vec<u8>>,
    moves: bool,
    names: &Names,
) -> Option<Refusal> {
    if let Some(key) = planned.conflict(there) {
        return Some(Refusal::Conflict(key));
    }
    if moves && planned.records.is_empty() {
        // An interrupted repair wrote the new record; what is left of the old one only has to go.
        return None;
    }
    let plain = Key::Plain(object(place)).render();
    let are_children_there = planned.children.is_empty();
    let rewritten = planned.rewrites.get(&plain).filter(|_| are_children_there);
    if let Some(readings) = two_readings(history, rewritten) {
        return Some(Refusal::Readings(readings));
    }
    if let Some(key) = stray {
        return Some(Refusal::Stray(key));
    }
    let record = history.plain.as_deref().filter(|_| moves)?;
    let name = v2_1::collection(record).ok()?.name?;
    let other = names.taken(database::DEFAULT, &name, place.1)?;
    Some(Refusal::Name(other.to_vec()))
}

/// Refuses a collection that is embedded in its newest snapshot only, which is what 2.2.3 and later read.
fn unconverted(
    there: &Keys,
    place: (DatabaseId, CollectionId),
    history: &RawHistory,
    changes: &mut Changes,
    findings: &mut Findings,
) {
    let newest = history.snapshots.last_key_value();
    let Some((timestamp, title)) = newest.and_then(|(at, raw)| Some((*at, embedded(raw)?))) else {
        return;
    };
    let inside = Key::Plain(Object::DatabaseCollection(database::DEFAULT, place.1)).render();
    let moved = |plain: &[u8]| patch::split_collection(plain, Some(database::DEFAULT.0)).ok();
    let is_moved = place.0 == NO_DATABASE
        && there.get(&inside).is_some_and(|inside| {
            let mut plain = history.plain.iter();
            !is_tombstone(inside) && plain.all(|plain| moved(plain).as_ref() == Some(inside))
        });
    if is_moved {
        return;
    }
    if let Some(readings) = two_readings(history, None) {
        let key = Key::Snapshot(object(place), timestamp).render();
        let (code, why) = Refusal::Readings(readings).told(&title, findings);
        findings.error(code, &key, why);
        changes.refused.insert(place.1);
    }
}

/// The values of each collection, by its place, without the records that were frozen.
fn histories(there: &Keys) -> BTreeMap<(DatabaseId, CollectionId), RawHistory> {
    let mut histories = all_histories(there);
    // Milvus 2.3.18 and later freeze what they moved at the last timestamp, behind which nothing can be written.
    histories.retain(|_, history| !history.snapshots.contains_key(&Timestamp::LAST));
    histories
}

/// The values of each collection, by its place.
pub(super) fn all_histories(there: &Keys) -> BTreeMap<(DatabaseId, CollectionId), RawHistory> {
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
    histories
}

pub(super) fn object((database, id): (DatabaseId, CollectionId)) -> Object<'static> {
    match database {
        NO_DATABASE => Object::Collection(id),
        _ => Object::DatabaseCollection(database, id),
    }
}

/// The plain key, and those of the snapshots.
pub(super) fn keys_of(place: (DatabaseId, CollectionId), history: &RawHistory) -> Vec<Vec<u8>> {
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
    /// plain key behind its snapshots. Until then the snapshots take precedence over the rest of the old record.
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
