//! Runs the program as a process and measures its time and peak memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::server::processor_time_of_children;

const PROGRAM: &str = env!("CARGO_BIN_EXE_meta-migration");
/// Interval of reading the peak memory: short at first, because a small run ends soon, then long,
/// so that the measurement is not affected.
const POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];
const FAST_POLLS: usize = 50;

/// Measurements of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// Wall-clock time, including the start of the process.
    pub(crate) seconds: f64,
    /// The phases that `migrate` reports.
    pub(crate) phases: Vec<(String, f64)>,
    /// Processor time of the process in seconds.
    pub(crate) cpu: f64,
    /// Peak memory of the process in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs a command; `file` is the path of the backup.
pub(crate) fn run(command: &str, endpoint: &str, file: &str) -> Measured {
    let cpu = processor_time_of_children();
    let started = Instant::now();
    let child = Command::new(PROGRAM)
        .args(arguments(command, file))
        .args(["--endpoints", endpoint, "--root-path", "by-dev"])
        .args(["--format", "json", "--yes", "--no-progress"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let watched = watch(child.id());
    let (seconds, output) = finish(child, started);
    let peak_kib = watched.join().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Measured {
        seconds,
        phases: phases(&output.stdout),
        cpu: processor_time_of_children() - cpu,
        peak_kib,
    }
}

fn arguments<'a>(command: &'a str, file: &'a str) -> Vec<&'a str> {
    const TARGET: [&str; 2] = ["--target-version", "2.2.16"];
    let mut arguments = vec![command];
    match command {
        "plan" => arguments.extend(TARGET),
        "migrate" => arguments.extend(TARGET.into_iter().chain(["--backup-file", file])),
        "backup" => arguments.extend(["--backup-file", file]),
        "verify" => arguments.extend(["--backup", file]),
        _ => {}
    }
    arguments
}

fn finish(child: Child, started: Instant) -> (f64, std::process::Output) {
    let output = child.wait_with_output().unwrap();
    (started.elapsed().as_secs_f64(), output)
}

/// Reads the peak memory until the process ends. The kernel keeps the peak, so the last value is
/// used.
fn watch(process: u32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut peak, mut polls) = (0, 0);
        while let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"));
            let now = line
                .and_then(|line| line.split_whitespace().nth(1))
                .and_then(|number| number.parse().ok());
            // A process that has exited has no memory.
            let Some(now) = now else {
                break;
            };
            peak = now;
            polls += 1;
            sleep(POLL_INTERVALS[usize::from(polls > FAST_POLLS)]);
        }
        peak
    })
}

fn phases(output: &[u8]) -> Vec<(String, f64)> {
    let Ok(report) = serde_json::from_slice::<serde_json::Value>(output) else {
        return Vec::new();
    };
    let names = ["read", "transform", "backup", "write", "verify", "total"];
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), report["seconds"][name].as_f64()?)))
        .collect()
}
