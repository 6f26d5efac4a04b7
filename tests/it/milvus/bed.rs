//! The state created once by Milvus 2.1.0, and copies of it.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meta_store::{Op, RangeRequest, Store as _};
use milvus_meta::entry::Entry;
use milvus_meta::keys::KeyRange;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::compare::{assert_same, upgraded};
use crate::support::etcd::{Etcd, Settings};
use crate::support::migration::is_history;
use crate::support::migration::put_all;
use crate::support::milvus::{Milvus, Place, SOURCE};

const ROOT: &str = "by-dev";
/// Milvus builds no index for smaller segments.
const ROWS_INDEXED: i64 = 1024;
/// How long a release may take to build indexes. 2.3 checks for missing ones once a minute.
const BUILD_LIMIT: Duration = Duration::from_secs(240);

/// The state of 2.1.0: its metadata in etcd, its files, and the results of its client.
struct State {
    entries: Vec<Entry>,
    folder: tempfile::TempDir,
    seen: Value,
    /// Removes the folder when the test process ends: statics are never dropped.
    _remover: Child,
}

/// A folder and an etcd for one server at a time.
pub(super) struct Bed {
    folder: tempfile::TempDir,
    pub(super) etcd: Etcd,
    backup: tempfile::TempDir,
}

/// The results of a 2.1.0 client, as a later release must show them.
pub(super) async fn seen_by(release: &str) -> Value {
    let seen = state().await.seen.clone();
    if release == SOURCE {
        seen
    } else {
        upgraded(seen)
    }
}

async fn state() -> &'static State {
    static STATE: OnceCell<State> = OnceCell::const_new();
    STATE.get_or_init(make).await
}

