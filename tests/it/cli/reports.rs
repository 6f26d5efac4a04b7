//! The JSON documents, member by member, as scripts rely on them.

use std::time::Duration;

use serde_json::{Value, json};

use super::instance::Instance;
use super::tool::{Ended, Tool, members};
use crate::support::metadata::Metadata;

const PLAN: [&str; 13] = [
    "bytes_put",
    "collection_form",
    "delete",
    "digest",
    "families",
    "findings",
    "layout",
    "objects",
    "put",
    "revision",
    "rewrite",
    "segment_form",
    "storage_roots",
];

/// The document without the instance members, which all documents have.
#[track_caller]
fn report_of(ended: &Ended) -> Value {
    let mut report = ended.document();
    let instance = report.as_object_mut().unwrap().remove("instance").unwrap();
    assert_eq!(members(&instance), ["endpoints", "meta_root"]);
    report
}

/// A later rollback may run in another folder: paths are reported and recorded as absolute.
fn absolute(tool: &Tool, name: &str) -> String {
    tool.path().join(name).display().to_string()
}

#[tokio::test]
async fn the_plan_document_matches_the_contract() {
    let it = Instance::sample().await;
    let ended = it
        .tool()
        .run(&["plan", "--target-version", "2.2.16", "--format", "json"]);
    ended.expect(0);
    let plan = ended.document();
    let mut expected = PLAN.to_vec();
    expected.extend(["blocking", "instance"]);
    expected.sort_unstable();
    assert_eq!(members(&plan), expected);
    assert_eq!(plan["blocking"], json!([]));
    assert_eq!(plan["layout"], "2.1");
    assert_eq!(
        (&plan["put"], &plan["rewrite"], &plan["delete"]),
        (&json!(124), &json!(0), &json!(80))
    );
    assert!(plan["revision"].as_i64().unwrap() > 0);
    assert_eq!(plan["digest"].as_str().unwrap().len(), 64);
    let aliases = json!({"kind": "alias", "found": 1, "kept": 1});
    let objects = plan["objects"].as_array().unwrap();
    assert!(objects.contains(&aliases), "{objects:?}");
    let families = plan["families"].as_array().unwrap();
    let built = json!({"name": "indexes", "read": 24, "put": 0, "rewrite": 0, "delete": 24});
    assert!(families.contains(&built), "{families:?}");
    let sum: u64 = families
        .iter()
        .map(|family| family["put"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 124);
    let finding = &plan["findings"][0];
    assert_eq!(members(finding), ["code", "key", "message", "severity"]);
    assert_eq!(finding["severity"], "warning");
    let full_key = finding["key"].as_str().unwrap();
    assert!(full_key.starts_with(&format!("{}/", it.root)), "{full_key}");
}

#[tokio::test]
async fn the_migrate_document_matches_the_contract() {
    let it = Instance::small().await;
    let tool = it.tool();
    let migrate = [
        "migrate",
        "--target-version",
        "2.2.16",
        "--backup-file",
        "b.mmb",
        "--format",
        "json",
    ];
    let ended = tool.run(&migrate);
    ended.expect(0);
    let report = ended.document();
    assert_eq!(
        members(&report),
        [
            "backup", "instance", "outcome", "plan", "resumed", "seconds", "verified"
        ]
    );
    assert_eq!(report["outcome"], "migrated");
    assert_eq!(
        (&report["resumed"], &report["verified"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(members(&report["plan"]), PLAN);
    assert_eq!(members(&report["backup"]), ["digest", "entries", "path"]);
    assert_eq!(report["backup"]["path"], absolute(&tool, "b.mmb"));
    assert_eq!(
        members(&report["seconds"]),
        ["backup", "read", "total", "transform", "verify", "write"]
    );
    let again = tool.run(&migrate);
    again.expect(0);
    assert_eq!(again.document()["outcome"], "already-migrated");
}

#[tokio::test]
async fn the_status_document_matches_the_contract() {
    let it = Instance::small().await;
    it.put("session/id", b"9").await;
    it.register("querynode-8", Duration::from_secs(60)).await;
    it.register("migration", Duration::from_secs(60)).await;
    let tool = it.tool();
    let ended = tool.run(&["status", "--format", "json"]);
    ended.expect(0);
    let status = ended.document();
    assert_eq!(
        members(&status),
        [
            "etcd", "families", "instance", "journal", "layout", "lock", "sessions"
        ]
    );
    assert_eq!(status["layout"], "2.1");
    assert_eq!(status["journal"], Value::Null);
    assert_eq!(status["sessions"].as_array().unwrap().len(), 1);
    let session = &status["sessions"][0];
    assert_eq!(members(session), ["address", "key", "lease", "role", "ttl"]);
    assert_eq!(session["role"], "querynode");
    assert_eq!(session["address"], "10.1.2.3:53100");
    let key = format!("{}/session/querynode-8", it.root);
    assert_eq!(session["key"], key);
    let ttl = session["ttl"].as_i64().unwrap();
    assert!((1..=60).contains(&ttl), "{ttl}");
    assert_eq!(status["lock"]["role"], "migration");
    assert_eq!(
        members(&status["etcd"]),
        [
            "alarms",
            "db_size",
            "db_size_in_use",
            "members",
            "quota",
            "version"
        ]
    );
    assert_eq!(status["etcd"]["members"], 1);
    assert!(
        status["etcd"]["version"]
            .as_str()
            .unwrap()
            .starts_with("3.")
    );
    let families = status["families"].as_array().unwrap();
    assert!(
        families
            .iter()
            .all(|family| members(family) == ["bytes", "keys", "name"])
    );
    let index = families
        .iter()
        .find(|family| family["name"] == "root-coord/index")
        .unwrap();
    assert_eq!(index["keys"], 1);
}

#[tokio::test]
async fn the_status_reports_the_journal_of_a_migration() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["migrate", "--target-version", "2.2.8", "--backup-file", "b"])
        .expect(0);
    let ended = tool.run(&["status", "--format", "json"]);
    ended.expect(0);
    let status = ended.document();
    assert_eq!(status["layout"], "2.2");
    assert_eq!(status["lock"], Value::Null);
    assert_eq!(status["journal"]["phase"], "done");
    assert_eq!(status["journal"]["target_version"], "2.2.8");
    let cluster = status["journal"]["cluster_id"].as_str().unwrap();
    assert!(u64::from_str_radix(cluster, 16).unwrap() > 0, "{cluster}");
    assert_eq!(status["journal"]["collection_form"], "split");
    assert_eq!(status["journal"]["backup"]["path"], absolute(&tool, "b"));
}

#[tokio::test]
async fn an_etcd_without_metadata_is_empty() {
    let it = Instance::empty().await;
    let ended = it
        .tool()
        .run(&["status", "--format", "json", "--allow-empty"]);
    ended.expect(0);
    assert_eq!(ended.document()["layout"], "empty");
    assert_eq!(ended.document()["families"], json!([]));
}

#[tokio::test]
async fn the_other_documents_match_the_contract() {
    let it = Instance::small().await;
    it.register("rootcoord", Duration::from_secs(600)).await;
    let lease = it.register("proxy-1", Duration::from_secs(600)).await;
    let tool = it.tool();
    let json = ["--format", "json"];
    let ended = tool.run(&[&["backup", "--backup-file", "b.mmb"], &json[..]].concat());
    ended.expect(0);
    let backup = report_of(&ended);
    assert_eq!(
        members(&backup),
        [
            "bytes",
            "digest",
            "entries",
            "format",
            "path",
            "revision",
            "skipped_leased"
        ]
    );
    assert_eq!(backup["path"], absolute(&tool, "b.mmb"));
    assert_eq!(backup["format"], "native");
    assert_eq!(backup["entries"], Metadata::small().entries.len());
    assert_eq!(backup["skipped_leased"], 2);
    let size = std::fs::metadata(tool.path().join("b.mmb")).unwrap().len();
    assert_eq!(backup["bytes"], size);

    use meta_store::Store;
    it.store.lease_revoke(lease).await.unwrap();
    it.delete("session/rootcoord").await;
    tool.run(&[
        "migrate",
        "--target-version",
        "2.2.16",
        "--backup-file",
        "b.mmb",
    ])
    .expect(0);
    let ended = tool.run(&[&["verify"], &json[..]].concat());
    ended.expect(0);
    let verified = report_of(&ended);
    assert_eq!(
        members(&verified),
        ["different", "extra", "findings", "missing", "ok"]
    );
    assert_eq!(verified["ok"], true);

    let ended = tool.run(&[&["rollback", "--dry-run"], &json[..]].concat());
    ended.expect(0);
    let planned = report_of(&ended);
    assert_eq!(
        (&planned["outcome"], &planned["verified"]),
        (&json!("would-restore"), &json!(false))
    );

    let ended = tool.run(&[&["rollback"], &json[..]].concat());
    ended.expect(0);
    let back = report_of(&ended);
    assert_eq!(
        members(&back),
        ["backup", "delete", "kept", "outcome", "put", "verified"]
    );
    assert_eq!(
        (&back["outcome"], &back["verified"]),
        (&json!("restored"), &json!(true))
    );

    let ended = tool.run(&[&["restore", "--backup-file", "b.mmb"], &json[..]].concat());
    ended.expect(0);
    let wanted = json!({"outcome": "unchanged", "put": 0, "delete": 0, "kept": 0, "verified": true, "backup": back["backup"]});
    assert_eq!(report_of(&ended), wanted);
}

#[tokio::test]
async fn the_official_format_is_written_on_request() {
    let it = Instance::small().await;
    let tool = it.tool();
    let ended = tool.run(&[
        "backup",
        "--backup-file",
        "b.bak",
        "--backup-format",
        "official",
        "--format",
        "json",
    ]);
    ended.expect(0);
    assert_eq!(ended.document()["format"], "official");
    let ended = tool.run(&["backup", "check", "--from", "b.bak", "--format", "json"]);
    ended.expect(0);
    assert_eq!(ended.document()["entries"], Metadata::small().entries.len());
    assert_eq!(ended.document()["layout"], "2.1");
}

#[tokio::test]
async fn inspect_prints_decoded_json_lines() {
    let it = Instance::small().await;
    let lease = it.register("proxy-1", Duration::from_secs(600)).await;
    let tool = it.tool();
    let ended = tool.run(&["inspect"]);
    ended.expect(0);
    let lines: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), Metadata::small().entries.len() + 1);
    for line in &lines {
        assert_eq!(
            members(line),
            ["family", "key", "lease", "revision", "value"]
        );
    }
    let of = |key: &str| {
        let key = format!("{}/{key}", it.root);
        lines.iter().find(|line| line["key"] == key).unwrap()
    };
    let alias = of("root-coord/collection-alias/books");
    assert_eq!(alias["family"], "root-coord/collection-alias");
    assert_eq!(
        alias["value"],
        json!({"ID": "1", "schema": {"name": "books"}})
    );
    assert_eq!(of("session/proxy-1")["lease"], lease.to_string());
    assert_eq!(of("session/proxy-1")["value"]["ServerID"], 7);

    let full_key = format!("{}/root-coord/index/1/7", it.root);
    for (arguments, number) in [
        (&["--family", "indexes"][..], 1),
        (&["--key", "root-coord/index/1/7"], 1),
        (&["--key", &full_key], 1),
        (&["--prefix", "root-coord/"], 7),
        (&["--prefix", "root-coord/", "--family", "indexes"], 0),
    ] {
        let ended = tool.run(&[&["inspect"], arguments].concat());
        ended.expect(0);
        assert_eq!(ended.stdout.lines().count(), number, "{arguments:?}");
    }
}

