//! Command line, environment and YAML file, resolved into one [`Config`].
//!
//! Options win over the environment, the environment over the YAML file, the file over the defaults of Milvus. The
//! variables of etcdctl are used only without a file. Reports every error by name, with the line if there is one,
//! before any connection is made. No message shows a secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use milvus_meta::keys::MetaRoot;
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

pub mod duration;
mod error;
mod file;
pub(crate) mod number;
mod options;
pub mod version_check;

pub use error::ConfigError;
use meta_store::etcd::{IdentityProblem, certificates, check_identity};
pub use meta_store::etcd::{Options as Connection, Password, Tls};
pub use options::{ETCD_HEADING, EtcdOptions};

use file::FileConfig;

/// The etcd to connect to by default.
const DEFAULT_ENDPOINT: &str = "localhost:2379";
/// The port of an endpoint without one.
const DEFAULT_PORT: u16 = 2379;
/// Default timeout of one request, the official tool's.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for opening a connection, the official tool's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for certificates and passwords, which are a few kilobytes: a wrong path must not fill memory.
const NAMED_FILE_BYTES_MAX: u64 = 1 << 20;

/// The resolved configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The YAML file, if there was one.
    pub file: Option<PathBuf>,
    /// How to connect to etcd; endpoints have scheme and port, such as `http://localhost:2379`.
    pub connection: Connection,
    /// The paths of the metadata.
    pub root: MetaRoot,
    /// Whether the root path was given, not taken from the default.
    pub root_is_given: bool,
    /// `etcd.metaSubPath` and `etcd.kvSubPath`, for other roots than the configured one.
    pub sub_paths: (String, String),
    /// The release that wrote the metadata, as given by the user.
    pub source_version: Option<Release>,
    /// The release to migrate to.
    pub target_version: Option<Release>,
    /// The backup file.
    pub backup_file: Option<PathBuf>,
    /// What only the file can say.
    pub drop_in: DropIn,
    /// Problems with the file that do not prevent the run.
    pub warnings: Vec<String>,
}

/// The official tool's commands, as `cmd.type` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropInCommand {
    /// `backup`: save the metadata.
    Backup,
    /// `run`: migrate it.
    Run,
    /// `rollback`: restore the saved metadata.
    Rollback,
}

impl DropInCommand {
    const ALL: [Self; 3] = [Self::Backup, Self::Run, Self::Rollback];

    /// Returns the name, as `cmd.type` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Run => "run",
            Self::Rollback => "rollback",
        }
    }
}

/// What only the YAML file says: the command of the official tool's interface and its choices.
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

impl Config {
    /// Reads the files that the options name and merges all sources. `etcdctl` has the values of etcdctl's variables.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the option, key or file.
    pub fn resolve(options: EtcdOptions, etcdctl: EtcdOptions) -> Result<Self, ConfigError> {
        let file = match &options.config {
            Some(path) => FileConfig::read(path)?,
            None => FileConfig {
                options: without_conflicts(etcdctl, &options),
                ..FileConfig::default()
            },
        };
        Self::join(options, file)
    }

    fn join(given: EtcdOptions, file: FileConfig) -> Result<Self, ConfigError> {
        let FileConfig {
            options: file,
            drop_in,
            warnings,
        } = file;
        let endpoints = given.endpoints.as_ref().or(file.endpoints.as_ref());
        let endpoints = match endpoints {
            Some(endpoints) => endpoints.clone(),
            None => vec![DEFAULT_ENDPOINT.to_owned()],
        };
        let tls = resolve_tls(&given, &file, &endpoints)?;
        let backup_file = given.backup_file.clone().or(file.backup_file.clone());
        let backup_file = resolve_backup_file(backup_file)?;
        let (user, password) = resolve_login(&given, &file)?.unzip();
        let timeout = given.timeout.or(file.timeout).unwrap_or(DEFAULT_TIMEOUT);
        let connection = Connection {
            endpoints: resolve_endpoints(&endpoints, tls.is_some())?,
            user,
            password,
            tls,
            connect_timeout: CONNECT_TIMEOUT.min(timeout),
            request_timeout: timeout,
        };
        let root_path = given.root_path.or(file.root_path);
        let meta_sub_path = given.meta_sub_path.or(file.meta_sub_path);
        let kv_sub_path = given.kv_sub_path.or(file.kv_sub_path);
        let sub_paths = (
            meta_sub_path.unwrap_or_else(|| "meta".to_owned()),
            kv_sub_path.unwrap_or_else(|| "kv".to_owned()),
        );
        let root_is_given = root_path.is_some();
        let root_path = root_path.as_deref().unwrap_or("by-dev");
        let root =
            MetaRoot::new(root_path, &sub_paths.0, &sub_paths.1).map_err(ConfigError::Root)?;
        Ok(Self {
            file: given.config,
            connection,
            root,
            root_is_given,
            sub_paths,
            source_version: given.source_version.or(file.source_version),
            target_version: given.target_version.or(file.target_version),
            backup_file,
            drop_in,
            warnings,
        })
    }
}

/// Drops what the given options rule out: certificates if every address is `http://`, the login if `--user` is given.
fn without_conflicts(mut etcdctl: EtcdOptions, given: &EtcdOptions) -> EtcdOptions {
    let endpoints = given.endpoints.as_ref().or(etcdctl.endpoints.as_ref());
    if endpoints.is_some_and(|all| all.iter().all(|one| one.trim().starts_with("http://"))) {
        (etcdctl.cacert, etcdctl.cert, etcdctl.tls_key) = (None, None, None);
    }
    if given.user.is_some() || etcdctl.user.is_none() {
        (etcdctl.user, etcdctl.password) = (None, None);
    }
    etcdctl
}

