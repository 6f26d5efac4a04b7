//! Results for metadata that another tool changed, on a real etcd.

use std::time::Duration;

use super::instance::Instance;
use super::tool::Tool;
use crate::golden;
use crate::support::etcd::{Etcd, Settings, own_root};
use crate::support::metadata::{Metadata, root};
use crate::support::official::{self, Order};

const TARGET: [&str; 2] = ["--target-version", "2.2.16"];

fn read(file: &str) -> official::Image {
    let entries = golden::entries(&golden::load("base", file)).into_iter();
    entries
        .filter(|entry| entry.lease == 0)
        .filter_map(|entry| {
            let relative = root().strip(&entry.key)?.to_vec();
            Some((String::from_utf8(relative).unwrap(), entry.value.into()))
        })
        .collect()
}

/// Runs the drop-in mode.
fn drop_in(it: &Instance, tool: &Tool) -> i32 {
    let yaml = format!(
        "cmd:\n  type: run\nconfig:\n  sourceVersion: 2.1.4\n  targetVersion: 2.2.16\n  \
         backupFilePath: {}\n  waitLock: 0s\n  waitSessions: 0s\n{}",
        tool.path().join("m.bak").display(),
        it.yaml()
    );
    let file = tool.file("m.yaml", &yaml);
    tool.run(&[&format!("-config={}", file.display())]).code
}

#[tokio::test]
async fn an_official_run_killed_after_aliases_is_incomplete() {
    let states = official::states(&read("in.jsonl"), &read("out.jsonl"), Order::Ascending);
    let is_there = |state: &&official::Image| {
        state
            .keys()
            .any(|key| key.starts_with("root-coord/aliases/"))
    };
    let entries = states.iter().find(is_there).unwrap().clone();
    let it = Instance::empty().await;
    it.load(&Metadata { entries }).await;
    let before = it.dump().await;
    let tool = it.tool();
    tool.run(&["migrate", TARGET[0], TARGET[1], "--no-backup", "--yes"])
        .expect(4)
        .says("indexes-missing");
    tool.run(&["plan", TARGET[0], TARGET[1]])
        .expect(4)
        .shows("indexes-missing");
    tool.run(&["verify", TARGET[0], TARGET[1]])
        .expect(6)
        .shows("indexes-missing");
    tool.run(&["status"]).expect(4).shows("not complete");
    tool.run(&["status", "--report-only"])
        .expect(0)
        .shows("not complete");
    assert_eq!(drop_in(&it, &tool), 4);
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_held_lock_is_exit_code_3_in_all_commands() {
    let it = Instance::empty().await;
    it.load(&Metadata {
        entries: read("out.jsonl"),
    })
    .await;
    it.register("migration", Duration::from_secs(60)).await;
    let tool = it.tool();
    tool.run(&[
        "migrate",
        TARGET[0],
        TARGET[1],
        "--no-backup",
        "--yes",
        "--wait-lock",
        "0s",
    ])
    .expect(3);
    tool.run(&["verify", TARGET[0], TARGET[1]]).expect(3);
    assert_eq!(drop_in(&it, &tool), 3);
}

#[tokio::test]
async fn a_wrong_root_path_lists_the_existing_roots() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    let top = it.root.root_path().to_owned();
    for root in [
        format!("{top}/meta"),
        format!("{top}2/meta"),
        format!("{top}-a/b/c/meta"),
        format!("/{top}-slash/meta"),
        format!("-{top}/meta"),
        "meta".to_owned(),
    ] {
        it.put_absolute(&format!("{root}/channelwatch/1/c"), b"")
            .await;
        it.put_absolute(&format!("{root}/root-coord/collection/1"), b"\x08\x01")
            .await;
    }
    it.put_absolute(&format!("{top}/kv/gid/timestamp"), b"")
        .await;
    it.put_absolute(&format!("{top}-new/metadata/session/id"), b"3")
        .await;
    let wrong = own_root();
    let tool = it.tool().env("META_MIGRATION_ROOT_PATH", &wrong);
    for command in [
        &["status"][..],
        &["plan", TARGET[0], TARGET[1]],
        &["backup", "--backup-file", "b.mmb"],
        &["migrate", TARGET[0], TARGET[1], "--no-backup", "--yes"],
        &["verify"],
    ] {
        let ended = tool.run(command);
        ended
            .expect(4)
            .says(&format!("no Milvus metadata under {wrong}/meta"))
            .says(&format!("{top}/meta (--root-path {top})"))
            .says(&format!("{top}2/meta (--root-path {top}2)"))
            .says(&format!("{top}-a/b/c/meta (--root-path {top}-a/b/c)"))
            .says(&format!("/{top}-slash/meta (--root-path /{top}-slash)"))
            .says("meta (--root-path .)")
            .says(&format!("-{top}/meta (--root-path=-{top})"))
            .says(&format!("(--root-path {top}-new --meta-sub-path metadata)"))
            .says("--allow-empty");
    }
    for (option, root) in [
        ("--root-path=.".to_owned(), "meta".to_owned()),
        (format!("--root-path=-{top}"), format!("-{top}/meta")),
    ] {
        let shown = tool.run(&["status", &option]);
        shown.shows(&format!("Instance: {root} on"));
    }
    tool.run(&["status", "--allow-empty"]).expect(0);
    tool.run(&[
        "migrate",
        TARGET[0],
        TARGET[1],
        "--no-backup",
        "--yes",
        "--allow-empty",
    ])
    .expect(0);
    // An instance without collections has keys.
    it.put_absolute(&format!("{wrong}/meta/session/id"), b"3")
        .await;
    tool.run(&["migrate", TARGET[0], TARGET[1], "--no-backup", "--yes"])
        .expect(0);
}
