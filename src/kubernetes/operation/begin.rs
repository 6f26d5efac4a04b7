//! Which operation a command line means: a new one, the unfinished one, or the way back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{OperationError, shape_of};
use crate::finding::Severity;
use crate::kubernetes::cluster::Cluster;
use crate::kubernetes::preflight::{Asked, Concern, Facts, judge, target};
use crate::kubernetes::record::{PodShape, RECORD_VERSION, Record, SavedResource};
use crate::kubernetes::stage::{Policy, Stage, resumed, turned_back};
use crate::kubernetes::survey::Scope;
use crate::kubernetes::{BACKUP_FOLDER, TOOL_IMAGE, claim_name, note, operator, survey};

mod advice;
mod again;
mod claim;
mod forward;
mod given;
mod look;
mod rehearsal;
mod unfinished;

pub use advice::advice;
pub use again::{asked_again, judged_again, scope_again};
pub use claim::claim;
pub use forward::going_forward;
pub use look::{clear, preflight};
pub use rehearsal::{outline, rehearsal};

/// Everything that a command line says.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The instance.
    pub instance: String,
    /// What has to fit the cluster.
    pub asked: Asked,
    /// The Jobs' image, if it was given.
    pub tool_image: Option<String>,
    /// A selector other than the instance's label.
    pub selector: Option<String>,
    /// A pull secret besides those of Milvus.
    pub pull_secret: Option<String>,
    /// What the Jobs' pods are given besides, or instead of, what Milvus has.
    pub shape: PodShape,
    /// Secret with etcd's user and password.
    pub credentials: Option<String>,
    /// Secret with etcd's certificates.
    pub tls_secret: Option<String>,
    /// A claim for backups that is there already.
    pub claim: Option<String>,
    /// The size of a claim that is made, if it was given.
    pub claim_size: Option<String>,
    /// Its storage class.
    pub storage_class: Option<String>,
    /// What happens after failures.
    pub policy: Policy,
    /// Whether records that cannot be migrated are left out, if it was given.
    pub skip_broken: Option<bool>,
    /// The longest that is waited for one thing.
    pub limit: Duration,
    /// A new operation's id: eight hexadecimal digits.
    pub operation: String,
    /// Now, RFC 3339.
    pub now: String,
}

impl Request {
    /// What to look at.
    #[must_use]
    pub fn scope<'r>(&'r self, claim: &'r str) -> Scope<'r> {
        Scope {
            instance: &self.instance,
            selector: self.selector.as_deref(),
            claim,
            secret: self.tls_secret.as_deref(),
        }
    }

