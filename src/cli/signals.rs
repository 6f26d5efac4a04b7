//! SIGINT, SIGTERM and SIGHUP: the first stops the run in an orderly way, the second exits at once.

use tokio::signal::unix::{SignalKind, signal};

use super::output;
use super::output::exit::Exit;
use super::output::failure::Failure;
use meta_migrate::{CancelToken, Signal};

/// Starts listening on the current runtime. The first signal cancels the returned token.
pub(in crate::cli) fn listen() -> Result<CancelToken, Failure> {
    let failed =
        |error: std::io::Error| Failure::caused("cannot listen for signals", &error).unchanged();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let ignores_hangup = ignores_hangup();
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let (stopper, stop) = CancelToken::new();
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
                _ = hangup.recv(), if !ignores_hangup => Signal::Hangup,
            };
            if !is_first {
                std::process::exit(exit(signal).code().into());
            }
            is_first = false;
            output::inform(&format!(
                "\n{}: finishing requests in flight; press Ctrl-C again to stop now\n",
                signal.name()
            ));
            stopper.stop(signal);
        }
    });
    Ok(stop)
}

/// Whether the process was started to ignore SIGHUP, as nohup does.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Returns the exit code for a signal.
pub(in crate::cli) fn exit(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate | Signal::Hangup => Exit::Terminated,
    }
}
