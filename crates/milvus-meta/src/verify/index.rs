//! Index definitions and segment indexes.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::LiveCollections;
use super::segment::Segments;
use crate::codec::wire::{self, Content, WireError};
use crate::keys::Key;
use crate::model::{BuildId, CollectionId, FieldId, IndexId, PartitionId, SegmentId};
use crate::plural::{agree, counted};
use crate::proto::v2_2::index::FieldIndex;
use crate::transform::Findings;

type SegmentKey = (CollectionId, PartitionId, SegmentId, BuildId);

#[derive(Debug, Default)]
pub(super) struct Indexes {
    fields: BTreeMap<(CollectionId, IndexId), Definition>,
    /// The number of segment indexes of each index, without deleted ones, and the key of one.
    segments: BTreeMap<(CollectionId, IndexId), (u64, SegmentKey)>,
    /// Every build with the key that contains it.
    builds: Vec<(BuildId, SegmentKey)>,
    /// Segment indexes that are not deleted, by segment.
    indexed: Vec<(SegmentId, SegmentKey)>,
    /// Segments with the indexes that they have or had.
    built: BTreeSet<(SegmentId, IndexId)>,
    /// Segments with a placeholder of the official tool, which writes only one for each segment.
    merged: BTreeSet<SegmentId>,
}

#[derive(Debug)]
struct Definition {
    field: FieldId,
    deleted: bool,
}

impl Indexes {
    pub(super) fn push_field(
        &mut self,
        (collection, index): (CollectionId, IndexId),
        value: &[u8],
        report: &mut Findings,
    ) {
        let key = Key::FieldIndex(collection, index).render();
        let Some(record) = report.record::<FieldIndex>(&key, "index definition", value) else {
            return;
        };
        let info = record.index_info.unwrap_or_default();
        let found = (info.collection_id, info.index_id);
        report.check_part(&key, "index", (collection, index.0), found);
        let definition = Definition {
            field: FieldId(info.field_id),
            deleted: record.deleted,
        };
        self.fields.insert((collection, index), definition);
    }

    pub(super) fn push_segment(&mut self, ids: SegmentKey, value: &[u8], report: &mut Findings) {
        let render = || Key::SegmentIndex(ids.0, ids.1, ids.2, ids.3).render();
        let record = match segment_index(value) {
            Ok(record) => record,
            Err(error) => return report.unreadable(&render(), "segment index", &error),
        };
        if record.key != ids {
            let (collection, partition, segment, build) = record.key;
            let of = format!(
                "collection {collection}, partition {partition}, segment {segment}, build {build}"
            );
            report.mismatch(&render(), &of);
        }
        self.builds.push((ids.3, ids));
        self.built.insert((record.key.2, record.index));
        if ids.3 == BuildId(0) {
            self.merged.insert(record.key.2);
        }
        if !record.deleted {
            self.indexed.push((record.key.2, ids));
            let (count, first) = self
                .segments
                .entry((ids.0, record.index))
                .or_insert((0, ids));
            *count += 1;
            *first = (*first).min(ids);
        }
    }

    pub(super) fn has_segments(&self) -> bool {
        !self.builds.is_empty()
    }

    pub(super) fn lacks_index(&self, segment: SegmentId, collection: CollectionId) -> bool {
        let has = |index: IndexId| self.built.contains(&(segment, index));
        !self.merged.contains(&segment) && self.live(collection).any(|index| !has(index))
    }

    /// Returns whether the collection has an index that is not deleted.
    pub(super) fn is_indexed(&self, collection: CollectionId) -> bool {
        self.live(collection).next().is_some()
    }

    /// Returns the indexes of a collection that are not deleted.
    fn live(&self, collection: CollectionId) -> impl Iterator<Item = IndexId> {
        let all = (collection, IndexId(i64::MIN))..=(collection, IndexId(i64::MAX));
        let live = self.fields.range(all).filter(|(_, it)| !it.deleted);
        live.map(|((_, index), _)| *index)
    }

