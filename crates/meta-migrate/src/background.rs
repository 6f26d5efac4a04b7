//! Work that continues while something else is done.

use std::future::Future;

use tokio::task::JoinHandle;

use super::error::Failure;

/// A task; given up when this is dropped.
#[derive(Debug)]
pub(super) struct Background<T>(JoinHandle<T>);

impl<T: Send + 'static> Background<T> {
    pub(super) fn start(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Failure::Worker`] when it panicked.
    pub(super) async fn outcome(mut self) -> Result<T, Failure> {
        let outcome = (&mut self.0).await;
        outcome.map_err(|error| Failure::Worker(error.to_string()))
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
