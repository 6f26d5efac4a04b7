//! The partitions and fields that other records refer to: a restored collection must have all of them.

use std::collections::BTreeSet;

use prost::Message as _;

use super::super::ALL_PARTITIONS;
use super::Keys;
use crate::codec::v2_1;
use crate::keys::{Family, Key, LogKind};
use crate::model::{CollectionId, FieldId, PartitionId};
use crate::proto::v2_2::index::FieldIndex;
use crate::proto::v2_2::query::{CollectionLoadInfo, PartitionLoadInfo};

/// Referenced partitions and fields, by collection.
#[derive(Debug, Default)]
pub(super) struct Used {
    partitions: BTreeSet<(CollectionId, PartitionId)>,
    fields: BTreeSet<(CollectionId, FieldId)>,
}

impl Used {
    /// Adds an entry of segments, their logs, or indexes.
    pub(super) fn push(&mut self, family: Family, relative: &[u8], value: &[u8]) {
        let key = Key::parse(relative);
        if let Key::Segment(collection, partition, _) = key {
            self.push_segment((collection, partition), value);
        } else if let Key::SegmentLog(kind, collection, _, _, field) = key
            // Delete logs belong to no field.
            && kind != LogKind::Delete
        {
            self.fields.insert((collection, field));
        } else if family == Family::FieldIndex {
            self.push_index(value);
        }
    }

    fn push_segment(&mut self, (collection, partition): (CollectionId, PartitionId), value: &[u8]) {
        let is_living = v2_1::segment_rows(value).is_ok_and(|record| record.is_living());
        if is_living && partition != ALL_PARTITIONS {
            self.partitions.insert((collection, partition));
        }
        let Ok(segment) = v2_1::segment(value) else {
            return;
        };
        let logs = segment
            .logs
            .iter()
            .filter(|logs| logs.kind != LogKind::Delete);
        self.fields
            .extend(logs.map(|logs| (collection, logs.field)));
    }

    fn push_index(&mut self, value: &[u8]) {
        let Ok(record) = FieldIndex::decode(value) else {
            return;
        };
        if let Some(info) = record.index_info.filter(|_| !record.deleted) {
            let field = (CollectionId(info.collection_id), FieldId(info.field_id));
            self.fields.insert(field);
        }
    }

    /// Adds the load state.
    pub(super) fn push_loads(&mut self, entries: &Keys) {
        for (key, value) in entries {
            let key = Key::parse(key);
            let (collection, fields) = if let Key::CollectionLoadInfo(id) = key {
                let info = CollectionLoadInfo::decode(value.as_slice());
                (id, info.map(|info| info.field_index_id))
            } else if let Key::PartitionLoadInfo(id, partition) = key {
                self.partitions.insert((id, partition));
                let info = PartitionLoadInfo::decode(value.as_slice());
                (id, info.map(|info| info.field_index_id))
            } else {
                continue;
            };
            let fields = fields.unwrap_or_default().into_keys();
            self.fields
                .extend(fields.map(|field| (collection, FieldId(field))));
        }
    }

    /// Returns whether a segment that is not dropped or the load state of a partition refers to the collection.
    pub(super) fn has_partitions(&self, collection: CollectionId) -> bool {
        self.missing_partition(collection, |_| false).is_some()
    }

    /// Returns a referenced partition of the collection that is not known.
    pub(super) fn missing_partition(
        &self,
        collection: CollectionId,
        is_known: impl Fn(PartitionId) -> bool,
    ) -> Option<PartitionId> {
        let first = (collection, PartitionId(i64::MIN));
        let used = self
            .partitions
            .range(first..=(collection, PartitionId(i64::MAX)));
        used.map(|(_, id)| *id).find(|id| !is_known(*id))
    }

    /// Returns a referenced field of the collection that is not known.
    pub(super) fn missing_field(
        &self,
        collection: CollectionId,
        is_known: impl Fn(FieldId) -> bool,
    ) -> Option<FieldId> {
        let first = (collection, FieldId(i64::MIN));
        let used = self.fields.range(first..=(collection, FieldId(i64::MAX)));
        used.map(|(_, id)| *id).find(|id| !is_known(*id))
    }
}
