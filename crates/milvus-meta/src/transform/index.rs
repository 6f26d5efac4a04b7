//! Index definitions: in 2.1 the collection record lists the indexes of each field and a separate
//! record has the definition; 2.2 has both in one record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::NewKeys;
use super::collection::LiveCollections;
use super::findings::Findings;
use super::index_params;
use super::index_support::{Built, Support};
use super::names::{self, CollectionNames, named};
use super::precedence::{Keyed, keep_greatest};
use crate::codec::v2_1::{self, Collection, FieldSchema, IndexDefinition, Pair};
use crate::codec::v2_2;
use crate::keys::{Family, Key, is_tombstone};
use crate::model::{CollectionId, FieldId, IndexId};
use crate::release::Release;

const SKIPPED: &str = "the index and its segment indexes have to be created again";
/// The name of an index that is created without a name in 2.1.
pub(super) const DEFAULT_NAME: &str = "_default_idx";

/// The index definitions of 2.1, by the collection in the key and the index id in the value.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    records: Keyed<(CollectionId, IndexId), IndexDefinition>,
    /// Keys whose values could not be read, which are not reported as missing again.
    unreadable: BTreeSet<(CollectionId, IndexId)>,
}

/// An index that is written for 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) field: FieldId,
    pub(super) deleted: bool,
    pub(super) on_vector: bool,
    pub(super) support: Support,
}

/// An index and its record for 2.2.
#[derive(Debug)]
struct Written {
    index: Index,
    name: String,
    label: String,
    value: Vec<u8>,
}

/// A definition that no collection refers to.
#[derive(Debug)]
pub(super) struct Unreferenced {
    pub(super) key: Vec<u8>,
    pub(super) definition: IndexDefinition,
}

/// The fields and names of a collection's live indexes.
type Names = BTreeMap<IndexId, (FieldId, String)>;

/// The converted index definitions.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    pub(super) staged: NewKeys,
    /// Number of indexes of live collections in 2.1 that are not dropped.
    pub(super) found: u64,
    /// All written indexes, including deleted ones.
    pub(super) written: BTreeMap<(CollectionId, IndexId), Index>,
    /// Definitions that are skipped, with their keys.
    pub(super) unreferenced: BTreeMap<(CollectionId, IndexId), Unreferenced>,
    /// The live indexes of each collection, in the order of its list.
    pub(super) live: BTreeMap<CollectionId, Vec<(IndexId, Index)>>,
    /// The labels of indexes with a definition, for findings, without their collection.
    labels: BTreeMap<(CollectionId, IndexId), String>,
    /// The names of all collections.
    pub(super) collections: CollectionNames,
}

