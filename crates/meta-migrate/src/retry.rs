//! Retries idempotent requests with increasing pauses until a timeout.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use meta_store::scan::PageSource;
use meta_store::{RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse};

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

/// Reads pages with retries.
#[derive(Debug, Clone)]
pub(super) struct RetryingPages<S> {
    pub(super) store: S,
    pub(super) retry_timeout: Duration,
}

impl<S: Store> PageSource for RetryingPages<S> {
    async fn page(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        read(&self.store, self.retry_timeout, request).await
    }
}
