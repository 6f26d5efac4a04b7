//! Real etcd servers on free loopback ports, each in a folder of its own.
//!
//! A server is started through a small shell that waits on its standard input: when the test process
//! ends, however it ends, the shell kills the server and removes its folder.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use meta_store::etcd::{EtcdStore, Options};

/// How long a server may take until it serves, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The shell starts the server and prints its process id; so again for each line of its input, after
/// having killed it. It ends with its input.
const WATCHER: &str = r#"folder=$1; shift
end() { kill -9 "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
start() { "$@" >&2 </dev/null & server=$!; echo "$server"; }
start "$@"
while read -r _; do end; start "$@"; done
end
rm -rf "$folder""#;

/// What a server is asked to do differently.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Space quota.
    pub quota_bytes: Option<u64>,
    /// Operations in one transaction, at most.
    pub max_txn_ops: Option<u32>,
    /// Size of a request, at most.
    pub max_request_bytes: Option<u32>,
    /// How many revisions are kept by compaction every few minutes.
    pub keep_revisions: Option<u64>,
    /// TLS of the client port.
    pub tls: Option<ServerTls>,
    /// TLS with a certificate that etcd makes for itself.
    pub auto_tls: bool,
    /// Another server than the usual one.
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
    /// Only clients with a certificate of this authority are let in.
    pub client_ca: Option<PathBuf>,
}

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    watcher: Child,
    pids: Mutex<BufReader<ChildStdout>>,
    log: Mutex<Receiver<String>>,
    pid: u32,
    endpoint: String,
    folder: PathBuf,
}

/// Where a server is going to listen, and in which cluster.
struct Place {
    name: String,
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    members: String,
}

/// One server for all tests that keep below a root path of their own.
pub fn shared() -> &'static Etcd {
    // When it does not start, the first test says why and the others fail at once.
    static SHARED: LazyLock<Etcd> = LazyLock::new(|| Etcd::start(Settings::default()));
    &SHARED
}

/// A root path that no other test uses.
pub fn own_root() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}

impl Etcd {
    /// Starts a server and waits until it serves.
    pub fn start(settings: Settings) -> Self {
        let mut cluster = Self::start_cluster(1, &settings);
        cluster.remove(0)
    }

    /// Starts a cluster of `count` members and waits until all of them serve.
    pub fn start_cluster(count: usize, settings: &Settings) -> Vec<Self> {
        // Somebody else may take a free port before the server does.
        for _ in 0..5 {
            if let Some(members) = try_start(count, settings) {
                return members;
            }
        }
        panic!("etcd found no free port in five attempts");
    }

    /// Where it listens, with the scheme.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Where it listens, without the scheme.
    pub fn address(&self) -> &str {
        self.endpoint.split("://").nth(1).unwrap()
    }

    /// Its data folder, removed when it ends.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Connects to it.
    pub async fn connect(&self) -> EtcdStore {
        EtcdStore::connect(&Options::for_endpoint(&self.endpoint))
            .await
            .unwrap()
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) {
        self.signal("KILL");
    }

    /// Starts it again on its data, after a kill if it still runs, and waits until it serves.
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

    /// Stops it where it stands: it still has its connections, but answers nothing.
    pub fn stop(&mut self) {
        self.signal("STOP");
    }

    /// Lets it continue.
    pub fn go_on(&mut self) {
        self.signal("CONT");
    }

    /// `false` when a port was taken.
    fn wait_until_ready(&self, deadline: Instant) -> bool {
        let log = self.log.lock().unwrap();
        let mut seen = Vec::new();
        loop {
            match log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains("serving client traffic") => return true,
                Ok(line) if line.contains("address already in use") => return false,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("etcd does not serve in time:\n{}", seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("etcd ended:\n{}", seen.join("\n"))
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

/// `None` when a port was taken.
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
            let place = Place {
                name: format!("m{index}"),
                folder: own_folder(),
                client_port: ports[index],
                peer_port: ports[count + index],
                members: members.join(","),
            };
            launch(&place, scheme, settings)
        })
        .collect();
    let deadline = Instant::now() + START_LIMIT;
    let ready = started.iter().all(|etcd| etcd.wait_until_ready(deadline));
    ready.then_some(started)
}

fn launch(place: &Place, scheme: &str, settings: &Settings) -> Etcd {
    let endpoint = format!("{scheme}://127.0.0.1:{}", place.client_port);
    let mut watcher = Command::new("sh")
        .args(["-c", WATCHER, "etcd-watcher"])
        .arg(&place.folder)
        .arg(settings.server.clone().unwrap_or_else(binary))
        .args(arguments(place, &endpoint, settings))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pids = Mutex::new(BufReader::new(watcher.stdout.take().unwrap()));
    let (sender, log) = channel();
    let stderr = BufReader::new(watcher.stderr.take().unwrap());
    std::thread::spawn(move || {
        // Reads to the end even when nobody listens any more: a full pipe would stop the server.
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
        folder: place.folder.clone(),
    }
}

fn read_pid(pids: &Mutex<BufReader<ChildStdout>>) -> u32 {
    let mut pid = String::new();
    pids.lock().unwrap().read_line(&mut pid).unwrap();
    pid.trim().parse().unwrap()
}

fn arguments(place: &Place, endpoint: &str, settings: &Settings) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{}", place.peer_port);
    let mut arguments = vec![
        format!("--name={}", place.name),
        format!("--data-dir={}", place.folder.join("data").display()),
        format!("--listen-client-urls={endpoint}"),
        format!("--advertise-client-urls={endpoint}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={}", place.members),
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

/// Free ports on the loopback address.
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

/// The server that the tests run on; `scripts/etcd` gets one.
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
        .unwrap_or_else(|| panic!("no etcd is here to test with: run scripts/etcd to get one"))
}

/// A server that keeps what it has acknowledged when it is killed: etcd 3.5.0 to 3.5.2 may lose a
/// transaction then (etcd's issue 13766), and so make the members of a cluster differ.
pub fn that_may_be_killed() -> PathBuf {
    let usual = binary();
    let told = Command::new(&usual).arg("--version").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let forgets = ["3.5.0", "3.5.1", "3.5.2"]
        .iter()
        .any(|version| told.contains(&format!("etcd Version: {version}\n")));
    if !forgets {
        return usual;
    }
    cached("3.4").unwrap_or_else(|| {
        panic!("no etcd is here that may be killed: run scripts/etcd 3.4 to get one")
    })
}

/// A server of this release line, if `scripts/etcd` has fetched one.
pub fn cached(line: &str) -> Option<PathBuf> {
    let server = cache().join("etcd").join(line).join("etcd");
    server.is_file().then_some(server)
}

/// Where the scripts keep what they got.
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
