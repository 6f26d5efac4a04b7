//! The settings of etcd and of the metadata in it.

use std::path::PathBuf;
use std::time::Duration;

use super::{Password, duration};
use milvus_meta::keys::path_part;
use milvus_meta::release::Release;

/// The heading of these options in the help.
pub const ETCD_HEADING: &str = "etcd and metadata";

/// What one source says: the command line with its environment, the YAML file, or etcdctl's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = ETCD_HEADING)]
pub struct EtcdOptions {
    /// Addresses of etcd, separated by commas [default: localhost:2379]
    #[arg(long, env, value_name = "A,B", value_delimiter = ',')]
    pub endpoints: Option<Vec<String>>,
    /// Root path of the Milvus instance [default: by-dev]
    #[arg(long, env, value_name = "PATH", value_parser = path_part)]
    pub root_path: Option<String>,
    /// Milvus release to migrate to, for example 2.2.16
    #[arg(long, env, value_name = "VERSION")]
    pub target_version: Option<Release>,
    /// Milvus release that wrote the metadata, for example 2.1.4
    #[arg(long, env, value_name = "VERSION")]
    pub source_version: Option<Release>,
    /// Backup file; an existing one is never overwritten
    #[arg(long, env, value_name = "FILE")]
    pub backup_file: Option<PathBuf>,
    /// etcd user; the password comes from --password-file or META_MIGRATION_PASSWORD, or is asked for at a
    /// terminal
    #[arg(long, env, value_name = "NAME")]
    pub user: Option<String>,
    /// The user's password, from the environment or the file.
    #[arg(skip)]
    pub password: Option<Password>,
    /// File that holds the etcd user's password
    #[arg(long, env, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// CA certificates to trust, in PEM; enables TLS
    #[arg(long, env, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Client certificate, in PEM
    #[arg(long, env, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate, in PEM
    #[arg(long = "key", env = "KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Server name to verify in etcd's certificate, instead of the host of the address
    #[arg(long, env, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// Whether `etcd.ssl.enabled` is set, which enables TLS even without certificates.
    #[arg(skip)]
    pub is_tls_enabled: bool,
    /// YAML file with the official tool's keys; flags and environment take precedence
    #[arg(long, env, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Path of the metadata below the root path [default: meta]
    #[arg(long, env, value_name = "PATH", hide_short_help = true, value_parser = path_part)]
    pub meta_sub_path: Option<String>,
    /// Path of ids and timestamps below the root path; never written to [default: kv]
    #[arg(long, env, value_name = "PATH", hide_short_help = true, value_parser = path_part)]
    pub kv_sub_path: Option<String>,
    /// Timeout per request, for example 10s [default: 10s]
    #[arg(long, env, value_name = "DURATION", hide_short_help = true, value_parser = duration::positive)]
    pub timeout: Option<Duration>,
}

impl EtcdOptions {
    /// Whether any of the options that enable TLS is given.
    pub(super) fn uses_tls(&self) -> bool {
        let files = [&self.cacert, &self.cert, &self.tls_key];
        self.is_tls_enabled
            || self.tls_server_name.is_some()
            || files.into_iter().any(Option::is_some)
    }
}
