//! Which operation a command line means: a new one, the unfinished one, or the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::Value;

use super::job::{JobFailure, Runner, report};
use super::{Audience, OperationError, shape_of};
use crate::finding::Severity;
use crate::kubernetes::cluster::{Cluster, ClusterError};
use crate::kubernetes::manifest::step::Step;
use crate::kubernetes::preflight::{
    Asked, Facts, PreflightReport, judge, report as judged, target,
};
use crate::kubernetes::record::{RECORD_VERSION, Record, SavedResource, Wanted};
use crate::kubernetes::stage::{Policy, Stage, resumed, turned_back};
use crate::kubernetes::{
    BACKUP_FOLDER, claim_name, config_name, discovery, manifest, operator, survey,
};
use crate::report::StatusReport;

/// Everything that a command line says.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The instance.
    pub instance: String,
    /// What has to fit the cluster.
    pub asked: Asked,
    /// The Jobs' image.
    pub tool_image: String,
    /// A selector other than the instance's label.
    pub selector: Option<String>,
    /// A pull secret besides those of Milvus.
    pub pull_secret: Option<String>,
    /// Secret with etcd's user and password.
    pub credentials: Option<String>,
    /// Secret with etcd's certificates.
    pub tls_secret: Option<String>,
    /// A claim for backups that is there already.
    pub claim: Option<String>,
    /// The size of a claim that is made.
    pub claim_size: String,
    /// Its storage class.
    pub storage_class: Option<String>,
    /// What happens after failures.
    pub policy: Policy,
    /// The longest that is waited for one thing.
    pub limit: Duration,
    /// A new operation's id: eight hexadecimal digits.
    pub operation: String,
    /// Now, RFC 3339.
    pub now: String,
}

