//! Collections in both layouts, with their partitions and fields.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::super::collection::Converted;
use super::super::findings::Findings;
use super::super::names::{self, CollectionNames};
use super::super::snapshots::RawHistory;
use super::super::{NewKeys, database};
use super::{Kept, collection_of, contradiction, is_plain};
use crate::codec::v2_1;
use crate::keys::{Key, Object, Timestamp, is_tombstone};
use crate::model::CollectionId;
use crate::proto::v2_2::etcd::CollectionInfo;

const MAKE_EQUAL: &str = "Make both equal in Milvus: create, drop or rename in one of the two releases what the other \
    has. Do not drop the collection in one of them: both records share its data. Where that is not possible, decide \
    which record is right and delete the keys of the other one with etcdctl del";

/// The layout of a collection record outside databases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V2_1,
    V2_2,
}

/// Returns the layout of a record; `None` for a tombstone or an unreadable record.
fn form(raw: &[u8]) -> Option<Form> {
    if is_tombstone(raw) {
        return None;
    }
    let record = v2_1::collection(raw).ok()?;
    record.name?;
    let is_split = record.fields.is_empty()
        && record.partition_ids.is_empty()
        && record.field_indexes.is_empty();
    Some(if is_split { Form::V2_2 } else { Form::V2_1 })
}

/// Returns whether all values of a collection outside databases have the 2.2 form, apart from tombstones.
pub(in super::super) fn is_of_2_2(history: &RawHistory) -> bool {
    let mut forms = history.all().filter_map(|(_, raw)| form(raw)).peekable();
    forms.peek().is_some() && forms.all(|form| form == Form::V2_2)
}

impl Kept {
    /// Takes the collections outside databases that 2.2 wrote and adds their keys to `staying`.
    /// Returns those of 2.1.
    pub(in super::super) fn divide(
        &mut self,
        collections: BTreeMap<CollectionId, RawHistory>,
        staying: &mut BTreeSet<Vec<u8>>,
        findings: &mut Findings,
    ) -> BTreeMap<CollectionId, RawHistory> {
        let mut of_2_1 = BTreeMap::new();
        for (id, history) in collections {
            let forms: Vec<Form> = history.all().filter_map(|(_, raw)| form(raw)).collect();
            if !forms.contains(&Form::V2_2) {
                of_2_1.insert(id, history);
                continue;
            }
            if let Some(live) = history.plain.as_deref().filter(|raw| !is_tombstone(raw))
                && forms.contains(&Form::V2_1)
            {
                report_altered(id, live, &history, findings);
            }
            staying.extend(history.keys(Object::Collection(id)));
            self.outside.insert(id, history);
        }
        of_2_1
    }

    /// Returns the collections that exist in 2.2, with their records.
    fn living(&self) -> BTreeMap<CollectionId, (bool, CollectionInfo)> {
        let mut living = BTreeMap::new();
        let mut add = |id, is_named, value: &[u8]| {
            if !is_tombstone(value)
                && let Ok(info) = CollectionInfo::decode(value)
            {
                living.insert(id, (is_named, info));
            }
        };
        for (id, history) in &self.outside {
            if let Some(plain) = &history.plain {
                add(*id, true, plain);
            }
        }
        for (key, value) in &self.keys {
            if let Key::Plain(Object::DatabaseCollection(database, id)) = Key::parse(key) {
                add(id, database == database::DEFAULT, value);
            }
        }
        living
    }

    /// Returns the collections that 2.2 has or had.
    pub(in super::super) fn known(&self) -> BTreeSet<CollectionId> {
        self.inside().chain(self.outside.keys().copied()).collect()
    }

    fn inside(&self) -> impl Iterator<Item = CollectionId> {
        self.keys.keys().filter_map(|key| collection_of(key))
    }

