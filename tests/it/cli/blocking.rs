//! Conditions that block a migration: `plan` finds them and exits with the code of `migrate`.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Permission};
use meta_store::{Op, Store, Txn};
use serde_json::{Value, json};

use super::instance::Instance;
use super::tool::{Ended, Tool};
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::Metadata;

const PLAN: [&str; 3] = ["plan", "--target-version", "2.2.16"];

fn plan_as_json(tool: &Tool) -> Ended {
    tool.run(&[&PLAN[..], &["--format", "json"]].concat())
}

/// The errors among the findings.
fn errors(plan: &Value) -> Vec<Value> {
    let findings = plan["findings"].as_array().unwrap();
    let errors = findings.iter().filter(|one| one["severity"] == "error");
    errors.cloned().collect()
}

#[tokio::test]
async fn a_live_session_blocks_a_valid_plan() {
    let it = Instance::small().await;
    it.register("querynode-7", Duration::from_secs(60)).await;
    let before = it.dump().await;
    let tool = it.tool();
    let ended = plan_as_json(&tool);
    ended.expect(3);
    let plan = ended.document();
    assert_eq!(plan["blocking"], json!(["live-session"]));
    let errors = errors(&plan);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["key"], format!("{}/session/querynode-7", it.root));
    assert!(plan["put"].as_u64().unwrap() > 0, "the plan is made");
    tool.run(&PLAN)
        .expect(3)
        .shows("Blocking now: 1 error")
        .shows("querynode at 10.1.2.3:53100 is running")
        .shows("Not ready: 1 blocking finding");
    tool.run(&[&PLAN[..], &["--ignore-sessions"]].concat())
        .expect(0)
        .shows("Ready: no blocking findings");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_held_lock_blocks_a_valid_plan() {
    let it = Instance::small().await;
    it.register("migration", Duration::from_secs(60)).await;
    let ended = plan_as_json(&it.tool());
    ended.expect(3);
    assert_eq!(ended.document()["blocking"], json!(["lock-held"]));
}

#[tokio::test]
async fn metadata_errors_outrank_blocking_findings() {
    let it = Instance::small().await;
    it.put("root-coord/collection/55", b"\xff\xff").await;
    it.register("rootcoord", Duration::from_secs(60)).await;
    it.tool()
        .run(&PLAN)
        .expect(4)
        .shows("Blocking now")
        .shows("Not migratable");
}

#[tokio::test]
async fn sessions_of_a_migrated_instance_block_nothing() {
    let it = Instance::small().await;
    let tool = it.tool();
    let migrate = ["migrate", "--target-version", "2.2.16", "--no-backup"];
    tool.run(&migrate).expect(0);
    it.register("rootcoord", Duration::from_secs(60)).await;
    tool.run(&PLAN).expect(0);
}

/// Enables users, and returns the program as a user with these permissions.
async fn tool_of_user(etcd: &Etcd, it: &Instance, permissions: Vec<Permission>) -> Tool {
    let client = Client::connect([etcd.endpoint()], None::<ConnectOptions>).await;
    let mut auth = client.unwrap().auth_client();
    auth.role_add("root").await.unwrap();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("limited").await.unwrap();
    for permission in permissions {
        auth.role_grant_permission("limited", permission)
            .await
            .unwrap();
    }
    auth.user_add("limited", "secret", None).await.unwrap();
    auth.user_grant_role("limited", "limited").await.unwrap();
    auth.auth_enable().await.unwrap();
    it.tool()
        .env("META_MIGRATION_USER", "limited")
        .env("META_MIGRATION_PASSWORD", "secret")
}

/// Permission to read everything of an instance.
fn read_all(it: &Instance) -> Permission {
    Permission::read(format!("{}/", it.root.root_path())).with_prefix()
}

/// etcd checks permissions before comparisons, so no write is needed to find this.
#[tokio::test]
async fn a_read_only_user_blocks_a_valid_plan() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let tool = tool_of_user(&etcd, &it, vec![read_all(&it)]).await;
    let ended = plan_as_json(&tool);
    ended.expect(4);
    assert_eq!(ended.document()["blocking"], json!(["no-write-permission"]));
    tool.run(&PLAN)
        .expect(4)
        .shows("etcdctl role grant-permission");
}

/// A run without permission to write the history starts anyway.
#[tokio::test]
async fn plan_notes_a_history_that_may_not_be_written() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let metadata = Permission::read_write(it.root.join(b"")).with_prefix();
    let journal = Permission::read_write(it.root.journal_key());
    let permissions = vec![read_all(&it), metadata, journal];
    tool_of_user(&etcd, &it, permissions)
        .await
        .run(&PLAN)
        .expect(0)
        .says("the run will not be recorded there");
}

#[tokio::test]
async fn alarms_and_a_full_quota_block_a_valid_plan() {
    let etcd = Etcd::start(Settings {
        quota_bytes: Some(6 << 20),
        ..Settings::default()
    });
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let tool = it.tool();
    let put = || Txn {
        compares: Vec::new(),
        ops: vec![Op::put("junk", vec![7; 100_000])],
    };
    // Less than the required margin, but no alarm yet. Without defragmentation in between, a busy
    // machine accumulates free pages until the quota is exceeded.
    for _ in 0..12 {
        for _ in 0..5 {
            it.store.txn(put()).await.unwrap();
        }
        it.store.defragment(&it.store.endpoints()[0]).await.unwrap();
    }
    let ended = plan_as_json(&tool);
    ended.expect(4);
    assert_eq!(ended.document()["blocking"], json!(["no-space"]));
    while it.store.txn(put()).await.is_ok() {}
    let ended = plan_as_json(&tool);
    ended.expect(4);
    assert_eq!(ended.document()["blocking"], json!(["alarm"]));
    tool.run(&PLAN).expect(4).shows("NOSPACE");
}
