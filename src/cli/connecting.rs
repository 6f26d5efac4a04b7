//! Connects to etcd. A failure has one hint for each cause.

use tokio::time::timeout;

use super::output::exit::Exit;
use super::output::failure::Failure;
use crate::config::Connection;
use meta_store::etcd::EtcdStore;
use meta_store::{ConnectProblem, RangeRequest, Store as _, StoreError, StoreErrorKind};
use milvus_meta::keys::MetaRoot;

const CACERT: &str = "--cacert (etcd.ssl.tlsCACert)";
const CERT_AND_KEY: &str = "--cert and --key (etcd.ssl.tlsCert, etcd.ssl.tlsKey)";
const ENDPOINTS: &str = "--endpoints (etcd.endpoints)";

/// The hint for a missing or wrong login.
pub(in crate::cli) const LOGIN: &str = "Check --user (etcd.auth.userName) and the password (--password-file, \
                                        META_MIGRATION_PASSWORD, etcd.auth.password)";

/// Connects, and reads once: a member that accepts connections may have lost the majority of its cluster.
pub(in crate::cli) async fn connect(
    connection: &Connection,
    root: &MetaRoot,
) -> Result<EtcdStore, Failure> {
    let failed = |error: StoreError| failure(&error, connection);
    let store = EtcdStore::connect(connection).await.map_err(failed)?;
    let request = RangeRequest::key(root.session_id_key()).count_only();
    match timeout(connection.request_timeout, store.range(request)).await {
        // The member did answer the request for its status.
        Ok(Err(mut error)) if error.is_transient() => {
            error.problems = vec![ConnectProblem::NoLeader];
            Err(failed(error))
        }
        // Other errors are reported by the work that needs the answer.
        Ok(_) => Ok(store),
        Err(_) => {
            let endpoints = connection.endpoints.join(", ");
            let limit = connection.request_timeout;
            let message = format!("etcd at {endpoints}: no answer to a read within {limit:?}");
            let error = StoreError::not_applied(StoreErrorKind::Timeout, message);
            Err(failed(error.because(ConnectProblem::NoLeader)))
        }
    }
}

fn failure(error: &StoreError, connection: &Connection) -> Failure {
    let mut failure = Failure::new(Exit::Failed, "cannot connect to etcd").unchanged();
    failure.causes.push(error.message.clone());
    failure.unreachable = error.is_transient();
    let problems = error.problems.iter();
    failure.hints = problems.map(|problem| hint(*problem, connection)).collect();
    failure
}

fn hint(problem: ConnectProblem, connection: &Connection) -> String {
    use ConnectProblem as P;
    let now = ca_in_use(connection);
    match problem {
        P::Refused => format!(
            "Is etcd running? Only Milvus is stopped for a migration. Check {ENDPOINTS}"
        ),
        P::UnknownHost => format!(
            "Check the host in {ENDPOINTS}. Names of Kubernetes services resolve inside the cluster only; \
             kubectl port-forward makes one reachable"
        ),
        P::Silent => format!("Check {ENDPOINTS} and firewalls; --timeout allows more time"),
        P::NotEtcd => {
            format!("Check {ENDPOINTS}: it must name the client port of etcd, usually 2379")
        }
        P::NoLeader => "Start the other members of etcd, then run the command again; \
                        etcdctl endpoint status --cluster shows them"
            .to_owned(),
        P::Learner => format!(
            "Name a voting member with {ENDPOINTS}; etcdctl member list shows which are learners"
        ),
        P::Login => LOGIN.to_owned(),
        P::TlsExpected => {
            format!("Use https:// in {ENDPOINTS} and name etcd's CA certificate with {CACERT}")
        }
        P::TlsNotSpoken => format!(
            "Use http:// in {ENDPOINTS} and leave out --cacert, --cert and --key (etcd.ssl.enabled: false), or \
             check the port"
        ),
        P::NoCaCertificates | P::UnknownIssuer => format!(
            "Name the certificate of the CA that signed etcd's certificate with {CACERT}{now}"
        ),
        P::SelfSigned => format!(
            "Name etcd's certificate itself with {CACERT}: the file of etcd's --cert-file, or with --auto-tls \
             fixtures/client/cert.pem in etcd's data directory{now}"
        ),
        P::BadSignature => format!(
            "Name the CA certificate that etcd's certificate was signed with by {CACERT}{now}: it was probably \
             renewed. RSA keys of less than 2048 bits are not supported"
        ),
        P::WrongName => format!(
            "Use a name of the certificate in {ENDPOINTS}, or name it with --tls-server-name \
             (etcd.ssl.tlsServerName)"
        ),
        P::NoName => "Issue a certificate for etcd with a subject alternative name, as openssl does with \
                      -addext subjectAltName=DNS:HOST,IP:ADDRESS"
            .to_owned(),
        P::Expired => "Renew etcd's certificate, or correct the clock of this machine".to_owned(),
        P::NotYetValid => {
            "Correct the clock of this machine, or issue a new certificate for etcd".to_owned()
        }
        P::WrongPurpose => format!(
            "Issue a certificate for etcd with the extended key usage serverAuth; check that {ENDPOINTS} names \
             the client port"
        ),
        P::UnsupportedAlgorithm => "Issue a certificate for etcd, and its CA, with RSA (2048 bits or more), \
                                    ECDSA on P-256, P-384 or P-521, or Ed25519, and SHA-256 or better"
            .to_owned(),
        P::Incompatible => "etcd must offer TLS 1.2 or 1.3; check its --tls-min-version, --tls-max-version and \
                            --cipher-suites"
            .to_owned(),
        P::ClientCertificateRequired => {
            format!("Name a client certificate and its key with {CERT_AND_KEY}")
        }
        P::ClientCertificateRejected => format!(
            "Use a client certificate that is signed by etcd's --trusted-ca-file, valid now and allowed for \
             clientAuth: {CERT_AND_KEY}"
        ),
    }
}

/// Returns the CA certificate file in use, as the end of a hint.
fn ca_in_use(connection: &Connection) -> String {
    let tls = connection.tls.as_ref();
    match tls.and_then(|tls| tls.ca_cert.as_ref()) {
        Some(path) => format!("; now it is {}", path.display()),
        None => String::new(),
    }
}
