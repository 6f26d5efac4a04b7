//! TLS settings. Their files are read once and shared by all connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, InconsistentKeys,
    OtherError, RootCertStore, SignatureScheme,
};
use tonic::transport::{ClientTlsConfig, Endpoint, Identity};

use super::error::invalid;
use crate::{ConnectProblem, StoreError};

/// The ALPN name of HTTP/2.
const ALPN_HTTP2: &[u8] = b"h2";

/// TLS settings. By default the system's CA certificates are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the CA certificates to trust, instead of the system's.
    pub ca_cert: Option<PathBuf>,
    /// PEM file with the client certificate, for servers that require one; requires `key`.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of `cert`.
    pub key: Option<PathBuf>,
    /// The name to verify in the server's certificate, instead of the endpoint's host.
    pub server_name: Option<String>,
}

/// The TLS settings of all connections, with the contents of the files.
#[derive(Debug, Clone)]
pub(super) struct TlsSetup {
    verifier: Arc<TrustVerifier>,
    identity: Option<ClientIdentity>,
    server_name: Option<String>,
}

/// A client certificate with its key.
#[derive(Clone)]
struct ClientIdentity {
    certificate_pem: Vec<u8>,
    key_pem: Vec<u8>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientIdentity(redacted)")
    }
}

impl TlsSetup {
    /// Reads the files in the settings.
    ///
    /// # Errors
    /// If a file is unreadable or contains no usable certificate or key.
    pub(super) fn read(tls: &Tls) -> Result<Self, StoreError> {
        let trusted = match &tls.ca_cert {
            Some(path) => read_file(path).and_then(|pem| {
                certificates(&pem).map_err(|problem| unusable("CA certificate file", path, problem))
            })?,
            None => Vec::new(),
        };
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some(read_identity(cert, key)?),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("a client certificate requires its key")),
            (None, Some(_)) => return Err(invalid("a client key requires its certificate")),
        };
        let server_name = tls.server_name.clone().filter(|name| !name.is_empty());
        Ok(Self {
            verifier: Arc::new(TrustVerifier::new(trusted)?),
            identity,
            server_name,
        })
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns the name that the certificate of the server at `host` must have.
    pub(super) fn server_name<'h>(&'h self, host: &'h str) -> &'h str {
        self.server_name.as_deref().unwrap_or(host)
    }

    pub(super) fn apply(&self, endpoint: Endpoint) -> Result<Endpoint, tonic::transport::Error> {
        let mut config = ClientTlsConfig::new();
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        if let Some(identity) = &self.identity {
            let identity = Identity::from_pem(&identity.certificate_pem, &identity.key_pem);
            config = config.identity(identity);
        }
        let verifier: Arc<dyn ServerCertVerifier> = self.verifier.clone();
        endpoint.tls_config_with_verifier(config, verifier)
    }

    /// Returns the same settings for a connection without gRPC; `http2` negotiates HTTP/2.
    pub(super) fn client_config(&self, http2: bool) -> Result<ClientConfig, TlsError> {
        let verifier: Arc<dyn ServerCertVerifier> = self.verifier.clone();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let unusable = |error| TlsError::General(format!("client certificate: {error}"));
        let mut config = match &self.identity {
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(&identity.certificate_pem)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(unusable)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(unusable)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        if http2 {
            config.alpn_protocols.push(ALPN_HTTP2.into());
        }
        Ok(config)
    }
}

/// Verifies server certificates as Go programs such as etcdctl do.
///
/// A certificate is accepted if a chain leads to a trusted CA, or if it is itself among the trusted
/// ones. WebPKI alone rejects the latter if the certificate is marked as a CA, as `openssl req
/// -x509` does.
#[derive(Debug)]
struct TrustVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The configured CA certificates; empty if the system's are trusted.
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl TrustVerifier {
    /// Trusts these certificates, or the system's if there are none.
    fn new(named: Vec<CertificateDer<'static>>) -> Result<Self, StoreError> {
        let mut roots = RootCertStore::empty();
        if named.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            roots.add_parsable_certificates(named.iter().cloned());
        }
        let provider = Arc::new(default_provider());
        let webpki =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|_| {
                    if named.is_empty() {
                        invalid("this system has no CA certificates to verify the server with")
                            .because(ConnectProblem::NoCaCertificates)
                    } else {
                        invalid("none of the certificates in the CA certificate file can be used")
                    }
                })?;
        Ok(Self {
            webpki,
            named,
            provider,
        })
    }

    /// Returns whether the certificate is signed with its own key.
    fn is_self_signed(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        let mut own = RootCertStore::empty();
        let provider = Arc::clone(&self.provider);
        if own.add(certificate.clone().into_owned()).is_err() {
            return false;
        }
        let Ok(verifier) =
            WebPkiServerVerifier::builder_with_provider(Arc::new(own), provider).build()
        else {
            return false;
        };
        let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let verified = verifier.verify_server_cert(certificate, &[], &name, &[], now);
        match verified {
            Ok(_) => true,
            Err(TlsError::InvalidCertificate(error)) => {
                is_name_error(&error) || is_ca_as_end_entity(&error)
            }
            Err(_) => false,
        }
    }
}

