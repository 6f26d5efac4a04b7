//! Before the first write: the source is read and transformed, everything that could refuse it is asked, and
//! the backup gets its name.

use std::sync::Arc;
use std::time::Instant;

use crate::journal::Phase;
use meta_report::MigrateReport;
use meta_store::Store;
use milvus_meta::entry::printable;
use milvus_meta::finding::Finding;
use milvus_meta::keys::KeyRange;
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;
use milvus_meta::transform::{Migration, Options, Task};

use super::{Run, already, nothing_to_do};
use crate::completeness::{has_2_1_run, result_findings};
use crate::error::{EngineErrorKind, agreed};
use crate::fingerprint::{Filter, Fingerprint};
use crate::plan_report::{nothing, plan_of};
use crate::quota::QuotaCheck;
use crate::request_limits::Largest;
use crate::source::{Reading, read_source};
use crate::throughput::backup_job::BackupJob;
use crate::throughput::writer::WriteStats;
use crate::{completeness, layout};

/// The source and what will be made of it.
pub(super) struct Prepared {
    pub(super) migration: Arc<Migration>,
    pub(super) plan: PlanReport,
    pub(super) revision: i64,
    pub(super) cluster_id: String,
    pub(super) fingerprint: Fingerprint,
    /// The old families that go in the end, cut into ranges that may be deleted at once.
    pub(super) deletes: Vec<KeyRange>,
    /// Keys of the source, counted by etcd.
    pub(super) source_keys: u64,
    /// Those of them that go with a lease.
    pub(super) leased_keys: u64,
    /// Whether it is what an interrupted repair left to do after its commit.
    pub(super) is_rest: bool,
}

impl Prepared {
    /// Keys that exist when the migration is finished.
    pub(super) fn keys_expected(&self) -> Option<u64> {
        (self.source_keys + self.plan.put).checked_sub(self.plan.delete)
    }

    /// Keys that still exist later, when every lease has ended; 0 where it is unknown.
    pub(super) fn keys_that_stay(&self) -> u64 {
        self.keys_expected()
            .unwrap_or(0)
            .saturating_sub(self.leased_keys)
    }
}

