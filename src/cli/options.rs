//! The options that the commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches as _};

use super::output::style::When;
use super::output::{Format, LogFormat};
use super::{tty, unused};
use crate::config::{self, Config, ConfigError, Password};
pub(in crate::cli) use crate::config::{ETCD_HEADING, EtcdOptions};
use meta_backup::Tolerance;
use meta_migrate::Waits;
use milvus_meta::keys::{Family, path_option};
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

/// How long a command waits for the lock: the lock of a killed run expires after 20 s.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long the official tool's interface waits: the session of a killed component expires after 60 s.
const DROP_IN_WAIT: Duration = Duration::from_secs(90);

/// Names of the program's environment variables start with this.
const PREFIX: &str = "META_MIGRATION_";

/// Completes the options declared with `env`: the name of the variable gets the program's prefix, the help does not show
/// it, and switches accept `yes`, `on` and `1` as well.
pub(in crate::cli) fn with_environment(command: Command) -> Command {
    let command = command.mut_args(|option| {
        let Some(name) = option.get_env() else {
            return option;
        };
        let name = name.to_string_lossy().replace(PREFIX, "");
        // clap keeps names for the life of the process.
        let name: &'static str = format!("{PREFIX}{name}").leak();
        let option = option.env(name).hide_env(true);
        if matches!(option.get_action(), ArgAction::SetTrue) {
            option.value_parser(BoolishValueParser::new())
        } else {
            option
        }
    });
    command.mut_subcommands(with_environment)
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

    /// Whether the user names an etcd.
    pub(in crate::cli) fn names_etcd(&self) -> bool {
        self.endpoints.is_some() || self.config.is_some()
    }

    /// Merges options, environment and YAML file. Asks for a missing password at a terminal.
    pub(in crate::cli) fn resolve(&self) -> Result<Config, ConfigError> {
        let mut options = self.clone();
        let password = std::env::var(format!("{PREFIX}PASSWORD"));
        options.password = password.ok().map(Password::new);
        let config = match Config::resolve(options.clone(), etcdctl()) {
            Err(ConfigError::NoPassword(user)) if tty::is_interactive() => {
                options.password = Some(tty::ask_password(&user)?);
                Config::resolve(options, etcdctl())?
            }
            resolved => resolved?,
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let connection = &config.connection;
        tracing::debug!(
            endpoints = connection.endpoints.join(","),
            meta_root = config.root.meta_root(),
            encrypted = connection.tls.is_some(),
            user = connection.user.as_deref(),
            timeout_ms = connection.request_timeout.as_millis(),
            "configuration"
        );
        Ok(config)
    }

    /// Returns the options and values with which another command reaches the same instance: always the address and the
    /// root path, whatever their source. Without the backup file and without secrets.
    pub(in crate::cli) fn as_flags(&self, config: &Config) -> Vec<[String; 2]> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let endpoints = self
            .endpoints
            .as_ref()
            .unwrap_or(&config.connection.endpoints);
        let configured = path_option(config.root.root_path());
        let root_path = self.root_path.as_deref().unwrap_or(configured);
        let meta_sub_path = Some(&config.sub_paths.0).filter(|sub_path| *sub_path != "meta");
        // The other command reads the YAML file again, but may run without etcdctl's variables.
        let from_etcdctl = self.config.is_none().then_some(&config.connection);
        let user = || from_etcdctl?.user.clone();
        let tls = from_etcdctl.and_then(|it| it.tls.as_ref());
        let given = [
            ("--endpoints", Some(endpoints.join(","))),
            ("--root-path", Some(root_path.to_owned())),
            (
                "--meta-sub-path",
                self.meta_sub_path.as_ref().or(meta_sub_path).cloned(),
            ),
            ("--kv-sub-path", self.kv_sub_path.clone()),
            ("--config", path(&self.config)),
            ("--user", self.user.clone().or_else(user)),
            ("--password-file", path(&self.password_file)),
            (
                "--cacert",
                path(&self.cacert).or_else(|| path(&tls?.ca_cert)),
            ),
            ("--cert", path(&self.cert).or_else(|| path(&tls?.cert))),
            ("--key", path(&self.tls_key).or_else(|| path(&tls?.key))),
            ("--tls-server-name", self.tls_server_name.clone()),
        ];
        present(given)
    }

    /// Returns the given options that select one of several instances in a file.
    pub(in crate::cli) fn root_flags(&self) -> Vec<[String; 2]> {
        present([
            ("--root-path", self.root_path.clone()),
            ("--meta-sub-path", self.meta_sub_path.clone()),
        ])
    }

    /// Returns the given releases with the option's id.
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
}

