//! Restores the metadata below the meta root from a backup.
//!
//! First, all of the backup is read, checked, and compared with etcd. Then `restoring` is recorded,
//! keys are put, keys are deleted, the result is read back and compared, and the journal is
//! deleted. After an interruption at any point, the same command finishes the restore.

use std::path::PathBuf;

use crate::journal::Phase;
use meta_backup::Backup;
use meta_report::{BackupRef, DiffReport, RestoreOutcome, RestoreReport, RunResult};
use meta_store::Store;
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::Task;

use crate::background::blocking;
use crate::context::Etcd;
use crate::error::{EngineError, EngineErrorKind, WriteState, agreed};
use crate::fence::{Fence, Waits};
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::quota::QuotaCheck;
use crate::{Environment, history, layout, sessions};

mod apply;
mod data_loss;
mod desired_entries;
mod gap;
mod interrupted;
mod old_root;
mod preconditions;
mod rewriting;
mod unstage;
mod write_ranges;

use apply::Restorer;
use data_loss::DataLoss;
use gap::{Gap, Source};
pub(super) use interrupted::finish_interrupted;
use interrupted::{keeps_extra, since};
use unstage::Staged;

/// Maximum number of keys per family that a dry run reports.
const DIFF_KEYS_MAX: usize = 20;

/// Which command asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreCommand {
    /// Roll back the recorded migration; before its commit this needs no backup.
    Rollback,
    /// Restore any backup.
    Restore,
}

impl RestoreCommand {
    /// Returns the result of the command in the history.
    fn result(self) -> RunResult {
        match self {
            Self::Rollback => RunResult::RolledBack,
            Self::Restore => RunResult::Restored,
        }
    }
}

/// Options of [`restore`].
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The root to restore to.
    pub root: MetaRoot,
    /// Which command asks.
    pub command: RestoreCommand,
    /// Whether Milvus 2.1 will be started on the result; a repair, which started with 2.2, is then
    /// not rolled back.
    pub expects_2_1: bool,
    /// The backup; `None` uses the one in the journal.
    pub backup: Option<PathBuf>,
    /// If set, a backup of any meta root is accepted and its keys are moved to `root`; if a file
    /// contains several instances, the one at this root is restored.
    pub moved_from: Option<MetaRoot>,
    /// Restore only these families; empty for all.
    pub families: Vec<Family>,
    /// Keep keys that are not in the backup.
    pub keep_extra: bool,
    /// Continue although the metadata changed after the migration had finished.
    pub accept_loss: bool,
    /// Only compute the changes; nothing is written, not even the lock.
    pub dry_run: bool,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Rolls a migration back or restores a backup.
///
/// # Errors
/// [`EngineError`] says whether writing had started.
pub async fn restore<S: Store>(
    store: &S,
    options: &RestoreOptions,
    environment: &Environment,
) -> Result<RestoreReport, EngineError> {
    let mut run = Run {
        etcd: environment.etcd(store, &options.root, &options.limits),
        options,
        written: WriteState::Nothing,
        phase: None,
        backup: None,
        diff: None,
        undoes_repair: false,
    };
    let outcome = if options.dry_run {
        run.plan().await
    } else {
        run.execute().await
    };
    let undoes_repair = run.undoes_repair;
    let outcome = outcome.map(|report| RestoreReport {
        undoes_repair,
        ..report
    });
    outcome.map_err(|failure| EngineError {
        failure: Box::new(failure),
        written: run.written,
        phase: run.phase,
        backup: run.backup,
        diff: run.diff.map(Box::new),
    })
}

/// Returns the backup in the journal, if any.
pub async fn recorded_backup<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<Option<BackupRef>, EngineError> {
    // A single key is read: no progress is shown, and nothing is cancelled.
    let environment = Environment::silent();
    let journal_store = JournalStore::load(environment.etcd(store, root, limits))
        .await
        .map_err(EngineError::before_writing)?;
    Ok(journal_store.backup().cloned())
}

/// Returns whether no other program wrote below the meta root since the journal was written.
pub(super) async fn unchanged_since_done<S: Store>(
    etcd: Etcd<'_, S>,
    journal_store: &JournalStore,
) -> Result<bool, EngineErrorKind> {
    let refusal = data_loss::refusal(etcd, journal_store, &[]).await?;
    Ok(refusal.is_none())
}

