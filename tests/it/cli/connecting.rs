//! Each cause of a failed connection has its own hint.

use std::time::{Duration, Instant};

use super::tool::{Tool, within};
use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, ServerTls, Settings};

fn status(endpoint: &str, more: &[&str]) -> super::tool::Ended {
    Tool::new().run(&[&["status", "--endpoints", endpoint][..], more].concat())
}

#[test]
fn tls_failures_name_the_option_that_fixes_them() {
    let files = Certificates::self_signed(&["127.0.0.1", "etcd.local"], |_| {});
    let etcd = Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: files.path("server.pem"),
            key: files.path("server.key"),
            client_ca: None,
        }),
        ..Settings::default()
    });
    let own = files.path("server.pem").display().to_string();
    let other = Certificates::new(&["127.0.0.1"]);
    let other = other.path("ca.pem").display().to_string();
    status(etcd.address(), &["--cacert", &own, "--allow-empty"]).expect(0);
    status(etcd.address(), &["--cacert", &other])
        .expect(1)
        .says("is self-signed")
        .says("next: Name etcd's certificate itself with --cacert");
    status(
        etcd.address(),
        &["--cacert", &own, "--tls-server-name", "other.local"],
    )
    .expect(1)
    .says("not for other.local")
    .says("--tls-server-name");
    let plain = format!("http://{}", etcd.address());
    status(&plain, &[])
        .expect(1)
        .says("the server expects TLS")
        .says("Use https://");
}

#[test]
fn a_ca_file_without_a_certificate_is_refused() {
    let files = Certificates::new(&["127.0.0.1"]);
    let key = files.path("client.key").display().to_string();
    status("127.0.0.1:1", &["--cacert", &key])
        .expect(2)
        .says("contains a private key and no certificate");
    let tool = Tool::new();
    let empty = tool.file("empty.pem", "").display().to_string();
    status("127.0.0.1:1", &["--cacert", &empty])
        .expect(2)
        .says("contains no certificate in PEM format");
}

#[test]
fn a_refused_connection_asks_for_the_endpoints() {
    status("127.0.0.1:1", &[])
        .expect(1)
        .says("connection refused")
        .says("Check --endpoints");
}

/// Right after the majority is lost, the remaining member still reports a leader.
#[test]
fn a_lost_majority_is_reported_within_twice_the_timeout() {
    let mut members = Etcd::start_cluster(3, &Settings::default());
    members[0].kill();
    members[1].kill();
    let all: Vec<&str> = members.iter().map(Etcd::endpoint).collect();
    for endpoints in [members[2].endpoint(), &all.join(",")] {
        for command in [
            &["status"][..],
            &["plan", "--target-version", "2.2.16"],
            &["migrate", "--target-version", "2.2.16", "--no-backup"],
            &["rollback"],
        ] {
            let started = Instant::now();
            let words = ["--endpoints", endpoints, "--timeout", "3s"];
            Tool::new()
                .run(&[command, &words].concat())
                .expect(1)
                .says("cannot connect to etcd")
                .says("Start the other members of etcd");
            within(Duration::from_secs(6), started);
        }
    }
}
