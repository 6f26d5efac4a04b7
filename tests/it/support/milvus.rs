//! Real Milvus servers on free loopback ports, and their Python client. `scripts/milvus` fetches both.
//!
//! A small shell script, which waits on its standard input, starts each server: when the test
//! process ends in any way, the script kills the server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::etcd::{cache, free_ports};

/// The source release of migrations. It is a shared library; later releases are programs.
pub(crate) const SOURCE: &str = "2.1.0";

/// The time limit for the start of a server on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(100);

/// Starts the server, prints its process id and ends with it, or kills it when the input ends.
const WATCHER: &str = r#"exec 3<&0
"$@" </dev/null >&2 & server=$!
echo "$server"; exec >&-
{ read -r _; kill -9 "$server"; } <&3 2>/dev/null & reader=$!
wait "$server"; code=$?
kill "$reader" 2>/dev/null
exit "$code""#;

/// Runs a shared library's server in a Python process.
const EMBEDDED: &str = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).startEmbedded()";

/// A panic of 2.2 while it stops: the loop that watches channels may see the closed etcd client
/// before the stop signal.
const PANIC_OF_A_STOP: &str = "panic: stop watching etcd loop due to closed etcd event channel";

/// Key families that a migration writes: a server error that names one is a failure. Not
/// `root-coord/credential`, which is not written: 2.2.4 reports existing roles as errors at each
/// start.
const OUR_KEYS: [&str; 12] = [
    "root-coord/collection",
    "root-coord/database",
    "root-coord/fields",
    "root-coord/partitions",
    "root-coord/aliases",
    "field-index",
    "segment-index",
    "querycoord-",
    "datacoord-meta",
    "channel-cp",
    "snapshots/",
    "migration/journal",
];

/// Messages of a dying server.
const DEATHS: [&str; 5] = [
    "panic:",
    "fatal error:",
    "SIGSEGV",
    "Faiss assertion",
    "terminate called",
];

/// All releases that can be fetched.
const RELEASES: [&str; 5] = [SOURCE, "2.2.4", "2.2.9", "2.2.16", "2.3.5"];

/// Folders and addresses shared by successive servers.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Holds the storage and the queue.
    pub(crate) folder: PathBuf,
    /// `host:port`.
    pub(crate) etcd: String,
    /// The root path in etcd.
    pub(crate) root: String,
}

/// The Python client for a server release.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) release: &'static str,
    port: u16,
}

/// A running server, which is killed on drop.
#[derive(Debug)]
pub(crate) struct Milvus {
    client: Client,
    watcher: Child,
    pid: u32,
    health: u16,
    output: PathBuf,
    logs: PathBuf,
}

impl Milvus {
    /// Starts a release and waits until it serves.
    pub(crate) fn start(release: &str, place: &Place) -> Self {
        // Another process may take a free port before the server does.
        for _ in 0..3 {
            let mut server = Self::launch(release, place);
            if server.wait_until_ready() {
                return server;
            }
            let output = server.output();
            assert!(
                output.contains("address already in use"),
                "Milvus {release} ended:\n{}",
                tail(&output)
            );
        }
        panic!("Milvus {release} found no free ports in three attempts");
    }

    /// Starts a release without waiting for it.
    pub(crate) fn launch(release: &str, place: &Place) -> Self {
        let mut known = RELEASES.into_iter();
        let release = known.find(|known| *known == release).unwrap();
        let folder = &place.folder;
        let logs = tempfile::Builder::new()
            .prefix(&format!("logs-{release}-"))
            .tempdir_in(folder)
            .unwrap()
            .keep();
        for name in ["data/files", "rdb_data", "conf"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let mut ports = free_ports(24);
        let (port, health) = (ports.remove(0), ports.remove(0));
        let setup = Setup {
            release,
            place,
            logs: &logs,
            port,
            ports,
        };
        let output = logs.join("output.txt");
        let mut watcher = setup
            .command()
            .env("METRICS_PORT", health.to_string())
            .env("MILVUSCONF", format!("{}/conf/", folder.display()))
            .current_dir(folder.join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&output).unwrap())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(watcher.stdout.take().unwrap())
            .read_line(&mut pid)
            .unwrap();
        Self {
            client: Client { release, port },
            watcher,
            pid: pid.trim().parse().unwrap(),
            health,
            output,
            logs,
        }
    }

