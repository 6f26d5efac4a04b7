//! Asks before a command writes.
//!
//! Only a person at a terminal is asked: without one (a script, a pod) the command goes on, because
//! there the command line itself is the decision. `--yes` answers beforehand.

use std::io::{self, BufRead, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::options::OutputOptions;
use super::report;
use crate::engine::Stop;

/// How often a waiting question looks whether a signal came meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether somebody is there to be asked, and wants to be.
pub(in crate::cli) fn is_wanted(output: &OutputOptions) -> bool {
    !output.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; anything but yes is a no, and so is a signal.
pub(in crate::cli) fn ask(question: &str, stop: &Stop) -> bool {
    report::tell(&format!("{question} [y/N] "));
    let (sender, receiver) = channel();
    // The thread may stay behind in its read; it ends with the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        // Nobody listens any more after a signal.
        let _ = sender.send(read.map(|_| answer).unwrap_or_default());
    });
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(answer) => {
                return matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
            }
            Err(RecvTimeoutError::Timeout) if stop.requested().is_none() => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}
