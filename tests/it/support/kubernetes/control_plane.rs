//! The control plane: etcd, kube-apiserver and kube-controller-manager, once per test run.
//!
//! With one process per test (nextest), the tests share the control plane that the first of them
//! starts. A small shell script stops it when the test run ends in any way.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::operator;
use crate::support::certificates::Certificates;
use crate::support::etcd::cache;

/// The time limit for the start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// The user with all rights.
pub(crate) const ADMIN: &str = "admin";
/// The user with only the rights that a test grants.
pub(crate) const UPGRADER: &str = "upgrader";

/// Starts the three programs, and stops them when the process `runner` ends.
const WATCHER: &str = r#"
cd "$folder" || exit
"$assets/etcd" --data-dir="$folder/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls="$etcd" --advertise-client-urls="$etcd" --listen-peer-urls="$peer" \
    --initial-advertise-peer-urls="$peer" --initial-cluster="default=$peer" >etcd.log 2>&1 &
etcd_pid=$!
"$assets/kube-apiserver" --etcd-servers="$etcd" --bind-address=127.0.0.1 --secure-port="$port" \
    --advertise-address=127.0.0.1 --tls-cert-file=server.pem --tls-private-key-file=server.key \
    --token-auth-file=tokens.csv --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=account.pub \
    --service-account-signing-key-file=account.key --service-cluster-ip-range=10.96.0.0/16 \
    --kubelet-certificate-authority=ca.pem --kubelet-preferred-address-types=InternalIP \
    --cert-dir="$folder/certificates" --endpoint-reconciler-type=none --profiling=false \
    --max-requests-inflight=2000 --max-mutating-requests-inflight=1000 \
    >apiserver.log 2>&1 &
api_pid=$!
manager_pid=
while kill -0 "$runner" && kill -0 "$etcd_pid" && kill -0 "$api_pid"; do
    if [ -z "$manager_pid" ] && [ -e serving ]; then
        "$assets/kube-controller-manager" --kubeconfig=admin.json --port=0 --secure-port=0 \
            --controllers=*,-nodelifecycle,-ttl --leader-elect=false --root-ca-file=ca.pem \
            --service-account-private-key-file=account.key --cert-dir="$folder/certificates" \
            --kube-api-qps=500 --kube-api-burst=1000 --pvclaimbinder-sync-period=1s \
            --concurrent-deployment-syncs=2 --profiling=false >manager.log 2>&1 &
        manager_pid=$!
    fi
    sleep 0.3
done 2>/dev/null
if kill -0 "$runner" 2>/dev/null; then
    # A program ended by itself: keep its log while a test may still read it.
    : >ended
    while kill -0 "$runner" 2>/dev/null; do sleep 1; done
fi
kill -9 "$etcd_pid" "$api_pid" $manager_pid 2>/dev/null
wait
cd / && rm -rf "${folder%/*}"
"#;

/// The addresses and credentials of the control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ControlPlane {
    folder: PathBuf,
    url: String,
    authority: String,
    admin_token: String,
    upgrader_token: String,
}

/// The control plane of this test run.
pub(crate) async fn shared() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED.get_or_init(attach_or_start).await
}

impl ControlPlane {
    /// A client for one of the two users. It belongs to the current runtime.
    pub(crate) fn api(&self, user: &str) -> Api {
        Api::new(&self.url, &self.authority, self.token(user))
    }

    /// A file of the control plane: the certificate for servers on 127.0.0.1, or its key.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A kubeconfig for one of the two users. JSON is YAML.
    pub(crate) fn kubeconfig(&self, user: &str, namespace: &str) -> String {
        self.kubeconfig_with(user, self.token(user), namespace)
    }

