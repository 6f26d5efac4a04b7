//! Interrupted runs, and the commands that they print to resume and to roll back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meta_migrate::{CancelSource, CancelToken, Environment, Observer, Signal, migrate};
use milvus_meta::transform::CollectionForm;

use super::instance::Instance;
use super::tool::{Running, Tool, within};
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::{Metadata, build, segment_index};
use crate::support::options;

/// Cancels the run as soon as the first keys of a phase were processed.
struct CancelsIn {
    phase: &'static str,
    is_reached: AtomicBool,
    stopper: Mutex<CancelSource>,
}

impl Observer for CancelsIn {
    fn phase_started(&self, name: &str, _: Option<u64>) {
        let is_reached = name == self.phase;
        self.is_reached.store(is_reached, Ordering::Relaxed);
    }

    fn advanced(&self, _: u64) {
        if self.is_reached.load(Ordering::Relaxed) {
            self.stopper.lock().unwrap().stop(Signal::Terminate);
        }
    }
}

/// Leaves a migration unfinished in the middle of `phase`, as a killed run does.
async fn cancel_in(it: &Instance, tool: &Tool, phase: &'static str) {
    let (stopper, stop) = CancelToken::new();
    let environment = Environment {
        stop,
        observer: Arc::new(CancelsIn {
            phase,
            is_reached: AtomicBool::new(false),
            stopper: Mutex::new(stopper),
        }),
        ..Environment::silent()
    };
    let backup = tool.path().join("b.mmb");
    let options = options::migrate(it.root.clone(), CollectionForm::Database, backup);
    migrate(&it.store, &options, &environment)
        .await
        .unwrap_err();
}

const MIGRATE: [&str; 3] = ["migrate", "--target-version", "2.2.16"];

#[tokio::test]
async fn staged_keys_are_shown_and_the_run_resumes() {
    let it = Instance::small().await;
    let tool = it.tool();
    cancel_in(&it, &tool, "stage").await;
    tool.run(&["status"])
        .expect(0)
        .shows("Layout: staged")
        .shows("migrate resumes, rollback deletes the staged keys");
    tool.run(&["verify"])
        .expect(6)
        .shows("a migration is unfinished");
    let ended = tool.run(&[&MIGRATE[..], &["--format", "json"]].concat());
    ended.expect(0);
    assert_eq!(ended.document()["resumed"], true);
    assert_eq!(ended.document()["outcome"], "migrated");
    tool.run(&["verify", "--backup", "b.mmb"]).expect(0);
}

#[tokio::test]
async fn staged_keys_are_rolled_back_without_a_backup() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    cancel_in(&it, &tool, "stage").await;
    std::fs::remove_file(tool.path().join("b.mmb")).unwrap();
    tool.run(&["rollback"]).expect(0).shows("Rolled back");
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn after_the_commit_both_commands_work() {
    for back in [false, true] {
        let it = Instance::small().await;
        let before = it.metadata().await;
        let tool = it.tool();
        cancel_in(&it, &tool, "clean up").await;
        tool.run(&["status"])
            .expect(0)
            .shows("Layout: 2.2")
            .shows("unfinished, 2.2 can start");
        tool.run(&["plan", "--target-version", "2.2.16"])
            .expect(0)
            .shows("Run meta-migration migrate to finish it");
        if back {
            tool.run(&["rollback"]).expect(0).shows("Rolled back");
            assert_eq!(it.metadata().await, before);
        } else {
            tool.run(&MIGRATE)
                .expect(0)
                .shows("resumed and finished an interrupted run");
            tool.run(&["verify", "--backup", "b.mmb"]).expect(0);
        }
    }
}

/// Changes members of the journal.
async fn with_journal(it: &Instance, change: impl FnOnce(&mut serde_json::Value)) {
    let key = it.root.journal_key();
    let dump = it.dump().await;
    let entry = dump.iter().find(|entry| *entry.key == *key).unwrap();
    let mut journal = serde_json::from_slice(&entry.value).unwrap();
    change(&mut journal);
    let key = String::from_utf8(key).unwrap();
    it.put_absolute(&key, journal.to_string().as_bytes()).await;
}

