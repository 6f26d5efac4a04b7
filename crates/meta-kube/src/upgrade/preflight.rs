//! Entry point of preflight: collects the facts, inspects etcd, and returns the findings.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;

use super::super::progress::ProgressObserver;
use super::decide::draft;
use super::status::{meaning, resume_commands};
use crate::cause::Cause;
use crate::client::{Client, ClientError};
use crate::collect;
use crate::driver::saved_state;
use crate::job_kind::JobKind;
use crate::job_runner::{JobFailure, Runner, report};
use crate::lease::{Orchestrator, orchestrator};
use crate::leftovers::leftovers;
use crate::options::UpgradeOptions;
use crate::preflight::{
    PreflightReport, check_storage_roots, cluster_finding, is_restoring, report as preflight_report,
};
use crate::state::UpgradeState;
use crate::{config_name, job_name, manifest};
use meta_report::StatusReport;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;

/// Collects the facts and checks them; with `look`, Jobs also inspect etcd.
pub async fn preflight(
    client: &Client,
    options: &UpgradeOptions,
    look: bool,
    observer: &dyn ProgressObserver,
) -> Result<PreflightReport, Cause> {
    tokio::select! {
        found = run(client, options, look, observer) => found,
        () = observer.stopped() => {
            if let Err(error) = clear(client, &options.operation).await {
                let operation = &options.operation;
                tracing::warn!(%error, operation, "the Jobs of preflight may be left");
            }
            Err(Cause::Stopped)
        }
    }
}

async fn run(
    client: &Client,
    options: &UpgradeOptions,
    look: bool,
    observer: &dyn ProgressObserver,
) -> Result<PreflightReport, Cause> {
    let mut facts = collect::facts(client, options).await?;
    let holder = orchestrator(client, &options.instance).await?;
    facts.active_orchestrator = holder.filter(Orchestrator::is_alive).map(|one| one.holder);
    let mut state = draft(options, &facts);
    state.claim = String::new();
    state.etcd.tls.clone_from(&facts.tls);
    let etcd = state.etcd.clone();
    let may_inspect = look
        && facts.missing_rights.is_empty()
        && !etcd.endpoints.is_empty()
        && !facts.workloads.found.is_empty();
    let seen = if may_inspect {
        inspect_etcd(client, observer, options, &state).await?
    } else {
        EtcdInspection::default()
    };
    facts.metadata = seen.metadata;
    let mut report = preflight_report(&facts, options, etcd);
    let configured = facts.storage_root();
    let roots = configured.and_then(|configured| {
        check_storage_roots(&configured, &seen.storage_roots, &options.accepted)
    });
    report.add(seen.findings.into_iter().chain(roots));
    match saved_state(client, &options.instance).await {
        Ok(Some((state, _))) => add_unfinished(&mut report, &state, options),
        Ok(None) => {
            let left = leftovers(&facts, options);
            report.add(left.map(|left| cluster_finding(Severity::Notice, "left-over", left)));
        }
        Err(unreadable @ Cause::UpgradeState { .. }) => {
            report.add([error("upgrade-state", unreadable.to_string())]);
        }
        // The missing right is reported.
        Err(Cause::Client(error)) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    Ok(report)
}

fn error(code: &str, message: String) -> Finding {
    cluster_finding(Severity::Error, code, message)
}

#[derive(Default)]
struct EtcdInspection {
    metadata: Option<StatusReport>,
    /// The storage roots that the metadata refers to.
    storage_roots: Vec<String>,
    /// Warnings and errors of `plan`, or why a Job has no result.
    findings: Vec<Finding>,
}

/// Runs read-only Jobs, and deletes them and their configuration. If a migration could start,
/// `plan` finds what would prevent it.
async fn inspect_etcd(
    client: &Client,
    observer: &dyn ProgressObserver,
    options: &UpgradeOptions,
    state: &UpgradeState,
) -> Result<EtcdInspection, ClientError> {
    client.create(&manifest::config_map(state)).await?;
    let runner = Runner {
        client,
        observer,
        limit: options.limit,
    };
    let seen = inspect(&runner, options, state).await;
    clear(client, &state.operation).await?;
    seen
}

async fn inspect(
    runner: &Runner<'_>,
    options: &UpgradeOptions,
    state: &UpgradeState,
) -> Result<EtcdInspection, ClientError> {
    let mut seen = EtcdInspection::default();
    let run = |kind: JobKind, purpose: &'static str| {
        let name = job_name(kind.name(), &state.operation, 1);
        runner
            .observer
            .message(&format!("{purpose} with Job {name}"));
        runner.run(state, kind, 1)
    };
    let (output, why) = ended(run(JobKind::Status, "inspecting etcd").await)?;
    seen.metadata = report(&output).filter(|_| why.is_none());
    let Some(status) = &seen.metadata else {
        let nothing = || "the status Job printed no report".to_owned();
        let why = why.unwrap_or_else(nothing);
        seen.findings.push(error("status-job", why));
        return Ok(seen);
    };
    if !can_be_planned(status, options) {
        return Ok(seen);
    }
    let (output, why) = ended(run(JobKind::Plan, "planning the migration").await)?;
    if let Some(mut plan) = report::<PlanReport>(&output) {
        plan.findings
            .retain(|finding| finding.severity <= Severity::Warning);
        seen.findings = plan.findings;
        seen.storage_roots = plan.storage_roots;
    }
    // The errors of a plan say why it failed.
    let is_explained = seen.findings.iter().any(Finding::is_error);
    let why = why.filter(|_| !is_explained);
    seen.findings.extend(why.map(|why| error("plan", why)));
    Ok(seen)
}

