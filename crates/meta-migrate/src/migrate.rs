//! Migrates 2.1 metadata to the 2.2 layout.
//!
//! The steps: read at one revision, transform, validate, back up, stage, check, commit, rewrite,
//! clean up, verify. [`crate::protocol`] decides which step comes next; this module executes the
//! steps.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::journal::Phase;
use crate::protocol::{Forward, Step};
use meta_report::{BackupRef, MigrateOutcome, MigrateReport, Seconds};
use meta_store::Store;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::release::Release;
use milvus_meta::transform::{Options, Task};

use crate::completeness::{self, context_of, has_2_1_run, is_form, survey};
use crate::context::{Etcd, Retries};
use crate::error::{EngineError, EngineErrorKind, WriteState};
use crate::fence::{Fence, Waits};
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::restore::unchanged_since_done;
use crate::throughput::backup_job::BackupTarget;
use crate::throughput::writer::WriteStats;
use crate::{Environment, layout, sessions};

mod commit;
mod preparation;
mod repair;
mod segments;
mod staging;
mod verification;

use preparation::{Prepared, refuse_incomplete};

/// Options of [`migrate`].
#[derive(Debug, Clone)]
pub struct MigrateOptions {
    /// What is made of the metadata, and for which release.
    pub transform: Options,
    /// The location of the metadata.
    pub root: MetaRoot,
    /// The source version that the operator specified; checked against the keys.
    pub source_version: Option<Release>,
    /// The digest of the approved plan, or a prefix of it; `None` accepts any plan.
    pub approved_plan: Option<String>,
    /// The backup to write; `None` for no backup.
    pub backup: Option<BackupTarget>,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

/// Migrates, or resumes an interrupted migration.
///
/// # Errors
/// [`EngineError`] says what was written before it failed.
pub async fn migrate<S: Store>(
    store: &S,
    options: &MigrateOptions,
    environment: &Environment,
) -> Result<MigrateReport, EngineError> {
    let started = Instant::now();
    if !options.transform.target.has_2_2_layout() {
        return Ok(unchanged(MigrateOutcome::NothingToDo, started));
    }
    let etcd = environment.etcd(store, &options.root, &options.limits);
    let fence = match etcd.until_overdue(enter(etcd, options)).await {
        Ok(fence) => fence,
        Err(failure) => return not_entered(etcd, options, failure, started).await,
    };
    let mut run = Run::new(etcd, options, fence, started)
        .await
        .map_err(EngineError::before_writing)?;
    let outcome = etcd.until_overdue(run.carry_out()).await;
    let outcome = run
        .journal_store
        .explained(outcome, &run.fence, run.written)
        .await;
    let outcome = outcome.map_err(|failure| run.error(failure));
    run.fence.release().await;
    outcome
}

/// Returns the result of a run that did not get the lock: metadata that is already migrated needs no
/// run, even if Milvus uses it; otherwise the error, with the recorded phase and backup.
async fn not_entered<S: Store>(
    etcd: Etcd<'_, S>,
    options: &MigrateOptions,
    mut failure: EngineErrorKind,
    started: Instant,
) -> Result<MigrateReport, EngineError> {
    if options.transform.task == Task::Migration && matches!(failure, EngineErrorKind::Sessions(_))
    {
        match already_migrated(etcd, options).await {
            Ok(true) => return Ok(already(None, started)),
            Err(incomplete @ (EngineErrorKind::Findings(_) | EngineErrorKind::Locked(_))) => {
                failure = incomplete;
            }
            Ok(false) | Err(_) => {}
        }
    }
    let is_rejected = matches!(
        failure,
        EngineErrorKind::Sessions(_) | EngineErrorKind::Locked(_)
    );
    let mut error = EngineError::before_writing(failure);
    if is_rejected && let Ok(journal_store) = JournalStore::load(etcd).await {
        error.phase = journal_store.phase();
        error.backup = journal_store.backup().cloned();
    }
    Err(error)
}

/// Waits for components and other runs, then takes the lock.
async fn enter<S: Store>(
    etcd: Etcd<'_, S>,
    options: &MigrateOptions,
) -> Result<Fence<S>, EngineErrorKind> {
    sessions::wait_until_gone(etcd, options.waits.sessions).await?;
    let fence = Fence::acquire(etcd, options.waits.lock).await?;
    // A component may have registered while this run waited for the lock.
    if let Err(failure) = sessions::wait_until_gone(etcd, Duration::ZERO).await {
        fence.release().await;
        return Err(failure);
    }
    Ok(fence)
}

/// Returns whether etcd has complete 2.2 metadata and no run is working on it.
async fn already_migrated<S: Store>(
    etcd: Etcd<'_, S>,
    options: &MigrateOptions,
) -> Result<bool, EngineErrorKind> {
    let journal_store = JournalStore::load(etcd).await?;
    if !matches!(journal_store.phase(), None | Some(Phase::Done)) {
        return Ok(false);
    }
    if let Some(holder) = sessions::lock_holder(etcd).await? {
        return Err(EngineErrorKind::Locked(holder));
    }
    let wanted = &options.transform;
    let (layout, findings) = completeness::check(etcd, wanted, &journal_store).await?;
    if layout != Layout::V2_2 {
        return Ok(false);
    }
    refuse_incomplete(etcd, layout, findings, wanted)?;
    Ok(true)
}

/// Returns the report of a run that changed nothing.
fn unchanged(outcome: MigrateOutcome, started: Instant) -> MigrateReport {
    let mut report = MigrateReport::unchanged(outcome);
    report.seconds.total = started.elapsed().as_secs_f64();
    report
}

fn already(backup: Option<BackupRef>, started: Instant) -> MigrateReport {
    MigrateReport {
        backup,
        ..unchanged(MigrateOutcome::AlreadyMigrated, started)
    }
}

/// A run that holds the lock.
struct Run<'a, S: Store> {
    etcd: Etcd<'a, S>,
    options: &'a MigrateOptions,
    fence: Fence<S>,
    journal_store: JournalStore,
    prepared: Option<Prepared>,
    backup: Option<BackupRef>,
    written: WriteState,
    resumed: bool,
    verified: bool,
    /// What this run wrote since it read the source.
    own: WriteStats,
    /// Whether the commit transaction carried the added snapshots.
    history_written: bool,
    /// Whether the new families were read back after staging and matched the plan.
    is_read_back: bool,
    /// Keys in the deleted 2.1 families that were written after the capture; they are kept.
    left_alone: Vec<Bytes>,
    /// The revision of the verification, and the number of keys that it found.
    counted: Option<(i64, u64)>,
    seconds: Seconds,
    started: Instant,
    /// How long the run waited for the user's confirmation.
    asked: Duration,
}

