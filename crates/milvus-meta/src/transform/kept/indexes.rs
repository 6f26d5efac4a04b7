//! Index definitions, by the field that they are on.

use std::collections::BTreeMap;

use prost::Message as _;

use super::super::findings::Findings;
use super::super::index::{Around, DEFAULT_NAME, Index, Indexes, Unreferenced};
use super::super::index_params;
use super::super::index_support::Built;
use super::super::names::{self, CollectionNames, named};
use super::{Kept, contradiction};
use crate::codec::describe;
use crate::codec::v2_1::{FieldSchema, IndexDefinition};
use crate::keys::{Key, Object};
use crate::model::{CollectionId, FieldId, IndexId};
use crate::proto::v2_2::index::FieldIndex;
use crate::proto::v2_2::schema;

const DROP: &str = "Drop one of the two indexes in its release of Milvus";

/// An index of 2.2.
struct Definition {
    ids: (CollectionId, IndexId),
    field: FieldId,
    name: String,
    params: BTreeMap<String, String>,
    created: u64,
    deleted: bool,
}

impl Definition {
    fn read(value: &[u8]) -> Option<Self> {
        let record = FieldIndex::decode(value).ok()?;
        let info = record.index_info?;
        let params = info.index_params.into_iter();
        Some(Self {
            ids: (CollectionId(info.collection_id), IndexId(info.index_id)),
            field: FieldId(info.field_id),
            name: info.index_name,
            params: params.map(|pair| (pair.key, pair.value)).collect(),
            created: record.create_time,
            deleted: record.deleted,
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.params == other.params
    }

    /// Whether it is what a migration makes of a definition of 2.1.
    fn is_made_of(&self, definition: &IndexDefinition) -> bool {
        let default = format!("{DEFAULT_NAME}_{}", self.field);
        let name = match definition.name.as_str() {
            DEFAULT_NAME => &default,
            _ => &definition.name,
        };
        let params = index_params::flatten(&definition.params);
        self.name == *name && params.is_ok_and(|flattened| flattened.params == self.params)
    }
}

impl Kept {
    /// Keeps the indexes of 2.2: one of 2.1 on the same field is left out where it is the same or older.
    pub(in super::super) fn indexes(
        &self,
        indexes: &mut Indexes,
        others: &CollectionNames,
        around: Around<'_>,
        findings: &mut Findings,
    ) {
        let kept: Vec<Definition> = self
            .keys
            .iter()
            .filter(|(key, _)| matches!(Key::parse(key), Key::FieldIndex(..)))
            .filter_map(|(_, value)| Definition::read(value))
            .filter(|definition| !definition.deleted)
            .collect();
        let planned: Vec<Definition> = indexes
            .staged
            .values()
            .filter_map(|value| Definition::read(value))
            .filter(|definition| !definition.deleted)
            .collect();
        let place = |definition: &Definition| (definition.ids.0, definition.field);
        let on_field: BTreeMap<_, &Definition> = kept
            .iter()
            .map(|definition| (place(definition), definition))
            .collect();
        for old in &planned {
            let Some(new) = on_field.get(&place(old)).filter(|new| new.ids != old.ids) else {
                continue;
            };
            let key = Key::LegacyIndex(old.ids.0, old.ids.1).render();
            let title = indexes.title(old.ids);
            if !old.is_same(new) && old.created >= new.created {
                let differences = self.compared(old.ids, new.ids, indexes);
                contradiction::report(findings, &key, &title, vec![differences], DROP);
            } else {
                report_replaced(&key, &title, new, findings);
            }
            self.replace(old.ids, new, indexes, around);
        }
        for new in &kept {
            let index = self.index(new, around);
            indexes.written.entry(new.ids).or_insert(index);
        }
        report_without_field(self, others, indexes, findings);
    }

    fn compared(
        &self,
        old: (CollectionId, IndexId),
        new: (CollectionId, IndexId),
        indexes: &Indexes,
    ) -> String {
        let key = |ids: (CollectionId, IndexId)| Key::FieldIndex(ids.0, ids.1).render();
        let [old, new] = [key(old), key(new)];
        let old = indexes.staged.get(&old).map(Vec::as_slice);
        contradiction::compared(&new, old, self.keys.get(&new).map(Vec::as_slice))
    }

    /// The index of 2.2 takes the place of that of 2.1, which is not written.
    fn replace(
        &self,
        old: (CollectionId, IndexId),
        new: &Definition,
        indexes: &mut Indexes,
        around: Around<'_>,
    ) {
        indexes
            .staged
            .remove(&Key::FieldIndex(old.0, old.1).render());
        indexes.written.remove(&old);
        let live = indexes.live.entry(old.0).or_default();
        live.retain(|(id, _)| *id != old.1);
        live.push((new.ids.1, self.index(new, around)));
    }

    fn index(&self, definition: &Definition, around: Around<'_>) -> Index {
        let key = Object::Field(definition.ids.0, definition.field);
        let record = self.keys.get(&Key::Plain(key).render());
        let record = record.and_then(|value| schema::FieldSchema::decode(value.as_slice()).ok());
        let live = around.live.get(&definition.ids.0);
        let mut fields = live.iter().flat_map(|collection| &collection.fields);
        let schema = fields.find(|field| field.id == definition.field).cloned();
        let schema = schema.unwrap_or_else(|| FieldSchema {
            data_type: record.map_or(0, |record| record.data_type.into()),
            ..FieldSchema::default()
        });
        let target = around.target;
        Index {
            field: definition.field,
            deleted: false,
            on_vector: schema.is_vector(),
            support: Built::new(schema.data_type, &definition.params).support(target),
        }
    }
}

/// 2.1's index is not carried, because 2.2 has one on its field.
fn report_replaced(key: &[u8], title: &str, new: &Definition, findings: &mut Findings) {
    let message = format!(
        "{title} is not carried: Milvus 2.2 has {} on the same field, which is kept. Segments that only the index of \
         2.1 covers are searched without one; with 2.2, create the index again with the same parameters to build it",
        named("index", Some(&new.name), new.ids.1)
    );
    findings.warning("index-replaced", key, message);
}

/// Indexes of 2.1 that no record of 2.1 gives a field: those that 2.2 has must be the same there, others cannot be
/// carried.
fn report_without_field(
    kept: &Kept,
    others: &CollectionNames,
    indexes: &Indexes,
    findings: &mut Findings,
) {
    for (ids, Unreferenced { key, definition }) in &indexes.unreferenced {
        if definition.deleted {
            continue;
        }
        let title = indexes.title(*ids);
        let there = Key::FieldIndex(ids.0, ids.1).render();
        if let Some(value) = kept.keys.get(&there) {
            let new = Definition::read(value).filter(|new| !new.deleted);
            if new.is_none_or(|new| !new.is_made_of(definition)) {
                let both = format!(
                    "it is named {:?} with {:?} in 2.1, and 2.2 has {}",
                    definition.name,
                    definition.params,
                    describe(&there, value)
                );
                contradiction::report(findings, key, &title, vec![both], DROP);
            }
        } else if others.contains_key(&ids.0) {
            let message = format!(
                "{title} cannot be carried: {} is in the 2.2 layout, and no record names the field of this index of \
                 2.1. Drop the index in Milvus 2.1, or delete its key (etcdctl del {}); create it in Milvus 2.2 after \
                 the migration",
                names::collection(others, ids.0),
                findings.name(key)
            );
            findings.error("index-not-migrated", key, message);
        }
    }
}
