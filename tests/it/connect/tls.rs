//! TLS: accepted certificates, and the causes reported for failures.

use std::path::{Path, PathBuf};

use meta_store::ConnectProblem as Problem;
use meta_store::StoreErrorKind;
use meta_store::etcd::{EtcdStore, Options, Tls};

use super::{put_and_get, refused};
use crate::support::certificates::Certificates;
use crate::support::etcd::{Etcd, ServerTls, Settings};

/// A server with TLS, and the files for its clients.
fn with_tls(server_names: &[&str], mutual: bool) -> (Etcd, Certificates) {
    let files = Certificates::new(server_names);
    let etcd = Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: files.path("server.pem"),
            key: files.path("server.key"),
            client_ca: mutual.then(|| files.path("ca.pem")),
        }),
        ..Settings::default()
    });
    (etcd, files)
}

fn tls_options(etcd: &Etcd, tls: Tls) -> Options {
    Options {
        tls: Some(tls),
        ..Options::for_endpoint(etcd.address())
    }
}

#[tokio::test]
async fn d22_tls_needs_only_the_ca() {
    let (etcd, files) = with_tls(&["127.0.0.1"], false);
    let tls = Tls {
        ca_cert: Some(files.path("ca.pem")),
        ..Tls::default()
    };
    let store = EtcdStore::connect(&tls_options(&etcd, tls)).await.unwrap();
    put_and_get(&store, "root").await;
}

#[tokio::test]
async fn d22_a_client_certificate_is_sent_on_request() {
    let (etcd, files) = with_tls(&["127.0.0.1"], true);
    let authority_only = Tls {
        ca_cert: Some(files.path("ca.pem")),
        ..Tls::default()
    };
    let mutual = Tls {
        cert: Some(files.path("client.pem")),
        key: Some(files.path("client.key")),
        ..authority_only.clone()
    };
    let store = EtcdStore::connect(&tls_options(&etcd, mutual))
        .await
        .unwrap();
    put_and_get(&store, "root").await;
    let error = refused(&tls_options(&etcd, authority_only)).await;
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{}", error.message);
}

#[tokio::test]
async fn d22_the_server_name_is_checked_and_settable() {
    let (etcd, files) = with_tls(&["etcd.milvus.svc"], false);
    let tls = Tls {
        ca_cert: Some(files.path("ca.pem")),
        ..Tls::default()
    };
    let named = Tls {
        server_name: Some("etcd.milvus.svc".to_owned()),
        ..tls.clone()
    };
    let wrong = Tls {
        server_name: Some("other.milvus.svc".to_owned()),
        ..tls.clone()
    };
    let store = EtcdStore::connect(&tls_options(&etcd, named))
        .await
        .unwrap();
    put_and_get(&store, "root").await;
    for refusing in [tls, wrong] {
        let error = refused(&tls_options(&etcd, refusing)).await;
        assert_eq!(error.kind, StoreErrorKind::Unreachable);
        assert!(error.message.contains("certificate"), "{}", error.message);
        assert!(error.message.contains(etcd.address()), "{}", error.message);
    }
}

#[tokio::test]
async fn d22_a_server_of_another_ca_is_rejected() {
    let (etcd, _files) = with_tls(&["127.0.0.1"], false);
    let other = Certificates::new(&["127.0.0.1"]);
    let tls = Tls {
        ca_cert: Some(other.path("ca.pem")),
        ..Tls::default()
    };
    let error = refused(&tls_options(&etcd, tls)).await;
    assert!(error.message.contains("certificate"), "{}", error.message);
}

fn serving(files: &Certificates) -> Etcd {
    Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: files.path("server.pem"),
            key: files.path("server.key"),
            client_ca: None,
        }),
        ..Settings::default()
    })
}

fn trusting(path: PathBuf) -> Tls {
    Tls {
        ca_cert: Some(path),
        ..Tls::default()
    }
}

/// Fails unless the connection fails with this problem and this text.
async fn fails(etcd: &Etcd, tls: Tls, problem: Problem, words: &str) {
    let error = refused(&tls_options(etcd, tls)).await;
    assert_eq!(error.problems, [problem], "{}", error.message);
    assert!(error.message.contains(words), "{}", error.message);
    assert!(error.message.contains(etcd.address()), "{}", error.message);
}

