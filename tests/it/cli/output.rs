//! Complete outputs: text, documents, logs, help.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::{Ended, Tool};

const TARGET: [&str; 2] = ["--target-version", "2.2.16"];

/// The command after `next:`, without its comment.
#[track_caller]
pub(super) fn next(text: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("next: "));
    let line = line.unwrap_or_else(|| panic!("no next command in:\n{text}"));
    line.split("   # ").next().unwrap().to_owned()
}

/// Runs a line in a shell without environment variables of the instance.
pub(super) fn paste(line: &str, folder: &Path) -> Ended {
    let mut shell = Command::new("/bin/sh");
    shell
        .env_clear()
        .env("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true")
        .current_dir(folder)
        .args(["-c", line]);
    Ended::of(&mut shell)
}

#[tokio::test]
async fn writing_without_a_terminal_requires_yes() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let before = it.dump().await;
    let tool = tool.without("META_MIGRATION_YES");
    for words in [
        &["migrate", TARGET[0], TARGET[1], "--no-backup"][..],
        &["rollback"],
        &["restore", "--backup-file", "b.mmb"],
    ] {
        let ended = tool.run(words);
        ended
            .expect(2)
            .says("cannot ask for confirmation without a terminal: add --yes")
            .says(&format!("--root-path {}", it.root.root_path()))
            .says(" --yes\n");
        assert_eq!(it.dump().await, before, "{words:?}");
    }
    tool.run(&["rollback", "--dry-run"]).expect(0);
    tool.run(&["backup", "--backup-file", "c.mmb"]).expect(0);
    tool.run(&["backup", "prune", ".", "--keep", "1"]).expect(2);
    assert!(tool.path().join("c.mmb").is_file());
    tool.run(&["migrate", TARGET[0], TARGET[1], "--no-backup", "--yes"])
        .expect(0);
    tool.run(&["repair", TARGET[0], TARGET[1]])
        .expect(2)
        .says("add --yes");
}

