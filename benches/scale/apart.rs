//! Runs server and clients on separate processors, as on separate machines: the clients then take
//! no processor time from the server.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread::available_parallelism;

/// The number of processors, determined before this process is moved.
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().unwrap().get());

/// Starts the server on the first half of the processors, then moves this process and its later
/// children to the other half.
pub(crate) fn starting<T>(start: impl FnOnce() -> T) -> T {
    let count = *PROCESSORS;
    assert!(count > 1, "at least two processors are required");
    let half = count / 2;
    move_to(&format!("0-{}", half - 1));
    let server = start();
    move_to(&format!("{half}-{}", count - 1));
    server
}

/// Moves all threads of this process. Children inherit its processors.
fn move_to(processors: &str) {
    let moved = Command::new("taskset")
        .args(["-a", "-p", "-c", processors])
        .arg(std::process::id().to_string())
        .stdout(Stdio::null())
        .status();
    let moved = moved.expect("taskset is part of util-linux: apt-get install util-linux");
    assert!(moved.success(), "taskset -p -c {processors}");
}