/// `openssl req -x509` marks its certificate as a CA; Go programs accept it if it is trusted
/// itself.
#[tokio::test]
async fn a_trusted_self_signed_certificate_is_accepted() {
    let files = Certificates::self_signed(&["127.0.0.1"], |_| {});
    let etcd = serving(&files);
    let tls = trusting(files.path("server.pem"));
    let store = EtcdStore::connect(&tls_options(&etcd, tls)).await.unwrap();
    put_and_get(&store, "root").await;
    // The quota is read from the metrics over a separate connection.
    let status = meta_store::Store::status(&store).await.unwrap();
    assert!(status.quota.is_some());
}

#[tokio::test]
async fn a_trusted_server_certificate_needs_no_ca() {
    let files = Certificates::new(&["127.0.0.1"]);
    let etcd = serving(&files);
    let tls = trusting(files.path("server.pem"));
    let store = EtcdStore::connect(&tls_options(&etcd, tls)).await.unwrap();
    put_and_get(&store, "root").await;
}

#[tokio::test]
async fn a_trusted_self_signed_certificate_must_have_the_name() {
    let files = Certificates::self_signed(&["etcd.local"], |_| {});
    let etcd = serving(&files);
    let tls = trusting(files.path("server.pem"));
    let words = "is for etcd.local, not for 127.0.0.1";
    fails(&etcd, tls.clone(), Problem::WrongName, words).await;
    let named = Tls {
        server_name: Some("etcd.local".to_owned()),
        ..tls
    };
    let store = EtcdStore::connect(&tls_options(&etcd, named))
        .await
        .unwrap();
    put_and_get(&store, "root").await;
}

