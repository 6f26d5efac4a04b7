//! File, environment and flags, resolved into one [`Config`].
//!
//! Flags win over the environment, the environment over the YAML file, the file over the defaults of
//! Milvus. Flags and environment arrive together as [`Overrides`] (the command line joins them); this
//! room reads the files and decides. Everything that is wrong is reported by name, with the line where
//! there is one, before anything is connected to; no message shows a secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use milvus_meta::keys::MetaRoot;
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

mod choices;
pub mod duration;
mod error;
mod file;
pub mod gate;

pub use choices::DropInCommand;
pub use error::ConfigError;
pub use meta_store::etcd::Password;
use meta_store::etcd::{IdentityProblem, certificates, check_identity};

use file::{FileAuth, FileConfig, FileTls};

/// Where etcd is, unless somebody says otherwise.
const DEFAULT_ENDPOINT: &str = "localhost:2379";
/// The port of an endpoint that names none.
const DEFAULT_PORT: u16 = 2379;
/// The time limit of one request, as the official tool has it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Certificates are a few kilobytes; this keeps a wrong path from filling memory.
const NAMED_FILE_BYTES_MAX: u64 = 1 << 20;

/// What flags and environment say; `None` where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The YAML file.
    pub config: Option<PathBuf>,
    /// Addresses of etcd.
    pub endpoints: Option<Vec<String>>,
    /// `etcd.rootPath`.
    pub root_path: Option<String>,
    /// `etcd.metaSubPath`.
    pub meta_sub_path: Option<String>,
    /// `etcd.kvSubPath`.
    pub kv_sub_path: Option<String>,
    /// The etcd user.
    pub user: Option<String>,
    /// The password, from the environment.
    pub password: Option<Password>,
    /// A file that holds the password. It wins over the environment's password.
    pub password_file: Option<PathBuf>,
    /// Certificates to trust.
    pub ca_cert: Option<PathBuf>,
    /// The client certificate.
    pub cert: Option<PathBuf>,
    /// The client certificate's key.
    pub key: Option<PathBuf>,
    /// The name to verify in the server's certificate.
    pub tls_server_name: Option<String>,
    /// The time limit of one request.
    pub timeout: Option<Duration>,
    /// The release that wrote the metadata.
    pub source_version: Option<Release>,
    /// The release to migrate to.
    pub target_version: Option<Release>,
    /// The backup file.
    pub backup_file: Option<PathBuf>,
    /// What etcdctl would use; only where there is no YAML file.
    pub etcdctl: Etcdctl,
}

/// What the environment variables of etcdctl say.
#[derive(Debug, Clone, Default)]
pub struct Etcdctl {
    /// `ETCDCTL_ENDPOINTS`
    pub endpoints: Option<Vec<String>>,
    /// `ETCDCTL_CACERT`
    pub ca_cert: Option<PathBuf>,
    /// `ETCDCTL_CERT`
    pub cert: Option<PathBuf>,
    /// `ETCDCTL_KEY`
    pub key: Option<PathBuf>,
    /// The user in `ETCDCTL_USER`.
    pub user: Option<String>,
    /// The password in `ETCDCTL_USER` or `ETCDCTL_PASSWORD`.
    pub password: Option<Password>,
}

impl Etcdctl {
    /// As a YAML file would say it. Certificates do not count where every address says `http://`.
    fn as_file(&self, overrides: &Overrides) -> FileConfig {
        let endpoints = overrides.endpoints.as_ref().or(self.endpoints.as_ref());
        let is_plain =
            endpoints.is_some_and(|all| all.iter().all(|one| one.trim().starts_with("http://")));
        let tls = FileTls {
            ca_cert: self.ca_cert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            server_name: None,
        };
        let user = self.user.as_ref().filter(|_| overrides.user.is_none());
        let auth = user.map(|user| FileAuth {
            user: Some(user.clone()),
            password: self.password.clone(),
            password_file: None,
        });
        FileConfig {
            endpoints: self.endpoints.clone(),
            tls: Some(tls).filter(|tls| !is_plain && *tls != FileTls::default()),
            auth,
            ..FileConfig::default()
        }
    }
}

