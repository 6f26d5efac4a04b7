//! Alias keys of 2.1, which Milvus 2.2 takes for collections: what 2.2 does not know yet is carried over, then they go.

use std::collections::BTreeMap;

use super::super::collection::Converted;
use super::super::findings::Findings;
use super::super::names::{self, CollectionNames};
use super::super::snapshots::RawHistory;
use super::super::{CollectionForm, alias, database};
use super::aliases::collection_of;
use super::collections::Moved;
use super::contradictions::{Names, Newest};
use super::{Changes, Keys, live};
use crate::codec::v2_1;
use crate::keys::{Key, Object, is_tombstone};
use crate::model::{CollectionId, DatabaseId};

pub(super) fn repair(there: &Keys, moved: &Moved, changes: &mut Changes, findings: &mut Findings) {
    let histories = histories(there);
    if histories.is_empty() {
        return;
    }
    let collections = Collections::of(there, moved);
    for (name, history) in histories {
        let legacy = Legacy {
            name: &name,
            history: &history,
        };
        legacy.settle(there, &collections, changes, findings);
    }
}

/// The collections that an alias can name.
struct Collections {
    names: CollectionNames,
    databases: BTreeMap<CollectionId, DatabaseId>,
    taken: Names,
    converted: Converted,
}

impl Collections {
    fn of(there: &Keys, moved: &Moved) -> Self {
        let mut databases = BTreeMap::new();
        let mut converted = Converted::default();
        for (object, _, value) in live(there) {
            let (database, id) = match object {
                Object::Collection(id) if moved.contains_key(&id) => (database::DEFAULT, id),
                Object::Collection(id) => (DatabaseId(0), id),
                Object::DatabaseCollection(database, id) => (database, id),
                Object::LegacyAlias(_)
                | Object::DdMessageSend
                | Object::DdOperation
                | Object::Partition(..)
                | Object::Field(..)
                | Object::Alias(_)
                | Object::DatabaseAlias(..)
                | Object::Database(_) => continue,
            };
            let Ok(record) = v2_1::collection(value) else {
                continue;
            };
            databases.insert(id, database);
            converted.created.insert(id, record.create_time);
            if let Some(name) = &record.name {
                converted.names.insert(id, name.clone());
            }
            converted.live.insert(id, record);
        }
        Self {
            names: super::names_of(there),
            databases,
            taken: Names::of(there, &Newest::of(there)),
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
    fn current(&self, there: &Keys) -> Vec<Option<CollectionId>> {
        let objects = [
            Object::Alias(self.name),
            Object::DatabaseAlias(database::DEFAULT, self.name),
        ];
        let values = objects.map(|object| there.get(&Key::Plain(object).render()));
        let values = values.into_iter().flatten();
        values.map(|value| collection_of(value)).collect()
    }

    fn settle(
        &self,
        there: &Keys,
        collections: &Collections,
        changes: &mut Changes,
        findings: &mut Findings,
    ) {
        let title = format!("alias {:?}", String::from_utf8_lossy(self.name));
        let Some(value) = self.value().filter(|value| !is_tombstone(value)) else {
            let message =
                format!("{title}, which was dropped, still has keys of 2.1; they are deleted");
            findings.notice("leftover", &self.plain(), message);
            changes.removed.extend(self.keys());
            return;
        };
        // What cannot be read is reported when the result is checked.
        let Ok(record) = v2_1::alias(value) else {
            return;
        };
        let wanted = record.collection;
        let named = names::collection(&collections.names, wanted);
        let current = self.current(there);
        if let Some(first) = current.first() {
            if current.contains(&Some(wanted)) {
                let message = format!(
                    "{title} of {named} still has keys of 2.1, which Milvus 2.2 takes for a collection; they are deleted"
                );
                findings.warning("legacy-alias", &self.plain(), message);
                changes.removed.extend(self.keys());
            } else {
                let other = first.map_or_else(
                    || "dropped".to_owned(),
                    |id| format!("of {}", names::collection(&collections.names, id)),
                );
                findings.error(
                    "two-records",
                    &self.plain(),
                    contradiction(&title, &named, &other),
                );
            }
            return;
        }
        let Some(database) = collections.databases.get(&wanted) else {
            let message = format!(
                "{title} has keys of 2.1 and refers to {named}, which does not exist; they are deleted, because Milvus 2.2 \
                 takes them for a collection"
            );
            findings.notice("alias-without-collection", &self.plain(), message);
            changes.removed.extend(self.keys());
            return;
        };
        let name = String::from_utf8_lossy(self.name);
        if let Some(other) = collections.taken.taken_from_alias(&name, wanted) {
            let message = format!(
                "{title} of {named} cannot be carried over: {} has the same name. Rename or drop one of the two in \
                 Milvus, then run the repair again",
                findings.name(other)
            );
            findings.error("name-taken", &self.plain(), message);
            return;
        }
        self.carry(
            there,
            (*database, &title, &named),
            &collections.converted,
            (changes, findings),
        );
    }

    fn carry(
        &self,
        there: &Keys,
        (database, title, named): (DatabaseId, &str, &str),
        converted: &Converted,
        (changes, findings): (&mut Changes, &mut Findings),
    ) {
        let form = match database {
            DatabaseId(0) => CollectionForm::Split,
            _ => CollectionForm::Database,
        };
        let mut history = self.history.clone();
        history.plain = self.value().map(<[u8]>::to_vec);
        let mut noted = findings.beside();
        let aliases = BTreeMap::from([(self.name.to_vec(), history)]);
        let new = alias::convert(form, aliases, converted, &mut noted);
        let is_other =
            |(key, value): (&Vec<u8>, &Vec<u8>)| there.get(key).is_some_and(|it| it != value);
        if noted.has_errors()
            || !matches!(database, DatabaseId(0) | database::DEFAULT)
            || new.iter().any(is_other)
        {
            findings.error(
                "two-records",
                &self.plain(),
                contradiction(title, named, "another one"),
            );
            return;
        }
        findings.take(noted);
        findings.warning(
            "legacy-alias",
            &self.plain(),
            format!(
                "{title} of {named} has keys of 2.1 only, which Milvus 2.2 takes for a collection; it is carried over, and \
                 they are deleted. Milvus 2.2 keeps no trace of an alias for long after it was dropped: if this one was \
                 dropped on 2.2, drop it again after the repair"
            ),
        );
        changes
            .visible
            .extend(new.into_iter().filter(|(key, _)| !there.contains_key(key)));
        // They are the source until the new keys are there.
        changes.replaced.extend(self.keys());
    }

    /// The value that 2.1 reads; without a plain key that of the newest snapshot, which later releases read.
    fn value(&self) -> Option<&[u8]> {
        let newest = self.history.snapshots.last_key_value();
        let plain = self.history.plain.as_ref();
        plain.or(newest.map(|(_, value)| value)).map(Vec::as_slice)
    }

    fn plain(&self) -> Vec<u8> {
        Key::Plain(Object::LegacyAlias(self.name)).render()
    }

    fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        let object = Object::LegacyAlias(self.name);
        let snapshots = self.history.snapshots.keys();
        let snapshots = snapshots.map(move |time| Key::Snapshot(object, *time).render());
        let plain = self.history.plain.iter().map(|_| self.plain());
        snapshots.chain(plain)
    }
}

fn contradiction(title: &str, named: &str, other: &str) -> String {
    format!(
        "{title} is of {named} in keys of 2.1, and {other} in those of 2.2; meta-migration inspect shows both. Drop the \
         alias in Milvus, run the repair again, and create the alias again"
    )
}

fn histories(there: &Keys) -> BTreeMap<Vec<u8>, RawHistory> {
    let mut histories: BTreeMap<Vec<u8>, RawHistory> = BTreeMap::new();
    for (key, value) in there {
        let key = Key::parse(key);
        if let Key::Plain(Object::LegacyAlias(name)) = key {
            histories.entry(name.to_vec()).or_default().set(None, value);
        } else if let Key::Snapshot(Object::LegacyAlias(name), time) = key {
            let history = histories.entry(name.to_vec()).or_default();
            history.set(Some(time), value);
        }
    }
    histories
}