#[tokio::test]
async fn inspect_prints_the_same_for_a_file_and_etcd() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let values = |text: &str| -> Vec<(Value, Value)> {
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| (line["key"].clone(), line["value"].clone()))
            .collect()
    };
    let (etcd, file) = (
        tool.run(&["inspect"]),
        tool.run(&["inspect", "--from", "b.mmb"]),
    );
    etcd.expect(0);
    file.expect(0);
    assert_eq!(values(&etcd.stdout), values(&file.stdout));
    let ended = tool.run(&[
        "inspect",
        "--from",
        "b.mmb",
        "--summary",
        "--format",
        "json",
    ]);
    ended.expect(0);
    let families = ended.document()["families"].as_array().unwrap().clone();
    let keys: u64 = families
        .iter()
        .map(|family| family["keys"].as_u64().unwrap())
        .sum();
    assert_eq!(keys, Metadata::small().entries.len() as u64);
    tool.run(&["inspect", "--summary"])
        .expect(0)
        .shows("FAMILY")
        .shows("root-coord/collection-alias");
}

#[tokio::test]
async fn an_unprintable_report_keeps_the_exit_code() {
    let it = Instance::small().await;
    let tool = it.tool();
    let run_with_full_stdout = |arguments: &[&str]| {
        let full = std::fs::File::create("/dev/full").unwrap();
        Ended::of(tool.command(arguments).stdout(full))
    };
    let migrate = ["migrate", "--target-version", "2.2.16", "--backup-file"];
    let before = it.metadata().await;
    run_with_full_stdout(&["plan", "--target-version", "2.2.16"])
        .expect(1)
        .says("cannot write to standard output");
    for done in [
        &["backup", "--backup-file", "b.mmb"][..],
        &[&migrate[..], &["b.mmb"]].concat(),
        &["rollback", "--backup-file", "b.mmb"],
    ] {
        run_with_full_stdout(done)
            .expect(0)
            .says("finished, but cannot write to standard output");
    }
    assert_eq!(it.metadata().await, before);
}