impl<'a, S: Store> Run<'a, S> {
    async fn new(
        etcd: Etcd<'a, S>,
        options: &'a MigrateOptions,
        fence: Fence<S>,
        started: Instant,
    ) -> Result<Self, EngineErrorKind> {
        let journal_store = match JournalStore::load(etcd).await {
            Ok(journal_store) => journal_store,
            Err(failure) => {
                fence.release().await;
                return Err(failure);
            }
        };
        let phase = journal_store.phase();
        Ok(Self {
            etcd,
            options,
            fence,
            backup: journal_store.backup().cloned(),
            resumed: phase.is_some_and(|phase| phase != Phase::Done),
            journal_store,
            prepared: None,
            written: WriteState::Nothing,
            verified: false,
            own: WriteStats::default(),
            history_written: false,
            is_read_back: false,
            left_alone: Vec::new(),
            counted: None,
            seconds: Seconds::default(),
            started,
            asked: Duration::ZERO,
        })
    }

    fn error(&self, failure: EngineErrorKind) -> EngineError {
        EngineError {
            failure: Box::new(failure),
            written: self.written,
            phase: self.journal_store.phase(),
            backup: self.backup.clone(),
            diff: None,
        }
    }

    async fn carry_out(&mut self) -> Result<MigrateReport, EngineErrorKind> {
        let mut machine = self.begin().await?;
        let mut retries = Retries::new(self.etcd.ctx);
        while machine.step() != Step::Finished {
            if let Some(signal) = self.etcd.stop.requested() {
                return Err(EngineErrorKind::Interrupted(signal));
            }
            let step = machine.step();
            if step.is_before_commit()
                && self.prepared.is_none()
                && let Some(report) = self.prepare().await?
            {
                return Ok(report);
            }
            if self.options.transform.task == Task::Repair
                && self.prepared.is_none()
                && step.is_writing_after_commit()
            {
                self.prepare_rest().await?;
            }
            tracing::debug!(?step, "next step");
            let started = Instant::now();
            let outcome = self.execute(step).await;
            self.count_seconds(step, started.elapsed().as_secs_f64());
            match outcome {
                Ok(()) => machine.completed(),
                // Every step is idempotent.
                Err(failure) if retries.again_after(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.report())
    }

    fn count_seconds(&mut self, step: Step, seconds: f64) {
        match step {
            Step::Stage | Step::Commit | Step::WriteHistory | Step::Rewrite | Step::Cleanup => {
                self.seconds.write += seconds;
            }
            Step::CheckStaged | Step::Verify => self.seconds.verify += seconds,
            Step::FinishRestore
            | Step::RecordStaging
            | Step::RecordStaged
            | Step::RecordCleanup
            | Step::RecordCleanupEnd
            | Step::RecordDone
            | Step::Finished => {}
        }
    }

    async fn execute(&mut self, step: Step) -> Result<(), EngineErrorKind> {
        match step {
            Step::FinishRestore => self.finish_restore().await,
            Step::RecordStaging => self.record_staging().await,
            Step::Stage => self.stage().await,
            Step::RecordStaged => self.record(Phase::Staged).await,
            Step::CheckStaged => self.check_staged().await,
            Step::Commit => self.commit().await,
            Step::WriteHistory => self.write_history().await,
            Step::Rewrite => self.rewrite().await,
            Step::RecordCleanup | Step::RecordCleanupEnd => self.record(Phase::Tidying).await,
            Step::Cleanup => self.cleanup().await,
            Step::Verify => self.verify().await,
            Step::RecordDone => self.record_done().await,
            Step::Finished => Ok(()),
        }
    }

    /// Chooses the step to continue with. A journal in phase `done` is ignored if etcd has 2.1 keys
    /// again: another program has undone that migration.
    async fn begin(&mut self) -> Result<Forward, EngineErrorKind> {
        let phase = self.journal_store.phase();
        self.journal_store.check_task(self.options.transform.task)?;
        self.check_committed_plan()?;
        if self.options.transform.task == Task::Repair {
            return Ok(self.begin_repair(phase));
        }
        if phase == Some(Phase::Done) {
            let root = self.etcd.root;
            let options = &self.options.transform;
            let context = context_of(options, self.journal_store.journal());
            let found = survey(self.etcd, context).await?;
            let shown = found.detector.layout();
            let unchanged = unchanged_since_done(self.etcd, &self.journal_store).await?;
            // An embedded collection without index or alias looks the same in both layouts, so
            // metadata that was not written to since the migration counts as migrated. Keys in both
            // layouts are left to `prepare`.
            let is_newer =
                matches!(shown, Layout::V2_1 | Layout::Mixed) || has_2_1_run(&found.checked);
            if is_newer && !unchanged {
                self.backup = None;
                return Ok(Forward::from_journal(None));
            }
            let was_put = self
                .journal_store
                .journal()
                .is_some_and(|journal| journal.counts.put > 0);
            let mut findings = found.checked;
            if was_put && shown == Layout::Empty {
                findings.push(layout::gone_finding(root));
            } else if unchanged {
                // Problems of the source were reported when it was migrated.
                findings.retain(is_form);
            }
            refuse_incomplete(self.etcd, shown, findings, options)?;
        }
        if matches!(phase, Some(Phase::Committed | Phase::Tidying)) {
            self.written = WriteState::Committed;
        }
        Ok(Forward::from_journal(phase))
    }

    fn report(&self) -> MigrateReport {
        let seconds = Seconds {
            total: (self.started.elapsed() - self.asked).as_secs_f64(),
            ..self.seconds
        };
        if self.written == WriteState::Nothing && !self.resumed {
            return MigrateReport {
                seconds,
                ..already(self.backup.clone(), self.started)
            };
        }
        MigrateReport {
            outcome: match self.options.transform.task {
                Task::Migration => MigrateOutcome::Migrated,
                Task::Repair => MigrateOutcome::Repaired,
            },
            resumed: self.resumed,
            plan: self.prepared.as_ref().map(|prepared| prepared.plan.clone()),
            backup: self.backup.clone(),
            verified: self.verified,
            seconds,
        }
    }
}
