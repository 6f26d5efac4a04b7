//! Applies a restore: puts, then deletes, then the comparison.

use std::ops::Range;

use crate::journal::{Counts, FORMAT, Journal, MIGRATION_FORMAT, Phase};
use meta_report::{BackupRef, RestoreOutcome, RestoreReport, RunRecord, RunResult};
use meta_store::{Op, Store};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{KeyRange, successor};
use milvus_meta::transform::Task;

use super::desired_entries::DesiredEntries;
use super::gap::{Gap, Source};
use crate::context::Retries;
use crate::context::RunContext;
use crate::context::newest_revision;
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
    pub(super) store: &'a S,
    pub(super) ctx: RunContext<'a>,
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
        let retry_timeout = self.ctx.limits.retry_timeout;
        let keys = planned.put + planned.delete;
        if let Some(warning) = quota.check(keys, gap.put_bytes).await? {
            self.ctx.observer.note(&warning);
        }
        if let Some(entry) = &gap.largest {
            request_limits::check_entry(
                self.store,
                self.ctx.root,
                retry_timeout,
                &entry.key,
                &entry.value,
            )
            .await?;
        }
        self.record(&source, gap.revision).await?;
        let observer = self.ctx.observer;
        observer.phase_started("put", Some(planned.put));
        let Gap {
            image,
            puts,
            deletes,
            revision,
            touched,
            ..
        } = gap;
        let writes = image.stream(chosen(puts));
        let read_back = ReadBack::new(self.store, self.ctx.limits, touched, Others::Any);
        let writer = self.writer(*self.ctx.limits).read_at(revision);
        let written = read_back.along(writer, writes).await;
        observer.phase_finished();
        let (put, is_read_back) = written?;
        let deleted = self.delete(deletes, planned.delete, revision, put).await?;
        // Recorded again after all writes: a comparison with this record proves that none of them
        // was lost.
        self.record(&source, revision).await?;
        // Without a concurrent writer, the state read before and during the writes is still
        // current.
        let ours = i64::try_from(2 + put.txns + deleted.txns).unwrap_or(i64::MAX);
        let (root, limits) = (self.ctx.root, self.ctx.limits);
        let now = newest_revision(self.store, root, limits).await?;
        // Otherwise the comparison reads everything and reports the differences.
        if now != revision.saturating_add(ours) || !is_read_back {
            self.compare(&source, &image).await?;
        }
        let run = RunRecord {
            backup: self.backup.clone(),
            ..history::restored(self.result, self.ctx, &planned)
        };
        let ops = history::adding(self.store, self.ctx, run).await;
        self.journal_store
            .clear(self.store, self.fence, self.ctx.limits, ops)
            .await?;
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
        let recorded = self
            .journal_store
            .advance(
                self.store,
                self.fence,
                self.ctx.limits,
                next,
                Vec::new(),
                Vec::new(),
            )
            .await;
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
        put: WriteStats,
    ) -> Result<WriteStats, EngineErrorKind> {
        let limits = self.ctx.limits.for_deletes(put);
        let observer = self.ctx.observer;
        observer.phase_started("delete", Some(keys));
        let deletes = deletes.into_iter().map(Op::Delete).map(Write::over);
        let writer = self.writer(limits).read_at(revision);
        let stats = writer.write_all(deletes.collect()).await;
        observer.phase_finished();
        stats
    }

    fn writer(&self, limits: Limits) -> Writer<'_, S> {
        Writer::new(
            self.store,
            self.journal_store.guards(self.fence),
            limits,
            self.ctx.stop,
            self.ctx.observer,
        )
    }

    /// Compares etcd with the desired entries, after the server id counter was restored if it was
    /// missing.
    async fn compare(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        let mut retries = Retries::new(self.ctx);
        loop {
            match self.compare_once(source, image).await {
                Err(failure) if retries.again_after(&failure) => {}
                outcome => return outcome,
            }
        }
    }

    async fn compare_once(
        &self,
        source: &Source,
        image: &DesiredEntries,
    ) -> Result<(), EngineErrorKind> {
        let (root, limits) = (self.ctx.root, self.ctx.limits);
        let actual = Actual {
            store: self.store,
            ranges: vec![root.range()],
            revision: newest_revision(self.store, root, limits).await?,
            ignore: &mut |entry| image.ignores(entry),
        };
        let expected = image.stream(|_, entry| Some(entry));
        let mut collector = Collector::default();
        source
            .walk(self.ctx, expected, actual, |diff| {
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
        let base = self
            .journal_store
            .journal()
            .cloned()
            .unwrap_or_else(|| Journal {
                format: MIGRATION_FORMAT,
                meta_root: self.ctx.root.meta_root().to_owned(),
                run: String::new(),
                kind: Task::Migration.name().to_owned(),
                phase: Phase::Restoring,
                tool_version: String::new(),
                source_version: None,
                target_version: None,
                collection_form: String::new(),
                segment_form: String::new(),
                on_broken_record: String::new(),
                plan_digest: String::new(),
                cluster_id: String::new(),
                capture_revision: 0,
                staged_since: 0,
                counts: Counts::default(),
                backup: None,
                committed_revision: 0,
                keep_extra: false,
                families: Vec::new(),
                keys_expected: 0,
                keys_when_done: 0,
                started_at: now.clone(),
                updated_at: String::new(),
            });
        // The migration's revisions are obsolete and may be those of another etcd. Differences from
        // the backup that are newer than this revision are from a concurrent writer.
        Journal {
            format: match source.families.is_empty() {
                true => base.format,
                false => FORMAT,
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