    /// The claim for backups: the one given, or the one that is made.
    #[must_use]
    pub fn claim_name(&self) -> String {
        let given = self.claim.clone();
        given.unwrap_or_else(|| claim_name(&self.instance))
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
    let differences = record.differences(&given::wanted(record, request));
    if !differences.is_empty() {
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        return refused(format!(
            "an unfinished upgrade of {} has another aim: {}; go on with the same, or -o rollback",
            record.instance,
            told.join("; ")
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
    policy.stay_down |= request.policy.stay_down;
    let mut etcd = record.etcd.clone();
    if request.credentials.is_some() {
        etcd.credentials.clone_from(&request.credentials);
    }
    let mut accepted = record.accepted.clone();
    accepted.extend(request.asked.accepted.clone());
    accepted.sort();
    accepted.dedup();
    let mut shape = record.shape.clone();
    dress(&mut shape, request);
    Record {
        stage: saving_first(resumed(record.stage), policy, record),
        policy,
        skip_broken: given::skip_broken(record, request),
        etcd,
        accepted,
        shape,
        claim: request
            .claim
            .clone()
            .unwrap_or_else(|| record.claim.clone()),
        // A Job that was made keeps its image; the next attempt takes this one.
        tool_image: request
            .tool_image
            .clone()
            .unwrap_or_else(|| record.tool_image.clone()),
        // A new attempt tells its own failure; the way back keeps the one that led there.
        failure: record
            .failure
            .clone()
            .filter(|_| record.stage.is_way_back()),
        ..record.clone()
    }
}

/// What is given up is saved first, also where that is only said once the way back was refused.
fn saving_first(stage: Stage, policy: Policy, record: &Record) -> Stage {
    let is_unsaved = policy.accept_loss && record.saved.is_none();
    let first = stage.row().saves_first.filter(|_| is_unsaved);
    first.unwrap_or(stage)
}

/// As [`resume`], with all that is given: another image of the same release may be, as long as none runs
/// well.
///
/// # Errors
/// [`OperationError::Usage`] when something is given that does not fit what is recorded.
pub fn resume_with(record: &Record, request: &Request) -> Result<Record, OperationError> {
    let mut resumed = resume(record, request);
    if record.stage.is_way_back() {
        given::fits_back(record, request)?;
        return Ok(resumed);
    }
    given::fits_forward(record, request)?;
    if let Some(image) = &request.asked.image {
        resumed.image.clone_from(image);
    }
    Ok(resumed)
}

/// What is given comes on top of what Milvus has, or in its place.
fn dress(shape: &mut PodShape, request: &Request) {
    let given = &request.shape;
    shape.pull_secrets.extend(request.pull_secret.clone());
    shape.pull_secrets.dedup();
    if !given.node_selector.is_empty() {
        shape.node_selector.clone_from(&given.node_selector);
    }
    if !given.tolerations.is_empty() {
        shape.tolerations.clone_from(&given.tolerations);
    }
    shape.user = given.user.or(shape.user);
}

/// The record with which the way back begins or goes on; `facts` are those of a finished upgrade.
///
/// # Errors
/// [`OperationError::Refused`] when there is nothing to go back from; [`OperationError::Usage`] when something
/// is given that does not fit what is recorded.
pub fn going_back(
    existing: Option<&Record>,
    facts: &Facts,
    request: &Request,
) -> Result<Record, OperationError> {
    let Some(record) = existing else {
        return refused(no_record(facts, request));
    };
    let Some(stage) = turned_back(record.stage, record.layout_before, record.may_be_migrated())
    else {
        return refused(format!(
            "the upgrade of {} is over: {}",
            record.instance,
            record.stage.name()
        ));
    };
    given::fits_back(record, request)?;
    let resumed = resume(record, request);
    let mut back = Record {
        stage: saving_first(stage, resumed.policy, record),
        failure: None,
        asked_back: true,
        ..resumed
    };
    if record.stage == Stage::UPGRADED {
        // A new operation: what runs now is counted now, what ran before is remembered.
        back.operation.clone_from(&request.operation);
        back.started_at.clone_from(&request.now);
        back.attempts = BTreeMap::new();
        back.saved = None;
        // What was given up then says nothing of what was written since.
        back.policy.accept_loss = request.policy.accept_loss;
        let counted = facts.workloads.found.iter().any(|one| one.replicas != 0);
        for workload in &mut back.workloads {
            let live = facts
                .workloads
                .found
                .iter()
                .find(|one| one.name == workload.name);
            let Some(live) = live else { continue };
            // One that was made anew says nothing of how many there were.
            if counted && live.uid == workload.uid {
                workload.replicas = live.replicas;
            }
            workload.uid.clone_from(&live.uid);
        }
        if let (Some(saved), Some(live)) = (&mut back.resource, &facts.resource) {
            *saved = counts_of(live, saved);
        }
    }
    Ok(back)
}

/// Why there is no way back without a record; what an upgrade stopped still bears its notes.
fn no_record(facts: &Facts, request: &Request) -> String {
    let instance = &request.instance;
    let on_deployments = facts.deployments.iter().any(note::is_on);
    if on_deployments
        || facts
            .resource
            .as_ref()
            .and_then(note::of_resource)
            .is_some()
    {
        return format!(
            "the record of the upgrade of {instance} is gone, but what it stopped bears its counts: take it up with \
             the first command again (--source-version, --target-version); from there -o rollback leads back"
        );
    }
    format!(
        "no upgrade of {instance} is recorded in this namespace: nothing to roll back{}. To put a backup file back, \
         run the command restore in a Job",
        if facts.workloads.found.is_empty() {
            format!("; {}", facts.instead())
        } else {
            String::new()
        }
    )
}

/// The counts of now with the images of before, unless everything is stopped.
fn counts_of(live: &Value, before: &SavedResource) -> SavedResource {
    let now = operator::save(live);
    if operator::is_stopped(&now) {
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

/// The finished upgrade that is asked for once more, where every Deployment still runs its image.
#[must_use]
pub fn already_done(existing: Option<&Record>, facts: &Facts, request: &Request) -> Option<Record> {
    let record = existing.filter(|record| record.stage == Stage::UPGRADED)?;
    let same = record.differences(&given::aim(request)).is_empty();
    let found = &facts.workloads.found;
    let serves = found.iter().any(|one| one.replicas > 0);
    let mut full = found.iter().filter(|one| one.replicas > 0 || !serves);
    let runs = !found.is_empty() && full.all(|one| one.image == record.image);
    (same && runs).then(|| record.clone())
}

/// What is worth knowing, and does not stand in the way.
#[must_use]
pub fn warnings(facts: &Facts, asked: &Asked) -> Vec<Concern> {
    let mut concerns = judge(facts, asked);
    concerns.retain(|concern| concern.severity != Severity::Error);
    concerns
}

fn in_the_way(facts: &Facts, asked: &Asked) -> Result<(), OperationError> {
    let mut concerns = judge(facts, asked);
    concerns.retain(|concern| concern.severity == Severity::Error);
    if concerns.is_empty() {
        return Ok(());
    }
    Err(OperationError::InTheWay(concerns))
}

/// The record of a new upgrade.
///
/// # Errors
/// [`OperationError::InTheWay`] with everything that stands in the way; [`OperationError::Refused`] where no
/// migration is needed.
pub fn fresh(facts: &Facts, request: &Request) -> Result<Record, OperationError> {
    let asked = &request.asked;
    in_the_way(facts, asked)?;
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
    Ok(record)
}

/// What the custom resource said before anything was stopped.
fn saved_resource(facts: &Facts) -> Option<SavedResource> {
    let live = facts.resource.as_ref()?;
    Some(note::of_resource(live).unwrap_or_else(|| operator::save(live)))
}

/// A record of what is known, whether or not it can be upgraded: enough for a Job that only reads.
fn draft(facts: &Facts, request: &Request) -> Record {
    let mut shape = shape_of(facts);
    dress(&mut shape, request);
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
        stage: Stage::PROBE,
        source_version: version(request.asked.source.as_ref(), "2.1.4"),
        target_version: version(request.asked.target.as_ref(), "2.2.16"),
        image: request.asked.new_image().unwrap_or_default(),
        tool_image: request
            .tool_image
            .clone()
            .unwrap_or_else(|| TOOL_IMAGE.to_owned()),
        etcd,
        claim: request.claim_name(),
        claim_size: request.claim_size.clone(),
        storage_class: request.storage_class.clone(),
        backup_file: format!("{BACKUP_FOLDER}/{}.mmb", request.operation),
        selector: survey::selector(&request.instance, request.selector.as_deref()),
        workloads: facts.workloads.found.clone(),
        resource: saved_resource(facts),
        shape,
        policy: request.policy,
        skip_broken: request.skip_broken.unwrap_or(false),
        accepted: asked_codes(request),
        asked_back: false,
        saved: None,
        layout_before: None,
        has_backup: false,
        verified: note::was_started_anew(&facts.deployments, facts.resource.as_ref()),
        attempts: BTreeMap::new(),
        failure: None,
    }
}

fn asked_codes(request: &Request) -> Vec<String> {
    let mut accepted = request.asked.accepted.clone();
    accepted.sort();
    accepted.dedup();
    accepted
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

#[cfg(test)]
mod tests;
