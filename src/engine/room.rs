//! Room: staging adds keys before anything is deleted, so etcd needs space for both layouts.

use std::time::Duration;

use crate::report::EtcdReport;
use crate::store::{ClusterStatus, Store};

use super::error::{Failure, while_doing};
use super::patience::patiently;

/// etcd's quota when none is configured: 2 GiB.
pub const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

/// What a put costs in etcd's database file beside its key and value: revision key, record framing
/// and the unused part of pages. Measured generously.
const OVERHEAD_PER_KEY_BYTES: u64 = 256;

/// Sums up what the members say.
pub(super) fn summarize(status: &ClusterStatus) -> EtcdReport {
    let versions = status.members.iter().map(|member| member.version.clone());
    EtcdReport {
        version: versions.min().unwrap_or_default(),
        members: status.members.len(),
        db_size: status
            .members
            .iter()
            .map(|member| member.db_size)
            .max()
            .unwrap_or(0),
        db_size_in_use: status
            .members
            .iter()
            .map(|member| member.db_size_in_use)
            .max()
            .unwrap_or(0),
        quota: status.quota.unwrap_or(QUOTA_DEFAULT_BYTES),
        alarms: status.alarms.clone(),
    }
}

/// Refuses when an alarm is raised, or when what will be written does not fit the quota.
///
/// Where the server does not tell its quota, etcd's default is assumed only to warn: a refusal on a
/// guess would stop clusters that have room.
pub(super) async fn check<S: Store>(
    store: &S,
    patience: Duration,
    (keys, bytes): (u64, u64),
) -> Result<Option<String>, Failure> {
    let status = patiently(patience, || store.status())
        .await
        .map_err(while_doing("asking etcd for its status"))?;
    if !status.alarms.is_empty() {
        return Err(Failure::Alarm(status.alarms));
    }
    let report = summarize(&status);
    let needed = estimate(keys, bytes);
    let after = report
        .db_size
        .max(report.db_size_in_use.saturating_add(needed));
    if after < report.quota {
        return Ok(None);
    }
    match status.quota {
        Some(quota) => Err(Failure::NoRoom {
            needed,
            in_use: report.db_size_in_use,
            db_size: report.db_size,
            quota,
        }),
        None => Ok(Some(format!(
            "about {needed} bytes will be added to {} in use; etcd does not tell its quota, make sure \
             that it is above its default of {QUOTA_DEFAULT_BYTES} bytes",
            report.db_size_in_use
        ))),
    }
}

/// Bytes that writing so many keys adds to the database file.
fn estimate(keys: u64, bytes: u64) -> u64 {
    bytes.saturating_add(keys.saturating_mul(OVERHEAD_PER_KEY_BYTES))
}
