//! Collections with their partitions, fields and databases.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::versioned_object::{Content, History, Value, Version};
use crate::codec;
use crate::keys::{Key, Object};
use crate::model::{CollectionId, DatabaseId, FieldId, IndexId, PartitionId};
use crate::plural::listed;
use crate::proto::v2_2::{etcd, schema};
use crate::transform::ALL_PARTITIONS;
use crate::transform::Findings;

const NO_DATABASE: DatabaseId = DatabaseId(0);

#[derive(Debug, Default)]
pub(super) struct Collections {
    records: BTreeMap<(DatabaseId, CollectionId), History<Record>>,
    partitions: BTreeMap<(CollectionId, PartitionId), History<Content>>,
    fields: BTreeMap<(CollectionId, FieldId), History<Content>>,
    databases: BTreeMap<DatabaseId, History<Content>>,
    /// Partitions in collection records, current and historical.
    former: BTreeMap<CollectionId, BTreeSet<PartitionId>>,
    /// Indexes that plain records refer to, as in 2.1.
    indexes: BTreeMap<CollectionId, Vec<IndexId>>,
}

/// The relevant parts of a collection record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    id: CollectionId,
    name: String,
    database: DatabaseId,
    partitions: BTreeSet<PartitionId>,
    fields: BTreeSet<FieldId>,
    lists_agree: bool,
    /// Whether it is being created or dropped, so that parts may be missing.
    in_transition: bool,
    /// Whether it is dropped or being dropped.
    is_being_dropped: bool,
    /// The content without the indexes of 2.1, which only the plain key has up to date and 2.2
    /// ignores.
    content: Content,
}

/// The collections that are not dropped, with their parts.
#[derive(Debug, Default)]
pub(super) struct LiveCollections {
    members: BTreeMap<CollectionId, Members>,
    /// Databases with collections, with the key of one of these.
    wanted_databases: BTreeMap<DatabaseId, Vec<u8>>,
    databases: BTreeSet<DatabaseId>,
    /// Collections that are dropped, being dropped, or whose record cannot be read.
    excused: BTreeSet<CollectionId>,
    names: BTreeMap<CollectionId, String>,
    /// Partitions that the collections have or had.
    former: BTreeMap<CollectionId, BTreeSet<PartitionId>>,
    /// Collections with fields and partitions in their record.
    embedded: BTreeSet<CollectionId>,
    /// Collections in a database.
    in_database: BTreeSet<CollectionId>,
    /// Indexes that records refer to, as in 2.1.
    indexes: BTreeMap<CollectionId, Vec<IndexId>>,
}

/// Whether a collection and a partition exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// They exist, or the reason why not is known.
    Present,
    NoCollection,
    NoPartition,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    pub(super) partitions: BTreeSet<PartitionId>,
    pub(super) fields: BTreeSet<FieldId>,
}

impl LiveCollections {
    pub(super) fn get(&self, id: CollectionId) -> Option<&Members> {
        self.members.get(&id)
    }

    /// Returns whether the collection exists or is known to be dropped.
    pub(super) fn is_known(&self, id: CollectionId) -> bool {
        self.members.contains_key(&id) || self.excused.contains(&id)
    }

    /// Returns whether the collection exists and is not being dropped.
    pub(super) fn stays(&self, id: CollectionId) -> bool {
        self.members.contains_key(&id) && !self.excused.contains(&id)
    }

    pub(super) fn presence(&self, collection: CollectionId, partition: PartitionId) -> Presence {
        if self.excused.contains(&collection) {
            return Presence::Present;
        }
        let Some(members) = self.members.get(&collection) else {
            return Presence::NoCollection;
        };
        let former = self.former.get(&collection);
        let had = former.is_some_and(|former| former.contains(&partition));
        // A collection without partitions is a separate finding.
        let has_none = members.partitions.is_empty();
        if had || has_none || members.partitions.contains(&partition) || partition == ALL_PARTITIONS
        {
            Presence::Present
        } else {
            Presence::NoPartition
        }
    }

    pub(super) fn embedded(&self) -> &BTreeSet<CollectionId> {
        &self.embedded
    }

    pub(super) fn in_database(&self) -> &BTreeSet<CollectionId> {
        &self.in_database
    }

    /// Collections in the split form, outside a database.
    pub(super) fn split(&self) -> BTreeSet<CollectionId> {
        let all = self.members.keys().copied();
        all.filter(|id| !self.in_database.contains(id) && !self.embedded.contains(id))
            .collect()
    }

