//! Real etcd servers on free loopback ports, each with its own folder.
//!
//! A small shell script starts each server and waits on its standard input. When the test process
//! ends for any reason, the script kills the server and removes its folder.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use meta_store::etcd::{EtcdStore, Options};

/// Maximum time until a server is ready on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Starts the server and prints its process id. For each input line it kills and restarts the
/// server; at the end of its input it exits.
const WATCHER: &str = r#"folder=$1; shift
end() { kill -9 "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
start() { "$@" >&2 </dev/null & server=$!; echo "$server"; }
start "$@"
while read -r _; do end; start "$@"; done
end
rm -rf "$folder""#;

/// Configuration of a server.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Space quota.
    pub quota_bytes: Option<u64>,
    /// Maximum number of operations in a transaction.
    pub max_txn_ops: Option<u32>,
    /// Maximum size of a request.
    pub max_request_bytes: Option<u32>,
    /// Number of revisions that automatic compaction keeps, every few minutes.
    pub keep_revisions: Option<u64>,
    /// TLS of the client port.
    pub tls: Option<ServerTls>,
    /// TLS with a self-signed certificate that etcd generates.
    pub auto_tls: bool,
    /// Path of the server, if not the default one.
    pub server: Option<PathBuf>,
    /// Further command line arguments.
    pub arguments: Vec<String>,
}

/// TLS of the client port.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The server's certificate.
    pub cert: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// Require client certificates of this CA.
    pub client_ca: Option<PathBuf>,
}

/// A running server. It is killed on drop.
#[derive(Debug)]
pub struct Etcd {
    watcher: Child,
    pids: Mutex<BufReader<ChildStdout>>,
    log: Mutex<Receiver<String>>,
    pid: u32,
    endpoint: String,
    folder: PathBuf,
}

/// Ports and cluster of a member.
struct Node {
    name: String,
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    members: String,
}

/// A server shared by all tests that use their own root path.
pub fn shared() -> &'static Etcd {
    // If it does not start, the first test reports the reason and the others fail at once.
    static SHARED: LazyLock<Etcd> = LazyLock::new(|| Etcd::start(Settings::default()));
    &SHARED
}

/// Returns a unique root path.
pub fn own_root() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}

impl Etcd {
    /// Starts a server and waits until it is ready.
    pub fn start(settings: Settings) -> Self {
        let mut cluster = Self::start_cluster(1, &settings);
        cluster.remove(0)
    }

    /// Starts a cluster of `count` members and waits until all are ready.
    pub fn start_cluster(count: usize, settings: &Settings) -> Vec<Self> {
        // Another process may take a free port before the server does.
        for _ in 0..5 {
            if let Some(members) = try_start(count, settings) {
                return members;
            }
        }
        panic!("etcd found no free port in five attempts");
    }

    /// The client URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The client address, without the scheme.
    pub fn address(&self) -> &str {
        self.endpoint.split("://").nth(1).unwrap()
    }

    /// The data folder, which is removed on drop.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Connects to the server.
    pub async fn connect(&self) -> EtcdStore {
        EtcdStore::connect(&Options::for_endpoint(&self.endpoint))
            .await
            .unwrap()
    }

    /// Kills the server, like a power failure.
    pub fn kill(&mut self) {
        self.signal("KILL");
    }

    /// Kills the server if it is running, starts it on the same data, and waits until it is ready.
    pub fn restart(&mut self) {
        self.watcher
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"again\n")
            .unwrap();
        self.pid = read_pid(&self.pids);
        assert!(
            self.wait_until_ready(Instant::now() + START_LIMIT),
            "its port was taken"
        );
    }

    /// Suspends the process: connections remain open, but requests are not answered.
    pub fn stop(&mut self) {
        self.signal("STOP");
    }

    /// Resumes the process.
    pub fn resume(&mut self) {
        self.signal("CONT");
    }

    /// Returns `false` if a port was taken.
    fn wait_until_ready(&self, deadline: Instant) -> bool {
        let log = self.log.lock().unwrap();
        let mut seen = Vec::new();
        loop {
            match log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains("serving client traffic") => return true,
                Ok(line) if line.contains("address already in use") => return false,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("etcd is not ready in time:\n{}", seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("etcd exited:\n{}", seen.join("\n"))
                }
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.pid.to_string()])
            .status();
        assert!(sent.unwrap().success(), "kill -{name} {}", self.pid);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Returns `None` if a port was taken.
fn try_start(count: usize, settings: &Settings) -> Option<Vec<Etcd>> {
    let scheme = if settings.tls.is_some() || settings.auto_tls {
        "https"
    } else {
        "http"
    };
    let ports = free_ports(2 * count);
    let members: Vec<String> = (0..count)
        .map(|index| format!("m{index}=http://127.0.0.1:{}", ports[count + index]))
        .collect();
    let started: Vec<Etcd> = (0..count)
        .map(|index| {
            let node = Node {
                name: format!("m{index}"),
                folder: own_folder(),
                client_port: ports[index],
                peer_port: ports[count + index],
                members: members.join(","),
            };
            launch(&node, scheme, settings)
        })
        .collect();
    let deadline = Instant::now() + START_LIMIT;
    let ready = started.iter().all(|etcd| etcd.wait_until_ready(deadline));
    ready.then_some(started)
}

