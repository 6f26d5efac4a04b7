//! Server and clients on processors of their own, as on machines of their own: what a client computes is
//! then not taken from the server.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread::available_parallelism;

/// How many there are, asked before this process is moved.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().unwrap().get());

/// Starts the server on the first half of the processors, and lets this process and all that it starts
/// from then on have the others.
pub(crate) fn starting<T>(start: impl FnOnce() -> T) -> T {
    let count = *PROCESSORS;
    assert!(count > 1, "one processor cannot be shared out");
    let half = count / 2;
    move_to(&format!("0-{}", half - 1));
    let server = start();
    move_to(&format!("{half}-{}", count - 1));
    server
}

/// Moves all threads of this process; children begin where their parent is.
fn move_to(processors: &str) {
    let moved = Command::new("taskset")
        .args(["-a", "-p", "-c", processors])
        .arg(std::process::id().to_string())
        .stdout(Stdio::null())
        .status();
    let moved = moved.expect("taskset is part of util-linux: apt-get install util-linux");
    assert!(moved.success(), "taskset -p -c {processors}");
}