/// The resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The YAML file, if there was one.
    pub file: Option<PathBuf>,
    /// How etcd is reached.
    pub connection: Connection,
    /// Where the metadata is.
    pub root: MetaRoot,
    /// Whether the root path was given, not taken from the default.
    pub root_is_given: bool,
    /// `etcd.metaSubPath` and `etcd.kvSubPath`, for other roots than the configured one.
    pub sub_paths: (String, String),
    /// The release that wrote the metadata, as the operator says.
    pub source_version: Option<Release>,
    /// The release to migrate to.
    pub target_version: Option<Release>,
    /// The backup file.
    pub backup_file: Option<PathBuf>,
    /// What only the file can say.
    pub drop_in: DropIn,
    /// What is odd, for the operator; not for failing.
    pub warnings: Vec<String>,
}

/// What only the YAML file says: the command of the drop-in and its choices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropIn {
    /// `cmd.type`.
    pub command: Option<DropInCommand>,
    /// `cmd.runWithBackup`.
    pub run_with_backup: Option<bool>,
    /// `config.collectionForm`.
    pub collection_form: Option<FormChoice>,
    /// `config.segmentForm`.
    pub segment_form: Option<SegmentForm>,
    /// `config.onBrokenRecord`.
    pub on_broken_record: Option<OnBrokenRecord>,
    /// `config.acceptLoss`.
    pub accept_loss: Option<bool>,
    /// `config.allowEphemeralBackup`.
    pub allow_ephemeral_backup: Option<bool>,
    /// `config.allowEmpty`.
    pub allow_empty: Option<bool>,
    /// `config.waitSessions`.
    pub wait_sessions: Option<Duration>,
    /// `config.waitLock`.
    pub wait_lock: Option<Duration>,
}

/// How etcd is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Addresses with scheme and port, for example `http://localhost:2379`.
    pub endpoints: Vec<String>,
    /// User and password, to log in with.
    pub login: Option<Login>,
    /// How the connection is encrypted; `None` for plain connections.
    pub tls: Option<Tls>,
    /// The time limit of one request.
    pub timeout: Duration,
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// An encrypted connection. Without CA certificates, the system's are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the certificates to trust.
    pub ca_cert: Option<PathBuf>,
    /// PEM files with the client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to verify in the server's certificate, instead of the endpoint's host.
    pub server_name: Option<String>,
}

impl Config {
    /// Reads the files that the overrides name and resolves everything.
    ///
    /// # Errors
    /// [`ConfigError`], by name.
    pub fn resolve(overrides: Overrides) -> Result<Self, ConfigError> {
        let file = match &overrides.config {
            Some(path) => FileConfig::read(path)?,
            None => overrides.etcdctl.as_file(&overrides),
        };
        Self::join(overrides, file)
    }

    fn join(overrides: Overrides, file: FileConfig) -> Result<Self, ConfigError> {
        let root_path = overrides.root_path.or(file.root_path);
        let meta_sub_path = overrides.meta_sub_path.or(file.meta_sub_path);
        let kv_sub_path = overrides.kv_sub_path.or(file.kv_sub_path);
        let sub_paths = (
            meta_sub_path.unwrap_or_else(|| "meta".to_owned()),
            kv_sub_path.unwrap_or_else(|| "kv".to_owned()),
        );
        let root_is_given = root_path.is_some();
        let root_path = root_path.as_deref().unwrap_or("by-dev");
        let root =
            MetaRoot::new(root_path, &sub_paths.0, &sub_paths.1).map_err(ConfigError::Root)?;
        let tls = FileTls {
            ca_cert: overrides.ca_cert,
            cert: overrides.cert,
            key: overrides.key,
            server_name: overrides.tls_server_name,
        };
        let endpoints = overrides
            .endpoints
            .or(file.endpoints)
            .unwrap_or_else(|| vec![DEFAULT_ENDPOINT.to_owned()]);
        let tls = resolve_tls(tls, file.tls, &endpoints)?;
        let backup_file = resolve_backup_file(overrides.backup_file.or(file.backup_file))?;
        let connection = Connection {
            endpoints: resolve_endpoints(&endpoints, tls.is_some())?,
            login: resolve_login(
                overrides.user,
                overrides.password,
                overrides.password_file,
                file.auth,
            )?,
            tls,
            timeout: overrides
                .timeout
                .or(file.timeout)
                .unwrap_or(DEFAULT_TIMEOUT),
        };
        Ok(Self {
            file: overrides.config,
            connection,
            root,
            root_is_given,
            sub_paths,
            source_version: overrides.source_version.or(file.source_version),
            target_version: overrides.target_version.or(file.target_version),
            backup_file,
            drop_in: DropIn {
                command: file.command,
                run_with_backup: file.run_with_backup,
                collection_form: file.collection_form,
                segment_form: file.segment_form,
                on_broken_record: file.on_broken_record,
                accept_loss: file.accept_loss,
                allow_ephemeral_backup: file.allow_ephemeral_backup,
                allow_empty: file.allow_empty,
                wait_sessions: file.wait_sessions,
                wait_lock: file.wait_lock,
            },
            warnings: file.warnings,
        })
    }
}

