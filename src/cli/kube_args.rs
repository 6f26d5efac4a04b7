//! The options that the Kubernetes commands share, and how they talk.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::SignalKind;

use super::confirm;
use super::options::OutputOptions;
use super::output;
use super::output::LogFormat;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::upgrade as upgrade_output;
use super::quoted::quoted;
use crate::config::{self, path_part};
use meta_kube::client::{Access, Client, ClientError};
use meta_kube::driver::DriverError;
use meta_kube::job_kind::JobKind;
use meta_kube::lease::LeaseError;
use meta_kube::options::{RepeatedOptions, UpgradeOptions};
use meta_kube::progress::Answer;
use meta_kube::progress::ProgressObserver;
use meta_kube::state::{PodShape, PodUser, UpgradeState};
use meta_kube::upgrade::Cause;
use meta_kube::upgrade::decide::Refusal;
use milvus_meta::finding::Finding;
use milvus_meta::release::Release;

mod pods;

const DEFAULT_TIMEOUT: &str = "15m";

/// Which cluster, namespace and instance.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which instance")]
pub(in crate::cli) struct InstanceArgs {
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
    /// Timeout per wait, for example 15m
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_TIMEOUT, value_parser = config::duration::parse)]
    pub(in crate::cli) timeout: Duration,
}

/// Where the metadata is and what is to become of it.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Versions and metadata")]
pub(in crate::cli) struct TargetArgs {
    /// Milvus release that runs now, for example 2.1.4
    #[arg(short = 's', long, value_name = "VERSION")]
    pub(in crate::cli) source_version: Option<Release>,
    /// Milvus release to upgrade to, for example 2.2.16
    #[arg(short = 't', long, value_name = "VERSION")]
    pub(in crate::cli) target_version: Option<Release>,
    /// Root path of the metadata [default: as Milvus is configured, else by-dev]
    #[arg(short = 'r', long, value_name = "PATH", value_parser = path_part)]
    pub(in crate::cli) root_path: Option<String>,
    /// Path of the metadata below the root path [default: as Milvus is configured, else meta]
    #[arg(long, value_name = "PATH", value_parser = path_part)]
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
    /// Secret with certificates for etcd: ca.crt, tls.crt, tls.key, if present
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) etcd_tls_secret: Option<String>,
    /// Ignore this preflight check, given by its code; may be repeated
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
    /// Existing PVC for the backup
    #[arg(long, value_name = "NAME")]
    backup_pvc: Option<String>,
    /// Size of the created backup volume [default: 10Gi]
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
    /// What each container of the Jobs requests, cpu=100m,memory=256Mi for example
    #[arg(long, value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = pods::amount)]
    job_requests: Vec<(String, String)>,
    /// Limits of each container of the Jobs, cpu=1,memory=1Gi for example
    #[arg(long, value_name = "NAME=AMOUNT", value_delimiter = ',', value_parser = pods::amount)]
    job_limits: Vec<(String, String)>,
    /// User id of the Jobs' pods, and group of the volume, not 0; `namespace`: as the namespace assigns it
    /// (OpenShift) [default: `namespace` where OpenShift assigns ids, else as Milvus, else 1000]
    #[arg(long, value_name = "UID", value_parser = pods::user)]
    run_as_user: Option<PodUser>,
}

impl InstanceArgs {
    pub(in crate::cli) async fn connect(&self) -> Result<Client, Failure> {
        let access = Access {
            namespace: self.namespace.as_deref(),
            kubeconfig: self.kubeconfig.as_deref(),
            context: self.context.as_deref(),
            source: self.source(),
        };
        Client::connect(access)
            .await
            .map_err(|error| failure(&error))
    }

    /// Where the address of the API server and the credentials come from.
    fn source(&self) -> String {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let default = || Some(PathBuf::from(variable("HOME")?).join(".kube/config"));
        let path = self
            .kubeconfig
            .clone()
            .or_else(|| variable("KUBECONFIG").map(PathBuf::from))
            .or_else(|| default().filter(|path| path.exists()));
        path.map_or_else(
            || "service account of the pod".to_owned(),
            |path| format!("kubeconfig {}", path.display()),
        )
    }