    /// Returns `false` if the server ended instead.
    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_LIMIT;
        while self.is_running() {
            if self.is_ready() {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "Milvus {} does not serve in time:\n{}",
                self.client.release,
                tail(&self.output())
            );
            std::thread::sleep(POLL);
        }
        false
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.watcher.try_wait().unwrap().is_none()
    }

    pub(crate) fn is_ready(&self) -> bool {
        if self.client.release == SOURCE {
            self.output().contains("ready to serve")
        } else {
            is_healthy(self.health)
        }
    }

    /// Runs the client program against the server and returns its output.
    pub(crate) fn client(&self, arguments: &[&str]) -> String {
        self.client.run(arguments).unwrap_or_else(|error| {
            panic!(
                "{error}\nthe server's last output:\n{}\n{}",
                tail(&self.output()),
                self.faults().join("\n")
            )
        })
    }

    /// Returns everything a client sees.
    pub(crate) fn describe(&self) -> Value {
        serde_json::from_str(&self.client(&["describe"])).unwrap()
    }

    /// Creates a client of the server.
    pub(crate) fn new_client(&self) -> Client {
        self.client.clone()
    }

    /// Stops the server with TERM, and checks its logs.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let deadline = Instant::now() + grace(self.client.release);
        while self.is_running() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.end(&[PANIC_OF_A_STOP]);
    }

    /// Sends TERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Kills the server as a power failure would, and checks its logs.
    pub(crate) fn kill(self) {
        self.end(&[]);
    }

    fn end(mut self, accepted: &[&str]) {
        if self.is_running() {
            self.signal("KILL");
        }
        let _ = self.watcher.wait();
        let mut faults = self.faults();
        faults.retain(|line| !accepted.contains(&line.as_str()));
        assert!(
            faults.is_empty(),
            "Milvus {} logged:\n{}",
            self.client.release,
            faults.join("\n")
        );
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.pid.to_string()])
            .status();
        assert!(sent.unwrap().success(), "kill -{name} {}", self.pid);
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// Lines of its logs that report a crash, or a migrated key that it cannot use.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for file in fs::read_dir(&self.logs).unwrap() {
            let text = fs::read(file.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().filter(|line| is_fault(line));
            faults.extend(lines.take(5).map(|line| line.chars().take(600).collect()));
        }
        faults
    }
}

impl Client {
    /// Runs the client program; returns its output or the reason of its failure.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let clients = fetched("client");
        let version = match self.release {
            SOURCE => "2.1.3",
            "2.2.4" => "2.2.4",
            "2.3.5" => "2.3.1",
            _ => "2.2.17",
        };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milvus/client.py");
        let output = Command::new(clients.join("python/bin/python"))
            .arg(program)
            .arg(self.port.to_string())
            .args(arguments)
            .env("PYTHONPATH", clients.join(format!("pymilvus-{version}")))
            // Clients up to 2.2 were generated for an older protobuf.
            .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!(
            "client {arguments:?} of Milvus {}:\n{text}\n{}",
            self.release,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

impl Drop for Milvus {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// The settings of a server.
struct Setup<'a> {
    release: &'a str,
    place: &'a Place,
    logs: &'a Path,
    port: u16,
    /// Ports of all other listeners.
    ports: Vec<u16>,
}

impl Setup<'_> {
    /// Writes the configuration.
    fn command(mut self) -> Command {
        let server = fetched(self.release);
        let mut command = Command::new("sh");
        command.args(["-c", WATCHER, "milvus-watcher"]);
        if self.release == SOURCE {
            let text = fs::read_to_string(server.join("embedded-milvus.yaml")).unwrap();
            let text = self.embedded_configuration(&text);
            self.write("embedded-milvus.yaml", &text);
            self.write("milvus.yaml", &text);
            let logging = fs::read_to_string(server.join("easylogging.yaml")).unwrap();
            self.write("easylogging.yaml", &logging);
            let library = server.join("embd-milvus.so");
            command
                .arg("env")
                .arg(format!("LD_PRELOAD={}", library.display()))
                .arg(fetched("client").join("python/bin/python"))
                .args(["-c", EMBEDDED])
                .arg(library);
        } else {
            let template = fs::read_to_string(server.join("config.yaml.template")).unwrap();
            let text = self.configuration(&template);
            self.write("milvus.yaml", &text);
            if let Ok(logging) = fs::read_to_string(server.join("glog.conf")) {
                let to = format!("log_dir={}", self.logs.display());
                self.write("glog.conf", &logging.replace("log_dir=logs/", &to));
            }
            command
                .arg(server.join("milvus"))
                .args(["run", "standalone"]);
        }
        command
            .env("LD_LIBRARY_PATH", server)
            .env("DEPLOY_MODE", "STANDALONE");
        command
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.place.folder.join("conf").join(name), text).unwrap();
    }

