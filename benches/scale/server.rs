//! What the server tells of itself: requests and bytes, from its own metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Totals since the server started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

impl Totals {
    /// Asks the server.
    pub(crate) fn of(address: &str) -> Self {
        let text = get(address, "/metrics");
        let sum = |name: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum::<f64>()
                .round() as u64
        };
        Self {
            requests: sum("grpc_server_started_total{"),
            bytes_received: sum("etcd_network_client_grpc_received_bytes_total"),
            bytes_sent: sum("etcd_network_client_grpc_sent_bytes_total"),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            bytes_received: self.bytes_received - before.bytes_received,
            bytes_sent: self.bytes_sent - before.bytes_sent,
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
