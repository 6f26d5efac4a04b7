//! Detects an interrupted run of the official tool, and load states that 2.1 wrote after a migration.
//!
//! The tool writes segment indexes and load states last. Its result has embedded collections, no
//! journal, and no keys that only a running 2.2 writes. In such metadata, missing records were
//! never written; once 2.2 ran, they may have been released or dropped since.

use std::collections::BTreeSet;

use super::collection::LiveCollections;
use super::index::Indexes;
use super::load::Loads;
use super::segment::Segments;
use crate::codec::v2_1::{self, LoadType};
use crate::keys::{Family, is_tombstone, watched_collection};
use crate::model::{CollectionId, PartitionId};
use crate::plural::{agree, counted};
use crate::transform::Findings;
use crate::transform::MissingCollections;

/// The other records, after everything was read.
#[derive(Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) live: &'a LiveCollections,
    pub(super) segments: &'a Segments,
    pub(super) indexes: &'a Indexes,
    pub(super) loads: &'a Loads,
}

#[derive(Debug, Default)]
pub(super) struct Interrupted {
    /// Whether there are keys that 2.2 writes and the official tool does not.
    was_used: bool,
    loaded: Vec<(CollectionId, LoadType, Vec<PartitionId>)>,
    channels: Vec<CollectionId>,
}

impl Interrupted {
    pub(super) fn push(&mut self, family: Family, relative: &[u8]) {
        self.was_used |= matches!(
            family,
            Family::ChannelCheckpoint
                | Family::ResourceGroup
                | Family::FlushedSegment
                | Family::Database
                | Family::DatabaseCollection
                | Family::DatabaseAlias
                | Family::Partition
                | Family::Field
                | Family::Replica
        );
        if let Some(rest) = Family::ChannelWatch.rest(relative) {
            self.channels.extend(watched_collection(rest));
        }
    }

    pub(super) fn push_load_state(&mut self, value: &[u8]) {
        const LOADED: i64 = 100;
        if is_tombstone(value) {
            return;
        }
        // An unreadable record was not migrated either.
        if let Ok(state) = v2_1::load_state(value)
            && state.load_type != LoadType::Unknown
            && state.percent >= LOADED
        {
            self.loaded
                .push((state.collection, state.load_type, state.partitions));
        }
    }

    pub(super) fn check(
        &self,
        evidence: Evidence<'_>,
        missing: &mut MissingCollections,
        report: &mut Findings,
    ) {
        let live = evidence.live;
        if self.was_used || live.embedded().is_empty() {
            return;
        }
        for (id, ..) in self.loaded.iter().filter(|(id, ..)| !live.is_known(*id)) {
            missing.add_load_state(*id);
        }
        for id in self.channels.iter().filter(|id| !live.is_known(**id)) {
            missing.add_channel(*id);
        }
        self.check_indexes(evidence, report);
        self.check_loads(evidence, report);
    }

    /// Reports collections that 2.1 loaded after a migration, which leaves no load state of 2.1.
    pub(super) fn check_late_loads(
        &self,
        live: &LiveCollections,
        loads: &Loads,
        report: &mut Findings,
    ) {
        let ids = self.loaded.iter().map(|it| it.0);
        let late: BTreeSet<_> = ids
            .filter(|id| live.get(*id).is_some() && !loads.is_loaded(*id))
            .collect();
        if !late.is_empty() {
            let message = format!(
                "a finished migration is recorded, but {} {} loaded since in Milvus 2.1 and {} no load state of 2.2: \
                 {}. Stop Milvus 2.1, then run meta-migration migrate: it names what has to be loaded again",
                counted(late.len(), "collection"),
                agree(late.len(), "was", "were"),
                agree(late.len(), "has", "have"),
                live.names(&late)
            );
            report.error("2.1-ran", b"", message);
        }
    }

    /// The official tool writes index definitions, then segment indexes, then load states. If there
    /// are load states, every index was written, and a flushed segment without one was never
    /// indexed.
    fn check_indexes(&self, evidence: Evidence<'_>, report: &mut Findings) {
        let flushed = evidence.segments.flushed();
        if flushed.is_empty() || evidence.loads.has_any() {
            return;
        }
        if !evidence.indexes.has_segments() {
            let message = format!(
                "there are {} flushed segments, no segment index and no load state: the run of the official tool, \
                 which writes these last, was interrupted, unless no collection had an index. {}. If you know \
                 that no collection had an index, nothing is missing: start Milvus 2.2",
                flushed.len(),
                RESTORE
            );
            report.error("indexes-missing", b"", message);
            return;
        }
        let lacks =
            |(segment, collection): &&(_, _)| evidence.indexes.lacks_index(*segment, *collection);
        let without = flushed.iter().filter(lacks);
        let mut segments = 0;
        let mut collections = BTreeSet::new();
        for (_, collection) in without {
            segments += 1;
            collections.insert(*collection);
        }
        if segments > 0 {
            let names = evidence.live.names(&collections);
            let message = format!(
                "{segments} flushed segments miss an index of their collection ({names}): the run \
                 of the official tool was interrupted, unless these segments were flushed just before 2.1 \
                 stopped. {RESTORE}. If you know that the run ended, nothing is missing: start Milvus 2.2, which \
                 builds these indexes"
            );
            report.error("segment-indexes-missing", b"", message);
        }
    }

    fn check_loads(&self, evidence: Evidence<'_>, report: &mut Findings) {
        let finished = evidence.indexes.has_segments() || evidence.loads.has_any();
        let is_lost = |(id, kind, partitions): &&(CollectionId, LoadType, Vec<PartitionId>)| {
            if !evidence.live.is_known(*id) || evidence.live.get(*id).is_none() {
                return false;
            }
            match kind {
                // The official tool does not load a collection without an index.
                LoadType::Collection => {
                    let expected = evidence.indexes.is_indexed(*id) || !finished;
                    expected && !evidence.loads.has_collection(*id)
                }
                LoadType::Partitions => {
                    let mut partitions = partitions.iter();
                    partitions.any(|partition| !evidence.loads.has_partition(*id, *partition))
                }
                LoadType::Unknown => false,
            }
        };
        let lost: BTreeSet<_> = self.loaded.iter().filter(is_lost).map(|it| it.0).collect();
        if !lost.is_empty() {
            let message = format!(
                "{} {} loaded under 2.1 and {} no load state of 2.2: {}. The official tool \
                 writes it last, so its run was interrupted. {RESTORE}",
                counted(lost.len(), "collection"),
                agree(lost.len(), "was", "were"),
                agree(lost.len(), "has", "have"),
                evidence.live.names(&lost)
            );
            report.error("load-state-missing", b"", message);
        }
    }
}

const RESTORE: &str = "Milvus 2.2 removes the files of indexes that it does not know. Restore the backup from \
                       before that run, then migrate again";
