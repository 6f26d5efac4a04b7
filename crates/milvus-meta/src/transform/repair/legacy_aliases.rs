//! Deletes alias keys of 2.1, which Milvus 2.2 reads as collections, after it carried over the aliases that 2.2 does
//! not have.

use std::collections::BTreeMap;

use super::super::collection::Converted;
use super::super::names::{self, CollectionNames};
use super::super::snapshots::RawHistory;
use super::super::{CollectionForm, alias, database};
use super::contradictions::{Names, Newest};
use super::{Keys, Plan, live};
use crate::codec::{v2_1, v2_2};
use crate::keys::{Key, Object, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

pub(super) fn repair(plan: &mut Plan<'_>) {
    let histories = super::histories(plan.entries, |object| {
        if let Object::LegacyAlias(name) = object {
            Some(name)
        } else {
            None
        }
    });
    if histories.is_empty() {
        return;
    }
    let collections = Collections::of(plan);
    for (name, history) in &histories {
        Legacy { name, history }.repair(plan, &collections);
    }
}

/// The collections to which an alias can refer.
struct Collections {
    names: CollectionNames,
    databases: BTreeMap<CollectionId, DatabaseId>,
    taken: Names,
    converted: Converted,
}

impl Collections {
    fn of(plan: &Plan<'_>) -> Self {
        let mut databases = BTreeMap::new();
        let mut converted = Converted::default();
        for (object, _, value) in live(plan.entries) {
            let (Some((mut database, id)), Ok(record)) =
                (object.collection_record(), v2_1::collection(value))
            else {
                continue;
            };
            if database == database::NONE && plan.moved.contains_key(&id) {
                database = database::DEFAULT;
            }
            databases.insert(id, database);
            converted.created.insert(id, record.create_time);
            if let Some(name) = &record.name {
                converted.names.insert(id, name.clone());
            }
            converted.live.insert(id, record);
        }
        Self {
            names: super::names_of(plan.entries),
            databases,
            taken: Names::of(plan.entries, &Newest::of(plan.entries)),
            converted,
        }
    }
}

/// An alias with keys of 2.1.
struct Legacy<'k> {
    name: &'k [u8],
    history: &'k RawHistory,
}

impl Legacy<'_> {
    /// Returns the collection of each record of 2.2 with this name; `None` for a dropped alias.
    fn current(&self, entries: &Keys) -> Vec<Option<CollectionId>> {
        let objects = [
            Object::Alias(self.name),
            Object::DatabaseAlias(database::DEFAULT, self.name),
        ];
        let values = objects.map(|object| entries.get(&Key::Plain(object).render()));
        let values = values.into_iter().flatten();
        values
            .map(|value| v2_2::collection_of_alias(value))
            .collect()
    }

    /// Deletes the keys of 2.1, and carries the alias over if 2.2 does not have it.
    fn repair(&self, plan: &mut Plan<'_>, collections: &Collections) {
        let title = format!("alias {:?}", String::from_utf8_lossy(self.name));
        let plain = self.plain();
        let Some(value) = self.value().filter(|value| !is_tombstone(value)) else {
            let message =
                format!("{title}, which was dropped, still has keys of 2.1; they are deleted");
            plan.findings.notice("leftover", &plain, message);
            plan.changes.removed.extend(self.keys());
            return;
        };
        // An unreadable record is reported when the result is checked.
        let Ok(record) = v2_1::alias(value) else {
            return;
        };
        let named = names::collection(&collections.names, record.collection);
        let current = self.current(plan.entries);
        if current.contains(&Some(record.collection)) {
            let message = format!(
                "{title} of {named} still has keys of 2.1, which Milvus 2.2 takes for a collection; they are deleted"
            );
            plan.findings.warning("legacy-alias", &plain, message);
            plan.changes.removed.extend(self.keys());
        } else if let Some(other) = current.first() {
            let other = other.map_or_else(
                || "dropped".to_owned(),
                |id| format!("of {}", names::collection(&collections.names, id)),
            );
            let message = contradiction(&title, &named, &other);
            plan.findings.error("two-records", &plain, message);
        } else if let Some(database) = collections.databases.get(&record.collection) {
            self.carry(
                plan,
                collections,
                (*database, record.collection),
                &title,
                &named,
            );
        } else {
            let message = format!(
                "{title} has keys of 2.1 and refers to {named}, which does not exist; they are deleted, because Milvus 2.2 \
                 takes them for a collection"
            );
            plan.findings
                .notice("alias-without-collection", &plain, message);
            plan.changes.removed.extend(self.keys());
        }
    }

    /// Writes the alias for 2.2, unless another object of 2.2 has its name.
    fn carry(
        &self,
        plan: &mut Plan<'_>,
        collections: &Collections,
        (database, collection): (DatabaseId, CollectionId),
        title: &str,
        named: &str,
    ) {
        let name = String::from_utf8_lossy(self.name);
        let plain = self.plain();
        if let Some(other) = collections.taken.taken_from_alias(&name, collection) {
            let message = format!(
                "{title} of {named} cannot be carried over: {} has the same name. Rename or drop one of the two in \
                 Milvus, then run the repair again",
                plan.findings.name(other)
            );
            return plan.findings.error("name-taken", &plain, message);
        }
        let form = match database {
            database::NONE => CollectionForm::Split,
            _ => CollectionForm::Database,
        };
        let mut history = self.history.clone();
        history.plain = self.value().map(<[u8]>::to_vec);
        let mut noted = plan.findings.beside();
        let aliases = BTreeMap::from([(self.name.to_vec(), history)]);
        let new = alias::convert(form, aliases, &collections.converted, &mut noted);
        let is_other_database = !matches!(database, database::NONE | database::DEFAULT);
        if noted.has_errors() || is_other_database || plan.conflict(new.iter()).is_some() {
            let message = contradiction(title, named, "another one");
            return plan.findings.error("two-records", &plain, message);
        }
        plan.findings.take(noted);
        let message = format!(
            "{title} of {named} has keys of 2.1 only, which Milvus 2.2 takes for a collection; it is carried over, and \
             they are deleted. Milvus 2.2 keeps no trace of an alias for long after it was dropped: if this one was \
             dropped on 2.2, drop it again after the repair"
        );
        plan.findings.warning("legacy-alias", &plain, message);
        plan.add(new);
        // The old keys are the source until the new keys are written, so they are deleted last.
        plan.changes.replaced.extend(self.keys());
    }

    /// Returns the value of the plain key, which 2.1 reads; without a plain key, that of the newest snapshot, which
    /// later releases read.
    fn value(&self) -> Option<&[u8]> {
        let newest = self.history.snapshots.last_key_value();
        let plain = self.history.plain.as_ref();
        plain.or(newest.map(|(_, value)| value)).map(Vec::as_slice)
    }

    fn plain(&self) -> Vec<u8> {
        Key::Plain(Object::LegacyAlias(self.name)).render()
    }

    fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        self.history.keys(Object::LegacyAlias(self.name))
    }
}

fn contradiction(title: &str, named: &str, other: &str) -> String {
    format!(
        "{title} is of {named} in keys of 2.1, and {other} in those of 2.2; meta-migration inspect shows both. Drop the \
         alias in Milvus, run the repair again, and create the alias again"
    )
}