impl<S: Store> Run<'_, S> {
    /// Reads, transforms, validates and backs up. Returns a report when there is nothing to do.
    pub(super) async fn prepare(&mut self) -> Result<Option<MigrateReport>, EngineErrorKind> {
        let staged = self
            .journal_store
            .phase()
            .is_some_and(Phase::is_before_commit);
        let root = &self.options.root;
        let filter = if staged {
            self.journal_store.source_filter(root)
        } else {
            Filter::all(root)
        };
        // A resumed run saves again: 2.1 may have been started since, and have written what the plan
        // does not show. Where nothing changed, the file that is there is used again.
        let wanted = self.options.backup.as_ref();
        let options = self.options.transform_options();
        let quota = QuotaCheck::ask(self.store, self.options.limits.retry_timeout);
        let mut reading = read_source(self.store, self.ctx(), &filter, &options, wanted).await?;
        self.seconds.read = reading.read_seconds;
        self.seconds.transform = reading.transform_seconds;
        let is_repair = options.task == Task::Repair;
        if !is_repair
            && let Some(report) = self.check_layout(&mut reading, staged, &options).await?
        {
            return Ok(Some(report));
        }
        let plan = self.planned(&filter, &reading, &options).await?;
        if is_repair && !staged && reading.migration.is_empty() {
            return Ok(Some(self.nothing_to_repair()));
        }
        self.compare_with_journal(&plan)?;
        self.check_approved(&plan, &reading.fingerprint)?;
        if let Some(warning) = quota
            .check_migration(&plan, staged, reading.fingerprint.bytes)
            .await?
        {
            self.environment.observer.note(&warning);
        }
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
            revision: reading.read_revision.revision,
            cluster_id: reading.read_revision.cluster_id(),
            fingerprint: reading.fingerprint,
            source_keys: reading.source_keys,
            leased_keys: reading.leased_keys,
            deletes: reading.deletes,
            is_rest: false,
        });
        self.own = WriteStats::default();
        Ok(None)
    }

    /// Settles the layout that a reading shows. Returns a report when there is nothing to do.
    async fn check_layout(
        &mut self,
        reading: &mut Reading,
        staged: bool,
        options: &Options,
    ) -> Result<Option<MigrateReport>, EngineErrorKind> {
        let root = &self.options.root;
        match reading.layout {
            // What an unfinished run staged is beside an intact source.
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
                self.environment.observer.note(&finding.message);
                return Ok(Some(nothing_to_do(self.started)));
            }
            Layout::V2_1 | Layout::Mixed | Layout::Staged | Layout::Empty => {}
        }
        Ok(None)
    }

    /// Returns the plan of a reading.
    ///
    /// # Errors
    /// [`EngineErrorKind::Findings`] where a finding is an error.
    pub(super) async fn planned(
        &self,
        filter: &Filter,
        reading: &Reading,
        options: &Options,
    ) -> Result<PlanReport, EngineErrorKind> {
        let mut plan = plan_of(reading, &self.options.root, self.journal_store.journal());
        plan.findings
            .extend(result_findings(self.store, self.ctx(), filter, reading, options).await?);
        plan.findings.sort();
        if plan.findings.iter().any(Finding::is_error) {
            return Err(EngineErrorKind::Findings(Box::new(plan)));
        }
        Ok(plan)
    }

    /// Whether 2.2 metadata is complete; `false` where 2.1 wrote to it since.
    ///
    /// # Errors
    /// [`EngineErrorKind::Findings`] where it is not: it is not ours to finish, but Milvus must not start on it.
    async fn is_complete(&self, options: &Options) -> Result<bool, EngineErrorKind> {
        let (layout, findings) =
            completeness::check(self.store, self.ctx(), options, &self.journal_store).await?;
        if has_2_1_run(&findings) {
            return Ok(false);
        }
        refuse_incomplete(layout, findings, options)?;
        Ok(true)
    }

    /// Gives the backup its name, if one was wanted.
    async fn save(&mut self, reading: &mut Reading) -> Result<(), EngineErrorKind> {
        if let Some(job) = reading.backup.take() {
            let saving = Instant::now();
            let summary = job.finish().await?;
            self.seconds.backup = saving.elapsed().as_secs_f64();
            self.backup = Some(summary.reference());
        }
        Ok(())
    }

    /// The plan has to be the one that was approved.
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

    /// The same for a migration that is committed, whose plan the journal has.
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

    /// What an unfinished run staged has to be what would be staged now.
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

    /// An interrupted run's backup that is not made again (`--no-backup`) counts only while the source
    /// is as it was: going back to it would throw away what 2.1 wrote since.
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
            self.environment.observer.note(&format!(
                "the metadata changed since {} was written, so it is no backup of this migration",
                backup.path
            ));
        }
    }

    /// The largest entry and the commit must be what the server takes: after staging it would be late to find out.
    async fn check_fit(&self, migration: &Migration) -> Result<(), EngineErrorKind> {
        let root = &self.options.root;
        let backup = self.options.backup.as_ref();
        let path_bytes = backup.map_or(0, |backup| backup.path.as_os_str().len());
        let largest = Largest::of(migration, root, path_bytes);
        largest
            .check_entry(self.store, root, self.options.limits.retry_timeout)
            .await?;
        largest
            .check_commit(self.store, root, self.options.limits.retry_timeout)
            .await
    }

    async fn confirm(&mut self, plan: &PlanReport) -> Result<(), EngineErrorKind> {
        let asking = Instant::now();
        let (observer, plan) = (Arc::clone(&self.environment.observer), plan.clone());
        let yes = tokio::task::spawn_blocking(move || observer.confirm_migration(&plan))
            .await
            .map_err(|error| EngineErrorKind::Worker(error.to_string()))?;
        self.asked += asking.elapsed();
        agreed(&self.environment.stop, yes)
    }
}

/// Fails where a finding is an error.
pub(super) fn refuse_incomplete(
    layout: Layout,
    findings: Vec<Finding>,
    options: &Options,
) -> Result<(), EngineErrorKind> {
    if findings.iter().any(Finding::is_error) {
        let nothing = nothing(layout, options, findings);
        return Err(EngineErrorKind::Findings(Box::new(nothing)));
    }
    Ok(())
}