/// Makes the path absolute and requires UTF-8: the journal keeps it for later runs, which may start in another
/// folder. `-` is standard output.
fn resolve_backup_file(given: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(path) = given else {
        return Ok(None);
    };
    if path == Path::new("-") {
        return Ok(Some(path));
    }
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.to_str().is_none() {
        let problem = "has a path that is not valid UTF-8, which the journal cannot hold";
        return Err(ConfigError::useless_file("backup file", &path, problem));
    }
    Ok(Some(path))
}

/// Splits a list on commas, without blanks around the items and without empty items.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn resolve_endpoints(given: &[String], encrypted: bool) -> Result<Vec<String>, ConfigError> {
    let mut endpoints = Vec::with_capacity(given.len());
    let given = given.iter().map(|text| text.trim());
    for (index, text) in given.filter(|text| !text.is_empty()).enumerate() {
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
        return Err(ConfigError::NoEndpoint);
    }
    Ok(endpoints)
}

/// Returns an address with scheme and port. Without a scheme, TLS decides; `http://` with TLS is an error.
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
    given: &EtcdOptions,
    file: &EtcdOptions,
    endpoints: &[String],
) -> Result<Option<Tls>, ConfigError> {
    let is_https = |text: &String| text.trim().starts_with("https://");
    if !given.uses_tls() && !file.uses_tls() && !endpoints.iter().any(is_https) {
        return Ok(None);
    }
    // A client certificate given by options replaces the file's as a pair: certificate and key must belong together.
    let pair = match given.cert.is_some() || given.tls_key.is_some() {
        true => given,
        false => file,
    };
    match (&pair.cert, &pair.tls_key) {
        (Some(cert), Some(key)) => check_pair(cert, key)?,
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
        (None, None) => {}
    }
    let ca_cert = given.cacert.as_ref().or(file.cacert.as_ref());
    if let Some(path) = ca_cert {
        check_ca(path)?;
    }
    let server_name = given.tls_server_name.as_ref();
    let server_name = server_name.or(file.tls_server_name.as_ref());
    Ok(Some(Tls {
        ca_cert: ca_cert.cloned(),
        cert: pair.cert.clone(),
        key: pair.tls_key.clone(),
        server_name: server_name.cloned(),
    }))
}

fn resolve_login(
    given: &EtcdOptions,
    file: &EtcdOptions,
) -> Result<Option<(String, Password)>, ConfigError> {
    let user = given.user.as_ref().or(file.user.as_ref());
    let user = user.filter(|user| !user.is_empty()).cloned();
    if user.as_ref().is_some_and(|user| user.contains(':')) {
        return Err(ConfigError::PasswordInUser);
    }
    let from_environment = given.password.as_ref().filter(|it| !it.is_empty());
    let password = match (&given.password_file, from_environment, &file.password_file) {
        (Some(path), _, _) | (None, None, Some(path)) => Some(read_password(path)?),
        (None, Some(password), _) => Some(password.clone()),
        (None, None, None) => file.password.clone(),
    };
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (Some(user), None) => Err(ConfigError::NoPassword(user)),
        (None, Some(_)) => Err(ConfigError::Incomplete {
            given: "a password",
            missing: "a user (--user, etcd.auth.userName)",
        }),
        (None, None) => Ok(None),
    }
}

fn read_password(path: &Path) -> Result<Password, ConfigError> {
    const WHAT: &str = "password file";
    let text = read_text(WHAT, path, NAMED_FILE_BYTES_MAX)?;
    // Editors and `echo` end the line; nobody types a password that ends in a line feed.
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(ConfigError::useless_file(WHAT, path, "is empty"));
    }
    Ok(Password::new(password))
}

/// Fails unless the file contains certificates.
fn check_ca(path: &Path) -> Result<(), ConfigError> {
    const WHAT: &str = "CA certificate file";
    let pem = read_named_file(WHAT, path, NAMED_FILE_BYTES_MAX)?;
    certificates(&pem)
        .map(|_| ())
        .map_err(|problem| ConfigError::useless_file(WHAT, path, problem))
}

/// Fails unless the key belongs to the certificate.
fn check_pair(cert: &Path, key: &Path) -> Result<(), ConfigError> {
    const CERTIFICATE: &str = "client certificate";
    const KEY: &str = "client key";
    let cert_pem = read_named_file(CERTIFICATE, cert, NAMED_FILE_BYTES_MAX)?;
    let key_pem = read_named_file(KEY, key, NAMED_FILE_BYTES_MAX)?;
    check_identity(&cert_pem, &key_pem).map_err(|problem| match problem {
        IdentityProblem::Certificate(problem) => {
            ConfigError::useless_file(CERTIFICATE, cert, problem)
        }
        IdentityProblem::Key(problem) => ConfigError::useless_file(KEY, key, problem),
    })
}

fn read_named_file(
    what: &'static str,
    path: &Path,
    bytes_max: u64,
) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::unreadable_file(what, path, source);
    if std::fs::metadata(path).map_err(failed)?.len() > bytes_max {
        let problem = "is too large to be one";
        return Err(ConfigError::useless_file(what, path, problem));
    }
    std::fs::read(path).map_err(failed)
}

fn read_text(what: &'static str, path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    String::from_utf8(read_named_file(what, path, bytes_max)?)
        .map_err(|_| ConfigError::useless_file(what, path, "is not UTF-8 text"))
}

#[cfg(test)]
mod tests;
