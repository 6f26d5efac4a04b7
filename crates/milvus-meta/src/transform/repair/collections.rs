//! Converts embedded collections, whose record contains their partitions and fields, to the form of the target.

use std::collections::BTreeMap;

use super::super::collection::{self, Converted};
use super::super::findings::Findings;
use super::super::snapshots::RawHistory;
use super::super::{CollectionForm, NewKeys, database, names};
use super::contradictions::{Names, Newest, in_transition, two_readings};
use super::{Keys, Plan};
use crate::codec::{patch, v2_1};
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

/// The database and the id of a collection.
pub(super) type Place = (DatabaseId, CollectionId);

/// Repairs every collection in the embedded form.
pub(super) fn repair(plan: &mut Plan<'_>, form: CollectionForm) {
    let newest = Newest::of(plan.entries);
    let names = Names::of(plan.entries, &newest);
    for (place, history) in histories(plan.entries) {
        let Some(title) = history.plain.as_deref().and_then(embedded) else {
            unconverted(plan, place, &history);
            continue;
        };
        let form = match place.0 {
            database::NONE => form,
            _ => CollectionForm::Split,
        };
        let collection = Embedded {
            place,
            history: &history,
            title,
            form,
        };
        collection.repair(plan, &newest, &names);
    }
}

/// Adds the database `default` where collections move and it is missing.
pub(super) fn add_default_database(plan: &mut Plan<'_>) {
    let key = Key::Plain(Object::Database(database::DEFAULT)).render();
    if !plan.entries.contains_key(&key) {
        let mut record = NewKeys::new();
        database::stage(plan.moved.values().min().copied(), &mut record);
        plan.add(record);
    }
}

/// A collection in the embedded form.
struct Embedded<'h> {
    place: Place,
    history: &'h RawHistory,
    title: String,
    /// The form that it gets.
    form: CollectionForm,
}

impl Embedded<'_> {
    fn moves(&self) -> bool {
        self.form == CollectionForm::Database
    }

    /// Converts the collection, unless its record is broken or another key contradicts it.
    fn repair(&self, plan: &mut Plan<'_>, newest: &Newest<'_>, names: &Names) {
        let id = self.place.1;
        plan.touched.insert(id);
        let mut noted = plan.findings.beside();
        let converted = self.convert(&mut noted);
        if noted.has_errors() {
            plan.findings.take(noted);
            plan.refused.insert(id);
            return;
        }
        let created = converted.created.get(&id).copied().unwrap_or_default();
        let all = Planned::of(self.place, converted);
        let stray = newest.stray(plan.entries, &all.children, id);
        let planned = all.without_done(plan.entries);
        let old: Vec<_> = self.history.keys(object(self.place)).collect();
        if let Some(refusal) = self.refusal(plan, &planned, stray, names) {
            return plan.refuse(id, &old[0], &self.title, &refusal);
        }
        plan.findings.take(noted);
        let moves = match self.moves() {
            true => ", and it moves into the database \"default\"",
            false => "",
        };
        let message = format!(
            "{} is in the embedded form: its partitions and fields get separate keys{moves}",
            self.title
        );
        plan.findings.warning("embedded-form", &old[0], message);
        planned.write(plan);
        if self.moves() {
            plan.changes.replaced.extend(old);
            plan.moved.insert(id, created);
        }
    }

    fn convert(&self, noted: &mut Findings) -> Converted {
        let (database, id) = self.place;
        let history = BTreeMap::from([(id, self.history.clone())]);
        let converted = collection::convert(self.form, history, noted);
        if database != database::NONE {
            // The conversion only supports records outside databases.
            let outside = Key::Plain(Object::Collection(id)).render();
            noted.in_database(&outside, &Key::Plain(object(self.place)).render());
        }
        converted
    }

    fn refusal(
        &self,
        plan: &Plan<'_>,
        planned: &Planned,
        stray: Option<Vec<u8>>,
        names: &Names,
    ) -> Option<Refusal> {
        if let Some(key) = plan.conflict(planned.children.iter().chain(&planned.records)) {
            return Some(Refusal::Conflict(key.to_vec()));
        }
        if self.moves() && planned.records.is_empty() {
            // An interrupted repair wrote the new record, and only deletions remain.
            return None;
        }
        let plain = Key::Plain(object(self.place)).render();
        let are_children_present = planned.children.is_empty();
        let rewritten = planned
            .rewrites
            .get(&plain)
            .filter(|_| are_children_present);
        if let Some(readings) = two_readings(self.history, rewritten) {
            return Some(Refusal::Readings(readings));
        }
        if let Some(key) = stray {
            return Some(Refusal::Stray(key));
        }
        let record = self.history.plain.as_deref().filter(|_| self.moves())?;
        let name = v2_1::collection(record).ok()?.name?;
        let other = names.taken(database::DEFAULT, &name, self.place.1)?;
        Some(Refusal::Name(other.to_vec()))
    }
}

