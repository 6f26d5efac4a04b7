//! Backup files that contain several instances, or only part of one.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::instance::Instance;
use super::tool::{Tool, members};
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::Metadata;
use meta_fuzz::backups::file;

/// Two instances in one etcd, and its snapshot `both.db`. The second instance has one more key.
async fn two_in_one_snapshot() -> (Etcd, Instance, Instance, Tool) {
    let etcd = Etcd::start(Settings::default());
    let (one, two) = (Instance::on(&etcd).await, Instance::on(&etcd).await);
    one.load(&Metadata::small()).await;
    two.load(&Metadata::small()).await;
    two.put("more", b"12").await;
    let tool = one.tool();
    save_snapshot(&etcd, &tool.path().join("both.db")).await;
    (etcd, one, two, tool)
}

/// Writes what `etcdctl snapshot save` writes.
pub(super) async fn save_snapshot(etcd: &Etcd, path: &Path) {
    let mut client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    let mut snapshot = client.snapshot().await.unwrap();
    let mut written = std::fs::File::create(path).unwrap();
    while let Some(part) = snapshot.message().await.unwrap() {
        written.write_all(part.blob()).unwrap();
    }
}

#[tokio::test]
async fn restore_takes_the_named_instance_of_a_snapshot() {
    let (_etcd, _, two, tool) = two_in_one_snapshot().await;
    let restore = ["restore", "--backup-file", "both.db", "--to-root", "moved"];
    let from = ["--root-path", two.root.root_path()];
    tool.run(&[&restore[..], &from].concat()).expect(0);
    let ended = tool.run(&[
        "inspect",
        "--root-path",
        "moved",
        "--summary",
        "--format",
        "json",
    ]);
    let keys = |families: &serde_json::Value| {
        let counts = families.as_array().unwrap().iter();
        counts
            .map(|family| family["keys"].as_u64().unwrap())
            .sum::<u64>()
    };
    let moved = keys(&ended.document()["families"]);
    assert_eq!(moved, two.metadata().await.len() as u64);
    // The other instance has one key less, so it was not restored.
    tool.run(&restore).expect(0).shows("0 keys put, 1 deleted");
}

#[tokio::test]
async fn verify_takes_its_instance_of_a_snapshot() {
    let (_etcd, one, two, tool) = two_in_one_snapshot().await;
    for it in [&one, &two] {
        let at = ["--root-path", it.root.root_path()];
        let migrate = ["migrate", "--target-version", "2.2.16", "--no-backup"];
        tool.run(&[&migrate[..], &at].concat()).expect(0);
        tool.run(&[&["verify", "--backup", "both.db"][..], &at].concat())
            .expect(0)
            .shows("matches the expected result of migrating the backup");
    }
}

#[tokio::test]
async fn a_partial_backup_is_reported_with_its_families() {
    let it = Instance::empty().await;
    let tool = it.tool();
    let seed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fuzz/corpus/backups/seed-relative"
    );
    let bytes = file(&std::fs::read(seed).unwrap());
    std::fs::write(tool.path().join("part.bak"), bytes).unwrap();
    tool.run(&["backup", "check", "part.bak"])
        .expect(0)
        .shows("partial metadata: ")
        .shows("root-coord/collection");
    let ended = tool.run(&["backup", "check", "part.bak", "--format", "json"]);
    let families = ended.document()["only_families"].clone();
    assert_eq!(families.as_array().unwrap().len(), 11);
    let to = it.root.root_path();
    tool.run(&["restore", "--backup-file", "part.bak", "--to-root", to])
        .expect(0)
        .says("holds only a part of the metadata")
        .says("everything else stays as it is");
    tool.run(&["backup", "--backup-file", "complete.mmb"])
        .expect(0);
    let ended = tool.run(&["backup", "check", "complete.mmb", "--format", "json"]);
    assert!(members(&ended.document()).contains(&"only_families"));
    assert_eq!(ended.document()["only_families"], json!(null));
}
