//! Segments with the sizes of their logs.

use std::collections::BTreeMap;

use super::{Catalog, Segment, SegmentSizes, Time};
use crate::keys::{LogKind, Timestamp};
use crate::model::{CollectionId, PartitionId, SegmentId};
use crate::proto::v2_2::common::SegmentState;
use crate::proto::v2_2::data::{FieldBinlog, SegmentInfo};

#[derive(Debug, Default)]
pub(super) struct Segments {
    records: Vec<Segment>,
    /// Logs under separate keys.
    logs: BTreeMap<SegmentId, SegmentSizes>,
}

impl Segments {
    pub(super) fn push(&mut self, info: SegmentInfo) {
        let mut sizes = SegmentSizes::default();
        for (kind, logs) in [
            (LogKind::Insert, &info.binlogs),
            (LogKind::Delete, &info.deltalogs),
            (LogKind::Statistics, &info.statslogs),
        ] {
            logs.iter().for_each(|log| add(&mut sizes, kind, log));
        }
        let position = info.dml_position.as_ref();
        self.records.push(Segment {
            id: SegmentId(info.id),
            collection_id: CollectionId(info.collection_id),
            partition_id: PartitionId(info.partition_id),
            state: state(info.state()),
            rows: info.num_of_rows,
            max_rows: info.max_row_num,
            compacted: info.created_by_compaction,
            sizes,
            position: position.and_then(|position| Time::of(Timestamp(position.timestamp))),
            dropped_at: Time::of(Timestamp(info.dropped_at)),
            channel: info.insert_channel,
            ..Segment::default()
        });
    }

    pub(super) fn push_log(&mut self, segment: SegmentId, kind: LogKind, log: &FieldBinlog) {
        add(self.logs.entry(segment).or_default(), kind, log);
    }

    pub(super) fn finish(mut self, catalog: &mut Catalog) {
        let ids = catalog
            .partitions
            .iter()
            .map(|it| (it.collection_id, it.id));
        let positions: BTreeMap<_, _> = ids.zip(0_usize..).collect();
        for segment in &mut self.records {
            if let Some(logs) = self.logs.get(&segment.id) {
                segment.sizes.add(logs);
            }
            let (rows, bytes) = (segment.rows, segment.sizes.bytes());
            let is_live = segment.is_live();
            if let Some(collection) = catalog.collection_mut(segment.collection_id) {
                segment.collection = Some(collection.name.clone());
                if is_live {
                    collection.segments += 1;
                    collection.rows = collection.rows.saturating_add(rows);
                    collection.bytes = collection.bytes.saturating_add(bytes);
                }
            }
            let position = positions.get(&(segment.collection_id, segment.partition_id));
            let partition = position.and_then(|position| catalog.partitions.get_mut(*position));
            if let Some(partition) = partition {
                segment.partition = Some(partition.name.clone());
                if is_live {
                    partition.segments += 1;
                    partition.rows = partition.rows.saturating_add(rows);
                    partition.bytes = partition.bytes.saturating_add(bytes);
                }
            }
        }
        let order = |one: &Segment| (one.collection_id, one.partition_id, one.id);
        self.records.sort_by_key(order);
        catalog.segments = self.records;
    }
}

impl Segment {
    /// Returns whether its rows count.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self.state, "Dropped" | "NotExist" | "None")
    }
}

impl SegmentSizes {
    fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.insert_bytes = self.insert_bytes.saturating_add(other.insert_bytes);
        self.delete_bytes = self.delete_bytes.saturating_add(other.delete_bytes);
        self.statistics_bytes = self.statistics_bytes.saturating_add(other.statistics_bytes);
        self.deletes = self.deletes.saturating_add(other.deletes);
    }
}

fn add(sizes: &mut SegmentSizes, kind: LogKind, log: &FieldBinlog) {
    for file in &log.binlogs {
        let mut one = SegmentSizes {
            files: 1,
            ..SegmentSizes::default()
        };
        match kind {
            LogKind::Insert => one.insert_bytes = file.log_size,
            LogKind::Statistics => one.statistics_bytes = file.log_size,
            LogKind::Delete => (one.delete_bytes, one.deletes) = (file.log_size, file.entries_num),
        }
        sizes.add(&one);
    }
}

fn state(state: SegmentState) -> &'static str {
    match state {
        SegmentState::None => "None",
        SegmentState::NotExist => "NotExist",
        SegmentState::Growing => "Growing",
        SegmentState::Sealed => "Sealed",
        SegmentState::Flushed => "Flushed",
        SegmentState::Flushing => "Flushing",
        SegmentState::Dropped => "Dropped",
        SegmentState::Importing => "Importing",
    }
}
