//! Commands on backup files, without an etcd.

use serde_json::json;

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::Tool;

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/testdata/demo/milvus-2.1.4.bak"
);

fn absolute(tool: &Tool, name: &str) -> String {
    tool.path().join(name).display().to_string()
}

fn tool() -> Tool {
    Tool::new().env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT)
}

#[tokio::test]
async fn a_plan_of_a_file_equals_the_plan_of_etcd() {
    let it = Instance::sample().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let plan = |arguments: &[&str]| {
        let common = ["plan", "--target-version", "2.2.16", "--format", "json"];
        let ended = tool.run(&[&common, arguments].concat());
        ended.expect(0);
        let mut plan = ended.document();
        plan["revision"] = json!(0);
        plan.as_object_mut().unwrap().remove("instance");
        plan
    };
    assert_eq!(plan(&["--from", "b.mmb"]), plan(&[]));
}

#[test]
fn a_2_1_backup_becomes_a_2_2_backup() {
    let tool = tool();
    let migrate = [
        "migrate",
        "--target-version",
        "2.2.16",
        "--from",
        SAMPLE,
        "--to",
        "new.mmb",
        "--format",
        "json",
    ];
    let ended = tool.run(&migrate);
    ended.expect(0);
    let report = ended.document();
    assert_eq!(report["outcome"], "migrated");
    assert_eq!(report["backup"]["path"], absolute(&tool, "new.mmb"));
    assert_eq!(report["backup"]["entries"], 160 + 124 - 80);
    tool.run(&["verify", "--from", "new.mmb"]).expect(0);
    tool.run(&["verify", "--from", "new.mmb", "--backup", SAMPLE])
        .expect(0);
    tool.run(&["verify", "--from", SAMPLE])
        .expect(6)
        .shows("the layout is 2.1");
    let ended = tool.run(&["backup", "check", "new.mmb", "--format", "json"]);
    ended.expect(0);
    assert_eq!(ended.document()["layout"], "2.2");
    // A 2.2 backup is not converted, and no file is written.
    tool.run(&[
        "migrate",
        "--target-version",
        "2.2.16",
        "--from",
        "new.mmb",
        "--to",
        "more.mmb",
    ])
    .expect(0)
    .shows("Already migrated");
    assert!(!tool.path().join("more.mmb").exists());
}

#[tokio::test]
async fn a_converted_backup_equals_a_migration_in_etcd() {
    let it = Instance::sample().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "old.mmb"]).expect(0);
    let target = ["--target-version", "2.2.16"];
    tool.run(
        &[
            &["migrate", "--from", "old.mmb", "--to", "new.mmb"],
            &target[..],
        ]
        .concat(),
    )
    .expect(0);
    tool.run(&[&["migrate", "--backup-file", "old.mmb"], &target[..]].concat())
        .expect(0);
    tool.run(&["backup", "--backup-file", "etcd.mmb"]).expect(0);
    tool.run(&["backup", "diff", "new.mmb", "etcd.mmb"])
        .expect(0)
        .shows("0 added, 0 removed, 0 changed, 204 unchanged");
}

#[test]
fn differences_between_two_backups_are_reported_by_key() {
    let tool = tool();
    tool.run(&[
        "migrate",
        "--target-version",
        "2.2.16",
        "--from",
        SAMPLE,
        "--to",
        "n.mmb",
    ])
    .expect(0);
    let ended = tool.run(&[
        "backup", "diff", "--from", SAMPLE, "n.mmb", "--format", "json",
    ]);
    ended.expect(6);
    let found = ended.document();
    assert_eq!(
        (
            &found["added"],
            &found["removed"],
            &found["changed"],
            &found["equal"]
        ),
        (&json!(124), &json!(80), &json!(0), &json!(80))
    );
    assert_eq!(found["differences"].as_array().unwrap().len(), 204);
    tool.run(&[
        "verify",
        "--from",
        "n.mmb",
        "--backup",
        SAMPLE,
        "--collection-form",
        "split",
    ])
    .expect(6);
    tool.run(&["backup", "diff", "n.mmb"])
        .expect(2)
        .says("name two backup files to compare");
}

#[tokio::test]
async fn a_folder_of_backups_is_listed_checked_and_pruned() {
    let it = Instance::small().await;
    let tool = it.tool();
    std::fs::create_dir(tool.path().join("store")).unwrap();
    for value in ["1", "2", "3"] {
        it.put("session/id", value.as_bytes()).await;
        let file = format!("store/{value}.mmb");
        tool.run(&["backup", "--backup-file", &file]).expect(0);
    }
    tool.file("store/notes.txt", "no backup");
    let ended = tool.run(&["backup", "list", "store", "--format", "json"]);
    ended.expect(0);
    let backups = ended.document()["backups"].as_array().unwrap().clone();
    assert_eq!(backups.len(), 4);
    assert_eq!(
        backups.iter().filter(|file| file["valid"] == true).count(),
        3
    );
    tool.run(&["backup", "list", "--from", "store"])
        .expect(0)
        .shows("Backups: store of ")
        .shows("1 other file, not a backup: notes.txt");
    let ended = tool.run(&[
        "backup", "prune", "store", "--keep", "1", "--format", "json",
    ]);
    ended.expect(0);
    let done = ended.document();
    assert_eq!(done["removed"].as_array().unwrap().len(), 2);
    assert_eq!(done["kept"].as_array().unwrap().len(), 1);
    assert!(tool.path().join("store/notes.txt").is_file());
    assert!(std::path::Path::new(&tool.path().join(done["kept"][0].as_str().unwrap())).is_file());
    tool.run(&["backup", "prune", "store", "--keep", "0"])
        .expect(2);
    tool.run(&["backup", "list", "/no/such/folder"])
        .expect(1)
        .says("/no/such/folder");
}

#[test]
fn a_missing_file_is_named() {
    for command in [
        &["plan", "--target-version", "2.2.16", "--from", "/no/such"][..],
        &["inspect", "--from", "/no/such"],
        &["verify", "--from", "/no/such"],
        &["backup", "check", "--from", "/no/such"],
        &[
            "migrate",
            "--target-version",
            "2.2.16",
            "--from",
            "/no/such",
            "--to",
            "x",
        ],
    ] {
        tool().run(command).expect(1).says("/no/such");
    }
}

#[test]
fn from_and_to_require_each_other() {
    tool()
        .run(&["migrate", "--target-version", "2.2.16", "--from", SAMPLE])
        .expect(2)
        .says("--to");
}
