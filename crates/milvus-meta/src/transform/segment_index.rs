//! Segment indexes, the largest family: 2.1 has a record for each segment and one for each build;
//! 2.2 has both in one record, whose key contains the build.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::Put;
use super::arena::{Arena, Slot};
use super::findings::Findings;
use super::index::{Indexes, Unreferenced};
use super::index_build::{BuildTable, Files};
use super::index_support::Support;
use super::kept::Built;
use super::placeholder::PlaceholderIds;
use super::precedence::{Keyed, keep_greatest, merge};
use super::row_counts::RowTable;
use crate::codec::v2_1;
use crate::codec::v2_2::{self, SegmentIndexIds};
use crate::keys::{Family, Key, MetaRoot, is_tombstone};
use crate::model::{BuildId, CollectionId, IndexId, PartitionId, SegmentId, SegmentIds};
use crate::plural::{agree, counted};

/// The ids that identify a segment index, in the order in which placeholders are numbered.
type Ids = (CollectionId, PartitionId, SegmentId, IndexId);

/// A segment index. Kept small, because there may be a million.
#[derive(Debug, Clone, Copy)]
struct Row {
    ids: Ids,
    build: BuildId,
    create_time: u64,
    /// Set when the build is found.
    part: Slot,
    enabled: bool,
}

impl Row {
    fn of_index(&self) -> (CollectionId, IndexId) {
        (self.ids.0, self.ids.3)
    }

    /// Returns whether the segment was never indexed.
    fn is_placeholder(&self) -> bool {
        self.build == BuildId(0) && !self.enabled
    }
}

/// The 2.1 records from which segment indexes are built.
#[derive(Debug, Default)]
pub(super) struct SegmentTable {
    rows: Vec<Row>,
    /// Records whose key has other ids than their value.
    odd: Keyed<Ids, Row>,
    pub(super) builds: BuildTable,
    pub(super) segments: RowTable,
    arena: Arena,
}

/// The segment indexes of 2.2, in key order, encoded on demand.
#[derive(Debug, Default)]
pub(super) struct SegmentIndexes {
    rows: Vec<Row>,
    arena: Arena,
}

impl SegmentIndexes {
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Returns the keys to write below `root`, in ascending order.
    pub(super) fn puts<'s>(&'s self, root: &'s MetaRoot) -> impl Iterator<Item = Put> + 's {
        self.rows.iter().map(|row| {
            let (collection, partition, segment, index) = row.ids;
            let key = root.key(&Key::SegmentIndex(
                collection, partition, segment, row.build,
            ));
            let ids = SegmentIndexIds {
                collection,
                partition,
                segment,
                index,
                build: row.build,
                create_time: row.create_time,
            };
            let value = v2_2::segment_index(&ids, self.arena.get(row.part));
            Put { key, value }
        })
    }
}

impl SegmentTable {
    pub(super) fn push_build(&mut self, id: BuildId, value: &[u8], findings: &mut Findings) {
        self.builds.push(id, value, &mut self.arena, findings);
    }

    /// Adds the record at `root-coord/segment-index/…` with these ids in its key.
    pub(super) fn push(&mut self, key_ids: Ids, value: &[u8], findings: &mut Findings) {
        if is_tombstone(value) {
            return;
        }
        let key = || source_key(key_ids);
        let (record, what) = (v2_1::segment_index(value), "a segment index");
        let skipped = "Milvus 2.2 builds the segment's index again when it is next created";
        let Some(record) = findings.decoded(record, what, key, skipped) else {
            return;
        };
        if !record.unknown.is_empty() {
            findings.unknown(Family::LegacySegmentIndex, &key(), &record.unknown);
        }
        let row = Row {
            ids: (
                record.collection,
                record.partition,
                record.segment,
                record.index,
            ),
            build: record.build,
            create_time: record.create_time,
            part: Slot::FIRST,
            enabled: record.enabled,
        };
        if row.ids == key_ids {
            self.rows.push(row);
        } else {
            keep_greatest(&mut self.odd, row.ids, key(), row, findings);
        }
    }

    /// Returns the number of 2.1 records.
    pub(super) fn len(&self) -> u64 {
        (self.rows.len() + self.odd.len()) as u64
    }

    /// Joins segments, builds and indexes; skips those that 2.2 already has.
    pub(super) fn convert(
        mut self,
        indexes: &Indexes,
        kept: &Built,
        findings: &mut Findings,
    ) -> SegmentIndexes {
        self.builds.seal(findings);
        self.segments.seal();
        let odd_keys = merge(
            &mut self.rows,
            self.odd,
            |row| row.ids,
            source_key,
            findings,
        );
        let named = self.rows.iter().map(|row| row.build);
        let built = self.builds.ids().chain(kept.builds.iter().copied());
        let number = self.rows.iter().filter(|row| row.is_placeholder()).count();
        let placeholder_ids = PlaceholderIds::new(number, named.chain(built));
        let mut join = Join {
            indexes,
            findings,
            builds: self.builds,
            segments: self.segments,
            arena: self.arena,
            odd_keys,
            placeholder_ids,
            shared: BTreeSet::new(),
            skipped: BTreeMap::new(),
        };
        let mut rows = self.rows;
        rows.retain_mut(|row| join.keep(row));
        join.resolve_shared(&mut rows);
        join.report();
        rows.retain(|row| !kept.segments.contains(&row.ids));
        sort_by_key(&mut rows);
        SegmentIndexes {
            rows,
            arena: join.arena,
        }
    }
}

