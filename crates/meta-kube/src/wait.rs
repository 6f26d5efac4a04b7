//! Waits for conditions, and repeats a change that conflicts with another client's.

use std::time::Duration;

use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::client::ClientError;
use super::condition::Lack;
use super::progress::ProgressObserver;

/// Tries of a change that conflicts with those of other clients.
const TRIES: u32 = 8;

/// Waits until nothing is lacking any more; returns what still is at the time limit.
pub(crate) async fn wait_until<E>(
    observer: &dyn ProgressObserver,
    limit: Duration,
    lacks: impl AsyncFn() -> Result<Vec<Lack>, E>,
) -> Result<Vec<Lack>, E> {
    let begun = Instant::now();
    let mut reported = String::new();
    loop {
        let lacks = lacks().await?;
        let Some(first) = lacks.first().filter(|_| begun.elapsed() < limit) else {
            return Ok(lacks);
        };
        if reported != *first {
            observer.message(&format!("waiting for: {first}"));
            reported.clone_from(first);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Repeats the change of an object as it was just read, while other clients change it in between.
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
