//! Waits for conditions, and repeats a change that conflicts with another client's.

use std::time::Duration;

use tokio::time::Instant;

use super::POLL_INTERVAL;
use super::client::ClientError;
use super::condition::Lack;
use super::lease::Held;
use super::progress::ProgressObserver;

/// Tries of a change that conflicts with those of other clients.
const TRIES: u32 = 8;

pub(crate) enum Waited {
    Done,
    /// This was still lacking at the time limit.
    Late(Vec<Lack>),
    /// Another program may have the Lease.
    LeaseLost,
}

/// Waits until nothing is lacking any more, while the Lease is ours.
pub(crate) async fn wait_until<E>(
    held: &Held,
    observer: &dyn ProgressObserver,
    limit: Duration,
    lacks: impl AsyncFn() -> Result<Vec<Lack>, E>,
) -> Result<Waited, E> {
    let begun = Instant::now();
    let mut reported = String::new();
    loop {
        let lacks = lacks().await?;
        let Some(first) = lacks.first() else {
            return Ok(Waited::Done);
        };
        if !held.is_sure(limit).await {
            return Ok(Waited::LeaseLost);
        }
        if begun.elapsed() >= limit {
            return Ok(Waited::Late(lacks));
        }
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
