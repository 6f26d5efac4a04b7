//! A store that calls the test at each transaction, before it is sent and after its reply.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meta_store::{ClusterStatus, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse};
use milvus_meta::keys::KeyRange;

/// The time of the call within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// The number of the transaction, counted from 1 over all clones, the moment, and the transaction.
pub(crate) type Hook =
    dyn Fn(usize, Moment, &Txn) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// A store with a hook.
#[derive(Clone)]
pub(crate) struct Hooked<S> {
    store: S,
    count: Arc<AtomicUsize>,
    hook: Arc<Hook>,
}

impl<S: Store> Hooked<S> {
    /// Calls `hook` at each transaction and continues when its future completes.
    pub(crate) fn new<F, Called>(store: S, hook: F) -> Self
    where
        F: Fn(usize, Moment, &Txn) -> Called + Send + Sync + 'static,
        Called: Future<Output = ()> + Send + 'static,
    {
        Self {
            store,
            count: Arc::default(),
            hook: Arc::new(move |number, moment, txn| Box::pin(hook(number, moment, txn))),
        }
    }
}

impl<S: Store> Store for Hooked<S> {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        (self.hook)(number, Moment::Before, &txn).await;
        let outcome = self.store.txn(txn.clone()).await;
        (self.hook)(number, Moment::After, &txn).await;
        outcome
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<i64, StoreError> {
        self.store.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: i64) -> Result<bool, StoreError> {
        self.store.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: i64) -> Result<(), StoreError> {
        self.store.lease_revoke(lease).await
    }

    async fn lease_remaining(&self, lease: i64) -> Result<Option<Duration>, StoreError> {
        self.store.lease_remaining(lease).await
    }

    async fn wait_for_change(&self, range: KeyRange, revision: i64) -> Result<(), StoreError> {
        self.store.wait_for_change(range, revision).await
    }

    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        self.store.status().await
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn defragment(&self, endpoint: &str) -> Result<(), StoreError> {
        self.store.defragment(endpoint).await
    }
}
