//! The fence: a lock with a lease, and the comparisons with which etcd checks that this run holds
//! it.
//!
//! The lock is `<metaRoot>/session/migration`, the key that the official tool registers, so that
//! the two tools exclude each other. etcd compares the lock in every transaction, so a late write
//! of a run that has lost its lock is rejected.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use meta_store::{Applied, Compare, Op, RangeRequest, RangeResponse, Store, StoreError, Txn};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::{KeyRange, MetaRoot};

use crate::background::Background;
use crate::context::{Etcd, RunContext};
use crate::error::{EngineErrorKind, while_doing};
use crate::retry::{read, with_retry};
use crate::sessions;

/// The lock of this run. Dropping it stops the renewal of the lease; [`Fence::release`] releases it at once.
#[derive(Debug)]
pub(super) struct Fence<S: Store> {
    store: S,
    root: MetaRoot,
    retry_timeout: Duration,
    lease: i64,
    create_revision: i64,
    _keep_alive: Background<()>,
}

/// Maximum times to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// For registered components to end.
    pub sessions: Duration,
    /// For another run to release the lock.
    pub lock: Duration,
}

/// A wait for another run's lock with a deadline.
pub(super) struct LockWait {
    deadline: Instant,
    is_reported: bool,
}

impl LockWait {
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            deadline: Instant::now() + wait,
            is_reported: false,
        }
    }

    /// Waits until `lock`, read at `revision`, has changed. Fails when the deadline has passed.
    pub(super) async fn wait<S: Store>(
        &mut self,
        etcd: Etcd<'_, S>,
        lock: &Entry,
        revision: i64,
    ) -> Result<(), EngineErrorKind> {
        let holder = sessions::describe_lock(etcd, lock).await?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(EngineErrorKind::Locked(holder));
        }
        if !self.is_reported {
            self.is_reported = true;
            etcd.observer.note(&format!(
                "waiting up to {} for the lock {} of {} ({})",
                sessions::up_to(left),
                holder.key,
                holder.address,
                holder.ending()
            ));
        }
        let lock = KeyRange::single(etcd.root.lock_key());
        let action = "watching the lock";
        etcd.wait_for_change(lock, revision, left, action).await
    }
}

impl<S: Store> Fence<S> {
    /// Acquires the lock, waiting for another holder's lease to end.
    pub(super) async fn acquire(
        etcd: Etcd<'_, S>,
        wait: Duration,
    ) -> Result<Self, EngineErrorKind> {
        let mut waiting = LockWait::new(wait);
        loop {
            if let Some((lease, create_revision)) = try_acquire(etcd).await? {
                let renewing = keep_alive(etcd.store.clone(), lease, etcd.limits.lock_ttl);
                return Ok(Self {
                    store: etcd.store.clone(),
                    root: etcd.root.clone(),
                    retry_timeout: etcd.limits.retry_timeout,
                    lease,
                    create_revision,
                    _keep_alive: Background::start(renewing),
                });
            }
            let request = RangeRequest::key(etcd.root.lock_key());
            let held = etcd.read(request, "reading the lock").await?;
            if let Some(lock) = held.entries.first() {
                waiting.wait(etcd, lock, held.revision).await?;
            }
        }
    }

    /// Returns the fence's part of the guards: this run holds the lock, and no component is
    /// registered. Transactions use [`Guards`](crate::guards::Guards), which also compare the
    /// journal.
    pub(super) fn compares(&self) -> Vec<Compare> {
        let mut compares = vec![Compare::CreateRevision(
            self.root.lock_key(),
            self.create_revision,
        )];
        compares.extend(sessions::guarded_ranges(&self.root).map(Compare::Absent));
        compares
    }

    pub(super) fn store(&self) -> &S {
        &self.store
    }

    /// Returns how long a failing request is retried.
    pub(super) fn retry_timeout(&self) -> Duration {
        self.retry_timeout
    }

    /// Sends a read with retries.
    pub(super) async fn read(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        read(&self.store, self.retry_timeout, request).await
    }

    /// Returns an error if this run has lost the lock.
    pub(super) async fn lost(&self) -> Result<Option<EngineErrorKind>, StoreError> {
        let key = self.root.lock_key();
        let held = self.read(RangeRequest::key(key.clone())).await?;
        let ours = |entry: &Entry| entry.create_revision == self.create_revision;
        Ok(
            (!held.entries.first().is_some_and(ours)).then(|| EngineErrorKind::LockLost {
                key: printable(&key),
            }),
        )
    }

    /// Returns an error if a component is registered.
    pub(super) async fn component(&self) -> Result<Option<EngineErrorKind>, StoreError> {
        let (sessions, _) = sessions::list(&self.store, &self.root, self.retry_timeout).await?;
        Ok((!sessions.is_empty()).then_some(EngineErrorKind::ComponentStarted(sessions)))
    }

    /// Releases the lock. A failure is ignored, because the lock expires with its lease.
    pub(super) async fn release(self) {
        const GOODBYE: Duration = Duration::from_secs(2);
        if timeout(GOODBYE, self.store.lease_revoke(self.lease))
            .await
            .is_err()
        {
            tracing::debug!("the lock was not released in time; it expires with its lease");
        }
    }
}

/// Tries to acquire the lock once. Returns the lease and the revision at which the lock key was
/// created, or `None` if another run holds the lock.
async fn try_acquire<S: Store>(etcd: Etcd<'_, S>) -> Result<Option<(i64, i64)>, EngineErrorKind> {
    let Etcd { store, ctx } = etcd;
    let RunContext { root, limits, .. } = ctx;
    let lease = with_retry(limits.retry_timeout, || store.lease_grant(limits.lock_ttl))
        .await
        .map_err(while_doing("granting a lease for the lock"))?;
    let key = root.lock_key();
    let txn = Txn {
        compares: vec![Compare::CreateRevision(key.clone(), 0)],
        ops: vec![Op::Put {
            key: key.clone().into(),
            value: lock_value(ctx.holder).into(),
            lease,
        }],
    };
    match store.txn(txn).await {
        Ok(response) if response.succeeded => return Ok(Some((lease, response.revision))),
        Ok(_) => {}
        Err(error) if error.applied == Applied::Unknown => {
            // The reply was lost: the key shows whether this run holds the lock.
            let held = etcd
                .read(RangeRequest::key(key), "reading the lock")
                .await?;
            if let Some(entry) = held.entries.first().filter(|entry| entry.lease == lease) {
                return Ok(Some((lease, entry.create_revision)));
            }
        }
        Err(error) => return Err(while_doing("taking the lock")(error)),
    }
    // An error is ignored: the unused lease expires.
    drop(store.lease_revoke(lease).await);
    Ok(None)
}

/// Returns the lock's value, with the fields of a Milvus session. The address identifies the run.
fn lock_value(holder: &str) -> Vec<u8> {
    let now = jiff::Timestamp::now();
    let value = serde_json::json!({
        "ServerName": "migration",
        "Address": format!("{holder}/{}@{now:.3}", std::process::id()),
        "Exclusive": true,
        "TriggerKill": false,
        "Version": env!("CARGO_PKG_VERSION"),
    });
    value.to_string().into_bytes()
}

/// Renews the lease until it has expired. That is not reported here: the next write is rejected.
async fn keep_alive<S: Store>(store: S, lease: i64, ttl: Duration) {
    loop {
        sleep(ttl / 4).await;
        if matches!(
            timeout(ttl / 4, store.lease_keep_alive(lease)).await,
            Ok(Ok(false))
        ) {
            return;
        }
    }
}
