//! Sequences of several commands on a real etcd.

use std::time::Duration;

use super::instance::Instance;
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::Metadata;

const VERSIONS: [&str; 4] = ["--source-version", "2.1.4", "--target-version", "2.2.16"];

fn with_versions<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &VERSIONS].concat()
}

#[tokio::test]
async fn migrate_verify_and_rollback_restore_every_byte() {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let tool = it.tool();
    let migrate = with_versions(&["migrate", "--backup-file", "b.mmb"]);
    tool.run(&migrate)
        .expect(0)
        .shows("Migrated")
        .shows("124 new keys, 0 rewritten, 80 deleted; database form")
        .shows("b.mmb (160 entries, digest ")
        .shows("next: start Milvus 2.2.16")
        .shows("To roll back: ")
        .shows(" rollback --endpoints ");
    assert_ne!(it.metadata().await, before);
    tool.run(&["verify"])
        .expect(0)
        .shows("complete and consistent");
    tool.run(&["verify", "--backup", "b.mmb"])
        .expect(0)
        .shows("matches the expected result of migrating the backup");
    tool.run(&["status"])
        .expect(0)
        .shows("Layout: 2.2")
        .shows("Migration: done")
        .shows("for 2.2.16, database form");
    tool.run(&["rollback", "--source-version", "2.1.4"])
        .expect(0)
        .shows("Rolled back")
        .shows("80 keys put, 124 deleted")
        .shows("next: start Milvus 2.1.4");
    assert_eq!(it.metadata().await, before);
    tool.run(&["status"])
        .expect(0)
        .shows("Layout: 2.1")
        .shows("Migration: none recorded");
}

#[tokio::test]
async fn d54_success_reports_the_result_and_the_check() {
    let it = Instance::small().await;
    it.tool()
        .run(&with_versions(&["migrate", "--backup-file", "b.mmb"]))
        .expect(0)
        .shows("Migrated\n")
        .shows("verified: all keys match the plan")
        .shows("next: start Milvus 2.2.16");
}

#[tokio::test]
async fn d52_a_second_run_reports_already_migrated() {
    let it = Instance::small().await;
    let tool = it.tool();
    let migrate = with_versions(&["migrate", "--backup-file", "b.mmb"]);
    tool.run(&migrate).expect(0);
    let after = it.dump().await;
    tool.run(&migrate).expect(0).shows("Already migrated");
    assert_eq!(it.dump().await, after);

    // Registered in between: a running migrated cluster is accepted.
    it.register("rootcoord", Duration::from_secs(60)).await;
    tool.run(&migrate).expect(0).shows("Already migrated");
}

#[tokio::test]
async fn d6_a_backup_is_made_by_default() {
    let it = Instance::small().await;
    let tool = it.tool();
    let ended = tool.run(&with_versions(&["migrate", "--format", "json"]));
    ended.expect(0);
    let path = ended.document()["backup"]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = tool.path().join(&path);
    assert!(made.is_file(), "{path}");
    assert!(
        path.contains(&format!("{}-meta", it.root.root_path())),
        "{path}"
    );
    tool.run(&["backup", "check", &path]).expect(0);
}

#[tokio::test]
async fn d8_an_existing_file_is_never_overwritten() {
    let it = Instance::small().await;
    let tool = it.tool();
    let existing = tool.file("b.mmb", "an older backup");
    let ended = tool.run(&with_versions(&[
        "migrate",
        "--backup-file",
        "b.mmb",
        "--format",
        "json",
    ]));
    ended.expect(0);
    let made = ended.document()["backup"]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(made, existing.display().to_string());
    assert_eq!(
        std::fs::read_to_string(existing).unwrap(),
        "an older backup"
    );
    tool.run(&["rollback"]).expect(0).shows("Rolled back");
}

#[tokio::test]
async fn rollback_without_a_backup_is_rejected() {
    let it = Instance::small().await;
    let tool = it.tool();
    let ended = tool.run(&with_versions(&["migrate", "--no-backup"]));
    ended.expect(0);
    assert!(!ended.stdout.contains("roll back"), "{}", ended.stdout);
    tool.run(&["rollback"])
        .expect(2)
        .says("no backup to roll back to is known")
        .says("--backup-file");
}

#[tokio::test]
async fn restore_to_another_root_gives_the_same_metadata() {
    let it = Instance::sample().await;
    let other = Instance::empty().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb", "--level", "9"])
        .expect(0);
    let to = other.root.root_path().to_owned();
    let restore = ["restore", "--backup-file", "b.mmb", "--to-root", &to];
    tool.run(&[&restore[..], &["--dry-run"]].concat())
        .expect(0)
        .shows("Dry run: no changes")
        .shows("160 keys put, 0 deleted");
    assert!(other.dump().await.is_empty());
    tool.run(&restore).expect(0).shows("160 keys put");
    let moved = it.metadata().await.into_iter().map(|(key, value)| {
        let relative = it.root.strip(&key).unwrap().to_vec();
        (other.root.join(&relative).into(), value)
    });
    assert_eq!(other.metadata().await, moved.collect::<Vec<_>>());
    tool.run(&restore).expect(0).shows("No changes");
}