fn source_key((collection, partition, segment, index): Ids) -> Vec<u8> {
    Key::LegacySegmentIndex(collection, index, partition, segment).render()
}

/// Sorts rows by target key.
fn sort_by_key(rows: &mut [Row]) {
    let segment = |row: &Row| (row.ids.0, row.ids.1, row.ids.2);
    // Stable, because it is fastest for rows that are almost sorted, as those of Milvus.
    rows.sort_by(|a, b| {
        by_segment(segment(a), segment(b)).then_with(|| as_text(a.build.0, b.build.0))
    });
}

/// Compares the keys of segments.
pub(super) fn by_segment(a: SegmentIds, b: SegmentIds) -> Ordering {
    as_text(a.0.0, b.0.0)
        .then_with(|| as_text(a.1.0, b.1.0))
        .then_with(|| as_text(a.2.0, b.2.0))
}

/// Compares two ids as the text in keys.
pub(super) fn as_text(a: i64, b: i64) -> Ordering {
    if a == b || a >= 0 && b >= 0 && a.checked_ilog10() == b.checked_ilog10() {
        return a.cmp(&b);
    }
    a.to_string().cmp(&b.to_string())
}

/// The reason why segment indexes of an index are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The index is not migrated.
    NoIndex,
    /// The index is deleted and its build is missing.
    DeletedWithoutBuild,
    /// The target cannot read the files.
    Unreadable,
}

struct Join<'j> {
    indexes: &'j Indexes,
    findings: &'j mut Findings,
    builds: BuildTable,
    segments: RowTable,
    arena: Arena,
    odd_keys: BTreeMap<Ids, Vec<u8>>,
    placeholder_ids: PlaceholderIds,
    /// Builds that more than one segment index refers to.
    shared: BTreeSet<BuildId>,
    skipped: BTreeMap<(CollectionId, IndexId, Reason), (u64, Vec<u8>)>,
}

