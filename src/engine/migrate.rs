//! The main job: 2.1 becomes 2.2.
//!
//! Read at one revision, transform, validate, back up, stage, check, commit, rewrite, tidy, verify.
//! [`crate::protocol`] says which step comes next; this module carries steps out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::finding::Finding;
use crate::journal::Phase;
use crate::keys::{KeyRange, MetaRoot};
use crate::protocol::{Forward, Step};
use crate::report::{BackupRef, Layout, MigrateOutcome, MigrateReport, PlanReport, Seconds};
use crate::store::{Op, Store};
use crate::transform::{CollectionForm, Migration, OnBrokenRecord, Options, embedded_finding};
use crate::version::Release;

use super::backup_job::{BackupJob, BackupTarget};
use super::error::{EngineError, Failure, Written};
use super::fence::{Fence, Waits};
use super::fingerprint::{Filter, Fingerprint};
use super::ledger::Ledger;
use super::limits::Limits;
use super::restore::is_as_left;
use super::room::Room;
use super::source::{Reading, Retries, Surroundings, read_source};
use super::writer::Tally;
use super::{Environment, fit, layout, sessions};

mod cut_over;
mod staging;
mod verification;

use cut_over::removal_ops;

/// What to migrate, and how.
#[derive(Debug, Clone)]
pub struct MigrateOptions {
    /// Where the metadata lies.
    pub root: MetaRoot,
    /// The version the operator says is there; checked against the keys.
    pub source_version: Option<Release>,
    /// The version that will be started afterwards.
    pub target_version: Release,
    /// The form in which collections are written.
    pub form: CollectionForm,
    /// What to do with records that cannot be migrated.
    pub on_broken_record: OnBrokenRecord,
    /// Where the backup goes; `None` for no backup.
    pub backup: Option<BackupTarget>,
    /// How long to wait for sessions and the lock.
    pub waits: Waits,
    /// Every other limit.
    pub limits: Limits,
}

impl MigrateOptions {
    fn transform_options(&self) -> Options {
        Options {
            form: self.form,
            on_broken_record: self.on_broken_record,
            target: self.target_version.clone(),
        }
    }
}

/// Migrates, or goes on with an interrupted migration.
///
/// # Errors
/// [`EngineError`] says what was written before it failed.
pub async fn migrate<S: Store>(
    store: &S,
    options: &MigrateOptions,
    environment: &Environment,
) -> Result<MigrateReport, EngineError> {
    let started = Instant::now();
    if !options.target_version.has_2_2_layout() {
        return Ok(nothing_to_do(started));
    }
    let before = |failure| Box::new(EngineError::before_writing(failure));
    let fence = match enter(store, options, environment).await {
        Ok(fence) => fence,
        Err(failure @ (Failure::Sessions(_) | Failure::Locked(_))) => {
            // A migrated cluster that runs is not refused: nothing has to be done to it.
            return match already_migrated(store, options, environment).await {
                Ok(true) => Ok(already(None, started)),
                Ok(false) | Err(_) => {
                    let mut refused = before(failure);
                    if let Ok(ledger) = Ledger::load(store, &options.root, &options.limits).await {
                        refused.phase = ledger.phase();
                        refused.backup =
                            ledger.journal().and_then(|journal| journal.backup.clone());
                    }
                    Err(*refused)
                }
            };
        }
        Err(failure) => return Err(*before(failure)),
    };
    let mut run = match Run::new(store, options, environment, fence, started).await {
        Ok(run) => run,
        Err(failure) => return Err(*before(failure)),
    };
    let outcome = run.carry_out().await;
    let failed = outcome.map_err(|failure| run.error(failure));
    run.fence.release().await;
    failed
}

/// Waits for components and other runs, then takes the lock.
async fn enter<S: Store>(
    store: &S,
    options: &MigrateOptions,
    environment: &Environment,
) -> Result<Fence<S>, Failure> {
    let around = environment.around(&options.root, &options.limits);
    sessions::wait_until_gone(store, around, options.waits.sessions).await?;
    let fence = Fence::acquire(store, around, options.waits.lock).await?;
    // Somebody may have come while we waited for the lock.
    if let Err(failure) = sessions::wait_until_gone(store, around, Duration::ZERO).await {
        fence.release().await;
        return Err(failure);
    }
    Ok(fence)
}

