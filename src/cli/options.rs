//! The options that the commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};

use super::output::style::When;
use super::output::{Format, LogFormat};
use super::tty;
use crate::config::{self, Config, ConfigError, Etcdctl, Overrides, Password};
use meta_migrate::Waits;
use milvus_meta::keys::path_part;
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

/// The lock of a killed run expires after 20 s.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// The session of a killed component expires after 60 s.
const DROP_IN_WAIT: Duration = Duration::from_secs(90);

/// Holds the etcd password, besides `--password-file`.
const PASSWORD_VARIABLE: &str = "META_MIGRATION_PASSWORD";

/// Options for etcd and the metadata in it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "etcd and metadata")]
pub(in crate::cli) struct EtcdOptions {
    /// Addresses of etcd, separated by commas [default: localhost:2379]
    #[arg(
        long,
        value_name = "A,B",
        env = "META_MIGRATION_ENDPOINTS",
        hide_env = true,
        value_delimiter = ','
    )]
    endpoints: Option<Vec<String>>,
    /// Root path of the Milvus instance [default: by-dev]
    #[arg(
        long,
        value_name = "PATH",
        env = "META_MIGRATION_ROOT_PATH",
        hide_env = true,
        value_parser = path_part
    )]
    root_path: Option<String>,
    /// Milvus release to migrate to, for example 2.2.16
    #[arg(
        long,
        value_name = "VERSION",
        env = "META_MIGRATION_TARGET_VERSION",
        hide_env = true
    )]
    target_version: Option<Release>,
    /// Milvus release that wrote the metadata, for example 2.1.4
    #[arg(
        long,
        value_name = "VERSION",
        env = "META_MIGRATION_SOURCE_VERSION",
        hide_env = true
    )]
    source_version: Option<Release>,
    /// Backup file; an existing one is never overwritten
    #[arg(
        long,
        value_name = "FILE",
        env = "META_MIGRATION_BACKUP_FILE",
        hide_env = true
    )]
    backup_file: Option<PathBuf>,
    /// etcd user; the password comes from --password-file or META_MIGRATION_PASSWORD, or is asked for at a
    /// terminal
    #[arg(
        long,
        value_name = "NAME",
        env = "META_MIGRATION_USER",
        hide_env = true
    )]
    user: Option<String>,
    /// File that holds the etcd user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "META_MIGRATION_PASSWORD_FILE",
        hide_env = true
    )]
    password_file: Option<PathBuf>,
    /// CA certificates to trust, in PEM; enables TLS
    #[arg(
        long,
        value_name = "FILE",
        env = "META_MIGRATION_CACERT",
        hide_env = true
    )]
    cacert: Option<PathBuf>,
    /// Client certificate, in PEM
    #[arg(
        long,
        value_name = "FILE",
        env = "META_MIGRATION_CERT",
        hide_env = true
    )]
    cert: Option<PathBuf>,
    /// Key of the client certificate, in PEM
    #[arg(
        id = "tls_key",
        long = "key",
        value_name = "FILE",
        env = "META_MIGRATION_KEY",
        hide_env = true
    )]
    tls_key: Option<PathBuf>,
    /// Server name to verify in etcd's certificate, instead of the host of the address
    #[arg(
        long,
        value_name = "NAME",
        env = "META_MIGRATION_TLS_SERVER_NAME",
        hide_env = true,
        hide_short_help = true
    )]
    tls_server_name: Option<String>,
    /// YAML file with the official tool's keys; flags and environment win over it
    #[arg(
        long,
        value_name = "FILE",
        env = "META_MIGRATION_CONFIG",
        hide_env = true
    )]
    config: Option<PathBuf>,
    /// Path of the metadata below the root path [default: meta]
    #[arg(
        long,
        value_name = "PATH",
        env = "META_MIGRATION_META_SUB_PATH",
        hide_env = true, hide_short_help = true,
        value_parser = path_part
    )]
    meta_sub_path: Option<String>,
    /// Path of ids and timestamps below the root path; never written to [default: kv]
    #[arg(
        long,
        value_name = "PATH",
        env = "META_MIGRATION_KV_SUB_PATH",
        hide_env = true, hide_short_help = true,
        value_parser = path_part
    )]
    kv_sub_path: Option<String>,
    /// Timeout per request, for example 10s [default: 10s]
    #[arg(long, value_name = "DURATION", env = "META_MIGRATION_TIMEOUT", hide_env = true, hide_short_help = true,
          value_parser = config::duration::positive)]
    timeout: Option<Duration>,
}

