//! The diff output of dry runs and `backup diff`.

use serde_json::json;

use super::instance::Instance;

const MIGRATE: [&str; 6] = [
    "migrate",
    "--yes",
    "--target-version",
    "2.2.16",
    "--backup-file",
    "b.mmb",
];

#[tokio::test]
async fn rollback_dry_run_groups_the_diff() {
    let it = Instance::sample().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&MIGRATE).expect(0);
    let after = it.metadata().await;
    let ended = tool.run(&["rollback", "--dry-run", "--format", "json"]);
    ended.expect(0);
    let found = ended.document();
    let diff = &found["diff"];
    assert_eq!(
        (&diff["added"], &diff["removed"], &diff["changed"]),
        (&json!(80), &json!(124), &json!(0))
    );
    let families = diff["families"].as_array().unwrap();
    let removed: Vec<_> = families.iter().filter(|it| it["removed"] != 0).collect();
    assert!(
        removed.iter().any(|it| it["name"] == "field-index"),
        "{diff}"
    );
    for family in families {
        let first = &family["keys"][0];
        let key = first["key"].as_str().unwrap();
        let side = if first["change"] == "added" {
            &before
        } else {
            &after
        };
        assert!(
            side.iter().any(|(other, _)| key.as_bytes() == other),
            "{key}"
        );
    }
    let collections = diff["collections"].as_array().unwrap();
    assert!(!collections.is_empty());
    for collection in collections {
        assert!(collection["id"].is_string(), "{collection}");
        assert!(collection["name"].is_string(), "{collection}");
    }
    let name = collections[0]["name"].as_str().unwrap();
    tool.run(&["rollback", "--dry-run"])
        .expect(0)
        .shows("FAMILY")
        .shows("COLLECTION")
        .shows(name)
        .shows("- ")
        .shows("field-index");
    assert_eq!(it.metadata().await, after, "nothing is written");
}

#[tokio::test]
async fn backup_diff_compares_a_file_with_etcd() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "a.mmb"]).expect(0);
    tool.run(&["backup", "diff", "a.mmb", "etcd"])
        .expect(0)
        .shows("0 added, 0 removed, 0 changed");
    it.put("root-coord/credential/users/new", b"{}").await;
    it.put("root-coord/collection-alias/a\u{202e}b", b"x").await;
    let compare = |files: [&str; 2]| {
        let ended = tool.run(&[&["backup", "diff"], &files[..], &["--format", "json"]].concat());
        ended.expect(6);
        ended.document()
    };
    let found = compare(["a.mmb", "etcd"]);
    assert_eq!((&found["added"], &found["removed"]), (&json!(2), &json!(0)));
    assert_eq!(found["differences"].as_array().unwrap().len(), 2);
    let found = compare(["etcd", "a.mmb"]);
    assert_eq!((&found["added"], &found["removed"]), (&json!(0), &json!(2)));
    let ended = tool.run(&["backup", "diff", "a.mmb", "etcd"]);
    ended.expect(6).shows("+ ").shows("2 added, 0 removed");
    assert!(!ended.stdout.contains('\u{202e}'), "{}", ended.stdout);
    tool.run(&["backup", "diff", "etcd", "etcd"])
        .expect(2)
        .says("name a backup file");
}

#[tokio::test]
async fn restore_of_a_family_shows_and_changes_that_family() {
    let it = Instance::small().await;
    let tool = it.tool();
    let before = it.metadata().await;
    tool.run(&["backup", "--backup-file", "a.mmb"]).expect(0);
    it.put("root-coord/credential/users/new", b"{}").await;
    it.put("root-coord/collection-alias/other", b"x").await;
    let restore = "restore --backup-file a.mmb --family root-coord/collection-alias";
    let restore: Vec<&str> = restore.split(' ').collect();
    let ended = tool.run(&[&restore[..], &["--dry-run", "--format", "json"]].concat());
    ended.expect(0);
    let found = ended.document();
    assert_eq!(found["families"], json!(["root-coord/collection-alias"]));
    assert_eq!((&found["put"], &found["delete"]), (&json!(0), &json!(1)));
    assert_eq!(found["diff"]["families"].as_array().unwrap().len(), 1);
    tool.run(&restore)
        .expect(0)
        .shows("0 keys put, 1 deleted of root-coord/collection-alias")
        .shows("verified: the restored families match the backup");
    tool.run(&restore)
        .expect(0)
        .shows("No changes: the families");
    assert_eq!(it.metadata().await.len(), before.len() + 1);
    let runs = tool.run(&["history", "--format", "json"]).document();
    let families = &runs["runs"][0]["families"];
    assert_eq!(*families, json!(["root-coord/collection-alias"]));
    tool.run(&["restore", "--backup-file", "a.mmb", "--family", "aliases"])
        .expect(2)
        .says("--family");
}

#[tokio::test]
async fn restore_to_another_root_lists_stale_root_values() {
    let it = Instance::small().await;
    let tool = it.tool();
    let old = it.root.root_path().to_owned();
    let named = format!("channel {old}-rootcoord-dml_0 of it");
    it.put("channelwatch/1/named", named.as_bytes()).await;
    tool.run(&["backup", "--backup-file", "a.mmb"]).expect(0);
    let new = format!("{old}-copy");
    let restore = ["restore", "--backup-file", "a.mmb", "--to-root", &new];
    let ended = tool.run(&[&restore[..], &["--dry-run", "--format", "json"]].concat());
    ended.expect(0);
    let found = ended.document()["old_root"].clone();
    assert_eq!((&found["root"], &found["values"]), (&json!(old), &json!(1)));
    assert_eq!(
        found["keys"],
        json!([format!("{new}/meta/channelwatch/1/named")])
    );
    tool.run(&[&restore[..], &["--dry-run"]].concat())
        .expect(0)
        .shows(&format!("1 value contains the old root path {old:?}"));
    tool.run(&[&restore[..], &["--yes"]].concat())
        .expect(0)
        .shows("1 value contains the old root path");
}

#[tokio::test]
async fn prune_dry_run_deletes_nothing() {
    let it = Instance::small().await;
    let tool = it.tool();
    std::fs::create_dir(tool.path().join("store")).unwrap();
    for value in ["1", "2"] {
        it.put("session/id", value.as_bytes()).await;
        let file = format!("store/{value}.mmb");
        tool.run(&["backup", "--backup-file", &file]).expect(0);
    }
    let prune = ["backup", "prune", "store", "--keep", "1", "--dry-run"];
    tool.run(&prune).expect(0).shows("would remove store/");
    let ended = tool.run(&[&prune[..], &["--format", "json"]].concat());
    ended.expect(0);
    let found = ended.document();
    assert_eq!(found["dry_run"], true);
    assert_eq!(found["removed"].as_array().unwrap().len(), 1);
    let unconfirmed = tool.without("META_MIGRATION_YES");
    unconfirmed
        .run(&["backup", "prune", "store", "--keep", "1"])
        .expect(2)
        .says("no file was deleted")
        .says("backup prune store --keep 1 --yes");
    for value in ["1", "2"] {
        let file = format!("store/{value}.mmb");
        assert!(unconfirmed.path().join(file).is_file());
    }
}