    /// Which cluster and instance, as words of a shell for the next command.
    pub(in crate::cli) fn repeated(&self, namespace: &str) -> String {
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

    /// The options, with what only this process can know: a new id, the time and who it is.
    pub(in crate::cli) fn options(&self, namespace: &str, aim: &TargetArgs) -> UpgradeOptions {
        UpgradeOptions {
            instance: self.instance.clone(),
            selector: self.selector.clone(),
            source: aim.source_version.clone(),
            target: aim.target_version.clone(),
            image: aim.image.clone(),
            tool_image: aim.tool_image.clone(),
            root_path: aim.root_path.clone(),
            meta_sub_path: aim.meta_sub_path.clone(),
            endpoints: aim.etcd_endpoints.clone(),
            credentials: aim.etcd_secret.clone(),
            tls_secret: aim.etcd_tls_secret.clone(),
            claim: aim.volume.backup_pvc.clone(),
            claim_size: aim.volume.backup_size.clone(),
            storage_class: aim.volume.storage_class.clone(),
            shape: aim.pods.shape(),
            accepted: aim.accept.clone(),
            limit: self.timeout,
            identity: identity(),
            operation: identifier(),
            now: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            repeated: RepeatedOptions {
                place: self.repeated(namespace),
                aim: aim.repeated(),
            },
            ..UpgradeOptions::default()
        }
    }
}

impl TargetArgs {
    /// What was given, but for versions and image, as words of a shell for the next command.
    fn repeated(&self) -> String {
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
            ("--job-requests", amounts(&self.pods.job_requests)),
            ("--job-limits", amounts(&self.pods.job_limits)),
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
            pull_secrets: self.image_pull_secret.iter().cloned().collect(),
            node_selector: self.node_selector.iter().cloned().collect(),
            tolerations: self.toleration.clone(),
            requests: self.job_requests.iter().cloned().collect(),
            limits: self.job_limits.iter().cloned().collect(),
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

/// Amounts as they were typed.
fn amounts(given: &[(String, String)]) -> Option<String> {
    let all: Vec<String> = given
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Eight hexadecimal digits that no other process of this namespace is likely to have.
fn identifier() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of these from the system's randomness.
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let digits = format!("{:016x}", hasher.finish());
    digits.chars().take(8).collect()
}

/// Who we are, for the Lease: the host's name, whether or not the shell exports it.
pub(in crate::cli) fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.unwrap_or_else(|| "unnamed-host".to_owned());
    format!("{host}-{}-{}", std::process::id(), identifier())
}

/// A process with threads for the API server's connections.
pub(in crate::cli) fn block_on<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start the worker threads", &error))?;
    runtime.block_on(work)
}

/// The signal that ends the command; the next one ends the process at once.
async fn signalled() -> Exit {
    let first = signal().await;
    tokio::spawn(async {
        let second = signal().await;
        std::process::exit(second.code().into());
    });
    output::tell("Finishing requests in flight; press Ctrl-C again to stop now\n");
    first
}

async fn signal() -> Exit {
    let heard = |kind: SignalKind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = heard(SignalKind::interrupt()) => Exit::Interrupted,
        _ = heard(SignalKind::terminate()) => Exit::Terminated,
        // The terminal is gone; under nohup that is ignored.
        _ = heard(SignalKind::hangup()), if !ignores_hangup() => Exit::Terminated,
    }
}

/// Whether the process was started to ignore SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Shows progress at the terminal, or to the log collector, asks, and hears signals.
pub(in crate::cli) struct Terminal<'a> {
    output: &'a OutputOptions,
    signal: OnceLock<Exit>,
}

impl<'a> Terminal<'a> {
    pub(in crate::cli) fn new(output: &'a OutputOptions) -> Self {
        Self {
            output,
            signal: OnceLock::new(),
        }
    }

    fn is_json(&self) -> bool {
        self.output.log_format == LogFormat::Json
    }
}

impl ProgressObserver for Terminal<'_> {
    fn message(&self, line: &str) {
        if self.is_json() {
            tracing::info!("{line}");
        } else {
            let now = humantime::format_rfc3339_seconds(SystemTime::now());
            output::tell(&format!("{now} {line}\n"));
        }
    }

    fn log(&self, kind: JobKind, line: &str) {
        if self.is_json() {
            tracing::info!(step = kind.name(), "{line}");
        } else {
            output::tell(&format!("  {} | {line}\n", kind.name()));
        }
    }

    fn finding(&self, finding: &Finding) {
        let style = Style::for_stream(&std::io::stderr());
        let line = upgrade_output::finding(finding, style);
        if self.is_json() {
            self.message(&line);
        } else {
            output::tell(&format!("{line}\n"));
        }
    }

    fn confirm<'a>(&'a self, steps: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            if self.output.yes {
                return true;
            }
            output::tell(steps);
            confirm::is_wanted(self.output) && confirm::answer("Continue?").await
        })
    }

    fn stopped(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let signal = signalled().await;
            // There is only one.
            let _ = self.signal.set(signal);
        })
    }
}

/// Said where this command changed nothing, whatever happened before it.
pub(in crate::cli) const BY_THIS_COMMAND: &str = "nothing by this command";

