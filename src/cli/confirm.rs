//! Asks before a command writes.
//!
//! Asks only at a terminal. Without one (a script, a pod) commands that write require `--yes`; the official
//! tool's call does not: its command line is the decision.

use std::io::{self, BufRead};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::options::OutputOptions;
use super::output;
use super::output::failure::Failure;
use super::tty;
use meta_migrate::CancelToken;

/// How often a waiting question looks whether a signal came meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether a user is present and not opted out with `--yes`.
pub(in crate::cli) fn is_wanted(output: &OutputOptions) -> bool {
    !output.yes && tty::is_interactive()
}

/// The failure where a user would have to be asked and there is no terminal.
pub(in crate::cli) fn impossible() -> Failure {
    Failure::usage("cannot ask for confirmation without a terminal: add --yes to confirm")
}

/// Asks and gives the answer; whoever waits for it may give up at any time.
pub(in crate::cli) async fn answer(question: &str) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    read(question, move |answer| {
        // Nobody listens any more after a signal.
        let _ = sender.send(answer);
    });
    receiver.await.unwrap_or(false)
}

/// Reads the answer in a thread, which may stay behind in its read: it ends with the process.
fn read(question: &str, heard: impl FnOnce(bool) + Send + 'static) {
    output::tell(&format!("{question} [y/N] "));
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        let said = read.map(|_| answer.trim().to_ascii_lowercase());
        heard(said.is_ok_and(|said| matches!(said.as_str(), "y" | "yes")));
    });
}

/// Asks; anything but yes is a no, and so is a signal.
pub(in crate::cli) fn ask(question: &str, stop: &CancelToken) -> bool {
    let (sender, receiver) = channel();
    read(question, move |answer| {
        // Nobody listens any more after a signal.
        let _ = sender.send(answer);
    });
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if stop.requested().is_none() => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}