/// Returns the options that have a value.
fn present<const N: usize>(given: [(&str, Option<String>); N]) -> Vec<[String; 2]> {
    let given = given.into_iter();
    given
        .filter_map(|(option, value)| Some([option.to_owned(), value?]))
        .collect()
}

/// Reads etcdctl's variables, which apply where options, own variables and YAML file say nothing.
fn etcdctl() -> EtcdOptions {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    let user = text("ETCDCTL_USER").unwrap_or_default();
    let (user, inline) = match user.split_once(':') {
        Some((user, password)) => (user, Some(password.to_owned())),
        None => (user.as_str(), None),
    };
    EtcdOptions {
        endpoints: text("ETCDCTL_ENDPOINTS").map(|list| config::split_list(&list)),
        cacert: path("ETCDCTL_CACERT"),
        cert: path("ETCDCTL_CERT"),
        tls_key: path("ETCDCTL_KEY"),
        user: Some(user.to_owned()).filter(|user| !user.is_empty()),
        password: inline
            .or_else(|| text("ETCDCTL_PASSWORD"))
            .map(Password::new),
        ..EtcdOptions::default()
    }
}

/// Handling of an etcd without metadata.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = ETCD_HEADING)]
pub(in crate::cli) struct EmptyOptions {
    /// Accept an etcd without any key under the root path, such as a new one
    #[arg(long, env)]
    pub(in crate::cli) allow_empty: bool,
}

/// The options of a command that works on the metadata of an instance.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct CommonOptions {
    #[command(flatten)]
    pub(in crate::cli) etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

/// How strictly to check a backup file.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Reading backups")]
pub(in crate::cli) struct ReadingOptions {
    /// Read an etcd database file or data folder without the hash that a snapshot has
    #[arg(long, env)]
    skip_hash_check: bool,
    /// Read a file that ends early, or has a different number of entries than its header says; missing
    /// content is reported
    #[arg(long, env)]
    allow_partial: bool,
}

impl ReadingOptions {
    pub(in crate::cli) fn tolerance(self) -> Tolerance {
        Tolerance {
            skip_hash_check: self.skip_hash_check,
            allow_partial: self.allow_partial,
        }
    }
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
        env,
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
        env,
        hide_short_help = true,
        value_enum,
        default_value_t
    )]
    pub(in crate::cli) color: When,
    /// Log format on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        env,
        hide_short_help = true,
        value_enum,
        default_value_t
    )]
    pub(in crate::cli) log_format: LogFormat,
    /// Minimum log level
    #[arg(long, value_name = "LEVEL", env, hide_short_help = true, default_value = "info", value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    pub(in crate::cli) log_level: String,
    /// Disable progress bars (shown on a terminal only)
    #[arg(long, env, hide_short_help = true)]
    pub(in crate::cli) no_progress: bool,
    /// Do not ask before writing; required where there is no terminal
    #[arg(long, env)]
    pub(in crate::cli) yes: bool,
}

/// The approved plan.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Migration")]
pub(in crate::cli) struct ApprovalOptions {
    /// Execute only the plan with this digest, of which the first 8 digits suffice; `plan` shows it. Any other plan
    /// is rejected before anything is written
    #[arg(long = "plan", value_name = "DIGEST", env = "PLAN", value_parser = plan_digest)]
    pub(in crate::cli) approved_plan: Option<String>,
}

