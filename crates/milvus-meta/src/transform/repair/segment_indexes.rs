//! Repairs segment indexes with the same build id. Milvus 2.2 identifies builds only by their ids, and the official tool
//! gives build id 0 to all segments that were too small to be indexed.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::super::names;
use super::super::placeholder::PlaceholderIds;
use super::{Plan, names_of};
use crate::codec::patch;
use crate::keys::Key;
use crate::model::{BuildId, CollectionId, IndexId, SegmentIds};
use crate::proto::v2_2::common::IndexState;
use crate::proto::v2_2::index::SegmentIndex;

/// A segment index. Kept small, because there may be a million.
#[derive(Debug)]
struct Row {
    build: BuildId,
    segment: SegmentIds,
    index: IndexId,
}

impl Row {
    fn key(&self) -> Vec<u8> {
        key_of(self.segment, self.build)
    }
}

fn key_of((collection, partition, segment): SegmentIds, build: BuildId) -> Vec<u8> {
    Key::SegmentIndex(collection, partition, segment, build).render()
}

/// The segment indexes, by their builds.
#[derive(Debug, Default)]
pub(super) struct SegmentIndexes {
    rows: Vec<Row>,
    /// Builds of deleted or unreadable records, whose ids are not free either.
    others: Vec<BuildId>,
    /// The segment indexes with build id 0, by segment.
    without_build: BTreeMap<SegmentIds, Vec<u8>>,
    /// The build ids that an interrupted repair gave to segments whose record with build id 0 still exists.
    numbered: BTreeMap<SegmentIds, BuildId>,
}

/// The segment indexes of one index that have build id 0.
#[derive(Debug, Default)]
struct Counts {
    numbered: u64,
    skipped: u64,
    first: Vec<u8>,
}

impl SegmentIndexes {
    /// Adds an entry.
    pub(super) fn push(&mut self, relative: &[u8], value: &[u8]) {
        let Key::SegmentIndex(collection, partition, segment, build) = Key::parse(relative) else {
            return;
        };
        let segment = (collection, partition, segment);
        let Ok(record) = SegmentIndex::decode(value) else {
            // An unreadable record is reported when the result is checked.
            self.others.push(build);
            return;
        };
        if build == BuildId(0) {
            self.without_build.insert(segment, value.to_vec());
        } else if record.deleted {
            self.others.push(build);
        } else {
            // The key with build id 0 comes first.
            let source = self.without_build.get(&segment);
            let given = source.and_then(|it| patch::segment_index_with_build(it, build.0).ok());
            if given.as_deref() == Some(value) {
                self.numbered.insert(segment, build);
            }
            let index = IndexId(record.index_id);
            self.rows.push(Row {
                build,
                segment,
                index,
            });
        }
    }

    /// Gives every segment index a separate build id, or skips it.
    pub(super) fn repair(mut self, plan: &mut Plan<'_>) {
        let without_build = std::mem::take(&mut self.without_build);
        if !without_build.is_empty() {
            self.number(without_build, plan);
        }
        self.separate(plan);
    }