impl EtcdOptions {
    /// Returns the backup file given by a flag or the environment.
    pub(in crate::cli) fn named_backup(&self) -> Option<&Path> {
        self.backup_file.as_deref()
    }

    /// Returns the same options with another root path.
    pub(in crate::cli) fn at_root(&self, path: &str) -> Self {
        Self {
            root_path: Some(path.to_owned()),
            ..self.clone()
        }
    }

    /// Whether the user names an etcd, so that it is read where that is not necessary.
    pub(in crate::cli) fn names_etcd(&self) -> bool {
        self.endpoints.is_some() || self.config.is_some()
    }

    /// Merges flags and environment with the YAML file.
    pub(in crate::cli) fn resolve(&self) -> Result<Config, ConfigError> {
        let mut overrides = self.overrides();
        let config = match Config::resolve(overrides.clone()) {
            Err(ConfigError::NoPassword { user }) if tty::is_interactive() => {
                overrides.password = Some(tty::ask_password(&user)?);
                Config::resolve(overrides)?
            }
            resolved => resolved?,
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        tracing::debug!(
            endpoints = config.connection.endpoints.join(","),
            meta_root = config.root.meta_root(),
            encrypted = config.connection.tls.is_some(),
            user = config
                .connection
                .login
                .as_ref()
                .map(|login| login.user.as_str()),
            timeout_ms = config.connection.timeout.as_millis(),
            "configuration"
        );
        Ok(config)
    }

    /// Returns the options with which another command finds the same instance, with their values: the address
    /// and the paths always, wherever they come from. Without the backup file and without secrets.
    pub(in crate::cli) fn as_flags(&self, config: &Config) -> Vec<[String; 2]> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let endpoints = self
            .endpoints
            .as_ref()
            .unwrap_or(&config.connection.endpoints);
        let root_path = self.root_path.as_deref().unwrap_or(config.root.root_path());
        let meta_sub_path = Some(&config.sub_paths.0).filter(|sub_path| *sub_path != "meta");
        // What comes from a YAML file is read from it again.
        let from_etcdctl = self.config.is_none().then_some(&config.connection);
        let login = from_etcdctl.and_then(|it| it.login.as_ref());
        let tls = from_etcdctl.and_then(|it| it.tls.as_ref());
        let identity = tls.and_then(|tls| tls.identity.clone()).unzip();
        let given = [
            ("--endpoints", Some(endpoints.join(","))),
            ("--root-path", Some(root_path.to_owned())),
            (
                "--meta-sub-path",
                self.meta_sub_path.as_ref().or(meta_sub_path).cloned(),
            ),
            ("--kv-sub-path", self.kv_sub_path.clone()),
            ("--config", path(&self.config)),
            (
                "--user",
                self.user
                    .clone()
                    .or_else(|| login.map(|it| it.user.clone())),
            ),
            ("--password-file", path(&self.password_file)),
            (
                "--cacert",
                path(&self.cacert).or_else(|| path(&tls?.ca_cert)),
            ),
            ("--cert", path(&self.cert).or_else(|| path(&identity.0))),
            ("--key", path(&self.tls_key).or_else(|| path(&identity.1))),
            ("--tls-server-name", self.tls_server_name.clone()),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
            .collect()
    }

    /// Returns the options that choose among several instances in a file, where they were given.
    pub(in crate::cli) fn root_flags(&self) -> impl Iterator<Item = String> {
        let given = [
            ("--root-path", self.root_path.clone()),
            ("--meta-sub-path", self.meta_sub_path.clone()),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
            .flatten()
    }

    /// The releases that were given, by the option's id.
    pub(in crate::cli) fn versions(&self) -> Vec<(&'static str, String)> {
        let given = [
            ("source_version", &self.source_version),
            ("target_version", &self.target_version),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(id, release)| Some((id, release.as_ref()?.to_string())))
            .collect()
    }

    fn overrides(&self) -> Overrides {
        let endpoints = self.endpoints.as_ref().map(|given| {
            let trimmed = given.iter().map(|endpoint| endpoint.trim().to_owned());
            trimmed.filter(|endpoint| !endpoint.is_empty()).collect()
        });
        Overrides {
            config: self.config.clone(),
            endpoints,
            root_path: self.root_path.clone(),
            meta_sub_path: self.meta_sub_path.clone(),
            kv_sub_path: self.kv_sub_path.clone(),
            user: self.user.clone(),
            password: std::env::var(PASSWORD_VARIABLE).ok().map(Password::new),
            password_file: self.password_file.clone(),
            ca_cert: self.cacert.clone(),
            cert: self.cert.clone(),
            key: self.tls_key.clone(),
            tls_server_name: self.tls_server_name.clone(),
            timeout: self.timeout,
            source_version: self.source_version.clone(),
            target_version: self.target_version.clone(),
            backup_file: self.backup_file.clone(),
            etcdctl: etcdctl(),
        }
    }
}

/// The variables of etcdctl, for where neither an option nor a variable of ours nor a YAML file says it.
fn etcdctl() -> Etcdctl {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    let user = text("ETCDCTL_USER").unwrap_or_default();
    let (user, inline) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password.to_owned())),
        None => (user.as_str(), None),
    };
    Etcdctl {
        endpoints: text("ETCDCTL_ENDPOINTS").map(|list| config::split_list(&list)),
        ca_cert: path("ETCDCTL_CACERT"),
        cert: path("ETCDCTL_CERT"),
        key: path("ETCDCTL_KEY"),
        user: Some(user.to_owned()).filter(|user| !user.is_empty()),
        password: inline
            .or_else(|| text("ETCDCTL_PASSWORD"))
            .map(Password::new),
    }
}

