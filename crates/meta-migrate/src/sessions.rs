//! Registered components: every key below `session/` except the id counter and the migration lock.
//!
//! The key of a stopped component remains until its lease expires (60 s in Milvus 2.1), so a run
//! can watch the keys until they are deleted, with a deadline.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use meta_report::SessionReport;
use meta_store::{RangeRequest, Store, StoreError};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{KeyRange, MetaRoot};
use milvus_meta::plural::counted;

use crate::context::Etcd;
use crate::error::{EngineErrorKind, while_doing};
use crate::retry::read;

/// The fields of a session's JSON value that are reported.
#[derive(Debug, Default, Deserialize)]
struct SessionValue {
    #[serde(rename = "Address", default)]
    address: String,
}

/// Describes a key below `session/`.
async fn describe<S: Store>(
    store: &S,
    root: &MetaRoot,
    entry: &Entry,
) -> Result<SessionReport, StoreError> {
    let value: SessionValue = serde_json::from_slice(&entry.value).unwrap_or_default();
    let name = root.strip(&entry.key).unwrap_or(&entry.key);
    let name = printable(name.strip_prefix(b"session/").unwrap_or(name));
    let role = match name.rsplit_once('-') {
        Some((role, id)) if id.bytes().all(|byte| byte.is_ascii_digit()) => role.to_owned(),
        _ => name,
    };
    let ttl = match entry.lease {
        0 => None,
        lease => store.lease_remaining(lease).await?,
    };
    Ok(SessionReport {
        role,
        key: printable(&entry.key),
        address: value.address,
        lease: entry.lease,
        ttl: ttl
            .and_then(|ttl| i64::try_from(ttl.as_secs()).ok())
            .unwrap_or(-1),
    })
}

/// Returns the ranges below `session/` that must be empty while this program writes.
pub(super) fn guarded_ranges(root: &MetaRoot) -> [KeyRange; 3] {
    let all = root.range_below("session/");
    let id = KeyRange::single(root.session_id_key());
    let lock = KeyRange::single(root.lock_key());
    [
        KeyRange::new(all.start, id.start),
        KeyRange::new(id.end, lock.start),
        KeyRange::new(lock.end, all.end),
    ]
}

/// Returns whether a key below `session/` is the session of a component.
fn is_component(root: &MetaRoot, key: &[u8]) -> bool {
    key != root.session_id_key() && key != root.lock_key()
}

/// Returns all registered components and the revision at which they were read.
pub(super) async fn list<S: Store>(
    store: &S,
    root: &MetaRoot,
    retry_timeout: Duration,
) -> Result<(Vec<SessionReport>, i64), StoreError> {
    let request = RangeRequest::new(root.range_below("session/"));
    let response = read(store, retry_timeout, request).await?;
    let mut sessions = Vec::new();
    for entry in &response.entries {
        if is_component(root, &entry.key) {
            sessions.push(describe(store, root, entry).await?);
        }
    }
    Ok((sessions, response.revision))
}

/// Like [`list`], with the parameters of a run.
pub(super) async fn registered<S: Store>(
    etcd: Etcd<'_, S>,
) -> Result<(Vec<SessionReport>, i64), EngineErrorKind> {
    list(etcd.store, etcd.root, etcd.limits.retry_timeout)
        .await
        .map_err(while_doing("reading the sessions"))
}

pub(super) async fn lock_holder<S: Store>(
    etcd: Etcd<'_, S>,
) -> Result<Option<SessionReport>, EngineErrorKind> {
    let request = RangeRequest::key(etcd.root.lock_key());
    let held = etcd.read(request, "reading the lock").await?;
    match held.entries.first() {
        Some(entry) => Ok(Some(describe_lock(etcd, entry).await?)),
        None => Ok(None),
    }
}

/// Describes the lock.
pub(super) async fn describe_lock<S: Store>(
    etcd: Etcd<'_, S>,
    lock: &Entry,
) -> Result<SessionReport, EngineErrorKind> {
    describe(etcd.store, etcd.root, lock)
        .await
        .map_err(while_doing("reading the lock's lease"))
}

/// Formats a wait in seconds, rounded up.
pub(super) fn up_to(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    format!("{seconds} s")
}

/// Waits until no component is registered, for at most `wait`.
pub(super) async fn wait_until_gone<S: Store>(
    etcd: Etcd<'_, S>,
    wait: Duration,
) -> Result<(), EngineErrorKind> {
    let deadline = Instant::now() + wait;
    let mut reported = usize::MAX;
    loop {
        let (sessions, revision) = registered(etcd).await?;
        if sessions.is_empty() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(EngineErrorKind::Sessions(sessions));
        }
        if reported != sessions.len() {
            reported = sessions.len();
            etcd.observer.note(&format!(
                "waiting up to {} for {} to end, the first is {} ({})",
                up_to(left),
                counted(sessions.len(), "session"),
                sessions[0].key,
                sessions[0].ending()
            ));
        }
        let range = etcd.root.range_below("session/");
        let action = "watching the sessions";
        etcd.wait_for_change(range, revision, left, action).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_rounded_up_to_seconds() {
        assert_eq!(up_to(Duration::from_millis(300)), "1 s");
        assert_eq!(up_to(Duration::from_secs(30)), "30 s");
        assert_eq!(up_to(Duration::from_millis(29_999)), "30 s");
    }
}