#[tokio::test]
async fn an_interrupted_restore_has_the_same_next_command_everywhere() {
    let it = Instance::small().await;
    let tool = it.tool();
    cancel_in(&it, &tool, "clean up").await;
    with_journal(&it, |journal| journal["phase"] = "restoring".into()).await;
    let file = tool.path().join("b.mmb");
    let restore = format!("meta-migration restore --backup-file {}", file.display());
    tool.run(&["status"]).expect(0).shows(&restore);
    tool.run(&["verify"]).expect(6).shows(&restore);
    tool.run(&["plan", "--target-version", "2.2.16"])
        .expect(3)
        .shows(&restore)
        .shows("# finishes the interrupted restore");
}

#[tokio::test]
async fn rollback_in_another_etcd_is_named_only_if_possible() {
    for has_backup in [true, false] {
        let it = Instance::small().await;
        let tool = it.tool();
        cancel_in(&it, &tool, "clean up").await;
        it.put("root-coord/index/1", b"left").await;
        with_journal(&it, |journal| {
            journal["cluster_id"] = "cdf818194e3a8c32".into();
            if !has_backup {
                journal["backup"] = serde_json::Value::Null;
            }
        })
        .await;
        let refused = tool.run(&MIGRATE);
        refused
            .expect(5)
            .says("cdf818194e3a8c32")
            .says("# saves the current metadata");
        // An unfinished run does not match the expected result of the migration.
        assert!(!refused.stderr.contains("verify"), "{}", refused.stderr);
        if has_backup {
            refused.says("b.mmb --accept-loss   # rolls back anyway");
            tool.run(&["rollback", "--backup-file", "b.mmb", "--accept-loss"])
                .expect(0);
        } else {
            refused.says("cannot be rolled back");
            let back = refused.stderr.contains("--accept-loss");
            assert!(!back, "{}", refused.stderr);
        }
    }
}

#[tokio::test]
async fn an_interrupted_restore_of_2_2_resumes() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&[&MIGRATE[..], &["--backup-file", "b.mmb"]].concat())
        .expect(0);
    let saved = tool.run(&["backup", "--backup-file", "new.mmb", "--format", "json"]);
    saved.expect(0);
    let saved = saved.document();
    with_journal(&it, |journal| {
        journal["phase"] = "restoring".into();
        for member in ["path", "entries", "digest"] {
            journal["backup"][member] = saved[member].clone();
        }
    })
    .await;
    it.put("root-coord/fields/77/1", b"written by 2.2").await;
    let path = saved["path"].as_str().unwrap();
    tool.run(&MIGRATE)
        .expect(5)
        .says(" restore --endpoints ")
        .says(&format!(
            " --backup-file {path} --accept-loss   # rolls back anyway"
        ));
    tool.run(&["restore", "--backup-file", path, "--accept-loss"])
        .expect(0);
    tool.run(&["verify", "--backup", "b.mmb", "--target-version", "2.2.16"])
        .expect(0);
}

#[tokio::test]
async fn a_plan_other_than_the_staged_one_is_rejected() {
    let it = Instance::small().await;
    let tool = it.tool();
    cancel_in(&it, &tool, "stage").await;
    it.delete("root-coord/collection-alias/books").await;
    let before = it.dump().await;
    let backup = tool.path().join("b.mmb");
    tool.run(&MIGRATE)
        .expect(5)
        .says("an unfinished run staged another plan")
        .says("unknown whether the 2.1 metadata is intact")
        .says(&format!("backup: {}", backup.display()))
        .says(&format!(" restore --endpoints {}", it.endpoint()))
        .says(&format!(
            " rollback --endpoints {} --root-path {} --target-version 2.2.16 --accept-loss   # keeps",
            it.endpoint(),
            it.root.root_path()
        ));
    tool.run(&["rollback"])
        .expect(3)
        .says("it was changed since")
        .says(&format!("backup: {}", backup.display()))
        .says("this run changed nothing");
    assert_eq!(it.dump().await, before);
    tool.run(&["rollback", "--accept-loss"])
        .expect(0)
        .says("the 2.1 metadata is not what the backup");
    tool.run(&MIGRATE).expect(0);
}

