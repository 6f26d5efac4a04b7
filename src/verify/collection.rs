//! Collections with their partitions, fields and databases.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::Report;
use super::object::{Content, History, Value};
use crate::codec;
use crate::keys::{Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId, FieldId, PartitionId};
use crate::proto::v2_2::{etcd, schema};

/// No database.
const NO_DATABASE: DatabaseId = DatabaseId(0);

#[derive(Debug, Default)]
pub(super) struct Collections {
    records: BTreeMap<(DatabaseId, CollectionId), History<Record>>,
    partitions: BTreeMap<(CollectionId, PartitionId), History<Content>>,
    fields: BTreeMap<(CollectionId, FieldId), History<Content>>,
    databases: BTreeMap<DatabaseId, History<Content>>,
}

/// What matters of a collection record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    id: CollectionId,
    database: DatabaseId,
    partitions: BTreeSet<PartitionId>,
    fields: BTreeSet<FieldId>,
    lists_agree: bool,
    /// Being created or dropped: then its parts may be missing.
    in_transition: bool,
    /// All of it but the indexes of 2.1, which the plain key alone has as they are, and 2.2 ignores.
    content: Content,
}

/// The collections that live, with what belongs to them.
#[derive(Debug, Default)]
pub(super) struct LiveCollections {
    members: BTreeMap<CollectionId, Members>,
    /// Databases that hold collections, with the key of one.
    wanted_databases: BTreeMap<DatabaseId, Vec<u8>>,
    databases: BTreeSet<DatabaseId>,
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

    /// Every database that a collection lies in has to be there.
    pub(super) fn check_databases(&self, report: &mut Report) {
        for (database, key) in &self.wanted_databases {
            if !self.databases.contains(database) {
                let name = Key::Plain(Object::Database(*database)).render();
                report.error(
                    "database-missing",
                    &name,
                    format!(
                        "there is no such database, but {} lies in it",
                        crate::entry::printable(&report.root.join(key))
                    ),
                );
            }
        }
    }
}

impl Collections {
    pub(super) fn push(
        &mut self,
        object: Object<'_>,
        timestamp: Option<Timestamp>,
        key: &[u8],
        value: &[u8],
        report: &mut Report,
    ) {
        match object {
            Object::Collection(id) => {
                let record = record(NO_DATABASE, id, key, value, report);
                let history = self.records.entry((NO_DATABASE, id)).or_default();
                history.push(timestamp, key, record);
            }
            Object::DatabaseCollection(database, id) => {
                let record = record(database, id, key, value, report);
                let history = self.records.entry((database, id)).or_default();
                history.push(timestamp, key, record);
            }
            Object::Partition(collection, id) => {
                let value = partition((collection, id), key, value, report);
                let history = self.partitions.entry((collection, id)).or_default();
                history.push(timestamp, key, value);
            }
            Object::Field(collection, id) => {
                let value = field(id, key, value, report);
                let history = self.fields.entry((collection, id)).or_default();
                history.push(timestamp, key, value);
            }
            Object::Database(id) => {
                let value = database(id, key, value, report);
                let history = self.databases.entry(id).or_default();
                history.push(timestamp, key, value);
            }
            Object::LegacyAlias(_)
            | Object::DdMessageSend
            | Object::DdOperation
            | Object::Alias(_)
            | Object::DatabaseAlias(..) => {}
        }
    }

    pub(super) fn finish(self, report: &mut Report) -> LiveCollections {
        let mut live = LiveCollections::default();
        let partitions = children(&self.partitions, "partition", report);
        let fields = children(&self.fields, "field", report);
        for ((database, key_id), history) in &self.records {
            history.check("collection", false, report);
            if let Some(record) = history.live() {
                check_record(*database, *key_id, &history.key, record, report);
                let members = members(&history.key, record, &partitions, &fields, report);
                if live.members.insert(record.id, members).is_some() {
                    report.error(
                        "duplicate-collection",
                        &history.key,
                        format!("another key holds collection {} as well", record.id),
                    );
                }
                if *database != NO_DATABASE {
                    live.wanted_databases.insert(*database, history.key.clone());
                }
            }
        }
        for ((collection, partition), _) in self.partitions.iter().filter(is_live) {
            let key = Key::Plain(Object::Partition(*collection, *partition)).render();
            orphan(&live, *collection, &key, "partition", report);
        }
        for ((collection, field), _) in self.fields.iter().filter(is_live) {
            let key = Key::Plain(Object::Field(*collection, *field)).render();
            orphan(&live, *collection, &key, "field", report);
        }
        for (id, history) in &self.databases {
            history.check("database", true, report);
            if history.live().is_some() {
                live.databases.insert(*id);
            }
        }
        live
    }
}

fn is_live<I>((_, history): &(&I, &History<Content>)) -> bool {
    history.live().is_some()
}

fn orphan(
    live: &LiveCollections,
    collection: CollectionId,
    key: &[u8],
    what: &str,
    report: &mut Report,
) {
    if live.get(collection).is_none() {
        report.error(
            "orphan",
            key,
            format!("the {what} lives, but there is no collection {collection}"),
        );
    }
}

