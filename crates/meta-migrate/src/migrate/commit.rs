//! The commit and the writes after it. Milvus 2.2 can start once the commit transaction is applied.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::journal::Phase;
use meta_store::{Op, Store, StoreErrorKind};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{Family, KeyRange};
use milvus_meta::transform::{
    Options, Put, Remaining, Task, leftover_ranges, remaining_after_commit,
};

use super::Run;
use crate::commit::{removal_ops, source_compares};
use crate::error::{EngineErrorKind, WriteState, written_at};
use crate::journal_store::journal_options;
use crate::range_delete::plan_deletes;
use crate::restore::finish_interrupted;
use crate::throughput::pages::Pages;
use crate::throughput::stream::feed;
use crate::write::Write;

impl<S: Store> Run<'_, S> {
    /// Finishes an interrupted restore, from the backup that the journal names.
    pub(super) async fn finish_restore(&mut self) -> Result<(), EngineErrorKind> {
        self.written = WriteState::Restoring;
        if let Some(backup) = self.journal_store.backup() {
            let file = &backup.path;
            self.etcd.observer.note(&format!(
                "a restore of {file} was interrupted: finishing it before the migration starts"
            ));
        }
        finish_interrupted(self.etcd, &self.fence, &mut self.journal_store).await?;
        // The restored backup does not contain what is migrated next.
        self.backup = None;
        self.written = WriteState::Restored;
        Ok(())
    }

    /// Commits: one guarded transaction that deletes what 2.2 must not see and records `committed`.
    /// It also writes the snapshots added to an old family if they fit.
    pub(super) async fn commit(&mut self) -> Result<(), EngineErrorKind> {
        let prepared = self.prepared()?;
        let revision = prepared.revision;
        let removals = removal_ops(&prepared.migration);
        let history: Vec<Op> = prepared.migration.history.iter().map(to_op).collect();
        let limits = self.etcd.limits;
        let bytes: usize = removals.iter().chain(&history).map(Op::bytes).sum();
        let room_for_journal = removals.len() + history.len() < limits.txn_ops_max;
        let together = room_for_journal && bytes < limits.txn_bytes_max;
        for (index, with_history) in [together, false].into_iter().enumerate() {
            let mut ops = removals.clone();
            if with_history {
                ops.extend(history.iter().cloned());
            }
            // Every source key that the commit depends on must be unchanged since it was read.
            let compares = source_compares(self.etcd.root, self.options.transform.task, revision);
            let next = self.journal_in(Phase::Committed)?;
            // Set before the request, because the run may be dropped while etcd does not answer.
            let before = std::mem::replace(&mut self.written, WriteState::InDoubt);
            let outcome = self
                .journal_store
                .advance(&self.fence, next, compares, ops)
                .await;
            if outcome.is_err() && !self.journal_store.in_doubt() {
                self.written = before;
            }
            match outcome {
                Err(EngineErrorKind::Store { source, .. })
                    if index == 0
                        && matches!(
                            source.kind,
                            StoreErrorKind::TooManyOps | StoreErrorKind::TooLarge
                        ) => {}
                outcome => {
                    self.own += outcome?;
                    self.history_written = with_history || history.is_empty();
                    break;
                }
            }
        }
        self.written = WriteState::Committed;
        Ok(())
    }

    /// Writes the snapshots added to an old family, unless the commit wrote them.
    pub(super) async fn write_history(&mut self) -> Result<(), EngineErrorKind> {
        if self.history_written {
            return Ok(());
        }
        let (ops, read_at) = match &self.prepared {
            Some(prepared) => {
                let staged = prepared.is_rest.then(|| prepared.migration.staged());
                let staged = staged.into_iter().flatten();
                let staged: Vec<Op> = staged.map(|put| to_op(&put)).collect();
                let history = prepared.migration.history.iter();
                // Newest snapshot first, one at a time: an older one must never be the newest.
                let history = history.rev().map(to_op);
                (
                    staged.into_iter().chain(history).collect(),
                    prepared.revision,
                )
            }
            None => {
                let (remaining, read_at) = self.remaining().await?;
                (remaining.history.iter().map(to_op).collect(), read_at)
            }
        };
        self.write_few(ops, read_at).await
    }

    /// Rewrites records in place. 2.2 reads each collection record either embedded or split, so
    /// every intermediate state is valid.
    pub(super) async fn rewrite(&mut self) -> Result<(), EngineErrorKind> {
        let (ops, read_at) = match &self.prepared {
            Some(prepared) => {
                let rewrites = prepared.migration.rewrites.iter();
                // Plain keys last: they show what an interrupted repair has not rewritten yet.
                (rewrites.rev().map(to_op).collect(), prepared.revision)
            }
            None => {
                let (remaining, read_at) = self.remaining().await?;
                let rewrites = remaining.rewrites.iter().map(to_op);
                let removals = remaining.removals.iter().cloned().map(Op::Delete);
                (rewrites.chain(removals).collect(), read_at)
            }
        };
        self.write_few(ops, read_at).await?;
        self.rewrite_segments().await
    }

    /// Overwrites keys that were read at a revision; fails if one of them has changed since.
    async fn write_few(&mut self, ops: Vec<Op>, read_at: i64) -> Result<(), EngineErrorKind> {
        if ops.is_empty() {
            return Ok(());
        }
        let observer = self.etcd.observer;
        observer.phase_started("rewrite", u64::try_from(ops.len()).ok());
        let writes = ops.into_iter().map(Write::over).collect();
        let limits = match self.options.transform.task {
            Task::Migration => *self.etcd.limits,
            Task::Repair => self.etcd.limits.one_by_one(),
        };
        let writer = self.writer_within(limits).read_at(read_at);
        let stats = writer.write_all(writes).await;
        observer.phase_finished();
        self.own += stats?;
        Ok(())
    }

    /// Returns the remaining rewrites of an interrupted run, derived from the records, and the
    /// revision of the records.
    async fn remaining(&self) -> Result<(Remaining, i64), EngineErrorKind> {
        let root = self.etcd.root;
        let journal = self
            .journal_store
            .journal()
            .ok_or_else(|| EngineErrorKind::Worker("there is no journal".into()))?;
        let Options {
            form,
            on_broken_record,
            ..
        } = journal_options(journal)?;
        let revision = self.etcd.newest_revision().await?;
        let mut entries: Vec<Entry> = Vec::new();
        for family in [Family::Collection, Family::CollectionSnapshot] {
            let range = root.range_below(&family.prefix());
            let mut pages = Pages::begin(self.etcd, range, revision).await?;
            while let Some(page) = pages.next().await? {
                entries.extend(page);
            }
        }
        let remaining = remaining_after_commit(root, form, on_broken_record, &entries);
        if remaining != Remaining::default() {
            self.journal_store.check_revisions()?;
        }
        refuse_newer(&remaining, &entries, journal.capture_revision)?;
        Ok((remaining, revision))
    }

    /// Deletes the families that 2.2 does not read, in bounded ranges. Keys written there after the
    /// capture are in no plan and no backup, so they are kept, even in the middle of a range.
    pub(super) async fn cleanup(&mut self) -> Result<(), EngineErrorKind> {
        const ATTEMPTS_MAX: u32 = 5;
        let mut attempt = 1;
        loop {
            match self.cleanup_once().await {
                Err(EngineErrorKind::SourceChanged { .. }) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn cleanup_once(&mut self) -> Result<(), EngineErrorKind> {
        let limits = self.etcd.limits;
        let known = match &self.prepared {
            // A repair names every key that it deletes.
            Some(prepared) if self.options.transform.task == Task::Repair => {
                Some((prepared.deletes.clone(), prepared.revision))
            }
            Some(prepared) if self.nobody_else_wrote(prepared).await? => {
                Some((prepared.deletes.clone(), prepared.revision))
            }
            Some(_) | None => None,
        };
        let (deletes, read_at) = match known {
            Some(known) => known,
            None => self.remaining_deletes().await?,
        };
        let observer = self.etcd.observer;
        // The commit itself has deleted `own.deleted` keys.
        let planned = self.prepared.as_ref().map(|prepared| prepared.plan.delete);
        let total = planned.and_then(|planned| planned.checked_sub(self.own.deleted));
        observer.phase_started("clean up", total);
        let limits = match self.options.transform.task {
            Task::Migration => limits.for_deletes(),
            // In the planned order.
            Task::Repair => limits.one_by_one(),
        };
        let writer = self.writer_within(limits);
        let chunks = feed(move |sink| {
            let deletes = deletes.into_iter().map(Op::Delete);
            deletes
                .map(Write::over)
                .try_for_each(|write| sink.push(write))
        });
        let stats = writer.read_at(read_at).run(chunks).await;
        observer.phase_finished();
        self.own += stats?;
        Ok(())
    }

    /// Returns the ranges left to delete and the revision at which they were read. Reports newer
    /// keys.
    async fn remaining_deletes(&mut self) -> Result<(Vec<KeyRange>, i64), EngineErrorKind> {
        let ranges = leftover_ranges(self.etcd.root);
        let captured = self.journal_store.capture_revision();
        let trusted = self.journal_store.check_revisions();
        let known = if trusted.is_ok() { captured } else { i64::MAX };
        let found = plan_deletes(self.etcd, &ranges, known).await?;
        if !found.ranges.is_empty() {
            trusted?;
        }
        self.refuse_before_the_commit(&found.newer, captured)?;
        let newer: Vec<_> = found.newer.into_iter().map(|entry| entry.key).collect();
        self.report_left_alone(&newer);
        self.left_alone = newer;
        Ok((found.ranges, found.revision))
    }

    /// Rejects keys written between the capture and the commit: the 2.2 layout does not contain
    /// their changes. A migration does not cover keys newer than the commit.
    fn refuse_before_the_commit(
        &self,
        newer: &[Entry],
        captured: i64,
    ) -> Result<(), EngineErrorKind> {
        let committed = self.journal_store.committed_revision();
        let missed = newer.iter().find(|entry| entry.mod_revision < committed);
        missed.map_or(Ok(()), |entry| {
            Err(EngineErrorKind::SourceChanged {
                revision: captured,
                what: format!("{}, just before the commit", written_at(entry)),
            })
        })
    }

    /// Reports 2.1 keys that a program without a session wrote after the commit.
    pub(super) fn report_left_alone(&self, newer: &[Bytes]) {
        let Some(first) = newer.first() else {
            return;
        };
        self.etcd.observer.note(&format!(
            "keys of the 2.1 layout were written after the commit by a program without a session: {} not changed, \
                the first is {}. Milvus 2.2 does not read them. Make sure that no component of 2.1 runs, inspect them (etcdctl get {}), then delete them",
            newer.len(),
            printable(first),
            printable(first)
        ));
    }
}

/// Rejects a record that was written after the capture and would be rewritten: 2.1 or a user wrote
/// it, so its partitions and fields were never staged, and no backup contains it.
fn refuse_newer(
    remaining: &Remaining,
    entries: &[Entry],
    captured: i64,
) -> Result<(), EngineErrorKind> {
    let rewrites: BTreeSet<&[u8]> = remaining.rewrites.iter().map(|put| &*put.key).collect();
    let changes = |entry: &&Entry| {
        rewrites.contains(&*entry.key)
            || remaining
                .removals
                .iter()
                .any(|range| range.contains(&entry.key))
    };
    let mut newer = entries.iter().filter(|entry| entry.mod_revision > captured);
    match newer.find(changes) {
        None => Ok(()),
        Some(entry) => Err(EngineErrorKind::SourceChanged {
            revision: captured,
            what: format!(
                "{}, in the form of 2.1, and would be rewritten",
                written_at(entry)
            ),
        }),
    }
}

fn to_op(put: &Put) -> Op {
    Op::put(put.key.clone(), put.value.clone())
}
