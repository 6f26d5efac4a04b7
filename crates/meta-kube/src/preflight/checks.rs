//! The checks that find what blocks an upgrade, or should be known before it.

use super::{Facts, target};
use crate::condition::{is_paused, rollout_complete};
use crate::discovery::image_version;
use crate::options::{PodUser, UpgradeOptions, severity};
use crate::start_checks::paused;
use crate::state::EtcdTarget;
use meta_report::StatusReport;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::release::Release;

mod external_controllers;
mod limit_ranges;
mod missing_rights;
mod quotas;
mod releases;
mod scaled_down;
mod storage_roots;

use external_controllers::{check_helm, check_owners, check_scalers};
use limit_ranges::check_limit_ranges;
pub(crate) use missing_rights::missing_rights;
use quotas::check_quotas;
pub(crate) use releases::{CODE as RELEASES, release_findings};
use scaled_down::{check_stopped, started};
pub(crate) use storage_roots::check_storage_roots;

/// A finding about the cluster, which has no key.
pub(crate) fn cluster_finding(severity: Severity, code: &str, message: String) -> Finding {
    Finding {
        severity,
        code: code.to_owned(),
        key: String::new(),
        message,
    }
}

/// Sorts findings: the worst first, then by code.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (a.severity, &a.code).cmp(&(b.severity, &b.code)));
}

struct Findings<'a> {
    accepted: &'a [String],
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, severity: Severity, code: &str, message: String) {
        self.all.push(cluster_finding(severity, code, message));
    }

    fn error(&mut self, code: &str, message: String) {
        self.add(severity(self.accepted, code), code, message);
    }

    fn warning(&mut self, code: &str, message: String) {
        self.add(Severity::Warning, code, message);
    }

    fn notice(&mut self, code: &str, message: String) {
        self.add(Severity::Notice, code, message);
    }

    fn sorted(mut self) -> Vec<Finding> {
        sort(&mut self.all);
        self.all
    }
}

/// Checks the facts about the cluster.
pub(crate) fn check(facts: &Facts, options: &UpgradeOptions) -> Vec<Finding> {
    let mut findings = Findings {
        accepted: &options.accepted,
        all: Vec::new(),
    };
    check_rights(facts, &mut findings);
    check_workloads(facts, &mut findings);
    if is_nowhere(facts) {
        // Everything else would be a consequence.
        return findings.sorted();
    }
    if let Some(holder) = &facts.active_orchestrator {
        let message = format!("another orchestrator is running for this instance: {holder}");
        findings.error("at-work", message);
    }
    check_user(facts, options, &mut findings);
    check_stopped(facts, &mut findings);
    check_versions(facts, options, &mut findings);
    check_etcd(facts, options, &mut findings);
    check_owners(facts, &mut findings);
    check_helm(facts, &mut findings);
    check_scalers(facts, &mut findings);
    check_storage(facts, options, &mut findings);
    check_limit_ranges(facts, options, &mut findings);
    check_quotas(facts, options, &mut findings);
    findings.sorted()
}

/// Checks what a Job found in etcd; `runs` says whether Milvus runs.
pub(crate) fn check_metadata(
    status: &StatusReport,
    target: &EtcdTarget,
    accepted: &[String],
    runs: bool,
) -> Vec<Finding> {
    let mut findings = Findings {
        accepted,
        all: Vec::new(),
    };
    let root = format!("{}/{}", target.root_path, target.meta_sub_path);
    match status.layout {
        Layout::Empty if status.sessions.is_empty() => findings.error(
            "nothing-in-etcd",
            format!("etcd contains no metadata below {root}: check -r"),
        ),
        Layout::V2_2 => findings.warning(
            "already-2-2",
            format!("the metadata below {root} has the 2.2 layout already"),
        ),
        // The plan decides whether the records of both layouts contradict each other.
        Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::Empty => {}
    }
    if runs && status.sessions.is_empty() && status.layout != Layout::Empty {
        let message = format!(
            "Milvus runs, but no component of it is registered below {root}/session: is it another \
             instance's root path, or another etcd?"
        );
        findings.error("no-sessions", message);
    }
    if is_restoring(status) {
        let message = format!(
            "a restore of the metadata below {root} is unfinished: do not start any Milvus component until it is finished"
        );
        findings.error("unfinished-restore", message);
    }
    if let Some(why) = &status.journal_error {
        let message = format!("the journal of a migration cannot be read: {why}");
        findings.error("journal", message);
    }
    for alarm in &status.etcd.alarms {
        findings.error("etcd-alarm", format!("etcd has raised the alarm {alarm}"));
    }
    if let Some(lock) = &status.lock {
        let message = format!("another migration holds the lock {}", lock.key);
        findings.error("lock-held", message);
    }
    findings.sorted()
}