/// Splits a Job's result into its output and the reason of its failure.
fn ended(ended: Result<String, JobFailure>) -> Result<(String, Option<String>), ClientError> {
    match ended {
        Ok(output) => Ok((output, None)),
        Err(JobFailure::Ended { why, output, .. }) => Ok((output, Some(why))),
        Err(JobFailure::StillRunning(why)) => Ok((String::new(), Some(why))),
        Err(JobFailure::Client(error)) => Err(error),
    }
}

/// Whether there is metadata to plan for, and the status shows no blocker. For 2.2 metadata, the
/// plan says whether it is complete and readable for the target.
fn can_be_planned(status: &StatusReport, options: &UpgradeOptions) -> bool {
    let has_plan = match status.layout {
        Layout::V2_1 | Layout::Staged | Layout::Mixed => true,
        Layout::V2_2 => options.target.is_some(),
        Layout::Empty => false,
    };
    has_plan
        && !is_restoring(status)
        && status.lock.is_none()
        && status.journal_error.is_none()
        && status.etcd.alarms.is_empty()
}

/// Deletes the Jobs and their configuration.
async fn clear(client: &Client, operation: &str) -> Result<(), ClientError> {
    for kind in [JobKind::Status, JobKind::Plan] {
        let name = job_name(kind.name(), operation, 1);
        client.delete::<Job>(&name).await?;
    }
    client.delete::<ConfigMap>(&config_name(operation)).await
}

/// Adds an unfinished upgrade to the report, with the next commands.
fn add_unfinished(report: &mut PreflightReport, state: &UpgradeState, options: &UpgradeOptions) {
    if state.stage.is_final() {
        return;
    }
    let untouched = state.stage.row().untouched;
    // The saved state has the counts.
    report
        .findings
        .retain(|one| !matches!(one.code.as_str(), "all-stopped" | "noted"));
    let severity = if untouched {
        Severity::Warning
    } else {
        Severity::Error
    };
    let message = format!(
        "an upgrade from {} to {} is unfinished ({}): {}",
        state.source_version,
        state.target_version,
        state.stage.name(),
        meaning(state)
    );
    report.add([cluster_finding(severity, "unfinished", message)]);
    if !untouched {
        report.next = resume_commands(state, options).join(", or ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Facts;
    use crate::stage::Stage;
    use crate::state::EtcdTarget;
    use crate::state::tests::example;

    fn reported_in(stage: Stage) -> PreflightReport {
        let mut facts = Facts {
            instance: "prod".to_owned(),
            ..Facts::default()
        };
        facts.workloads.found = example().workloads;
        facts.workloads.found[0].replicas = 0;
        facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
        let mut reported =
            preflight_report(&facts, &UpgradeOptions::default(), EtcdTarget::default());
        let state = UpgradeState { stage, ..example() };
        let mut options = UpgradeOptions::default();
        " -i prod -n data".clone_into(&mut options.repeated.place);
        add_unfinished(&mut reported, &state, &options);
        reported
    }

    fn codes(report: &PreflightReport) -> Vec<&str> {
        let all = report.findings.iter();
        all.map(|one| one.code.as_str()).collect()
    }

    #[test]
    fn an_unfinished_upgrade_is_reported_with_commands() {
        let reported = reported_in(Stage::VERIFY);
        assert_eq!(
            codes(&reported),
            ["unfinished"],
            "the saved state has the counts"
        );
        assert!(!reported.ok);
        assert_eq!(
            reported.next,
            "meta-migration upgrade -i prod -n data -o resume, or meta-migration upgrade -i prod -n data -o rollback"
        );
        assert_eq!(codes(&reported_in(Stage::ROLLED_BACK)), ["all-stopped"]);
    }

    #[test]
    fn an_unstarted_upgrade_does_not_block() {
        let reported = reported_in(Stage::PLAN);
        assert_eq!(codes(&reported), ["unfinished"]);
        assert!(reported.next.contains("preflight"), "{}", reported.next);
    }
}