async fn already_migrated<S: Store>(
    store: &S,
    options: &MigrateOptions,
    environment: &Environment,
) -> Result<bool, Failure> {
    let ledger = Ledger::load(store, &options.root, &options.limits).await?;
    if !matches!(ledger.phase(), None | Some(Phase::Done)) {
        return Ok(false);
    }
    let found = layout::detect(store, &options.root, &options.limits, environment).await?;
    Ok(found.layout() == Layout::V2_2)
}

fn nothing_to_do(started: Instant) -> MigrateReport {
    MigrateReport {
        outcome: MigrateOutcome::NothingToDo,
        resumed: false,
        plan: None,
        backup: None,
        verified: false,
        seconds: Seconds {
            total: started.elapsed().as_secs_f64(),
            ..Seconds::default()
        },
    }
}

fn already(backup: Option<BackupRef>, started: Instant) -> MigrateReport {
    MigrateReport {
        outcome: MigrateOutcome::AlreadyMigrated,
        backup,
        ..nothing_to_do(started)
    }
}

/// The source and what will be made of it.
struct Prepared {
    migration: Arc<Migration>,
    plan: PlanReport,
    revision: i64,
    cluster_id: String,
    fingerprint: Fingerprint,
    /// The old families that go in the end, cut into ranges that may be deleted at once.
    deletes: Vec<KeyRange>,
    /// Keys of the source, counted by etcd.
    source_keys: u64,
}

impl Prepared {
    /// Keys that stand there when all is done.
    fn keys_expected(&self) -> Option<u64> {
        (self.source_keys + self.plan.put).checked_sub(self.plan.delete)
    }
}

/// A run that holds the lock.
struct Run<'a, S: Store> {
    store: &'a S,
    options: &'a MigrateOptions,
    environment: &'a Environment,
    fence: Fence<S>,
    ledger: Ledger,
    prepared: Option<Prepared>,
    backup: Option<BackupRef>,
    written: Written,
    resumed: bool,
    verified: bool,
    /// What we wrote since the capture.
    own: Tally,
    /// Whether the commit transaction carried the added snapshots.
    history_written: bool,
    /// Whether the new families were read back since they were staged, and were as planned.
    is_read_back: bool,
    /// How many keys verification found, and the revision at which it did.
    counted: Option<(i64, u64)>,
    seconds: Seconds,
    started: Instant,
}

impl<'a, S: Store> Run<'a, S> {
    async fn new(
        store: &'a S,
        options: &'a MigrateOptions,
        environment: &'a Environment,
        fence: Fence<S>,
        started: Instant,
    ) -> Result<Self, Failure> {
        let ledger = match Ledger::load(store, &options.root, &options.limits).await {
            Ok(ledger) => ledger,
            Err(failure) => {
                fence.release().await;
                return Err(failure);
            }
        };
        Ok(Self {
            store,
            options,
            environment,
            fence,
            backup: ledger.journal().and_then(|journal| journal.backup.clone()),
            resumed: ledger.phase().is_some_and(|phase| phase != Phase::Done),
            ledger,
            prepared: None,
            written: Written::Nothing,
            verified: false,
            own: Tally::default(),
            history_written: false,
            is_read_back: false,
            counted: None,
            seconds: Seconds::default(),
            started,
        })
    }