/// Whether a restore is unfinished; then the layout is meaningless.
pub(crate) fn is_restoring(status: &StatusReport) -> bool {
    let journal = status.journal.as_ref();
    journal.is_some_and(|journal| journal["phase"] == "restoring")
}

fn check_rights(facts: &Facts, findings: &mut Findings<'_>) {
    let missing = missing_rights(&facts.missing_rights, &facts.namespace);
    findings.all.extend(missing);
    if !facts.unseen.is_empty() {
        let message = format!(
            "not checked, because listing or reading them is not permitted: {}",
            facts.unseen.join(", ")
        );
        findings.notice("unseen", message);
    }
}

fn check_workloads(facts: &Facts, findings: &mut Findings<'_>) {
    let workloads = &facts.workloads;
    if is_nowhere(facts) {
        findings.error("no-instance", no_instance(facts));
    }
    for problem in &workloads.ambiguous {
        findings.error("unclear-container", problem.clone());
    }
    for workload in &workloads.found {
        let name = &workload.name;
        let pods = facts.pods.get(name).into_iter().flatten();
        for pod in pods.filter(|pod| pod.image != workload.image) {
            let message = format!(
                "pod {} runs {}, its Deployment says {}",
                pod.name, pod.image, workload.image
            );
            findings.warning("pod-image", message);
        }
        let Some(deployment) = facts.deployment(name) else {
            continue;
        };
        if !is_paused(deployment)
            && let Err(reason) = rollout_complete(deployment)
        {
            findings.error("not-at-rest", format!("Deployment {name}: {reason}"));
        }
    }
    let deployments = workloads.found.iter();
    let deployments = deployments.filter_map(|one| facts.deployment(&one.name));
    if let Some(hint) = paused(&facts.namespace, deployments, None) {
        findings.error("paused", hint);
    }
}

/// Whether nothing of the instance was found, although Deployments can be listed.
fn is_nowhere(facts: &Facts) -> bool {
    let may_list = facts.may_read(&["deployments"]);
    let workloads = &facts.workloads;
    workloads.found.is_empty()
        && workloads.ambiguous.is_empty()
        && facts.resource.is_none()
        && may_list
}

pub(crate) fn no_instance(facts: &Facts) -> String {
    format!(
        "no Milvus Deployment of instance {} in namespace {}{}",
        facts.instance,
        facts.namespace,
        facts.other_instances()
    )
}

/// Reports a user id that the platform (OpenShift) would reject, because it assigns the users of
/// pods itself.
fn check_user(facts: &Facts, options: &UpgradeOptions, findings: &mut Findings<'_>) {
    let range = facts.user_range.as_deref();
    match options.pods.user {
        Some(PodUser::Id(id)) if range.is_some_and(|range| !lies_in(id, range)) => {
            let message = format!(
                "--run-as-user {id} is outside of the range that namespace {} assigns ({}): OpenShift \
                 rejects such pods unless the service account may use anyuid; --run-as-user namespace \
                 leaves the user out",
                facts.namespace,
                range.unwrap_or_default()
            );
            findings.warning("assigned-user", message);
        }
        Some(PodUser::Id(_)) => {}
        None | Some(PodUser::Namespace) if facts.assigns_users() => findings.notice(
            "assigned-user",
            format!(
                "OpenShift assigns the user ids of namespace {}{}: the Jobs' pods leave runAsUser, runAsGroup \
                 and fsGroup out",
                facts.namespace,
                range.map(|range| format!(" ({range})")).unwrap_or_default()
            ),
        ),
        None | Some(PodUser::Namespace) => {}
    }
}

/// Whether an id is in a range, `first/count` or `first-last`; ranges of another form are not checked.
fn lies_in(id: i64, range: &str) -> bool {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let bounds = match (range.split_once('/'), range.split_once('-')) {
        (Some((first, count)), _) => number(first)
            .zip(number(count))
            .map(|(a, n)| (a, a + n - 1)),
        (None, Some((first, last))) => number(first).zip(number(last)),
        (None, None) => None,
    };
    bounds.is_none_or(|(first, last)| (first..=last).contains(&id))
}

