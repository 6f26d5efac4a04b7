//! Index definitions: which index stands on which field is in the collection record of 2.1, what it is
//! in a record of its own; 2.2 has both in one.

use std::collections::{BTreeMap, BTreeSet};

use super::NewKeys;
use super::collection::LiveCollections;
use super::findings::Findings;
use super::params;
use crate::codec::v2_1::{self, Collection, IndexDefinition};
use crate::codec::v2_2;
use crate::keys::{Family, Key, is_tombstone};
use crate::model::{CollectionId, FieldId, IndexId};

const LEFT_OUT: &str = "the index and its segment indexes have to be created again";

/// The index definitions of 2.1, by the collection in the key and the index id in the value.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    records: BTreeMap<(CollectionId, IndexId), (Vec<u8>, IndexDefinition)>,
    /// Keys whose values could not be read: said once, not again as missing.
    unreadable: BTreeSet<(CollectionId, IndexId)>,
}

/// An index that 2.2 will know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) field: FieldId,
    pub(super) deleted: bool,
    pub(super) on_vector: bool,
}

/// An index with its record for 2.2.
#[derive(Debug)]
struct Written {
    index: Index,
    name: String,
    value: Vec<u8>,
}

/// Live indexes of one collection: their fields and names.
type Names = BTreeMap<IndexId, (FieldId, String)>;

/// What becomes of the index definitions.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    pub(super) staged: NewKeys,
    /// Every index written, deleted ones included.
    pub(super) written: BTreeMap<(CollectionId, IndexId), Index>,
    /// Definitions left out, with their keys.
    pub(super) unreferenced: BTreeMap<(CollectionId, IndexId), Vec<u8>>,
    /// Live indexes of each collection in the order of its list.
    pub(super) live: BTreeMap<CollectionId, Vec<(IndexId, Index)>>,
}

impl Definitions {
    pub(super) fn push(
        &mut self,
        (collection, index): (CollectionId, IndexId),
        value: &[u8],
        findings: &mut Findings,
    ) {
        if is_tombstone(value) {
            return;
        }
        let key = Key::LegacyIndex(collection, index).render();
        let record = match v2_1::index_definition(value) {
            Ok(record) => record,
            Err(error) => {
                let what = format!("the value is no index definition: {error}");
                findings.broken("undecodable-value", &key, &what, LEFT_OUT);
                self.unreadable.insert((collection, index));
                return;
            }
        };
        findings.unknown(Family::LegacyIndex, &key, &record.unknown);
        let ids = (collection, record.id);
        match self.records.get(&ids) {
            Some((other, _)) if *other > key => findings.outranked(&key),
            Some((other, _)) => {
                findings.outranked(&other.clone());
                self.records.insert(ids, (key, record));
            }
            None => {
                self.records.insert(ids, (key, record));
            }
        }
    }

    /// Joins the definitions to the lists in the live collections' plain records.
    pub(super) fn convert(self, live: &LiveCollections, findings: &mut Findings) -> Indexes {
        let mut indexes = Indexes::default();
        let mut referenced = BTreeSet::new();
        for (collection, record) in live {
            let mut names = Names::new();
            for (field, index) in &record.field_indexes {
                referenced.insert((*collection, *index));
                if let Some(written) = self.one(*collection, record, *field, *index, findings) {
                    if !written.index.deleted {
                        names.insert(*index, (*field, written.name.clone()));
                    }
                    indexes.add(*collection, *index, written, findings);
                }
            }
            check_names(*collection, &names, findings);
        }
        indexes.unreferenced = self
            .records
            .into_iter()
            .filter(|(ids, _)| !referenced.contains(ids))
            .map(|(ids, (key, _))| (ids, key))
            .collect();
        indexes
    }

    fn one(
        &self,
        collection: CollectionId,
        record: &Collection,
        field: FieldId,
        index: IndexId,
        findings: &mut Findings,
    ) -> Option<Written> {
        let Some((key, definition)) = self.records.get(&(collection, index)) else {
            if !self.unreadable.contains(&(collection, index)) {
                let key = Key::LegacyIndex(collection, index).render();
                let what = format!(
                    "there is no such index definition, but collection {collection} has it on field \
                     {field}"
                );
                findings.broken("index-record-missing", &key, &what, LEFT_OUT);
            }
            return None;
        };
        let Some(schema) = record.fields.iter().find(|schema| schema.id == field) else {
            let what = format!(
                "the index stands on field {field}, which the schema of collection {collection} \
                 does not have"
            );
            findings.broken("index-field-missing", key, &what, LEFT_OUT);
            return None;
        };
        let flattened = match params::flatten(&definition.params) {
            Ok(flattened) => flattened,
            Err(error) => {
                let what = format!("the index parameters cannot be read: {error}");
                findings.broken("bad-index-params", key, &what, LEFT_OUT);
                return None;
            }
        };
        for name in &flattened.nulls {
            findings.notice(
                "null-index-param",
                key,
                format!("the index parameter {name:?} is null and is left out"),
            );
        }
        let name = match definition.name.as_str() {
            "_default_idx" => format!("_default_idx_{field}"),
            name => name.to_owned(),
        };
        let value = v2_2::field_index(
            collection,
            field,
            &schema.type_params,
            definition,
            name.clone(),
            &flattened.params,
        );
        let index = Index {
            field,
            deleted: definition.deleted,
            on_vector: schema.is_vector(),
        };
        Some(Written { index, name, value })
    }
}

impl Indexes {
    fn add(
        &mut self,
        collection: CollectionId,
        index: IndexId,
        written: Written,
        findings: &mut Findings,
    ) {
        let Written {
            index: record,
            value,
            ..
        } = written;
        let key = Key::FieldIndex(collection, index).render();
        if self
            .staged
            .insert(key, value.clone())
            .is_some_and(|other| other != value)
        {
            findings.notice(
                "duplicate-record",
                &Key::LegacyIndex(collection, index).render(),
                format!(
                    "collection {collection} has this index on more than one field; the last in its \
                     list, field {}, wins",
                    record.field
                ),
            );
        }
        self.written.insert((collection, index), record);
        if !record.deleted {
            let live = self.live.entry(collection).or_default();
            live.retain(|(other, _)| *other != index);
            live.push((index, record));
        }
    }
}

/// Warns of live indexes of one collection that bear the same name: 2.1 gives it to all that are made
/// without one, where its `common.defaultIndexName` was changed.
fn check_names(collection: CollectionId, names: &Names, findings: &mut Findings) {
    let mut first: BTreeMap<&str, FieldId> = BTreeMap::new();
    for (index, (field, name)) in names {
        let Some(other) = first.get(name.as_str()) else {
            first.insert(name, *field);
            continue;
        };
        findings.warning(
            "same-index-name",
            &Key::LegacyIndex(collection, *index).render(),
            format!(
                "the index on field {field} of collection {collection} bears the same name as that on \
                 field {other}, {name:?}; both are kept as they are, and who gives Milvus 2.2 that name \
                 may mean either"
            ),
        );
    }
}
