//! Collections with their fields, partitions, aliases and databases.

use std::collections::BTreeMap;

use super::{Alias, Catalog, Collection, Database, Field, Form, Origin, Pairs, Partition, Time};
use crate::entry::printable;
use crate::keys::{Object, Timestamp};
use crate::model::{CollectionId, DatabaseId, FieldId, PartitionId};
use crate::proto::v2_2::common::KeyValuePair;
use crate::proto::v2_2::etcd::{
    AliasInfo, AliasState, CollectionInfo, CollectionState, DatabaseInfo, DatabaseState,
    PartitionInfo, PartitionState,
};
use crate::proto::v2_2::schema::{DataType, FieldSchema};

/// The name of databases 0 (none) and 1.
const DEFAULT: &str = "default";

#[derive(Debug, Default)]
pub(super) struct Collections {
    records: Vec<(CollectionId, Option<DatabaseId>, CollectionInfo)>,
    partitions: BTreeMap<(CollectionId, PartitionId), PartitionInfo>,
    fields: BTreeMap<CollectionId, Vec<FieldSchema>>,
    databases: BTreeMap<DatabaseId, DatabaseInfo>,
    aliases: Vec<(Origin, AliasInfo)>,
    dropped_collections: u64,
    dropped_aliases: u64,
}

impl Collections {
    pub(super) fn push(
        &mut self,
        id: CollectionId,
        database: Option<DatabaseId>,
        info: CollectionInfo,
    ) {
        self.records.push((id, database, info));
    }

    pub(super) fn push_partition(&mut self, collection: CollectionId, info: PartitionInfo) {
        let partition = PartitionId(info.partition_id);
        self.partitions.insert((collection, partition), info);
    }

    pub(super) fn push_field(&mut self, collection: CollectionId, field: FieldSchema) {
        self.fields.entry(collection).or_default().push(field);
    }

    pub(super) fn push_database(&mut self, info: DatabaseInfo) {
        self.databases.insert(DatabaseId(info.id), info);
    }

    /// Adds an alias of 2.1, which is stored in a collection record.
    pub(super) fn push_legacy_alias(&mut self, name: &[u8], info: &CollectionInfo) {
        let alias = AliasInfo {
            alias_name: printable(name),
            collection_id: info.id,
            created_time: info.create_time,
            ..AliasInfo::default()
        };
        self.aliases.push((Origin::V2_1, alias));
    }

    pub(super) fn push_alias(&mut self, info: AliasInfo) {
        let dropped = [AliasState::AliasDropping, AliasState::AliasDropped];
        if dropped.contains(&info.state()) {
            self.dropped_aliases += 1;
        } else {
            self.aliases.push((Origin::V2_2, info));
        }
    }

    /// Counts a tombstone.
    pub(super) fn drop_object(&mut self, object: Object<'_>) {
        match object {
            Object::Collection(_) | Object::DatabaseCollection(..) => self.dropped_collections += 1,
            Object::LegacyAlias(_) | Object::Alias(_) | Object::DatabaseAlias(..) => {
                self.dropped_aliases += 1;
            }
            Object::Partition(..)
            | Object::Field(..)
            | Object::Database(_)
            | Object::DdMessageSend
            | Object::DdOperation => {}
        }
    }

    pub(super) fn finish(mut self, catalog: &mut Catalog) {
        catalog.dropped_collections = self.dropped_collections;
        catalog.dropped_aliases = self.dropped_aliases;
        catalog.databases = self.databases.values().map(database).collect();
        for (id, database, info) in std::mem::take(&mut self.records) {
            let form = match (database, is_embedded(&info)) {
                (None, true) => Form::Embedded,
                (None, false) => Form::Split,
                (Some(_), _) => Form::Database,
            };
            if is_embedded(&info) {
                self.embed(id, &info);
            }
            let schema = info.schema.clone().unwrap_or_default();
            let database = database.unwrap_or_default();
            let mut fields = self.fields.remove(&id).unwrap_or_default();
            fields.sort_by_key(|field| field.field_id);
            catalog.collections.push(Collection {
                id,
                database: self.database_name(database),
                description: schema.description,
                state: state(info.state()),
                form,
                created: Time::of(Timestamp(info.create_time)),
                shards: info.shards_num,
                consistency: info.consistency_level().as_str_name(),
                auto_id: schema.auto_id || fields.iter().any(|field| field.auto_id),
                dynamic_fields: schema.enable_dynamic_field,
                properties: pairs(&info.properties),
                fields: fields.into_iter().map(field).collect(),
                partitions: 0,
                indexes: 0,
                segments: 0,
                rows: 0,
                bytes: 0,
                aliases: Vec::new(),
                loaded: None,
                name: schema.name,
            });
        }
        let order = |a: &Collection, b: &Collection| {
            (&a.database, &a.name, a.id).cmp(&(&b.database, &b.name, b.id))
        };
        catalog.collections.sort_by(order);
        let ids = catalog.collections.iter().map(|one| one.id);
        catalog.positions = ids.zip(0..).collect();
        self.finish_partitions(catalog);
        self.finish_aliases(catalog);
    }

    /// Adds the fields and partitions of an embedded record like separate records.
    fn embed(&mut self, id: CollectionId, info: &CollectionInfo) {
        let fields = info.schema.iter().flat_map(|schema| schema.fields.clone());
        self.fields.insert(id, fields.collect());
        for (index, partition) in info.partition_i_ds.iter().enumerate() {
            let record = PartitionInfo {
                partition_id: *partition,
                partition_name: info.partition_names.get(index).cloned().unwrap_or_default(),
                partition_created_timestamp: info
                    .partition_created_timestamps
                    .get(index)
                    .copied()
                    .unwrap_or_default(),
                collection_id: id.0,
                state: PartitionState::PartitionCreated.into(),
            };
            self.partitions
                .insert((id, PartitionId(*partition)), record);
        }
    }

