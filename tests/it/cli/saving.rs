//! The destination of `backup`, and the permissions and space that it needs.

use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use etcd_client::Permission;
use meta_backup::check_bytes;
use meta_store::{Op, Store as _, Txn};

use super::UNUSED_ENDPOINT;
use super::instance::Instance;
use super::tool::Tool;
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::Metadata;

fn entries(file: &[u8]) -> u64 {
    check_bytes(file, None).unwrap().entries
}

#[tokio::test]
async fn backup_to_standard_output_is_the_file() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let file = fs::read(tool.path().join("b.mmb")).unwrap();
    for format in ["text", "json"] {
        let arguments = ["backup", "--backup-file", "-", "--format", format];
        let output = tool.command(&arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert_eq!(entries(&output.stdout), entries(&file));
        assert!(text.contains("backup written to standard output"), "{text}");
        assert!(!tool.path().join("-").exists());
    }
}

#[tokio::test]
async fn backup_to_a_closed_standard_output_fails() {
    let it = Instance::small().await;
    let mut child = it
        .tool()
        .command(&["backup", "--backup-file", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot write"), "{text}");
}

#[tokio::test]
async fn backup_to_a_named_pipe_reaches_its_reader() {
    let it = Instance::small().await;
    let tool = it.tool();
    let pipe = tool.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut bytes = Vec::new();
            let mut file = fs::File::open(pipe).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        }
    });
    tool.run(&["backup", "--backup-file", "pipe"]).expect(0);
    assert!(entries(&reader.join().unwrap()) > 10);
    // A rollback cannot read its backup from a pipe.
    let migrate = ["migrate", "--target-version", "2.2.16", "--backup-file"];
    let before = it.dump().await;
    tool.run(&[&migrate[..], &["pipe"]].concat())
        .expect(2)
        .says("it is a named pipe");
    tool.run(&[&migrate[..], &["-"]].concat())
        .expect(2)
        .says("only the command backup writes to standard output");
    assert_eq!(it.dump().await, before);
}

#[tokio::test]
async fn a_stream_has_no_official_format() {
    let it = Instance::small().await;
    let arguments = [
        "backup",
        "--backup-file",
        "-",
        "--backup-format",
        "official",
    ];
    let ended = it.tool().run(&arguments);
    ended.expect(2).says("only the native format");
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn a_path_that_is_not_a_file_is_rejected() {
    let it = Instance::small().await;
    let tool = it.tool();
    fs::create_dir(tool.path().join("folder")).unwrap();
    symlink("/dev/null", tool.path().join("link")).unwrap();
    let before = it.dump().await;
    for (path, reason) in [
        ("folder", "it is a directory"),
        ("new/", "it is a directory"),
        (".", "it is a directory"),
        ("/dev/null", "it is a device"),
        ("/dev/new", "it is in a folder of devices"),
        ("link", "it is a device"),
    ] {
        for command in [
            &["backup", "--backup-file", path][..],
            &[
                "migrate",
                "--target-version",
                "2.2.16",
                "--backup-file",
                path,
            ],
        ] {
            tool.run(command).expect(2).says(path).says(reason);
        }
    }
    assert_eq!(it.dump().await, before);
    assert!(!std::path::Path::new("/dev/new").exists());
}

#[test]
fn a_backup_path_that_is_not_utf_8_is_rejected() {
    let path = std::ffi::OsStr::from_bytes(b"b\xff.mmb");
    for name in ["backup", "migrate", "restore", "rollback"] {
        let tool = Tool::new().env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT);
        let words = match name {
            "migrate" => &[name, "--target-version", "2.2.16", "--backup-file"][..],
            _ => &[name, "--backup-file"],
        };
        let mut command = tool.command(words);
        let output = command.arg(path).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains("not valid UTF-8"), "{name}: {text}");
    }
}

/// A user who may read only the meta root, not even the journal.
#[tokio::test]
async fn a_read_only_user_can_save_a_backup() {
    let etcd = Etcd::start(Settings::default());
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    let mut auth = client.auth_client();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("reader").await.unwrap();
    let prefix = format!("{}/", it.root.meta_root());
    let permission = Permission::read(prefix).with_prefix();
    auth.role_grant_permission("reader", permission)
        .await
        .unwrap();
    auth.user_add("reader", "reader-secret", None)
        .await
        .unwrap();
    auth.user_grant_role("reader", "reader").await.unwrap();
    auth.auth_enable().await.unwrap();
    let tool = it
        .tool()
        .env("META_MIGRATION_USER", "reader")
        .env("META_MIGRATION_PASSWORD", "reader-secret");
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    assert!(entries(&fs::read(tool.path().join("b.mmb")).unwrap()) > 10);
}

#[tokio::test]
async fn a_backup_of_a_full_etcd_works() {
    let etcd = Etcd::start(Settings {
        quota_bytes: Some(4 << 20),
        ..Settings::default()
    });
    let it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let fill = || Txn {
        compares: Vec::new(),
        ops: vec![Op::put("junk", vec![7; 500_000])],
    };
    while it.store.txn(fill()).await.is_ok() {}
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    assert!(entries(&fs::read(tool.path().join("b.mmb")).unwrap()) > 10);
}

#[test]
fn a_missing_backup_is_named() {
    let tool = Tool::new().env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT);
    for command in [
        &["plan", "--target-version", "2.2.16", "--from", "nosuch.mmb"][..],
        &["backup", "check", "nosuch.mmb"],
    ] {
        tool.run(command)
            .expect(1)
            .says("cannot open backup file nosuch.mmb")
            .says("No such file or directory");
    }
}

#[tokio::test]
async fn restore_names_a_missing_backup() {
    let it = Instance::small().await;
    it.tool()
        .run(&["restore", "--backup-file", "nosuch.mmb"])
        .expect(1)
        .says("cannot open backup file /")
        .says("nosuch.mmb");
}