/// The input of the conversion besides the definitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexContext<'a> {
    pub(super) live: &'a LiveCollections,
    pub(super) names: &'a CollectionNames,
    pub(super) target: &'a Release,
    /// The indexes that are already in 2.2.
    pub(super) kept: &'a BTreeSet<(CollectionId, IndexId)>,
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
        let record = v2_1::index_definition(value);
        let what = "an index definition";
        let Some(record) = findings.decoded(record, what, || key.clone(), SKIPPED) else {
            self.unreadable.insert((collection, index));
            return;
        };
        findings.unknown(Family::LegacyIndex, &key, &record.unknown);
        let ids = (collection, record.id);
        keep_greatest(&mut self.records, ids, key, record, findings);
    }

    /// Returns the number of indexes of live collections that are not dropped.
    fn living(&self, live: &LiveCollections) -> u64 {
        let is_living = |ids: &(CollectionId, IndexId)| {
            self.records.get(ids).is_some_and(|(_, it)| !it.deleted)
        };
        listed_in(live).filter(is_living).count() as u64
    }

    /// Joins the definitions with the lists in the plain records of the live collections.
    pub(super) fn convert(self, ctx: IndexContext<'_>, findings: &mut Findings) -> Indexes {
        let mut indexes = Indexes {
            collections: ctx.names.clone(),
            found: self.living(ctx.live),
            ..Indexes::default()
        };
        for (collection, record) in ctx.live {
            let mut live_names = Names::new();
            for (field, index) in &record.field_indexes {
                let place = Place {
                    collection: record,
                    field: *field,
                    target: ctx.target,
                };
                let ids = (*collection, *index);
                if !self.records.contains_key(&ids) && ctx.kept.contains(&ids) {
                    continue;
                }
                if let Some(written) = self.convert_one(ids, place, findings) {
                    if !written.index.deleted {
                        live_names.insert(*index, (*field, written.name.clone()));
                    }
                    indexes.add(ids, written, findings);
                }
            }
            check_names(record, &live_names, findings);
        }
        let referenced: BTreeSet<_> = listed_in(ctx.live).collect();
        for (ids, (key, definition)) in self.records {
            if referenced.contains(&ids) {
                continue;
            }
            let label = named("index", Some(&definition.name), ids.1);
            indexes.labels.insert(ids, label);
            indexes
                .unreferenced
                .insert(ids, Unreferenced { key, definition });
        }
        indexes
    }

    /// Converts an index of a collection; `None` and a finding if that is impossible.
    fn convert_one(
        &self,
        (collection, index): (CollectionId, IndexId),
        place: Place<'_>,
        findings: &mut Findings,
    ) -> Option<Written> {
        let Some((key, definition)) = self.records.get(&(collection, index)) else {
            if !self.unreadable.contains(&(collection, index)) {
                let key = Key::LegacyIndex(collection, index).render();
                let what = format!(
                    "the definition of index {index} is missing, but {place} has the index",
                );
                findings.broken("index-record-missing", &key, &what, SKIPPED);
            }
            return None;
        };
        let label = place.label(definition);
        let title = format!("{label} of {}", names::collection_of(place.collection));
        let Some(schema) = place.schema() else {
            let what = format!("{title}: the collection's schema does not have this field");
            findings.broken("index-field-missing", key, &what, SKIPPED);
            return None;
        };
        let params = flatten(key, &title, definition, findings)?;
        let name = match definition.name.as_str() {
            DEFAULT_NAME => format!("{DEFAULT_NAME}_{}", place.field),
            name => name.to_owned(),
        };
        let built = Built::new(schema.data_type, &params);
        let support = built.support(place.target);
        if !definition.deleted {
            if name != definition.name {
                report_renamed(key, &title, &name, findings);
            }
            report_support(key, &title, built, support, place.target, findings);
        }
        let value = v2_2::field_index(
            (collection, place.field),
            &schema.type_params,
            definition,
            name.clone(),
            &params,
            &user_params(definition, schema, place.target),
        );
        let index = Index {
            field: place.field,
            deleted: definition.deleted,
            on_vector: schema.is_vector(),
            support,
        };
        Some(Written {
            index,
            name,
            label,
            value,
        })
    }
}

/// Returns the indexes in the lists of collections.
fn listed_in(live: &LiveCollections) -> impl Iterator<Item = (CollectionId, IndexId)> {
    live.iter().flat_map(|(collection, record)| {
        let indexes = record.field_indexes.iter();
        indexes.map(move |(_, index)| (*collection, *index))
    })
}

/// Returns the flattened parameters of an index; `None` and a finding if they cannot be read.
fn flatten(
    key: &[u8],
    title: &str,
    definition: &IndexDefinition,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let flattened = match index_params::flatten(&definition.params) {
        Ok(flattened) => flattened,
        Err(error) => {
            let what = format!("{title}: cannot read the index parameters: {error}");
            findings.broken("bad-index-params", key, &what, SKIPPED);
            return None;
        }
    };
    for name in &flattened.nulls {
        let message = format!("{title}: the parameter {name:?} is null and is skipped");
        findings.notice("null-index-param", key, message);
    }
    Some(flattened.params)
}

/// T19: returns the parameters as given by the user. 2.3 compares them when a client creates the
/// index again, and stores none for a scalar index of the default type, which 2.1 stored.
fn user_params(definition: &IndexDefinition, schema: &FieldSchema, target: &Release) -> Vec<Pair> {
    let is_default =
        |(key, value): &Pair| key == "index_type" && matches!(value.as_str(), "STL_SORT" | "Trie");
    if target.is_beyond_2_2() && !schema.is_vector() && definition.params.iter().all(is_default) {
        return Vec::new();
    }
    index_params::compacted(&definition.params)
}

/// The field of an index, and the target for which the index is converted.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    collection: &'a Collection,
    field: FieldId,
    target: &'a Release,
}