/// The backup file as the journal keeps it for later runs, which may be in another folder: absolute, and
/// text. `-` is standard output.
fn resolve_backup_file(given: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(path) = given else {
        return Ok(None);
    };
    if path == Path::new("-") {
        return Ok(Some(path));
    }
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.to_str().is_none() {
        return Err(ConfigError::UselessFile {
            what: "backup file",
            path,
            problem: "has a path that is not valid UTF-8, which the journal cannot hold",
        });
    }
    Ok(Some(path))
}

/// Splits a list on commas; blanks around the items and empty items do not count.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn resolve_endpoints(given: &[String], encrypted: bool) -> Result<Vec<String>, ConfigError> {
    let mut endpoints = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        let endpoint =
            resolve_endpoint(text, encrypted).map_err(|problem| ConfigError::Endpoint {
                position: index + 1,
                problem,
            })?;
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    if endpoints.is_empty() {
        return Err(ConfigError::MissingOption {
            option: "--endpoints",
            purpose: "it is empty",
        });
    }
    Ok(endpoints)
}

/// An address with scheme and port. An endpoint that says nothing follows the rest of the
/// configuration; one that says `http` while certificates are configured is a contradiction.
fn resolve_endpoint(text: &str, encrypted: bool) -> Result<String, &'static str> {
    let (scheme, address) = match text.split_once("://") {
        Some(("https", address)) => ("https", address),
        Some(("http", _)) if encrypted => {
            return Err("it says http://, but TLS is configured");
        }
        Some(("http", address)) => ("http", address),
        Some(_) => return Err("only http:// and https:// are possible"),
        None => (if encrypted { "https" } else { "http" }, text),
    };
    let address = address.strip_suffix('/').unwrap_or(address);
    if address.contains('@') {
        return Err("give user and password as --user and --password-file");
    }
    if address.is_empty() || address.contains(|c: char| c.is_whitespace() || "/?#".contains(c)) {
        return Err("expected host:port");
    }
    let (host, port) = match address.rfind(':') {
        Some(colon) if !address[colon..].contains(']') => {
            (&address[..colon], Some(&address[colon + 1..]))
        }
        Some(_) | None => (address, None),
    };
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err("expected host:port, an IPv6 address in brackets");
    }
    match port.map(str::parse::<u16>) {
        None => Ok(format!("{scheme}://{host}:{DEFAULT_PORT}")),
        Some(Ok(port)) if port > 0 => Ok(format!("{scheme}://{host}:{port}")),
        Some(_) => Err("the port is not a number from 1 to 65535"),
    }
}

