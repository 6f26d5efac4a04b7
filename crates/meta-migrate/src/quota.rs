//! The space check: staging adds keys before anything is deleted, so etcd needs space for both
//! layouts and for a rollback.

use std::time::Duration;

use meta_report::EtcdReport;
use meta_store::{ClusterStatus, MemberStatus, Store, StoreError};
use milvus_meta::keys::LogKind;
use milvus_meta::transform::PlanReport;

use crate::background::Background;
use crate::error::{EngineErrorKind, while_doing};
use crate::retry::with_retry;

/// etcd's quota when none is configured: 2 GiB.
pub(crate) const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

/// Bytes in etcd's database file per put, in addition to key and value: revision key, record
/// framing and unused parts of pages. A generous measured value.
const OVERHEAD_PER_KEY_BYTES: u64 = 256;

/// Allowance for requests in flight and for pages that etcd has written but not yet counted.
const MARGIN_BYTES: u64 = 512 << 10;

/// Summarizes the status of the members.
pub(super) fn summarize(status: &ClusterStatus) -> EtcdReport {
    let versions = status.members.iter().map(|member| member.version.clone());
    let largest = |size: fn(&MemberStatus) -> u64| status.members.iter().map(size).max();
    EtcdReport {
        version: versions.min().unwrap_or_default(),
        members: status.members.len(),
        db_size: largest(|member| member.db_size).unwrap_or(0),
        db_size_in_use: largest(|member| member.db_size_in_use).unwrap_or(0),
        quota: status.quota.unwrap_or(QUOTA_DEFAULT_BYTES),
        alarms: status.alarms.clone(),
    }
}

/// A request for etcd's status that runs in the background: a server before 3.6 reports its quota
/// only in its metrics, which take as long as a hundred small reads.
pub(super) struct QuotaCheck(Background<Result<ClusterStatus, StoreError>>);

impl QuotaCheck {
    /// Sends the request.
    pub(super) fn ask<S: Store>(store: &S, retry_timeout: Duration) -> Self {
        let store = store.clone();
        Self(Background::start(async move {
            with_retry(retry_timeout, || store.status()).await
        }))
    }

    /// Fails if there is too little space for the migration of a plan and a rollback after it. Only
    /// a compaction frees deleted keys. Keys already `staged` are not counted again.
    pub(super) async fn check_migration(
        self,
        plan: &PlanReport,
        staged: bool,
        source_bytes: u64,
    ) -> Result<Option<String>, EngineErrorKind> {
        let put = if staged { 0 } else { plan.put };
        let bytes = if staged { 0 } else { plan.bytes_put };
        let changed = plan.rewrite + plan.delete;
        // A rollback restores at most the source and deletes the staged keys.
        let keys = put + changed + changed + plan.put;
        let checked = self.check(keys, bytes + source_bytes).await;
        checked.map_err(|mut failure| {
            // `--segment-form` can avoid these keys.
            if let EngineErrorKind::NoRoom { log_keys, .. } = &mut failure {
                *log_keys = log_keys_of(plan);
            }
            failure
        })
    }

    /// Fails if an alarm is raised or if this many keys and bytes exceed the quota.
    pub(super) async fn check(
        self,
        keys: u64,
        bytes: u64,
    ) -> Result<Option<String>, EngineErrorKind> {
        let status = self.0.outcome().await?;
        check_space(
            &status.map_err(while_doing("reading the status of etcd"))?,
            keys,
            bytes,
        )
    }
}

fn log_keys_of(plan: &PlanReport) -> u64 {
    let names = LogKind::ALL.map(|kind| kind.family().name());
    let families = plan.families.iter();
    let logs = families.filter(|family| names.contains(&family.name.as_str()));
    logs.map(|family| family.put).sum()
}

/// Compares the required space with the quota. If the server does not report its quota, etcd's
/// default only causes a warning: a guess must not stop a cluster that has enough space.
fn check_space(
    status: &ClusterStatus,
    keys: u64,
    bytes: u64,
) -> Result<Option<String>, EngineErrorKind> {
    if !status.alarms.is_empty() {
        return Err(EngineErrorKind::Alarm(status.alarms.clone()));
    }
    let report = summarize(status);
    let needed = estimate(keys, bytes);
    let after = report
        .db_size
        .max(report.db_size_in_use.saturating_add(needed));
    if after < report.quota {
        return Ok(None);
    }
    match status.quota {
        Some(quota) => Err(EngineErrorKind::NoRoom {
            needed,
            in_use: report.db_size_in_use,
            db_size: report.db_size,
            quota,
            log_keys: 0,
        }),
        None => Ok(Some(format!(
            "about {needed} bytes will be added to {} in use; etcd's quota is not available, make sure that it is \
                above the default of {QUOTA_DEFAULT_BYTES} bytes",
            report.db_size_in_use
        ))),
    }
}

/// Returns the bytes that writing these keys adds to the database file. Deleting a key is a write,
/// too.
fn estimate(keys: u64, bytes: u64) -> u64 {
    bytes
        .saturating_add(keys.saturating_mul(OVERHEAD_PER_KEY_BYTES))
        .saturating_add(MARGIN_BYTES)
}
