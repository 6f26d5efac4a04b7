//! Everything before the first write: reads and transforms the source, runs all checks, and
//! completes the backup.

use std::sync::Arc;
use std::time::Instant;

use crate::journal::Phase;
use meta_report::{MigrateOutcome, MigrateReport};
use meta_store::Store;
use milvus_meta::entry::printable;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::KeyRange;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{Migration, Options, PlanReport, Task};

use super::{Run, already, unchanged};
use crate::background::blocking;
use crate::completeness::{has_2_1_run, result_findings};
use crate::context::Etcd;
use crate::error::{EngineErrorKind, agreed};
use crate::fingerprint::{Filter, Fingerprint};
use crate::plan_report::{nothing, plan_of};
use crate::quota::QuotaCheck;
use crate::request_limits::Largest;
use crate::source::{Reading, read_source};
use crate::throughput::backup_job::BackupJob;
use crate::throughput::writer::WriteStats;
use crate::{completeness, layout};

/// The source and its plan.
pub(super) struct Prepared {
    pub(super) migration: Arc<Migration>,
    pub(super) plan: PlanReport,
    pub(super) revision: i64,
    pub(super) cluster_id: String,
    pub(super) fingerprint: Fingerprint,
    /// The old families to delete in the cleanup, split into ranges that can be deleted in one
    /// request.
    pub(super) deletes: Vec<KeyRange>,
    /// Number of source keys, as counted by etcd.
    pub(super) source_keys: u64,
    /// Number of source keys with a lease.
    pub(super) leased_keys: u64,
    /// Whether this is the rest of a repair that was interrupted after its commit.
    pub(super) is_rest: bool,
}

impl Prepared {
    /// Returns the number of keys that exist when the migration is finished.
    pub(super) fn keys_expected(&self) -> Option<u64> {
        (self.source_keys + self.plan.put).checked_sub(self.plan.delete)
    }

    /// Returns the number of keys that remain after every lease has expired; 0 if unknown.
    pub(super) fn keys_that_stay(&self) -> u64 {
        self.keys_expected()
            .unwrap_or(0)
            .saturating_sub(self.leased_keys)
    }
}