#[tokio::test]
async fn a_signal_while_waiting_ends_the_run_at_once() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let it = Instance::small().await;
        it.register("rootcoord", Duration::from_secs(600)).await;
        let before = it.dump().await;
        let tool = it.tool();
        let mut running = tool.start(&[&MIGRATE[..], &["--wait-sessions", "10m"]].concat());
        running.wait_for_line("waiting up to");
        running.signal(signal);
        running
            .end()
            .expect(code)
            .says(&format!("ended by SIG{signal}"))
            .says("nothing was changed in etcd");
        assert_eq!(it.dump().await, before);
    }
}

/// Starts a run that writes thousands of keys one by one, and returns while it does.
async fn slow_staging(it: &Instance, tool: &Tool) -> Running {
    let mut metadata = Metadata::small();
    for id in 1000..4000 {
        metadata.put(&format!("indexes/{id}"), &build(id, 10, id));
        let key = format!("root-coord/segment-index/1/7/10/{id}");
        metadata.put(&key, &segment_index(id, id));
    }
    it.load(&metadata).await;
    let slowly = [
        "--max-txn-ops",
        "1",
        "--in-flight",
        "1",
        "--log-level",
        "debug",
    ];
    let backup = ["--backup-file", "b.mmb"];
    let mut running = tool.start(&[&MIGRATE[..], &slowly, &backup].concat());
    running.wait_for_line("phase=\"stage\"");
    running
}

#[tokio::test]
async fn a_signal_while_staging_finishes_the_batch() {
    let it = Instance::empty().await;
    let tool = it.tool();
    let running = slow_staging(&it, &tool).await;
    running.signal("TERM");
    running
        .end()
        .expect(143)
        .says("ended by SIGTERM")
        .says("2.1 untouched: Milvus 2.1 can start, 2.2 must not")
        .says("b.mmb")
        .says("# resumes")
        .says("# rolls back");
    tool.run(&["status"])
        .expect(0)
        .shows("Layout: staged")
        .shows("Lock: free");
    let ended = tool.run(&[&MIGRATE[..], &["--format", "json"]].concat());
    ended.expect(0);
    assert_eq!(ended.document()["resumed"], true);
    tool.run(&["verify", "--backup", "b.mmb"]).expect(0);
}

#[tokio::test]
async fn a_second_signal_ends_the_run_at_once() {
    let mut etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    let tool = it.tool();
    let mut running = slow_staging(&it, &tool).await;
    // No reply arrives any more.
    etcd.stop();
    running.signal("INT");
    running.wait_for_line("press Ctrl-C again to stop now");
    let started = Instant::now();
    running.signal("INT");
    running.end().expect(130);
    within(Duration::from_secs(5), started);
    etcd.resume();
}

/// Whether a run ends within 10 s of a signal while etcd does not respond.
async fn ends_while_etcd_is_stopped(signal: &str) {
    let mut etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    let tool = it.tool();
    let running = slow_staging(&it, &tool).await;
    etcd.stop();
    let started = Instant::now();
    running.signal(signal);
    running
        .end()
        .expect(143)
        .says(&format!("ended by SIG{signal}"))
        .says("# resumes");
    within(Duration::from_secs(10), started);
    etcd.resume();
}

#[tokio::test]
async fn sigterm_ends_a_run_while_etcd_hangs() {
    ends_while_etcd_is_stopped("TERM").await;
}

/// If the tests ignore SIGHUP, as under nohup, so does the program.
#[tokio::test]
async fn sighup_ends_a_run_while_etcd_hangs() {
    ends_while_etcd_is_stopped("HUP").await;
}