impl OutputOptions {
    /// Returns the output options of the innermost subcommand, or the defaults if it has none.
    pub(in crate::cli) fn of(matches: &ArgMatches) -> Self {
        let (_, matches) = unused::innermost(matches);
        let found = matches.try_contains_id("format").map(|_| ());
        found.map_or_else(
            |_| Self::default(),
            |()| Self::from_arg_matches(matches).unwrap_or_default(),
        )
    }

    /// Whether tables show details.
    pub(in crate::cli) fn is_detailed(&self) -> bool {
        self.verbose > 0 || self.format == Format::Wide
    }

    /// Returns the minimum log level.
    pub(in crate::cli) fn level(&self) -> &str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => &self.log_level,
            (false, 1) => "debug",
            (false, _) => "trace",
        }
    }
}

/// Parses the digest of a plan, or its first digits.
fn plan_digest(text: &str) -> Result<String, String> {
    let is_digest = (8..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    match is_digest {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("8 to 64 hexadecimal digits, as plan shows them".to_owned()),
    }
}

/// Returns a parser of the families with their own keys, and of `more`.
pub(in crate::cli) fn family_parser(more: &[Family]) -> impl TypedValueParser<Value = Family> {
    let names = Family::ALL.iter().chain(more);
    PossibleValuesParser::new(names.map(|family| family.name()))
        .map(|name| Family::by_name(&name).unwrap_or(Family::Other))
}

/// Whether the value of an option is a number, with or without a unit.
pub(in crate::cli) fn is_number(option: &Arg) -> bool {
    let names = option.get_value_names().unwrap_or_default();
    names
        .iter()
        .any(|name| matches!(name.as_str(), "N" | "ID" | "UID" | "DURATION" | "SIZE"))
}

/// Options for the transformation.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Migration")]
pub(in crate::cli) struct TransformOptions {
    /// Form of collections: auto chooses split below 2.2.9 and database from 2.2.9 on; embedded is the form of
    /// the official tool, which later releases misread
    #[arg(long, value_name = "FORM", env, value_parser = form_parser())]
    pub(in crate::cli) collection_form: Option<FormChoice>,
    /// Where to keep the logs of segments: auto moves them to separate keys, as Milvus 2.2 writes them; inline
    /// leaves them in the segment records, where Milvus 2.3 and later lose them [default: auto]
    #[arg(long, value_name = "FORM", env, value_parser = segment_form_parser())]
    pub(in crate::cli) segment_form: Option<SegmentForm>,
    /// How to handle records that cannot be migrated: fail writes nothing, skip skips them
    /// [default: fail]
    #[arg(long, value_name = "POLICY", env, value_parser = policy_parser())]
    pub(in crate::cli) on_broken_record: Option<OnBrokenRecord>,
}

impl TransformOptions {
    /// Returns the given options as command-line arguments.
    pub(in crate::cli) fn as_flags(&self) -> Vec<String> {
        let form = self.collection_form.map(|form| form.to_string());
        let segments = self.segment_form.map(|form| form.to_string());
        let policy = self.on_broken_record.map(|policy| policy.to_string());
        let given = present([
            ("--collection-form", form),
            ("--segment-form", segments),
            ("--on-broken-record", policy),
        ]);
        given.into_iter().flatten().collect()
    }
}

/// How long to wait for sessions and locks of other processes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waiting")]
pub(in crate::cli) struct WaitOptions {
    /// Maximum time to wait for sessions of stopped components to end [default: 0, do not wait]
    #[arg(long, value_name = "DURATION", env, value_parser = config::duration::parse)]
    pub(in crate::cli) wait_sessions: Option<Duration>,
    /// Maximum time to wait for the lock of another run, which may have been killed [default: 30s]
    #[arg(long, value_name = "DURATION", env, value_parser = config::duration::parse)]
    pub(in crate::cli) wait_lock: Option<Duration>,
}

impl WaitOptions {
    /// Returns the waits of a command, by default none for sessions and 30 s for the lock.
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