impl<S: Store> Run<'_, S> {
    /// Reads, transforms, validates and backs up. Returns a report if there is nothing to do.
    pub(super) async fn prepare(&mut self) -> Result<Option<MigrateReport>, EngineErrorKind> {
        let staged = self.journal_store.is_before_commit();
        let root = self.etcd.root;
        let filter = if staged {
            self.journal_store.source_filter(root)
        } else {
            Filter::all(root)
        };
        // A resumed run makes a new backup: 2.1 may have been started since and have written data
        // that the plan does not show. If nothing changed, the existing file is reused.
        let wanted = self.options.backup.as_ref();
        let options = &self.options.transform;
        let quota = QuotaCheck::ask(self.etcd.store, self.etcd.limits.retry_timeout);
        let mut reading = read_source(self.etcd, &filter, options, wanted).await?;
        self.seconds.read = reading.read_seconds;
        self.seconds.transform = reading.transform_seconds;
        let is_repair = options.task == Task::Repair;
        if !is_repair && let Some(report) = self.check_layout(&mut reading, staged, options).await?
        {
            return Ok(Some(report));
        }
        let plan = self.planned(&filter, &reading, options).await?;
        if is_repair && !staged && reading.migration.is_empty() {
            return Ok(Some(unchanged(
                MigrateOutcome::NothingToRepair,
                self.started,
            )));
        }
        self.compare_with_journal(&plan)?;
        self.check_approved(&plan, &reading.fingerprint)?;
        if let Some(warning) = quota
            .check_migration(&plan, staged, reading.fingerprint.bytes)
            .await?
        {
            self.etcd.observer.note(&warning);
        }
        self.check_fit(&reading.migration).await?;
        if reading.backup.as_ref().is_some_and(BackupJob::has_failed) {
            // Report the failed backup before asking the user for confirmation.
            self.save(&mut reading).await?;
        }
        self.confirm(&plan).await?;
        self.save(&mut reading).await?;
        self.forget_outdated_backup(&reading.fingerprint);
        self.begin_plan(reading, plan, false);
        Ok(None)
    }

    /// Starts to carry out a plan.
    pub(super) fn begin_plan(&mut self, reading: Reading, plan: PlanReport, is_rest: bool) {
        self.prepared = Some(Prepared {
            migration: Arc::new(reading.migration),
            plan,
            revision: reading.read_revision.revision,
            cluster_id: reading.read_revision.cluster_id(),
            fingerprint: reading.fingerprint,
            source_keys: reading.source_keys,
            leased_keys: reading.leased_keys,
            deletes: reading.deletes,
            is_rest,
        });
        self.own = WriteStats::default();
    }

    /// Determines the layout of a reading. Returns a report if there is nothing to do.
    async fn check_layout(
        &mut self,
        reading: &mut Reading,
        staged: bool,
        options: &Options,
    ) -> Result<Option<MigrateReport>, EngineErrorKind> {
        let root = self.etcd.root;
        match reading.layout {
            // The source is intact, and an unfinished run has staged keys next to it.
            layout if staged && layout != Layout::V2_1 => {
                if layout == Layout::V2_2 {
                    reading.layout = Layout::Mixed;
                }
                let plan = plan_of(reading, root, self.journal_store.journal());
                self.compare_with_journal(&plan)?;
            }
            Layout::V2_2 => {
                if self.is_complete(options).await? {
                    return Ok(Some(already(self.backup.clone(), self.started)));
                }
                reading.layout = Layout::Mixed;
            }
            Layout::Empty if !reading.migration.has_errors() => {
                let finding = layout::empty_finding(root);
                self.etcd.observer.note(&finding.message);
                return Ok(Some(unchanged(MigrateOutcome::NothingToDo, self.started)));
            }
            Layout::V2_1 | Layout::Mixed | Layout::Staged | Layout::Empty => {}
        }
        Ok(None)
    }

    /// Returns the plan of a reading.
    ///
    /// # Errors
    /// [`EngineErrorKind::Findings`] if a finding is an error.
    pub(super) async fn planned(
        &self,
        filter: &Filter,
        reading: &Reading,
        options: &Options,
    ) -> Result<PlanReport, EngineErrorKind> {
        let mut plan = plan_of(reading, self.etcd.root, self.journal_store.journal());
        plan.findings
            .extend(result_findings(self.etcd, filter, reading, options).await?);
        plan.findings.sort();
        if plan.findings.iter().any(Finding::is_error) {
            return Err(EngineErrorKind::Findings(Box::new(plan)));
        }
        Ok(plan)
    }

    /// Returns whether the 2.2 metadata is complete; `false` if 2.1 wrote to it since.
    ///
    /// # Errors
    /// [`EngineErrorKind::Findings`] if it is incomplete: this program cannot complete it, and
    /// Milvus must not start on it.
    async fn is_complete(&self, options: &Options) -> Result<bool, EngineErrorKind> {
        let (layout, findings) =
            completeness::check(self.etcd, options, &self.journal_store).await?;
        if has_2_1_run(&findings) {
            return Ok(false);
        }
        refuse_incomplete(self.etcd, layout, findings, options)?;
        Ok(true)
    }

    /// Publishes the backup, if one was requested.
    async fn save(&mut self, reading: &mut Reading) -> Result<(), EngineErrorKind> {
        if let Some(job) = reading.backup.take() {
            let saving = Instant::now();
            let summary = job.finish().await?;
            self.seconds.backup = saving.elapsed().as_secs_f64();
            self.backup = Some(summary.reference());
        }
        Ok(())
    }

    /// Rejects a plan other than the approved one.
    fn check_approved(
        &self,
        plan: &PlanReport,
        source: &Fingerprint,
    ) -> Result<(), EngineErrorKind> {
        match &self.options.approved_plan {
            Some(approved) if !plan.digest.starts_with(approved.as_str()) => {
                Err(EngineErrorKind::PlanNotApproved {
                    approved: approved.clone(),
                    now: plan.digest.clone(),
                    what: format!(
                        "{} new keys, {} rewritten, {} deleted; the newest change in the metadata is {}, written at \
                         revision {}",
                        plan.put,
                        plan.rewrite,
                        plan.delete,
                        printable(&source.newest_key),
                        source.newest_revision
                    ),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Rejects an approved digest that differs from the committed plan in the journal.
    pub(super) fn check_committed_plan(&self) -> Result<(), EngineErrorKind> {
        let journal = self.journal_store.journal();
        let committed =
            journal.filter(|journal| matches!(journal.phase, Phase::Committed | Phase::Tidying));
        match (&self.options.approved_plan, committed) {
            (Some(approved), Some(journal))
                if !journal.plan_digest.starts_with(approved.as_str()) =>
            {
                Err(EngineErrorKind::PlanNotApproved {
                    approved: approved.clone(),
                    now: journal.plan_digest.clone(),
                    what: "that one is committed and not finished".to_owned(),
                })
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Rejects a plan that differs from the one an unfinished run has staged.
    fn compare_with_journal(&self, plan: &PlanReport) -> Result<(), EngineErrorKind> {
        match self.journal_store.journal() {
            Some(journal)
                if journal.phase.is_before_commit() && journal.plan_digest != plan.digest =>
            {
                Err(EngineErrorKind::PlanChanged {
                    recorded: journal.plan_digest.clone(),
                    now: plan.digest.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// With `--no-backup`, drops the backup of an interrupted run unless the source is unchanged: a
    /// rollback to it would lose what 2.1 wrote since.
    fn forget_outdated_backup(&mut self, source: &Fingerprint) {
        let Some(journal) = self.journal_store.journal() else {
            return;
        };
        let unchanged = self.backup.as_ref().is_some_and(|backup| {
            backup.entries == source.keys
                && self.journal_store.check_revisions().is_ok()
                && source.newest_revision <= journal.capture_revision
        });
        if self.options.backup.is_none()
            && journal.phase.is_before_commit()
            && !unchanged
            && let Some(backup) = self.backup.take()
        {
            self.etcd.observer.note(&format!(
                "the metadata changed since {} was written, so it is no backup of this migration",
                backup.path
            ));
        }
    }

    /// Checks before staging that the server accepts the largest entry and the commit.
    async fn check_fit(&self, migration: &Migration) -> Result<(), EngineErrorKind> {
        let backup = self.options.backup.as_ref();
        let path_bytes = backup.map_or(0, |backup| backup.path.as_os_str().len());
        let largest = Largest::of(migration, self.etcd.root, path_bytes);
        largest.check_entry(self.etcd).await?;
        largest.check_commit(self.etcd).await
    }

    async fn confirm(&mut self, plan: &PlanReport) -> Result<(), EngineErrorKind> {
        let asking = Instant::now();
        let (observer, plan) = (Arc::clone(self.etcd.observer), plan.clone());
        let yes = blocking(move || observer.confirm_migration(&plan)).await?;
        self.asked += asking.elapsed();
        agreed(self.etcd.stop, yes)
    }
}

/// Fails if metadata that needs no migration is incomplete; reports its warnings.
pub(super) fn refuse_incomplete<S: Store>(
    etcd: Etcd<'_, S>,
    layout: Layout,
    findings: Vec<Finding>,
    options: &Options,
) -> Result<(), EngineErrorKind> {
    if findings.iter().any(Finding::is_error) {
        let nothing = nothing(layout, options, findings);
        return Err(EngineErrorKind::Findings(Box::new(nothing)));
    }
    for warning in findings
        .iter()
        .filter(|one| one.severity == Severity::Warning)
    {
        etcd.observer.note(&warning.message);
    }
    Ok(())
}