/// Handling of an etcd without metadata.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "etcd and metadata")]
pub(in crate::cli) struct EmptyOptions {
    /// Accept an etcd without any key under the root path, such as a new one
    #[arg(long, env = "META_MIGRATION_ALLOW_EMPTY", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(in crate::cli) allow_empty: bool,
}

/// Options for output and logging.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct OutputOptions {
    /// Output format: table, wide (with details), json or yaml
    #[arg(
        short = 'o',
        long = "output",
        alias = "format",
        value_name = "FORMAT",
        env = "META_MIGRATION_FORMAT",
        hide_env = true,
        value_enum,
        default_value_t
    )]
    pub(in crate::cli) format: Format,
    /// More details in tables, and debug messages
    #[arg(
        short = 'v',
        long,
        action = ArgAction::Count,
        conflicts_with = "quiet"
    )]
    pub(in crate::cli) verbose: u8,
    /// Only errors, and the result
    #[arg(short = 'q', long)]
    pub(in crate::cli) quiet: bool,
    /// Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never
    #[arg(
        long,
        value_name = "WHEN",
        env = "META_MIGRATION_COLOR",
        hide_env = true,
        hide_short_help = true,
        value_enum,
        default_value_t
    )]
    pub(in crate::cli) color: When,
    /// Log format on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        env = "META_MIGRATION_LOG_FORMAT",
        hide_env = true,
        hide_short_help = true,
        value_enum,
        default_value_t
    )]
    pub(in crate::cli) log_format: LogFormat,
    /// Minimum log level
    #[arg(long, value_name = "LEVEL", env = "META_MIGRATION_LOG_LEVEL", hide_env = true, hide_short_help = true, default_value = "info",
          value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    pub(in crate::cli) log_level: String,
    /// Disable progress bars (shown on a terminal only)
    #[arg(long, env = "META_MIGRATION_NO_PROGRESS", hide_env = true, hide_short_help = true, value_parser = BoolishValueParser::new())]
    pub(in crate::cli) no_progress: bool,
    /// Do not ask before writing; required where there is no terminal
    #[arg(long, env = "META_MIGRATION_YES", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(in crate::cli) yes: bool,
}

/// The plan that was approved.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Migration")]
pub(in crate::cli) struct ApprovalOptions {
    /// Carry out exactly the plan with this digest, as `plan` shows it, or its first 8 digits or more; any other plan
    /// is refused before anything is written
    #[arg(long = "plan", value_name = "DIGEST", env = "META_MIGRATION_PLAN", hide_env = true,
          value_parser = plan_digest)]
    pub(in crate::cli) approved_plan: Option<String>,
}

impl OutputOptions {
    /// Whether details are wanted.
    pub(in crate::cli) fn is_detailed(&self) -> bool {
        self.verbose > 0 || self.format == Format::Wide
    }

    /// The least severity that is logged.
    pub(in crate::cli) fn level(&self) -> &str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => &self.log_level,
            (false, 1) => "debug",
            (false, _) => "trace",
        }
    }
}

