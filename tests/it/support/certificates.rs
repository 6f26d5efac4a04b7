//! Certificates for one test: a CA, a server on 127.0.0.1, a client.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The certificate files, which are deleted on drop.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Creates a CA, a server certificate for `server_names`, and a client certificate.
    pub(crate) fn new(server_names: &[&str]) -> Self {
        Self::altered(server_names, |_| {})
    }

    /// Like `new`, with a change to the server certificate before it is signed.
    pub(crate) fn altered(
        server_names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = ca.self_signed(&authority_key).unwrap();
        write(folder.path(), "ca.pem", &certificate.pem());
        let issuer = Issuer::new(ca, authority_key);
        let mut server = params(server_names);
        change(&mut server);
        for (name, params) in [("server", server), ("client", params(&["client"]))] {
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(folder.path(), &format!("{name}.pem"), &certificate.pem());
            write(folder.path(), &format!("{name}.key"), &key.serialize_pem());
        }
        Self { folder }
    }

    /// Creates a self-signed server certificate, marked as a CA like those of `openssl req -x509`.
    pub(crate) fn self_signed(
        server_names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut server = CertificateParams::new(owned(server_names)).unwrap();
        server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut server);
        let certificate = server.self_signed(&key).unwrap();
        write(folder.path(), "server.pem", &certificate.pem());
        write(folder.path(), "server.key", &key.serialize_pem());
        Self { folder }
    }

    /// The path of one of `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A certificate for both ends: the gateway of etcd connects to the client port with the server
/// certificate.
fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(owned(names)).unwrap();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).unwrap();
}