    pub(super) fn indexes(&self) -> impl Iterator<Item = (CollectionId, IndexId)> + '_ {
        let of = |(collection, indexes): (&CollectionId, &Vec<IndexId>)| {
            let collection = *collection;
            indexes
                .clone()
                .into_iter()
                .map(move |index| (collection, index))
        };
        self.indexes.iter().flat_map(of)
    }

    /// Returns the name and id of a collection, for messages.
    pub(super) fn name(&self, id: CollectionId) -> String {
        match self.names.get(&id) {
            Some(name) => format!("{name:?} ({id})"),
            None => format!("{id}"),
        }
    }

    /// Returns the names and ids of the first collections.
    pub(super) fn names(&self, ids: &BTreeSet<CollectionId>) -> String {
        listed(ids.iter().map(|id| self.name(*id)))
    }

    /// Reports databases that contain collections but do not exist.
    pub(super) fn check_databases(&self, report: &mut Findings) {
        for (database, key) in &self.wanted_databases {
            if !self.databases.contains(database) {
                let name = Key::Plain(Object::Database(*database)).render();
                report.error(
                    "database-missing",
                    &name,
                    format!(
                        "the database does not exist, but {} is in it",
                        report.name(key)
                    ),
                );
            }
        }
    }
}

impl Collections {
    pub(super) fn push(&mut self, it: Version<'_>, report: &mut Findings) {
        if let Some(place) = it.object.collection_record() {
            let record = self.record(place, it, report);
            self.records.entry(place).or_default().push(it, record);
        } else if let Object::Partition(collection, id) = it.object {
            let read = report.read(it, "partition", etcd::PartitionInfo::decode(it.value));
            let content = read.map(|info| {
                let found = (info.collection_id, info.partition_id);
                report.check_part(it.key, "partition", (collection, id.0), found);
                Content::of(it.value)
            });
            let history = self.partitions.entry((collection, id)).or_default();
            history.push(it, content);
        } else if let Object::Field(collection, id) = it.object {
            let decoded = codec::decode("v2_2.schema.FieldSchema", it.value);
            let read = report.read(it, "field", decoded);
            let content = read.map(|info: schema::FieldSchema| {
                report.check_id(it.key, "field", id.0, info.field_id);
                Content::of(it.value)
            });
            let history = self.fields.entry((collection, id)).or_default();
            history.push(it, content);
        } else if let Object::Database(id) = it.object {
            let read = report.read(it, "database", etcd::DatabaseInfo::decode(it.value));
            let content = read.map(|info| {
                report.check_id(it.key, "database", id.0, info.id);
                Content::of(it.value)
            });
            self.databases.entry(id).or_default().push(it, content);
        }
    }

    /// Reads a record and stores its partitions and indexes.
    fn record(
        &mut self,
        (database, id): (DatabaseId, CollectionId),
        it: Version<'_>,
        report: &mut Findings,
    ) -> Value<Record> {
        let what = format!("record of collection {id} in database {database}");
        let decoded = codec::decode("v2_2.etcd.CollectionInfo", it.value);
        report
            .read(it, &what, decoded)
            .map(|mut info: etcd::CollectionInfo| {
                let indexes = std::mem::take(&mut info.field_indexes);
                let record = Record::of(info);
                if !record.partitions.is_empty() {
                    let former = self.former.entry(record.id).or_default();
                    former.extend(&record.partitions);
                }
                if it.timestamp.is_none() && !indexes.is_empty() {
                    let indexes = indexes.iter().map(|index| IndexId(index.index_id));
                    self.indexes.insert(record.id, indexes.collect());
                }
                record
            })
    }

    pub(super) fn finish(self, report: &mut Findings) -> LiveCollections {
        let mut live = LiveCollections::default();
        let partitions = children(&self.partitions, "partition", report);
        let fields = children(&self.fields, "field", report);
        let mut dropped = BTreeSet::new();
        for ((database, key_id), history) in &self.records {
            history.check("collection", false, report);
            if let Some(record) = history.live() {
                check_record(*database, *key_id, &history.key, record, report);
                if record.is_being_dropped {
                    live.excused.insert(record.id);
                } else if !record.partitions.is_empty() && !record.fields.is_empty() {
                    live.embedded.insert(record.id);
                }
                live.names.insert(record.id, record.name.clone());
                let members = members(&history.key, record, &partitions, &fields, report);
                if live.members.insert(record.id, members).is_some() {
                    report.error(
                        "duplicate-collection",
                        &history.key,
                        format!("another key also contains collection {}", record.id),
                    );
                }
                if *database != NO_DATABASE {
                    live.wanted_databases.insert(*database, history.key.clone());
                    live.in_database.insert(record.id);
                }
            } else if history.plain.is_some() || matches!(history.newest, Some((_, Value::Dropped)))
            {
                dropped.insert(*key_id);
            }
        }
        // A collection that was moved into a database has a tombstone at its former key.
        dropped.retain(|id| !live.members.contains_key(id));
        live.excused.extend(dropped);
        live.former = self.former;
        live.indexes = self.indexes;
        for (collection, partition) in self.partitions.keys() {
            live.former
                .entry(*collection)
                .or_default()
                .insert(*partition);
        }
        report_orphans(&live, &self.partitions, "partition", report);
        report_orphans(&live, &self.fields, "field", report);
        for (id, history) in &self.databases {
            history.check("database", true, report);
            if history.live().is_some() {
                live.databases.insert(*id);
            }
        }
        live
    }
}