/// Returns the title of a collection whose record contains its partitions and fields; `None` for any other record,
/// and for one that is being created or dropped.
fn embedded(value: &[u8]) -> Option<String> {
    if is_tombstone(value) {
        return None;
    }
    let record = v2_1::collection(value).ok()?;
    let is_embedded = !record.fields.is_empty() && !record.partition_ids.is_empty();
    (is_embedded && !in_transition(value)).then(|| names::collection_of(&record))
}

/// The reason why a collection is not repaired.
pub(super) enum Refusal {
    /// This key contradicts the record.
    Conflict(Vec<u8>),
    /// A partition or field that is not in the record, or has another value in it.
    Stray(Vec<u8>),
    /// The plain key and the newest snapshot differ.
    Readings(String),
    /// Another collection or an alias in the database `default` has the name.
    Name(Vec<u8>),
}

impl Refusal {
    /// Returns the code and message of the finding.
    pub(super) fn finding(&self, title: &str, findings: &Findings) -> (&'static str, String) {
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

/// Refuses a collection that is embedded only in its newest snapshot, which 2.2.3 and later read.
fn unconverted(plan: &mut Plan<'_>, place: Place, history: &RawHistory) {
    let newest = history.snapshots.last_key_value();
    let Some((timestamp, title)) = newest.and_then(|(at, raw)| Some((*at, embedded(raw)?))) else {
        return;
    };
    let inside = Key::Plain(Object::DatabaseCollection(database::DEFAULT, place.1)).render();
    let moved = |plain: &[u8]| patch::split_collection(plain, Some(database::DEFAULT.0)).ok();
    let is_moved = place.0 == database::NONE
        && plan.entries.get(&inside).is_some_and(|inside| {
            let mut plain = history.plain.iter();
            !is_tombstone(inside) && plain.all(|plain| moved(plain).as_ref() == Some(inside))
        });
    if is_moved {
        return;
    }
    if let Some(readings) = two_readings(history, None) {
        let key = Key::Snapshot(object(place), timestamp).render();
        plan.refuse(place.1, &key, &title, &Refusal::Readings(readings));
    }
}

/// Returns the values of each collection, without frozen records.
fn histories(entries: &Keys) -> BTreeMap<Place, RawHistory> {
    let mut histories = all_histories(entries);
    // Milvus 2.3.18 and later write moved records at the last timestamp, after which no snapshot can be written.
    histories.retain(|_, history| !history.snapshots.contains_key(&Timestamp::LAST));
    histories
}

/// Returns the values of each collection.
pub(super) fn all_histories(entries: &Keys) -> BTreeMap<Place, RawHistory> {
    super::histories(entries, |object| object.collection_record())
}

pub(super) fn object((database, id): Place) -> Object<'static> {
    match database {
        database::NONE => Object::Collection(id),
        _ => Object::DatabaseCollection(database, id),
    }
}

/// The changes to one collection.
struct Planned {
    /// Its partitions and fields.
    children: NewKeys,
    /// Records that did not exist.
    records: NewKeys,
    rewrites: NewKeys,
}

impl Planned {
    fn of(place: Place, converted: Converted) -> Self {
        let is_child = |key: &[u8]| {
            matches!(
                Family::of(key),
                Family::Partition
                    | Family::PartitionSnapshot
                    | Family::Field
                    | Family::FieldSnapshot
            )
        };
        let staged = converted.staged.into_iter();
        let (children, mut records): (NewKeys, NewKeys) =
            staged.partition(|(key, _)| is_child(key));
        let placed = |(key, value): (Vec<u8>, Vec<u8>)| {
            if let Some((Object::Collection(_), timestamp)) = Key::parse(&key).object() {
                return (Key::of(object(place), timestamp).render(), value);
            }
            (key, value)
        };
        records.extend(converted.history.into_iter().map(placed));
        Self {
            children,
            records,
            rewrites: converted.rewrites.into_iter().map(placed).collect(),
        }
    }

    /// Removes the keys that an interrupted repair has already written. It writes all partitions and fields before its
    /// commit, and the plain key of a moved record after its snapshots.
    fn without_done(mut self, entries: &Keys) -> Self {
        let are_present = |keys: &NewKeys| {
            let mut plain = keys
                .iter()
                .filter(|(key, _)| matches!(Key::parse(key), Key::Plain(_)))
                .peekable();
            plain.peek().is_some() && plain.all(|(key, value)| entries.get(key) == Some(value))
        };
        if are_present(&self.children) {
            self.children.clear();
        }
        if are_present(&self.records) {
            self.records.clear();
        }
        self
    }

    fn write(self, plan: &mut Plan<'_>) {
        let is_new = |(key, _): &(Vec<u8>, Vec<u8>)| !plan.entries.contains_key(key);
        let children = self.children.into_iter().filter(is_new);
        plan.changes.staged.extend(children);
        plan.changes.rewrites.extend(self.rewrites);
        plan.add(self.records);
    }
}