impl Request {
    fn wanted(&self) -> Wanted {
        Wanted {
            source_version: self.asked.source.as_ref().map(ToString::to_string),
            target_version: self.asked.target.as_ref().map(ToString::to_string),
            image: self.asked.image.clone(),
            root_path: self.asked.root_path.clone(),
        }
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, OperationError> {
    Err(OperationError::Refused(why.into()))
}

/// The record that `migrate` continues or begins with, given the one that is there.
///
/// # Errors
/// [`OperationError::Refused`] when an unfinished upgrade has another aim.
pub fn going_on(
    existing: Option<&Record>,
    request: &Request,
) -> Result<Option<Record>, OperationError> {
    let Some(record) = existing.filter(|record| !record.stage.is_final()) else {
        return Ok(None);
    };
    if let Some(difference) = record.disagreement(&request.wanted()) {
        return refused(format!(
            "an unfinished upgrade of {} has another aim: {difference}; go on with the same, or -o rollback",
            record.instance
        ));
    }
    Ok(Some(resume(record, request)))
}

/// The record with which an unfinished operation goes on.
#[must_use]
pub fn resume(record: &Record, request: &Request) -> Record {
    let mut policy = record.policy;
    policy.rollback_on_failure |= request.policy.rollback_on_failure;
    policy.accept_loss |= request.policy.accept_loss;
    Record {
        stage: resumed(record.stage),
        policy,
        // A new attempt tells its own failure; the way back keeps the one that led there.
        failure: record
            .failure
            .clone()
            .filter(|_| record.stage.is_way_back()),
        ..record.clone()
    }
}

/// The record with which the way back begins or goes on; `facts` are those of a finished upgrade.
///
/// # Errors
/// [`OperationError::Refused`] when there is nothing to go back from.
pub fn going_back(
    existing: Option<&Record>,
    facts: &Facts,
    request: &Request,
) -> Result<Record, OperationError> {
    let Some(record) = existing else {
        return refused(format!(
            "no upgrade of {} is recorded in this namespace: nothing to go back from. A backup file is put \
             back with the command restore, in a Job",
            request.instance
        ));
    };
    let Some(stage) = turned_back(record.stage, record.layout_before) else {
        return refused(format!(
            "the upgrade of {} is over: {}",
            record.instance,
            record.stage.name()
        ));
    };
    let mut back = Record {
        stage,
        failure: None,
        ..record.clone()
    };
    back.policy.accept_loss |= request.policy.accept_loss;
    if record.stage == Stage::Upgraded {
        // A new operation: what runs now is counted now, what ran before is remembered.
        back.operation.clone_from(&request.operation);
        back.started_at.clone_from(&request.now);
        back.attempts = BTreeMap::new();
        let counted = facts.workloads.found.iter().any(|one| one.replicas != 0);
        for workload in &mut back.workloads {
            let live = facts
                .workloads
                .found
                .iter()
                .find(|one| one.name == workload.name);
            if let Some(live) = live.filter(|_| counted) {
                workload.replicas = live.replicas;
                workload.uid.clone_from(&live.uid);
            }
        }
        if let (Some(saved), Some(live)) = (&mut back.resource, &facts.resource) {
            *saved = counts_of(live, saved);
        }
    }
    Ok(back)
}

/// The counts of now with the images of before, unless everything is stopped.
fn counts_of(live: &Value, before: &SavedResource) -> SavedResource {
    let now = operator::save(live);
    if now.components.values().all(|one| one.replicas == Some(0)) {
        return before.clone();
    }
    let mut joined = now;
    joined.image.clone_from(&before.image);
    for (name, component) in &mut joined.components {
        let old = before.components.get(name);
        component.image = old.and_then(|old| old.image.clone());
    }
    joined
}

/// The record of a new upgrade.
///
/// # Errors
/// [`OperationError::Refused`] with everything that stands in the way.
pub fn fresh(facts: &Facts, request: &Request) -> Result<Record, OperationError> {
    let asked = &request.asked;
    let errors: Vec<String> = judge(facts, asked)
        .into_iter()
        .filter(|concern| concern.severity == Severity::Error)
        .map(|concern| format!("{} [{}]", concern.message, concern.code))
        .collect();
    if !errors.is_empty() {
        return refused(errors.join("; "));
    }
    let (Some(source), Some(release)) = (&asked.source, &asked.target) else {
        return refused("a new upgrade needs --source-version and --target-version");
    };
    if !source.is_2_1() || !release.has_2_2_layout() {
        return refused(format!(
            "from {source} to {release} no metadata migration is needed: see preflight"
        ));
    }
    let mut record = draft(facts, request);
    record.source_version = source.to_string();
    record.target_version = release.to_string();
    record.image = asked
        .image
        .clone()
        .unwrap_or_else(|| format!("milvusdb/milvus:v{release}"));
    Ok(record)
}

/// A record of what is known, whether or not it can be upgraded: enough for a Job that only reads.
fn draft(facts: &Facts, request: &Request) -> Record {
    let mut shape = shape_of(facts);
    shape.pull_secrets.extend(request.pull_secret.clone());
    let mut etcd = target(facts, &request.asked);
    etcd.credentials.clone_from(&request.credentials);
    let version = |release: Option<&crate::version::Release>, default: &str| {
        release.map_or_else(|| default.to_owned(), ToString::to_string)
    };
    Record {
        version: RECORD_VERSION,
        operation: request.operation.clone(),
        started_at: request.now.clone(),
        instance: request.instance.clone(),
        stage: Stage::Probe,
        source_version: version(request.asked.source.as_ref(), "2.1.4"),
        target_version: version(request.asked.target.as_ref(), "2.2.16"),
        image: request.asked.image.clone().unwrap_or_default(),
        tool_image: request.tool_image.clone(),
        etcd,
        claim: request
            .claim
            .clone()
            .unwrap_or_else(|| claim_name(&request.instance)),
        backup_file: format!("{BACKUP_FOLDER}/{}.mmb", request.operation),
        selector: survey::selector(&request.instance, request.selector.as_deref()),
        workloads: facts.workloads.found.clone(),
        resource: facts.resource.as_ref().map(operator::save),
        shape,
        policy: request.policy,
        layout_before: None,
        has_backup: false,
        attempts: BTreeMap::new(),
        failure: None,
    }
}

/// Fills in what only the cluster knows about the Secret with certificates.
///
/// # Errors
/// Of the request, or when the Secret is not there.
pub async fn with_secrets(
    cluster: &Cluster,
    request: &Request,
    mut record: Record,
) -> Result<Record, OperationError> {
    if let Some(name) = &request.tls_secret {
        let Some(secret) = survey::tls_secret(cluster, name).await? else {
            return refused(format!(
                "the Secret {name} with etcd's certificates is not there"
            ));
        };
        record.etcd.tls = Some(secret);
    }
    Ok(record)
}

/// Makes the claim for backups, unless it is there or was given.
///
/// # Errors
/// Of the request, or when a given claim is not there.
pub async fn claim(
    cluster: &Cluster,
    request: &Request,
    record: &Record,
) -> Result<(), OperationError> {
    let found: Option<PersistentVolumeClaim> = cluster.get(&record.claim).await?;
    if found.is_some() {
        return Ok(());
    }
    if request.claim.is_some() {
        return refused(format!("the volume claim {} is not there", record.claim));
    }
    let class = request.storage_class.as_deref();
    let made = manifest::claim(&record.claim, &record.instance, &request.claim_size, class);
    match cluster.create(&made).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

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
    let facts = survey::facts(cluster, &request.instance, request.selector.as_deref()).await?;
    let mut record = draft(&facts, request);
    record.claim = String::new();
    record = with_secrets(cluster, request, record).await?;
    let etcd = record.etcd.clone();
    let may_look = look && !etcd.endpoints.is_empty() && !facts.workloads.found.is_empty();
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
        report.concerns.insert(
            0,
            crate::kubernetes::preflight::Concern {
                severity: Severity::Error,
                code: "status-job".to_owned(),
                message: why,
            },
        );
        report.ok = false;
        "put right what stands in the way, then run preflight again".clone_into(&mut report.next);
    }
    Ok(report)
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
    let looked = runner.run(record, Step::Status, 1).await;
    let name = crate::kubernetes::job_name(Step::Status.name(), &record.operation, 1);
    cluster
        .delete::<k8s_openapi::api::batch::v1::Job>(&name)
        .await?;
    let config = config_name(&record.operation);
    cluster
        .delete::<k8s_openapi::api::core::v1::ConfigMap>(&config)
        .await?;
    match looked {
        Ok(text) => Ok(report(&text).ok_or_else(|| "the status Job told nothing".to_owned())),
        Err(JobFailure::Ended { why, .. } | JobFailure::StillRunning(why)) => Ok(Err(why)),
        Err(JobFailure::Cluster(error)) => Err(error),
    }
}

/// The steps and the manifests of a new upgrade, as YAML with comments; nothing is touched.
#[must_use]
pub fn rehearsal(record: &Record, request: &Request) -> String {
    let mut text = format!(
        "# upgrade of {} from {} to {}\n",
        record.instance, record.source_version, record.target_version
    );
    let as_value = |object: Result<Value, serde_json::Error>, kind: &str, api: &str| {
        let mut value = object.unwrap_or_default();
        value["apiVersion"] = Value::from(api);
        value["kind"] = Value::from(kind);
        manifest::yaml::document(&value)
    };
    if request.claim.is_none() {
        let class = request.storage_class.as_deref();
        let claim = manifest::claim(&record.claim, &record.instance, &request.claim_size, class);
        text.push_str(&as_value(
            serde_json::to_value(claim),
            "PersistentVolumeClaim",
            "v1",
        ));
    }
    let config = manifest::config_map(record);
    text.push_str(&as_value(serde_json::to_value(config), "ConfigMap", "v1"));
    let mut backed_up = record.clone();
    let stages = [
        (Stage::Probe, Some(Step::Status)),
        (Stage::Plan, Some(Step::Plan)),
        (Stage::Stop, None),
        (Stage::Drain, Some(Step::Status)),
        (Stage::Backup, Some(Step::Backup)),
        (Stage::Migrate, Some(Step::Migrate)),
        (Stage::Verify, Some(Step::Verify)),
        (Stage::Start, None),
        (Stage::Settle, None),
    ];
    let mut looks = 0;
    for (number, (stage, step)) in stages.into_iter().enumerate() {
        text.push_str(&format!("# step {}: {}\n", number + 1, stage.name()));
        if let Some(step) = step {
            backed_up.has_backup = stage == Stage::Verify;
            let attempt = if step == Step::Status {
                looks += 1;
                looks
            } else {
                1
            };
            let job = manifest::job::job(&backed_up, step, attempt);
            text.push_str(&as_value(serde_json::to_value(job), "Job", "batch/v1"));
        }
        for line in changes(record, stage) {
            text.push_str(&format!("#   {line}\n"));
        }
    }
    text
}

fn changes(record: &Record, stage: Stage) -> Vec<String> {
    let start = stage == Stage::Start;
    if !start && stage != Stage::Stop {
        return Vec::new();
    }
    if let Some(saved) = &record.resource {
        let patch = if start {
            operator::start_patch(saved, Some(&record.image), None)
        } else {
            operator::stop_patch(saved, None)
        };
        return vec![format!(
            "patch Milvus {}: {}",
            record.instance, patch["spec"]
        )];
    }
    let one = |workload: &crate::kubernetes::record::Workload| {
        if start {
            format!(
                "Deployment {}: container {} to {}, {} replicas",
                workload.name, workload.container, record.image, workload.replicas
            )
        } else {
            format!(
                "Deployment {}: {} replicas to 0",
                workload.name, workload.replicas
            )
        }
    };
    record.workloads.iter().map(one).collect()
}

/// What Helm has to be told afterwards, or the next `helm upgrade` sets the old image again.
#[must_use]
pub fn advice(facts: &Facts, record: &Record) -> Option<String> {
    let helm = facts.helm.as_ref().filter(|_| record.resource.is_none())?;
    let tag = discovery::image_version(&record.image);
    let tag = tag.map_or_else(|| record.image.clone(), |version| format!("v{version}"));
    Some(format!(
        "Helm does not know about this: any helm upgrade with the old chart or values would start {} again on \
         2.2 metadata. Tell it now: helm upgrade {} milvus/milvus -n {} --version 3.3.6 (or later) -f YOUR-VALUES \
         --set image.all.tag={tag} (do not use --reuse-values: it brings the old chart's defaults along)",
        record.source_version, helm.name, facts.namespace
    ))
}

#[cfg(test)]
mod tests;
