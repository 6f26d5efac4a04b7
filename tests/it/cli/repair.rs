//! `repair` on a real etcd, on what the official tool leaves.

use super::instance::Instance;
use crate::support::dump::read_dump;

/// The official tool's output for the sample `base`.
async fn official() -> Instance {
    let it = Instance::empty().await;
    for entry in read_dump("base/out.jsonl") {
        if entry.lease == 0
            && let Some(relative) = entry.key.strip_prefix(b"by-dev/meta/")
        {
            let relative = std::str::from_utf8(relative).unwrap();
            it.put(relative, &entry.value).await;
        }
    }
    it
}

#[tokio::test]
async fn repair_makes_verify_pass_and_rollback_returns() {
    let it = official().await;
    let before = it.metadata().await;
    let tool = it.tool();
    let target = ["--target-version", "2.3.22"];
    let with = |command: &[&'static str]| [command, &target].concat();
    tool.run(&with(&["verify"]))
        .expect(6)
        .shows("embedded-form")
        .shows("Run meta-migration repair --target-version 2.3.22");
    tool.run(&with(&["migrate"]))
        .expect(4)
        .says("Run meta-migration repair --target-version 2.3.22");
    tool.run(&with(&["repair", "--dry-run"]))
        .expect(0)
        .shows("embedded-form")
        .shows("Ready: no blocking findings");
    assert_eq!(it.metadata().await, before);
    tool.run(&with(&["repair", "--backup-file", "b.mmb"]))
        .expect(0)
        .shows("Repaired\n")
        .shows("next: start Milvus 2.3.22")
        .shows("To roll back: ");
    let repaired = it.metadata().await;
    assert_ne!(repaired, before);
    tool.run(&with(&["verify"])).expect(0);
    tool.run(&["verify", "--backup", "b.mmb"]).expect(0);
    tool.run(&["status"])
        .expect(0)
        .shows("Migration: repair, done: finished");
    tool.run(&with(&["repair", "--backup-file", "c.mmb"]))
        .expect(0)
        .shows("Nothing to repair");
    tool.run(&with(&["migrate"]))
        .expect(0)
        .shows("Already migrated");
    assert_eq!(it.metadata().await, repaired);
    tool.run(&["rollback", "--dry-run"]).expect(0);
    tool.run(&["rollback"])
        .expect(0)
        .shows("Restored")
        .shows("start the Milvus release that ran before the repair");
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn repair_refuses_2_1_metadata_and_a_missing_target() {
    let it = Instance::small().await;
    let before = it.dump().await;
    let tool = it.tool();
    tool.run(&["repair", "--target-version", "2.3.22"])
        .expect(4)
        .says("Run meta-migration migrate");
    tool.run(&["repair"]).expect(2).says("--target-version");
    tool.run(&["repair", "--target-version", "2.1.4"])
        .expect(2)
        .says("repair works on the 2.2 layout");
    assert_eq!(it.dump().await, before);
}

/// The official tool died after the aliases: its indexes are lost, and a repair must not hide that.
#[tokio::test]
async fn repair_refuses_what_an_interrupted_official_run_left() {
    let it = official().await;
    for (key, _) in it.metadata().await {
        let relative = it.root.strip(&key).unwrap().to_vec();
        let relative = String::from_utf8(relative).unwrap();
        let gone = ["field-index/", "segment-index/", "querycoord-"];
        if gone.iter().any(|prefix| relative.starts_with(prefix)) {
            it.delete(&relative).await;
        }
    }
    let before = it.metadata().await;
    it.tool()
        .run(&["repair", "--target-version", "2.3.22"])
        .expect(4)
        .says("indexes-missing");
    assert_eq!(it.metadata().await, before);
}
