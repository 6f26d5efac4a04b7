//! `repair` on a real etcd, on metadata written by the official tool.

use milvus_meta::proto::v2_2::etcd::CollectionInfo;
use prost::Message as _;

use super::instance::Instance;
use crate::support::dump::read_dump;

/// The official tool's output for the sample `base`.
pub(super) async fn official() -> Instance {
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
        .shows("Rolled back")
        .shows("start the Milvus release that ran before the repair");
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn repair_rejects_2_1_metadata_and_a_missing_target() {
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

/// The official tool was killed after the aliases: the indexes are lost, and a repair must not hide
/// that.
#[tokio::test]
async fn repair_rejects_an_interrupted_official_run() {
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

/// Milvus altered an embedded collection, and the old snapshots were garbage-collected.
pub(super) async fn lose_a_schema(it: &Instance) {
    for (key, value) in it.metadata().await {
        let relative = String::from_utf8(it.root.strip(&key).unwrap().to_vec()).unwrap();
        let is_record = relative.contains("root-coord/collection/");
        let Ok(mut record) = CollectionInfo::decode(value.as_ref()) else {
            continue;
        };
        if !is_record || record.partition_i_ds.is_empty() {
            continue;
        }
        record.partition_i_ds.clear();
        record.partition_names.clear();
        record.partition_created_timestamps.clear();
        record.schema.as_mut().unwrap().fields.clear();
        it.put(&relative, &record.encode_to_vec()).await;
    }
}

#[tokio::test]
async fn repair_restores_lost_schemas_from_a_backup() {
    let it = official().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "before.mmb"])
        .expect(0);
    lose_a_schema(&it).await;
    let before = it.metadata().await;
    let target = ["--target-version", "2.3.22"];
    let with = |command: &[&'static str]| [command, &target].concat();
    tool.run(&with(&["verify"]))
        .expect(6)
        .shows("Run meta-migration repair");
    tool.run(&with(&["repair", "--dry-run"]))
        .expect(4)
        .shows("schema-lost")
        .shows("--from FILE");
    let from = ["repair", "--from", "before.mmb"];
    tool.run(&with(&[&from[..], &["--dry-run"]].concat()))
        .expect(0)
        .shows("schema-restored")
        .shows("before.mmb");
    assert_eq!(it.metadata().await, before);
    tool.run(&with(&[&from[..], &["--backup-file", "b.mmb"]].concat()))
        .expect(0)
        .shows("Repaired\n");
    tool.run(&with(&["verify"])).expect(0);
    tool.run(&["verify", "--backup", "b.mmb"])
        .expect(0)
        .says("restored schemas from another file");
    tool.run(&["rollback"]).expect(0).shows("Rolled back");
    assert_eq!(it.metadata().await, before);
}
