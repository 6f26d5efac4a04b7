//! Passwords and certificates work and are never shown.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Permission};
use meta_store::etcd::{EtcdStore, Options, Password};

use super::instance::Instance;
use super::tool::Tool;
use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, ServerTls, Settings};
use crate::support::metadata::Metadata;

const SECRET: &str = "correct-horse-battery";

/// A server with users: root, and `milvus`, which has all rights below the root path of the small
/// instance and no others.
async fn with_users() -> (Etcd, Instance) {
    let etcd = Etcd::start(Settings::default());
    let mut it = Instance::on(&etcd).await;
    it.load(&Metadata::small()).await;
    let client = Client::connect([etcd.endpoint()], None::<ConnectOptions>).await;
    let mut auth = client.unwrap().auth_client();
    auth.role_add("root").await.unwrap();
    auth.user_add("root", "root-secret", None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("milvus").await.unwrap();
    let permission = Permission::read_write(format!("{}/", it.root.root_path())).with_prefix();
    auth.role_grant_permission("milvus", permission)
        .await
        .unwrap();
    auth.user_add("milvus", SECRET, None).await.unwrap();
    auth.user_grant_role("milvus", "milvus").await.unwrap();
    auth.auth_enable().await.unwrap();
    let options = Options {
        user: Some("milvus".to_owned()),
        password: Some(Password::new(SECRET)),
        ..Options::for_endpoint(etcd.endpoint())
    };
    it.store = EtcdStore::connect(&options).await.unwrap();
    (etcd, it)
}

#[tokio::test]
async fn d23_d24_a_limited_user_can_run_everything() {
    let (_etcd, it) = with_users().await;
    let before = it.metadata().await;
    let tool = it
        .tool()
        .env("META_MIGRATION_USER", "milvus")
        .env("META_MIGRATION_PASSWORD", SECRET);
    let trace = ["--log-level", "trace"];
    let migrate = [
        "migrate",
        "--target-version",
        "2.2.16",
        "--backup-file",
        "b.mmb",
    ];
    for command in [
        &["status"][..],
        &["plan", "--target-version", "2.2.16"],
        &migrate,
        &["verify", "--backup", "b.mmb"],
        &["rollback"],
        &["inspect"],
    ] {
        tool.run(&[command, &trace].concat())
            .expect(0)
            .hides(SECRET);
    }
    assert_eq!(it.metadata().await, before);
    // An operation that needs more rights is reported and does not fail the migration.
    tool.run(&[&migrate[..], &["--compact"]].concat())
        .expect(0)
        .says("etcd was not compacted");
}

#[tokio::test]
async fn d23_the_drop_in_reads_credentials_from_yaml() {
    let (_etcd, it) = with_users().await;
    let tool = it.tool();
    let yaml = format!(
        "cmd.type: run\nconfig: {{sourceVersion: 2.1.4, targetVersion: 2.2.0, backupFilePath: b}}\n{}\
         etcd.auth: {{enabled: true, userName: milvus, password: {SECRET}}}\n",
        it.yaml()
    );
    let file = tool.file("m.yaml", &yaml);
    tool.run(&["-config", file.to_str().unwrap(), "--log-level", "trace"])
        .expect(0)
        .hides(SECRET);
}

#[tokio::test]
async fn a_wrong_password_is_reported_but_not_shown() {
    let (_etcd, it) = with_users().await;
    let tool = it.tool();
    let file = tool.file("password", "not-the-password\n");
    let wrong = [
        "status",
        "--user",
        "milvus",
        "--password-file",
        file.to_str().unwrap(),
    ];
    tool.run(&wrong)
        .expect(1)
        .says("invalid user ID or password")
        .hides("not-the-password");
    tool.run(&["status", "--user", "milvus"])
        .expect(2)
        .says("a password (--password-file, META_MIGRATION_PASSWORD");
    tool.run(&["status"]).expect(1).says("next: Check --user");
}

#[tokio::test]
async fn a_password_is_not_in_the_process_list() {
    let (_etcd, it) = with_users().await;
    let lease = it.register("rootcoord", Duration::from_secs(600)).await;
    let tool = it.tool();
    let file = tool.file("password", SECRET);
    let mut running = tool.start(&[
        "migrate",
        "--target-version",
        "2.2.16",
        "--user",
        "milvus",
        "--password-file",
        file.to_str().unwrap(),
        "--wait-sessions",
        "10m",
    ]);
    running.wait_for_line("waiting up to");
    for name in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{}/{name}", running.id())).unwrap();
        assert!(!String::from_utf8_lossy(&shown).contains(SECRET), "{name}");
    }
    use meta_store::Store;
    it.store.lease_revoke(lease).await.unwrap();
    running.end().expect(0).hides(SECRET);
}

#[tokio::test]
async fn a_backup_is_readable_by_its_owner_only() {
    let it = Instance::small().await;
    let tool = it.tool();
    for (name, format) in [("b.mmb", "native"), ("b.bak", "official")] {
        tool.run(&["backup", "--backup-file", name, "--backup-format", format])
            .expect(0);
        let mode = std::fs::metadata(tool.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn d22_tls_options_work() {
    let certificates = Certificates::new(&["etcd.example"]);
    let path = |name: &str| certificates.path(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    for (client_ca, arguments, code) in [
        (
            false,
            &["--cacert", &ca, "--tls-server-name", "etcd.example"][..],
            0,
        ),
        (false, &["--cacert", &ca], 1),
        (false, &["--tls-server-name", "etcd.example"], 1),
        (
            true,
            &["--cacert", &ca, "--tls-server-name", "etcd.example"],
            1,
        ),
        (
            true,
            &[
                "--cacert",
                &ca,
                "--tls-server-name",
                "etcd.example",
                "--cert",
                &cert,
                "--key",
                &key,
            ],
            0,
        ),
    ] {
        let etcd = Etcd::start(Settings {
            tls: Some(ServerTls {
                cert: certificates.path("server.pem"),
                key: certificates.path("server.key"),
                client_ca: client_ca.then(|| certificates.path("ca.pem")),
            }),
            ..Settings::default()
        });
        let status = [
            "status",
            "--allow-empty",
            "--endpoints",
            etcd.address(),
            "--timeout",
            "3s",
        ];
        Tool::new()
            .run(&[&status[..], arguments].concat())
            .expect(code);
    }
}

#[tokio::test]
async fn inspect_key_is_a_metadata_key() {
    let it = Instance::small().await;
    let tool = it.tool();
    tool.run(&["inspect", "--tls-key", "k.pem"])
        .expect(2)
        .says("the client key");
    tool.run(&["inspect", "--key", "indexes/90"])
        .expect(0)
        .shows("indexes/90");
}