impl ServerCertVerifier for TrustVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let Err(TlsError::InvalidCertificate(error)) = &verified else {
            return verified;
        };
        // WebPKI checks the validity period before it reports any of these errors.
        let lacks_only_a_chain = is_ca_as_end_entity(error)
            || matches!(
                error,
                CertificateError::UnknownIssuer
                    | CertificateError::BadSignature
                    | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
                    | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            );
        if !lacks_only_a_chain {
            return verified;
        }
        if self.named.iter().any(|named| named == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let untrusted = matches!(
            error,
            CertificateError::UnknownIssuer | CertificateError::BadSignature
        );
        if is_ca_as_end_entity(error) || (untrusted && self.is_self_signed(end_entity, now)) {
            let cause = OtherError(Arc::new(SelfSigned));
            return Err(TlsError::InvalidCertificate(CertificateError::Other(cause)));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// The error for an untrusted certificate that is its own issuer.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is self-signed and not trusted")]
pub(super) struct SelfSigned;

fn is_name_error(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}

/// Matches WebPKI's error for a server with a CA certificate; rustls has no variant for it.
fn is_ca_as_end_entity(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(OtherError(cause)) if cause.to_string() == "CaUsedAsEndEntity")
}

/// Parses the certificates in a PEM file.
///
/// # Errors
/// A phrase to append to the file's name.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "contains a damaged PEM block")?;
    if found.is_empty() {
        return Err(if contains(pem, b"PRIVATE KEY-----") {
            "contains a private key and no certificate"
        } else {
            "contains no certificate in PEM format"
        });
    }
    if found.iter().all(is_damaged) {
        return Err("contains no readable certificate");
    }
    Ok(found)
}

/// Returns whether the encoding is invalid; old X.509 versions are not.
fn is_damaged(certificate: &CertificateDer<'_>) -> bool {
    matches!(
        ParsedCertificate::try_from(certificate),
        Err(TlsError::InvalidCertificate(CertificateError::BadEncoding))
    )
}

/// The reason why a client certificate and its key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityProblem {
    /// A problem with the certificate: a phrase to append to the file's name.
    Certificate(&'static str),
    /// A problem with the key: a phrase to append to the file's name.
    Key(&'static str),
}

/// Checks a client certificate and its key, the contents of two PEM files.
///
/// # Errors
/// The problem and the file that has it.
pub fn check_identity(cert_pem: &[u8], key_pem: &[u8]) -> Result<(), IdentityProblem> {
    let chain = certificates(cert_pem).map_err(IdentityProblem::Certificate)?;
    let encrypted = contains(key_pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || contains(key_pem, b"Proc-Type: 4,ENCRYPTED");
    if encrypted {
        return Err(IdentityProblem::Key(
            "is encrypted with a passphrase; decrypt it: openssl pkey -in ENCRYPTED -out DECRYPTED",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| {
        IdentityProblem::Key(if contains(key_pem, b"-----BEGIN CERTIFICATE-----") {
            "contains a certificate and no private key"
        } else {
            "contains no private key in PEM format"
        })
    })?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Ok(()),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(
            IdentityProblem::Key("does not belong to the client certificate"),
        ),
        Err(TlsError::InvalidCertificate(_)) => Err(IdentityProblem::Certificate(
            "contains no usable certificate",
        )),
        Err(_) => Err(IdentityProblem::Key(
            "has an unsupported algorithm or curve; supported are RSA of 2048 bits or more, ECDSA on P-256, \
             P-384 and P-521, and Ed25519",
        )),
    }
}

fn read_identity(cert: &Path, key: &Path) -> Result<ClientIdentity, StoreError> {
    let (certificate_pem, key_pem) = (read_file(cert)?, read_file(key)?);
    check_identity(&certificate_pem, &key_pem).map_err(|problem| match problem {
        IdentityProblem::Certificate(problem) => unusable("client certificate", cert, problem),
        IdentityProblem::Key(problem) => unusable("client key", key, problem),
    })?;
    Ok(ClientIdentity {
        certificate_pem,
        key_pem,
    })
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| invalid(format!("cannot read {}: {error}", path.display())))
}

fn unusable(what: &str, path: &Path, problem: &str) -> StoreError {
    invalid(format!("the {what} {} {problem}", path.display()))
}
