//! The options that the Kubernetes commands share, and how they talk.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::aftermath::quoted;
use super::confirm;
use super::options::OutputOptions;
use super::report;
use super::report::LogFormat;
use super::report::exit::Exit;
use super::report::failure::Failure;
use crate::config;
use crate::kubernetes::cluster::{Access, Cluster, ClusterError};
use crate::kubernetes::job_kind::JobKind;
use crate::kubernetes::lease::LeaseError;
use crate::kubernetes::operation::begin::Request;
use crate::kubernetes::operation::{Audience, OperationError};
use crate::kubernetes::preflight::{Asked, Words};
use crate::kubernetes::record::{PodShape, PodUser};
use crate::kubernetes::stage::Policy;
use crate::version::Release;

mod pods;

const DEFAULT_TIMEOUT: &str = "15m";

/// Which cluster, namespace and instance.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which instance")]
pub(in crate::cli) struct PlaceOptions {
    /// Name of the instance: the Helm release, or the Milvus custom resource
    #[arg(short = 'i', long, value_name = "NAME")]
    pub(in crate::cli) instance: String,
    /// Namespace of the instance [default: that of the kubeconfig's context, or of the pod]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(in crate::cli) namespace: Option<String>,
    /// Label selector that finds the Deployments [default: app.kubernetes.io/instance=INSTANCE]
    #[arg(long, value_name = "SELECTOR")]
    pub(in crate::cli) selector: Option<String>,
    /// Context of the kubeconfig [default: the current one, or the pod's own account]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) context: Option<String>,
    /// kubeconfig file [default: KUBECONFIG, ~/.kube/config, or the pod's own account]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) kubeconfig: Option<PathBuf>,
    /// The longest that is waited for one thing, for example 15m
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_TIMEOUT, value_parser = config::duration::parse)]
    pub(in crate::cli) timeout: Duration,
}

/// Where the metadata is and what is to become of it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Versions and metadata")]
pub(in crate::cli) struct AimOptions {
    /// Milvus release that runs now, for example 2.1.4
    #[arg(short = 's', long, value_name = "VERSION")]
    pub(in crate::cli) source_version: Option<Release>,
    /// Milvus release to upgrade to, for example 2.2.16
    #[arg(short = 't', long, value_name = "VERSION")]
    pub(in crate::cli) target_version: Option<Release>,
    /// Root path of the metadata [default: as Milvus is configured, else by-dev]
    #[arg(short = 'r', long, value_name = "PATH")]
    pub(in crate::cli) root_path: Option<String>,
    /// Path of the metadata below the root path [default: as Milvus is configured, else meta]
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) meta_sub_path: Option<String>,
    /// Image of the new release [default: milvusdb/milvus:vTARGET]
    #[arg(short = 'w', long, value_name = "IMAGE")]
    pub(in crate::cli) image: Option<String>,
    /// Image of the Jobs [default: meta-migration:VERSION, its own]
    #[arg(
        short = 'm',
        long,
        value_name = "IMAGE",
        env = "META_MIGRATION_TOOL_IMAGE",
        hide_env = true
    )]
    pub(in crate::cli) tool_image: Option<String>,
    /// Addresses of etcd, seen from a pod [default: as Milvus is configured]
    #[arg(short = 'e', long, value_name = "A,B", value_delimiter = ',')]
    pub(in crate::cli) etcd_endpoints: Option<Vec<String>>,
    /// Secret with keys user and password for etcd
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) etcd_secret: Option<String>,
    /// Secret with certificates for etcd: ca.crt, tls.crt, tls.key, as far as there
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) etcd_tls_secret: Option<String>,
    /// A concern of preflight that shall not stand in the way, by its code; may be repeated
    #[arg(long, value_name = "CODE")]
    pub(in crate::cli) accept: Vec<String>,
    #[command(flatten)]
    volume: VolumeOptions,
    #[command(flatten)]
    pods: PodOptions,
}

/// Where the backup goes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Backup volume")]
struct VolumeOptions {
    /// Storage class of the backup volume [default: the cluster's]
    #[arg(short = 'c', long, value_name = "NAME")]
    storage_class: Option<String>,
    /// A volume claim for the backup that is there already
    #[arg(long, value_name = "NAME")]
    backup_pvc: Option<String>,
    /// Size of the backup volume that is made [default: 10Gi]
    #[arg(long, value_name = "SIZE")]
    backup_size: Option<String>,
}