#[tokio::test]
async fn a_trusted_self_signed_certificate_must_be_valid_now() {
    for (from, to, problem, words) in [
        (2001, 2002, Problem::Expired, "expired at 2002-01-01"),
        (
            2101,
            2102,
            Problem::NotYetValid,
            "is not valid before 2101-01-01",
        ),
    ] {
        let files = Certificates::self_signed(&["127.0.0.1"], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        let etcd = serving(&files);
        fails(&etcd, trusting(files.path("server.pem")), problem, words).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_named() {
    for (from, to, problem) in [
        (2001, 2002, Problem::Expired),
        (2101, 2102, Problem::NotYetValid),
    ] {
        let files = Certificates::altered(&["127.0.0.1"], |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        let etcd = serving(&files);
        let tls = trusting(files.path("ca.pem"));
        fails(&etcd, tls, problem, "the server certificate").await;
    }
}

#[tokio::test]
async fn an_untrusted_self_signed_certificate_is_named() {
    let other = Certificates::new(&["127.0.0.1"]);
    for is_ca in [true, false] {
        let files = Certificates::self_signed(&["127.0.0.1"], |params| {
            if !is_ca {
                params.is_ca = rcgen::IsCa::NoCa;
            }
        });
        let etcd = serving(&files);
        let tls = trusting(other.path("ca.pem"));
        fails(&etcd, tls, Problem::SelfSigned, "is self-signed").await;
    }
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let files = Certificates::new(&["127.0.0.1"]);
    let other = Certificates::self_signed(&["127.0.0.1"], |params| {
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "another CA");
        params.distinguished_name = name;
    });
    let etcd = serving(&files);
    let tls = trusting(other.path("server.pem"));
    fails(
        &etcd,
        tls,
        Problem::UnknownIssuer,
        "signed by an unknown CA",
    )
    .await;
    // The system's CA certificates, if any, do not contain the CA either.
    let error = refused(&tls_options(&etcd, Tls::default())).await;
    assert!(
        matches!(
            error.problems[..],
            [Problem::UnknownIssuer | Problem::NoCaCertificates]
        ),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_renewed_ca_of_the_same_name_is_named() {
    let (files, renewed) = (
        Certificates::new(&["127.0.0.1"]),
        Certificates::new(&["127.0.0.1"]),
    );
    let etcd = serving(&files);
    let tls = trusting(renewed.path("ca.pem"));
    fails(&etcd, tls, Problem::BadSignature, "signature").await;
}

#[tokio::test]
async fn a_certificate_without_names_is_named() {
    let files = Certificates::new(&[]);
    let etcd = serving(&files);
    let tls = trusting(files.path("ca.pem"));
    fails(&etcd, tls, Problem::NoName, "no subject alternative name").await;
}

#[tokio::test]
async fn a_certificate_for_clients_only_is_named() {
    let files = Certificates::altered(&["127.0.0.1"], |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let etcd = serving(&files);
    let tls = trusting(files.path("ca.pem"));
    fails(&etcd, tls, Problem::WrongPurpose, "serverAuth").await;
}

/// The auto-TLS of etcd makes a P-521 certificate.
#[tokio::test]
async fn a_certificate_of_auto_tls_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let etcd = Etcd::start(Settings {
        auto_tls: true,
        arguments: vec![format!("--data-dir={}", folder.path().display())],
        ..Settings::default()
    });
    let tls = trusting(folder.path().join("fixtures/client/cert.pem"));
    let store = EtcdStore::connect(&tls_options(&etcd, tls)).await.unwrap();
    put_and_get(&store, "root").await;
    let other = Certificates::new(&["127.0.0.1"]);
    let tls = trusting(other.path("ca.pem"));
    fails(&etcd, tls, Problem::SelfSigned, "is self-signed").await;
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/tls")
        .join(name)
}

#[tokio::test]
async fn an_unsupported_curve_is_named() {
    let etcd = Etcd::start(Settings {
        tls: Some(ServerTls {
            cert: testdata("p224-server.pem"),
            key: testdata("p224-server.key"),
            client_ca: None,
        }),
        ..Settings::default()
    });
    let tls = trusting(testdata("p224-ca.pem"));
    let words = "unsupported algorithm or curve";
    fails(&etcd, tls, Problem::UnsupportedAlgorithm, words).await;
}

#[tokio::test]
async fn a_required_client_certificate_is_named() {
    let (etcd, files) = with_tls(&["127.0.0.1"], true);
    let tls = trusting(files.path("ca.pem"));
    let words = "requires a client certificate";
    fails(&etcd, tls, Problem::ClientCertificateRequired, words).await;
}

#[tokio::test]
async fn a_rejected_client_certificate_is_named() {
    let (etcd, files) = with_tls(&["127.0.0.1"], true);
    let other = Certificates::new(&["127.0.0.1"]);
    let tls = Tls {
        cert: Some(other.path("client.pem")),
        key: Some(other.path("client.key")),
        ..trusting(files.path("ca.pem"))
    };
    let words = "rejects the client certificate";
    fails(&etcd, tls, Problem::ClientCertificateRejected, words).await;
}

#[tokio::test]
async fn tls_to_a_plain_server_is_named() {
    let etcd = Etcd::start(Settings::default());
    let files = Certificates::new(&["127.0.0.1"]);
    let tls = trusting(files.path("ca.pem"));
    fails(&etcd, tls, Problem::TlsNotSpoken, "TLS").await;
}

#[tokio::test]
async fn plain_http_to_a_tls_server_is_named() {
    let (etcd, _files) = with_tls(&["127.0.0.1"], false);
    let options = Options::for_endpoint(format!("http://{}", etcd.address()));
    let error = refused(&options).await;
    assert_eq!(error.problems, [Problem::TlsExpected], "{}", error.message);
}

/// The key and the certificate of a client are checked before any connection is made.
#[tokio::test]
async fn an_unusable_client_key_is_named() {
    let (files, other) = (Certificates::new(&[]), Certificates::new(&[]));
    let encrypted = other.path("encrypted.key");
    let legacy = other.path("legacy.key");
    for (path, begin) in [
        (&encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        (
            &legacy,
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
        ),
    ] {
        std::fs::write(path, begin).unwrap();
    }
    for (cert, key, words) in [
        (
            files.path("client.pem"),
            other.path("client.key"),
            "client.key does not belong to the client certificate",
        ),
        (
            files.path("client.pem"),
            encrypted,
            "encrypted.key is encrypted with a passphrase",
        ),
        (
            files.path("client.pem"),
            legacy,
            "legacy.key is encrypted with a passphrase",
        ),
        (
            testdata("p224-client.pem"),
            testdata("p224-client.key"),
            "p224-client.key has an unsupported algorithm or curve",
        ),
        (
            files.path("client.pem"),
            files.path("client.pem"),
            "client.pem contains a certificate and no private key",
        ),
        (
            files.path("client.key"),
            files.path("client.key"),
            "client.key contains a private key and no certificate",
        ),
    ] {
        let tls = Tls {
            cert: Some(cert),
            key: Some(key),
            ..trusting(files.path("ca.pem"))
        };
        let options = Options {
            tls: Some(tls),
            ..Options::for_endpoint("127.0.0.1:1")
        };
        let error = refused(&options).await;
        assert_eq!(error.kind, StoreErrorKind::Other, "{}", error.message);
        assert!(error.message.contains(words), "{}", error.message);
    }
}