fn check_versions(facts: &Facts, options: &UpgradeOptions, findings: &mut Findings<'_>) {
    if let Some(source) = &options.source {
        let all = facts
            .workloads
            .found
            .iter()
            .filter(|_| !facts.is_operator_managed);
        let operators = facts.serving().filter(|_| facts.is_operator_managed);
        for workload in all.chain(operators) {
            let (name, image) = (&workload.name, &workload.image);
            let version = tagged(image, &format!(" of {name}"), findings);
            if let Some(version) = version.filter(|one| one.triple() != source.triple()) {
                let started = started(facts, workload);
                let message =
                    format!("Deployment {name} runs {version} ({image}), not {source}{started}");
                findings.error("source-version", message);
            }
        }
    }
    if let (Some(target), Some(image)) = (&options.target, &options.image) {
        let version = tagged(image, "", findings);
        if let Some(version) = version.filter(|one| one.triple() != target.triple()) {
            let message = format!("image {image} is {version}, not {target}");
            findings.error("target-version", message);
        }
    }
}

/// The release in an image's tag; an image without one is reported.
fn tagged(image: &str, of: &str, findings: &mut Findings<'_>) -> Option<Release> {
    let version = image_version(image);
    if version.is_none() {
        let message = format!("image {image}{of} has no version in its tag");
        findings.warning("unknown-version", message);
    }
    version
}

fn check_etcd(facts: &Facts, options: &UpgradeOptions, findings: &mut Findings<'_>) {
    let configured = &facts.configured;
    if let Some(problem) = &facts.configured_problem {
        findings.warning("configuration", problem.clone());
    }
    if let Some(store) = &configured.metastore
        && !store.eq_ignore_ascii_case("etcd")
    {
        let message = format!("Milvus keeps its metadata in {store}: only etcd can be migrated");
        findings.error("metastore", message);
    }
    for (what, given, configured) in [
        ("root path", &options.root_path, &configured.root_path),
        (
            "meta sub-path",
            &options.meta_sub_path,
            &configured.meta_sub_path,
        ),
    ] {
        if let (Some(given), Some(configured)) = (given, configured)
            && given != configured
        {
            let message =
                format!("the {what} {given} is given, but Milvus is configured with {configured}");
            findings.error("root-path", message);
        }
    }
    if let (Some(given), Some(configured)) = (&options.endpoints, &configured.endpoints)
        && given != configured
    {
        let message = format!(
            "etcd at {} is given, but Milvus is configured with {}: check that it is the same etcd",
            given.join(","),
            configured.join(",")
        );
        findings.warning("etcd-address", message);
    }
    if let Some(name) = &options.tls_secret
        && facts.tls.is_none()
        && facts.may_read(&["secrets"])
    {
        let message = format!("the Secret {name} with etcd's certificates is missing");
        findings.error("etcd-tls-secret", message);
    }
    let may_read = facts.may_read(&["deployments", "configmaps", "services"]);
    if target(facts, options).endpoints.is_empty() && may_read {
        findings.error(
            "etcd-address",
            "the address of etcd is unknown: use --etcd-endpoints".to_owned(),
        );
    }
}

fn check_storage(facts: &Facts, options: &UpgradeOptions, findings: &mut Findings<'_>) {
    let storage = &facts.storage;
    if let Some(problem) = &storage.problem {
        findings.warning("backup-volume", problem.clone());
    }
    if storage.exists || storage.claim.is_empty() {
        return;
    }
    if options.claim.is_some() {
        let message = format!("the volume claim {} does not exist", storage.claim);
        findings.error("backup-volume", message);
        return;
    }
    let Some(classes) = &storage.classes else {
        return;
    };
    let available = match classes.as_slice() {
        [] => "none".to_owned(),
        classes => classes.join(", "),
    };
    match &options.storage_class {
        Some(wanted) if !wanted.is_empty() && !classes.contains(wanted) => findings.error(
            "storage-class",
            format!("storage class {wanted} does not exist; available: {available}"),
        ),
        None if storage.default_class.is_none() => findings.warning(
            "storage-class",
            format!(
                "no storage class is marked as the default: name a class with -c, or a claim with --backup-pvc, \
                 unless a volume is reserved for the backup's claim; available: {available}"
            ),
        ),
        Some(_) | None => {}
    }
}