    fn number(&self, without_build: BTreeMap<SegmentIds, Vec<u8>>, plan: &mut Plan<'_>) {
        let others = self.rows.iter().filter(|row| !self.is_numbered(row));
        let built: BTreeSet<(SegmentIds, IndexId)> =
            others.map(|row| (row.segment, row.index)).collect();
        let mut counts: BTreeMap<(CollectionId, i64), Counts> = BTreeMap::new();
        let mut placeholders: BTreeMap<SegmentIds, Vec<u8>> = BTreeMap::new();
        for (segment, value) in without_build {
            let key = key_of(segment, BuildId(0));
            let Ok(record) = SegmentIndex::decode(value.as_slice()) else {
                continue;
            };
            let count = counts.entry((segment.0, record.index_id)).or_default();
            if count.first.is_empty() {
                count.first.clone_from(&key);
            }
            plan.changes.replaced.insert(key);
            if record.deleted || built.contains(&(segment, IndexId(record.index_id))) {
                continue;
            }
            let has_files = !record.index_file_keys.is_empty();
            let is_placeholder = record.state == IndexState::Finished as i32 && !has_files;
            if is_placeholder && patch::segment_index_with_build(&value, 0).is_ok() {
                count.numbered += 1;
                placeholders.insert(segment, value);
            } else {
                count.skipped += 1;
            }
        }
        for (segment, build) in self.numbers(&placeholders) {
            let value = placeholders.get(&segment);
            let numbered = value.map(|value| patch::segment_index_with_build(value, build.0));
            if let Some(Ok(value)) = numbered {
                plan.changes.visible.insert(key_of(segment, build), value);
            }
        }
        let names = names_of(plan.entries);
        for ((collection, index), count) in counts {
            let skipped = match count.skipped {
                0 => String::new(),
                skipped => format!(
                    ", {skipped} are skipped, because their files belong to an unknown build. {CREATE_AGAIN}"
                ),
            };
            let message = format!(
                "segment indexes of index {index} of {} have build id 0, and Milvus 2.2 knows only one of them: {} get \
                 separate build ids{skipped}",
                names::collection(&names, collection),
                count.numbered
            );
            plan.findings.warning("build-id-0", &count.first, message);
        }
    }

    fn is_numbered(&self, row: &Row) -> bool {
        self.numbered.get(&row.segment) == Some(&row.build)
    }

    /// Returns the build ids for the segments that have none yet.
    ///
    /// An interrupted repair gave ids in the order of the segments. The remaining segments get the ids that it would
    /// have given them, because the result is compared with the repair of the backup.
    fn numbers(&self, placeholders: &BTreeMap<SegmentIds, Vec<u8>>) -> Vec<(SegmentIds, BuildId)> {
        let beside = |is_known: &dyn Fn(&&Row) -> bool| {
            let rows = self.rows.iter().filter(is_known);
            let known = rows.map(|row| row.build).chain(self.others.iter().copied());
            PlaceholderIds::new(placeholders.len(), known)
        };
        let is_ours = |row: &Row| self.is_numbered(row) && placeholders.contains_key(&row.segment);
        let mut free = beside(&|row| !is_ours(row));
        let all: Vec<_> = placeholders.keys().map(|it| (*it, free.next())).collect();
        let given = |segment: &SegmentIds| self.numbered.get(segment);
        let is_same = all
            .iter()
            .all(|(segment, build)| given(segment).is_none_or(|given| given == build));
        let missing = all
            .into_iter()
            .filter(|(segment, _)| given(segment).is_none());
        if is_same {
            return missing.collect();
        }
        let mut free = beside(&|_| true);
        missing.map(|(segment, _)| (segment, free.next())).collect()
    }

    /// Skips segments with the same build except the last, which Milvus reads.
    fn separate(mut self, plan: &mut Plan<'_>) {
        let names = names_of(plan.entries);
        self.rows.sort_unstable_by_key(|row| row.build);
        let by_build = self.rows.chunk_by(|left, right| left.build == right.build);
        for rows in by_build.filter(|rows| rows.len() > 1) {
            let winner = rows.iter().map(Row::key).max().unwrap_or_default();
            for row in rows.iter().filter(|row| row.key() != winner) {
                let message = format!(
                    "segment {} of {} has build {}, and so does {}, which Milvus 2.2 reads last and which is kept. \
                     This one is skipped. {CREATE_AGAIN}",
                    row.segment.2,
                    names::collection(&names, row.segment.0),
                    row.build,
                    plan.findings.name(&winner)
                );
                plan.findings.warning("shared-build", &row.key(), message);
                plan.changes.replaced.insert(row.key());
            }
        }
    }
}

const CREATE_AGAIN: &str = "The segment is searched without index until create_index is called again with the same name and \
    parameters";
