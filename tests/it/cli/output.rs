//! What people and programs read: complete outputs, documents, logs, help.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::NOBODY;
use super::instance::Instance;
use super::tool::{Ended, Tool};
use crate::support::snapshot::redact;

/// A report without what depends on the instance's root and the server.
fn stable(text: &str) -> String {
    let size = regex::Regex::new(r"[\d.]+ KiB").unwrap();
    size.replace_all(&redact(text), "N KiB").into_owned()
}

const TARGET: [&str; 2] = ["--target-version", "2.2.16"];

/// The command after `next:`, without its comment.
#[track_caller]
fn next(text: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("next: "));
    let line = line.unwrap_or_else(|| panic!("no next command in:\n{text}"));
    line.split("   # ").next().unwrap().to_owned()
}

/// Runs a line in a shell that knows nothing of the instance.
fn paste(line: &str, folder: &Path) -> Ended {
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
        &["repair", TARGET[0], TARGET[1]],
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
}

#[tokio::test]
async fn next_commands_can_be_pasted_elsewhere() {
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
            .shows("Restored");
        assert_eq!(it.metadata().await, before);
    }
}

#[test]
fn an_error_is_a_document_where_one_is_asked_for() {
    let unreachable = ["status", "--endpoints", NOBODY];
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
    // A report that was printed stays the only document.
    let ended = Tool::new().run(&["status", "--endpoints", NOBODY]);
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
fn wrong_usage_is_one_message_and_a_command() {
    let ended = Tool::new().run(&["backup", "check", "a", "b", "-o", "json"]);
    ended.expect(2);
    let found = ended.document();
    assert_eq!(found["message"], "unexpected argument 'b' found");
    assert_eq!(found["next"], json!(["meta-migration backup check --help"]));
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
    let status = ["status", "--endpoints", NOBODY, "--color"];
    let with = |when: &str| Tool::new().run(&[&status[..], &[when]].concat()).stderr;
    assert!(with("always").contains("\x1b[31m"), "{:?}", with("always"));
    assert!(!with("never").contains('\x1b'));
    assert!(!with("auto").contains('\x1b'));
}

#[test]
fn help_shows_the_options_that_a_command_uses() {
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
fn variables_of_etcdctl_are_read_last() {
    let status = |tool: Tool| tool.run(&["status", "--timeout", "1s"]).stderr;
    let etcdctl = || Tool::new().env("ETCDCTL_ENDPOINTS", "127.0.0.1:2");
    assert!(status(etcdctl()).contains("127.0.0.1:2"));
    let ours = status(etcdctl().env("META_MIGRATION_ENDPOINTS", NOBODY));
    assert!(
        ours.contains(NOBODY) && !ours.contains("127.0.0.1:2\n"),
        "{ours}"
    );
    let user = etcdctl().env("ETCDCTL_USER", "root");
    user.run(&["status"])
        .expect(2)
        .says("the etcd user \"root\"")
        .says("without a password");
    let tls = etcdctl().env("ETCDCTL_CACERT", "/no/such/ca.pem");
    tls.run(&["status"]).expect(2).says("/no/such/ca.pem");
    tls.run(&["status", "--endpoints", &format!("http://{NOBODY}")])
        .expect(1);
}

#[tokio::test]
async fn a_plan_speaks_of_collections_at_80_columns() {
    let it = Instance::sample().await;
    let ended = it
        .tool()
        .env("COLUMNS", "80")
        .run(&["plan", TARGET[0], TARGET[1]]);
    ended.expect(0);
    for line in ended.stdout.lines() {
        let is_free = line.trim().starts_with("key ") || line.trim().starts_with("next: ");
        assert!(is_free || line.chars().count() <= 80, "{line}");
    }
    insta::assert_snapshot!(stable(&ended.stdout), @r#"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Layout: 2.1, read at revision N
    Found: 4 collections, 9 partitions, 4 indexes on 18 segments, 1 alias, 3 loaded
      collections
    Plan: DIGEST; collections in the database form

    OBJECTS             2.1  2.2  WHAT CHANGES
    collections           4    4  move into the database "default"
    partitions            9    9  get separate records
    indexes               4    4  get records of the 2.2 form; 2 renamed
    segments             18   18  stay as they are
    segment indexes      25   25  get records of the 2.2 form
    aliases               1    1  get records of the 2.2 form
    loaded collections    3    1  stay loaded; 2 have to be loaded again

    124 new keys, 0 rewritten, 80 deleted; N KiB to write (-v: by family)

    Findings: 1 warning, 4 notices
      warning retired-index-type
        index "Idx1" (436365181808803890) on field "embedding" (103) of collection
        "embedding_user_928" (436365181808803886) has the type RHNSW_FLAT, which
        does not work in Milvus 2.2.16: the collection cannot be loaded or searched
        with it. Release the collection, drop the index, create one of another type
        before the migration in Milvus 2.1, or afterwards; then load the collection
          key by-dev/meta/root-coord/index/436365181808803886/436365181808803890
      notice index-renamed (2 times)
        index "_default_idx" (436365206898868262) on field "feature" (104) of
        collection "embedding_query_2851" (436365206898868255) is named
        "_default_idx_104" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365206898868255/436365206898868262
        index "_default_idx" (436365250312536146) on field "embedding" (102) of
        collection "recsys_face_8731" (436365250312536144) is named
        "_default_idx_102" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      notice not-loaded (2 times)
        collection "embedding_user_928" (436365181808803886) will not be loaded
        after the migration: the target cannot use index "Idx1" (436365181808803890)
        on field "embedding" (103) of collection "embedding_user_928"
        (436365181808803886); drop that index and create another one, then load the
        collection
          key by-dev/meta/queryCoord-collectionMeta/436365181808803886
        collection "embedding_query_2851" (436365206898868255) will not be loaded
        after the migration: it was loaded to 39 percent only; load it again
          key by-dev/meta/queryCoord-collectionMeta/436365206898868255

    Ready: no blocking findings
      next: meta-migration migrate --endpoints http://127.0.0.1:PORT --root-path by-dev --target-version 2.2.16   # stop Milvus first, and leave etcd running
    "#);
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
        .shows("\n1 other file, not a backup: notes.txt");
}
