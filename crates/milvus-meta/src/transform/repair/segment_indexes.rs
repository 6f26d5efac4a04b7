//! Segment indexes that Milvus 2.2 confuses, because it knows builds by their ids alone: the official tool gives build
//! id 0 to all segments that were too small to be indexed.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::super::findings::Findings;
use super::super::names::{self, CollectionNames};
use super::super::segment_index::PlaceholderIds;
use super::Changes;
use crate::codec::patch;
use crate::keys::Key;
use crate::model::{BuildId, CollectionId, IndexId, PartitionId, SegmentId};
use crate::proto::v2_2::common::IndexState;
use crate::proto::v2_2::index::SegmentIndex;

type Segment = (CollectionId, PartitionId, SegmentId);

/// One segment index. A million of these are held: keep it small.
#[derive(Debug)]
struct Row {
    build: BuildId,
    segment: Segment,
    index: IndexId,
}

impl Row {
    fn key(&self) -> Vec<u8> {
        let (collection, partition, segment) = self.segment;
        Key::SegmentIndex(collection, partition, segment, self.build).render()
    }
}

/// The segment indexes that are not deleted.
#[derive(Debug, Default)]
pub(super) struct SegmentIndexes {
    rows: Vec<Row>,
    /// Those with build id 0, by their segments.
    without_build: BTreeMap<Segment, Vec<u8>>,
}

/// What becomes of those of one index that have build id 0.
#[derive(Debug, Default)]
struct Counts {
    numbered: u64,
    left_out: u64,
    first: Vec<u8>,
}

impl SegmentIndexes {
    /// Takes one entry.
    pub(super) fn push(&mut self, relative: &[u8], value: &[u8]) {
        let Key::SegmentIndex(collection, partition, segment, build) = Key::parse(relative) else {
            return;
        };
        // What cannot be read is reported when the result is checked.
        let Ok(record) = SegmentIndex::decode(value) else {
            return;
        };
        let segment = (collection, partition, segment);
        if build == BuildId(0) {
            self.without_build.insert(segment, value.to_vec());
        } else if !record.deleted {
            let index = IndexId(record.index_id);
            self.rows.push(Row {
                build,
                segment,
                index,
            });
        }
    }

    /// Gives every segment index a separate build id, or leaves it out.
    pub(super) fn repair(
        mut self,
        names: &CollectionNames,
        changes: &mut Changes,
        findings: &mut Findings,
    ) {
        let without_build = std::mem::take(&mut self.without_build);
        if !without_build.is_empty() {
            self.number(without_build, names, changes, findings);
        }
        self.separate(names, changes, findings);
    }

    fn number(
        &self,
        without_build: BTreeMap<Segment, Vec<u8>>,
        names: &CollectionNames,
        changes: &mut Changes,
        findings: &mut Findings,
    ) {
        let known = self.rows.iter().map(|row| row.build.0);
        let mut free = PlaceholderIds::beside(known.collect());
        // An interrupted repair has written the new key.
        let built: BTreeSet<(Segment, IndexId)> = self
            .rows
            .iter()
            .map(|row| (row.segment, row.index))
            .collect();
        let mut counts: BTreeMap<(CollectionId, i64), Counts> = BTreeMap::new();
        for (segment, value) in without_build {
            let (collection, partition, id) = segment;
            let key = Key::SegmentIndex(collection, partition, id, BuildId(0)).render();
            let Ok(record) = SegmentIndex::decode(value.as_slice()) else {
                continue;
            };
            let count = counts.entry((collection, record.index_id)).or_default();
            if count.first.is_empty() {
                count.first.clone_from(&key);
            }
            changes.replaced.insert(key);
            let has_files = !record.index_file_keys.is_empty();
            let is_placeholder = record.state == IndexState::Finished as i32 && !has_files;
            if record.deleted || built.contains(&(segment, IndexId(record.index_id))) {
                continue;
            }
            let build = free.next();
            match patch::segment_index_with_build(&value, build.0) {
                Ok(value) if is_placeholder => {
                    let new = Key::SegmentIndex(collection, partition, id, build).render();
                    changes.visible.insert(new, value);
                    count.numbered += 1;
                }
                Ok(_) | Err(_) => count.left_out += 1,
            }
        }
        for ((collection, index), count) in counts {
            let message = format!(
                "segment indexes of index {index} of {} have build id 0, and Milvus 2.2 knows only one of them: {} get \
                 separate build ids{}",
                names::collection(names, collection),
                count.numbered,
                match count.left_out {
                    0 => String::new(),
                    left_out => format!(
                        ", {left_out} are left out, because their files belong to an unknown build. {CREATE_AGAIN}"
                    ),
                }
            );
            findings.warning("build-id-0", &count.first, message);
        }
    }

    /// Of several segments under one build Milvus reads the last; the others are left out.
    fn separate(mut self, names: &CollectionNames, changes: &mut Changes, findings: &mut Findings) {
        self.rows.sort_unstable_by_key(|row| row.build);
        for rows in self.rows.chunk_by(|left, right| left.build == right.build) {
            if rows.len() < 2 {
                continue;
            }
            let winner = rows.iter().map(Row::key).max().unwrap_or_default();
            for row in rows.iter().filter(|row| row.key() != winner) {
                let message = format!(
                    "segment {} of {} has build {}, and so does {}, which Milvus 2.2 reads last and which is kept. \
                     This one is left out. {CREATE_AGAIN}",
                    row.segment.2,
                    names::collection(names, row.segment.0),
                    row.build,
                    findings.name(&winner)
                );
                findings.warning("shared-build", &row.key(), message);
                changes.replaced.insert(row.key());
            }
        }
    }
}

const CREATE_AGAIN: &str = "The segment is searched without index until create_index is called again with the same name and \
    parameters";