/// Compares a backup with etcd. The diff lists all keys that a restore would add, change and
/// remove. Nothing is written.
pub async fn diff<S: Store>(
    store: &S,
    root: &MetaRoot,
    backup: PathBuf,
    limits: &Limits,
    environment: &Environment,
) -> Result<DiffReport, EngineError> {
    let etcd = environment.etcd(store, root, limits);
    let compare = async {
        let backup = desired_entries::open(backup, root, None, limits.tolerance).await?;
        let source = Source::new(backup, false).reporting(usize::MAX);
        let found = source.diff(etcd, None, 0, None).await?;
        Ok(found.diff.unwrap_or_default())
    };
    compare.await.map_err(EngineError::before_writing)
}

struct Run<'a, S: Store> {
    etcd: Etcd<'a, S>,
    options: &'a RestoreOptions,
    written: WriteState,
    phase: Option<Phase>,
    backup: Option<BackupRef>,
    /// The changes that a rejected run would have made, if they were computed.
    diff: Option<RestoreReport>,
    /// Whether the journal records a repair.
    undoes_repair: bool,
}

impl<'a, S: Store> Run<'a, S> {
    /// Computes the changes, without the lock and without a write.
    async fn plan(&mut self) -> Result<RestoreReport, EngineErrorKind> {
        let journal_store = self.load().await?;
        if self.discards(&journal_store) {
            return Ok(self.staged(&journal_store).await?.report);
        }
        if self.options.backup.is_none() && self.is_unmigrated(&journal_store).await? {
            return Ok(RestoreReport::default());
        }
        let backup = self.open(&journal_store).await?;
        let (etcd, families) = (self.etcd, &self.options.families);
        let refusal = match self.options.accept_loss {
            true => None,
            false => data_loss::refusal(etcd, &journal_store, families).await?,
        };
        let reference = backup.summary().reference();
        let source = self
            .source(backup, &journal_store)?
            .reporting(DIFF_KEYS_MAX);
        let since = since(&journal_store);
        let diff = source.diff(etcd, None, since, Some(&journal_store)).await?;
        let report = diff.planned();
        self.diff = Some(report.clone());
        self.check_gap(&diff, &reference, &journal_store)?;
        self.backup = Some(reference);
        match refusal {
            Some(refused) if self.options.command == RestoreCommand::Rollback => Err(refused),
            Some(refused) => {
                let note = format!("without --accept-loss this fails: {refused}");
                self.etcd.observer.note(&note);
                Ok(report)
            }
            None => Ok(report),
        }
    }

    async fn execute(&mut self) -> Result<RestoreReport, EngineErrorKind> {
        let etcd = self.etcd;
        let fence = etcd.until_overdue(self.enter()).await?;
        let outcome = etcd.until_overdue(self.run_locked(&fence)).await;
        fence.release().await;
        outcome
    }

    /// Waits for components and other runs, then takes the lock.
    async fn enter(&mut self) -> Result<Fence<S>, EngineErrorKind> {
        let (etcd, waits) = (self.etcd, self.options.waits);
        // An error reports the phase and the backup.
        self.load().await?;
        sessions::wait_until_gone(etcd, waits.sessions).await?;
        Fence::acquire(etcd, waits.lock).await
    }

    /// Deletes the staged keys; the 2.1 metadata is unchanged.
    async fn unstage(
        &mut self,
        fence: &Fence<S>,
        journal_store: &mut JournalStore,
    ) -> Result<RestoreReport, EngineErrorKind> {
        let staged = self.staged(journal_store).await?;
        self.confirm(&staged.report).await?;
        self.written = WriteState::Staged;
        let outcome = unstage::unstage(self.etcd, fence, journal_store, staged).await;
        journal_store.explained(outcome, fence, self.written).await
    }

