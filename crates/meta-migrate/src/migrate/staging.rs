//! Staging: writes the new keys next to the old layout, which stays intact until the commit.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use crate::journal::{Counts, Journal, Phase};
use meta_store::{Op, Store};
use milvus_meta::entry::printable;
use milvus_meta::transform::{Migration, staged_family_ranges};

use super::{Prepared, Run};
use crate::clock::now;
use crate::diff::{Actual, Collector, Diff, compare};
use crate::error::{EngineErrorKind, WriteState};
use crate::fingerprint::{Filter, changed_since};
use crate::limits::Limits;
use crate::throughput::read_back::{Others, ReadBack};
use crate::throughput::staged::{staged, staged_entries};
use crate::throughput::stream::feed;
use crate::throughput::writer::Writer;
use crate::write::Write;

/// The state of the new families when a run resumes.
struct Found {
    /// Positions in the plan of the entries to write, ascending.
    missing: Vec<u64>,
    /// Whether the new families match the plan exactly.
    is_as_planned: bool,
}

impl<S: Store> Run<'_, S> {
    pub(super) fn prepared(&self) -> Result<&Prepared, EngineErrorKind> {
        self.prepared
            .as_ref()
            .ok_or_else(|| EngineErrorKind::Worker("the source was not read".to_owned()))
    }

    pub(super) fn writer(&self) -> Writer<'_, S> {
        self.writer_within(*self.etcd.limits)
    }

    pub(super) fn writer_within(&self, limits: Limits) -> Writer<'_, S> {
        let guards = self.journal_store.guards(&self.fence);
        Writer::new(self.etcd, guards, limits)
    }

    pub(super) async fn record_staging(&mut self) -> Result<(), EngineErrorKind> {
        let options = self.options;
        let prepared = self.prepared()?;
        let now = now();
        let journal = Journal {
            run: self.etcd.run.id.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            source_version: options.source_version.as_ref().map(ToString::to_string),
            target_version: Some(options.transform.target.to_string()),
            collection_form: options.transform.form.to_string(),
            segment_form: options.transform.segment_form.to_string(),
            on_broken_record: options.transform.on_broken_record.to_string(),
            plan_digest: prepared.plan.digest.clone(),
            cluster_id: prepared.cluster_id.clone(),
            capture_revision: prepared.revision,
            staged_since: prepared.revision,
            counts: Counts {
                put: prepared.plan.put,
                rewrite: prepared.plan.rewrite,
                delete: prepared.plan.delete,
                segments: prepared.migration.segment_rewrites(),
            },
            backup: self.backup.clone(),
            keys_expected: prepared.keys_that_stay(),
            started_at: now.clone(),
            updated_at: now,
            ..Journal::empty(&options.root, options.transform.task, Phase::Staging)
        };
        let before = std::mem::replace(&mut self.written, WriteState::Staged);
        let outcome = self.advance(journal).await;
        if outcome.is_err() && !self.journal_store.in_doubt() {
            self.written = before;
        }
        outcome
    }

    /// Advances the journal to `phase`.
    pub(super) async fn record(&mut self, phase: Phase) -> Result<(), EngineErrorKind> {
        let next = self.journal_in(phase)?;
        self.advance(next).await
    }

    pub(super) fn journal_in(&self, phase: Phase) -> Result<Journal, EngineErrorKind> {
        let journal = self.journal_store.journal().cloned();
        let journal =
            journal.ok_or_else(|| EngineErrorKind::Worker("there is no journal".to_owned()))?;
        let next = Journal {
            phase,
            committed_revision: self.journal_store.committed_revision(),
            // In a journal from another etcd cluster the recorded revision is meaningless.
            staged_since: self.journal_store.staged_since(),
            updated_at: now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            backup: self.backup.clone(),
            ..journal
        };
        Ok(match &self.prepared {
            Some(prepared) if !prepared.is_rest => Journal {
                cluster_id: prepared.cluster_id.clone(),
                capture_revision: prepared.revision,
                keys_expected: prepared.keys_that_stay(),
                ..next
            },
            // The rest of a repair was read later than the revision recorded in the journal.
            Some(_) | None => next,
        })
    }

    /// Writes only the journal.
    pub(super) async fn advance(&mut self, next: Journal) -> Result<(), EngineErrorKind> {
        self.advance_with(next, Vec::new()).await
    }

    /// Writes the journal and `ops` in one transaction.
    pub(super) async fn advance_with(
        &mut self,
        next: Journal,
        ops: Vec<Op>,
    ) -> Result<(), EngineErrorKind> {
        let advance = self
            .journal_store
            .advance(&self.fence, next, Vec::new(), ops);
        self.own += advance.await?;
        Ok(())
    }

    /// Writes the new keys; if an earlier run has written some, only the missing ones.
    pub(super) async fn stage(&mut self) -> Result<(), EngineErrorKind> {
        self.written = WriteState::Staged;
        let prepared = self.prepared()?;
        let migration = Arc::clone(&prepared.migration);
        let found = if self.resumed {
            Some(self.find_staged(&migration).await?)
        } else {
            None
        };
        let observer = self.etcd.observer;
        observer.phase_started("stage", Some(prepared.migration.staged_count));
        let written = match found {
            Some(found) => {
                let ops = chosen(migration, found.missing);
                let written = self.writer().run(ops).await;
                written.map(|stats| (stats, found.is_as_planned))
            }
            None => {
                let ops = staged(migration, |put| Op::put(put.key, put.value).into());
                let ranges = staged_family_ranges(self.etcd.root);
                let limits = self.etcd.limits;
                let others = Others::Source(Box::new(self.source_filter()));
                let read_back = ReadBack::new(self.etcd.store, limits, ranges, others);
                read_back.along(self.writer(), ops).await
            }
        };
        observer.phase_finished();
        let (stats, is_read_back) = written?;
        self.own += stats;
        // If `false`, `check_staged` reads again and reports the differences.
        self.is_read_back = is_read_back;
        Ok(())
    }

    /// Compares the keys that an earlier run staged with the plan.
    async fn find_staged(&self, migration: &Arc<Migration>) -> Result<Found, EngineErrorKind> {
        let mut missing = Vec::new();
        let mut is_as_planned = true;
        let mut position = 0;
        let mut lost = None;
        // In a complete staging, keys can only be missing. A different value is from another
        // program, so it is not overwritten.
        let was_whole = self.journal_store.phase() == Some(Phase::Staged);
        self.compare_staged(migration, |diff| {
            match diff {
                Diff::Different { .. } if was_whole => {
                    position += 1;
                    is_as_planned = false;
                }
                Diff::Missing(entry) | Diff::Different { wanted: entry, .. } => {
                    lost.get_or_insert_with(|| printable(&entry.key));
                    missing.push(position);
                    position += 1;
                    is_as_planned = false;
                }
                Diff::Same(_) => position += 1,
                Diff::Extra(_) => is_as_planned = false,
                Diff::Ignored(_) => {}
            }
            Ok(())
        })
        .await?;
        if let Some(first) = lost.filter(|_| was_whole) {
            let missing = missing.len();
            self.etcd.observer.note(&format!(
                "{missing} staged keys are missing, the first is {first}; staging them again. etcd lost them \
                    (3.5.0 to 3.5.2 may when killed), or another program deleted them"
            ));
        }
        Ok(Found {
            missing,
            is_as_planned,
        })
    }

    /// Returns the filter that separates source keys from staged keys.
    fn source_filter(&self) -> Filter {
        self.journal_store.source_filter(self.etcd.root)
    }

    async fn compare_staged(
        &self,
        migration: &Arc<Migration>,
        visit: impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        let filter = self.source_filter();
        let actual = Actual {
            ranges: staged_family_ranges(self.etcd.root),
            revision: self.etcd.newest_revision().await?,
            ignore: &mut |entry| entry.lease != 0 || filter.keeps(entry),
        };
        let expected = staged_entries(Arc::clone(migration));
        compare(self.etcd, expected, actual, visit).await
    }

    /// Reads the new families and collects the differences from the plan.
    pub(super) async fn collect_staged(
        &self,
        migration: &Arc<Migration>,
    ) -> Result<Collector, EngineErrorKind> {
        let mut collector = Collector::default();
        self.compare_staged(migration, |diff| {
            collector.add(&diff);
            Ok(())
        })
        .await?;
        Ok(collector)
    }

    /// Compares the new families with the plan, and checks that no source key changed since the
    /// capture. The read-back during staging is sufficient if no other program wrote since.
    pub(super) async fn check_staged(&mut self) -> Result<(), EngineErrorKind> {
        let observer = self.etcd.observer;
        let prepared = self.prepared()?;
        if self.is_read_back && self.nobody_else_wrote(prepared).await? {
            return Ok(());
        }
        observer.phase_started("check", Some(prepared.migration.staged_count));
        let collected = self.collect_staged(&prepared.migration).await?;
        observer.phase_finished();
        let report = collected.report();
        if !report.ok {
            return Err(EngineErrorKind::StagedDiffers(Box::new(report)));
        }
        let outcome = self.check_source_unchanged(prepared).await;
        self.is_read_back = true;
        outcome
    }

    /// Returns whether only this run's transactions have advanced etcd's revision since the
    /// capture.
    pub(super) async fn nobody_else_wrote(
        &self,
        prepared: &Prepared,
    ) -> Result<bool, EngineErrorKind> {
        let now = self.etcd.newest_revision().await?;
        Ok(self.only_we_wrote(prepared, now))
    }

    /// Like `nobody_else_wrote`, for a known revision.
    pub(super) fn only_we_wrote(&self, prepared: &Prepared, now: i64) -> bool {
        i64::try_from(self.own.txns).is_ok_and(|own| prepared.revision + own == now)
    }

    /// Checks that no source key changed since the capture. Every write advances etcd's revision by
    /// one; if it advanced by more than this run's transactions, the source keys are read again and
    /// compared.
    async fn check_source_unchanged(&self, prepared: &Prepared) -> Result<(), EngineErrorKind> {
        if self.nobody_else_wrote(prepared).await? {
            return Ok(());
        }
        let (filter, revision) = (self.source_filter(), prepared.revision);
        match changed_since(self.etcd, &filter, &prepared.fingerprint, revision).await? {
            None => Ok(()),
            Some(what) => Err(EngineErrorKind::SourceChanged { revision, what }),
        }
    }
}

/// Returns the writes of the new keys at these positions, which are in ascending order.
fn chosen(
    migration: Arc<Migration>,
    positions: Vec<u64>,
) -> Receiver<Result<Vec<Write>, EngineErrorKind>> {
    feed(move |sink| {
        let mut wanted = positions.into_iter().peekable();
        for (position, put) in (0..).zip(migration.staged()) {
            if wanted.next_if_eq(&position).is_some() {
                sink.push(Op::put(put.key, put.value).into())?;
            }
        }
        Ok(())
    })
}
