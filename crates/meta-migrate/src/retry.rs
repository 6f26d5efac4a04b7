//! Retries idempotent requests with increasing pauses until a timeout.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use meta_store::{ClusterStatus, RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse};
use milvus_meta::keys::KeyRange;

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Sends a request until it succeeds, fails permanently, or `retry_timeout` ends. Only for
/// idempotent requests.
pub(super) async fn with_retry<T, F, Request>(
    retry_timeout: Duration,
    mut request: F,
) -> Result<T, StoreError>
where
    F: FnMut() -> Request,
    Request: Future<Output = Result<T, StoreError>>,
{
    let deadline = Instant::now() + retry_timeout;
    let mut pause = PAUSE_FIRST;
    loop {
        match request().await {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                tracing::debug!(%error, "trying again");
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
}

pub(super) async fn read<S: Store>(
    store: &S,
    retry_timeout: Duration,
    request: RangeRequest,
) -> Result<RangeResponse, StoreError> {
    with_retry(retry_timeout, || store.range(request.clone())).await
}

/// Sends a transaction of idempotent operations with retries.
pub(super) async fn write<S: Store>(
    store: &S,
    retry_timeout: Duration,
    txn: &Txn,
) -> Result<TxnResponse, StoreError> {
    with_retry(retry_timeout, || store.txn(txn.clone())).await
}

/// A store that retries reads. Writes are passed on unchanged: the caller decides whether to retry
/// them.
#[derive(Debug, Clone)]
pub(super) struct RetryingStore<S> {
    store: S,
    retry_timeout: Duration,
}

impl<S> RetryingStore<S> {
    pub(super) fn new(store: S, retry_timeout: Duration) -> Self {
        Self {
            store,
            retry_timeout,
        }
    }
}

impl<S: Store> Store for RetryingStore<S> {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        read(&self.store, self.retry_timeout, request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        self.store.txn(txn).await
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
