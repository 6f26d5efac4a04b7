//! The options, prompts and failures that the Kubernetes commands share.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use super::context::host_name;
use super::options::OutputOptions;
use super::output;
use super::output::LogFormat;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::findings;
use super::output::style::Style;
use super::{confirm, signals};
use crate::config;
use meta_kube::cause::{Cause, Refusal};
use meta_kube::client::{Client, ClientError};
use meta_kube::job_kind::JobKind;
use meta_kube::options::{Access, RepeatedOptions, UpgradeOptions, toleration_text};
use meta_kube::progress::Answer;
use meta_kube::progress::ProgressObserver;
use meta_migrate::Signal;
use meta_report::shell::option_text;
use milvus_meta::finding::Finding;

const DEFAULT_TIMEOUT: &str = "15m";

/// The cluster, namespace and instance.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which instance")]
pub(in crate::cli) struct InstanceArgs {
    /// Name of the instance: the Helm release, or the Milvus custom resource
    #[arg(short = 'i', long, value_name = "NAME")]
    pub(in crate::cli) instance: String,
    #[command(flatten)]
    pub(in crate::cli) access: Access,
    /// Label selector that finds the Deployments [default: app.kubernetes.io/instance=INSTANCE]
    #[arg(long, value_name = "SELECTOR")]
    pub(in crate::cli) selector: Option<String>,
    /// Timeout per wait, for example 15m
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_TIMEOUT, value_parser = config::duration::positive)]
    pub(in crate::cli) timeout: Duration,
}

impl InstanceArgs {
    pub(in crate::cli) async fn connect(&self) -> Result<Client, Failure> {
        let connected = Client::connect(&self.access, self.source());
        connected.await.map_err(|error| failure(&error))
    }

    /// Returns the source of the API server's address and the credentials.
    fn source(&self) -> String {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let default = || Some(PathBuf::from(variable("HOME")?).join(".kube/config"));
        let given = self.access.kubeconfig.clone();
        let path = given
            .or_else(|| variable("KUBECONFIG").map(PathBuf::from))
            .or_else(|| default().filter(|path| path.exists()));
        path.map_or_else(
            || "service account of the pod".to_owned(),
            |path| format!("kubeconfig {}", path.display()),
        )
    }

    /// Returns the cluster and instance as arguments of the next command.
    pub(in crate::cli) fn repeated(&self, namespace: &str) -> String {
        let access = &self.access;
        let path = access.kubeconfig.as_ref();
        let timeout = config::duration::parse(DEFAULT_TIMEOUT).ok();
        words([
            ("-i", Some(self.instance.clone())),
            ("-n", Some(namespace.to_owned())),
            ("--selector", self.selector.clone()),
            ("--context", access.context.clone()),
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
    let single = words([
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
    let repeated = labels.chain(taints).chain(codes);
    single + &words(repeated.map(|(option, value)| (option, Some(value))))
}

fn words<'o>(options: impl IntoIterator<Item = (&'o str, Option<String>)>) -> String {
    let given = options.into_iter();
    given
        .filter_map(|(option, value)| Some(option_text(option, &value?)))
        .collect()
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
    format!("{}-{}-{}", host_name(), std::process::id(), identifier())
}

/// Shows progress on the terminal or in the log, asks for confirmation, and waits for signals.
pub(in crate::cli) struct Terminal<'a> {
    output: &'a OutputOptions,
    signal: OnceLock<Signal>,
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

    fn findings(&self, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        let lines = findings::lines(findings, Style::for_stream(&std::io::stderr()));
        if self.is_json() {
            lines.iter().for_each(|line| self.message(line));
        } else {
            output::inform(&(lines.join("\n") + "\n"));
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
            let Ok(stop) = signals::listen() else {
                return std::future::pending().await;
            };
            // It is set only once.
            let _ = self.signal.set(stop.wait().await);
        })
    }
}

/// The text about changes if only earlier commands changed anything.
pub(in crate::cli) const BY_THIS_COMMAND: &str = "nothing by this command";

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
        Cause::Client(error) => failure(error),
        Cause::Held(_) => refused(Exit::Refused, cause.to_string()),
        Cause::LeaseLost => Failure::new(Exit::Refused, cause.to_string()),
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
            let signal = terminal.signal.get().copied().unwrap_or(Signal::Terminate);
            refused(signals::exit(signal), cause.to_string())
        }
        Cause::UpgradeState { map, namespace, .. } => {
            let kubectl = |verb: &str, what: &str| {
                format!("kubectl -n {namespace} {verb} configmap {map}   # {what}")
            };
            refused(Exit::PartWay, cause.to_string())
                .hint(kubectl("edit", "to correct it"))
                .hint(kubectl("delete", "then the same command, with -s and -t"))
        }
    }
}

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
        let namespace = place.access.namespace.as_deref().unwrap_or("data");
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
                "backup-size" => "20Gi",
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
