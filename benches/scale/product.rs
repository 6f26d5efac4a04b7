//! The real program, as a process: how long it took, by its own account and ours, and how much memory it
//! ever had.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::server::processor_time_of_children;

const PROGRAM: &str = env!("CARGO_BIN_EXE_meta-migration");
/// How often the memory of a run is inspected: often at first, as a small run is soon over, then so that
/// looking takes nothing from what is measured.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];
const LOOKS_AT_FIRST: usize = 50;

/// One run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// From start to end, the start of the process included.
    pub(crate) seconds: f64,
    /// What `migrate` says of its phases.
    pub(crate) phases: Vec<(String, f64)>,
    /// Seconds of processor time that the process used.
    pub(crate) cpu: f64,
    /// The most memory that the process had, in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs a command; `file` is its backup.
pub(crate) fn run(command: &str, endpoint: &str, file: &str) -> Told {
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
    Told {
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

/// Looks at the process until it ends: the kernel keeps the peak, so the last look counts.
fn watch(process: u32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut peak, mut looks) = (0, 0);
        while let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"));
            let now = line
                .and_then(|line| line.split_whitespace().nth(1))
                .and_then(|number| number.parse().ok());
            // A process that has ended has no memory any more.
            let Some(now) = now else {
                break;
            };
            peak = now;
            looks += 1;
            sleep(LOOK_EVERY[usize::from(looks > LOOKS_AT_FIRST)]);
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