    fn database_name(&self, id: DatabaseId) -> String {
        match self.databases.get(&id) {
            Some(info) => info.name.clone(),
            None if id.0 <= 1 => DEFAULT.to_owned(),
            None => id.to_string(),
        }
    }

    fn finish_partitions(&self, catalog: &mut Catalog) {
        for ((collection_id, id), info) in &self.partitions {
            let collection = catalog.collection_mut(*collection_id);
            let name = collection.map(|collection| {
                collection.partitions += 1;
                collection.name.clone()
            });
            catalog.partitions.push(Partition {
                id: *id,
                name: info.partition_name.clone(),
                collection_id: *collection_id,
                collection: name,
                state: match info.state() {
                    PartitionState::PartitionCreated => "created",
                    PartitionState::PartitionCreating => "creating",
                    PartitionState::PartitionDropping => "dropping",
                    PartitionState::PartitionDropped => "dropped",
                },
                created: Time::of(Timestamp(info.partition_created_timestamp)),
                ..Partition::default()
            });
        }
    }

    fn finish_aliases(&mut self, catalog: &mut Catalog) {
        for (origin, info) in std::mem::take(&mut self.aliases) {
            let collection_id = CollectionId(info.collection_id);
            let collection = catalog.collection_mut(collection_id);
            let name = collection.map(|collection| {
                if !collection.aliases.contains(&info.alias_name) {
                    collection.aliases.push(info.alias_name.clone());
                }
                collection.name.clone()
            });
            catalog.aliases.push(Alias {
                origin,
                database: self.database_name(DatabaseId(info.db_id)),
                collection_id,
                collection: name,
                created: Time::of(Timestamp(info.created_time)),
                name: info.alias_name,
            });
        }
        catalog
            .aliases
            .sort_by(|a, b| (&a.name, a.origin).cmp(&(&b.name, b.origin)));
    }
}

impl Catalog {
    /// Returns the collection with an id.
    #[must_use]
    pub fn collection(&self, id: CollectionId) -> Option<&Collection> {
        self.collections.get(*self.positions.get(&id)?)
    }

    /// Returns whether any object belongs to a collection with this id, even if its record is
    /// missing.
    #[must_use]
    pub fn mentions(&self, id: CollectionId) -> bool {
        self.collection(id).is_some()
            || self.partitions.iter().any(|one| one.collection_id == id)
            || self.indexes.iter().any(|one| one.collection_id == id)
            || self.segments.iter().any(|one| one.collection_id == id)
            || self.loads.iter().any(|one| one.collection_id == id)
    }

    /// Returns the objects of a collection.
    #[must_use]
    pub fn of_collection(mut self, id: CollectionId) -> Self {
        self.collections.retain(|one| one.id == id);
        self.partitions.retain(|one| one.collection_id == id);
        self.indexes.retain(|one| one.collection_id == id);
        self.segments.retain(|one| one.collection_id == id);
        self.aliases.retain(|one| one.collection_id == id);
        self.loads.retain(|one| one.collection_id == id);
        self.channels.retain(|one| one.collection_id == Some(id));
        let text = id.to_string();
        self.unreadable.retain(|one| one.key.contains(&text));
        self.positions = self.collections.iter().map(|one| one.id).zip(0..).collect();
        self
    }

    pub(super) fn collection_mut(&mut self, id: CollectionId) -> Option<&mut Collection> {
        self.collections.get_mut(*self.positions.get(&id)?)
    }

    pub(super) fn collection_name(&self, id: CollectionId) -> Option<String> {
        self.collection(id).map(|one| one.name.clone())
    }
}

/// Returns whether Milvus reads fields and partitions from the record: only if it has both.
fn is_embedded(info: &CollectionInfo) -> bool {
    let has_partitions = !info.partition_i_ds.is_empty()
        || !info.partition_names.is_empty()
        || !info.partition_created_timestamps.is_empty();
    let schema = info.schema.as_ref();
    has_partitions && schema.is_some_and(|schema| !schema.fields.is_empty())
}

fn field(field: FieldSchema) -> Field {
    let data_type = match DataType::try_from(field.data_type) {
        Ok(known) => known.as_str_name().to_owned(),
        Err(_) => format!("type {}", field.data_type),
    };
    Field {
        id: FieldId(field.field_id),
        data_type,
        primary_key: field.is_primary_key,
        auto_id: field.auto_id,
        partition_key: field.is_partition_key,
        dynamic: field.is_dynamic,
        params: pairs(&field.type_params),
        description: field.description,
        name: field.name,
    }
}

fn database(info: &DatabaseInfo) -> Database {
    Database {
        id: DatabaseId(info.id),
        name: info.name.clone(),
        state: match info.state() {
            DatabaseState::DatabaseUnknown => "unknown",
            DatabaseState::DatabaseCreated => "created",
            DatabaseState::DatabaseCreating => "creating",
            DatabaseState::DatabaseDropping => "dropping",
            DatabaseState::DatabaseDropped => "dropped",
        },
        created: Time::of_nanoseconds(info.created_time),
    }
}

fn state(state: CollectionState) -> &'static str {
    match state {
        CollectionState::CollectionCreated => "created",
        CollectionState::CollectionCreating => "creating",
        CollectionState::CollectionDropping => "dropping",
        CollectionState::CollectionDropped => "dropped",
    }
}

pub(super) fn pairs(list: &[KeyValuePair]) -> Pairs {
    let pair = |pair: &KeyValuePair| (pair.key.clone(), pair.value.clone());
    list.iter().map(pair).collect()
}
