//! Tasks in the background.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::error::EngineErrorKind;

/// Runs work that blocks on a separate thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineErrorKind> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|error| EngineErrorKind::Worker(error.to_string()))
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub(super) struct Background<T>(JoinHandle<T>);

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for the result.
    pub(super) async fn outcome(mut self) -> Result<T, EngineErrorKind> {
        let outcome = (&mut self.0).await;
        outcome.map_err(|error| EngineErrorKind::Worker(error.to_string()))
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