#[tokio::test]
async fn a_backup_of_another_root_names_to_root() {
    let it = Instance::small().await;
    let other = Instance::empty().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    tool.run(&[
        "restore",
        "--backup-file",
        "b.mmb",
        "--root-path",
        other.root.root_path(),
    ])
    .expect(2)
    .says(&format!("is of {}", it.root))
    .says("--to-root");
    assert!(other.dump().await.is_empty());
}

#[tokio::test]
async fn keep_extra_keeps_keys_missing_from_the_backup() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    it.put("datacoord-meta/extra", b"x").await;
    let kept = tool.run(&[
        "restore",
        "--backup-file",
        "b.mmb",
        "--keep-extra",
        "--format",
        "json",
    ]);
    kept.expect(0);
    assert_eq!(kept.document()["kept"], 1);
    assert_eq!(kept.document()["outcome"], "unchanged");
    let gone = tool.run(&["restore", "--backup-file", "b.mmb", "--format", "json"]);
    gone.expect(0);
    assert_eq!(gone.document()["delete"], 1);
}

#[tokio::test]
async fn d17_later_writes_are_lost_only_if_accepted() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&with_versions(&["migrate", "--backup-file", "b.mmb"]))
        .expect(0);
    it.put("root-coord/fields/77/1", b"written by 2.2").await;
    let migrated = it.dump().await;
    tool.run(&["rollback"])
        .expect(3)
        .says("the metadata changed after the migration was finished")
        .says("root-coord/fields/77/1")
        .says("--accept-loss")
        .says("nothing was changed in etcd");
    tool.run(&["rollback", "--dry-run"])
        .expect(3)
        .says("keys put,")
        .says(" --accept-loss   # rolls back anyway");
    assert_eq!(it.dump().await, migrated);
    tool.run(&["rollback", "--accept-loss"]).expect(0);
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn a_journal_of_another_etcd_allows_a_rollback() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&with_versions(&["migrate", "--backup-file", "b.mmb"]))
        .expect(0);
    let key = it.root.journal_key();
    let dump = it.dump().await;
    let entry = dump.iter().find(|entry| *entry.key == *key).unwrap();
    let mut journal: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    journal["cluster_id"] = "cdf818194e3a8c32".into();
    let key = String::from_utf8(key).unwrap();
    it.put_absolute(&key, journal.to_string().as_bytes()).await;
    tool.run(&["rollback"])
        .expect(3)
        .says("cdf818194e3a8c32")
        .says("verify")
        .says(" --accept-loss   # rolls back anyway")
        .says("nothing was changed in etcd");
    tool.run(&["verify", "--backup", "b.mmb"]).expect(0);
    tool.run(&["rollback", "--accept-loss"]).expect(0);
    assert_eq!(it.metadata().await, before);
}

#[tokio::test]
async fn transactions_adapt_to_a_low_operation_limit() {
    let etcd = Etcd::start(Settings {
        max_txn_ops: Some(24),
        ..Settings::default()
    });
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    it.tool()
        .run(&with_versions(&[
            "migrate",
            "--backup-file",
            "b.mmb",
            "--in-flight",
            "2",
        ]))
        .expect(0);
    let other = Instance::on(&etcd).await;
    other.load(&Metadata::small()).await;
    other
        .tool()
        .run(&with_versions(&[
            "migrate",
            "--backup-file",
            "b.mmb",
            "--max-txn-ops",
            "20",
        ]))
        .expect(0);
}

#[tokio::test]
async fn compact_reports_the_size_before_and_after() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let ended = it.tool().run(&with_versions(&[
        "migrate",
        "--backup-file",
        "b.mmb",
        "--compact",
        "--format",
        "json",
    ]));
    ended
        .expect(0)
        .says("compacted http://")
        .says(" before, ")
        .says(" after");
    assert_eq!(ended.document()["outcome"], "migrated");
}

#[tokio::test]
async fn the_form_follows_the_target_or_the_option() {
    for (arguments, form) in [
        (&["--target-version", "2.2.8"][..], "split"),
        (&["--target-version", "v2.2.9"], "database"),
        (
            &["--target-version", "2.2.16", "--collection-form", "split"],
            "split",
        ),
        (&["--collection-form", "embedded"], "embedded"),
        (&["--collection-form", "database"], "database"),
    ] {
        let it = Instance::small().await;
        let tool = it.tool();
        let ended = tool.run(&[&["migrate", "--format", "json"], arguments].concat());
        ended.expect(0);
        assert_eq!(
            ended.document()["plan"]["collection_form"],
            form,
            "{arguments:?}"
        );
        let path = ended.document()["backup"]["path"]
            .as_str()
            .unwrap()
            .to_owned();
        tool.run(&["verify", "--backup", &path]).expect(0);
    }
}
