//! Rejected commands, which change nothing.

use std::time::{Duration, Instant};

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::{Tool, within};

const MIGRATE: [&str; 7] = [
    "migrate",
    "--source-version",
    "2.1.4",
    "--target-version",
    "2.2.16",
    "--backup-file",
    "b.mmb",
];

#[test]
fn d26_an_unreachable_etcd_is_named_in_seconds() {
    for command in [
        &["status"][..],
        &["plan", "--target-version", "2.2.16"],
        &MIGRATE,
        &["backup"],
        &["verify"],
        &["inspect"],
        &["rollback"],
    ] {
        let started = Instant::now();
        let ended = Tool::new()
            .env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT)
            .run(command);
        ended
            .expect(1)
            .says("cannot connect to etcd")
            .says("127.0.0.1:1");
        let writes = matches!(command[0], "migrate" | "backup" | "rollback");
        let says = ended.stderr.contains("nothing was changed in etcd");
        assert_eq!(says, writes, "{}", ended.stderr);
        within(Duration::from_secs(10), started);
    }
}

#[test]
fn d26_an_endpoint_that_never_answers_times_out() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let started = Instant::now();
    Tool::new()
        .run(&["status", "--endpoints", &address, "--timeout", "1s"])
        .expect(1)
        .says(&address);
    within(Duration::from_secs(8), started);
}

