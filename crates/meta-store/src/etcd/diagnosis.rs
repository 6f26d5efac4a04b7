//! Finds the cause of a failed connection with a second, simpler connection.
//!
//! The gRPC client reports a failed handshake as "transport error". It often loses an alert that a
//! server sends after the handshake (for a rejected client certificate), because the connection
//! closes at the same time. The second connection sends nothing after the handshake and waits for
//! the server's alert.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors and alerts of TLS have dozens of variants, most of them not relevant here"
)]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, OtherError, RootCertStore,
};

use super::tls::{SelfSigned, TlsSetup};
use crate::ConnectProblem as Problem;

/// A server sends its alert immediately after the handshake.
const ALERT_WAIT: Duration = Duration::from_secs(1);

/// Returns the cause why the member at `endpoint` is unreachable, and a description. `None` if the
/// connection succeeds or the cause is unknown.
pub(super) async fn diagnose(
    endpoint: &str,
    tls: Option<&TlsSetup>,
    limit: Duration,
) -> Option<(Problem, String)> {
    let (scheme, authority) = endpoint.split_once("://")?;
    let diagnosis = async {
        let Ok(addresses) = lookup_host(authority).await else {
            return Some((Problem::UnknownHost, "the host name is unknown".to_owned()));
        };
        let addresses: Vec<_> = addresses.collect();
        let stream = match TcpStream::connect(addresses.as_slice()).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Some((Problem::Refused, "connection refused".to_owned()));
            }
            Err(_) => return None,
        };
        match tls {
            Some(tls) if scheme == "https" => handshake(stream, authority, tls).await,
            _ => expects_tls(stream, authority).await,
        }
    };
    timeout(limit, diagnosis).await.ok().flatten()
}

/// Returns the host of `host:port`, without the brackets of an IPv6 address.
pub(super) fn host_of(authority: &str) -> &str {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn handshake(
    stream: TcpStream,
    authority: &str,
    tls: &TlsSetup,
) -> Option<(Problem, String)> {
    let config = tls.client_config(true).ok()?;
    let name = tls.server_name(host_of(authority)).to_owned();
    let name = ServerName::try_from(name).ok()?;
    let connector = TlsConnector::from(Arc::new(config));
    let failed = match connector.connect(name, stream).await {
        Err(error) => error,
        Ok(mut stream) => {
            // In TLS 1.3 the server verifies the client certificate after the handshake is complete
            // here.
            let mut byte = [0];
            match timeout(ALERT_WAIT, stream.read(&mut byte)).await {
                Ok(Err(error)) => error,
                Ok(Ok(_)) | Err(_) => return None,
            }
        }
    };
    match tls_error(&failed) {
        Some(error) => explain(error, tls.has_identity()),
        None => Some((
            Problem::TlsNotSpoken,
            "the connection was closed during the TLS handshake".to_owned(),
        )),
    }
}

/// Returns whether a server at an http endpoint responds to a TLS handshake, with a certificate (which is
/// never trusted here) or with an alert.
async fn expects_tls(stream: TcpStream, authority: &str) -> Option<(Problem, String)> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host_of(authority).to_owned()).ok()?;
    let failed = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .err()?;
    match tls_error(&failed)? {
        TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_) => Some((
            Problem::TlsExpected,
            "the server expects TLS, and the endpoint says http".to_owned(),
        )),
        _ => None,
    }
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    let inner: &(dyn Error + 'static) = error.get_ref()?;
    inner.downcast_ref::<TlsError>()
}

/// Describes a TLS error. `identity`: a client certificate was presented.
fn explain(error: &TlsError, identity: bool) -> Option<(Problem, String)> {
    match error {
        TlsError::InvalidCertificate(error) => Some(certificate(error)),
        TlsError::AlertReceived(alert) => Some(alerted(*alert, identity)),
        TlsError::PeerIncompatible(reason) => Some((
            Problem::Incompatible,
            format!("client and server have no TLS parameters in common: {reason:?}"),
        )),
        TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. } => Some((
            Problem::TlsNotSpoken,
            "the server does not speak TLS, and the endpoint says https".to_owned(),
        )),
        TlsError::NoCertificatesPresented => Some((
            Problem::Incompatible,
            "the server presents no certificate".to_owned(),
        )),
        _ => None,
    }
}