async fn make() -> State {
    let bed = Bed::empty();
    let server = bed.start(SOURCE);
    server.client(&["fill"]);
    let seen = server.describe();
    bed.stop(server).await;
    let entries = bed.entries().await;
    let remover = Command::new("sh")
        .args(["-c", "read -r _; rm -rf \"$1\"", "remover"])
        .arg(bed.folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    State {
        entries,
        folder: bed.folder,
        seen,
        _remover: remover,
    }
}

impl Bed {
    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            etcd: Etcd::start(Settings::default()),
            backup: tempfile::tempdir().unwrap(),
        }
    }

    /// A copy of the complete state of 2.1.0.
    pub(super) async fn copy() -> Self {
        let state = state().await;
        let bed = Self::empty();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(state.folder.path().join("."))
            .arg(bed.folder.path())
            .status();
        assert!(copied.unwrap().success());
        let store = bed.etcd.connect().await;
        for batch in state.entries.chunks(64) {
            let puts = batch.iter();
            let ops = puts.map(|entry| Op::put(entry.key.clone(), entry.value.clone()));
            put_all(&store, ops.collect()).await;
        }
        bed
    }

    pub(super) fn start(&self, release: &str) -> Milvus {
        let place = Place {
            folder: self.folder.path().to_owned(),
            etcd: self.etcd.address().to_owned(),
            root: ROOT.to_owned(),
        };
        Milvus::start(release, &place)
    }

    /// Starts a release and checks that it shows the results of 2.1.0 clients.
    pub(super) async fn start_as_2_1(&self, release: &str) -> Milvus {
        let server = self.start(release);
        let expected = seen_by(release).await;
        assert_same(&expected, &server.describe(), release, "first start");
        server
    }

    /// Stops a server. If it had to be killed, its sessions are ended, which the next server would
    /// wait for.
    pub(super) async fn stop(&self, server: Milvus) {
        server.stop();
        self.end_sessions().await;
    }

    /// Kills a server as a power failure would.
    pub(super) async fn kill(&self, server: Milvus) {
        server.kill();
        self.end_sessions().await;
    }

    pub(super) async fn end_sessions(&self) {
        let store = self.etcd.connect().await;
        let leases: BTreeSet<_> = self.all().await.iter().map(|entry| entry.lease).collect();
        for lease in leases.into_iter().filter(|lease| *lease != 0) {
            store.lease_revoke(lease).await.unwrap();
        }
    }

    /// Migrates for a release.
    pub(super) fn migrate(&self, release: &str) {
        self.run(&["migrate", "--target-version", release]);
    }

    /// Runs the program, which must succeed; returns its standard output.
    pub(super) fn run(&self, arguments: &[&str]) -> String {
        let mut program = self.program(arguments, self.etcd.endpoint());
        let output = program.output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The program with etcd at `endpoint`.
    pub(super) fn program(&self, arguments: &[&str], endpoint: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meta-migration"));
        command
            .args(arguments)
            .args(["--endpoints", endpoint])
            .arg("--no-progress")
            .env("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true")
            .stdin(Stdio::null());
        if !matches!(arguments[0], "inspect" | "verify") {
            command.arg("--yes");
        }
        if matches!(arguments[0], "migrate" | "rollback") {
            command.args(["--source-version", SOURCE]);
        }
        if matches!(arguments[0], "migrate" | "repair") {
            let count = std::fs::read_dir(self.backup.path()).unwrap().count();
            let backup = self.backup.path().join(format!("{count}.mmb"));
            command.arg("--backup-file").arg(backup);
        }
        command
    }

    /// Waits until each segment with enough rows has its indexes.
    pub(super) fn wait_for_indexes(&self, release: &str) {
        let deadline = Instant::now() + BUILD_LIMIT;
        loop {
            let missing = self.missing_indexes();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "Milvus {release} does not build {missing:?}"
            );
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Index names and segments without an index file.
    pub(super) fn missing_indexes(&self) -> BTreeSet<(String, i64)> {
        let lines = self.run(&["inspect"]);
        let records: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |family: &'static str| {
            let records = records.iter();
            records
                .filter(move |record| record["family"] == family)
                .map(|record| &record["value"])
        };
        let built: BTreeSet<_> = of("segment-index")
            .filter(|record| record["state"] == "Finished")
            .map(|record| (number(&record["segmentID"]), number(&record["indexID"])))
            .collect();
        let segments: Vec<_> = of("datacoord-meta/s")
            .filter(|segment| segment["state"] == "Flushed")
            .filter(|segment| number(&segment["num_of_rows"]) >= Some(ROWS_INDEXED))
            .collect();
        let indexes = of("field-index").filter(|record| record["deleted"] != true);
        indexes
            .map(|record| &record["index_info"])
            .flat_map(|index| segments.iter().map(move |segment| (index, segment)))
            .filter(|(index, segment)| index["collectionID"] == segment["collectionID"])
            .filter(|(index, segment)| {
                !built.contains(&(number(&segment["ID"]), number(&index["indexID"])))
            })
            .map(|(index, segment)| {
                let name = index["index_name"].as_str().unwrap().to_owned();
                (name, number(&segment["ID"]).unwrap())
            })
            .collect()
    }

    /// Fails unless etcd contains exactly the state of 2.1.0.
    pub(super) async fn assert_restored(&self) {
        let pairs = |entries: &[Entry]| -> Vec<_> {
            let pairs = entries.iter();
            pairs
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect()
        };
        assert!(pairs(&self.entries().await) == pairs(&state().await.entries));
    }

    /// Whether etcd holds a key below the meta root.
    pub(super) async fn has_keys(&self, prefix: &str) -> bool {
        let prefix = format!("{ROOT}/meta/{prefix}");
        let entries = self.all().await;
        let mut keys = entries.iter().map(|entry| &entry.key);
        keys.any(|key| key.starts_with(prefix.as_bytes()))
    }

    /// All entries in etcd without a lease.
    async fn entries(&self) -> Vec<Entry> {
        let entries = self.all().await.into_iter();
        entries
            .filter(|entry| entry.lease == 0 && !is_history(&entry.key))
            .collect()
    }

    async fn all(&self) -> Vec<Entry> {
        let store = self.etcd.connect().await;
        let request = RangeRequest::new(KeyRange::prefix(format!("{ROOT}/")));
        let found = store.range(request).await.unwrap();
        assert!(!found.more);
        found.entries
    }
}

/// A 64-bit number in protobuf JSON form (a string) or as a JSON number.
fn number(value: &Value) -> Option<i64> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_i64())
}
