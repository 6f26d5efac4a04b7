//! Waits for conditions, and retries changes that conflict with another client's.

use std::time::Duration;

use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::client::ClientError;
use super::condition::Unmet;
use super::progress::ProgressObserver;

/// Attempts at a change that conflicts with other clients.
const TRIES: u32 = 8;

/// Waits until no condition is unmet; returns those still unmet at the timeout.
pub(crate) async fn wait_until<E>(
    observer: &dyn ProgressObserver,
    limit: Duration,
    unmet: impl AsyncFn() -> Result<Vec<Unmet>, E>,
) -> Result<Vec<Unmet>, E> {
    let begun = Instant::now();
    let mut reported = String::new();
    loop {
        let unmet = unmet().await?;
        let Some(first) = unmet.first().filter(|_| begun.elapsed() < limit) else {
            return Ok(unmet);
        };
        if reported != *first {
            observer.message(&format!("waiting for: {first}"));
            reported.clone_from(first);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Retries a change of an object while it conflicts with changes by other clients. `change` reads
/// the object again each time.
pub(crate) async fn retry_on_conflict<T, E>(
    mut change: impl AsyncFnMut() -> Result<Result<T, ClientError>, E>,
) -> Result<Result<T, ClientError>, E> {
    let mut tries = 1;
    loop {
        match change().await? {
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            changed => return Ok(changed),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
