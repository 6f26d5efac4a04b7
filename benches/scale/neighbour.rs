//! A second client of the same server, which measures the latency of reading one small key every
//! few milliseconds. It runs during commands and bare loops, so that it costs both the same.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use etcd_client::Client;

use crate::server::processor_time;

const PAUSE: Duration = Duration::from_millis(3);

pub(crate) struct Neighbour {
    stop: Sender<()>,
    thread: JoinHandle<(Vec<Duration>, f64)>,
}

/// The latency of its requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latency {
    pub(crate) requests: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// Processor time of this client in seconds.
    pub(crate) cpu: f64,
}

impl Neighbour {
    pub(crate) fn start(endpoint: &str) -> Self {
        let (stop, stopped) = channel();
        let endpoint = endpoint.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let times = runtime.block_on(observe(&endpoint, &stopped));
            (times, processor_time("thread-self").unwrap_or_default())
        });
        Self { stop, thread }
    }

    /// Stops the client and returns the latency of its requests.
    pub(crate) fn finish(self) -> Latency {
        drop(self.stop);
        let (mut times, cpu) = self.thread.join().unwrap();
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 100];
        Latency {
            requests: times.len() as u64,
            p50: at(50),
            p99: at(99),
            max: at(100),
            cpu,
        }
    }
}

async fn observe(endpoint: &str, stopped: &Receiver<()>) -> Vec<Duration> {
    let mut client = Client::connect([endpoint], None).await.unwrap();
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        client.get("neighbour", None).await.unwrap();
        times.push(started.elapsed());
        if stopped.recv_timeout(PAUSE) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
            return times;
        }
    }
}
