//! Index definitions in both layouts, by field.

use std::collections::BTreeMap;

use prost::Message as _;

use super::super::findings::Findings;
use super::super::index::{DEFAULT_NAME, Index, IndexContext, Indexes, Unreferenced};
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

    /// Returns whether it equals the migrated definition of 2.1.
    fn is_migrated_from(&self, definition: &IndexDefinition) -> bool {
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
    /// Keeps the indexes of 2.2. A 2.1 index on the same field is skipped if it is equal or older.
    pub(in super::super) fn indexes(
        &self,
        indexes: &mut Indexes,
        others: &CollectionNames,
        ctx: IndexContext<'_>,
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
            self.replace(old.ids, new, indexes, ctx);
        }
        for new in &kept {
            let index = self.index(new, ctx);
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

    /// Replaces a 2.1 index, which is not written, with the 2.2 index.
    fn replace(
        &self,
        old: (CollectionId, IndexId),
        new: &Definition,
        indexes: &mut Indexes,
        ctx: IndexContext<'_>,
    ) {
        indexes
            .staged
            .remove(&Key::FieldIndex(old.0, old.1).render());
        indexes.written.remove(&old);
        let live = indexes.live.entry(old.0).or_default();
        live.retain(|(id, _)| *id != old.1);
        live.push((new.ids.1, self.index(new, ctx)));
    }

    fn index(&self, definition: &Definition, ctx: IndexContext<'_>) -> Index {
        let key = Object::Field(definition.ids.0, definition.field);
        let record = self.keys.get(&Key::Plain(key).render());
        let record = record.and_then(|value| schema::FieldSchema::decode(value.as_slice()).ok());
        let live = ctx.live.get(&definition.ids.0);
        let mut fields = live.iter().flat_map(|collection| &collection.fields);
        let schema = fields.find(|field| field.id == definition.field).cloned();
        let schema = schema.unwrap_or_else(|| FieldSchema {
            data_type: record.map_or(0, |record| record.data_type.into()),
            ..FieldSchema::default()
        });
        let target = ctx.target;
        Index {
            field: definition.field,
            deleted: false,
            on_vector: schema.is_vector(),
            support: Built::new(schema.data_type, &definition.params).support(target),
        }
    }
}

/// Reports that a 2.1 index is not migrated because 2.2 has one on the same field.
fn report_replaced(key: &[u8], title: &str, new: &Definition, findings: &mut Findings) {
    let message = format!(
        "{title} is not migrated: Milvus 2.2 has {} on the same field, which is kept. Segments that only the index of \
         2.1 covers are searched without one; with 2.2, create the index again with the same parameters to build it",
        named("index", Some(&new.name), new.ids.1)
    );
    findings.warning("index-replaced", key, message);
}

/// Reports 2.1 indexes whose field is in no 2.1 record. If 2.2 has the index, it must be equal;
/// others cannot be migrated.
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
        let new_key = Key::FieldIndex(ids.0, ids.1).render();
        if let Some(value) = kept.keys.get(&new_key) {
            let new = Definition::read(value).filter(|new| !new.deleted);
            if new.is_none_or(|new| !new.is_migrated_from(definition)) {
                let both = format!(
                    "it is named {:?} with {:?} in 2.1, and 2.2 has {}",
                    definition.name,
                    definition.params,
                    describe(&new_key, value)
                );
                contradiction::report(findings, key, &title, vec![both], DROP);
            }
        } else if others.contains_key(&ids.0) {
            let message = format!(
                "{title} cannot be migrated: {} is in the 2.2 layout, and no record names the field of this index of \
                 2.1. Drop the index in Milvus 2.1, or delete its key (etcdctl del {}); create it in Milvus 2.2 after \
                 the migration",
                names::collection(others, ids.0),
                findings.name(key)
            );
            findings.error("index-not-migrated", key, message);
        }
    }
}