/// What the Jobs' pods are given instead of what the Milvus pods have.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Pods of the Jobs [default: as the Milvus pods]")]
struct PodOptions {
    /// Pull secret, besides those of the Milvus pods
    #[arg(long, value_name = "NAME")]
    image_pull_secret: Option<String>,
    /// A label that the node must have; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pods::label)]
    node_selector: Vec<(String, String)>,
    /// A taint that is tolerated; may be repeated
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", value_parser = pods::toleration)]
    toleration: Vec<serde_json::Value>,
    /// User id of the Jobs' pods, and group of the volume, not 0; `namespace`: as the namespace assigns it
    /// (OpenShift) [default: `namespace` where OpenShift assigns ids, else as Milvus, else 1000]
    #[arg(long, value_name = "UID", value_parser = pods::user)]
    run_as_user: Option<PodUser>,
}

impl PlaceOptions {
    pub(in crate::cli) async fn connect(&self) -> Result<Cluster, Failure> {
        let access = Access {
            namespace: self.namespace.as_deref(),
            kubeconfig: self.kubeconfig.as_deref(),
            context: self.context.as_deref(),
        };
        Cluster::connect(access)
            .await
            .map_err(|error| failure(&error))
    }

    /// Which cluster and instance, as words of a shell for the next command.
    pub(in crate::cli) fn words(&self, namespace: &str) -> String {
        let path = self.kubeconfig.as_ref();
        let timeout = config::duration::parse(DEFAULT_TIMEOUT).ok();
        words([
            ("-i", Some(self.instance.clone())),
            ("-n", Some(namespace.to_owned())),
            ("--selector", self.selector.clone()),
            ("--context", self.context.clone()),
            ("--kubeconfig", path.map(|path| path.display().to_string())),
            (
                "--timeout",
                (Some(self.timeout) != timeout)
                    .then(|| humantime::format_duration(self.timeout).to_string()),
            ),
        ])
    }

    /// The request, with what only this process can know: a new id and the time.
    pub(in crate::cli) fn request(
        &self,
        namespace: &str,
        aim: &AimOptions,
        policy: Policy,
    ) -> Request {
        Request {
            instance: self.instance.clone(),
            asked: Asked {
                source: aim.source_version.clone(),
                target: aim.target_version.clone(),
                image: aim.image.clone(),
                root_path: aim.root_path.clone(),
                meta_sub_path: aim.meta_sub_path.clone(),
                endpoints: aim.etcd_endpoints.clone(),
                storage_class: aim.volume.storage_class.clone(),
                claim_given: aim.volume.backup_pvc.is_some(),
                accepted: aim.accept.clone(),
                user: aim.pods.run_as_user,
                words: Words {
                    place: self.words(namespace),
                    aim: aim.words(),
                },
            },
            tool_image: aim.tool_image.clone(),
            selector: self.selector.clone(),
            pull_secret: aim.pods.image_pull_secret.clone(),
            shape: aim.pods.shape(),
            credentials: aim.etcd_secret.clone(),
            tls_secret: aim.etcd_tls_secret.clone(),
            claim: aim.volume.backup_pvc.clone(),
            claim_size: aim.volume.backup_size.clone(),
            storage_class: aim.volume.storage_class.clone(),
            policy,
            skip_broken: None,
            limit: self.timeout,
            operation: identifier(),
            now: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

impl AimOptions {
    /// What was given, but for versions and image, as words of a shell for the next command.
    fn words(&self) -> String {
        let mut text = words([
            ("-r", self.root_path.clone()),
            ("--meta-sub-path", self.meta_sub_path.clone()),
            ("-m", self.tool_image.clone()),
            (
                "-e",
                self.etcd_endpoints.as_ref().map(|list| list.join(",")),
            ),
            ("--etcd-secret", self.etcd_secret.clone()),
            ("--etcd-tls-secret", self.etcd_tls_secret.clone()),
            ("-c", self.volume.storage_class.clone()),
            ("--backup-pvc", self.volume.backup_pvc.clone()),
            ("--backup-size", self.volume.backup_size.clone()),
            ("--image-pull-secret", self.pods.image_pull_secret.clone()),
            (
                "--run-as-user",
                self.pods.run_as_user.map(|user| user.to_string()),
            ),
        ]);
        for (key, value) in &self.pods.node_selector {
            text.push_str(&words([(
                "--node-selector",
                Some(format!("{key}={value}")),
            )]));
        }
        for toleration in &self.pods.toleration {
            text.push_str(&words([(
                "--toleration",
                Some(pods::toleration_text(toleration)),
            )]));
        }
        for code in &self.accept {
            text.push_str(&words([("--accept", Some(code.clone()))]));
        }
        text
    }
}

impl PodOptions {
    fn shape(&self) -> PodShape {
        PodShape {
            node_selector: self.node_selector.iter().cloned().collect(),
            tolerations: self.toleration.clone(),
            user: self.run_as_user,
            ..PodShape::default()
        }
    }
}

fn words<const N: usize>(options: [(&str, Option<String>); N]) -> String {
    let given = options
        .into_iter()
        .filter_map(|(option, value)| Some(format!(" {option} {}", quoted(&value?))));
    given.collect()
}

/// Eight hexadecimal digits that no other process of this namespace is likely to have.
fn identifier() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of these from the system's randomness.
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let digits = format!("{:016x}", hasher.finish());
    digits.chars().take(8).collect()
}

/// Who we are, for the Lease.
pub(in crate::cli) fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "somewhere".to_owned());
    format!("{host}-{}-{}", std::process::id(), identifier())
}

