//! The results for one size, and their report.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The results for one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) segment_indexes: u64,
    /// Whether server and clients used separate processors.
    #[serde(default)]
    pub(crate) apart: bool,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    pub(crate) repetitions: u64,
    /// Median time of each bare loop in seconds.
    pub(crate) floors: BTreeMap<String, f64>,
    /// Latency of the second client during each loop in milliseconds: median, 99th percentile,
    /// maximum.
    pub(crate) floors_neighbour_ms: BTreeMap<String, [f64; 3]>,
    pub(crate) write_in_flight: usize,
    /// Keys per page of the loop that turns pages.
    pub(crate) page_keys: i64,
    /// Time with one request per key in seconds, extrapolated from samples.
    pub(crate) one_by_one: BTreeMap<String, f64>,
    /// Number of samples: keys read, put, and put for a rollback.
    pub(crate) one_by_one_samples: [usize; 3],
    pub(crate) commands: Vec<Command>,
}

/// The results of a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) name: String,
    /// Median time in seconds.
    pub(crate) seconds: f64,
    pub(crate) phases: Vec<(String, f64)>,
    /// Median time in seconds of the bare loops with the reads and writes of the command.
    pub(crate) floor: f64,
    /// The names of these loops.
    pub(crate) floor_of: String,
    /// Median of the ratios of all repetitions.
    pub(crate) ratio: f64,
    /// The ratio including the bare deletes of the same keys, if the command deletes.
    pub(crate) ratio_with_deletes: f64,
    /// The same ratios with the loop that turns pages.
    pub(crate) ratio_turning: f64,
    pub(crate) ratio_turning_with_deletes: f64,
    /// Processor time in seconds of the program, and of the server during the run.
    pub(crate) cpu_client: f64,
    pub(crate) cpu_server: f64,
    /// Ratio of the total processor time to that of the bare loops with deletes. Other load on the
    /// machine has little effect on it.
    pub(crate) cpu_ratio: f64,
    pub(crate) peak_kib: u64,
    pub(crate) requests: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) one_by_one: Option<f64>,
    pub(crate) neighbour_ms: [f64; 3],
}

pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

impl Size {
    /// The suffix of the size for separate processors.
    pub(crate) fn how(&self) -> &'static str {
        if self.apart {
            ", server and clients apart"
        } else {
            ""
        }
    }

    /// The table for the terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "\n{} segment indexes{}: {} keys, {:.1} MB; medians of {}; best with {} transactions in flight, pages \
             turned of {} keys",
            self.segment_indexes,
            self.how(),
            self.keys,
            megabytes(self.bytes),
            self.repetitions,
            self.write_in_flight,
            self.page_keys
        );
        let loops: Vec<String> = self
            .floors
            .iter()
            .map(|(name, seconds)| format!("{name} {seconds:.3} s"))
            .collect();
        let _ = writeln!(text, "bare loops: {}", loops.join(", "));
        let [gets, puts, puts_back] = self.one_by_one_samples;
        let _ = writeln!(
            text,
            "one request a key (1 by 1): scaled from {gets} reads, {puts} puts and {puts_back} puts of a rollback"
        );
        let _ = writeln!(
            text,
            "{:<9} {:>8} {:>8} {:>6} {:>8} {:>6} {:>8} {:>11} {:>6} {:>9} {:>10} {:>9} {:>9} {:>9} {:>10}  floor",
            "command",
            "s",
            "floor s",
            "ratio",
            "w.delete",
            "turned",
            "w.delete",
            "cpu s",
            "ratio",
            "peak MiB",
            "requests",
            "MB read",
            "MB writ.",
            "1 by 1 s",
            "p50/99/max ms",
        );
        for command in &self.commands {
            text.push_str(&command.row());
        }
        for command in &self.commands {
            let phases: Vec<String> = command
                .phases
                .iter()
                .map(|(name, seconds)| format!("{name} {seconds:.2}"))
                .collect();
            let _ = writeln!(text, "  {}: {}", command.name, phases.join(", "));
        }
        text
    }
}

impl Command {
    fn row(&self) -> String {
        format!(
            "{:<9} {:>8.3} {:>8.3} {:>6.2} {:>8.2} {:>6.2} {:>8.2} {:>5.2}+{:>5.2} {:>6.2} {:>9.1} {:>10} {:>9.1} {:>9.1} {:>9} {:>4.1}/{:.0}/{:.0}  {}\n",
            self.name,
            self.seconds,
            self.floor,
            self.ratio,
            self.ratio_with_deletes,
            self.ratio_turning,
            self.ratio_turning_with_deletes,
            self.cpu_client,
            self.cpu_server,
            self.cpu_ratio,
            self.peak_kib as f64 / 1024.0,
            self.requests,
            megabytes(self.bytes_read),
            megabytes(self.bytes_written),
            self.one_by_one
                .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.0}")),
            self.neighbour_ms[0],
            self.neighbour_ms[1],
            self.neighbour_ms[2],
            self.floor_of,
        )
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