/// Checks the parts of all collections and returns those that live.
fn children<I: Ord + Copy>(
    histories: &BTreeMap<(CollectionId, I), History<Content>>,
    what: &str,
    report: &mut Report,
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
    report: &mut Report,
) {
    if record.id != key_id {
        report.error(
            "id-mismatch",
            key,
            format!("the record is that of collection {}", record.id),
        );
    }
    if record.database != database {
        report.error(
            "id-mismatch",
            key,
            format!("the record says it lies in database {}", record.database),
        );
    }
    if !record.lists_agree {
        report.error(
            "unequal-partition-lists",
            key,
            "the lists of partitions differ in length: Milvus 2.2 does not start on it",
        );
    }
}

/// The partitions and fields of a collection, wherever it keeps them.
fn members(
    key: &[u8],
    record: &Record,
    partitions: &BTreeMap<CollectionId, BTreeSet<PartitionId>>,
    fields: &BTreeMap<CollectionId, BTreeSet<FieldId>>,
    report: &mut Report,
) -> Members {
    match (record.partitions.is_empty(), record.fields.is_empty()) {
        (false, false) => {
            return Members {
                partitions: record.partitions.clone(),
                fields: record.fields.clone(),
            };
        }
        (true, true) => {}
        (embedded_fields, _) => report.error(
            "half-split-collection",
            key,
            format!(
                "the record holds its {} but not its {}: Milvus 2.2 ignores what it holds",
                if embedded_fields {
                    "fields"
                } else {
                    "partitions"
                },
                if embedded_fields {
                    "partitions"
                } else {
                    "fields"
                },
            ),
        ),
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
                format!("the collection has no {what}"),
            );
        }
    }
    members
}

fn record(
    database: DatabaseId,
    id: CollectionId,
    key: &[u8],
    value: &[u8],
    report: &mut Report,
) -> Value<Record> {
    if is_tombstone(value) {
        return Value::Dropped;
    }
    let mut info: etcd::CollectionInfo = match codec::decode("v2_2.etcd.CollectionInfo", value) {
        Ok(info) => info,
        Err(error) => {
            let what = format!("record of collection {id} in database {database}");
            report.unreadable(key, &what, &error);
            return Value::Unreadable;
        }
    };
    info.field_indexes.clear();
    let content = Content::of(&info.encode_to_vec());
    let lengths = [
        info.partition_names.len(),
        info.partition_created_timestamps.len(),
    ];
    let fields = info.schema.unwrap_or_default().fields;
    Value::Live(Record {
        id: CollectionId(info.id),
        database: DatabaseId(info.db_id),
        lists_agree: lengths == [info.partition_i_ds.len(); 2],
        partitions: info.partition_i_ds.into_iter().map(PartitionId).collect(),
        fields: fields.iter().map(|field| FieldId(field.field_id)).collect(),
        in_transition: info.state != i32::from(etcd::CollectionState::CollectionCreated),
        content,
    })
}

fn partition(
    (collection, id): (CollectionId, PartitionId),
    key: &[u8],
    value: &[u8],
    report: &mut Report,
) -> Value<Content> {
    if is_tombstone(value) {
        return Value::Dropped;
    }
    match etcd::PartitionInfo::decode(value) {
        Ok(info) if (info.collection_id, info.partition_id) == (collection.0, id.0) => {
            Value::Live(Content::of(value))
        }
        Ok(info) => {
            report.error(
                "id-mismatch",
                key,
                format!(
                    "the record is that of partition {} of collection {}",
                    info.partition_id, info.collection_id
                ),
            );
            Value::Live(Content::of(value))
        }
        Err(error) => {
            report.unreadable(key, "partition", &error);
            Value::Unreadable
        }
    }
}

fn field(id: FieldId, key: &[u8], value: &[u8], report: &mut Report) -> Value<Content> {
    if is_tombstone(value) {
        return Value::Dropped;
    }
    match codec::decode::<schema::FieldSchema>("v2_2.schema.FieldSchema", value) {
        Ok(info) => {
            if info.field_id != id.0 {
                report.error(
                    "id-mismatch",
                    key,
                    format!("the record is that of field {}", info.field_id),
                );
            }
            Value::Live(Content::of(value))
        }
        Err(error) => {
            report.unreadable(key, "field", &error);
            Value::Unreadable
        }
    }
}

fn database(id: DatabaseId, key: &[u8], value: &[u8], report: &mut Report) -> Value<Content> {
    if is_tombstone(value) {
        return Value::Dropped;
    }
    match etcd::DatabaseInfo::decode(value) {
        Ok(info) => {
            if info.id != id.0 {
                report.error(
                    "id-mismatch",
                    key,
                    format!("the record is that of database {}", info.id),
                );
            }
            Value::Live(Content::of(value))
        }
        Err(error) => {
            report.unreadable(key, "database", &error);
            Value::Unreadable
        }
    }
}
