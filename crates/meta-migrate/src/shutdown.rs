//! The wish to end: a run stops after the batch in flight, and says so.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Why a run was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, usually Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The signal's usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// The side that asks for the end.
#[derive(Debug)]
pub struct CancelSource(watch::Sender<Option<Signal>>);

impl CancelSource {
    /// Asks the run to end.
    pub fn stop(&self, signal: Signal) {
        self.0.send_replace(Some(signal));
    }
}

/// The side that looks whether it should end.
#[derive(Debug, Clone)]
pub struct CancelToken(watch::Receiver<Option<Signal>>);

impl CancelToken {
    /// Both sides.
    #[must_use]
    pub fn new() -> (CancelSource, Self) {
        let (sender, receiver) = watch::channel(None);
        (CancelSource(sender), Self(receiver))
    }

    /// One that is never asked to end.
    #[must_use]
    pub fn never() -> Self {
        Self::new().1
    }

    /// The signal, once one came.
    #[must_use]
    pub fn requested(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits for a signal, and then as long as a run may take to end by itself, after the batch in flight. Where
    /// etcd hangs it does not: dropped where it is, it is as if it had been killed.
    pub(super) async fn overdue(&self) -> Signal {
        const GRACE: Duration = Duration::from_secs(3);
        let signal = self.wait().await;
        sleep(GRACE).await;
        signal
    }

    /// Waits for a signal; for ever when none can come any more.
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
