//! Index definitions and the states of their builds on segments, in both layouts.

use std::collections::BTreeMap;

use super::collections::pairs;
use super::{Catalog, Index, Origin, Pairs, Time};
use crate::keys::Timestamp;
use crate::model::{BuildId, CollectionId, FieldId, IndexId, SegmentId};
use crate::proto::v2_1::etcd::{IndexInfo, SegmentIndexInfo};
use crate::proto::v2_1::index::IndexMeta;
use crate::proto::v2_2::common::IndexState;
use crate::proto::v2_2::etcd::CollectionInfo;
use crate::proto::v2_2::index::{FieldIndex, SegmentIndex};

type IndexKey = (Origin, CollectionId, IndexId);

#[derive(Debug, Default)]
pub(super) struct Indexes {
    definitions: BTreeMap<IndexKey, Index>,
    /// The field of each index of 2.1.
    fields: BTreeMap<(CollectionId, IndexId), FieldId>,
    builds: BTreeMap<BuildId, Build>,
    segments: Vec<SegmentBuild>,
}

/// A build, as stored by 2.1.
#[derive(Debug, Clone, Copy)]
struct Build {
    state: IndexState,
    rows: i64,
    bytes: u64,
}

/// An index on a segment.
#[derive(Debug)]
struct SegmentBuild {
    index: IndexKey,
    segment: SegmentId,
    /// The build to look up; `None` if the record contains everything.
    build: Option<BuildId>,
    known: Option<Build>,
}

impl Indexes {
    /// Adds the fields of the indexes of a 2.1 record.
    pub(super) fn push_fields(&mut self, collection: CollectionId, info: &CollectionInfo) {
        for one in &info.field_indexes {
            let key = (collection, IndexId(one.index_id));
            self.fields.insert(key, FieldId(one.filed_id));
        }
    }

    pub(super) fn push_legacy(&mut self, collection: CollectionId, id: IndexId, info: IndexInfo) {
        let params = info.index_params.into_iter();
        let params = params.map(|pair| (pair.key, pair.value)).collect();
        let index = definition(Origin::V2_1, (collection, id), params);
        let index = Index {
            name: info.index_name,
            dropped: info.deleted,
            created: Time::of(Timestamp(info.create_time)),
            ..index
        };
        let key = (Origin::V2_1, collection, id);
        self.definitions.insert(key, index);
    }

    pub(super) fn push_field(&mut self, record: FieldIndex) {
        let info = record.index_info.unwrap_or_default();
        let (collection, id) = (CollectionId(info.collection_id), IndexId(info.index_id));
        let index = definition(Origin::V2_2, (collection, id), pairs(&info.index_params));
        let index = Index {
            name: info.index_name,
            field_id: Some(FieldId(info.field_id)),
            dropped: record.deleted,
            created: Time::of(Timestamp(record.create_time)),
            ..index
        };
        self.definitions
            .insert((Origin::V2_2, collection, id), index);
    }

    pub(super) fn push_legacy_segment(&mut self, info: &SegmentIndexInfo) {
        let collection = CollectionId(info.collection_id);
        self.segments.push(SegmentBuild {
            index: (Origin::V2_1, collection, IndexId(info.index_id)),
            segment: SegmentId(info.segment_id),
            build: (info.build_id != 0).then_some(BuildId(info.build_id)),
            known: None,
        });
    }

    pub(super) fn push_build(&mut self, id: BuildId, info: &IndexMeta) {
        let request = info.req.as_ref();
        let build = Build {
            state: IndexState::try_from(info.state).unwrap_or(IndexState::None),
            rows: request.map(|request| request.num_rows).unwrap_or_default(),
            bytes: info.serialize_size,
        };
        if !info.mark_deleted {
            self.builds.insert(id, build);
        }
    }

    pub(super) fn push_segment(&mut self, info: &SegmentIndex) {
        if info.deleted {
            return;
        }
        let collection = CollectionId(info.collection_id);
        self.segments.push(SegmentBuild {
            index: (Origin::V2_2, collection, IndexId(info.index_id)),
            segment: SegmentId(info.segment_id),
            build: None,
            known: Some(Build {
                state: info.state(),
                rows: info.num_rows,
                bytes: info.serialize_size,
            }),
        });
    }

    pub(super) fn finish(mut self, catalog: &mut Catalog) {
        let mut by_segment: BTreeMap<SegmentId, (u64, u64)> = BTreeMap::new();
        for one in &self.segments {
            let build = one.build.and_then(|id| self.builds.get(&id)).copied();
            let (state, build) = match (build.or(one.known), one.build) {
                (Some(build), _) => (state(build.state), Some(build)),
                (None, Some(_)) => ("missing", None),
                (None, None) => ("unindexed", None),
            };
            let is_finished = state == "finished";
            let sum = by_segment.entry(one.segment).or_default();
            sum.0 += u64::from(is_finished);
            sum.1 += 1;
            let (origin, collection, id) = one.index;
            let index = self.definitions.entry(one.index);
            let index = index.or_insert_with(|| Index {
                dropped: true,
                ..definition(origin, (collection, id), Pairs::new())
            });
            *index.builds.entry(state).or_default() += 1;
            if let Some(build) = build.filter(|_| is_finished) {
                index.indexed_rows = index.indexed_rows.saturating_add(build.rows);
                index.bytes = index.bytes.saturating_add(build.bytes);
            }
        }
        for segment in &mut catalog.segments {
            if let Some((finished, all)) = by_segment.get(&segment.id) {
                (segment.indexed, segment.indexes) = (*finished, *all);
            }
        }
        catalog.indexes = self.definitions.into_values().collect();
        for index in &mut catalog.indexes {
            let field = self.fields.get(&(index.collection_id, index.id)).copied();
            index.field_id = index.field_id.or(field);
        }
        set_names(catalog);
    }
}

/// Sets the names, and counts the indexes of each collection.
fn set_names(catalog: &mut Catalog) {
    let mut indexes = std::mem::take(&mut catalog.indexes);
    let mut counted = None;
    indexes.sort_by_key(|one| (one.collection_id, one.id, one.origin));
    for index in &mut indexes {
        let Some(collection) = catalog.collection_mut(index.collection_id) else {
            continue;
        };
        index.collection = Some(collection.name.clone());
        let mut fields = collection.fields.iter();
        let field = fields.find(|field| Some(field.id) == index.field_id);
        index.field = field.map(|field| field.name.clone());
        // A staged instance has each index in both layouts.
        let id = Some((index.collection_id, index.id));
        if !index.dropped && counted != id {
            collection.indexes += 1;
            counted = id;
        }
    }
    catalog.indexes = indexes;
}

fn definition(
    origin: Origin,
    (collection_id, id): (CollectionId, IndexId),
    mut params: Pairs,
) -> Index {
    Index {
        id,
        origin,
        collection_id,
        index_type: params.remove("index_type").unwrap_or_default(),
        metric: params.remove("metric_type").unwrap_or_default(),
        params,
        ..Index::default()
    }
}

fn state(state: IndexState) -> &'static str {
    match state {
        IndexState::None => "none",
        IndexState::Unissued => "unissued",
        IndexState::InProgress => "in progress",
        IndexState::Finished => "finished",
        IndexState::Failed => "failed",
        IndexState::Retry => "retry",
    }
}