fn resolve_tls(
    flags: FileTls,
    file: Option<FileTls>,
    endpoints: &[String],
) -> Result<Option<Tls>, ConfigError> {
    let wanted = flags != FileTls::default()
        || file.is_some()
        || endpoints.iter().any(|text| text.starts_with("https://"));
    if !wanted {
        return Ok(None);
    }
    let file = file.unwrap_or_default();
    // A client certificate given by flags replaces the file's as a pair: halves of two do not fit.
    let (cert, key) = if flags.cert.is_some() || flags.key.is_some() {
        (flags.cert, flags.key)
    } else {
        (file.cert, file.key)
    };
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some(checked_identity(cert, key)?),
        (Some(_), None) => {
            return Err(ConfigError::Incomplete {
                given: "the client certificate (--cert, etcd.ssl.tlsCert)",
                missing: "its key (--key, etcd.ssl.tlsKey)",
            });
        }
        (None, Some(_)) => {
            return Err(ConfigError::Incomplete {
                given: "the client key (--key, etcd.ssl.tlsKey)",
                missing: "its certificate (--cert, etcd.ssl.tlsCert)",
            });
        }
        (None, None) => None,
    };
    let ca_cert = match flags.ca_cert.or(file.ca_cert) {
        Some(path) => Some(checked_ca(path)?),
        None => None,
    };
    Ok(Some(Tls {
        ca_cert,
        identity,
        server_name: flags.server_name.or(file.server_name),
    }))
}

fn resolve_login(
    user: Option<String>,
    password: Option<Password>,
    password_file: Option<PathBuf>,
    file: Option<FileAuth>,
) -> Result<Option<Login>, ConfigError> {
    let (file_user, file_password, file_password_file) = match file {
        Some(auth) => (auth.user, auth.password, auth.password_file),
        None => (None, None, None),
    };
    let named = user.or(file_user).filter(|user| !user.is_empty());
    let given = match (password_file, password, file_password_file) {
        (Some(path), _, _) => Some(read_password(&path)?),
        (None, Some(password), _) if !password.is_empty() => Some(password),
        (None, _, Some(path)) => Some(read_password(&path)?),
        (None, _, None) => file_password,
    };
    match (named, given) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (Some(user), None) => Err(ConfigError::NoPassword { user }),
        (None, Some(_)) => Err(ConfigError::Incomplete {
            given: "a password",
            missing: "a user (--user, etcd.auth.userName)",
        }),
        (None, None) => Ok(None),
    }
}

fn read_password(path: &Path) -> Result<Password, ConfigError> {
    const WHAT: &str = "password file";
    let useless = |problem| ConfigError::UselessFile {
        what: WHAT,
        path: path.to_owned(),
        problem,
    };
    let text = String::from_utf8(read_named_file(WHAT, path)?)
        .map_err(|_| useless("is not UTF-8 text"))?;
    // Editors and `echo` end the line; a password that really ends in a line feed is not typed.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(useless("is empty"));
    }
    Ok(Password::new(password))
}

/// Returns the path if the file contains certificates.
fn checked_ca(path: PathBuf) -> Result<PathBuf, ConfigError> {
    const WHAT: &str = "CA certificate file";
    let pem = read_named_file(WHAT, &path)?;
    match certificates(&pem) {
        Ok(_) => Ok(path),
        Err(problem) => Err(ConfigError::UselessFile {
            what: WHAT,
            path,
            problem,
        }),
    }
}

/// Returns both paths if the key belongs to the certificate.
fn checked_identity(cert: PathBuf, key: PathBuf) -> Result<(PathBuf, PathBuf), ConfigError> {
    const CERTIFICATE: &str = "client certificate";
    const KEY: &str = "client key";
    let cert_pem = read_named_file(CERTIFICATE, &cert)?;
    let key_pem = read_named_file(KEY, &key)?;
    let (what, path, problem) = match check_identity(&cert_pem, &key_pem) {
        Ok(()) => return Ok((cert, key)),
        Err(IdentityProblem::Certificate(problem)) => (CERTIFICATE, cert, problem),
        Err(IdentityProblem::Key(problem)) => (KEY, key, problem),
    };
    Err(ConfigError::UselessFile {
        what,
        path,
        problem,
    })
}

fn read_named_file(what: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::named_file(what, path, source);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > NAMED_FILE_BYTES_MAX {
        return Err(ConfigError::UselessFile {
            what,
            path: path.to_owned(),
            problem: "is too large to be one",
        });
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests;