impl Join<'_> {
    fn key(&self, row: &Row) -> Vec<u8> {
        self.odd_keys
            .get(&row.ids)
            .cloned()
            .unwrap_or_else(|| source_key(row.ids))
    }

    /// Completes a row; returns whether it is kept.
    fn keep(&mut self, row: &mut Row) -> bool {
        if let Some(build) = self.builds.find(row.build) {
            build.referenced = true;
        }
        let Some(index) = self.indexes.written.get(&row.of_index()) else {
            self.count(row, Reason::NoIndex);
            return false;
        };
        if index.support.skips_files() && !index.deleted {
            self.count(row, Reason::Unreadable);
            return false;
        }
        if row.is_placeholder() {
            let (collection, partition, segment, _) = row.ids;
            let rows = self.segments.find((collection, partition, segment));
            row.build = self.placeholder_ids.next();
            row.part = self.arena.push(&v2_2::placeholder_part(rows));
            return true;
        }
        match self.builds.find(row.build) {
            Some(build) if row.build != BuildId(0) => {
                row.part = build.part;
                let files = build.files;
                if std::mem::replace(&mut build.taken, true) {
                    self.shared.insert(row.build);
                }
                self.check_files(row, files);
                true
            }
            _ if index.deleted => {
                self.count(row, Reason::DeletedWithoutBuild);
                false
            }
            _ => {
                self.missing(row);
                false
            }
        }
    }

    fn count(&mut self, row: &Row, reason: Reason) {
        let (collection, index) = row.of_index();
        match self.skipped.get_mut(&(collection, index, reason)) {
            Some((count, _)) => *count += 1,
            None => {
                let key = self.key(row);
                self.skipped.insert((collection, index, reason), (1, key));
            }
        }
    }

    fn missing(&mut self, row: &Row) {
        if self.builds.is_unreadable(row.build) {
            return;
        }
        let (collection, partition, segment, _) = row.ids;
        let skipped = if self.segments.is_compacted((collection, partition, segment)) {
            "the data coordinator has no such segment any more, so no search misses it"
        } else {
            "the segment is searched without index until the index is created again"
        };
        let own = self.key(row);
        if row.build == BuildId(0) {
            let what = format!(
                "segment {segment} has {}, but its record names no build (build id 0)",
                self.indexes.title(row.of_index())
            );
            self.findings
                .broken("index-build-missing", &own, &what, skipped);
            return;
        }
        let what = format!(
            "index build {} is missing, but {} names it: segment {segment} has {}",
            row.build,
            self.findings.name(&own),
            self.indexes.title(row.of_index())
        );
        let key = Key::IndexBuild(row.build).render();
        self.findings
            .broken("index-build-missing", &key, &what, skipped);
    }

    /// T11: reports files outside the only folder that 2.2 reads: its garbage collection removes
    /// them.
    fn check_files(&mut self, row: &Row, files: Files) {
        let (_, partition, segment, _) = row.ids;
        match files {
            Files::None => {}
            Files::In(own_partition, own_segment)
                if (own_partition, own_segment) == (partition, segment) => {}
            Files::In(..) | Files::Elsewhere => {
                let key = Key::IndexBuild(row.build).render();
                self.findings.warning(
                    "index-file-path",
                    &key,
                    format!(
                        "{}: the files for segment {segment} are not in \
                         index_files/{}/<version>/{partition}/{segment}, the only place where Milvus 2.2 \
                         looks: it does not find them, and its garbage collection deletes them. Copy them \
                         there before 2.2 starts, or build the index again",
                        self.indexes.title(row.of_index()),
                        row.build
                    ),
                );
            }
        }
    }

    /// Resolves builds that several segment indexes refer to: the one with the greatest key gets
    /// the build.
    fn resolve_shared(&mut self, rows: &mut Vec<Row>) {
        if self.shared.is_empty() {
            return;
        }
        let mut winners: BTreeMap<BuildId, Vec<u8>> = BTreeMap::new();
        for row in rows.iter().filter(|row| self.shared.contains(&row.build)) {
            let key = self.key(row);
            let winner = winners.entry(row.build).or_default();
            *winner = key.max(std::mem::take(winner));
        }
        rows.retain(|row| {
            let Some(winner) = winners.get(&row.build) else {
                return true;
            };
            let key = self.key(row);
            if key == *winner {
                return true;
            }
            self.findings.warning(
                "shared-build",
                &key,
                format!(
                    "{}: {} has the same build {}, and takes precedence because its key is greater; segment {} is \
                     searched without index until the index is created again",
                    self.indexes.title(row.of_index()),
                    self.findings.name(winner),
                    row.build,
                    row.ids.2
                ),
            );
            false
        });
    }

    /// T4, T5, T17 and T20: reports the segment indexes that are skipped, by index.
    fn report(&mut self) {
        for ((collection, index, reason), (count, key)) in &self.skipped {
            let ids = (*collection, *index);
            let why = match reason {
                Reason::NoIndex if self.indexes.unreferenced.contains_key(&ids) => continue,
                Reason::NoIndex => "no existing collection has this index after the migration",
                Reason::DeletedWithoutBuild => "the index is deleted and their builds are missing",
                Reason::Unreadable => {
                    report_unreadable(self.indexes, ids, *count, key, self.findings);
                    continue;
                }
            };
            self.findings.notice(
                "segment-index-left-out",
                key,
                format!(
                    "{} (first here) of {} {} skipped, because {why}; the backup keeps {}",
                    counted(*count, "segment index"),
                    self.indexes.title(ids),
                    agree(*count, "is", "are"),
                    agree(*count, "it", "them")
                ),
            );
        }
        for (ids, Unreferenced { key, .. }) in &self.indexes.unreferenced {
            let count = self
                .skipped
                .get(&(ids.0, ids.1, Reason::NoIndex))
                .map_or(0, |(count, _)| *count);
            self.findings.notice(
                "unreferenced-index",
                key,
                format!(
                    "no existing collection refers to {}; it is skipped with its {}, and stays in the backup",
                    self.indexes.title(*ids),
                    counted(count, "segment index")
                ),
            );
        }
        self.builds.report_unreferenced(self.findings);
    }
}

/// T17 and T20: reports segment indexes whose files the target cannot read.
fn report_unreadable(
    indexes: &Indexes,
    ids: (CollectionId, IndexId),
    count: u64,
    key: &[u8],
    findings: &mut Findings,
) {
    const ASK: &str = ". Searches are right without them, but slower. Milvus 2.2 does not build them again by \
        itself: release the collection, call create_index with the same index name and parameters, and load \
        the collection";
    const WAIT: &str = ". Searches are right without them, but slower, until Milvus has built them again, \
        which it begins within a minute of its start";
    let index = indexes.written.get(&ids);
    let why = match index.map(|index| (index.support, index.on_vector)) {
        Some((Support::NoMetric, _)) => "the target does not have the metric",
        Some((_, true)) => {
            "Milvus 2.2 returns wrong results for searches on BIN_FLAT files of 2.1, and Milvus 2.3 crashes on the first one"
        }
        _ => {
            "sort index files of this data type from Milvus 2.1 crash the query nodes of later releases"
        }
    };
    let then = match index.map(|index| index.support) {
        Some(Support::Rebuilt { by_itself: false }) => ASK,
        Some(Support::Rebuilt { by_itself: true }) => WAIT,
        Some(Support::Files | Support::NoType | Support::NoMetric) | None => "",
    };
    findings.warning(
        "segment-index-unusable",
        key,
        format!(
            "{}: the definition is migrated, {} (first here) {} skipped and kept in the backup only, because \
             {why}{then}",
            indexes.title(ids),
            counted(count, "segment index"),
            agree(count, "is", "are")
        ),
    );
}

#[cfg(test)]
mod tests;