fn launch(node: &Node, scheme: &str, settings: &Settings) -> Etcd {
    let endpoint = format!("{scheme}://127.0.0.1:{}", node.client_port);
    let mut watcher = Command::new("sh")
        .args(["-c", WATCHER, "etcd-watcher"])
        .arg(&node.folder)
        .arg(settings.server.clone().unwrap_or_else(binary))
        .args(arguments(node, &endpoint, settings))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pids = Mutex::new(BufReader::new(watcher.stdout.take().unwrap()));
    let (sender, log) = channel();
    let stderr = BufReader::new(watcher.stderr.take().unwrap());
    std::thread::spawn(move || {
        // Reads to the end even if the receiver was dropped: a full pipe would block the server.
        for line in stderr.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    Etcd {
        watcher,
        pid: read_pid(&pids),
        pids,
        log: Mutex::new(log),
        endpoint,
        folder: node.folder.clone(),
    }
}

fn read_pid(pids: &Mutex<BufReader<ChildStdout>>) -> u32 {
    let mut pid = String::new();
    pids.lock().unwrap().read_line(&mut pid).unwrap();
    pid.trim().parse().unwrap()
}

fn arguments(node: &Node, endpoint: &str, settings: &Settings) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{}", node.peer_port);
    let mut arguments = vec![
        format!("--name={}", node.name),
        format!("--data-dir={}", node.folder.join("data").display()),
        format!("--listen-client-urls={endpoint}"),
        format!("--advertise-client-urls={endpoint}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={}", node.members),
        "--logger=zap".to_owned(),
        "--log-level=info".to_owned(),
    ];
    if let Some(bytes) = settings.quota_bytes {
        arguments.push(format!("--quota-backend-bytes={bytes}"));
    }
    if let Some(ops) = settings.max_txn_ops {
        arguments.push(format!("--max-txn-ops={ops}"));
    }
    if let Some(bytes) = settings.max_request_bytes {
        arguments.push(format!("--max-request-bytes={bytes}"));
    }
    if let Some(revisions) = settings.keep_revisions {
        arguments.push("--auto-compaction-mode=revision".to_owned());
        arguments.push(format!("--auto-compaction-retention={revisions}"));
    }
    if let Some(tls) = &settings.tls {
        arguments.push(format!("--cert-file={}", tls.cert.display()));
        arguments.push(format!("--key-file={}", tls.key.display()));
        if let Some(authority) = &tls.client_ca {
            arguments.push("--client-cert-auth".to_owned());
            arguments.push(format!("--trusted-ca-file={}", authority.display()));
        }
    }
    if settings.auto_tls {
        arguments.push("--auto-tls".to_owned());
    }
    arguments.extend(settings.arguments.iter().cloned());
    arguments
}

/// Returns free ports on the loopback address.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports = listeners.iter();
    ports
        .map(|port| port.local_addr().unwrap().port())
        .collect()
}

fn own_folder() -> PathBuf {
    tempfile::Builder::new()
        .prefix("meta-migration-etcd-")
        .tempdir()
        .unwrap()
        .keep()
}

/// The server for tests; `scripts/etcd` downloads one.
pub fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("ETCD_BIN").filter(|given| !given.is_empty()) {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("etcd"));
    let cached = ["3.5", "3.4"].map(|line| cache().join("etcd").join(line).join("etcd"));
    on_path
        .chain(cached)
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("no etcd server found: run scripts/etcd to download one"))
}

/// A server that keeps acknowledged writes when it is killed. etcd 3.5.0 to 3.5.2 may lose a
/// transaction (etcd issue 13766), after which members differ.
pub fn crash_safe_binary() -> PathBuf {
    let default_server = binary();
    let version_output = Command::new(&default_server)
        .arg("--version")
        .output()
        .unwrap();
    let version_output = String::from_utf8_lossy(&version_output.stdout).into_owned();
    let is_affected = ["3.5.0", "3.5.1", "3.5.2"]
        .iter()
        .any(|version| version_output.contains(&format!("etcd Version: {version}\n")));
    if !is_affected {
        return default_server;
    }
    cached("3.4").unwrap_or_else(|| {
        panic!(
            "no etcd server found that keeps acknowledged writes when killed: run scripts/etcd 3.4"
        )
    })
}

/// The server of this release line, if `scripts/etcd` downloaded it.
pub fn cached(line: &str) -> Option<PathBuf> {
    let server = cache().join("etcd").join(line).join("etcd");
    server.is_file().then_some(server)
}

/// The folder in which the scripts store downloads.
pub fn cache() -> PathBuf {
    let folder = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    };
    folder("META_MIGRATION_CACHE").unwrap_or_else(|| {
        folder("XDG_CACHE_HOME")
            .or_else(|| Some(folder("HOME")?.join(".cache")))
            .unwrap_or_else(|| Path::new("/tmp/.cache").to_owned())
            .join("meta-migration")
    })
}