    async fn run_locked(&mut self, fence: &Fence<S>) -> Result<RestoreReport, EngineErrorKind> {
        let etcd = self.etcd;
        sessions::wait_until_gone(etcd, std::time::Duration::ZERO).await?;
        let mut journal_store = self.load().await?;
        if self.discards(&journal_store) {
            return self.unstage(fence, &mut journal_store).await;
        }
        if self.options.backup.is_none() && self.is_unmigrated(&journal_store).await? {
            return Ok(RestoreReport::default());
        }
        let backup = self.open(&journal_store).await?;
        // A single scan detects losses and computes the changes.
        let losses = match self.options.accept_loss {
            true => None,
            false => DataLoss::new(etcd.root, &journal_store, &self.options.families)?,
        };
        let reference = backup.summary().reference();
        let source = self.source(backup, &journal_store)?;
        let quota = QuotaCheck::ask(self.etcd.store, etcd.limits.retry_timeout);
        let (losses, since) = (losses.as_ref(), since(&journal_store));
        let diff = source
            .diff(etcd, losses, since, Some(&journal_store))
            .await?;
        // At this point, all of the backup has been verified.
        let planned = diff.planned();
        self.diff = Some(planned.clone());
        self.check_gap(&diff, &reference, &journal_store)?;
        self.diff = None;
        self.backup = Some(reference);
        if planned.outcome == RestoreOutcome::Unchanged {
            return self
                .unchanged(fence, journal_store, diff.layout, planned)
                .await;
        }
        self.confirm(&planned).await?;
        let diff = self.as_confirmed(diff, &source, losses).await?;
        let mut restorer = Restorer {
            etcd,
            fence,
            journal_store: &mut journal_store,
            backup: self.backup.clone(),
            result: self.options.command.result(),
            written: &mut self.written,
        };
        let outcome = restorer.run(quota, source, diff).await;
        self.phase = journal_store.phase();
        journal_store.explained(outcome, fence, self.written).await
    }

    /// Returns the backup, restricted to the families and keys that this run restores.
    fn source(
        &self,
        backup: Backup,
        journal_store: &JournalStore,
    ) -> Result<Source, EngineErrorKind> {
        let keep_extra = self.options.keep_extra || keeps_extra(journal_store);
        let families = self.families(journal_store)?;
        Ok(Source::new(backup, keep_extra).only(families))
    }

    /// Finishes a run without changes. If the backup contains the result of the migration, the
    /// migration is in effect and its journal is kept.
    async fn unchanged(
        &mut self,
        fence: &Fence<S>,
        mut journal_store: JournalStore,
        layout: Layout,
        planned: RestoreReport,
    ) -> Result<RestoreReport, EngineErrorKind> {
        if journal_store.phase().is_some() && !self.keeps_journal(layout, &journal_store) {
            self.forget_journal(fence, &mut journal_store, &planned)
                .await?;
        }
        Ok(RestoreReport {
            verified: true,
            ..planned
        })
    }

    /// Deletes the journal of a migration that is already rolled back, and records the run.
    async fn forget_journal(
        &mut self,
        fence: &Fence<S>,
        journal_store: &mut JournalStore,
        planned: &RestoreReport,
    ) -> Result<(), EngineErrorKind> {
        let (etcd, result) = (self.etcd, self.options.command.result());
        let run = history::restored(result, etcd.ctx, planned, self.backup.clone());
        let ops = history::adding(etcd, run).await;
        self.written = WriteState::Restoring;
        let outcome = journal_store.clear(fence, ops).await;
        if !journal_store.in_doubt() {
            self.written = WriteState::Nothing;
        }
        outcome
    }

    /// Returns whether the recorded migration is in effect after a restore of this layout that
    /// changes nothing.
    fn keeps_journal(&self, layout: Layout, journal_store: &JournalStore) -> bool {
        let is_part = !self.options.families.is_empty();
        journal_store.phase() != Some(Phase::Restoring)
            && (is_part || (layout == Layout::V2_2 && !self.undoes_repair))
    }

    async fn load(&mut self) -> Result<JournalStore, EngineErrorKind> {
        let journal_store = JournalStore::load(self.etcd).await?;
        self.phase = journal_store.phase();
        self.undoes_repair = journal_store.task() == Task::Repair;
        self.backup = journal_store.backup().cloned();
        let is_rollback = self.options.command == RestoreCommand::Rollback;
        if is_rollback && self.undoes_repair && self.options.expects_2_1 {
            return Err(EngineErrorKind::Usage(
                "a repair of 2.2 metadata is recorded, and a rollback of it does not return to 2.1. Run \
                 meta-migration rollback without --source-version to return to the 2.2 metadata before the repair; \
                 meta-migration restore restores any backup"
                    .to_owned(),
            ));
        }
        Ok(journal_store)
    }