impl<'a> Place<'a> {
    fn schema(&self) -> Option<&'a FieldSchema> {
        let mut fields = self.collection.fields.iter();
        fields.find(|schema| schema.id == self.field)
    }

    /// Returns the label of the index for findings, without its collection.
    fn label(&self, definition: &IndexDefinition) -> String {
        let index = named("index", Some(&definition.name), definition.id);
        format!("{index} on {}", names::field(self.collection, self.field))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = names::field(self.collection, self.field);
        let collection = names::collection_of(self.collection);
        write!(formatter, "{field} of {collection}")
    }
}

/// Reports the new name, because client code may use the old one.
fn report_renamed(key: &[u8], title: &str, name: &str, findings: &mut Findings) {
    findings.notice(
        "index-renamed",
        key,
        format!(
            "{title} is named {name:?} after the migration, as Milvus 2.2 names indexes that are created \
             without a name: change client code that uses the name {DEFAULT_NAME:?}"
        ),
    );
}

/// T16 and T20: reports a live index that the target cannot use or whose results differ. Segment
/// indexes that are skipped are reported with their number.
fn report_support(
    key: &[u8],
    title: &str,
    built: Built<'_>,
    support: Support,
    target: &Release,
    findings: &mut Findings,
) {
    const REPLACE: &str = "Release the collection, drop the index, create one";
    const WHEN: &str =
        "before the migration in Milvus 2.1, or afterwards; then load the collection";
    match support {
        Support::NoType => {
            let index_type = built.index_type();
            let message = format!(
                "{title} has the type {index_type}, which does not work in Milvus {target}: the \
                 collection cannot be loaded or searched with it. {REPLACE} of another type {WHEN}"
            );
            findings.warning("retired-index-type", key, message);
        }
        Support::NoMetric => {
            let metric = built.metric();
            let message = format!(
                "{title} has the metric {metric}, which Milvus {target} does not have: the collection \
                 cannot be searched with it. The definition is migrated, the segment indexes are skipped. \
                 {REPLACE} with another metric {WHEN}"
            );
            findings.warning("retired-metric", key, message);
        }
        Support::Files | Support::Rebuilt { .. } => {}
    }
    if built.answers_differ() {
        let metric = built.metric();
        let message = format!(
            "{title} has the metric {metric}: with index files of 2.1, Milvus 2.2 returns other \
             search results than 2.1. The files are skipped; compare the results of your application after the \
             upgrade"
        );
        findings.notice("metric-answers-differ", key, message);
    }
}

impl Indexes {
    /// Returns the title of an index for findings.
    pub(super) fn title(&self, ids: (CollectionId, IndexId)) -> String {
        let collection = names::collection(&self.collections, ids.0);
        format!("{} of {collection}", self.label(ids))
    }

    /// Returns the label of an index for findings, without its collection.
    pub(super) fn label(&self, ids: (CollectionId, IndexId)) -> String {
        let known = self.labels.get(&ids).cloned();
        known.unwrap_or_else(|| format!("index {}", ids.1))
    }

    fn add(
        &mut self,
        (collection, index): (CollectionId, IndexId),
        written: Written,
        findings: &mut Findings,
    ) {
        let Written {
            index: record,
            label,
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
                    "{} has index {index} on more than one field; the last in its list is used: {label}",
                    names::collection(&self.collections, collection),
                ),
            );
        }
        self.labels.insert((collection, index), label);
        self.written.insert((collection, index), record);
        if !record.deleted {
            let live = self.live.entry(collection).or_default();
            live.retain(|(other, _)| *other != index);
            live.push((index, record));
        }
    }
}

/// Warns about live indexes of a collection with the same name: 2.1 uses one name for all indexes
/// created without a name if `common.defaultIndexName` was changed.
fn check_names(record: &Collection, live_names: &Names, findings: &mut Findings) {
    let mut first: BTreeMap<&str, FieldId> = BTreeMap::new();
    for (index, (field, name)) in live_names {
        let Some(other) = first.get(name.as_str()) else {
            first.insert(name, *field);
            continue;
        };
        findings.warning(
            "same-index-name",
            &Key::LegacyIndex(record.id, *index).render(),
            format!(
                "the indexes on {} and on {} of {} have the same name, {name:?}; both are kept as they \
                 are, and a client that gives Milvus 2.2 that name may get either",
                names::field(record, *field),
                names::field(record, *other),
                names::collection_of(record),
            ),
        );
    }
}
