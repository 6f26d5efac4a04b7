//! The door of preflight: the facts, a look into etcd, and the findings.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;

use super::super::progress::ProgressObserver;
use super::Cause;
use super::decide::draft;
use super::status::{meaning, ways_on};
use crate::cluster::{Cluster, ClusterError};
use crate::job_kind::JobKind;
use crate::operation::job::{JobFailure, Runner, report};
use crate::operation::{OperationError, recorded};
use crate::options::UpgradeOptions;
use crate::preflight::{PreflightReport, about_cluster, report as judged};
use crate::record::Record;
use crate::survey::{self, Scope};
use crate::traces::left_over;
use crate::{config_name, job_name, manifest};
use meta_report::StatusReport;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::layout::Layout;
use milvus_meta::transform::PlanReport;

/// Collects the facts and judges them; with `look`, a Job asks etcd, too.
///
/// # Errors
/// When the facts cannot be collected.
pub async fn preflight(
    client: &Cluster,
    options: &UpgradeOptions,
    look: bool,
    observer: &dyn ProgressObserver,
) -> Result<PreflightReport, Cause> {
    tokio::select! {
        found = work(client, options, look, observer) => Ok(found?),
        () = observer.stopped() => {
            if let Err(error) = clear(client, &options.operation).await {
                let operation = &options.operation;
                tracing::warn!(%error, operation, "the Jobs of preflight may be left");
            }
            Err(Cause::Stopped)
        }
    }
}