    /// Returns the keys that unstaging would delete; fails if they include keys that were not
    /// staged.
    async fn staged(&mut self, journal_store: &JournalStore) -> Result<Staged, EngineErrorKind> {
        let reported = self.options.dry_run.then_some(DIFF_KEYS_MAX);
        let staged = unstage::look(self.etcd, journal_store, reported).await?;
        if !self.options.accept_loss {
            self.diff = Some(staged.report.clone());
            staged.check(journal_store)?;
            self.diff = None;
        }
        Ok(staged)
    }

    /// Returns whether this is a rollback before the commit, which only deletes the staged keys.
    fn discards(&self, journal_store: &JournalStore) -> bool {
        self.options.command == RestoreCommand::Rollback && journal_store.is_before_commit()
    }

    /// Returns whether this is 2.1 metadata without a started migration, as for a second rollback.
    async fn is_unmigrated(&self, journal_store: &JournalStore) -> Result<bool, EngineErrorKind> {
        if self.options.command != RestoreCommand::Rollback || journal_store.phase().is_some() {
            return Ok(false);
        }
        Ok(layout::detect(self.etcd, &[]).await? == Layout::V2_1)
    }

    /// Opens the specified backup, or else the one in the journal.
    async fn open(&self, journal_store: &JournalStore) -> Result<Backup, EngineErrorKind> {
        let recorded = journal_store
            .backup()
            .map(|backup| backup.path.clone().into());
        let path: PathBuf = self
            .options
            .backup
            .clone()
            .or(recorded)
            .ok_or(EngineErrorKind::NoBackup)?;
        // An interrupted restore may have been a restore to another root.
        let recorded = self.backup.as_ref().map(|backup| &backup.path);
        let begun = journal_store.phase() == Some(Phase::Restoring)
            && recorded.is_some_and(|recorded| path.as_os_str() == recorded.as_str());
        let moved_from = self.options.moved_from.as_ref();
        let moved_from = moved_from.or(begun.then_some(self.etcd.root));
        let tolerance = self.etcd.limits.tolerance;
        let backup = desired_entries::open(path, self.etcd.root, moved_from, tolerance).await?;
        for note in &backup.summary().notes {
            let path = backup.summary().path.display();
            self.etcd
                .observer
                .note(&format!("the backup {path}: {note}"));
        }
        self.check_missing(&backup)?;
        self.check_families(&backup, journal_store)?;
        match self.options.command {
            RestoreCommand::Rollback => self.check_backup(&backup, journal_store)?,
            RestoreCommand::Restore => self.check_staged(&backup, journal_store)?,
        }
        if let Some(families) = backup.coverage().names() {
            self.etcd.observer.note(&format!(
                "the backup {} holds only a part of the metadata ({}): everything else stays as it is",
                backup.summary().path.display(),
                families.join(", ")
            ));
        }
        Ok(backup)
    }

    /// Returns the current changes: while the run waited for the confirmation, another program may
    /// have written keys that the user did not know about.
    async fn as_confirmed(
        &self,
        confirmed: Gap,
        source: &Source,
        losses: Option<&DataLoss>,
    ) -> Result<Gap, EngineErrorKind> {
        let (etcd, revision) = (self.etcd, confirmed.revision);
        if etcd.newest_revision().await? == revision {
            return Ok(confirmed);
        }
        let diff = source.diff(etcd, losses, revision, None).await?;
        match diff.newer {
            0 => Ok(diff),
            keys => Err(EngineErrorKind::SourceChanged {
                revision,
                what: format!(
                    "{} that the restore would lose {} written after the confirmation",
                    counted(keys, "key"),
                    agree(keys, "was", "were")
                ),
            }),
        }
    }

    async fn confirm(&self, diff: &RestoreReport) -> Result<(), EngineErrorKind> {
        let observer = std::sync::Arc::clone(self.etcd.observer);
        let diff = diff.clone();
        let yes = blocking(move || observer.confirm_restore(&diff)).await?;
        agreed(self.etcd.stop, yes)
    }
}
