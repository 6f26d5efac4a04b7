//! Reads requests, bytes and processor time from the server's metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Totals since the server started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Processor time in seconds.
    pub(crate) cpu: f64,
}

impl Totals {
    pub(crate) fn of(address: &str) -> Self {
        let text = get(address, "/metrics");
        let figure = |name: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum()
        };
        let sum = |name: &str| figure(name).round() as u64;
        Self {
            requests: sum("grpc_server_started_total{"),
            bytes_received: sum("etcd_network_client_grpc_received_bytes_total"),
            bytes_sent: sum("etcd_network_client_grpc_sent_bytes_total"),
            cpu: figure("process_cpu_seconds_total "),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            bytes_received: self.bytes_received - before.bytes_received,
            bytes_sent: self.bytes_sent - before.bytes_sent,
            cpu: self.cpu - before.cpu,
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Processor time in seconds of a process, or of `thread-self`; `None` if it has exited.
pub(crate) fn processor_time(process: &str) -> Option<f64> {
    times(process, 11)
}

/// Processor time in seconds of all exited children of this process.
pub(crate) fn processor_time_of_children() -> f64 {
    times("self", 13).unwrap_or_default()
}

/// The sum of two adjacent fields of a process' statistics: user mode and kernel mode.
fn times(process: &str, first: usize) -> Option<f64> {
    // Linux reports these times in hundredths of a second.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain any character; the fields after it are plain.
    let (_, fields) = text.rsplit_once(')')?;
    let number = |index: usize| fields.split_whitespace().nth(index)?.parse::<f64>().ok();
    Some((number(first)? + number(first + 1)?) / TICKS)
}
