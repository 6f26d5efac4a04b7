//! Cancellation: a run stops after the batch in flight and reports that.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// The signal that cancelled a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, usually Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal was closed.
    Hangup,
}

impl Signal {
    /// Returns the name of the signal.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// Cancels a run.
#[derive(Debug)]
pub struct CancelSource(watch::Sender<Option<Signal>>);

impl CancelSource {
    /// Cancels the run.
    pub fn stop(&self, signal: Signal) {
        self.0.send_replace(Some(signal));
    }
}

/// Shows a run whether it was cancelled.
#[derive(Debug, Clone)]
pub struct CancelToken(watch::Receiver<Option<Signal>>);

impl CancelToken {
    /// Creates a source and its token.
    #[must_use]
    pub fn new() -> (CancelSource, Self) {
        let (sender, receiver) = watch::channel(None);
        (CancelSource(sender), Self(receiver))
    }

    /// Creates a token that is never cancelled.
    #[must_use]
    pub fn never() -> Self {
        Self::new().1
    }

    /// Returns the signal, if the run was cancelled.
    #[must_use]
    pub fn requested(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits for a signal and then for the time in which a run may finish the batch in flight. A run
    /// that does not stop because etcd does not answer is dropped, which has the same effect as killing
    /// it.
    pub(super) async fn overdue(&self) -> Signal {
        const GRACE: Duration = Duration::from_secs(3);
        let signal = self.wait().await;
        sleep(GRACE).await;
        signal
    }

    /// Waits for a signal; never returns if the source was dropped.
    pub async fn wait(&self) -> Signal {
        let mut receiver = self.0.clone();
        let found = receiver
            .wait_for(Option::is_some)
            .await
            .map(|signal| *signal);
        match found {
            Ok(Some(signal)) => signal,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
