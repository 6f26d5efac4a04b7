//! Misleading options are rejected before any connection is made.

use std::process::Command;

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::{Ended, Tool};

/// `--root-path "$UNSET"` must not move the metadata to the top level.
#[test]
fn an_empty_path_is_rejected() {
    for (option, variable) in [
        ("--root-path", "META_MIGRATION_ROOT_PATH"),
        ("--meta-sub-path", "META_MIGRATION_META_SUB_PATH"),
        ("--kv-sub-path", "META_MIGRATION_KV_SUB_PATH"),
        ("--to-root", "META_MIGRATION_TO_ROOT"),
    ] {
        let restore = [
            "restore",
            "--backup-file",
            "b",
            "--endpoints",
            UNUSED_ENDPOINT,
        ];
        for empty in ["", " ", "/", "./", "/./", " ."] {
            Tool::new()
                .run(&[&restore[..], &[option, empty]].concat())
                .expect(2)
                .says(option)
                .says("the path is empty");
        }
        let tool = Tool::new().env(variable, "");
        tool.run(&restore).expect(2).says(option);
    }
    let tool = Tool::new();
    let file = tool.file(
        "m.yaml",
        "cmd.type: run\nconfig: {sourceVersion: 2.1.4, targetVersion: 2.2.0}\netcd.rootPath: ''\n",
    );
    tool.run(&["-config", file.to_str().unwrap()])
        .expect(2)
        .says("line 3: etcd.rootPath: the path is empty");
    for option in ["-r", "--meta-sub-path"] {
        Tool::new()
            .run(&["preflight", "-i", "x", option, ""])
            .expect(2)
            .says("the path is empty");
    }
}

#[test]
fn an_option_without_effect_is_rejected() {
    let version = ["--target-version", "2.2.16"];
    for (command, option) in [
        (&["plan"][..], &["--backup-file", "b"][..]),
        (&["status"], &["--backup-file", "b"]),
        (&["inspect"], &["--backup-file", "b"]),
        (&["plan", "--from", "f"], &["--endpoints", UNUSED_ENDPOINT]),
        (&["verify", "--from", "f"], &["--user", "u"]),
        (&["inspect", "--from", "f"], &["--tls-key", "k"]),
        (&["plan", "--from", "f"], &["--ignore-sessions"]),
        (&["plan"], &["--allow-partial"]),
        (&["plan"], &["--skip-hash-check"]),
        (&["verify"], &["--skip-hash-check"]),
        (&["migrate"], &["--skip-hash-check"]),
        (&["migrate"], &["--allow-partial"]),
        (&["repair"], &["--allow-partial"]),
        (&["plan", "--from", "f"], &["--allow-empty"]),
        (&["status"], &["--source-version", "2.1.4"]),
        (&["status"], &["--target-version", "2.2.16"]),
        (&["inspect"], &["--target-version", "2.2.16"]),
        (&["restore"], &["--target-version", "2.2.16"]),
        (&["verify"], &["--source-version", "2.1.4"]),
        (&["backup", "check", "f"], &["--target-version", "2.2.16"]),
        (&["backup", "check", "f"], &["--endpoints", UNUSED_ENDPOINT]),
        (&["backup", "diff", "f", "g"], &["--backup-file", "b"]),
        (
            &["backup", "prune", ".", "--keep", "1", "--dry-run"],
            &["--yes"],
        ),
        (
            &["migrate", "--from", "f", "--to", "g"],
            &["--plan", "0123456789ab"],
        ),
        (
            &["migrate", "--from", "f", "--to", "g"],
            &["--report", "r.html"],
        ),
        (&["history"], &["--backup-file", "b"]),
        (&["status"], &["--yes"]),
        (&["plan"], &["--yes"]),
        (&["verify"], &["--yes"]),
        (&["inspect"], &["--yes"]),
        (&["backup"], &["--yes"]),
        (&["backup", "list", "."], &["--yes"]),
        (&["preflight", "-i", "x"], &["--yes"]),
        (&["rollback", "--dry-run"], &["--yes"]),
        (&["restore", "--dry-run"], &["--wait-lock", "1s"]),
        (&["migrate", "--from", "f", "--to", "t"], &["--yes"]),
        (&["migrate", "--from", "f", "--to", "t"], &["--compact"]),
        (
            &["migrate", "--from", "f", "--to", "t"],
            &["--backup-file", "b"],
        ),
        (&["migrate", "--no-backup"], &["--backup-file", "b"]),
        (
            &["backup", "--backup-format", "official"],
            &["--level", "3"],
        ),
    ] {
        let mut words = [command, option].concat();
        if command[0] == "migrate" {
            words.extend(version);
        }
        Tool::new()
            .run(&words)
            .expect(2)
            .says(&format!("{} has no effect here", option[0]));
    }
}

/// Environment variables apply to all commands.
#[tokio::test]
async fn a_variable_without_effect_is_ignored() {
    let it = Instance::small().await;
    let tool = it.tool().env("META_MIGRATION_BACKUP_FILE", "b.mmb");
    tool.run(&["status"]).expect(0);
    tool.run(&["plan", "--target-version", "2.2.16"]).expect(0);
}

#[tokio::test]
async fn verify_compares_with_the_backup_file() {
    let it = Instance::small().await;
    let tool = it.tool();
    let backup = ["--backup-file", "b.mmb"];
    tool.run(&[&["migrate", "--target-version", "2.2.16"][..], &backup].concat())
        .expect(0);
    for option in ["--backup-file", "--backup"] {
        tool.run(&["verify", option, "b.mmb"])
            .expect(0)
            .shows("migrating the backup");
        tool.run(&["verify", option, "nosuch.mmb"]).expect(1);
    }
}

/// A protoc whose installation lacks google/protobuf is skipped before it fails a build.
#[test]
fn a_protoc_without_its_includes_is_skipped() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let script = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = || {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/protoc"));
        command
            .env("PATH", format!("{}/bin:{path}", folder.path().display()))
            .env("META_MIGRATION_CACHE", folder.path())
            .arg("--help");
        Ended::of(&mut command)
    };
    script(
        "protox-0.10.0/bin/protox",
        "#!/bin/sh\necho protox \"$@\"\n",
    );
    script("bin/protoc", "#!/bin/sh\n[ \"$1\" = --help ]\n");
    run().expect(0).shows("protox --help");
    // This one writes the requested output.
    script(
        "bin/protoc",
        "#!/bin/sh\nfor word; do case $word in --descriptor_set_out=*) echo x >\"${word#*=}\"; exit;; esac; \
            done\necho protoc \"$@\"\n",
    );
    run().expect(0).shows("protoc --help");
}
