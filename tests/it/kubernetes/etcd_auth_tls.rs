//! An etcd that requires a user and TLS.

use etcd_client::{Certificate, Client, ConnectOptions, TlsOptions};
use serde_json::json;

use super::{NEW_IMAGE, Scenario, role};
use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, ServerTls, Settings};
use crate::support::kubernetes::Bed;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};

const PASSWORD: &str = "not-to-be-seen-anywhere";

/// A connection with the CA of the server, with a user if one is given.
async fn connect(etcd: &Etcd, files: &Certificates, user: Option<(&str, &str)>) -> Client {
    let ca = std::fs::read(files.path("ca.pem")).unwrap();
    let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
    let mut options = ConnectOptions::new().with_tls(tls);
    if let Some((name, password)) = user {
        options = options.with_user(name, password);
    }
    Client::connect([etcd.endpoint()], Some(options))
        .await
        .unwrap()
}

#[tokio::test]
async fn w16_users_and_certificates_come_from_secrets() {
    let files = Certificates::new(&["127.0.0.1"]);
    let etcd = Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: files.path("server.pem"),
            key: files.path("server.key"),
            client_ca: None,
        }),
        ..Settings::default()
    });
    let mut auth = connect(&etcd, &files, None).await.auth_client();
    auth.user_add("root", PASSWORD, None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.auth_enable().await.unwrap();
    let client = connect(&etcd, &files, Some(("root", PASSWORD))).await;
    let bed = Bed::with_own_etcd("my-release", etcd.address(), client).await;
    let mut role = role();
    let secret = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["etcd-tls"], "verbs": ["get"],
    });
    role["rules"].as_array_mut().unwrap().push(secret);
    let scenario = Scenario::on(bed, Helm::standalone("my-release"), role).await;
    let bed = &scenario.bed;
    let ca = std::fs::read_to_string(files.path("ca.pem")).unwrap();
    for (name, data) in [
        ("etcd-user", json!({"user": "root", "password": PASSWORD})),
        ("etcd-tls", json!({"ca.crt": ca})),
    ] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        });
        bed.create("secrets", &secret).await;
    }
    let secured = [
        "--etcd-secret",
        "etcd-user",
        "--etcd-tls-secret",
        "etcd-tls",
    ];
    let mut seen = Vec::new();
    let forward = scenario.upgrade(&secured).await;
    forward.expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
    let back = scenario
        .upgrade(&[&secured[..], &["-o", "rollback"]].concat())
        .await;
    back.expect(0);
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;

    for ended in [forward, back] {
        seen.extend([ended.stdout, ended.stderr]);
    }
    for plural in ["configmaps", "jobs", "pods", "events"] {
        for object in bed.list(plural).await {
            if plural == "pods" && object["metadata"]["labels"]["job-name"].is_string() {
                seen.push(
                    bed.log(object["metadata"]["name"].as_str().unwrap(), "")
                        .await,
                );
            }
            seen.push(object.to_string());
        }
    }
    assert!(seen.len() > 20);
    for text in seen {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}