/// Reports parts of collections that do not exist.
fn report_orphans<I>(
    live: &LiveCollections,
    parts: &BTreeMap<(CollectionId, I), History<Content>>,
    what: &str,
    report: &mut Findings,
) {
    for ((collection, _), history) in parts {
        if history.live().is_some() && live.get(*collection).is_none() {
            let message = format!("the {what} exists, but there is no collection {collection}");
            report.error("orphan", &history.key, message);
        }
    }
}

/// Checks the parts of all collections and returns those that are not dropped.
fn children<I: Ord + Copy>(
    histories: &BTreeMap<(CollectionId, I), History<Content>>,
    what: &str,
    report: &mut Findings,
) -> BTreeMap<CollectionId, BTreeSet<I>> {
    let mut live: BTreeMap<CollectionId, BTreeSet<I>> = BTreeMap::new();
    for ((collection, id), history) in histories {
        history.check(what, true, report);
        if history.live().is_some() {
            live.entry(*collection).or_default().insert(*id);
        }
    }
    live
}

fn check_record(
    database: DatabaseId,
    key_id: CollectionId,
    key: &[u8],
    record: &Record,
    report: &mut Findings,
) {
    report.check_id(key, "collection", key_id.0, record.id.0);
    if record.database != database {
        let message = format!("the record names database {}", record.database);
        report.error("id-mismatch", key, message);
    }
    if !record.lists_agree {
        report.error(
            "unequal-partition-lists",
            key,
            "the lists of partitions differ in length: Milvus 2.2 does not start on it",
        );
    }
}

/// Returns the partitions and fields of a collection, in its record or under separate keys.
fn members(
    key: &[u8],
    record: &Record,
    partitions: &BTreeMap<CollectionId, BTreeSet<PartitionId>>,
    fields: &BTreeMap<CollectionId, BTreeSet<FieldId>>,
    report: &mut Findings,
) -> Members {
    match (record.partitions.is_empty(), record.fields.is_empty()) {
        (false, false) => {
            return Members {
                partitions: record.partitions.clone(),
                fields: record.fields.clone(),
            };
        }
        (true, true) => {}
        (embedded_fields, _) => {
            let (present, missing) = match embedded_fields {
                true => ("fields", "partitions"),
                false => ("partitions", "fields"),
            };
            let message = format!(
                "the record contains its {present} but not its {missing}: Milvus 2.2 ignores them"
            );
            report.error("half-split-collection", key, message);
        }
    }
    let members = Members {
        partitions: partitions.get(&record.id).cloned().unwrap_or_default(),
        fields: fields.get(&record.id).cloned().unwrap_or_default(),
    };
    if !record.in_transition {
        let lists = [
            (members.partitions.is_empty(), "partitions"),
            (members.fields.is_empty(), "fields"),
        ];
        for (_, what) in lists.iter().filter(|(empty, _)| *empty) {
            report.error(
                "collection-without-parts",
                key,
                format!(
                    "collection {:?} ({}) has no {what}. Run meta-migration repair, which restores them from its \
                     snapshots, or with --from FILE from a backup",
                    record.name, record.id
                ),
            );
        }
    }
    members
}

impl Record {
    /// Returns the relevant parts of a record without its indexes.
    fn of(info: etcd::CollectionInfo) -> Self {
        use etcd::CollectionState::{CollectionCreated, CollectionDropped, CollectionDropping};
        let content = Content::of(&info.encode_to_vec());
        let lengths = [
            info.partition_names.len(),
            info.partition_created_timestamps.len(),
        ];
        let schema = info.schema.unwrap_or_default();
        let fields = schema.fields.iter().map(|field| FieldId(field.field_id));
        let is = |state: etcd::CollectionState| info.state == i32::from(state);
        Self {
            id: CollectionId(info.id),
            database: DatabaseId(info.db_id),
            lists_agree: lengths == [info.partition_i_ds.len(); 2],
            partitions: info.partition_i_ds.into_iter().map(PartitionId).collect(),
            fields: fields.collect(),
            name: schema.name,
            in_transition: !is(CollectionCreated),
            is_being_dropped: is(CollectionDropping) || is(CollectionDropped),
            content,
        }
    }
}
