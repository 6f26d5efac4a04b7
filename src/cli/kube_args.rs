//! The options, prompts and failures that the Kubernetes commands share.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::signal::unix::SignalKind;

use super::confirm;
use super::options::OutputOptions;
use super::output;
use super::output::LogFormat;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::upgrade as upgrade_output;
use crate::config;
use meta_kube::client::{Access, Client, ClientError};
use meta_kube::driver::DriverError;
use meta_kube::job_kind::JobKind;
use meta_kube::lease::LeaseError;
use meta_kube::options::{RepeatedOptions, UpgradeOptions, toleration_text};
use meta_kube::progress::Answer;
use meta_kube::progress::ProgressObserver;
use meta_kube::state::UpgradeState;
use meta_kube::upgrade::Cause;
use meta_kube::upgrade::decide::Refusal;
use meta_report::shell::quoted;
use milvus_meta::finding::Finding;

const DEFAULT_TIMEOUT: &str = "15m";

/// The cluster, namespace and instance.
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

    /// Returns the source of the API server's address and the credentials.
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

    /// Returns the cluster and instance as arguments of the next command.
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
                (Some(self.timeout) != timeout).then(|| config::duration::format(self.timeout)),
            ),
        ])
    }

    /// Returns the given options with the values of this process: a new id, the time and its identity.
    pub(in crate::cli) fn options(
        &self,
        namespace: &str,
        given: &UpgradeOptions,
    ) -> UpgradeOptions {
        UpgradeOptions {
            instance: self.instance.clone(),
            selector: self.selector.clone(),
            limit: self.timeout,
            identity: identity(),
            operation: identifier(),
            now: meta_migrate::now(),
            repeated: RepeatedOptions {
                place: self.repeated(namespace),
                aim: repeated_aim(given),
            },
            ..given.clone()
        }
    }
}

/// Returns the given options, except versions and image, as arguments of the next command.
fn repeated_aim(given: &UpgradeOptions) -> String {
    let pods = &given.pods;
    let mut text = words([
        ("-r", given.root_path.clone()),
        ("--meta-sub-path", given.meta_sub_path.clone()),
        ("-m", given.tool_image.clone()),
        ("-e", given.endpoints.as_ref().map(|list| list.join(","))),
        ("--etcd-secret", given.credentials.clone()),
        ("--etcd-tls-secret", given.tls_secret.clone()),
        ("-c", given.storage_class.clone()),
        ("--backup-pvc", given.claim.clone()),
        ("--backup-size", given.claim_size.clone()),
        ("--image-pull-secret", pods.pull_secret.clone()),
        ("--job-requests", amounts(&pods.requests)),
        ("--job-limits", amounts(&pods.limits)),
        ("--run-as-user", pods.user.map(|user| user.to_string())),
    ]);
    let labels = pods.node_selector.iter();
    let labels = labels.map(|(key, value)| ("--node-selector", format!("{key}={value}")));
    let taints = pods.tolerations.iter();
    let taints = taints.map(|one| ("--toleration", toleration_text(one)));
    let codes = given.accepted.iter();
    let codes = codes.map(|code| ("--accept", code.clone()));
    for (option, value) in labels.chain(taints).chain(codes) {
        text.push_str(&words([(option, Some(value))]));
    }
    text
}

fn words<const N: usize>(options: [(&str, Option<String>); N]) -> String {
    let given = options
        .into_iter()
        .filter_map(|(option, value)| Some(format!(" {option} {}", quoted(&value?))));
    given.collect()
}

/// Formats amounts as the user types them.
fn amounts(given: &[(String, String)]) -> Option<String> {
    let all: Vec<String> = given
        .iter()
        .map(|(name, amount)| format!("{name}={amount}"))
        .collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// Returns eight random hexadecimal digits.
fn identifier() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each hasher randomly.
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let digits = format!("{:016x}", hasher.finish());
    digits.chars().take(8).collect()
}

/// Returns the identity for the Lease: host name, process id and random digits.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.unwrap_or_else(|| "unnamed-host".to_owned());
    format!("{host}-{}-{}", std::process::id(), identifier())
}

