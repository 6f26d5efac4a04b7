//! The objects of a catalog.

#![allow(missing_docs, reason = "the names of most fields are self-explanatory")]

use std::collections::BTreeMap;

use serde::Serialize;

use super::Time;
use crate::layout::Layout;
use crate::model::{CollectionId, DatabaseId, FieldId, IndexId, PartitionId, ReplicaId, SegmentId};

/// Parameters by name.
pub type Pairs = BTreeMap<String, String>;

/// All objects in the metadata of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Catalog {
    /// The layout that the keys show.
    pub layout: Layout,
    /// Databases that have a record (2.2.9 and later).
    pub databases: Vec<Database>,
    /// Collections, by name.
    pub collections: Vec<Collection>,
    /// Partitions, by collection and id.
    pub partitions: Vec<Partition>,
    /// Index definitions, by collection and id.
    pub indexes: Vec<Index>,
    /// Segments, by collection, partition and id.
    pub segments: Vec<Segment>,
    /// Aliases, by name.
    pub aliases: Vec<Alias>,
    /// Load states, by collection.
    pub loads: Vec<Load>,
    /// Virtual channels, by name.
    pub channels: Vec<Channel>,
    /// Keys below `session/`, by name; a backup has none, because they are leased.
    pub sessions: Vec<Session>,
    /// Dropped collections that still have a key.
    pub dropped_collections: u64,
    /// Dropped aliases that still have a key.
    pub dropped_aliases: u64,
    /// Values that cannot be decoded.
    pub unreadable: Vec<Unreadable>,
    /// The position of each collection in the list.
    #[serde(skip)]
    pub(super) positions: BTreeMap<CollectionId, usize>,
}

/// The layout of an object's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub enum Origin {
    /// A key of the 2.1 layout.
    #[default]
    #[serde(rename = "2.1")]
    V2_1,
    /// A key of the 2.2 layout.
    #[serde(rename = "2.2")]
    V2_2,
}

/// The form in which a collection is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Fields and partitions in the record: the form of 2.1 and of the official tool.
    Embedded,
    /// Fields and partitions under separate keys.
    Split,
    /// Like split, in a database.
    Database,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Database {
    pub id: DatabaseId,
    pub name: String,
    pub state: &'static str,
    pub created: Option<Time>,
}

/// A collection that is not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collection {
    pub id: CollectionId,
    pub name: String,
    pub database: String,
    pub description: String,
    pub state: &'static str,
    pub form: Form,
    pub created: Option<Time>,
    pub shards: i32,
    pub consistency: &'static str,
    pub auto_id: bool,
    pub dynamic_fields: bool,
    pub properties: Pairs,
    pub fields: Vec<Field>,
    /// Number of partitions.
    pub partitions: u64,
    /// Number of indexes that are not dropped.
    pub indexes: u64,
    /// Number of segments that are not dropped.
    pub segments: u64,
    /// Rows of these segments. Deleted rows count until they are compacted.
    pub rows: i64,
    /// Bytes of the logs of these segments.
    pub bytes: i64,
    pub aliases: Vec<String>,
    /// The loaded parts.
    pub loaded: Option<&'static str>,
}

/// A field of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    pub id: FieldId,
    pub name: String,
    #[serde(rename = "type")]
    pub data_type: String,
    pub primary_key: bool,
    pub auto_id: bool,
    pub partition_key: bool,
    pub dynamic: bool,
    pub params: Pairs,
    pub description: String,
}

/// A partition that is not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Partition {
    pub id: PartitionId,
    pub name: String,
    pub collection_id: CollectionId,
    pub collection: Option<String>,
    pub state: &'static str,
    pub created: Option<Time>,
    /// Number of segments that are not dropped.
    pub segments: u64,
    pub rows: i64,
    pub bytes: i64,
}

/// An index definition with the state of its builds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Index {
    pub id: IndexId,
    pub name: String,
    pub origin: Origin,
    pub collection_id: CollectionId,
    pub collection: Option<String>,
    pub field_id: Option<FieldId>,
    pub field: Option<String>,
    /// `index_type`; empty if the record has none.
    #[serde(rename = "type")]
    pub index_type: String,
    pub metric: String,
    /// All other parameters.
    pub params: Pairs,
    pub dropped: bool,
    pub created: Option<Time>,
    /// Segment indexes by state.
    pub builds: IndexStates,
    /// Rows of the finished segment indexes.
    pub indexed_rows: i64,
    /// Bytes of the finished segment indexes.
    pub bytes: u64,
}

/// The number of segment indexes in each state.
pub type IndexStates = BTreeMap<&'static str, u64>;

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Segment {
    pub id: SegmentId,
    pub collection_id: CollectionId,
    pub collection: Option<String>,
    pub partition_id: PartitionId,
    pub partition: Option<String>,
    pub state: &'static str,
    pub rows: i64,
    pub max_rows: i64,
    pub channel: String,
    pub compacted: bool,
    pub sizes: SegmentSizes,
    /// Finished segment indexes.
    pub indexed: u64,
    /// All segment indexes.
    pub indexes: u64,
    /// The position up to which the segment contains the data of its channel.
    pub position: Option<Time>,
    pub dropped_at: Option<Time>,
}

/// The sizes of a segment's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SegmentSizes {
    pub files: u64,
    pub insert_bytes: i64,
    pub delete_bytes: i64,
    pub statistics_bytes: i64,
    /// Entries of the delete logs.
    pub deletes: i64,
}

impl SegmentSizes {
    /// Returns the bytes of all logs.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        let logs = self.insert_bytes.saturating_add(self.delete_bytes);
        logs.saturating_add(self.statistics_bytes)
    }
}

/// An alias that is not dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    pub name: String,
    pub origin: Origin,
    pub database: String,
    pub collection_id: CollectionId,
    pub collection: Option<String>,
    pub created: Option<Time>,
}

/// The load state of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Load {
    pub origin: Origin,
    pub collection_id: CollectionId,
    pub collection: Option<String>,
    /// `collection`, `partitions`, or `none` if there are only replicas.
    pub kind: &'static str,
    pub status: String,
    /// The loaded partitions, unless the complete collection is loaded.
    pub partitions: Vec<PartitionId>,
    pub released_partitions: Vec<PartitionId>,
    pub replica_number: i32,
    pub replicas: Vec<Replica>,
}

/// A replica of a loaded collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replica {
    pub id: ReplicaId,
    /// Server ids of query nodes.
    pub nodes: Vec<String>,
    pub resource_group: String,
}

/// A virtual channel of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct Channel {
    pub name: String,
    pub physical: String,
    pub collection_id: Option<CollectionId>,
    pub collection: Option<String>,
    /// The watch state on a data node.
    pub state: Option<&'static str>,
    pub data_node: Option<String>,
    /// The position up to which all data is flushed (2.2).
    pub checkpoint: Option<Time>,
    pub removed: bool,
}

/// A registered component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    pub role: String,
    pub server_id: Option<String>,
    pub address: String,
    pub version: String,
    pub key: String,
    /// The lease in hexadecimal, as printed by etcdctl; empty for none.
    pub lease: String,
}

/// A value that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The complete key.
    pub key: String,
    /// The reason.
    pub reason: String,
}