    /// A kubeconfig with this token.
    pub(crate) fn kubeconfig_with(&self, user: &str, token: &str, namespace: &str) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url,
                "certificate-authority": self.file("ca.pem"),
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": user, "namespace": namespace,
            }}],
        })
        .to_string()
    }

    fn token(&self, user: &str) -> &str {
        if user == ADMIN {
            &self.admin_token
        } else {
            &self.upgrader_token
        }
    }

    /// Returns `false` if it ended before it served because its port was taken.
    async fn wait_until_ready(&self, deadline: Instant) -> bool {
        let api = self.api(ADMIN);
        loop {
            match api.try_text("/readyz").await {
                Ok(_) => return true,
                Err(error) => {
                    if self.file("ended").exists() {
                        return false;
                    }
                    assert!(
                        Instant::now() < deadline,
                        "the control plane is not ready in time: {error}\n{}",
                        self.last_words()
                    );
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fails with the reason if a program of the control plane has ended by itself.
    pub(crate) fn assert_alive(&self) {
        let ended = self.file("ended").exists();
        assert!(!ended, "the control plane is dead\n{}", self.last_words());
    }

    fn last_words(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            // A program's fatal error is more useful than later output.
            let fatal = |line: &&str| line.contains("fatal error:") || line.starts_with("panic:");
            let from = lines.iter().position(fatal);
            let from = from.unwrap_or(lines.len().saturating_sub(8));
            let shown: Vec<String> = lines
                .iter()
                .skip(from)
                .take(24)
                .map(|line| line.chars().take(300).collect())
                .collect();
            format!("{name}:\n{}\n", shown.join("\n"))
        };
        tail("etcd.log") + &tail("apiserver.log") + &tail("manager.log")
    }
}

async fn attach_or_start() -> ControlPlane {
    let own = std::process::id();
    let (name, runner) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (run, std::os::unix::process::parent_id()),
        Err(_) => (own.to_string(), own),
    };
    let folder = std::env::temp_dir().join(format!("meta-migration-kubernetes-{name}"));
    if std::fs::create_dir(&folder).is_ok() {
        let plane = start(&folder, runner).await;
        let text = serde_json::to_vec(&plane).unwrap();
        std::fs::write(folder.join("plane.tmp"), text).unwrap();
        std::fs::rename(folder.join("plane.tmp"), folder.join("plane.json")).unwrap();
        return plane;
    }
    let deadline = Instant::now() + 2 * START_LIMIT;
    loop {
        if let Ok(text) = std::fs::read(folder.join("plane.json")) {
            return serde_json::from_slice(&text).unwrap();
        }
        assert!(
            Instant::now() < deadline,
            "another test failed to start the control plane in {}",
            folder.display()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

async fn start(folder: &Path, runner: u32) -> ControlPlane {
    let assets = assets();
    let deadline = Instant::now() + START_LIMIT;
    // Another process may take a free port before the server does.
    for attempt in 0..5 {
        let folder = folder.join(attempt.to_string());
        std::fs::create_dir(&folder).unwrap();
        let plane = launch(&folder, &assets, runner);
        if plane.wait_until_ready(deadline).await {
            std::fs::write(folder.join("serving"), "").unwrap();
            operator::define_resources(&plane.api(ADMIN)).await;
            return plane;
        }
    }
    panic!("the control plane found no free port in five attempts");
}

#[expect(
    clippy::zombie_processes,
    reason = "the program lives as long as this process"
)]
fn launch(folder: &Path, assets: &Path, runner: u32) -> ControlPlane {
    let [etcd, peer, port] = free_ports();
    let plane = ControlPlane {
        folder: folder.to_owned(),
        url: format!("https://127.0.0.1:{port}"),
        authority: write_keys(folder),
        admin_token: "admin-token".to_owned(),
        upgrader_token: "upgrader-token".to_owned(),
    };
    let tokens = format!(
        "{},{ADMIN},1,system:masters\n{},{UPGRADER},2\n",
        plane.admin_token, plane.upgrader_token
    );
    std::fs::write(folder.join("tokens.csv"), tokens).unwrap();
    std::fs::write(
        folder.join("admin.json"),
        plane.kubeconfig(ADMIN, "default"),
    )
    .unwrap();
    Command::new("sh")
        .args(["-c", WATCHER, "kubernetes-watcher"])
        .env("folder", folder)
        .env("assets", assets)
        .env("runner", runner.to_string())
        .env("etcd", format!("http://127.0.0.1:{etcd}"))
        .env("peer", format!("http://127.0.0.1:{peer}"))
        .env("port", port.to_string())
        // No file handle and no process group of the test, which may end before the control plane.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    plane
}

/// Writes the certificates and keys; returns the CA.
fn write_keys(folder: &Path) -> String {
    let certificates = Certificates::new(&["127.0.0.1", "localhost"]);
    for name in ["ca.pem", "server.pem", "server.key"] {
        std::fs::copy(certificates.path(name), folder.join(name)).unwrap();
    }
    let account = KeyPair::generate().unwrap();
    std::fs::write(folder.join("account.key"), account.serialize_pem()).unwrap();
    std::fs::write(folder.join("account.pub"), account.public_key_pem()).unwrap();
    std::fs::read_to_string(folder.join("ca.pem")).unwrap()
}

fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners: [TcpListener; COUNT] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// The folder with the programs, created by `scripts/kubernetes`.
pub(crate) fn assets() -> PathBuf {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|given| !given.is_empty());
    let folder = given.map_or_else(|| cache().join("kubernetes-1.20.2"), PathBuf::from);
    for program in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kubectl",
    ] {
        assert!(
            folder.join(program).is_file(),
            "no Kubernetes to test with ({} has no {program}): run scripts/kubernetes",
            folder.display()
        );
    }
    folder
}