    /// Keeps the collections of 2.2, and returns those that only 2.2 has.
    pub(in super::super) fn collections(
        &self,
        converted: &mut Converted,
        findings: &mut Findings,
    ) -> CollectionNames {
        let theirs: BTreeSet<CollectionId> = self.inside().collect();
        let mine = converted.created.keys().copied();
        let both: BTreeSet<CollectionId> = mine.filter(|id| theirs.contains(id)).collect();
        for id in &both {
            self.compare(*id, converted, findings);
        }
        let is_in_both = |key: &[u8]| collection_of(key).is_some_and(|id| both.contains(&id));
        converted.staged.retain(|key, _| !is_in_both(key));
        let mut others = CollectionNames::new();
        let living = self.living();
        for (id, (is_in_default, info)) in living {
            if converted.live.contains_key(&id) {
                continue;
            }
            let name = info.schema.map(|schema| schema.name).unwrap_or_default();
            if is_in_default {
                report_same_name(id, &name, converted, findings);
            }
            converted.others.insert(id);
            converted.names.insert(id, name.clone());
            converted.created.insert(id, Timestamp(info.create_time));
            others.insert(id, name);
        }
        others
    }

    /// Compares a collection in both layouts: its record, its partitions and its fields.
    fn compare(&self, id: CollectionId, converted: &Converted, findings: &mut Findings) {
        let old = live_keys(&converted.staged, id);
        let new = live_keys(&self.keys, id);
        if old == new {
            return;
        }
        let keys: BTreeSet<&[u8]> = old.keys().chain(new.keys()).copied().collect();
        let differing = keys.into_iter().filter(|key| old.get(key) != new.get(key));
        let differences = differing
            .map(|key| contradiction::compared(key, old.get(key).copied(), new.get(key).copied()));
        let title = names::collection(&converted.names, id);
        let key = Key::Plain(Object::Collection(id)).render();
        contradiction::report(findings, &key, &title, differences.collect(), MAKE_EQUAL);
    }
}

/// Returns the plain keys of a collection that are not dropped, with their values.
fn live_keys(keys: &NewKeys, id: CollectionId) -> BTreeMap<&[u8], &[u8]> {
    let is_live = |key: &[u8], value: &[u8]| {
        collection_of(key) == Some(id) && is_plain(key) && !is_tombstone(value)
    };
    let live = keys.iter().filter(|(key, value)| is_live(key, value));
    live.map(|(key, value)| (key.as_slice(), value.as_slice()))
        .collect()
}

/// Reports a 2.1 record that 2.2 altered, or vice versa.
fn report_altered(id: CollectionId, plain: &[u8], history: &RawHistory, findings: &mut Findings) {
    let key = Key::Plain(Object::Collection(id)).render();
    let is_other = |raw: &&Vec<u8>| form(raw).is_some_and(|it| Some(it) != form(plain));
    let other = history.snapshots.values().rev().find(is_other);
    let (old, new) = match form(plain) {
        Some(Form::V2_1) => (Some(plain), other.map(Vec::as_slice)),
        Some(Form::V2_2) | None => (other.map(Vec::as_slice), Some(plain)),
    };
    let name = v2_1::collection(plain).ok().and_then(|record| record.name);
    let title = names::named("collection", name.as_deref(), id);
    let differences = vec![contradiction::compared(&key, old, new)];
    let advice = "Its record was altered in the other layout. Restore a backup from before that, or decide which \
                  record is right: meta-migration inspect shows the history of the key";
    contradiction::report(findings, &key, &title, differences, advice);
}

fn report_same_name(id: CollectionId, name: &str, converted: &Converted, findings: &mut Findings) {
    let mut live = converted.live.iter();
    let same = live.find(|(_, record)| record.name.as_deref() == Some(name));
    if let Some((other, record)) = same {
        let key = Key::Plain(Object::Collection(*other)).render();
        let message = format!(
            "{} of 2.1 and collection {id} of 2.2 have the same name. Rename or drop one of the two in Milvus, then \
             run meta-migration migrate again",
            names::collection_of(record)
        );
        findings.error("name-taken", &key, message);
    }
}