#[tokio::test]
async fn d30_a_live_session_prevents_all_writes() {
    let it = Instance::small().await;
    it.put("session/id", b"12").await;
    it.register("querynode-7", Duration::from_secs(60)).await;
    let before = it.dump().await;
    let tool = it.tool();
    tool.run(&MIGRATE)
        .expect(3)
        .says("Milvus is not stopped")
        .says("session/querynode-7")
        .says("nothing was changed in etcd")
        .says("--wait-sessions");
    tool.file("b.mmb", "");
    tool.run(&["rollback", "--backup-file", "b.mmb"]).expect(3);
    tool.run(&["restore", "--backup-file", "b.mmb"]).expect(3);
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_session_that_ends_in_time_is_awaited() {
    let it = Instance::small().await;
    it.register("rootcoord", Duration::from_secs(2)).await;
    it.tool()
        .run(&[&MIGRATE[..], &["--wait-sessions", "60s"]].concat())
        .expect(0)
        .says("waiting up to")
        .says("session/rootcoord");
}

#[tokio::test]
async fn a_held_lock_is_an_error() {
    let it = Instance::small().await;
    it.register("migration", Duration::from_secs(60)).await;
    let before = it.dump().await;
    let tool = it.tool();
    for command in [&MIGRATE[..], &["backup"], &["rollback"]] {
        tool.run(&[command, &["--wait-lock", "0"]].concat())
            .expect(3)
            .says("another migration holds the lock")
            .says("session/migration")
            .says("10.1.2.3:53100");
    }
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_dead_holders_lock_is_awaited() {
    let it = Instance::small().await;
    it.register("migration", Duration::from_secs(2)).await;
    it.tool().run(&MIGRATE).expect(0).says("waiting up to");
}

#[tokio::test]
async fn all_errors_are_shown_and_nothing_is_written() {
    let it = Instance::small().await;
    it.put("root-coord/collection/55", b"\xff\xff").await;
    it.put("root-coord/segment-index/1/7/10/52", b"\xff").await;
    let before = it.dump().await;
    let tool = it.tool();
    let text = tool.run(&MIGRATE);
    text.expect(4)
        .says("the metadata cannot be migrated as it is: ")
        .says("root-coord/collection/55")
        .says("root-coord/segment-index/1/7/10/52")
        .says("--on-broken-record skip")
        .says("nothing was changed in etcd");
    assert_eq!(text.stdout, "");
    assert!(!tool.path().join("b.mmb").exists());
    let plan = tool.run(&["plan", "--target-version", "2.2.16", "--format", "json"]);
    plan.expect(4);
    let findings = plan.document()["findings"].as_array().unwrap().clone();
    let errors = findings
        .iter()
        .filter(|finding| finding["severity"] == "error");
    assert_eq!(errors.count(), 2);
    tool.run(&["plan", "--target-version", "2.2.16"])
        .expect(4)
        .shows("Not migratable: 2 errors to resolve");
    assert_eq!(it.dump().await, before);
    tool.run(&[&MIGRATE[..], &["--on-broken-record", "skip"]].concat())
        .expect(0)
        .shows("root-coord/collection/55");
}

#[tokio::test]
async fn d52_keys_of_both_layouts_are_rejected() {
    let it = Instance::small().await;
    it.put("field-index/1/7", b"").await;
    let before = it.dump().await;
    it.tool()
        .run(&MIGRATE)
        .expect(4)
        .says("mixed-layout")
        .says("field-index");
    it.tool().run(&["status"]).expect(4).shows("Layout: mixed");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn differences_exit_with_code_6() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&MIGRATE).expect(0);
    it.put("field-index/1/7", b"other").await;
    it.put("field-index/1/8", b"more").await;
    it.delete("root-coord/fields/1/100").await;
    let ended = tool.run(&["verify", "--backup", "b.mmb", "--format", "json"]);
    ended.expect(6);
    let found = ended.document();
    assert_eq!(
        (
            &found["ok"],
            &found["missing"],
            &found["different"],
            &found["extra"]
        ),
        (&false.into(), &1.into(), &1.into(), &1.into())
    );
    assert_eq!(found["findings"].as_array().unwrap().len(), 3);
    tool.run(&["verify", "--backup", "b.mmb"])
        .expect(6)
        .shows("1 key missing, 1 different, 1 extra");
    tool.run(&["verify"]).expect(6);
}

#[tokio::test]
async fn verify_of_a_2_1_layout_says_that_it_was_not_migrated() {
    let it = Instance::small().await;
    it.tool()
        .run(&["verify"])
        .expect(6)
        .shows("the layout is 2.1, not 2.2");
}

#[test]
fn d4_a_2_2_source_version_is_a_clear_error() {
    for command in [
        &["migrate", "--target-version", "2.2.16"][..],
        &["backup"],
        &["rollback"],
    ] {
        let arguments = ["--source-version", "2.2.3", "--endpoints", UNUSED_ENDPOINT];
        Tool::new()
            .run(&[command, &arguments].concat())
            .expect(2)
            .says("2.2.3")
            .says("nothing was changed");
    }
}

#[test]
fn a_target_below_2_2_0_needs_no_etcd() {
    let ended = Tool::new().run(&[
        "migrate",
        "--source-version",
        "2.1.0",
        "--target-version",
        "2.1.4",
        "--endpoints",
        UNUSED_ENDPOINT,
        "--format",
        "json",
    ]);
    ended.expect(0).says("reads the 2.1 layout");
    assert_eq!(ended.document()["outcome"], "nothing-to-do");
}

#[tokio::test]
async fn d50_a_pre_release_of_2_2_0_is_migrated() {
    let it = Instance::small().await;
    it.tool()
        .run(&[
            "migrate",
            "--target-version",
            "2.2.0-rc1",
            "--backup-file",
            "b",
        ])
        .expect(0)
        .shows("Migrated");
}

#[tokio::test]
async fn d51_a_leading_v_is_accepted() {
    let it = Instance::small().await;
    it.tool()
        .run(&[
            "plan",
            "--source-version",
            "v2.1.4",
            "--target-version",
            "v2.2.16",
        ])
        .expect(0);
}

#[tokio::test]
async fn d53_a_target_beyond_2_2_is_accepted_with_a_notice() {
    let it = Instance::small().await;
    it.tool()
        .run(&[
            "migrate",
            "--target-version",
            "2.5.26",
            "--backup-file",
            "b",
        ])
        .expect(0)
        .says("2.5.26 is beyond 2.2");
}

#[test]
fn a_missing_option_is_named_with_the_next_command() {
    for command in ["plan", "migrate", "repair"] {
        Tool::new()
            .run(&[command, "--endpoints", UNUSED_ENDPOINT])
            .expect(2)
            .says("--target-version is missing")
            .says(&format!(
                "meta-migration {command} --endpoints {UNUSED_ENDPOINT}"
            ))
            .says(" --root-path by-dev --target-version 2.2.16   #");
    }
    Tool::new()
        .run(&["restore", "--endpoints", UNUSED_ENDPOINT])
        .expect(2)
        .says("--backup-file is missing")
        .says("meta-migration backup list .   # lists");
    Tool::new()
        .run(&["backup", "diff", "a.mmb", "--endpoints", UNUSED_ENDPOINT])
        .expect(2)
        .says("a.mmb --endpoints")
        .says(" etcd   # compares");
    for words in [&["upgrade"][..], &["backup", "check"], &["completions"]] {
        let ended = Tool::new().run(words);
        let help = format!("meta-migration {} --help", words.join(" "));
        ended.expect(2).says("Usage:").says(&help);
        assert!(ended.stderr.ends_with("--help\n"), "{}", ended.stderr);
    }
    Tool::new()
        .run(&["status", "--endpoints", ","])
        .expect(2)
        .says("--endpoints (etcd.endpoints) is empty")
        .says("meta-migration status --help");
    Tool::new()
        .run(&[
            "plan",
            "--target-version",
            "2.2.8",
            "--collection-form",
            "database",
            "--endpoints",
            UNUSED_ENDPOINT,
        ])
        .expect(2)
        .says("2.2.9 or later");
}

#[tokio::test]
async fn an_empty_etcd_has_nothing_to_migrate() {
    let it = Instance::empty().await;
    let ended = it
        .tool()
        .run(&[&MIGRATE[..], &["--format", "json", "--allow-empty"]].concat());
    ended.expect(0);
    assert_eq!(ended.document()["outcome"], "nothing-to-do");
    assert!(it.dump().await.is_empty());
}

/// The next command helps to get a usable file. Commands that only read a file say nothing about changes in etcd.
#[tokio::test]
async fn a_rejected_file_gets_a_command_for_a_usable_one() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.file(
        "printed.txt",
        "by-dev/meta/root-coord/collection/1\nvalue\n",
    );
    tool.file("empty.mmb", "");
    let dump = "next: etcdctl get \"\" --prefix -w json >dump.json";
    let list = "meta-migration backup list . ";
    for (file, next) in [("printed.txt", dump), ("empty.mmb", list)] {
        tool.run(&["restore", "--backup-file", file])
            .expect(1)
            .says("nothing was changed in etcd");
        let reading = [
            &["backup", "check"][..],
            &["plan", "--target-version", "2.2.16", "--from"],
            &["inspect", "--from"],
        ];
        for command in reading {
            let refused = tool.run(&[command, &[file]].concat());
            refused.expect(1).says("is not a usable backup").says(next);
            assert!(!refused.stderr.contains("changed:"), "{}", refused.stderr);
        }
    }
    tool.run(&["restore", "--backup-file", "printed.txt"])
        .expect(1)
        .says(dump);
}

