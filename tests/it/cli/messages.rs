//! Messages must fit the command and the metadata.

use std::time::Duration;

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::Tool;

#[tokio::test]
async fn without_metadata_no_milvus_is_mentioned() {
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
    let ended = Tool::new()
        .env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT)
        .run(&["migrate", "--target-version", "2.1.4", "--no-backup"]);
    ended.expect(0).shows("Nothing to do");
    assert!(!ended.stdout.contains("start Milvus"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_2_1_target_needs_no_migration_but_does_not_read_2_2() {
    let it = Instance::small().await;
    let tool = it.tool();
    let plan = ["plan", "--target-version", "2.1.4"];
    let migrate = ["migrate", "--target-version", "2.1.4", "--no-backup"];
    tool.run(&migrate).expect(0).shows("Nothing to do");
    let ended = tool.run(&plan);
    ended
        .expect(0)
        .shows("Nothing to do: the target version needs no migration");
    assert!(!ended.stdout.contains("Ready"), "{}", ended.stdout);
    tool.run(&["migrate", "--target-version", "2.2.16", "--no-backup"])
        .expect(0);
    tool.run(&plan)
        .expect(4)
        .shows("newer-layout")
        .shows("meta-migration rollback")
        .shows("Not ready: the target version cannot read this layout");
    tool.run(&migrate)
        .expect(4)
        .says("newer-layout")
        .says("nothing was changed in etcd");
    tool.run(&["verify", "--target-version", "2.1.4"])
        .expect(2)
        .says("2.1.4 reads the 2.1 layout, and verify checks the 2.2 layout");
    let yaml = format!(
        "cmd.type: run\nconfig: {{sourceVersion: 2.1.0, targetVersion: 2.1.4}}\netcd.endpoints: {}\netcd.rootPath: {}\n",
        it.endpoint(),
        it.root.root_path()
    );
    let file = tool.file("m.yaml", &yaml);
    tool.run(&["-config", file.to_str().unwrap()]).expect(4);
}

#[tokio::test]
async fn the_hint_for_all_findings_keeps_the_options() {
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
async fn a_recorded_backup_is_shown_only_where_it_exists() {
    let it = Instance::small().await;
    let tool = it.tool();
    let target = ["--target-version", "2.2.16"];
    let migrate = ["migrate", target[0], target[1], "--backup-file", "b.mmb"];
    tool.run(&migrate).expect(0);
    tool.run(&migrate).expect(0).shows("b.mmb (");
    std::fs::remove_file(tool.path().join("b.mmb")).unwrap();
    let ended = tool.run(&migrate);
    ended
        .expect(0)
        .shows("Already migrated")
        .says("the backup is not at ");
    assert!(!ended.stdout.contains("b.mmb"), "{}", ended.stdout);
}

/// The form for 2.2.0 loses changes on later releases: stopped, and while Milvus runs.
#[tokio::test]
async fn already_migrated_warns_of_the_form_of_an_earlier_target() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["migrate", "--target-version", "2.2.0", "--no-backup"])
        .expect(0)
        .shows("Migrated\n");
    let again = ["migrate", "--target-version", "2.4.24", "--no-backup"];
    let warning = "to no database, as Milvus 2.2.0 to 2.2.8 writes them";
    tool.run(&again)
        .expect(0)
        .shows("Already migrated")
        .says(warning);
    it.register("rootcoord", Duration::from_secs(60)).await;
    tool.run(&again)
        .expect(0)
        .shows("Already migrated")
        .says(warning);
}

#[tokio::test]
async fn inspect_accepts_the_full_root_as_prefix() {
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
async fn a_running_migrated_instance_is_not_compacted() {
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