    fn embedded_configuration(&mut self, text: &str) -> String {
        let folder = format!("{}/", self.place.folder.display());
        let logs = self.logs.display().to_string();
        let text = text
            .replace("localhost:2379", &self.place.etcd)
            .replace(
                "rootPath: by-dev",
                &format!("rootPath: {}", self.place.root),
            )
            .replace("embed: true", "embed: false")
            .replace("/tmp/milvus/logs", &logs)
            .replace("/tmp/milvus/", &folder)
            // Growing segments get binlogs as well, from 2,000 rows of 16 dimensions on.
            .replace("insertBufSize: 16777216", "insertBufSize: 128000")
            // The cache of raw values overwrites the binlogs in local storage.
            .replace("cache:\n    enabled: true", "cache:\n    enabled: false");
        let mut lines = Vec::new();
        for line in text.lines() {
            let name = line.trim_start();
            let indent = &line[..line.len() - name.len()];
            if name.starts_with("port: 19530") {
                lines.push(format!("{indent}port: {}", self.port));
                lines.push(format!("{indent}internalPort: {}", self.next_port()));
            } else if name.starts_with("port: ") {
                lines.push(format!("{indent}port: {}", self.next_port()));
            } else {
                lines.push(line.to_owned());
            }
        }
        lines.join("\n")
    }

    /// Fills a template: `{{ name(type): default }}`.
    fn configuration(&mut self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) = after.split_once("}}").unwrap();
            text.push_str(before);
            text.push_str(&self.value(field));
            rest = after;
        }
        text.push_str(rest);
        let root = format!("rootPath: {}", self.place.root);
        let text =
            text.replacen("embed: true", "embed: false", 1)
                .replacen("rootPath: by-dev", &root, 1);
        let lines = text
            .lines()
            .map(|line| match line.split_once("gracefulStopTimeout:") {
                // Query nodes wait until other nodes have their segments, and there are no others.
                Some((before, _)) => format!("{before}gracefulStopTimeout: 1"),
                None => line.to_owned(),
            });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn value(&mut self, field: &str) -> String {
        let (name, default) = field.split_once(':').unwrap_or((field, ""));
        let name = name.split('(').next().unwrap_or_default().trim();
        match name {
            "etcd_port" => self.place.etcd.split(':').nth(1).unwrap().to_owned(),
            "proxy_port" => self.port.to_string(),
            "local_storage_dir" => self.place.folder.join("data/files").display().to_string(),
            "rocketmq_data_dir" | "rocksmq_data_dir" => {
                self.place.folder.join("rdb_data").display().to_string()
            }
            "etcd_data_dir" => self.place.folder.join("etcd").display().to_string(),
            "etcd_log_path" => self.logs.join("etcd.log").display().to_string(),
            "system_log_path" => self.logs.display().to_string(),
            _ if name.ends_with("_port") => self.next_port().to_string(),
            _ => default.trim().to_owned(),
        }
    }

    fn next_port(&mut self) -> u16 {
        self.ports.pop().expect("too few ports")
    }
}

/// The time for a graceful stop. 2.2.16 never stops while a collection is loaded: its query node
/// waits until another node has its channels.
fn grace(release: &str) -> Duration {
    Duration::from_secs(if release == "2.2.16" { 3 } else { 20 })
}

/// A folder created by `scripts/milvus`.
fn fetched(name: &str) -> PathBuf {
    let folder = cache().join("milvus").join(name);
    assert!(
        folder.is_dir(),
        "{} is missing. Run: make test-milvus (or scripts/milvus {name})",
        folder.display()
    );
    folder
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\r\n\r\nOK"))
}

fn is_fault(line: &str) -> bool {
    let names_our_key = || OUR_KEYS.iter().any(|key| line.contains(key));
    DEATHS.iter().any(|death| line.starts_with(death))
        || (line.contains("[ERROR]") && names_our_key())
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
