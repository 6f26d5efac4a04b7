//! The options of an upgrade. Each command-line option is declared here, once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{LABEL_APP_INSTANCE, claim_name};
use milvus_meta::finding::Severity;
use milvus_meta::keys::path_part;
use milvus_meta::release::Release;

mod parse;

pub use parse::toleration_text;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Intent {
    /// Upgrade, or resume an unfinished upgrade.
    #[default]
    #[value(name = "migrate")]
    Upgrade,
    /// Roll back to the old release.
    #[value(name = "rollback")]
    RollBack,
    /// Resume what is unfinished, forward or back.
    Resume,
    /// Abandon an unfinished rollback and continue the upgrade.
    Forward,
    /// Show progress.
    Status,
}

/// What happens after failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
pub struct Policy {
    /// Roll back automatically if the new release does not become healthy within --timeout;
    /// what it wrote until then is saved next to the backup and undone
    #[arg(long)]
    pub rollback_on_failure: bool,
    /// With -o rollback: also undo what the new release wrote since the migration; it is saved first
    #[arg(long)]
    pub accept_loss: bool,
    /// After a failure before the commit, leave Milvus stopped instead of starting the old release
    #[arg(long)]
    pub stay_down: bool,
}

/// The cluster and the credentials.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Access {
    /// Namespace of the instance [default: that of the kubeconfig's context, or of the pod]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig [default: the current one, or the pod's own account]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// kubeconfig file [default: KUBECONFIG, ~/.kube/config, or the pod's own account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The options of an upgrade; `None` or empty if not given.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Versions and metadata")]
pub struct UpgradeOptions {
    /// Milvus release that runs now, for example 2.1.4
    #[arg(short = 's', long = "source-version", value_name = "VERSION")]
    pub source: Option<Release>,
    /// Milvus release to upgrade to, for example 2.2.16
    #[arg(short = 't', long = "target-version", value_name = "VERSION")]
    pub target: Option<Release>,
    /// Root path of the metadata [default: as Milvus is configured, else by-dev]
    #[arg(short = 'r', long, value_name = "PATH", value_parser = path_part)]
    pub root_path: Option<String>,
    /// Path of the metadata below the root path [default: as Milvus is configured, else meta]
    #[arg(long, value_name = "PATH", value_parser = path_part)]
    pub meta_sub_path: Option<String>,
    /// Image of the new release [default: milvusdb/milvus:vTARGET]
    #[arg(short = 'w', long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Image of the Jobs [default: meta-migration:VERSION, its own]
    #[arg(
        short = 'm',
        long,
        value_name = "IMAGE",
        env = "META_MIGRATION_TOOL_IMAGE",
        hide_env = true
    )]
    pub tool_image: Option<String>,
    /// Addresses of etcd, seen from a pod [default: as Milvus is configured]
    #[arg(
        short = 'e',
        long = "etcd-endpoints",
        value_name = "A,B",
        value_delimiter = ','
    )]
    pub endpoints: Option<Vec<String>>,
    /// Secret with keys user and password for etcd
    #[arg(long = "etcd-secret", value_name = "NAME")]
    pub credentials: Option<String>,
    /// Secret with certificates for etcd: ca.crt, tls.crt, tls.key, if present
    #[arg(long = "etcd-tls-secret", value_name = "NAME")]
    pub tls_secret: Option<String>,
    /// Ignore this preflight check, given by its code; may be repeated
    #[arg(long = "accept", value_name = "CODE")]
    pub accepted: Vec<String>,
    /// Storage class of the backup volume [default: the cluster's]
    #[arg(short = 'c', long, value_name = "NAME", help_heading = VOLUME)]
    pub storage_class: Option<String>,
    /// Existing PVC for the backup
    #[arg(long = "backup-pvc", value_name = "NAME", help_heading = VOLUME)]
    pub claim: Option<String>,
    /// Size of the created backup volume [default: 10Gi]
    #[arg(long = "backup-size", value_name = "SIZE", help_heading = VOLUME, value_parser = parse::size)]
    pub claim_size: Option<String>,
    #[command(flatten)]
    pub pods: PodOptions,
    #[arg(skip)]
    pub instance: String,
    /// A selector to use instead of the instance's label.
    #[arg(skip)]
    pub selector: Option<String>,
    /// The timeout of each wait.
    #[arg(skip)]
    pub limit: Duration,
    #[arg(skip)]
    pub intent: Intent,
    #[arg(skip)]
    pub policy: Policy,
    #[arg(skip)]
    pub skip_broken: Option<bool>,
    /// Remove Jobs and configuration after success.
    #[arg(skip)]
    pub clean_up: bool,
    /// Identity in the Lease: host, process and a number.
    #[arg(skip)]
    pub identity: String,
    /// Id of a new operation: eight hexadecimal digits.
    #[arg(skip)]
    pub operation: String,
    /// The current time, RFC 3339.
    #[arg(skip)]
    pub now: String,
    /// The given options, to repeat in the next command.
    #[arg(skip)]
    pub repeated: RepeatedOptions,
}

