//! An in-memory store with etcd's semantics, which also counts requests, records transactions and
//! injects scripted faults.
//!
//! A [`MemoryStore`] is a handle of one process to a shared [`MemoryState`]. Its clones belong to
//! the same process: they share request count, script and crash state. [`MemoryStore::reopen`]
//! returns a handle of another process to the same data, [`MemoryStore::fork`] an independent copy.
//! Leases use tokio's clock, so tests with paused time do not wait.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use meta_store::{
    ClusterStatus, MemberStatus, RangeRequest, RangeResponse, Store, StoreError, StoreErrorKind,
    Txn, TxnResponse,
};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;

mod fault;
mod state;

pub use fault::{Change, Fault, Request, RequestKind};
pub use state::{Limits, MemoryState, TxnRecord};

use fault::{Script, Verdict};

/// The endpoint of the store in [`MemberStatus`].
pub const MEMORY_ENDPOINT: &str = "memory";

/// A handle of one process to an in-memory store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    process: Arc<Process>,
}

/// The data shared by all processes.
struct Shared {
    state: Mutex<MemoryState>,
    changed: Notify,
}

/// The data of one process.
#[derive(Default)]
struct Process {
    script: Mutex<Script>,
    crashed: Notify,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// Creates an empty store with etcd's default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_state(MemoryState::new(Limits::default()))
    }

    /// Creates an empty store with these limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self::with_state(MemoryState::new(limits))
    }

    /// Creates a store with `entries`, each put at its own revision in this order.
    #[must_use]
    pub fn with_entries<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Self {
        let store = Self::new();
        store.change(|state| {
            for entry in entries {
                state.put(&entry.key, &entry.value);
            }
        });
        store
    }

    fn with_state(state: MemoryState) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
            }),
            process: Arc::new(Process::default()),
        }
    }

    /// Returns a handle of a new process to the same data, without faults and requests.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            process: Arc::new(Process::default()),
        }
    }

    /// Returns an independent copy of the current data, without recorded transactions.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.forget_transactions();
        Self::with_state(state)
    }

    /// Reads the data.
    pub fn look<R>(&self, reader: impl FnOnce(&MemoryState) -> R) -> R {
        let mut state = self.state();
        state.expire_leases(Instant::now());
        reader(&state)
    }

    /// Changes the data as another process; no request is counted.
    pub fn change<R>(&self, change: impl FnOnce(&mut MemoryState) -> R) -> R {
        let result = {
            let mut state = self.state();
            state.expire_leases(Instant::now());
            change(&mut state)
        };
        self.shared.changed.notify_waiters();
        result
    }

    /// The existing keys in ascending order.
    #[must_use]
    pub fn dump(&self) -> Vec<Entry> {
        self.look(MemoryState::entries)
    }

    /// The transactions of all processes in the order of their execution.
    #[must_use]
    pub fn transactions(&self) -> Vec<TxnRecord> {
        self.look(|state| state.transactions().to_vec())
    }

    /// Number of requests of this process by kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<RequestKind, u64> {
        self.script().counts().clone()
    }

    /// Number of requests of this process.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.script().ordinal()
    }

    /// Injects `fault` at the request number `ordinal` of this process, starting at 1. Several
    /// faults at one request are applied in the order in which they were added, up to the first
    /// that ends the request.
    pub fn fault_at(&self, ordinal: u64, fault: Fault) {
        self.script().add(ordinal, fault);
    }

    /// Calls `hook` before every request of this process to get the faults to inject. The hook must
    /// not use this process' handle.
    pub fn fault_when(&self, hook: impl FnMut(&Request<'_>) -> Vec<Fault> + Send + 'static) {
        self.script().set_hook(Box::new(hook));
    }

    /// Whether a fault crashed this process.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.script().is_crashed()
    }

    /// Waits until this process has crashed. A test selects between this and the work, which is
    /// then dropped at its current await point, like that of a killed process.
    pub async fn crashed(&self) {
        loop {
            let notified = self.process.crashed.notified();
            if self.is_crashed() {
                return;
            }
            notified.await;
        }
    }

    /// Crashes this process: all later requests fail.
    pub fn crash(&self) {
        self.script().crash();
        self.process.crashed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.process
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn request<R>(
        &self,
        kind: RequestKind,
        range: Option<&RangeRequest>,
        txn: Option<&Txn>,
        work: impl FnOnce(&mut MemoryState, u64) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        // A real store never responds without yielding to other tasks.
        tokio::task::yield_now().await;
        let verdict = self.script().begin(kind, range, txn);
        match self.execute(verdict, work) {
            Some(result) => result,
            None => pending().await,
        }
    }

    /// Executes the verdict; `None` if the request must never be answered.
    fn execute<R>(
        &self,
        verdict: Verdict,
        work: impl FnOnce(&mut MemoryState, u64) -> Result<R, StoreError>,
    ) -> Option<Result<R, StoreError>> {
        for change in verdict.before {
            self.change(change);
        }
        if let Some(error) = verdict.refuse {
            if verdict.crash {
                self.crash();
            }
            return Some(Err(error));
        }
        if verdict.hang {
            return None;
        }
        let result = self.change(|state| work(state, verdict.ordinal));
        for change in verdict.after {
            self.change(change);
        }
        if verdict.crash {
            self.crash();
        }
        match verdict.lose_reply {
            Some(error) => Some(Err(error)),
            None => Some(result),
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MemoryStore")
            .field("revision", &self.look(MemoryState::revision))
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.request(RequestKind::Range, Some(&request), None, |state, _| {
            state.range(&request)
        })
        .await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.request(RequestKind::Txn, None, Some(&txn), |state, ordinal| {
            state.txn(&txn, ordinal)
        })
        .await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        self.request(RequestKind::LeaseGrant, None, None, |state, _| {
            state.grant_lease(ttl)
        })
        .await
    }

    async fn lease_keep_alive(&self, lease: i64) -> Result<bool, StoreError> {
        self.request(RequestKind::LeaseKeepAlive, None, None, |state, _| {
            Ok(state.keep_lease_alive(lease))
        })
        .await
    }

    async fn lease_revoke(&self, lease: i64) -> Result<(), StoreError> {
        self.request(RequestKind::LeaseRevoke, None, None, |state, _| {
            state.revoke_lease(lease);
            Ok(())
        })
        .await
    }

    async fn lease_remaining(&self, lease: i64) -> Result<Option<Duration>, StoreError> {
        self.request(RequestKind::LeaseRemaining, None, None, |state, _| {
            Ok(state.lease_remaining(lease))
        })
        .await
    }

    fn wait_for_change(
        &self,
        range: KeyRange,
        revision: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let store = self.clone();
        async move {
            store
                .request(RequestKind::Wait, None, None, |_, _| Ok(()))
                .await?;
            loop {
                let notified = store.shared.changed.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                let (changed, next_expiry) = store.look(|state| {
                    let changed = state.changed_since(&range, revision);
                    (changed, state.next_expiry())
                });
                if changed {
                    return Ok(());
                }
                match next_expiry {
                    Some(instant) => tokio::select! {
                        () = notified => {}
                        () = sleep_until(instant) => {}
                    },
                    None => notified.await,
                }
            }
        }
    }

    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        self.request(RequestKind::Status, None, None, |state, _| {
            Ok(ClusterStatus {
                members: vec![MemberStatus {
                    endpoint: MEMORY_ENDPOINT.to_owned(),
                    version: "3.5.0".to_owned(),
                    db_size: state.db_size(),
                    db_size_in_use: state.db_size_in_use(),
                    member_id: 1,
                    leader_id: 1,
                }],
                unreachable: Vec::new(),
                quota: state.limits().quota_bytes,
                alarms: state.alarms(),
            })
        })
        .await
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        self.request(RequestKind::Compact, None, None, |state, _| {
            match state.compact(revision) {
                Err(error) if error.kind == StoreErrorKind::Compacted => Ok(()),
                result => result,
            }
        })
        .await
    }

    async fn defragment(&self, endpoint: &str) -> Result<(), StoreError> {
        self.request(RequestKind::Defragment, None, None, |state, _| {
            if endpoint != MEMORY_ENDPOINT {
                return Err(StoreError::not_applied(
                    StoreErrorKind::Unreachable,
                    format!("no member at {endpoint}"),
                ));
            }
            state.defragment();
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