/// Runs the work on a runtime with several threads.
pub(in crate::cli) fn block_on<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start the worker threads", &error))?;
    runtime.block_on(work)
}

/// Waits for the signal that stops the command. The next signal ends the process at once.
async fn signalled() -> Exit {
    let first = signal().await;
    tokio::spawn(async {
        let second = signal().await;
        std::process::exit(second.code().into());
    });
    output::inform("Finishing requests in flight; press Ctrl-C again to stop now\n");
    first
}

async fn signal() -> Exit {
    let received = |kind: SignalKind| async move {
        match tokio::signal::unix::signal(kind) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = received(SignalKind::interrupt()) => Exit::Interrupted,
        _ = received(SignalKind::terminate()) => Exit::Terminated,
        // The terminal was closed. nohup makes the process ignore that.
        _ = received(SignalKind::hangup()), if !ignores_hangup() => Exit::Terminated,
    }
}

/// Whether the process was started to ignore SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Shows progress on the terminal or in the log, asks for confirmation, and waits for signals.
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
            output::inform(&format!("{} {line}\n", meta_migrate::now()));
        }
    }

    fn log(&self, kind: JobKind, line: &str) {
        if self.is_json() {
            tracing::info!(step = kind.name(), "{line}");
        } else {
            output::inform(&format!("  {} | {line}\n", kind.name()));
        }
    }

    fn finding(&self, finding: &Finding) {
        let style = Style::for_stream(&std::io::stderr());
        let line = upgrade_output::finding(finding, style);
        if self.is_json() {
            self.message(&line);
        } else {
            output::inform(&format!("{line}\n"));
        }
    }

    fn confirm<'a>(&'a self, steps: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            if self.output.yes {
                return true;
            }
            output::inform(steps);
            confirm::is_wanted(self.output) && confirm::answer("Continue?").await
        })
    }

    fn stopped(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let signal = signalled().await;
            // It is set only once.
            let _ = self.signal.set(signal);
        })
    }
}

/// The text about changes if only earlier commands changed anything.
pub(in crate::cli) const BY_THIS_COMMAND: &str = "nothing by this command";

/// Returns the place of an upgrade's backup.
pub(in crate::cli) fn backup(state: &UpgradeState) -> Option<Box<str>> {
    state
        .has_backup
        .then(|| format!("{} in volume claim {}", state.backup_file, state.claim).into())
}

/// Turns an error of the API server into a failure with a hint.
pub(in crate::cli) fn failure(error: &ClientError) -> Failure {
    let failure = Failure::from_error(Exit::Failed, error);
    if error.is_forbidden() {
        return failure.hint("meta-migration preflight names every right that is missing");
    }
    failure
}

/// Turns a cause that all commands share into a failure.
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
        Cause::Driver(DriverError::UpgradeState { map, namespace, .. }) => {
            let kubectl = |verb: &str, what: &str| {
                format!("kubectl -n {namespace} {verb} configmap {map}   # {what}")
            };
            refused(Exit::PartWay, cause.to_string())
                .hint(kubectl("edit", "to correct it"))
                .hint(kubectl("delete", "then the same command, with -s and -t"))
        }
    }
}

/// The hint for missing permissions.
const GRANT: &str = "kubectl apply -n NAMESPACE -f deploy/rbac.yaml   # as an administrator: gives the service account \
                     meta-migration what is needed; bind its Role to whoever runs this";

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn command() -> Command {
        UpgradeOptions::augment_args(InstanceArgs::augment_args(Command::new("upgrade")))
    }

    /// Returns the options in the form that the next command repeats.
    fn repeated(line: &str) -> String {
        let matches = command().try_get_matches_from(line.split(' ')).unwrap();
        let place = InstanceArgs::from_arg_matches(&matches).unwrap();
        let aim = UpgradeOptions::from_arg_matches(&matches).unwrap();
        let namespace = place.namespace.as_deref().unwrap_or("data");
        let words = place.options(namespace, &aim).repeated;
        format!("{}{}", words.place, words.aim)
    }

    #[test]
    fn the_next_command_repeats_every_option() {
        for argument in command().get_arguments() {
            let name = argument.get_long().unwrap();
            let value = match name {
                // Each hint adds these itself.
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
