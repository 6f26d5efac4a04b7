//! Text from etcd, journals and backups cannot control the terminal; JSON output is exact.

use std::time::Duration;

use bytes::Bytes;
use meta_store::{Op, Store, Txn};

use super::instance::Instance;
use super::tool::Ended;

const HOSTILE: &str = "10.0.0.1\u{1b}]0;t\u{7}\u{1b}[2J\u{202e}x\u{200b}\nforged";

async fn register(it: &Instance, role: &str) {
    let lease = it.store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let value = serde_json::json!({"Address": HOSTILE}).to_string();
    let put = Op::Put {
        key: it.root.join(format!("session/{role}").as_bytes()).into(),
        value: Bytes::from(value),
        lease,
    };
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![put],
    };
    assert!(it.store.txn(txn).await.unwrap().succeeded);
}

#[track_caller]
fn assert_safe(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let hostile = |character: char| {
            (character != '\n' && character.is_control())
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{200b}')
        };
        assert!(!text.contains(hostile), "{text:?}");
        assert!(!text.contains("\nforged"), "{text}");
    }
}

#[tokio::test]
async fn addresses_of_sessions_are_escaped_in_text() {
    let it = Instance::small().await;
    register(&it, "migration").await;
    let tool = it.tool();
    let status = tool.run(&["status"]);
    status.expect(0).shows("\\u{1b}]0;t\\u{7}");
    assert_safe(&status);
    let plan = tool.run(&["plan", "--target-version", "2.2.16"]);
    plan.expect(3).shows("\\u{202e}x\\u{200b}\\nforged");
    assert_safe(&plan);
    // The wait is logged, and the rejection is an error.
    let migrate = tool.run(&[
        "migrate",
        "--target-version",
        "2.2.16",
        "--wait-lock",
        "10ms",
    ]);
    migrate.expect(3).says("\\u{1b}[2J");
    assert_safe(&migrate);
    let json = tool.run(&["status", "--format", "json"]);
    assert_eq!(json.expect(0).document()["lock"]["address"], HOSTILE);
}

#[tokio::test]
async fn journals_and_arguments_are_escaped_in_text() {
    let it = Instance::small().await;
    let key = String::from_utf8(it.root.journal_key()).unwrap();
    let journal = serde_json::json!({"phase": HOSTILE, "backup": {"path": HOSTILE}});
    it.put_absolute(&key, journal.to_string().as_bytes()).await;
    let tool = it.tool();
    assert_safe(&tool.run(&["status"]));
    assert_safe(tool.run(&["rollback"]).expect(1));
    assert_safe(tool.run(&["status", "\u{1b}[2J"]).expect(2));
    assert_safe(
        tool.run(&["status", "--config", "/no/\u{1b}[2J\u{202e}"])
            .expect(2),
    );
}