/// Where the backup of an upgrade is.
pub(in crate::cli) fn backup(state: &UpgradeState) -> Option<Box<str>> {
    state
        .has_backup
        .then(|| format!("{} in volume claim {}", state.backup_file, state.claim).into())
}

/// A failure of the API server, with what helps.
pub(in crate::cli) fn failure(error: &ClientError) -> Failure {
    let failure = Failure::from_error(Exit::Failed, error);
    if error.is_forbidden() {
        return failure.hint("meta-migration preflight names every right that is missing");
    }
    failure
}

/// Why a command ended, as far as that is the same for all of them.
pub(in crate::cli) fn failure_of_cause(cause: &Cause, terminal: &Terminal<'_>) -> Failure {
    let refused = |exit: Exit, message: String| Failure {
        changed: BY_THIS_COMMAND.into(),
        ..Failure::new(exit, message)
    };
    match cause {
        Cause::Lease(LeaseError::Held { .. }) => refused(Exit::Refused, cause.to_string()),
        Cause::Lease(LeaseError::Client(error)) => failure(error),
        Cause::Rights(missing) => {
            let mut failure = refused(Exit::Refused, cause.to_string());
            let missing = missing.iter();
            failure.causes = missing
                .map(|right| format!("the right to {right} is missing [missing-right]"))
                .collect();
            failure.hint(GRANT)
        }
        Cause::Refusal(Refusal::Blocked(findings)) => {
            let message = match findings.len() {
                1 => "a finding blocks the upgrade".to_owned(),
                count => format!("{count} findings block the upgrade"),
            };
            let mut failure = refused(Exit::Refused, message);
            let findings = findings.iter();
            failure.causes = findings
                .map(|one| format!("{} [{}]", one.message, one.code))
                .collect();
            failure
        }
        Cause::Refusal(Refusal::Refused(why)) => refused(Exit::Refused, why.clone()),
        Cause::Refusal(Refusal::Usage(why)) => refused(Exit::Usage, why.clone())
            .hint("run it again without these options; -o status shows the progress"),
        Cause::Refusal(Refusal::Halted(why)) => refused(Exit::PartWay, why.clone()),
        Cause::Unconfirmed if confirm::is_wanted(terminal.output) => {
            refused(Exit::Failed, cause.to_string())
        }
        Cause::Unconfirmed => refused(
            Exit::Usage,
            "confirm these steps with --yes: without a terminal nobody can be asked".to_owned(),
        )
        .hint("run the same command with --yes"),
        Cause::Stopped => {
            let signal = terminal.signal.get().copied();
            refused(signal.unwrap_or(Exit::Terminated), cause.to_string())
        }
        Cause::Driver(DriverError::Client(error)) => failure(error),
        Cause::Driver(DriverError::LeaseLost) => Failure::new(Exit::Refused, cause.to_string()),
        Cause::Driver(DriverError::UpgradeState(why)) => Failure::new(Exit::Failed, why.clone()),
    }
}

/// Who gives the rights that are missing.
const GRANT: &str = "kubectl apply -n NAMESPACE -f deploy/rbac.yaml   # as an administrator: gives the service account \
                     meta-migration what is needed; bind its Role to whoever runs this";

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn command() -> Command {
        TargetArgs::augment_args(InstanceArgs::augment_args(Command::new("upgrade")))
    }

    /// The options as the next command repeats them.
    fn repeated(line: &str) -> String {
        let matches = command().try_get_matches_from(line.split(' ')).unwrap();
        let place = InstanceArgs::from_arg_matches(&matches).unwrap();
        let aim = TargetArgs::from_arg_matches(&matches).unwrap();
        let namespace = place.namespace.as_deref().unwrap_or("data");
        let words = place.options(namespace, &aim).repeated;
        format!("{}{}", words.place, words.aim)
    }

    #[test]
    fn the_next_command_repeats_every_option() {
        for argument in command().get_arguments() {
            let name = argument.get_long().unwrap();
            let value = match name {
                // Written by each hint itself.
                "source-version" | "target-version" | "image" => continue,
                "timeout" => "20m",
                "node-selector" => "disk=ssd",
                "toleration" => "gpu=yes:NoSchedule",
                "job-requests" => "cpu=200m,memory=1Gi",
                "job-limits" => "memory=2Gi",
                "run-as-user" => "1234",
                _ => "some-value",
            };
            let instance = if name == "instance" { "" } else { " -i prod" };
            let words = repeated(&format!("upgrade{instance} --{name} {value}"));
            assert!(words.contains(&format!(" {value}")), "--{name}: {words}");
            assert_eq!(repeated(&format!("upgrade{words}")), words, "--{name}");
        }
    }
}
