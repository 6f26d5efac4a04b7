//! Repeating what may be repeated: a request that failed for a passing reason is sent again, with
//! growing pauses, until the patience ends.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::{RangeRequest, RangeResponse, Store, StoreError, Txn, TxnResponse};

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Sends a request until it succeeds, fails for good, or the patience ends. Only for requests that
/// may be applied twice.
pub(super) async fn patiently<T, F, Request>(
    patience: Duration,
    mut request: F,
) -> Result<T, StoreError>
where
    F: FnMut() -> Request,
    Request: Future<Output = Result<T, StoreError>>,
{
    let deadline = Instant::now() + patience;
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

/// Reads a range, patiently.
pub(super) async fn read<S: Store>(
    store: &S,
    patience: Duration,
    request: RangeRequest,
) -> Result<RangeResponse, StoreError> {
    patiently(patience, || store.range(request.clone())).await
}

/// Runs a transaction whose operations may be applied twice, patiently.
pub(super) async fn write<S: Store>(
    store: &S,
    patience: Duration,
    txn: &Txn,
) -> Result<TxnResponse, StoreError> {
    patiently(patience, || store.txn(txn.clone())).await
}