/// A process with threads for the API server's connections.
pub(in crate::cli) fn block_on<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
    runtime.block_on(work)
}

/// Ends with the exit code of the signal that the process got. The next one ends the process at once.
pub(in crate::cli) async fn signalled() -> Exit {
    let first = signal().await;
    tokio::spawn(async {
        let second = signal().await;
        std::process::exit(second.code().into());
    });
    report::tell("ending; once more ends at once\n");
    first
}

async fn signal() -> Exit {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Exit::Interrupted,
            Err(_) => std::future::pending().await,
        },
        () = terminated => Exit::Terminated,
    }
}

/// Tells the person at the terminal, or the log collector.
pub(in crate::cli) struct Terminal {
    json: bool,
}

impl Terminal {
    pub(in crate::cli) fn new(output: &OutputOptions) -> Self {
        Self {
            json: output.log_format == LogFormat::Json,
        }
    }
}

impl Audience for Terminal {
    fn tell(&self, line: &str) {
        if self.json {
            tracing::info!("{line}");
        } else {
            report::tell(&format!("{line}\n"));
        }
    }

    fn log(&self, step: JobKind, line: &str) {
        if self.json {
            tracing::info!(step = step.name(), "{line}");
        } else {
            report::tell(&format!("  {} | {line}\n", step.name()));
        }
    }
}

/// Said where Milvus was not touched.
pub(in crate::cli) const UNTOUCHED: &str = "nothing; Milvus and its metadata are as they were";

/// Shows the steps of what changes a cluster and asks; without a terminal the command line has to say it.
///
/// # Errors
/// Where that was not confirmed.
pub(in crate::cli) async fn confirmed(output: &OutputOptions, steps: &str) -> Result<(), Failure> {
    if output.yes {
        return Ok(());
    }
    report::tell(steps);
    let mut failure = if confirm::is_wanted(output) {
        if confirm::answer("Continue?").await {
            return Ok(());
        }
        Failure::new(Exit::Failed, "not confirmed")
    } else {
        Failure::new(
            Exit::Usage,
            "confirm these steps with --yes: without a terminal nobody can be asked",
        )
        .hint("run the same command with --yes")
    };
    failure.changed = "nothing by this command".into();
    Err(failure)
}

/// A failure of the API server, with what helps.
pub(in crate::cli) fn failure(error: &ClusterError) -> Failure {
    let failure = Failure::from_error(Exit::Failed, error);
    if error.is_forbidden() {
        return failure.hint("meta-migration preflight names every right that is missing");
    }
    failure
}

pub(in crate::cli) fn operation_failure(error: &OperationError) -> Failure {
    match error {
        OperationError::Cluster(error) => failure(error),
        OperationError::InTheWay(concerns) => {
            let told = match concerns.len() {
                1 => "something stands in the way".to_owned(),
                count => format!("{count} things stand in the way"),
            };
            let mut failure = Failure::new(Exit::Refused, told);
            failure.changed = UNTOUCHED.into();
            failure.causes = concerns
                .iter()
                .map(|one| format!("{} [{}]", one.message, one.code))
                .collect();
            failure
        }
        OperationError::Refused(_) => {
            let mut failure = Failure::from_error(Exit::Refused, error);
            failure.changed = UNTOUCHED.into();
            failure
        }
        OperationError::Usage(_) => {
            let mut failure = Failure::from_error(Exit::Usage, error);
            failure.changed = "nothing by this command".into();
            failure.hint("the same without what does not fit; -o status tells how it stands")
        }
        OperationError::LeaseLost => Failure::from_error(Exit::Refused, error),
        OperationError::Record(_) => Failure::from_error(Exit::Failed, error),
    }
}

pub(in crate::cli) fn lease_failure(error: &LeaseError) -> Failure {
    match error {
        LeaseError::Held { .. } => {
            let mut failure = Failure::from_error(Exit::Refused, error);
            failure.changed = "nothing by this command".into();
            failure
        }
        LeaseError::Cluster(error) => failure(error),
    }
}
