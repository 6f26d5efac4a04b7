//! Preflight: the facts, a look into etcd, and the judgement.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;

use super::super::job::{JobFailure, Runner, report};
use super::super::{Audience, OperationError, recorded};
use super::unfinished::tell_unfinished;
use super::{Request, draft, with_secrets};
use crate::finding::Severity;
use crate::kubernetes::cluster::{Cluster, ClusterError};
use crate::kubernetes::job_kind::JobKind;
use crate::kubernetes::preflight::{Concern, PreflightReport, report as judged};
use crate::kubernetes::record::Record;
use crate::kubernetes::{config_name, job_name, manifest, survey};
use crate::report::StatusReport;

/// Collects the facts and judges them; with `look`, a Job asks etcd, too.
///
/// # Errors
/// When the facts cannot be collected.
pub async fn preflight(
    cluster: &Cluster,
    audience: &dyn Audience,
    request: &Request,
    look: bool,
) -> Result<PreflightReport, OperationError> {
    let claim = request.claim_name();
    let mut facts = survey::facts(cluster, request.scope(&claim)).await?;
    facts.at_work = survey::at_work(cluster, &request.instance).await?;
    let mut record = draft(&facts, request);
    record.claim = String::new();
    let secret_hidden = facts
        .missing_rights
        .iter()
        .any(|right| right.resource == "secrets");
    if !secret_hidden {
        record = with_secrets(cluster, request, record).await?;
    }
    let etcd = record.etcd.clone();
    let may_look = look
        && facts.missing_rights.is_empty()
        && !etcd.endpoints.is_empty()
        && !facts.workloads.found.is_empty();
    let mut failure = None;
    let metadata: Option<StatusReport> = if may_look {
        match look_into_etcd(cluster, audience, request, &record).await? {
            Ok(status) => Some(status),
            Err(why) => {
                failure = Some(why);
                None
            }
        }
    } else {
        None
    };
    let mut report = judged(&facts, &request.asked, etcd, metadata);
    if let Some(why) = failure {
        stand_in_the_way(&mut report, "status-job", why);
    }
    match recorded(cluster, &request.instance).await {
        Ok(Some((record, _))) => {
            tell_unfinished(&mut report, &record, &request.asked.words.place);
        }
        Ok(None) => {}
        Err(OperationError::Record(why)) => stand_in_the_way(&mut report, "record", why),
        // The missing right is told.
        Err(OperationError::Cluster(error)) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    report.sort_out();
    Ok(report)
}

fn stand_in_the_way(report: &mut PreflightReport, code: &str, message: String) {
    let concern = Concern {
        severity: Severity::Error,
        code: code.to_owned(),
        message,
    };
    report.add(concern);
    report.next = format!("fix the errors above, then run {}", report.again);
}

/// A Job that only reads, and takes everything with it that it needed.
async fn look_into_etcd(
    cluster: &Cluster,
    audience: &dyn Audience,
    request: &Request,
    record: &Record,
) -> Result<Result<StatusReport, String>, ClusterError> {
    cluster.create(&manifest::config_map(record)).await?;
    let runner = Runner {
        cluster,
        audience,
        limit: request.limit,
    };
    let looked = runner.run(record, JobKind::Status, 1).await;
    clear(cluster, &record.operation).await?;
    match looked {
        Ok(text) => Ok(report(&text).ok_or_else(|| "the status Job told nothing".to_owned())),
        Err(JobFailure::Ended { why, .. } | JobFailure::StillRunning(why)) => Ok(Err(why)),
        Err(JobFailure::Cluster(error)) => Err(error),
    }
}

/// Removes what a look into etcd made.
///
/// # Errors
/// Of the requests.
pub async fn clear(cluster: &Cluster, operation: &str) -> Result<(), ClusterError> {
    let name = job_name(JobKind::Status.name(), operation, 1);
    cluster.delete::<Job>(&name).await?;
    cluster.delete::<ConfigMap>(&config_name(operation)).await
}