async fn work(
    cluster: &Cluster,
    options: &UpgradeOptions,
    look: bool,
    observer: &dyn ProgressObserver,
) -> Result<PreflightReport, OperationError> {
    let claim = options.claim_name();
    let scope = Scope {
        instance: &options.instance,
        selector: options.selector.as_deref(),
        claim: &claim,
        secret: options.tls_secret.as_deref(),
    };
    let mut facts = survey::facts(cluster, scope).await?;
    facts.at_work = survey::at_work(cluster, &options.instance).await?;
    let mut record = draft(options, &facts);
    record.claim = String::new();
    record.etcd.tls.clone_from(&facts.tls);
    let etcd = record.etcd.clone();
    let may_look = look
        && facts.missing_rights.is_empty()
        && !etcd.endpoints.is_empty()
        && !facts.workloads.found.is_empty();
    let seen = if may_look {
        look_into_etcd(cluster, observer, options, &record).await?
    } else {
        Seen::default()
    };
    let mut report = judged(&facts, options, etcd, seen.metadata);
    if let Some((code, why)) = seen.failure {
        stand_in_the_way(&mut report, code, why);
    }
    seen.planned
        .into_iter()
        .for_each(|finding| report.add(finding));
    match recorded(cluster, &options.instance).await {
        Ok(Some((record, _))) => {
            add_unfinished(&mut report, &record, options);
        }
        Ok(None) => {
            if let Some(left) = left_over(&facts, options) {
                report.add(about_cluster(Severity::Notice, "left-over", left));
            }
        }
        Err(OperationError::Record(why)) => stand_in_the_way(&mut report, "record", why),
        // The missing right is reported.
        Err(OperationError::Cluster(error)) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    report.sort_out();
    Ok(report)
}

fn stand_in_the_way(report: &mut PreflightReport, code: &str, message: String) {
    report.add(about_cluster(Severity::Error, code, message));
    report.next = format!("fix the errors above, then run {}", report.again);
}

/// What the Jobs found in etcd.
#[derive(Default)]
struct Seen {
    metadata: Option<StatusReport>,
    /// Warnings and errors of `plan`.
    planned: Vec<Finding>,
    /// Why a Job found nothing, with the code of the finding.
    failure: Option<(&'static str, String)>,
}

/// Runs Jobs that only read, and removes everything that they needed. Where a migration can start, `plan` finds
/// what would refuse it.
async fn look_into_etcd(
    cluster: &Cluster,
    observer: &dyn ProgressObserver,
    options: &UpgradeOptions,
    record: &Record,
) -> Result<Seen, ClusterError> {
    cluster.create(&manifest::config_map(record)).await?;
    let runner = Runner {
        cluster,
        audience: observer,
        limit: options.limit,
    };
    let seen = inspect(&runner, record).await;
    clear(cluster, &record.operation).await?;
    seen
}

async fn inspect(runner: &Runner<'_>, record: &Record) -> Result<Seen, ClusterError> {
    let mut seen = Seen::default();
    match output(runner.run(record, JobKind::Status, 1).await)? {
        Ok(text) => seen.metadata = report(&text),
        Err(why) => seen.failure = Some(("status-job", why)),
    }
    let Some(status) = &seen.metadata else {
        let nothing = || ("status-job", "the status Job printed no report".to_owned());
        seen.failure.get_or_insert_with(nothing);
        return Ok(seen);
    };
    if !can_be_planned(status) {
        return Ok(seen);
    }
    match output(runner.run(record, JobKind::Plan, 1).await)? {
        Ok(text) => {
            let findings = report::<PlanReport>(&text).map(|plan| plan.findings);
            let findings = findings.unwrap_or_default().into_iter();
            seen.planned = findings
                .filter(|finding| finding.severity <= Severity::Warning)
                .collect();
        }
        Err(why) => seen.failure = Some(("plan", why)),
    }
    Ok(seen)
}

/// What a Job reported, or why it failed.
fn output(ended: Result<String, JobFailure>) -> Result<Result<String, String>, ClusterError> {
    match ended {
        Ok(text) => Ok(Ok(text)),
        Err(JobFailure::Ended { why, .. } | JobFailure::StillRunning(why)) => Ok(Err(why)),
        Err(JobFailure::Cluster(error)) => Err(error),
    }
}

/// Whether there is metadata to plan for, and nothing that the status shows blocks it already.
fn can_be_planned(status: &StatusReport) -> bool {
    matches!(status.layout, Layout::V2_1 | Layout::Staged)
        && status.lock.is_none()
        && status.journal_error.is_none()
        && status.etcd.alarms.is_empty()
}

/// Removes what the Jobs needed, and them.
async fn clear(cluster: &Cluster, operation: &str) -> Result<(), ClusterError> {
    for kind in [JobKind::Status, JobKind::Plan] {
        let name = job_name(kind.name(), operation, 1);
        cluster.delete::<Job>(&name).await?;
    }
    cluster.delete::<ConfigMap>(&config_name(operation)).await
}

/// Adds an unfinished upgrade to the report, with the commands that lead on.
fn add_unfinished(report: &mut PreflightReport, record: &Record, options: &UpgradeOptions) {
    if record.stage.is_final() {
        return;
    }
    let untouched = record.stage.row().untouched;
    // The record knows the counts.
    report
        .concerns
        .retain(|one| !matches!(one.code.as_str(), "all-stopped" | "noted"));
    let severity = if untouched {
        Severity::Warning
    } else {
        Severity::Error
    };
    let message = format!(
        "an upgrade from {} to {} is unfinished ({}): {}",
        record.source_version,
        record.target_version,
        record.stage.name(),
        meaning(record)
    );
    report.add(about_cluster(severity, "unfinished", message));
    if !untouched {
        report.next = ways_on(record, options).join(", or ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Facts;
    use crate::record::EtcdTarget;
    use crate::record::tests::example;
    use crate::stage::Stage;

    fn told_in(stage: Stage) -> PreflightReport {
        let mut facts = Facts {
            instance: "prod".to_owned(),
            ..Facts::default()
        };
        facts.workloads.found = example().workloads;
        facts.workloads.found[0].replicas = 0;
        facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
        let mut told = judged(
            &facts,
            &UpgradeOptions::default(),
            EtcdTarget::default(),
            None,
        );
        let record = Record { stage, ..example() };
        let mut options = UpgradeOptions::default();
        " -i prod -n data".clone_into(&mut options.words.place);
        add_unfinished(&mut told, &record, &options);
        told
    }

    fn codes(report: &PreflightReport) -> Vec<&str> {
        let all = report.concerns.iter();
        all.map(|one| one.code.as_str()).collect()
    }

    #[test]
    fn an_unfinished_upgrade_is_told_with_the_commands_that_lead_on() {
        let told = told_in(Stage::VERIFY);
        assert_eq!(codes(&told), ["unfinished"], "the record knows the counts");
        assert!(!told.ok);
        assert_eq!(
            told.next,
            "meta-migration upgrade -i prod -n data -o resume, or meta-migration upgrade -i prod -n data -o rollback"
        );
        assert_eq!(codes(&told_in(Stage::ROLLED_BACK)), ["all-stopped"]);
    }

    #[test]
    fn one_that_touched_nothing_yet_hinders_nobody() {
        let told = told_in(Stage::PLAN);
        assert_eq!(codes(&told), ["unfinished"]);
        assert!(told.next.contains("preflight"), "{}", told.next);
    }
}
