//! Reads the state of the metadata in etcd through Jobs, and waits until it cannot change.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, StageError, fail};
use crate::job_kind::JobKind;
use crate::preflight::{check_metadata, is_restoring};
use crate::stage::is_for_old;
use meta_report::StatusReport;
use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;

/// How often a lock in etcd is checked, and how late its lease may expire.
const LOCK_PAUSE: Duration = Duration::from_secs(10);
const LOCK_GRACE: Duration = Duration::from_secs(2);

impl Driver<'_> {
    /// Tests image, volume and etcd with a read-only Job, while Milvus still runs.
    pub(super) async fn probe(&mut self) -> Result<Layout, StageError> {
        let status = self.status().await?;
        let runs = !self.running_deployments().await?.is_empty();
        let mut findings = check_metadata(&status, &self.state.etcd, &self.state.accepted, runs);
        findings.retain(Finding::is_error);
        if !findings.is_empty() {
            let errors: Vec<String> = findings.into_iter().map(|one| one.message).collect();
            return fail(errors.join("; "));
        }
        self.state.layout_before = Some(status.layout);
        Ok(self.report_layout(status.layout))
    }

    /// Reads the layout after all Jobs that write have ended.
    pub(super) async fn check_layout(&mut self) -> Result<Layout, StageError> {
        self.end_writers().await?;
        let status = self.unlocked_status().await?;
        if is_restoring(&status) {
            return fail("a restore of the metadata is unfinished: no release is started on it");
        }
        Ok(self.report_layout(status.layout))
    }

    fn report_layout(&self, layout: Layout) -> Layout {
        self.observer
            .message(&format!("the metadata is {}", layout.name()));
        layout
    }

    pub(super) async fn status(&mut self) -> Result<StatusReport, StageError> {
        let report = self.report(JobKind::Status).await?;
        report.ok_or_else(|| StageError::Failed("the status Job printed no report".to_owned()))
    }

    /// Reads the metadata's status once the migration lock is free: during a migration it says
    /// nothing. The lock of a dead migration expires within its TTL, that of a live one does not.
    pub(super) async fn unlocked_status(&mut self) -> Result<StatusReport, StageError> {
        let begun = Instant::now();
        let mut end = None;
        loop {
            let status = self.status().await?;
            let Some(lock) = &status.lock else {
                return Ok(status);
            };
            let reported = format!("another migration holds the lock {}", lock.key);
            let ttl = Duration::from_secs(lock.ttl.max(0).unsigned_abs()) + LOCK_GRACE;
            let end = *end.get_or_insert(begun + ttl.min(self.limit));
            if lock.lease == 0 || Instant::now() >= end {
                return Err(StageError::Undecided(reported));
            }
            self.observer.message(&format!("waiting: {reported}"));
            let pause = ttl.min(LOCK_PAUSE);
            tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Fails if the metadata was migrated while the old release became healthy, which takes minutes.
    pub(super) async fn require_old_metadata(&mut self) -> Result<(), StageError> {
        let status = self.status().await?;
        if self.is_intact(&status) {
            return Ok(());
        }
        fail(format!(
            "the old release was started and the metadata is {} now: stop Milvus before it writes more",
            status.layout.name()
        ))
    }

    /// Whether the metadata is that of the old release, possibly with staged keys next to it.
    pub(super) fn is_intact(&self, status: &StatusReport) -> bool {
        let (layout, before) = (status.layout, self.state.layout_before);
        let is_old = layout == Layout::Staged || is_for_old(layout, before);
        is_old && !is_restoring(status)
    }
}
