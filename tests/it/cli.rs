//! The command line from outside: the real binary with a clean environment, its output streams and
//! its exit code.

use std::process::Stdio;

mod answers;
mod approval;
mod blocking;
mod compose;
mod connecting;
mod diff;
mod documents;
mod end_to_end;
mod ephemeral;
mod escapes;
mod explain;
mod files;
mod history;
mod imports;
mod inspect;
mod instance;
mod interrupted;
mod messages;
mod official_cli;
mod offline;
mod options;
mod output;
mod refusals;
mod release;
mod repair;
mod report;
mod reports;
mod saving;
mod secrets;
mod show;
mod snapshots;
mod tool;

use tool::Tool;

/// A port without a listener.
const UNUSED_ENDPOINT: &str = "127.0.0.1:1";

#[test]
fn without_a_command_help_and_exit_code_2() {
    let ended = Tool::new().run(&[]);
    ended.expect(2).says("Usage: meta-migration <COMMAND>");
    assert_eq!(ended.stdout, "");
}

#[test]
fn every_command_of_the_contract_has_help() {
    for command in [
        "status",
        "plan",
        "backup",
        "migrate",
        "verify",
        "rollback",
        "restore",
        "repair",
        "history",
        "inspect",
        "completions",
        "man",
    ] {
        let ended = Tool::new().run(&[command, "--help"]);
        ended.expect(0);
        assert!(
            ended
                .stdout
                .contains(&format!("Usage: meta-migration {command}")),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn the_common_options_are_those_of_the_contract() {
    let options = [
        "--config",
        "--endpoints",
        "--root-path",
        "--meta-sub-path",
        "--kv-sub-path",
        "--user",
        "--password-file",
        "--cacert",
        "--cert",
        "--key",
        "--tls-server-name",
        "--timeout",
        "--source-version",
        "--target-version",
        "--backup-file",
        "--output",
        "--log-format",
        "--log-level",
        "--no-progress",
        "--yes",
    ];
    for command in [
        "status", "plan", "backup", "migrate", "verify", "rollback", "restore", "inspect",
    ] {
        let help = Tool::new().run(&[command, "--help"]).stdout;
        for option in options {
            let has = [" ", "\n", "]"]
                .iter()
                .any(|end| help.contains(&format!("{option}{end}")));
            // Hidden where it has no effect.
            let without: &[&str] = match option {
                "--backup-file" => &["status", "plan", "inspect"],
                "--target-version" => &["status", "inspect", "restore"],
                "--source-version" => &["status", "inspect", "restore", "verify"],
                "--yes" => &["status", "plan", "backup", "verify", "inspect"],
                _ => &[],
            };
            assert_eq!(has, !without.contains(&command), "{command} {option}");
        }
    }
}

#[test]
fn an_unknown_option_is_a_usage_error() {
    let ended = Tool::new().run(&["status", "--sideways"]);
    ended.expect(2).says("unexpected argument '--sideways'");
}

#[test]
fn the_official_help_flags_are_understood() {
    for flag in ["-h", "-help", "--help"] {
        let ended = Tool::new().run(&[flag]);
        ended.expect(0);
        assert!(ended.stdout.contains("Usage: meta-migration"), "{flag}");
    }
}

#[test]
fn a_missing_configuration_file_is_named() {
    for arguments in [
        &["-config=/no/such.yaml"][..],
        &["--config=/no/such.yaml"],
        &["-config", "/no/such.yaml"],
        &["--config", "/no/such.yaml"],
        &["rollback", "--config", "/no/such.yaml"],
    ] {
        Tool::new()
            .run(arguments)
            .expect(2)
            .says("cannot read the configuration file /no/such.yaml")
            .says("caused by: No such file or directory")
            .says("nothing was changed");
    }
}

#[test]
fn the_drop_in_names_the_missing_key() {
    for (yaml, key) in [
        ("etcd.rootPath: x\n", "cmd.type is missing"),
        ("cmd.type: run\n", "config.sourceVersion is missing"),
        (
            "cmd.type: run\nconfig.sourceVersion: 2.1.4\n",
            "config.targetVersion is missing",
        ),
        (
            "cmd.type: backup\nconfig.sourceVersion: 2.1.4\n",
            "config.backupFilePath is missing",
        ),
        (
            "cmd: {type: run, runWithBackup: true}\n\
             config: {sourceVersion: 2.1.4, targetVersion: 2.2.0}\n",
            "config.backupFilePath is missing",
        ),
        ("cmd.type: dance\n", "line 1: cmd.type: \"dance\""),
        ("cmd.type: [run\n", "invalid YAML"),
        ("metastore.type: mysql\n", "metastore.type: \"mysql\""),
        ("etcd.use.embed: true\n", "etcd.use.embed"),
    ] {
        let tool = Tool::new();
        let file = tool.file("migration.yaml", yaml);
        tool.run(&["-config", file.to_str().unwrap()])
            .expect(2)
            .says(key)
            .says("migration.yaml");
    }
}

#[test]
fn unknown_keys_are_warned_about_by_name() {
    let tool = Tool::new();
    let file = tool.file("m.yaml", "minio.address: x\n");
    tool.run(&["-config", file.to_str().unwrap()])
        .expect(2)
        .says("unknown in")
        .says("minio.address (line 1)");
}

#[test]
fn flags_override_environment_overrides_file() {
    let yaml = "etcd: {rootPath: from-file, endpoints: 'file:1', metaSubPath: file-meta}\n";
    let tool = Tool::new()
        .env("META_MIGRATION_ROOT_PATH", "from-environment")
        .env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT)
        .env("META_MIGRATION_LOG_LEVEL", "debug")
        .env("META_MIGRATION_TIMEOUT", "100ms");
    let file = tool.file("m.yaml", yaml);
    let file = file.to_str().unwrap();
    let ended = tool.run(&["status", "--config", file, "--root-path", "from-flag"]);
    ended
        .expect(1)
        .says("meta_root=\"from-flag/file-meta\"")
        .says("http://127.0.0.1:1");
}

#[test]
fn a_password_is_never_printed() {
    let secret = "correct-horse-battery";
    let tool = Tool::new().env("META_MIGRATION_PASSWORD", secret);
    tool.run(&[
        "status",
        "--user",
        "root",
        "--endpoints",
        UNUSED_ENDPOINT,
        "--timeout",
        "100ms",
        "--log-level",
        "trace",
    ])
    .expect(1)
    .hides(secret);

    Tool::new()
        .run(&[
            "status",
            "--endpoints",
            "http://root:correct-horse-battery@etcd:2379",
        ])
        .expect(2)
        .hides(secret);

    // The form of etcdctl, without and with another password.
    for password in ["", "another"] {
        Tool::new()
            .env("META_MIGRATION_PASSWORD", password)
            .run(&["status", "--user", "root:correct-horse-battery"])
            .expect(2)
            .says("contains a colon")
            .hides(secret);
    }
}

#[test]
fn an_unreadable_password_file_is_named() {
    Tool::new()
        .run(&["status", "--user", "root", "--password-file", "/no/such"])
        .expect(2)
        .says("cannot read the password file /no/such");
}

#[test]
fn with_json_logs_errors_are_json_lines() {
    let ended = Tool::new().run(&["status", "--log-format", "json", "--config", "/no/such"]);
    ended.expect(2);
    let line: serde_json::Value = serde_json::from_str(ended.stderr.trim()).unwrap();
    assert_eq!(line["exit_code"], 2);
    assert_eq!(line["changed"], "");
    let ended = Tool::new().run(&["migrate", "--log-format", "json", "--config", "/no/such"]);
    let line: serde_json::Value = serde_json::from_str(ended.stderr.trim()).unwrap();
    assert_eq!(line["changed"], "nothing was changed in etcd");
}

#[test]
fn completions_and_manual_are_printed() {
    let ended = Tool::new().run(&["completions", "bash"]);
    ended.expect(0);
    assert!(ended.stdout.contains("meta-migration"));
    let ended = Tool::new().run(&["man"]);
    ended.expect(0);
    assert!(
        ended.stdout.contains(".TH meta-migration 1"),
        "{}",
        ended.stdout
    );
    Tool::new()
        .run(&["man", "dance"])
        .expect(2)
        .says("\"dance\"");
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let tool = Tool::new();
    let mut child = tool
        .command(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}