/// What `--yes` would not change is reported first.
#[tokio::test]
async fn without_a_terminal_errors_come_before_yes() {
    let it = Instance::small().await;
    let tool = it.tool().without("META_MIGRATION_YES");
    let migrate = ["migrate", TARGET[0], TARGET[1], "--no-backup"];
    tool.run(&[&migrate[..], &["--root-path", "nosuch"]].concat())
        .expect(4)
        .says("no Milvus metadata under nosuch/meta");
    tool.run(&["repair", TARGET[0], TARGET[1]])
        .expect(4)
        .says("not-migrated");
    it.put("root-coord/collection/100", b"\xff").await;
    let before = it.dump().await;
    tool.run(&migrate).expect(4).says("undecodable-value");
    tool.run(&["restore", "--backup-file", "nosuch.mmb"])
        .expect(1)
        .says("cannot open backup file");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn next_commands_work_in_another_shell() {
    let it = Instance::small().await;
    let from_file = Tool::new();
    let yaml = from_file.file("m.yaml", &it.yaml());
    let variables = it.tool();
    let root = it.root.root_path();
    let etcdctl = Tool::new().env("ETCDCTL_ENDPOINTS", it.endpoint());
    let plan = ["plan", TARGET[0], TARGET[1]];
    for ended in [
        variables.run(&plan),
        from_file.run(&[&plan[..], &["--config", yaml.to_str().unwrap()]].concat()),
        etcdctl.run(&[&plan[..], &["--root-path", root]].concat()),
    ] {
        ended.expect(0);
        let migrate = next(&ended.stdout);
        let before = it.metadata().await;
        let folder = tempfile::tempdir().unwrap();
        let done = paste(&format!("{migrate} --yes"), folder.path());
        done.expect(0).shows("Migrated");
        let mut lines = done.stdout.lines();
        let back = lines.find_map(|line| line.trim().strip_prefix("To roll back: "));
        paste(&format!("{} --yes", back.unwrap()), folder.path())
            .expect(0)
            .shows("Rolled back");
        assert_eq!(it.metadata().await, before);
    }
}

#[test]
fn with_json_output_an_error_is_a_document() {
    let unreachable = ["status", "--endpoints", UNUSED_ENDPOINT];
    let ended = Tool::new().run(&[&unreachable[..], &["-o", "json"]].concat());
    ended.expect(1).says("error: cannot connect to etcd");
    let error = ended.document();
    assert_eq!(error["exit_code"], 1);
    assert_eq!(error["unreachable"], true);
    assert_eq!(error["message"], "cannot connect to etcd");
    let ended = Tool::new().run(&[&unreachable[..], &["--output=yaml"]].concat());
    ended.expect(1).shows("message: cannot connect to etcd\n");
    let ended = Tool::new().run(&["status", "--no-such-option", "--format", "json"]);
    ended.expect(2);
    assert_eq!(ended.document()["exit_code"], 2);
    // A report that was already printed remains the only document.
    let ended = Tool::new().run(&["status", "--endpoints", UNUSED_ENDPOINT]);
    ended.expect(1);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn documents_name_the_instance() {
    let it = Instance::small().await;
    let expected = json!({
        "meta_root": it.root.meta_root(),
        "endpoints": [it.endpoint()],
    });
    for words in [&["status"][..], &["plan", TARGET[0], TARGET[1]]] {
        let ended = it.tool().run(&[words, &["-o", "json"]].concat());
        assert_eq!(ended.document()["instance"], expected, "{words:?}");
    }
    let ended = it.tool().run(&["status", "-o", "yaml"]);
    ended.expect(0).shows("layout: ").shows("instance:\n");
}

#[tokio::test]
async fn json_logs_have_start_and_end_with_a_run_id() {
    let it = Instance::small().await;
    let words = ["migrate", TARGET[0], TARGET[1], "--no-backup"];
    let tool = it.tool();
    let ended = tool.run(&[&words[..], &["--log-format", "json"]].concat());
    ended.expect(0);
    let lines: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap();
    let (start, end) = (of("start"), of("end"));
    let recorded = tool.run(&["history", "-o", "json"]).document();
    assert_eq!(start["run"], recorded["runs"][0]["run"]);
    assert_eq!(start["run"], end["run"]);
    assert!(start["message"].as_str().unwrap().contains(it.endpoint()));
    assert_eq!(end["exit_code"], 0);
    assert!(end["seconds"].as_f64().unwrap() > 0.0);
    assert!(lines.iter().any(|line| line["phase"].is_string()));
}

#[test]
fn a_usage_error_is_one_message_and_a_command() {
    let ended = Tool::new().run(&["backup", "check", "a", "b", "-o", "json"]);
    ended.expect(2);
    let found = ended.document();
    assert_eq!(found["message"], "unexpected argument 'b' found");
    let next = found["next"][0].as_str().unwrap();
    assert!(
        next.ends_with("meta-migration backup check --help"),
        "{next}"
    );
}

#[test]
fn the_version_names_the_commit() {
    let ended = Tool::new().run(&["version"]);
    ended
        .expect(0)
        .shows("meta-migration 0.")
        .shows(" (commit ");
    assert_eq!(ended.stdout, Tool::new().run(&["--version"]).stdout);
    let ended = Tool::new().run(&["version", "-o", "json"]);
    assert!(ended.document()["commit"].is_string());
}

#[test]
fn colours_are_used_on_request_only() {
    let status = ["status", "--endpoints", UNUSED_ENDPOINT, "--color"];
    let with = |when: &str| Tool::new().run(&[&status[..], &[when]].concat()).stderr;
    assert!(with("always").contains("\x1b[31m"), "{:?}", with("always"));
    assert!(!with("never").contains('\x1b'));
    assert!(!with("auto").contains('\x1b'));
}

#[test]
fn help_lists_only_the_options_in_use() {
    let help = |command: &str| Tool::new().run(&[command, "--help"]).stdout;
    let status = help("status");
    for unused in ["--backup-file", "--yes", "--target-version"] {
        assert!(!status.contains(unused), "{unused} in:\n{status}");
    }
    assert!(help("migrate").contains("--yes"));
    for command in ["status", "migrate", "upgrade"] {
        assert!(help(command).contains("Examples:"), "{command}");
    }
    let short = Tool::new().run(&["migrate", "-h"]).stdout;
    assert!(!short.contains("--kv-sub-path"), "{short}");
}

#[test]
fn help_lists_the_most_important_options_first() {
    let help = Tool::new().run(&["migrate", "-h"]).stdout;
    let first = ["--endpoints", "--target-version", "--backup-file", "--from"];
    let places = first.map(|option| help.find(&format!("{option} <")).unwrap());
    assert!(places.is_sorted(), "{help}");
    let back = Tool::new().run(&["rollback", "-h"]);
    back.expect(0).shows("The backup to roll back to");
}

#[test]
fn manual_pages_have_the_usual_sections() {
    for words in [
        &["man"][..],
        &["man", "migrate"],
        &["man", "backup", "list"],
    ] {
        let page = Tool::new().run(words);
        page.expect(0)
            .shows(".SH ENVIRONMENT")
            .shows(".SH \"EXIT STATUS\"")
            .shows(".SH EXAMPLES");
    }
}

#[test]
fn etcdctl_variables_have_the_lowest_precedence() {
    let status = |tool: Tool| tool.run(&["status", "--timeout", "1s"]).stderr;
    let etcdctl = || Tool::new().env("ETCDCTL_ENDPOINTS", "127.0.0.1:2");
    assert!(status(etcdctl()).contains("127.0.0.1:2"));
    let ours = status(etcdctl().env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT));
    assert!(
        ours.contains(UNUSED_ENDPOINT) && !ours.contains("127.0.0.1:2\n"),
        "{ours}"
    );
    let user = etcdctl().env("ETCDCTL_USER", "root");
    user.run(&["status"])
        .expect(2)
        .says("the etcd user \"root\"")
        .says("without a password");
    let tls = etcdctl().env("ETCDCTL_CACERT", "/no/such/ca.pem");
    tls.run(&["status"]).expect(2).says("/no/such/ca.pem");
    tls.run(&[
        "status",
        "--endpoints",
        &format!("http://{UNUSED_ENDPOINT}"),
    ])
    .expect(1);
}

#[tokio::test]
async fn backups_are_listed_one_per_row_at_80_columns() {
    let it = Instance::small().await;
    let tool = it.tool().env("COLUMNS", "80");
    for (file, format) in [("before-2.2.mmb", "native"), ("official.bak", "official")] {
        let words = ["backup", "--backup-file", file, "--backup-format", format];
        tool.run(&[&words[..], &["--source-version", "2.1.4"]].concat())
            .expect(0);
    }
    tool.file("notes.txt", "not a backup");
    tool.file("milvus.pid", "12345\n");
    tool.file("nightly", "#!/bin/sh\n");
    tool.file("nightly.log", "");
    tool.file("cut.mmb", "cut");
    let ended = tool.run(&["backup", "list"]);
    ended.expect(0);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{lines:?}"
    );
    assert_eq!(lines[0], format!("Backups: . of {}", it.root.meta_root()));
    for (file, format) in [
        ("before-2.2.mmb", "native"),
        ("official.bak", "official"),
        ("cut.mmb", "not usable"),
    ] {
        let of_file = |line: &&&str| line.starts_with(&format!("{file} "));
        let rows: Vec<_> = lines.iter().filter(of_file).collect();
        assert_eq!(rows.len(), 1, "{lines:?}");
        assert!(rows[0].ends_with(format), "{lines:?}");
    }
    ended
        .shows("\nnot usable: cut.mmb: ")
        .shows("\n4 other files, not backups: milvus.pid, nightly, nightly.log, notes.txt");
}