/// Reads the digest of a plan, or its beginning.
fn plan_digest(text: &str) -> Result<String, String> {
    let is_digest = (8..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    match is_digest {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("8 to 64 hexadecimal digits, as plan shows them".to_owned()),
    }
}

/// Options of the transformation.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Migration")]
pub(in crate::cli) struct TransformOptions {
    /// Form of collections: auto chooses split below 2.2.9 and database from 2.2.9 on; embedded is the form of
    /// the official tool, which later releases misread
    #[arg(long, value_name = "FORM", env = "META_MIGRATION_COLLECTION_FORM", hide_env = true,
          value_parser = form_parser())]
    pub(in crate::cli) collection_form: Option<FormChoice>,
    /// Where to keep the logs of segments: auto moves them to separate keys, as Milvus 2.2 writes them; inline
    /// leaves them in the segment records, where Milvus 2.3 and later lose them [default: auto]
    #[arg(long, value_name = "FORM", env = "META_MIGRATION_SEGMENT_FORM", hide_env = true,
          value_parser = segment_form_parser())]
    pub(in crate::cli) segment_form: Option<SegmentForm>,
    /// How to handle records that cannot be migrated: fail writes nothing, skip leaves them out
    /// [default: fail]
    #[arg(long, value_name = "POLICY", env = "META_MIGRATION_ON_BROKEN_RECORD", hide_env = true,
          value_parser = policy_parser())]
    pub(in crate::cli) on_broken_record: Option<OnBrokenRecord>,
}

impl TransformOptions {
    /// Returns the given options as command-line arguments.
    pub(in crate::cli) fn as_flags(&self) -> Vec<String> {
        let form = self.collection_form.map(|form| form.to_string());
        let segments = self.segment_form.map(|form| form.to_string());
        let policy = self.on_broken_record.map(|policy| policy.to_string());
        let given = [
            ("--collection-form", form),
            ("--segment-form", segments),
            ("--on-broken-record", policy),
        ];
        given
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
            .flatten()
            .collect()
    }
}

/// Time limits for sessions and locks of other processes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waiting")]
pub(in crate::cli) struct WaitOptions {
    /// Maximum time to wait for sessions of stopped components to end [default: 0, do not wait]
    #[arg(long, value_name = "DURATION", env = "META_MIGRATION_WAIT_SESSIONS", hide_env = true,
          value_parser = config::duration::parse)]
    pub(in crate::cli) wait_sessions: Option<Duration>,
    /// Maximum time to wait for the lock of another run, which may have been killed [default: 30s]
    #[arg(long, value_name = "DURATION", env = "META_MIGRATION_WAIT_LOCK", hide_env = true,
          value_parser = config::duration::parse)]
    pub(in crate::cli) wait_lock: Option<Duration>,
}

impl WaitOptions {
    /// Returns the waits of a command: no wait for sessions, 30 s for the lock.
    pub(in crate::cli) fn resolve(&self) -> Waits {
        Waits {
            sessions: self.wait_sessions.unwrap_or(Duration::ZERO),
            lock: self.wait_lock.unwrap_or(LOCK_WAIT),
        }
    }

    /// Returns the waits of the official tool's interface, whose callers run it right after stopping Milvus.
    pub(in crate::cli) fn resolve_drop_in(&self, config: &Config) -> Waits {
        let sessions = self.wait_sessions.or(config.drop_in.wait_sessions);
        let lock = self.wait_lock.or(config.drop_in.wait_lock);
        Waits {
            sessions: sessions.unwrap_or(DROP_IN_WAIT),
            lock: lock.unwrap_or(DROP_IN_WAIT),
        }
    }
}

pub(in crate::cli) fn form_parser() -> impl TypedValueParser<Value = FormChoice> {
    PossibleValuesParser::new(["auto", "split", "database", "embedded"])
        .try_map(|text| text.parse::<FormChoice>())
}

fn segment_form_parser() -> impl TypedValueParser<Value = SegmentForm> {
    PossibleValuesParser::new(["auto", "inline"]).try_map(|text| text.parse::<SegmentForm>())
}

pub(in crate::cli) fn policy_parser() -> impl TypedValueParser<Value = OnBrokenRecord> {
    PossibleValuesParser::new(["fail", "skip"]).try_map(|text| text.parse::<OnBrokenRecord>())
}
