//! Asks before a command writes.
//!
//! Only a person at a terminal is asked: without one (a script, a pod) the command goes on, because
//! there the command line itself is the decision. `--yes` answers beforehand.

use std::io::{self, BufRead, IsTerminal};

use super::options::OutputOptions;
use super::report;
use super::report::exit::Exit;
use super::report::failure::Failure;

/// Whether somebody is there to be asked, and wants to be.
pub(in crate::cli) fn is_wanted(output: &OutputOptions) -> bool {
    !output.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; anything but yes ends the command.
pub(in crate::cli) fn ask(question: &str) -> Result<(), Failure> {
    report::tell(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let agreed = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if read.is_ok() && agreed {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "not confirmed").unchanged())
}
