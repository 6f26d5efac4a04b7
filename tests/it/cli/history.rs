//! `history` on a real etcd.

use meta_testing::etcd::{Etcd, Settings};
use serde_json::{Value, json};

use super::instance::Instance;
use super::tool::Tool;
use crate::support::metadata::Metadata;

const MIGRATE: [&str; 6] = [
    "migrate",
    "--yes",
    "--target-version",
    "2.2.16",
    "--backup-file",
    "b.mmb",
];
const ROLL_BACK: [&str; 2] = ["rollback", "--yes"];

fn recorded(tool: &Tool) -> Value {
    let ended = tool.run(&["history", "--format", "json"]);
    ended.expect(0);
    ended.document()
}

fn results(tool: &Tool) -> Vec<String> {
    let runs = recorded(tool)["runs"].as_array().unwrap().clone();
    let results = runs.iter().map(|run| run["result"].as_str().unwrap());
    results.map(str::to_owned).collect()
}

#[tokio::test]
async fn history_lists_each_finished_run_newest_first() {
    let it = Instance::small().await;
    let tool = it.tool().env("HOSTNAME", "operator-laptop");
    tool.run(&["history"])
        .expect(0)
        .shows(&format!("Instance: {} on", it.root))
        .shows("No runs are recorded");
    let empty = recorded(&tool);
    assert_eq!(
        (&empty["unfinished"], &empty["runs"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(empty["instance"]["meta_root"], it.root.meta_root());
    let before = it.metadata().await;
    tool.run(&MIGRATE).expect(0);
    tool.run(&ROLL_BACK).expect(0);
    assert_eq!(it.metadata().await, before);
    assert_eq!(results(&tool), ["rolled-back", "migrated"]);
    let runs = recorded(&tool)["runs"].clone();
    for run in runs.as_array().unwrap() {
        assert_eq!(run["host"], "operator-laptop");
        assert_eq!(run["tool_version"], env!("CARGO_PKG_VERSION"));
        let path = run["backup"]["path"].as_str().unwrap();
        assert!(path.ends_with("/b.mmb"), "{path}");
        for member in ["started_at", "finished_at"] {
            assert!(run[member].as_str().unwrap().ends_with('Z'), "{run}");
        }
    }
    assert_ne!(runs[0]["run"], runs[1]["run"]);
    assert_eq!(runs[1]["target_version"], "2.2.16");
    assert_eq!(runs[1]["put"], runs[0]["delete"], "what was put is deleted");
    let restore = ["restore", "--yes", "--backup-file", "b.mmb"];
    tool.run(&restore).expect(0).shows("No changes");
    assert_eq!(results(&tool).len(), 2, "nothing was written");
    it.delete("datacoord-meta/s/1/2/3").await;
    tool.run(&["history"])
        .expect(0)
        .shows("rolled back")
        .shows("2.2.16");
}

#[tokio::test]
async fn history_shows_a_migration_that_only_the_journal_records() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&MIGRATE).expect(0);
    let history = String::from_utf8(it.root.history_key()).unwrap();
    for (damaged, code) in [("{}", 1), ("no JSON", 1), (r#"{"format":1,"runs":[]}"#, 0)] {
        it.put_absolute(&history, damaged.as_bytes()).await;
        let ended = tool.run(&["history", "--format", "json"]);
        ended.expect(code);
        match code {
            0 => assert_eq!(ended.document()["runs"][0]["result"], "migrated"),
            _ => assert!(ended.stderr.contains(&history), "{}", ended.stderr),
        }
    }
}

/// A damaged history is neither trusted nor overwritten, and does not stop a run.
#[tokio::test]
async fn rollback_keeps_an_unreadable_history() {
    let it = Instance::small().await;
    let before = it.metadata().await;
    let tool = it.tool();
    tool.run(&MIGRATE).expect(0);
    let history = String::from_utf8(it.root.history_key()).unwrap();
    it.put_absolute(&history, br#"{"format":9}"#).await;
    tool.run(&ROLL_BACK)
        .expect(0)
        .says("this run is not recorded in the history");
    assert_eq!(it.metadata().await, before);
    let dump = it.dump().await;
    let found = dump.iter().find(|entry| entry.key == history);
    assert_eq!(found.unwrap().value, &br#"{"format":9}"#[..]);
}

/// A user with rights on only the meta root and the journal.
#[tokio::test]
async fn migrate_needs_no_permission_for_the_history() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let client = etcd_client::Client::connect([etcd.endpoint()], None);
    let mut auth = client.await.unwrap().auth_client();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("limited").await.unwrap();
    let journal = String::from_utf8(it.root.journal_key()).unwrap();
    let below = etcd_client::Permission::read_write(format!("{}/", it.root)).with_prefix();
    for permission in [below, etcd_client::Permission::read_write(journal)] {
        auth.role_grant_permission("limited", permission)
            .await
            .unwrap();
    }
    auth.user_add("limited", "secret", None).await.unwrap();
    auth.user_grant_role("limited", "limited").await.unwrap();
    auth.auth_enable().await.unwrap();
    let tool = it
        .tool()
        .env("META_MIGRATION_USER", "limited")
        .env("META_MIGRATION_PASSWORD", "secret");
    for command in [&MIGRATE[..], &ROLL_BACK] {
        tool.run(command)
            .expect(0)
            .says("this run is not recorded in the history")
            .says("permission denied");
    }
}