fn certificate(error: &CertificateError) -> (Problem, String) {
    use CertificateError as E;
    let (problem, text) = match error {
        E::Expired => (Problem::Expired, "has expired".to_owned()),
        E::ExpiredContext { not_after, .. } => (
            Problem::Expired,
            format!("expired at {}", date(not_after.as_secs())),
        ),
        E::NotValidYet => (Problem::NotYetValid, "is not valid yet".to_owned()),
        E::NotValidYetContext { not_before, .. } => (
            Problem::NotYetValid,
            format!("is not valid before {}", date(not_before.as_secs())),
        ),
        E::NotValidForName => (Problem::WrongName, "is for another host name".to_owned()),
        E::NotValidForNameContext {
            expected,
            presented,
        } => wrong_name(&expected.to_str(), presented),
        E::UnknownIssuer => (
            Problem::UnknownIssuer,
            "is signed by an unknown CA".to_owned(),
        ),
        E::BadSignature => (
            Problem::BadSignature,
            "has a signature that the CA certificate with its issuer's name does not verify"
                .to_owned(),
        ),
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            Problem::UnsupportedAlgorithm,
            "is signed with an unsupported algorithm or curve".to_owned(),
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => (
            Problem::WrongPurpose,
            "is not meant for servers (its extended key usage lacks serverAuth)".to_owned(),
        ),
        E::Other(OtherError(cause)) if cause.is::<SelfSigned>() => (
            Problem::SelfSigned,
            "is self-signed and not among the trusted certificates".to_owned(),
        ),
        E::Other(OtherError(cause)) if cause.to_string() == "UnsupportedCertVersion" => (
            Problem::NoName,
            "is of X.509 version 1, which has no subject alternative names".to_owned(),
        ),
        other => (
            Problem::UnsupportedAlgorithm,
            format!("cannot be used: {other}"),
        ),
    };
    (problem, format!("the server certificate {text}"))
}

fn wrong_name(expected: &str, presented: &[String]) -> (Problem, String) {
    if presented.is_empty() {
        let text =
            format!("has no subject alternative name, so it cannot be verified for {expected}");
        return (Problem::NoName, text);
    }
    let presented = names(presented).join(", ");
    let text = format!("is for {presented}, not for {expected}");
    (Problem::WrongName, text)
}

/// Returns the names in a certificate, which rustls formats as `DnsName("etcd")` and `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> Vec<String> {
    let inner = |name: &String| {
        let text = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest);
        let text = text.strip_suffix(')').unwrap_or(text);
        text.trim_matches('"').to_owned()
    };
    presented.iter().map(inner).collect()
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().map(Timestamp::from_second);
    match time {
        Some(Ok(time)) => time.to_string(),
        Some(Err(_)) | None => format!("second {seconds} of the Unix epoch"),
    }
}

/// Explains a server's alert. Servers send different alerts about a client certificate.
fn alerted(alert: AlertDescription, identity: bool) -> (Problem, String) {
    use AlertDescription as A;
    let about_the_certificate = matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired
            | A::DecryptError
    );
    if about_the_certificate && identity {
        let why = match alert {
            A::CertificateExpired => "it has expired",
            A::CertificateRevoked => "it is revoked",
            A::UnknownCA => "it is signed by a CA that etcd does not trust",
            A::UnsupportedCertificate => "its algorithm, curve or purpose is not supported",
            A::AccessDenied => "access denied",
            _ => {
                "it is not signed by etcd's client CA, has expired, or lacks the purpose clientAuth"
            }
        };
        return (
            Problem::ClientCertificateRejected,
            format!("etcd rejects the client certificate: {why}"),
        );
    }
    if about_the_certificate {
        return (
            Problem::ClientCertificateRequired,
            "etcd requires a client certificate".to_owned(),
        );
    }
    if alert == A::UnrecognisedName {
        return (
            Problem::WrongName,
            "the server does not know the requested host name".to_owned(),
        );
    }
    (
        Problem::Incompatible,
        format!("the server ends the TLS handshake with the alert {alert:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_about_a_certificate_blames_the_client_certificate() {
        for alert in [
            AlertDescription::BadCertificate,
            AlertDescription::CertificateRequired,
        ] {
            let (without, _) = alerted(alert, false);
            let (with, _) = alerted(alert, true);
            assert_eq!(without, Problem::ClientCertificateRequired);
            assert_eq!(with, Problem::ClientCertificateRejected);
        }
        let (problem, text) = alerted(AlertDescription::ProtocolVersion, true);
        assert_eq!(problem, Problem::Incompatible);
        assert!(text.contains("ProtocolVersion"), "{text}");
    }

    #[test]
    fn certificate_names_are_unwrapped() {
        let presented = ["DnsName(\"etcd.local\")", "IpAddress(10.0.0.1)", "odd"];
        let presented = presented.map(str::to_owned);
        assert_eq!(names(&presented), ["etcd.local", "10.0.0.1", "odd"]);
    }

    #[test]
    fn host_excludes_port_and_brackets() {
        assert_eq!(host_of("etcd:2379"), "etcd");
        assert_eq!(host_of("[::1]:2379"), "::1");
    }
}
