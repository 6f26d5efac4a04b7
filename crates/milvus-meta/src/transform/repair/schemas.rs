//! Finds the partitions and fields of a collection in embedded records of snapshots or of a backup, and in the separate
//! keys of a backup.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use prost::Message as _;

use super::super::children::{fields, partitions};
use super::super::snapshots::{Child, Children};
use super::{Keys, below, prefix_of};
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Family, Key, Object, Time, Timestamp, is_tombstone};
use crate::model::CollectionId;
use crate::proto::v2_2::etcd::PartitionInfo;
use crate::proto::v2_2::schema::FieldSchema;

/// The partitions and fields of one collection in one source.
pub(super) struct Schema {
    /// The source, as named in findings.
    pub(super) origin: String,
    pub(super) partitions: Children,
    pub(super) fields: Children,
}

/// A record with the time of its snapshot; `None` for the plain key.
type RecordAt<'k> = (Option<Timestamp>, &'k [u8]);

/// The records of each collection.
pub(super) struct Records<'k> {
    keys: &'k Keys,
    records: BTreeMap<CollectionId, Vec<RecordAt<'k>>>,
}

impl<'k> Records<'k> {
    pub(super) fn of(keys: &'k Keys) -> Self {
        let mut records: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, value) in keys.iter().filter(|(_, value)| !is_tombstone(value)) {
            if let Some((object, time)) = Key::parse(key).object()
                && let Some((_, id)) = object.collection_record()
            {
                records
                    .entry(id)
                    .or_default()
                    .push((time, value.as_slice()));
            }
        }
        Self { keys, records }
    }

    /// Returns the schema in the newest snapshot of a collection.
    pub(super) fn in_snapshots(&self, id: CollectionId, record: &Collection) -> Option<Schema> {
        let snapshots = self.embedded(id, record);
        let snapshots = snapshots.filter_map(|(time, old)| Some((time?, old)));
        let (time, old) = snapshots.min_by_key(|(time, _)| Reverse(*time))?;
        Some(schema(id, &old, format!("its snapshot{}", when(time))))
    }

    /// Returns the schema in a backup with this title: that of the separate keys, of the plain record, or of the newest
    /// snapshot.
    pub(super) fn in_backup(
        &self,
        title: &str,
        id: CollectionId,
        record: &Collection,
    ) -> Option<Schema> {
        if let Some((partitions, fields)) = self.separate(id, record) {
            return Some(Schema {
                origin: title.to_owned(),
                partitions,
                fields,
            });
        }
        let records = self.embedded(id, record);
        let (time, old) =
            records.min_by_key(|(time, _)| Reverse(time.unwrap_or(Timestamp::LAST)))?;
        let origin = match time {
            None => title.to_owned(),
            Some(time) => format!("a snapshot{} in {title}", when(time)),
        };
        Some(schema(id, &old, origin))
    }

    /// Returns the records of the same collection, with any name.
    fn same(
        &self,
        id: CollectionId,
        record: &Collection,
    ) -> impl Iterator<Item = (Option<Timestamp>, Collection)> {
        let all = self.records.get(&id).into_iter().flatten();
        all.filter_map(move |(time, value)| {
            v2_1::check_collection(value).ok()?;
            let old = v2_1::collection(value).ok()?;
            let is_same = old.id == record.id
                && old.create_time == record.create_time
                && old.virtual_channels == record.virtual_channels;
            is_same.then_some((*time, old))
        })
    }

    fn embedded(
        &self,
        id: CollectionId,
        record: &Collection,
    ) -> impl Iterator<Item = (Option<Timestamp>, Collection)> {
        self.same(id, record).filter(|(_, old)| {
            let has_partitions = old.partitions().is_some_and(|rows| !rows.is_empty());
            has_partitions && !old.fields.is_empty()
        })
    }

    /// Returns the partitions and fields with separate keys, if the plain record is that of the same collection.
    fn separate(&self, id: CollectionId, record: &Collection) -> Option<(Children, Children)> {
        let mut records = self.same(id, record);
        if !records.any(|(time, old)| time.is_none() && old.fields.is_empty()) {
            return None;
        }
        let (mut partitions, mut fields) = (Children::new(), Children::new());
        for (key, value) in self.live(Family::Partition, id) {
            let Key::Plain(Object::Partition(_, partition)) = Key::parse(key) else {
                continue;
            };
            let info = PartitionInfo::decode(value).ok()?;
            let created = Timestamp(info.partition_created_timestamp);
            if info.state == 0 {
                partitions.insert(partition.0, Child::new(value, created));
            }
        }
        for (key, value) in self.live(Family::Field, id) {
            let Key::Plain(Object::Field(_, field)) = Key::parse(key) else {
                continue;
            };
            FieldSchema::decode(value).ok()?;
            fields.insert(field.0, Child::new(value, record.create_time));
        }
        (!partitions.is_empty() && !fields.is_empty()).then_some((partitions, fields))
    }

    /// Returns the live plain keys of one kind.
    fn live(&self, family: Family, id: CollectionId) -> impl Iterator<Item = (&[u8], &[u8])> {
        below(self.keys, prefix_of(family, id)).filter(|(_, value)| !is_tombstone(value))
    }
}

fn when(time: Timestamp) -> String {
    match Time::of(time) {
        Some(at) => format!(" of {at} (timestamp {})", time.0),
        None => format!(" at timestamp {}", time.0),
    }
}

fn schema(id: CollectionId, old: &Collection, origin: String) -> Schema {
    Schema {
        origin,
        partitions: partitions(id, old),
        fields: fields(old),
    }
}
