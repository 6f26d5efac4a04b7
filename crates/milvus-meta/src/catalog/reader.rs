//! Reads the entries of an instance.

use prost::Message;

use super::channels::Channels;
use super::collections::Collections;
use super::indexes::Indexes;
use super::loads::Loads;
use super::segments::Segments;
use super::sessions;
use super::{Catalog, Session, Unreadable};
use crate::codec;
use crate::entry::{Entry, printable};
use crate::keys::{Family, Key, MetaRoot, Object, is_tombstone};
use crate::layout::LayoutDetector;
use crate::model::{CollectionId, DatabaseId};
use crate::proto::v2_2::etcd::CollectionInfo;

/// Builds a [`Catalog`] from entries, which are added one by one in any order.
#[derive(Debug)]
pub struct Reader {
    root: MetaRoot,
    layout: LayoutDetector,
    collections: Collections,
    indexes: Indexes,
    segments: Segments,
    loads: Loads,
    channels: Channels,
    sessions: Vec<Session>,
    unreadable: Vec<Unreadable>,
}

impl Reader {
    /// Creates a reader for the metadata below `root`.
    #[must_use]
    pub fn new(root: MetaRoot) -> Self {
        Self {
            layout: LayoutDetector::new(root.clone()),
            root,
            collections: Collections::default(),
            indexes: Indexes::default(),
            segments: Segments::default(),
            loads: Loads::default(),
            channels: Channels::default(),
            sessions: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    /// Adds an entry; entries outside the meta root are ignored.
    pub fn push(&mut self, entry: &Entry) {
        let root = self.root.clone();
        let Some(relative) = root.strip(&entry.key) else {
            return;
        };
        self.layout.push(entry);
        if let Err(reason) = self.take(relative, entry) {
            self.unreadable.push(Unreadable {
                key: printable(&entry.key),
                reason,
            });
        }
    }

    fn take(&mut self, relative: &[u8], entry: &Entry) -> Result<(), String> {
        let value = &*entry.value;
        match Key::parse(relative) {
            Key::Plain(object) if is_tombstone(value) => self.collections.drop_object(object),
            Key::Plain(object) => self.object(object, value)?,
            // Tombstones left by 2.0.
            Key::LegacyIndex(..) | Key::LegacySegmentIndex(..) if is_tombstone(value) => {}
            Key::LegacyIndex(collection, index) => {
                let info = read("v2_1.etcd.IndexInfo", value)?;
                self.indexes.push_legacy(collection, index, info);
            }
            Key::LegacySegmentIndex(..) => {
                let info = read("v2_1.etcd.SegmentIndexInfo", value)?;
                self.indexes.push_legacy_segment(&info);
            }
            Key::IndexBuild(build) => {
                let build_info = read("v2_1.index.IndexMeta", value)?;
                self.indexes.push_build(build, &build_info);
            }
            Key::FieldIndex(..) => {
                self.indexes
                    .push_field(read("v2_2.index.FieldIndex", value)?);
            }
            Key::SegmentIndex(..) => {
                let index = read("v2_2.index.SegmentIndex", value)?;
                self.indexes.push_segment(&index);
            }
            Key::QueryCollection(_) => {
                let info = read("v2_1.query.CollectionInfo", value)?;
                self.loads.push_legacy(&info);
            }
            Key::QueryReplica(_) => {
                let replica = read("v2_2.milvus.ReplicaInfo", value)?;
                self.loads.push_legacy_replica(&replica);
            }
            Key::CollectionLoadInfo(_) => {
                let info = read("v2_3.query.CollectionLoadInfo", value)?;
                self.loads.push_collection(&info);
            }
            Key::PartitionLoadInfo(..) => {
                let info = read("v2_2.query.PartitionLoadInfo", value)?;
                self.loads.push_partition(&info);
            }
            Key::Replica(..) => self.loads.push_replica(&read("v2_2.query.Replica", value)?),
            Key::Segment(..) => {
                self.segments.push(read("v2_2.data.SegmentInfo", value)?);
            }
            Key::SegmentLog(kind, _, _, segment, _) => {
                let log = read("v2_2.data.FieldBinlog", value)?;
                self.segments.push_log(segment, kind, &log);
            }
            Key::Session(name) => {
                let session = sessions::read(name, entry);
                self.sessions.push(session);
            }
            Key::Snapshot(..) | Key::SessionId => {}
            Key::Unknown(key) => self.channel(key, value)?,
        }
        Ok(())
    }

    fn object(&mut self, object: Object<'_>, value: &[u8]) -> Result<(), String> {
        match object {
            Object::Collection(id) => self.collection(id, None, value)?,
            Object::DatabaseCollection(database, id) => {
                self.collection(id, Some(database), value)?;
            }
            Object::Partition(collection, _) => {
                let info = read("v2_2.etcd.PartitionInfo", value)?;
                self.collections.push_partition(collection, info);
            }
            Object::Field(collection, _) => {
                let field = read("v2_2.schema.FieldSchema", value)?;
                self.collections.push_field(collection, field);
            }
            Object::Database(_) => self
                .collections
                .push_database(read("v2_2.etcd.DatabaseInfo", value)?),
            Object::LegacyAlias(name) => {
                let info = read("v2_2.etcd.CollectionInfo", value)?;
                self.collections.push_legacy_alias(name, &info);
            }
            Object::Alias(_) | Object::DatabaseAlias(..) => self
                .collections
                .push_alias(read("v2_2.etcd.AliasInfo", value)?),
            Object::DdMessageSend | Object::DdOperation => {}
        }
        Ok(())
    }

    fn collection(
        &mut self,
        id: CollectionId,
        database: Option<DatabaseId>,
        value: &[u8],
    ) -> Result<(), String> {
        let info: CollectionInfo = read("v2_2.etcd.CollectionInfo", value)?;
        self.indexes.push_fields(id, &info);
        self.channels.push_collection(id, &info);
        self.collections.push(id, database, info);
        Ok(())
    }

    fn channel(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let family = Family::of(key);
        let Some(rest) = family.rest(key) else {
            return Ok(());
        };
        let name = String::from_utf8_lossy(rest);
        if family == Family::ChannelWatch {
            let info = read("v2_2.data.ChannelWatchInfo", value)?;
            self.channels.push_watch(&name, &info);
        } else if family == Family::ChannelCheckpoint {
            let position = read("v2_2.internal.MsgPosition", value)?;
            self.channels.push_checkpoint(&name, &position);
        } else if family == Family::ChannelRemoval {
            self.channels.push_removal(&name, value);
        }
        Ok(())
    }

    /// Joins the records and returns the catalog.
    #[must_use]
    pub fn finish(self) -> Catalog {
        let mut catalog = Catalog {
            layout: self.layout.layout(),
            sessions: self.sessions,
            unreadable: self.unreadable,
            ..Catalog::default()
        };
        self.collections.finish(&mut catalog);
        self.segments.finish(&mut catalog);
        self.indexes.finish(&mut catalog);
        self.loads.finish(&mut catalog);
        self.channels.finish(&mut catalog);
        catalog.sessions.sort_by(|a, b| a.key.cmp(&b.key));
        catalog
    }
}

/// Decodes a message; the error contains the expected message type.
fn read<M: Message + Default>(name: &'static str, value: &[u8]) -> Result<M, String> {
    codec::decode(name, value).map_err(|error| format!("not a {name}: {error}"))
}
