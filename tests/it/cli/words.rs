//! What is said has to fit what was asked and what is there.

use std::time::Duration;

use super::NOBODY;
use super::instance::Instance;
use super::tool::Tool;

#[tokio::test]
async fn where_nothing_is_to_be_done_nothing_is_to_be_started() {
    let empty = Instance::empty().await;
    let migrate = [
        "migrate",
        "--target-version",
        "2.2.16",
        "--no-backup",
        "--allow-empty",
    ];
    let ended = empty.tool().run(&migrate);
    ended.expect(0).shows("Nothing to do");
    assert!(!ended.stdout.contains("start Milvus"), "{}", ended.stdout);
    let ended = Tool::new().env("META_MIGRATION_ENDPOINTS", NOBODY).run(&[
        "migrate",
        "--target-version",
        "2.1.4",
        "--no-backup",
    ]);
    ended.expect(0).shows("Nothing to do");
    assert!(!ended.stdout.contains("start Milvus"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_plan_for_a_2_1_target_is_not_ready_but_has_nothing_to_do() {
    let it = Instance::small().await;
    let tool = it.tool();
    let plan = ["plan", "--target-version", "2.1.4"];
    let ended = tool.run(&plan);
    ended
        .expect(0)
        .shows("Nothing to do: the target version needs no migration");
    assert!(!ended.stdout.contains("Ready"), "{}", ended.stdout);
    tool.run(&["migrate", "--target-version", "2.2.16", "--no-backup"])
        .expect(0);
    tool.run(&plan)
        .expect(0)
        .shows("warning")
        .shows("use rollback")
        .shows("Not ready: the target version cannot read this layout");
}

#[tokio::test]
async fn the_plan_that_reports_all_findings_is_one_of_the_same_file_and_form() {
    let it = Instance::small().await;
    it.put("root-coord/collection/100", b"\xff").await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "old.mmb"]).expect(0);
    let migrate = [
        "migrate",
        "--target-version",
        "2.2.16",
        "--collection-form",
        "split",
    ];
    tool.run(&[&migrate[..], &["--from", "old.mmb", "--to", "new.mmb"]].concat())
        .expect(4)
        .says(" --from old.mmb --collection-form split   # shows all findings");
    tool.run(&migrate)
        .expect(4)
        .says(" --target-version 2.2.16 --collection-form split   # shows all findings");
}

#[tokio::test]
async fn a_prefix_that_is_the_full_root_selects_everything() {
    let it = Instance::small().await;
    let tool = it.tool();
    let all = tool.run(&["inspect"]);
    let slash = format!("{}/", it.root.meta_root());
    for prefix in [it.root.meta_root(), slash.as_str()] {
        let ended = tool.run(&["inspect", "--prefix", prefix]);
        ended.expect(0);
        assert_eq!(ended.stdout, all.stdout);
    }
    assert!(!all.stdout.is_empty());
}

#[tokio::test]
async fn a_migrated_instance_that_runs_is_not_compacted() {
    let it = Instance::small().await;
    let tool = it.tool();
    let migrate = ["migrate", "--target-version", "2.2.16", "--no-backup"];
    tool.run(&migrate).expect(0);
    it.register("rootcoord", Duration::from_secs(60)).await;
    let ended = tool.run(&[&migrate[..], &["--compact"]].concat());
    ended
        .expect(0)
        .shows("Already migrated")
        .says("etcd was not compacted: Milvus is not stopped: ");
    assert!(!ended.stderr.contains("compacted http"), "{}", ended.stderr);
}
