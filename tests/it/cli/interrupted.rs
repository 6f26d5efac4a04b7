//! Runs that are ended, and what they say about both ways on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meta_migration::backup::WriteOptions;
use meta_migration::engine::{
    BackupTarget, Environment, Limits, MigrateOptions, Observer, Signal, Stop, Stopper, Waits,
    migrate,
};
use meta_migration::transform::{CollectionForm, OnBrokenRecord};

use super::instance::Instance;
use super::tool::Tool;

/// Asks the run to end as soon as a phase begins.
struct EndsAt {
    phase: &'static str,
    stopper: Mutex<Stopper>,
}

impl Observer for EndsAt {
    fn phase_started(&self, name: &str, _: Option<u64>) {
        if name == self.phase {
            self.stopper.lock().unwrap().stop(Signal::Terminate);
        }
    }
}

/// Leaves a migration unfinished, as a killed run does: ended when `phase` begins.
async fn end_at(it: &Instance, tool: &Tool, phase: &'static str) {
    let (stopper, stop) = Stop::new();
    let environment = Environment {
        stop,
        observer: Arc::new(EndsAt {
            phase,
            stopper: Mutex::new(stopper),
        }),
        holder: "test".to_owned(),
    };
    let options = MigrateOptions {
        root: it.root.clone(),
        source_version: None,
        target_version: "2.2.16".parse().unwrap(),
        form: CollectionForm::Database,
        on_broken_record: OnBrokenRecord::Fail,
        backup: Some(BackupTarget {
            path: tool.path().join("b.mmb"),
            options: WriteOptions::default(),
            source_version: None,
        }),
        waits: Waits::default(),
        limits: Limits::default(),
    };
    migrate(&it.store, &options, &environment)
        .await
        .unwrap_err();
}

const MIGRATE: [&str; 3] = ["migrate", "--target-version", "2.2.16"];

#[tokio::test]
async fn what_was_staged_is_shown_and_carried_on() {
    let it = Instance::small().await;
    let tool = it.tool();
    end_at(&it, &tool, "check").await;
    tool.run(&["status"])
        .expect(0)
        .shows("Layout: staged")
        .shows("migrate goes on, rollback goes back");
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
async fn what_was_staged_goes_without_a_backup() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    end_at(&it, &tool, "check").await;
    std::fs::remove_file(tool.path().join("b.mmb")).unwrap();
    tool.run(&["rollback"]).expect(0).shows("Restored");
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn another_plan_than_the_staged_one_stops_with_both_ways() {
    let it = Instance::small().await;
    let tool = it.tool();
    end_at(&it, &tool, "check").await;
    it.delete("root-coord/collection-alias/books").await;
    let before = it.dump().await;
    let backup = tool.path().join("b.mmb");
    tool.run(&MIGRATE)
        .expect(5)
        .says("an unfinished run staged another plan")
        .says("Milvus 2.1 can start, 2.2 must not")
        .says(&format!("backup: {}", backup.display()))
        .says(" migrate --target-version 2.2.16   # goes on")
        .says(&format!(
            " rollback --endpoints {} --root-path {}   # goes back",
            it.endpoint(),
            it.root.root_path()
        ));
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_signal_while_waiting_ends_at_once_and_changes_nothing() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let it = Instance::small().await;
        it.register("rootcoord", Duration::from_secs(600)).await;
        let before = it.dump().await;
        let tool = it.tool();
        let mut running = tool.start(&[&MIGRATE[..], &["--wait-sessions", "10m"]].concat());
        running.wait_until_told("waiting up to");
        running.signal(signal);
        running
            .end()
            .expect(code)
            .says(&format!("ended by SIG{signal}"))
            .says("nothing was changed in etcd");
        assert_eq!(it.dump().await, before);
    }
}
