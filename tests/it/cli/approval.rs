//! `migrate --plan` executes exactly the approved plan or nothing.

use super::instance::Instance;
use super::tool::Tool;

const TARGET: [&str; 2] = ["--target-version", "2.2.16"];

fn digest(tool: &Tool, command: &[&str]) -> String {
    let ended = tool.run(&[command, &TARGET, &["--format", "json"]].concat());
    ended.expect(0);
    ended.document()["digest"].as_str().unwrap().to_owned()
}

fn migrate<'a>(digest: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let command = [
        "migrate",
        "--yes",
        "--backup-file",
        "b.mmb",
        "--plan",
        digest,
    ];
    [&command[..], &TARGET, more].concat()
}

#[tokio::test]
async fn migrate_executes_the_approved_plan() {
    for length in [8, 12, 64] {
        let it = Instance::small().await;
        let tool = it.tool();
        let digest = digest(&tool, &["plan"]);
        let begin = digest[..length].to_uppercase();
        tool.run(&migrate(&begin, &[])).expect(0).shows("Migrated");
        tool.run(&migrate(&begin, &[]))
            .expect(0)
            .shows("Already migrated");
    }
}

#[tokio::test]
async fn migrate_rejects_a_plan_that_was_not_approved() {
    let it = Instance::small().await;
    let tool = it.tool();
    let approved = digest(&tool, &["plan"]);
    for wrong in ["", "0123", "not-a-digest", "zzzzzzzz"] {
        tool.run(&migrate(wrong, &[])).expect(2).says("--plan");
    }
    let before = it.dump().await;
    tool.run(&migrate(&approved, &["--segment-form", "inline"]))
        .expect(3)
        .says("the plan is not the approved one");
    assert_eq!(it.dump().await, before);
    // Another alias was added and removed in the meantime.
    let alias = "root-coord/collection-alias/since";
    let value = before
        .iter()
        .find(|entry| {
            entry
                .key
                .windows(17)
                .any(|part| part == b"/collection-alias")
        })
        .map(|entry| entry.value.to_vec());
    it.put(alias, &value.unwrap()).await;
    let changed = it.dump().await;
    let refused = tool.run(&migrate(&approved, &[]));
    refused
        .expect(3)
        .says("the plan is not the approved one")
        .says(&format!(
            "the newest change in the metadata is {}/{alias}",
            it.root
        ))
        .says("nothing was changed in etcd")
        .says("shows the current plan");
    assert_eq!(it.dump().await, changed);
    assert!(!tool.path().join("b.mmb").exists(), "no backup is left");
    it.delete(alias).await;
    tool.run(&migrate(&approved, &[])).expect(0);
}