    fn around(&self) -> Surroundings<'a> {
        self.environment
            .around(&self.options.root, &self.options.limits)
    }

    fn error(&self, failure: Failure) -> EngineError {
        EngineError {
            failure: Box::new(failure),
            written: self.written,
            phase: self.ledger.phase(),
            backup: self.backup.clone(),
            difference: None,
        }
    }

    async fn carry_out(&mut self) -> Result<MigrateReport, Failure> {
        let mut machine = self.begin().await?;
        let mut retries = Retries::new(self.around());
        while machine.step() != Step::Finished {
            if let Some(signal) = self.environment.stop.requested() {
                return Err(Failure::Interrupted(signal));
            }
            let step = machine.step();
            if step.is_before_cut_over()
                && self.prepared.is_none()
                && let Some(report) = self.prepare().await?
            {
                return Ok(report);
            }
            tracing::debug!(?step, "next step");
            match self.take(step).await {
                Ok(()) => machine.completed(),
                // Every step may be carried out twice.
                Err(failure) if retries.again_after(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.report())
    }

    async fn take(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::FinishRestore => self.finish_restore().await,
            Step::RecordStaging => self.record_staging().await,
            Step::Stage => self.stage().await,
            Step::RecordStaged => self.record(Phase::Staged).await,
            Step::CheckStaged => self.check_staged().await,
            Step::Commit => self.commit().await,
            Step::WriteHistory => self.write_history().await,
            Step::Rewrite => self.rewrite().await,
            Step::RecordTidying => self.record(Phase::Tidying).await,
            Step::Tidy => self.tidy().await,
            Step::Verify => self.verify().await,
            Step::RecordDone => self.record_done().await,
            Step::Finished => Ok(()),
        }
    }

    /// Chooses where to go on. A journal that says `done` over keys of 2.1 is left from a migration
    /// that something else has undone: it counts for nothing.
    async fn begin(&mut self) -> Result<Forward, Failure> {
        let phase = self.ledger.phase();
        if phase == Some(Phase::Done) {
            let (root, limits) = (&self.options.root, &self.options.limits);
            let found = layout::detect(self.store, root, limits, self.environment).await?;
            // An embedded collection without index or alias looks the same in both layouts: what nobody
            // wrote since it was done, is done. With keys of both layouts there, preparing refuses and
            // says what was found.
            if matches!(found.layout(), Layout::V2_1 | Layout::Mixed)
                && !is_as_left(self.store, self.around(), &self.ledger).await?
            {
                self.backup = None;
                return Ok(Forward::from_journal(None));
            }
            let options = self.options.transform_options();
            let was_put = self
                .ledger
                .journal()
                .is_some_and(|journal| journal.counts.put > 0);
            let is_gone = was_put && found.layout() == Layout::Empty;
            let gone = is_gone.then(|| layout::gone_finding(root));
            if let Some(finding) = gone.or_else(|| embedded_finding(&found, &options)) {
                let nothing = super::plan::nothing(found.layout(), &options, finding);
                return Err(Failure::Findings(Box::new(nothing)));
            }
        }
        if matches!(phase, Some(Phase::Committed | Phase::Tidying)) {
            self.written = Written::CutOver;
        }
        Ok(Forward::from_journal(phase))
    }

    /// Reads, transforms, validates and backs up. Returns a report when there is nothing to do.
    async fn prepare(&mut self) -> Result<Option<MigrateReport>, Failure> {
        let staged = self.ledger.phase().is_some_and(Phase::is_before_commit);
        let root = &self.options.root;
        let filter = if staged {
            Filter::without_staged(root)
        } else {
            Filter::all(root)
        };
        // A resumed run saves again: 2.1 may have been started since, and have written what the plan
        // does not show. Where nothing changed, the file that is there is used again.
        let wanted = self.options.backup.as_ref();
        let options = self.options.transform_options();
        let room = Room::ask(self.store, self.options.limits.patience);
        let mut reading =
            read_source(self.store, self.around(), (&filter, &options), wanted).await?;
        self.seconds.read = reading.read_seconds;
        self.seconds.transform = reading.transform_seconds;
        match reading.layout {
            // What an unfinished run staged stands beside a source that is whole.
            layout if staged && layout != Layout::V2_1 => {
                let plan = plan_of(&reading, root);
                self.compare_with_journal(&plan)?;
            }
            Layout::V2_2 if !reading.migration.has_errors() => {
                self.look_at_foreign_result().await?;
                return Ok(Some(already(self.backup.clone(), self.started)));
            }
            Layout::Empty if !reading.migration.has_errors() => {
                let finding = layout::empty_finding(root);
                self.environment.observer.note(&finding.message);
                return Ok(Some(nothing_to_do(self.started)));
            }
            Layout::V2_1 | Layout::Mixed | Layout::Staged | Layout::V2_2 | Layout::Empty => {}
        }
        let plan = plan_of(&reading, root);
        let bad = plan.findings.iter().any(Finding::is_error);
        if bad {
            return Err(Failure::Findings(Box::new(plan)));
        }
        self.compare_with_journal(&plan)?;
        self.check_room(room, &plan, staged).await?;
        self.check_fit(&reading.migration).await?;
        if reading.backup.as_ref().is_some_and(BackupJob::has_failed) {
            // Nobody is asked about what will not be done.
            self.save(&mut reading).await?;
        }
        self.confirm(&plan).await?;
        self.save(&mut reading).await?;
        self.forget_outdated_backup(&reading.fingerprint);
        self.prepared = Some(Prepared {
            migration: Arc::new(reading.migration),
            plan,
            revision: reading.moment.revision,
            cluster_id: reading.moment.cluster_id(),
            fingerprint: reading.fingerprint,
            source_keys: reading.source_keys,
            deletes: reading.deletes,
        });
        self.own = Tally::default();
        Ok(None)
    }

    /// Gives the backup its name, if one was wanted.
    async fn save(&mut self, reading: &mut Reading) -> Result<(), Failure> {
        if let Some(job) = reading.backup.take() {
            let saving = Instant::now();
            let summary = job.finish().await?;
            self.seconds.backup = saving.elapsed().as_secs_f64();
            self.backup = Some(summary.reference());
        }
        Ok(())
    }

    /// What an unfinished run staged has to be what would be staged now.
    fn compare_with_journal(&self, plan: &PlanReport) -> Result<(), Failure> {
        match self.ledger.journal() {
            Some(journal)
                if journal.phase.is_before_commit() && journal.plan_digest != plan.digest =>
            {
                Err(Failure::PlanChanged {
                    recorded: journal.plan_digest.clone(),
                    now: plan.digest.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// An interrupted run's backup that is not made again (`--no-backup`) counts only while the source
    /// is as it was: going back to it would throw away what 2.1 wrote since.
    fn forget_outdated_backup(&mut self, source: &Fingerprint) {
        let Some(journal) = self.ledger.journal() else {
            return;
        };
        let unchanged = self.backup.as_ref().is_some_and(|backup| {
            backup.entries == source.keys
                && self.ledger.check_revisions().is_ok()
                && source.newest_revision <= journal.capture_revision
        });
        if self.options.backup.is_none()
            && journal.phase.is_before_commit()
            && !unchanged
            && let Some(backup) = self.backup.take()
        {
            self.environment.observer.note(&format!(
                "the metadata changed since {} was written, so it is no backup of this migration",
                backup.path
            ));
        }
    }

    async fn check_room(&self, room: Room, plan: &PlanReport, staged: bool) -> Result<(), Failure> {
        // Of what was staged before most is there already.
        let put = if staged { 0 } else { plan.put };
        let bytes = if staged { 0 } else { plan.bytes_put };
        let needed = (put + plan.rewrite + plan.delete, bytes);
        if let Some(warning) = room.check(needed).await? {
            self.environment.observer.note(&warning);
        }
        Ok(())
    }

    /// The largest entry and the switch have to be what the server takes: after staging it would be late
    /// to find out.
    async fn check_fit(&self, migration: &Migration) -> Result<(), Failure> {
        let patience = self.options.limits.patience;
        if let Some(put) = migration.largest() {
            let entry = (put.key.as_slice(), put.value.as_slice());
            fit::entry(self.store, &self.fence, patience, entry).await?;
        }
        let mut ops = removal_ops(migration);
        // In the place of the journal's put, whose value does not matter here.
        let journal = KeyRange::single(self.options.root.journal_key());
        ops.push(Op::Delete(journal));
        fit::switch(self.store, &self.fence, patience, (Vec::new(), ops)).await
    }

    async fn confirm(&self, plan: &PlanReport) -> Result<(), Failure> {
        let (observer, plan) = (Arc::clone(&self.environment.observer), plan.clone());
        let yes = tokio::task::spawn_blocking(move || observer.confirm_migration(&plan))
            .await
            .map_err(|error| Failure::Worker(error.to_string()))?;
        self.environment.stop.agreed(yes)
    }

    fn report(&self) -> MigrateReport {
        let seconds = Seconds {
            total: self.started.elapsed().as_secs_f64(),
            ..self.seconds
        };
        if self.written == Written::Nothing && !self.resumed {
            return MigrateReport {
                seconds,
                ..already(self.backup.clone(), self.started)
            };
        }
        MigrateReport {
            outcome: MigrateOutcome::Migrated,
            resumed: self.resumed,
            plan: self.prepared.as_ref().map(|prepared| prepared.plan.clone()),
            backup: self.backup.clone(),
            verified: self.verified,
            seconds,
        }
    }
}

/// The plan of a reading; a mixed layout is an error finding in it.
pub(super) fn plan_of(reading: &Reading, root: &MetaRoot) -> PlanReport {
    let mut plan = reading
        .migration
        .plan(reading.layout, reading.moment.revision);
    let finding = match reading.layout {
        Layout::Mixed => Some(layout::mixed_finding(&reading.evidence)),
        Layout::Empty if !reading.migration.has_errors() => Some(layout::empty_finding(root)),
        Layout::V2_1 | Layout::V2_2 | Layout::Staged | Layout::Empty => None,
    };
    plan.findings.extend(finding);
    plan.findings.sort();
    plan
}