    pub(super) fn has_definition(&self, collection: CollectionId, index: IndexId) -> bool {
        self.fields.contains_key(&(collection, index))
    }

    pub(super) fn finish(
        mut self,
        live: &LiveCollections,
        segments: &Segments,
        report: &mut Findings,
    ) {
        self.check_stale(segments, report);
        for ((collection, index), definition) in &self.fields {
            if definition.deleted {
                continue;
            }
            let key = Key::FieldIndex(*collection, *index).render();
            match live.get(*collection) {
                None => report.error(
                    "orphan",
                    &key,
                    format!("the index exists, but there is no collection {collection}"),
                ),
                Some(members) if !members.fields.contains(&definition.field) => report.error(
                    "index-field-missing",
                    &key,
                    format!(
                        "collection {collection} has no field {}, on which the index is defined",
                        definition.field
                    ),
                ),
                Some(_) => {}
            }
        }
        for ((collection, index), (count, (_, partition, segment, build))) in &self.segments {
            if !self.fields.contains_key(&(*collection, *index)) {
                let key = Key::SegmentIndex(*collection, *partition, *segment, *build).render();
                report.error(
                    "orphan",
                    &key,
                    format!(
                        "{} (first here) {} to index {index} of collection {collection}, which does not exist: \
                         Milvus 2.2 removes {}",
                        counted(*count, "segment index"),
                        agree(*count, "belongs", "belong"),
                        agree(*count, "it and its files", "them and their files")
                    ),
                );
            }
        }
        self.builds.sort_unstable();
        for pair in self.builds.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (collection, partition, segment, build) = pair[1].1;
            let key = Key::SegmentIndex(collection, partition, segment, build).render();
            let message = format!(
                "another segment index has build {build} as well: Milvus 2.2 knows only one of them"
            );
            // The official tool uses build 0 for segments without index files, so nothing is lost.
            if build == BuildId(0) {
                report.warning("shared-build", &key, message);
            } else {
                report.error("shared-build", &key, message);
            }
        }
    }

    /// Reports segment indexes whose segment is dropped or missing.
    fn check_stale(&self, segments: &Segments, report: &mut Findings) {
        let stale = self.indexed.iter().filter(|(id, _)| !segments.lives(*id));
        let mut keys: Vec<_> = stale.map(|(_, key)| *key).collect();
        keys.sort_unstable();
        if let Some((collection, partition, segment, build)) = keys.first() {
            report.warning(
                "stale-segment-index",
                &Key::SegmentIndex(*collection, *partition, *segment, *build).render(),
                format!(
                    "{} (first here) {} to segments that are dropped or do not exist; Milvus 2.2 removes {}",
                    counted(keys.len(), "segment index"),
                    agree(keys.len(), "belongs", "belong"),
                    agree(keys.len(), "it", "them")
                ),
            );
        }
    }
}

struct SegmentRecord {
    key: SegmentKey,
    index: IndexId,
    deleted: bool,
}

/// Reads only the ids, because there may be a million records.
fn segment_index(value: &[u8]) -> Result<SegmentRecord, WireError> {
    let mut ids = [0; 5];
    let mut deleted = false;
    for field in wire::fields(value) {
        let field = field?;
        match (field.number, field.content) {
            (1, Content::Varint(id)) => ids[0] = id.cast_signed(),
            (2, Content::Varint(id)) => ids[1] = id.cast_signed(),
            (3, Content::Varint(id)) => ids[2] = id.cast_signed(),
            (5, Content::Varint(id)) => ids[3] = id.cast_signed(),
            (6, Content::Varint(id)) => ids[4] = id.cast_signed(),
            (12, Content::Varint(mark)) => deleted = mark != 0,
            _ => {}
        }
    }
    Ok(SegmentRecord {
        key: (
            CollectionId(ids[0]),
            PartitionId(ids[1]),
            SegmentId(ids[2]),
            BuildId(ids[4]),
        ),
        index: IndexId(ids[3]),
        deleted,
    })
}
