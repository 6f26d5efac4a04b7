//! The real program, run on metadata below a separate root path.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meta_store::{RangeRequest, Store};
use tokio::process::Command;

use super::migration::Case;

/// The time limit of a run on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs the program repeatedly with one backup folder.
pub(crate) struct Program {
    endpoints: String,
    root_path: String,
    form: String,
    target: &'static str,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) extra: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    running: Running,
}

/// The process that is currently running.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running(Arc<AtomicU32>);

impl Running {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        let pid = self.0.load(Ordering::SeqCst);
        assert_ne!(pid, 0, "nothing runs");
        pid
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid();
        let sent = std::process::Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Program {
    pub(crate) fn new(case: &Case, endpoints: &str) -> Self {
        let meta_root = case.root.meta_root();
        Self {
            endpoints: endpoints.to_owned(),
            root_path: meta_root.strip_suffix("/meta").unwrap().to_owned(),
            form: case.form.to_string(),
            target: case.target(),
            folder: tempfile::tempdir().unwrap(),
            extra: Vec::new(),
            environment: Vec::new(),
            running: Running::default(),
        }
    }

    pub(crate) fn running(&self) -> Running {
        self.running.clone()
    }

    /// `migrate` in small transactions.
    pub(crate) async fn migrate(&self) -> Output {
        let arguments = [
            "migrate",
            "--collection-form",
            &self.form,
            "--max-txn-ops=8",
            "--in-flight=2",
            "--wait-lock=60s",
        ];
        self.run(&arguments).await
    }

    pub(crate) async fn rollback(&self) -> Output {
        self.run(&["rollback", "--wait-lock=60s"]).await
    }

    /// The version options of a command.
    fn versions(&self, command: &str) -> Vec<String> {
        let source = "--source-version=2.1.4".to_owned();
        let target = format!("--target-version={}", self.target);
        match command {
            "status" | "inspect" | "restore" => Vec::new(),
            "verify" => vec![target],
            _ => vec![source, target],
        }
    }

    /// Runs a command with the common options.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meta-migration"));
        command
            .args(arguments)
            .args(["--endpoints", &self.endpoints])
            .args(["--root-path", &self.root_path])
            .args(self.versions(arguments[0]))
            .args(&self.extra)
            .env_clear()
            .env("META_MIGRATION_YES", "true")
            .envs(self.environment.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().unwrap();
        self.running.0.store(child.id().unwrap(), Ordering::SeqCst);
        let ended = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        self.running.0.store(0, Ordering::SeqCst);
        ended.expect("the program did not exit in time").unwrap()
    }
}

/// Fails with the output unless the program exited with this code.
pub(crate) fn expect(code: i32, output: &Output, note: &str) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{note}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Ends the lease of a dead run's lock, so that the next run does not wait for its expiry.
pub(crate) async fn end_lock_lease(case: &Case, store: &impl Store) {
    let held = store
        .range(RangeRequest::key(case.root.lock_key()))
        .await
        .unwrap();
    if let Some(entry) = held.entries.first() {
        store.lease_revoke(entry.lease).await.unwrap();
    }
}
