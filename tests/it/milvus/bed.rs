//! The state that Milvus 2.1.0 makes once, and copies of it.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use meta_migration::entry::Entry;
use meta_migration::keys::KeyRange;
use meta_migration::store::{Op, RangeRequest, Store as _};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::support::etcd::{Etcd, Settings};
use crate::support::migration::put_all;
use crate::support::milvus::{Milvus, SOURCE};

/// What 2.1.0 left behind: its metadata in etcd, its files, and what its client saw.
struct State {
    entries: Vec<Entry>,
    folder: tempfile::TempDir,
    seen: Value,
    /// Removes the folder when the test process ends: statics are never dropped.
    _remover: Child,
}

/// A folder and an etcd for servers, one after the other.
pub(crate) struct Bed {
    folder: tempfile::TempDir,
    etcd: Etcd,
    backup: tempfile::TempDir,
}

/// What clients of 2.1.0 saw, as a release has to show it.
pub(crate) async fn seen_by(release: &str) -> Value {
    let mut seen = state().await.seen.clone();
    if release != SOURCE {
        for collection in seen.as_object_mut().unwrap().values_mut() {
            upgrade(collection);
        }
    }
    seen
}

/// Default index names have the field's id from 2.2 on, and no collection is loaded without an index.
fn upgrade(collection: &mut Value) {
    let fields = collection["fields"].as_array().unwrap().clone();
    let indexes = collection["indexes"].as_array_mut().unwrap();
    let has_index = !indexes.is_empty();
    for index in indexes {
        let field = fields.iter().find(|field| field["name"] == index["field"]);
        if index["name"] == "_default_idx" {
            index["name"] = format!("_default_idx_{}", field.unwrap()["id"]).into();
        }
    }
    if !has_index {
        collection.as_object_mut().unwrap().remove("loaded");
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

    /// A copy of everything that 2.1.0 left behind.
    pub(crate) async fn copy() -> Self {
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

    pub(crate) fn start(&self, release: &'static str) -> Milvus {
        Milvus::start(release, self.folder.path(), &self.etcd)
    }

    /// Stops a server. Where it had to be killed, the next one would wait until its sessions expire.
    pub(crate) async fn stop(&self, server: Milvus) {
        server.stop();
        let store = self.etcd.connect().await;
        let leases: BTreeSet<_> = self.all().await.iter().map(|entry| entry.lease).collect();
        for lease in leases.into_iter().filter(|lease| *lease != 0) {
            store.lease_revoke(lease).await.unwrap();
        }
    }

    /// Migrates for a release.
    pub(crate) fn migrate(&self, release: &str) {
        self.run(&["migrate", "--target-version", release]);
    }

    /// Runs the program, which has to succeed.
    pub(crate) fn run(&self, arguments: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_meta-migration"))
            .args(arguments)
            .args(["--endpoints", self.etcd.endpoint()])
            .args(["--source-version", SOURCE, "--backup-file"])
            .arg(self.backup.path().join("before.mmb"))
            .args(["--yes", "--no-progress"])
            .env("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Fails unless etcd holds what 2.1.0 left behind, to the byte.
    pub(crate) async fn assert_restored(&self) {
        let pairs = |entries: &[Entry]| -> Vec<_> {
            let pairs = entries.iter();
            pairs
                .map(|entry| (entry.key.clone(), entry.value.clone()))
                .collect()
        };
        assert!(pairs(&self.entries().await) == pairs(&state().await.entries));
    }

    /// Everything in etcd that is on no lease.
    async fn entries(&self) -> Vec<Entry> {
        let entries = self.all().await.into_iter();
        entries.filter(|entry| entry.lease == 0).collect()
    }

    async fn all(&self) -> Vec<Entry> {
        let store = self.etcd.connect().await;
        let request = RangeRequest::new(KeyRange::prefix("by-dev/"));
        let found = store.range(request).await.unwrap();
        assert!(!found.more);
        found.entries
    }
}

/// Fails with each place where two descriptions differ.
pub(crate) fn assert_same(expected: &Value, found: &Value, when: &str) {
    let mut differences = Vec::new();
    compare(expected, found, "", &mut differences);
    assert!(
        differences.is_empty(),
        "{when}:\n{}",
        differences.join("\n")
    );
}

fn compare(expected: &Value, found: &Value, place: &str, differences: &mut Vec<String>) {
    if let (Value::Object(left), Value::Object(right)) = (expected, found) {
        let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let place = format!("{place}/{name}");
            compare(&expected[name], &found[name], &place, differences);
        }
    } else if expected != found {
        differences.push(format!("{place}: expected {expected}, found {found}"));
    }
}