#[tokio::test]
async fn a_damaged_backup_is_rejected_before_any_write() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let path = tool.path().join("b.mmb");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let before = it.dump().await;
    for dry in [&["--dry-run"][..], &[]] {
        let arguments = [&["restore", "--backup-file", "b.mmb"], dry].concat();
        let refused = tool.run(&arguments);
        refused
            .expect(1)
            .says("b.mmb is not a usable backup")
            .says("nothing was changed in etcd")
            .says("backup list");
        // The rejected file is not listed as the existing backup.
        assert!(!refused.stderr.contains("  backup: "), "{}", refused.stderr);
    }
    tool.run(&["backup", "check", "b.mmb"])
        .expect(1)
        .says("b.mmb");
    tool.run(&["restore", "--backup-file", "/no/such.mmb"])
        .expect(1)
        .says("/no/such.mmb")
        .says("name its current path");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn nothing_is_migrated_if_the_backup_fails() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.file("file", "");
    let yaml = tool.file(
        "run.yaml",
        &format!(
            "{}\ncmd:\n  type: run\n  runWithBackup: true\nconfig:\n  sourceVersion: 2.1.4\n  \
             targetVersion: 2.2.16\n  backupFilePath: file/b.mmb\n",
            it.yaml()
        ),
    );
    let drop_in = format!("-config={}", yaml.display());
    let before = it.dump().await;
    for command in [
        &[&MIGRATE[..6], &["file/b.mmb"]].concat()[..],
        &["backup", "--backup-file", "file/b.mmb"],
        &[&drop_in],
    ] {
        tool.run(command)
            .expect(1)
            .says("cannot create")
            .says("nothing was changed in etcd")
            .says("choose another path with --backup-file");
    }
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_dry_run_from_the_environment_writes_nothing() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&MIGRATE).expect(0);
    let tool = tool.env("META_MIGRATION_DRY_RUN", "true");
    let before = it.dump().await;
    let file = tool.path().join("b.mmb");
    let file = file.to_str().unwrap();
    for command in ["rollback", "restore"] {
        tool.run(&[command, "--backup-file", file]).expect(0);
        assert_eq!(it.dump().await, before, "{command}");
    }
}

#[test]
fn unreasonable_numbers_are_usage_errors() {
    for option in [
        ["--timeout", "0"],
        ["--timeout", "18446744073709551615"],
        ["--wait-lock", "18446744073709551615"],
        ["--wait-sessions", "400days"],
    ] {
        Tool::new()
            .run(&["rollback", option[0], option[1]])
            .expect(2);
    }
}

#[tokio::test]
async fn a_session_without_lease_gets_a_delete_command() {
    for key in ["session/proxy-7", "session/migration"] {
        let it = Instance::small().await;
        it.put(key, b"{}").await;
        let command = format!("etcdctl del {}/{key}", it.root.meta_root());
        let arguments = [&MIGRATE[..], &["--wait-lock", "0s"]].concat();
        it.tool().run(&arguments).expect(3).says(&command);
    }
}

#[tokio::test]
async fn max_ops_above_the_server_limit_is_reduced() {
    let it = Instance::small().await;
    let arguments = [&MIGRATE[..], &["--max-txn-ops", "1000000"]].concat();
    it.tool().run(&arguments).expect(0);
}

#[tokio::test]
async fn an_unreadable_journal_gets_a_next_command() {
    let it = Instance::small().await;
    let key = it.root.journal_key();
    let key = String::from_utf8(key).unwrap();
    for (text, hint) in [
        ("no journal", "etcdctl get"),
        ("{\"format\": 99}", "newer version"),
    ] {
        it.put_absolute(&key, text.as_bytes()).await;
        for command in ["migrate", "rollback"] {
            it.tool()
                .run(&[command, "--target-version", "2.2.16"])
                .expect(1)
                .says(hint);
        }
        let status = it.tool().run(&["status"]);
        status.expect(1).says(hint);
        status.shows("Layout: 2.1").shows("cannot be read");
        let status = it.tool().run(&["status", "--format", "json"]);
        let report = status.expect(1).document();
        assert!(report["journal_error"].is_string(), "{report}");
    }
}
