//! Asks for confirmation before a command writes.
//!
//! Asks only at a terminal. Without one (in a script or a pod), commands that write require `--yes`. The official tool's
//! interface never asks: its callers cannot answer.

use std::io::{self, BufRead};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::options::OutputOptions;
use super::output;
use super::output::failure::Failure;
use super::tty;
use meta_migrate::CancelToken;

/// How often a waiting question checks for a signal.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Whether to ask: at a terminal, without `--yes`.
pub(in crate::cli) fn is_wanted(output: &OutputOptions) -> bool {
    !output.yes && tty::is_interactive()
}

/// The failure of a command that must ask without a terminal.
pub(in crate::cli) fn impossible() -> Failure {
    Failure::usage("cannot ask for confirmation without a terminal: add --yes to confirm")
}

/// Asks, and returns whether the answer is yes. The caller may drop the future at any time.
pub(in crate::cli) async fn answer(question: &str) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    read(question, move |answer| {
        // The receiver is dropped after a signal.
        let _ = sender.send(answer);
    });
    receiver.await.unwrap_or(false)
}

/// Reads the answer in a thread. The thread may block in its read until the process ends.
fn read(question: &str, answered: impl FnOnce(bool) + Send + 'static) {
    output::inform(&format!("{question} [y/N] "));
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        let answer = read.map(|_| answer.trim().to_ascii_lowercase());
        answered(answer.is_ok_and(|answer| matches!(answer.as_str(), "y" | "yes")));
    });
}

/// Asks, and returns whether the answer is yes. A signal counts as no.
pub(in crate::cli) fn ask(question: &str, stop: &CancelToken) -> bool {
    let (sender, receiver) = channel();
    read(question, move |answer| {
        // The receiver is dropped after a signal.
        let _ = sender.send(answer);
    });
    loop {
        match receiver.recv_timeout(CHECK_INTERVAL) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if stop.requested().is_none() => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}