const VOLUME: &str = "Backup volume";

/// Settings of the Jobs' pods that extend or replace those of the Milvus pods.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Pods of the Jobs [default: as the Milvus pods]")]
pub struct PodOptions {
    /// Pull secret, besides those of the Milvus pods
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    pub pull_secret: Option<String>,
    /// A label that the node must have; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    pub node_selector: Vec<(String, String)>,
    /// A taint that is tolerated; may be repeated
    #[arg(long = "toleration", value_name = "KEY[=VALUE][:EFFECT]", value_parser = parse::toleration)]
    pub tolerations: Vec<Value>,
    /// What each container of the Jobs requests, cpu=100m,memory=256Mi for example
    #[arg(long = "job-requests", value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = parse::amount)]
    pub requests: Vec<(String, String)>,
    /// Limits of each container of the Jobs, cpu=1,memory=1Gi for example
    #[arg(long = "job-limits", value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = parse::amount)]
    pub limits: Vec<(String, String)>,
    /// User id of the Jobs' pods, and group of the volume, not 0; `namespace`: as the namespace assigns it
    /// (OpenShift) [default: `namespace` where OpenShift assigns ids, else as Milvus, else 1000]
    #[arg(long = "run-as-user", value_name = "UID", value_parser = parse::user)]
    pub user: Option<PodUser>,
}

/// The user of the Jobs' pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodUser {
    /// This user and group, which is also the group of the volume.
    Id(i64),
    /// The user that the namespace assigns: the pods set none.
    Namespace,
}

impl fmt::Display for PodUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Namespace => f.write_str("namespace"),
        }
    }
}

/// The severity of an error with this code: a warning if it is accepted.
pub(crate) fn severity(accepted: &[String], code: &str) -> Severity {
    if accepted.iter().any(|one| one == code) {
        Severity::Warning
    } else {
        Severity::Error
    }
}

/// The options to repeat in the next command, quoted for a shell, each with a leading space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatedOptions {
    /// The cluster and instance: `-i`, `-n` and related options.
    pub place: String,
    /// All other options except the versions and the new image.
    pub aim: String,
}

impl UpgradeOptions {
    /// The image of the new release: as given, else the default.
    pub(crate) fn new_image(&self) -> Option<String> {
        let target = self.target.as_ref();
        let default = || target.map(|release| format!("milvusdb/milvus:v{release}"));
        self.image.clone().or_else(default)
    }

    /// The command `name` with all given options.
    pub fn command(&self, name: &str) -> String {
        let RepeatedOptions { place, aim } = &self.repeated;
        format!("meta-migration {name}{place}{}{aim}", self.versions())
    }

    /// The versions and the image, quoted for a shell, each with a leading space.
    pub(crate) fn versions(&self) -> String {
        let given = [
            ("-s", self.source.as_ref().map(ToString::to_string)),
            ("-t", self.target.as_ref().map(ToString::to_string)),
            ("-w", self.image.clone()),
        ];
        let words = given.into_iter();
        words
            .filter_map(|(option, value)| Some(format!(" {option} {}", value?)))
            .collect()
    }

    /// The selector of the Deployments: as given, else the instance's label.
    pub(crate) fn selector(&self) -> String {
        let given = self.selector.clone();
        given.unwrap_or_else(|| format!("{LABEL_APP_INSTANCE}={}", self.instance))
    }

    /// The backup claim: as given, else the created one.
    pub(crate) fn claim_name(&self) -> String {
        let given = self.claim.clone();
        given.unwrap_or_else(|| claim_name(&self.instance))
    }
}
