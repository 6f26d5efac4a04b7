//! Applies a restore: puts, then deletes, then the comparison.

use std::ops::Range;

use crate::journal::{FORMAT, Journal, Phase};
use meta_report::{BackupRef, RestoreOutcome, RestoreReport, RunResult};
use meta_store::{Op, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};
use milvus_meta::transform::Task;

use super::desired_entries::DesiredEntries;
use super::gap::{Gap, Source};
use crate::context::Etcd;
use crate::diff::{Actual, Collector, Diff};
use crate::error::{EngineErrorKind, WriteState};
use crate::fence::Fence;
use crate::history;
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::quota::QuotaCheck;
use crate::request_limits;
use crate::throughput::read_back::{Others, ReadBack};
use crate::throughput::writer::{WriteStats, Writer};
use crate::write::Write;

/// Writes the changes of a restore.
pub(super) struct Restorer<'a, S: Store> {
    pub(super) etcd: Etcd<'a, S>,
    pub(super) fence: &'a Fence<S>,
    pub(super) journal_store: &'a mut JournalStore,
    pub(super) backup: Option<BackupRef>,
    /// The result of the run in the history.
    pub(super) result: RunResult,
    pub(super) written: &'a mut WriteState,
}

impl<S: Store> Restorer<'_, S> {
    /// Records `restoring`, puts, deletes, compares, and deletes the journal.
    pub(super) async fn run(
        &mut self,
        quota: QuotaCheck,
        source: Source,
        gap: Gap,
    ) -> Result<RestoreReport, EngineErrorKind> {
        let planned = gap.planned();
        let Gap {
            image,
            keys,
            revision,
            ..
        } = gap;
        let warning = quota
            .check(planned.put + planned.delete, keys.put_bytes)
            .await?;
        if let Some(warning) = warning {
            self.etcd.observer.note(&warning);
        }
        if let Some(entry) = &keys.largest {
            request_limits::check_entry(self.etcd, &entry.key, &entry.value).await?;
        }
        self.record(&source, revision).await?;
        let observer = self.etcd.observer;
        observer.phase_started("put", Some(planned.put));
        let (puts, touched, deletes) = (keys.puts, keys.touched, keys.deletes);
        let writes = image.stream(chosen(puts));
        let read_back = ReadBack::new(
            self.etcd.store,
            self.etcd.limits,
            touched.into_ranges(),
            Others::Any,
        );
        let writer = self.writer(*self.etcd.limits).read_at(revision);
        let written = read_back.along(writer, writes).await;
        observer.phase_finished();
        let (put, is_read_back) = written?;
        let deleted = self
            .delete(deletes.into_ranges(), planned.delete, revision)
            .await?;
        // Recorded again after all writes: a comparison with this record proves that none of them
        // was lost.
        self.record(&source, revision).await?;
        // Without a concurrent writer, the state read before and during the writes is still
        // current.
        let ours = i64::try_from(2 + put.txns + deleted.txns).unwrap_or(i64::MAX);
        let now = self.etcd.newest_revision().await?;
        // Otherwise the comparison reads everything and reports the differences.
        if now != revision.saturating_add(ours) || !is_read_back {
            self.compare(&source, &image).await?;
        }
        self.finish(planned).await
    }

    /// Records the run in the history and deletes the journal.
    async fn finish(&mut self, planned: RestoreReport) -> Result<RestoreReport, EngineErrorKind> {
        let backup = self.backup.clone();
        let run = history::restored(self.result, self.etcd.ctx, &planned, backup);
        let ops = history::adding(self.etcd, run).await;
        self.journal_store.clear(self.fence, ops).await?;
        Ok(RestoreReport {
            outcome: RestoreOutcome::Restored,
            verified: true,
            ..planned
        })
    }

    /// Writes the journal with phase `restoring`. From then on the restore has started, even if
    /// etcd does not answer.
    async fn record(&mut self, source: &Source, revision: i64) -> Result<(), EngineErrorKind> {
        let next = self.restoring(source, revision);
        let before = std::mem::replace(self.written, WriteState::Restoring);
        let recorded = self.journal_store.record(self.fence, next).await;
        if recorded.is_err() && !self.journal_store.in_doubt() {
            *self.written = before;
        }
        recorded.map(|_| ())
    }

    /// Deletes the keys that are not in the backup.
    async fn delete(
        &self,
        deletes: Vec<KeyRange>,
        keys: u64,
        revision: i64,
    ) -> Result<WriteStats, EngineErrorKind> {
        let limits = self.etcd.limits.for_deletes();
        let observer = self.etcd.observer;
        observer.phase_started("delete", Some(keys));
        let deletes = deletes.into_iter().map(Op::Delete).map(Write::over);
        let writer = self.writer(limits).read_at(revision);
        let stats = writer.write_all(deletes.collect()).await;
        observer.phase_finished();
        stats
    }

    fn writer(&self, limits: Limits) -> Writer<'_, S> {
        Writer::new(self.etcd, self.journal_store.guards(self.fence), limits)
    }

    /// Compares etcd with the desired entries, after the server id counter was restored if it was
    /// missing.
    async fn compare(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        self.etcd
            .at_one_revision(|| self.compare_once(source, image))
            .await
    }

    async fn compare_once(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        let actual = Actual {
            ranges: vec![self.etcd.root.range()],
            revision: self.etcd.newest_revision().await?,
            ignore: &mut |entry| image.ignores(entry),
        };
        let expected = image.stream(|_, entry| Some(entry));
        let mut collector = Collector::default();
        source
            .walk(self.etcd, expected, actual, |diff| {
                if !(source.keep_extra && matches!(diff, Diff::Extra(_))) {
                    collector.add(&diff);
                }
                Ok(())
            })
            .await?;
        let report = collector.report();
        if report.ok {
            Ok(())
        } else {
            Err(EngineErrorKind::Verification(Box::new(report)))
        }
    }

    /// Returns the journal for the restore, which keeps the record of the migration.
    fn restoring(&self, source: &Source, revision: i64) -> Journal {
        let now = crate::clock::now();
        let recorded = self.journal_store.journal().cloned();
        let base = recorded.unwrap_or_else(|| Journal {
            started_at: now.clone(),
            ..Journal::empty(self.etcd.root, Task::Migration, Phase::Restoring)
        });
        // The migration's revisions are obsolete and may be those of another etcd. Differences from
        // the backup that are newer than this revision are from a concurrent writer.
        Journal {
            format: match source.families[..] {
                [] => base.format,
                _ => FORMAT,
            },
            phase: Phase::Restoring,
            cluster_id: self.journal_store.cluster_id().to_owned(),
            capture_revision: revision,
            committed_revision: 0,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            backup: self.backup.clone(),
            keep_extra: source.keep_extra,
            families: source.family_names(),
            updated_at: now,
            ..base
        }
    }
}

/// Returns a closure that creates a put for each entry with a position in the ascending ranges.
fn chosen(puts: Vec<Range<u64>>) -> impl FnMut(u64, Entry) -> Option<Write> {
    let mut runs = puts.into_iter();
    let mut run = runs.next();
    let mut previous_end = None;
    move |position, entry| {
        if run.as_ref().is_some_and(|run| run.end <= position) {
            run = runs.next();
            previous_end = None;
        }
        run.as_ref().filter(|run| run.contains(&position))?;
        let from = previous_end.replace(successor(&entry.key));
        Some(Write::put_behind(from, entry))
    }
}
